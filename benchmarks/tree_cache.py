# SPDX-License-Identifier: MIT
"""The hot cache under what a search reads: its hit rate where it holds a tenth of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.scratch import scratch
from benchmarks.table import Goal, megabytes
from benchmarks.tree_task import FILES, SOME, Task
from benchmarks.units import percent

if TYPE_CHECKING:
    from pathlib import Path

    from casstore.address import Address
    from casstore.branches import Branch


def nodes_of(options: Options) -> int:
    return options.pick(10_000, 200)


def workload(options: Options) -> str:
    return (
        f"a search of {nodes_of(options):,} nodes over a state of {FILES} files (random bytes, median 3 KB; some are "
        "rewritten far more often than others); every action reads one file and rewrites it. Every read is recorded, "
        "and the record is made anew in every run, the same each time. Two ways to evaluate: the whole state is "
        f"read; or only the files that differ from the start, and {SOME} others, which spares the cache its easy "
        "hits. The record is then replayed with `store.get` on a store that holds all those contents, opened with "
        "`cache_bytes` a tenth of the distinct bytes that are read (the hot cache gets three quarters of that). "
        "First reads count as misses. The bound is the hit rate of a cache that holds everything."
    )


class Recorder:
    """Notes what is read."""

    def __init__(self) -> None:
        self.trace: list[Address] = []
        self.contents: dict[Address, bytes] = {}

    def read(self, branch: Branch, key: str) -> bytes:
        data = branch.files[key]
        address = branch.files.entry(key).address
        if address is not None:
            self.trace.append(address)
            self.contents[address] = data
        return data


def record(path: Path, nodes: int, *, whole: bool) -> Recorder:
    """What a search reads."""
    import casstore
    from casstore.mcts import StateTree

    recorder = Recorder()
    task = Task(recorder.read, whole=whole)
    with casstore.open(str(path), config=casstore.Config(pending_bytes=2**30)) as store:
        tree = StateTree(store, task.start(store))
        recorder.trace.clear()
        task.grow(tree, nodes)
        tree.discard()
    return recorder


def replay(path: Path, recorder: Recorder, share: float) -> tuple[float, int]:
    """Hit rate and evictions of a hot cache with that share of the data."""
    import casstore

    data_bytes = sum(map(len, recorder.contents.values()))
    config = casstore.Config(cache_bytes=int(data_bytes * share))
    with casstore.open(str(path), create=False, config=config) as store:
        get = store.get
        for address in recorder.trace:
            get(address)
        stats = store.storage.cache.stats()
    return stats.hits / (stats.hits + stats.misses), stats.evictions


def measure(options: Options) -> Measured:
    import casstore

    found = Measured([])
    with scratch(options.work, "cache") as work:
        for name, whole in (("whole states", True), ("what changed and some more", False)):
            options.progress(f"tree: recording a search that reads {name}")
            recorder = record(work / f"search-{whole}", nodes_of(options), whole=whole)
            path = work / f"contents-{whole}"
            with casstore.open(str(path)) as store:
                for data in recorder.contents.values():
                    store.put(data)
            rates = {share: replay(path, recorder, share)[0] for share in (0.02, 0.05, 0.1, 0.2, 0.5)}
            distinct, reads = len(recorder.contents), len(recorder.trace)
            data_bytes = sum(map(len, recorder.contents.values()))
            curve = ", ".join(f"{share:.0%}: {percent(rate)}" for share, rate in rates.items())
            note = f"{reads:,} reads of {distinct:,} contents, {megabytes(data_bytes)}"
            note += f"; bound {percent(1 - distinct / reads)}"
            found.goals.append(
                Goal(
                    f"hit rate of the hot cache, reading {name}",
                    rates[0.1],
                    percent,
                    0.8,
                    0.95,
                    higher=True,
                    detail={"by share": {str(share): rate for share, rate in rates.items()}, "reads": reads},
                    note=f"{note}; by cache against data: {curve}",
                )
            )
    return found
