# SPDX-License-Identifier: MIT
"""Checks that users run on their own factories and environments: a restored copy is equal, and behaves the same.

Both raise ``FactoryError`` at the first thing that is wrong, and say what; what they return tells how much was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from casstore.codecs.default import default_registry
from casstore.codecs.equality import Equal, same_value
from casstore.codecs.factory import Factory
from casstore.codecs.registry import Registry
from casstore.errors import FactoryError, InvalidInputError

E = TypeVar("E")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class FactoryReport:
    """What ``check_factory`` checked.

    Attributes:
        values: How many values.
        bytes: Their contents together.
        processes: Other processes in which each was decoded and encoded again.
    """

    values: int
    bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What ``check_restores`` checked.

    Attributes:
        steps: How many actions.
        copies: How many copies were restored, each stepped to the end.
        bytes: Contents of all saved states together.
    """

    steps: int
    copies: int
    bytes: int


def check_factory(
    factory: Factory | type,
    values: Iterable[Any],
    *,
    equal: Equal = same_value,
    hash_seeds: Sequence[int] = (1, 2),
    registry: Registry | None = None,
) -> FactoryReport:
    """How much was checked; every value came back equal, and with the same bytes each time.

    Args:
        factory: Or the class whose registered factory is meant.
        values: Values to try: empty ones, large ones, ones with sets in them.
        equal: Whether two values are the same.
        hash_seeds: Each starts a process with that seed of ``hash()``, in which each content is decoded and encoded
            again; the bytes must be those from here. The factory is found there by importing its module: it must be
            registered by that, or its class take no arguments. Empty: no other process.
        registry: Where values within values are looked up; None: the one of every store.

    Raises:
        FactoryError: What is wrong, and with which value.
        InvalidInputError: There is nothing to check.

    *Cost*: 0.1 s for each other process, and what importing the factory's module takes.
    """
    # On use, as every store imports this package, and starting processes takes much to import.
    from casstore.codecs.other_process import reencode_elsewhere

    base = default_registry() if registry is None else registry
    given = factory
    if isinstance(factory, type):
        found = base.factory_of(factory)
        if found is None:
            raise FactoryError(f"no factory takes {factory.__qualname__}; register one, or give the factory.")
        factory = found
    trial = Registry(base)
    contents = []
    for number, value in enumerate(values):
        trial.register(factory, [type(value)])
        contents.append(_round_trip(trial, factory, number, value, equal))
    if not contents:
        raise InvalidInputError("there are no values to check; give some.")
    for seed in hash_seeds:
        cls = given if isinstance(given, type) else getattr(factory, "cls", type(factory))
        again = reencode_elsewhere(cls, factory.type_id, factory.version, contents, seed)
        for number, (before, after) in enumerate(zip(contents, again, strict=True)):
            if before != after:
                raise FactoryError(
                    f"value {number} has other bytes in another process ({_difference(before, after)}, hash seed "
                    f"{seed}); sort what comes from a set or from hash()."
                )
    return FactoryReport(len(contents), sum(map(len, contents)), len(hash_seeds))


def _round_trip(registry: Registry, factory: Factory, number: int, value: Any, equal: Equal) -> bytes:
    type_id, version, data = registry.encode(value)
    if registry.encode(value).data != data:
        raise FactoryError(f"{type_id!r} encodes value {number} differently each time; leave out times, ids, counters.")
    back = registry.decode(type_id, version, data)
    if not equal(value, back):
        raise FactoryError(
            f"{type_id!r} does not give value {number} back: {_short(value)} became {_short(back)}; encode what is "
            "missing, or give equal=… where == means another thing."
        )
    if type(back) is type(value):
        again = registry.encode(back).data
        if again != data:
            raise FactoryError(
                f"{type_id!r} encodes value {number} otherwise once it was restored ({_difference(data, again)}); sort "
                "what has no order of its own."
            )
    if not equal(registry.decode(type_id, version, data), back):
        raise FactoryError(f"{type_id!r} decodes value {number} differently each time; keep state out of the factory.")
    return data


def check_restores(
    make: Callable[[], E],
    step: Callable[[E, A], object],
    actions: Iterable[A],
    *,
    equal: Equal = same_value,
    cuts: Sequence[int] | None = None,
    registry: Registry | None = None,
) -> RestoreReport:
    """How much was checked; every restored copy of an environment went on as the one it was saved from.

    Args:
        make: A new environment, the same each time: seeded, where it draws random numbers.
        step: Does one action and returns what can be seen of it, such as observation, reward and end.
        actions: What to do, in order.
        equal: Whether two results are the same.
        cuts: After how many actions to save and restore; None: at the start, at the end, and at up to 14 places
            between.
        registry: Whose factories save and restore; None: the one of every store.

    Raises:
        FactoryError: What is wrong, and at which step: ``make`` does not repeat itself, saving changes the environment,
            or a copy goes another way (its random state was left out, or is shared with another copy).
        InvalidInputError: A cut lies outside the actions.

    *Cost*: the actions once for each two cuts, about.
    """
    codecs = default_registry() if registry is None else registry
    todo = list(actions)
    if cuts is None:
        cuts = sorted({len(todo) * part // 15 for part in range(16)})
    for cut in cuts:
        if not 0 <= cut <= len(todo):
            raise InvalidInputError(f"there is no cut after {cut} of {len(todo)} actions; give numbers from 0.")
    first, second = make(), make()
    expected = []
    for number, action in enumerate(todo):
        expected.append(step(first, action))
        if not equal(expected[-1], step(second, action)):
            raise FactoryError(
                f"two new environments differ at step {number}, without any saving; make() must give the same each "
                "time, so seed all that is random in it."
            )
    end = codecs.encode(first).data
    saving = make()
    saved: list[tuple[str, int, bytes]] = []
    total = copies = 0
    for number in range(len(todo) + 1):
        if number in cuts:
            saved = [codecs.encode(saving)] * 2
            total += len(saved[0][2])
            # Two copies in turn: what they share, or share with the one they came from, shows in the second.
            twins = [codecs.decode(*one) for one in saved]
            copies += len(twins)
            for later in range(number, len(todo)):
                for twin in twins:
                    _compare(equal, expected[later], step(twin, todo[later]), number, later)
            for twin in twins:
                if codecs.encode(twin).data != end:
                    raise FactoryError(
                        f"a copy restored after {number} actions gives the same results, but another state at the end; "
                        "encode what is missing, and sort what has no order of its own."
                    )
        if number < len(todo) and not equal(expected[number], step(saving, todo[number])):
            raise FactoryError(
                f"saving changed the environment, or its copies share something with it: step {number} differs."
            )
    return RestoreReport(len(todo), copies, total)


def _compare(equal: Equal, expected: object, found: object, cut: int, number: int) -> None:
    if not equal(expected, found):
        raise FactoryError(
            f"a copy restored after {cut} actions differs at step {number}: {_short(found)} instead of "
            f"{_short(expected)}; encode what is missing (the random state?), and share nothing between copies."
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _difference(a: bytes, b: bytes) -> str:
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} bytes"
    return f"first at byte {next(place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)}"
