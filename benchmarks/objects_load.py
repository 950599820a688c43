# SPDX-License-Identifier: MIT
"""What it takes to get an object: loaded already, in the hot cache, in the store; and what the lazy layer adds."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.scratch import scratch
from benchmarks.table import Goal, microseconds
from benchmarks.timing import best, each, spread
from benchmarks.units import percent

if TYPE_CHECKING:
    import casstore
    from casstore.objects import Materializer, Ref

SIZE = 16 * 1024
MIB = 2**20


def objects_of(options: Options) -> int:
    return options.pick(2000, 100)


def workload(options: Options) -> str:
    return (
        f"{objects_of(options):,} objects of {SIZE // 1024} KiB (random bytes, so that neither compression nor "
        "decoding is in it) in one snapshot of a store on disk. Each is got once, in random order: from its Ref while "
        "it is loaded; with the hot cache full and nothing loaded; and with the hot cache empty (the file system's is "
        "not). Overhead: the same number of rounds over 100 loaded objects, `ref.get()` against `values[key]` of a "
        "plain dict, with a sum over the first 2 KiB of each object as the work that is done with it."
    )


def fill(store: casstore.Store, number: int) -> casstore.Snapshot:
    """A state of that many objects."""
    rng = random.Random(3)
    branch = store.branch()
    for place in range(number):
        branch.objects[f"object/{place:06d}"] = rng.randbytes(SIZE)
    snapshot = branch.commit()
    store.sync()
    return snapshot


def got(home: Materializer, refs: list[Ref[Any]], *, unload: bool, clear: Any = None) -> dict[str, float]:
    """Percentiles of getting each object once."""
    for ref in refs:
        if unload:
            ref.unload()
        else:
            ref.get()
    if clear is not None:
        clear()
    order = random.Random(5).sample(refs, len(refs))
    return spread(each(home.materialize, order))


def overhead(refs: list[Ref[Any]], rounds: int) -> float:
    """Time of rounds over loaded Refs against the same over a dict, less 1."""
    values = {ref.key: ref.get() for ref in refs}
    keys = list(values)

    def plain() -> int:
        return sum(sum(values[key][:2048]) for key in keys)

    def lazy() -> int:
        return sum(sum(ref.get()[:2048]) for ref in refs)

    times = {plain: float("inf"), lazy: float("inf")}
    # In turns, so that what else the machine does hits both.
    for _ in range(rounds):
        for work in (plain, lazy):
            start = time.perf_counter()
            work()
            times[work] = min(times[work], time.perf_counter() - start)
    return times[lazy] / times[plain] - 1


def measure(options: Options) -> Measured:
    import casstore
    from casstore.objects import Materializer

    number = objects_of(options)
    found: dict[str, list[dict[str, float]]] = {"loaded already": [], "hot cache": [], "store": []}
    shares = []
    with scratch(options.work, "load") as work:
        config = casstore.Config(cache_bytes=max(8 * MIB, 3 * number * SIZE))
        with casstore.open(str(work / "store"), config=config) as store:
            snapshot = fill(store, number)
            with Materializer(store, max_bytes=max(MIB, 2 * number * SIZE)) as home:
                refs = home.members(snapshot)
                clear = store.storage.cache.clear
                for _ in range(options.repeat):
                    found["loaded already"].append(got(home, refs, unload=False))
                    found["hot cache"].append(got(home, refs, unload=True))
                    found["store"].append(got(home, refs, unload=True, clear=clear))
                    shares.append(overhead(refs[:100], options.pick(30, 2)))
    limits = {"loaded already": (1e-6, 0.3e-6), "hot cache": (10e-6, 5e-6), "store": (50e-6, 30e-6)}
    goals = []
    for name, repetitions in found.items():
        figures = best(repetitions)
        bar, aim = limits[name]
        note = f"p50 {microseconds(figures['p50'])}, p99 {microseconds(figures['p99'])}"
        goals.append(
            Goal(f"materialize, {name}, p95", figures["p95"], microseconds, bar, aim, detail=dict(figures), note=note)
        )
    goals.append(Goal("overhead of the lazy layer, all hits", min(shares), percent, 0.10, 0.03))
    return Measured(goals)
