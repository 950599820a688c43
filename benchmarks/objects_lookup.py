# SPDX-License-Identifier: MIT
"""Looking up the factory of a type: by the Python type that is to be encoded, and by what stands in an entry."""

from __future__ import annotations

import importlib
import importlib.util
import random
import time
from collections.abc import Callable
from typing import Any

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.table import Goal
from benchmarks.timing import best, spread
from benchmarks.units import fine_microseconds

DECLARED = 100
BAR, AIM = 1e-6, 0.3e-6


def lookups_of(options: Options) -> int:
    return options.pick(100_000, 500)


def workload(options: Options) -> str:
    return (
        f"the registry of the process with {DECLARED} declared classes beside the built-in types, and one of a user "
        f"above it that has {DECLARED} more; {lookups_of(options):,} lookups in random order, one by one, over all of "
        "them, through the user's: `factory_of(type)` and `factory_for(type_id, version)`. The clock's own share, "
        "given beside, is in each."
    )


def registry() -> tuple[Any, list[type], list[tuple[str, int]]]:
    """A registry above that of the built-in types, the types it knows, and their ids and versions."""
    import msgspec

    from casstore.codecs import Registry
    from casstore.codecs.arrays import ArrayFactory
    from casstore.codecs.members import Members, MembersFactory
    from casstore.codecs.messagepack import MessagePackFactory, Packed
    from casstore.codecs.plain import BytesFactory, JsonFactory, TextFactory

    class Declared:
        """A factory of one class; looked up, never used."""

        version = 1

        def __init__(self, name: str) -> None:
            self.type_id = f"struct:{name}"

        def encode(self, value: Any) -> bytes:
            return msgspec.msgpack.encode(value)

        def decode(self, data: bytes) -> Any:
            return msgspec.msgpack.decode(data)

    below = Registry()
    below.register(BytesFactory(), [bytes])
    below.register(TextFactory(), [str])
    below.register(JsonFactory(), [dict, list, int, float, bool, type(None)])
    below.register(ArrayFactory(), names=["numpy.ndarray"])
    below.register(MessagePackFactory(), [Packed])
    below.register(MembersFactory(), [Members])
    above = Registry(below)
    kinds: list[type] = [bytes, str, dict, list, int, float, bool, type(None), Packed, Members]
    if importlib.util.find_spec("numpy"):
        kinds.append(importlib.import_module("numpy").ndarray)
    ids = [("bytes", 1), ("text", 1), ("json", 1), ("ndarray", 1), ("msgpack", 1)]
    ids = [one for one in ids if above.factory_for(*one) is not None]
    for number in range(2 * DECLARED):
        kind = type(f"Declared{number}", (), {})
        factory = Declared(kind.__name__)
        (below if number < DECLARED else above).register(factory, [kind])
        kinds.append(kind)
        ids.append((factory.type_id, 1))
    return above, kinds, ids


def timed(operation: Callable[..., object], arguments: list[tuple[Any, ...]]) -> list[float]:
    """Seconds of each lookup."""
    clock = time.perf_counter_ns
    samples = []
    for words in arguments:
        start = clock()
        operation(*words)
        samples.append((clock() - start) / 1e9)
    return samples


def measure(options: Options) -> Measured:
    found, kinds, ids = registry()
    rng = random.Random(1)
    of_type = [(kind,) for kind in rng.choices(kinds, k=lookups_of(options))]
    of_id = rng.choices(ids, k=lookups_of(options))
    ways: dict[str, tuple[Callable[..., object], list[Any]]] = {
        "by Python type": (found.factory_of, of_type),
        "by type id": (found.factory_for, of_id),
        "clock": (lambda *_: None, of_id),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(options.repeat):
        for name, (operation, arguments) in ways.items():
            runs[name].append(spread(timed(operation, arguments)))
    empty = best(runs.pop("clock"))
    goals = []
    for name, repetitions in runs.items():
        figures = best(repetitions)
        note = (
            f"p50 {fine_microseconds(figures['p50'])}, p99 {fine_microseconds(figures['p99'])}; a call of an empty "
            f"function p95 {fine_microseconds(empty['p95'])}"
        )
        goals.append(
            Goal(
                f"factory lookup {name}, p95",
                figures["p95"],
                fine_microseconds,
                BAR,
                AIM,
                detail=dict(figures),
                note=note,
            )
        )
    return Measured(goals)
