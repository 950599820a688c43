# SPDX-License-Identifier: MIT
"""Forks: their time at every depth and number of changed keys, their memory, and copies of the same state."""

from __future__ import annotations

import copy
import gc
import pickle
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.environment import package_version
from benchmarks.options import Options
from benchmarks.parts import Curve, Measured, Peer
from benchmarks.scratch import scratch
from benchmarks.table import Goal
from benchmarks.timing import best, each, spread
from benchmarks.units import fine_microseconds, percent, plain_bytes

if TYPE_CHECKING:
    from casstore import Store
    from casstore.branches import Branch

BAR, AIM = 1e-6, 0.3e-6
BASE_KEYS = 1_000
NEVER_FOLD = 2**40
BATCH = 100
CURVE_RUNS = 5
WARM_UP = 1_000


def workload(options: Options) -> str:
    forks, kept = sizes(options)[2:]
    depth, keys = sizes(options)[:2]
    return (
        f"{forks:,} forks of one branch, all kept alive, timed one by one. The branch starts from a snapshot of "
        f"{BASE_KEYS:,} files. Depth: forks between it and the first branch, each kept alive and each having changed "
        f"files before the next; at depth {depth:,} each changes one of 10 files, or ten of {keys:,}. Values have 12 "
        "bytes. Branches fold deltas of some thousand keys into their base by themselves, and do so here; the row "
        f"“never folded” has all {keys:,} keys in the delta. Flatness: forks in batches of {BATCH}, p95 of the "
        f"batches, the largest of the four against the smallest. Memory: tracemalloc over {kept:,} forks that change "
        "nothing. Peers: `copy.deepcopy` and a `pickle` round trip of a dict of as many keys; for persistent maps, "
        "where a fork is a reference, fork and one change are compared."
    )


def sizes(options: Options) -> tuple[int, int, int, int]:
    """Depth, keys, forks, and forks whose memory is measured."""
    pick = options.pick
    return pick(10_000, 100), pick(100_000, 1_000), pick(200_000, 2_000), pick(10_000, 1_000)


def key_of(number: int) -> str:
    return f"src/module{number % 97:02d}/file_{number:06d}.py"


