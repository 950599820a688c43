# SPDX-License-Identifier: MIT
"""Forks, branches, values that wait, spilled ones, handles of snapshots, nodes of a search tree."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.scratch import scratch
from benchmarks.table import Goal
from benchmarks.timing import best, each, spread
from benchmarks.units import fine_microseconds, plain_bytes

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.mcts import StateTree

Maker = Callable[[int], object]

VALUE_BYTES = 1000


def number_of(options: Options) -> int:
    # Fewer than the keys at which a branch folds, which would be another thing.
    return options.pick(4000, 100)


def workload(options: Options) -> str:
    return (
        f"{number_of(options):,} of each, in a store on disk over a snapshot of as many files. A value has "
        f"{VALUE_BYTES:,} bytes of its own, which are not counted, and a key of 11 letters, which is not either. "
        "Short: a value of 12 bytes. Spilled: with `pending_bytes=0`, after a sync. A snapshot's handle: by its id, "
        "each another one. A node of a search tree: one file changed."
    )


def taken(number: int, make: Callable[[int], object]) -> tuple[float, list[object]]:
    """Bytes that each of what ``make`` gives takes, and all of it; called once more before, for what all share."""
    kept: list[object] = [None] * number
    make(number)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for place in range(number):
            kept[place] = make(place)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / number, kept
    finally:
        tracemalloc.stop()


def goals(options: Options, what: str, number: int, fresh: Callable[[], Maker]) -> list[Goal]:
    """Bytes and time of one thing; ``fresh`` gives a maker for each repetition."""
    size, kept = taken(number, fresh())
    del kept
    times = best([spread(each(fresh(), range(number))) for _ in range(options.repeat)], "p50")
    return [Goal(f"{what}: bytes", size, plain_bytes), Goal(f"{what}: time", times["p50"], fine_microseconds)]


def setter(branch: Branch, names: list[str], values: list[bytes]) -> Maker:
    files = branch.files
    return lambda place: files.__setitem__(names[place], values[place])


def deleter(branch: Branch, names: list[str]) -> Maker:
    files = branch.files
    return lambda place: files.__delitem__(names[place])


def grower(tree: StateTree, names: list[str], values: list[bytes]) -> Maker:
    return lambda place: tree.create_node(tree.root, {f"files/{names[place]}": values[place]})


def measure(options: Options) -> Measured:
    import casstore
    from casstore.mcts import StateTree

    number = number_of(options)
    old = [f"src/{place:07d}" for place in range(number + 1)]
    new = [f"new/{place:07d}" for place in range(number + 1)]
    values = [place.to_bytes(8, "big") * (VALUE_BYTES // 8) for place in range(number + 1)]
    short = [place.to_bytes(12, "big") for place in range(number + 1)]
    found: list[Goal] = []
    with scratch(options.work, "costs") as work:
        with casstore.open(str(work / "store"), config=casstore.Config(pending_bytes=2**30)) as store:
            branch = store.branch()
            branch.files.update((name, b"x" * 200) for name in old)
            start = branch.commit("start", ref="main")
            ids = [store.branch(start).commit(f"{place}").id for place in range(number + 1)]
            makers: dict[str, Callable[[], Maker]] = {
                "fork": lambda: lambda _: branch.fork(),
                "branch of a ref": lambda: lambda _: store.branch("main"),
                "pending value, beside its bytes": lambda: setter(store.branch(start), new, values),
                "short value": lambda: setter(store.branch(start), new, short),
                "whiteout": lambda: deleter(store.branch(start), old),
                "handle of a snapshot": lambda: lambda place: store.snapshot(ids[place]),
                "node of a search tree": lambda: grower(StateTree(store, start), new, short),
            }
            for what, fresh in makers.items():
                found += goals(options, what, number, fresh)
        config = casstore.Config(pending_bytes=0, cache_bytes=0, sync="off")
        with casstore.open(str(work / "spilling"), config=config) as store:
            numbers = itertools.count()

            def spiller() -> Maker:
                files = store.branch().files

                def spill(place: int) -> None:
                    files[new[place]] = next(numbers).to_bytes(8, "big") * (VALUE_BYTES // 8)
                    if place == number - 1:
                        store.sync()

                return spill

            found += goals(options, "spilled value", number, spiller)
    return Measured(found)