class Line:
    """A branch at some depth, with all it came from alive."""

    def __init__(self, store: Store, start: Branch, depth: int, keys: int) -> None:
        self.alive = [start]
        branch = start.fork()
        number = 0
        for generation in range(depth):
            if generation:
                self.alive.append(branch)
                branch = branch.fork()
            files = branch.files
            for _ in range(max(1, keys // depth)):
                files[key_of(number % keys)] = b"%012d" % number
                number += 1
        self.branch = branch


def fork_times(branch: Branch, forks: int) -> list[float]:
    """Seconds of each fork; all are alive at the end."""
    kept: list[Branch | None] = [None] * forks
    samples = [0] * forks
    clock = time.perf_counter_ns
    fork = branch.fork
    gc.collect()
    for number in range(forks):
        start = clock()
        child = fork()
        samples[number] = clock() - start
        kept[number] = child
    return [sample / 1e9 for sample in samples]


def batch_times(branch: Branch, forks: int) -> list[float]:
    """Seconds per fork, by batches: the clock moves in steps of 10 ns or more, too coarse to compare single forks."""
    kept: list[Branch | None] = [None] * forks
    samples = []
    clock = time.perf_counter_ns
    fork = branch.fork
    gc.collect()
    for first in range(0, forks, BATCH):
        start = clock()
        for number in range(first, first + BATCH):
            kept[number] = fork()
        samples.append((clock() - start) / 1e9 / BATCH)
    return samples


def measure(options: Options) -> Measured:
    import casstore

    depth, keys, forks, kept = sizes(options)
    with scratch(options.work, "fork") as work, casstore.open(str(work / "store")) as store:
        start = store.branch()
        for number in range(BASE_KEYS):
            start.files[key_of(number)] = b"base"
        start.commit("base")
        found = Measured(time_goals(store, start, depth, keys, forks, options))
        found.goals.append(memory_goal(start, kept))
        found.curves += growth(store, start, depth, keys, forks)
        peers(found, store, start, keys, options)
    return found


def time_goals(store: Store, start: Branch, depth: int, keys: int, forks: int, options: Options) -> list[Goal]:
    places = [(1, 10), (1, keys), (depth, 10), (depth, keys)]
    lines = {f"depth {d:,}, {k:,} keys": Line(store, start, d, k) for d, k in places}
    fold_keys = store.branches.fold_keys
    store.branches.fold_keys = NEVER_FOLD
    unfolded = f"depth 1, {keys:,} keys, never folded"
    lines[unfolded] = Line(store, start, 1, keys)
    store.branches.fold_keys = fold_keys
    runs: dict[str, list[dict[str, float]]] = {what: [] for what in lines}
    batches: dict[str, list[float]] = {what: [] for what in lines}
    for _ in range(options.repeat):
        for what, line in lines.items():
            runs[what].append(spread(fork_times(line.branch, forks)))
            if what != unfolded:
                batches[what].append(spread(batch_times(line.branch, forks))["p95"])
    del batches[unfolded]
    goals = []
    for what, repetitions in runs.items():
        least = best(repetitions)
        note = f"p50 {fine_microseconds(least['p50'])}, p99 {fine_microseconds(least['p99'])}"
        detail = {"runs": repetitions, "p95 of batches": batches.get(what)}
        goals.append(Goal(f"fork, {what}, p95", least["p95"], fine_microseconds, BAR, AIM, detail=detail, note=note))
    lowest = [min(found) for found in batches.values()]
    note = "from " + fine_microseconds(min(lowest)) + " to " + fine_microseconds(max(lowest))
    what = "fork, p95 of batches, largest of the four above the smallest"
    goals.append(Goal(what, max(lowest) / min(lowest) - 1, percent, aim=0.1, note=note))
    return goals


def memory_goal(branch: Branch, forks: int) -> Goal:
    """Bytes of a fork, the list that keeps it not counted."""
    children: list[Branch | None] = [None] * forks
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(forks):
            children[number] = branch.fork()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return Goal("memory of a fork that changed nothing", used / forks, plain_bytes, bar=100, aim=72)


def growth(store: Store, start: Branch, depth: int, keys: int, forks: int) -> list[Curve]:
    """Fork time against depth, against changed keys, and against forks that are alive."""
    curves = []
    count = max(100, forks // 10)
    for name, what, largest in (
        ("depth", "depth (forks since the first branch)", depth),
        ("keys", "changed keys", keys),
    ):
        lines = {size: Line(store, start, *(size, size) if name == "depth" else (1, size)) for size in decades(largest)}
        runs: dict[int, list[dict[str, float]]] = {size: [] for size in lines}
        for _ in range(CURVE_RUNS):
            for size, line in lines.items():
                runs[size].append(spread(fork_times(line.branch, count)))
        curves.append(fork_curve(f"fork-{name}", what, runs))
    alive: dict[int, list[dict[str, float]]] = {}
    for _ in range(CURVE_RUNS):
        fork_times(start, WARM_UP)
        samples = fork_times(start, forks)
        low = 0
        for size in sorted({*decades(forks)[2:], forks}):
            alive.setdefault(size, []).append(spread(samples[low:size]))
            low = size
    return [*curves, fork_curve("fork-forks", "forks of one branch that are alive", alive)]


def fork_curve(name: str, what: str, runs: dict[int, list[dict[str, float]]]) -> Curve:
    """p50 and p95 of the best runs."""
    lines = {p: [(float(size), best(found, p)[p] * 1e6) for size, found in runs.items()] for p in ("p50", "p95")}
    return Curve(name, f"Time of a fork against {what}", what, "µs", lines)


def decades(largest: int) -> list[int]:
    """1, 10, 100 … up to ``largest``."""
    found = [1]
    while found[-1] * 10 <= largest:
        found.append(found[-1] * 10)
    return found


def peers(found: Measured, store: Store, start: Branch, keys: int, options: Options) -> None:
    """Forks, and forks with one change, of states of ``keys`` keys; and a plot of the latter."""
    rounds = options.pick(2_000, 100)
    lines: dict[str, list[tuple[float, float]]] = {}
    for size in [size for size in decades(keys) if size >= 10]:
        branch = Line(store, start, 1, size).branch

        def only_fork(number: int, branch: Branch = branch) -> Branch:
            return branch.fork()

        ours = median_of(only_fork, rounds, options)

        def fork_and_change(number: int, branch: Branch = branch, size: int = size) -> None:
            branch.fork().files[key_of(number * 7919 % size)] = b"%012d" % number

        changed = median_of(fork_and_change, rounds, options)
        lines.setdefault("casstore", []).append((size, changed * 1e6))
        state = {key_of(number): b"%012d" % number for number in range(size)}
        for name, operation, count in rivals(state):
            took = median_of(operation, max(5, min(rounds, count)), options)
            lines.setdefault(name, []).append((size, took * 1e6))
            if size in (10, decades(keys)[-1]):
                what = f"fork and one change, {size:,} keys, median"
                found.peers.append(Peer(what, name, took, changed, fine_microseconds))
                if name.startswith(("copy", "pickle")):
                    found.peers.append(Peer(f"fork, {size:,} keys, median", name, took, ours, fine_microseconds))
    found.curves.append(
        Curve("change-keys", "Fork and one change against keys of the state, median", "keys of the state", "µs", lines)
    )


def median_of(operation: Callable[[int], object], count: int, options: Options) -> float:
    """Seconds; the best median of the repetitions. Peers are given few rounds, whose p95 would be the machine's."""
    return best([spread(each(operation, range(count))) for _ in range(options.repeat)], "p50")["p50"]


def rivals(state: dict[str, bytes]) -> Iterator[tuple[str, Callable[[int], Any], int]]:
    """Name, fork and change of one key, and how often it can be done in about a second."""
    size = len(state)
    keys = list(state)

    def by_deepcopy(number: int) -> None:
        copy.deepcopy(state)[keys[number * 7919 % size]] = b"%012d" % number

    def by_pickle(number: int) -> None:
        pickle.loads(pickle.dumps(state, 5))[keys[number * 7919 % size]] = b"%012d" % number

    yield "copy.deepcopy", by_deepcopy, 1_000_000 // size
    yield "pickle", by_pickle, 2_000_000 // size
    if version := package_version("immutables"):
        import immutables

        trie = immutables.Map(state)
        yield (f"immutables {version}", lambda n: trie.set(keys[n * 7919 % size], b"%012d" % n), 100_000)
    if version := package_version("pyrsistent"):
        import pyrsistent

        mapping = pyrsistent.pmap(state)
        yield (f"pyrsistent {version}", lambda n: mapping.set(keys[n * 7919 % size], b"%012d" % n), 100_000)
