# SPDX-License-Identifier: MIT
"""States of a hundred thousand and of a million keys: building a tree, commits, differences, merges."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import Options
from benchmarks.parts import Curve, Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.state_peers import PEERS, Timed
from benchmarks.table import Goal, seconds
from benchmarks.timing import best, spread
from benchmarks.units import fine_milliseconds

if TYPE_CHECKING:
    from casstore import Snapshot, Store

DIFF_CHANGES = 10
MERGE_CHANGES = 100
VALUE_BYTES = 1_000
COMMIT_GOALS = {0: (2e-3, 0.5e-3), 1: (4e-3, 1e-3)}


def sizes(options: Options) -> tuple[tuple[int, int], int, int, int]:
    """Keys of the two states, commits, diffs, merges."""
    keys = (options.pick(100_000, 1_000), options.pick(1_000_000, 3_000))
    return keys, options.pick(1_000, 100), options.pick(100, 5), options.pick(20, 2)


def workload(options: Options) -> str:
    (small, large), commits, diffs, merges = sizes(options)
    return (
        f"states of {small:,} and {large:,} files with 12 bytes each, `src/moduleNNN/file_NNNNNNN.py`, in a store on "
        "disk with the default caches (a million keys do not fit into them). Build: `casstore.tree.build` of "
        f"{large:,} sorted keys and entries. Commit: {commits:,} times a fork of the snapshot, one file at random set "
        f"to {VALUE_BYTES:,} new random bytes, and `commit()`, which is timed. Diff: the whole list of `store.diff` "
        f"of the state and of another with {DIFF_CHANGES} files changed at random, {diffs} times, each right after "
        "that one was committed; cold: the same with the cache of nodes emptied in between, so that every node is "
        f"read from its file and verified. Merge: {merges} times `branch.merge(snapshot)` where both sides changed "
        f"{MERGE_CHANGES} other files since the common state, which is found through history; committed, or all "
        "changes still pending in two branches. p95 of so few lies between the largest samples. Peers: git's tree of "
        "the same paths, all with one blob (a million loose objects would measure the file system); prollytree gets "
        "the values themselves, in memory, and its `diff` gives nothing yet by its own documentation, so it is left "
        "out; a commit of `immutables`, `pyrsistent` is one changed key without any hash; `pickle` writes, and "
        "`deepcopy` copies, the whole dict. Peers are compared by medians, set and commit together, with the diff of "
        "what was just committed; builds, and git's merge, are single runs."
    )


def path_of(number: int) -> str:
    return f"src/module{number % 997:03d}/file_{number:07d}.py"


class State:
    """A snapshot of many files in a store of its own."""

    def __init__(self, store: Store, keys: int) -> None:
        from casstore.format.entry import file_entry
        from casstore.tree import build

        items = sorted((path_of(n).encode(), file_entry(12, None, b"%012d" % n, False)) for n in range(keys))
        gc.collect()
        start = time.perf_counter()
        root = build(store.nodes, items, tree=True)
        self.build_seconds = time.perf_counter() - start
        if root is None:
            raise BenchmarkError("nothing was built.")
        self.store = store
        self.keys = [key.decode() for key, _ in items]
        self.snapshot: Snapshot = store.add_snapshot(roots={"files": root})
        self.random = random.Random(keys)
        del items
        gc.collect()

    def commits(self, count: int) -> tuple[list[float], list[float]]:
        """Seconds of each commit, and of setting and committing."""
        alone, both = [], []
        for _ in range(count):
            branch = self.store.branch(self.snapshot)
            key, value = self.random.choice(self.keys), self.random.randbytes(VALUE_BYTES)
            start = time.perf_counter_ns()
            branch.files[key] = value
            middle = time.perf_counter_ns()
            branch.commit("one change")
            end = time.perf_counter_ns()
            alone.append((end - middle) / 1e9)
            both.append((end - start) / 1e9)
        return alone, both

    def changed(self, chosen: list[str]) -> Snapshot:
        """A snapshot with these files changed."""
        branch = self.store.branch(self.snapshot)
        for key in chosen:
            branch.files[key] = self.random.randbytes(VALUE_BYTES)
        return branch.commit("some changes")

    def diffs(self, count: int, *, cold: bool) -> list[float]:
        """Seconds of each difference from another state."""
        samples = []
        for _ in range(count):
            other = self.changed(self.random.sample(self.keys, DIFF_CHANGES))
            if cold:
                self.store.nodes.clear()
            start = time.perf_counter_ns()
            found = list(self.store.diff(self.snapshot, other))
            samples.append((time.perf_counter_ns() - start) / 1e9)
            if len(found) != DIFF_CHANGES:
                raise BenchmarkError(f"{len(found)} changes were found instead of {DIFF_CHANGES}.")
        return samples

    def merges(self, count: int, *, pending: bool) -> list[float]:
        """Seconds of each merge."""
        samples = []
        for _ in range(count):
            chosen = self.random.sample(self.keys, 2 * MERGE_CHANGES)
            branches = []
            for part in (chosen[:MERGE_CHANGES], chosen[MERGE_CHANGES:]):
                branch = self.store.branch(self.snapshot)
                for key in part:
                    branch.files[key] = self.random.randbytes(VALUE_BYTES)
                if not pending:
                    branch.commit("a side")
                branches.append(branch)
            ours, theirs = branches
            other = theirs if pending else self.store.snapshot(theirs.commit("their side"))
            start = time.perf_counter_ns()
            report = ours.merge(other)
            samples.append((time.perf_counter_ns() - start) / 1e9)
            if report.changed != MERGE_CHANGES or report.conflicts:
                raise BenchmarkError(f"the merge took over {report.changed} changes instead of {MERGE_CHANGES}.")
        return samples


def measure(options: Options) -> Measured:
    import casstore

    counts, commits, diffs, merges = sizes(options)
    found = Measured([])
    ours: dict[str, float] = {}
    with scratch(options.work, "states") as work:
        for number, keys in enumerate(counts):
            repeats = options.repeat if number else 1
            builds = []
            for repeat in range(repeats):
                options.progress(f"states: {keys:,} keys, {repeat + 1} of {repeats}")
                store = casstore.open(str(work / f"{keys}-{repeat}"))
                state = State(store, keys)
                builds.append(state.build_seconds)
                if repeat < repeats - 1:
                    store.close()
            runs = [state.commits(commits) for _ in range(options.repeat)]
            goal(found, f"commit of 1 change, {keys:,} keys", [run[0] for run in runs], COMMIT_GOALS[number])
            goal(found, f"set and commit of 1 change, {keys:,} keys", [run[1] for run in runs], None)
            ours[f"commit {keys}"] = best([spread(run[1]) for run in runs], "p50")["p50"]
            ours[f"build {keys}"] = min(builds)
            if number:
                what = f"building a tree of {keys:,} keys"
                detail = {"samples": builds}
                found.goals.append(Goal(what, min(builds), seconds, 5.0, 2.5, detail=detail, note="best of the runs"))
                for temperature in ("just committed", "cold"):
                    samples = [state.diffs(diffs, cold=temperature == "cold") for _ in range(options.repeat)]
                    goal(found, f"diff, {keys:,} keys, {DIFF_CHANGES} changes, {temperature}", samples, (20e-3, 2e-3))
                    ours.setdefault(f"diff {keys}", best([spread(run) for run in samples], "p50")["p50"])
                for kind in ("committed", "pending"):
                    samples = [state.merges(merges, pending=kind == "pending") for _ in range(options.repeat)]
                    what = f"merge, {keys:,} keys, {MERGE_CHANGES} changes each side, {kind}"
                    goal(found, what, samples, (200e-3, 30e-3))
                    if kind == "committed":
                        ours[f"merge {keys}"] = best([spread(run) for run in samples], "p50")["p50"]
            state.keys = []
            store.close()
        del state, store
        growth(found, work, options)
        compare(found, ours, counts, work, options)
    return found


def goal(found: Measured, what: str, runs: list[list[float]], limits: tuple[float, float] | None) -> None:
    spreads = [spread(run) for run in runs]
    least = best(spreads)
    note = f"p50 {fine_milliseconds(least['p50'])}, p99 {fine_milliseconds(least['p99'])}"
    bar, aim = limits or (None, None)
    found.goals.append(
        Goal(f"{what}, p95", least["p95"], fine_milliseconds, bar, aim, detail={"runs": spreads}, note=note)
    )


def growth(found: Measured, work: Path, options: Options) -> None:
    """Commit and diff against keys of the state."""
    import casstore

    commits: list[tuple[float, float]] = []
    diffs: list[tuple[float, float]] = []
    keys = 100
    while keys <= options.pick(1_000_000, 1_000):
        with casstore.open(str(work / f"growth-{keys}")) as store:
            state = State(store, keys)
            commits.append((keys, spread(state.commits(200)[0])["p50"] * 1e3))
            diffs.append((keys, spread(state.diffs(20, cold=False))["p50"] * 1e3))
        keys *= 10
    lines = {"commit of 1 change, p50": commits, f"diff of {DIFF_CHANGES} changes, p50": diffs}
    title = "Commit and diff against keys of the state"
    found.curves.append(Curve("states-keys", title, "keys of the state", "ms", lines))


def compare(found: Measured, ours: dict[str, float], counts: tuple[int, int], work: Path, options: Options) -> None:
    """The same by the peers that are installed, one after another, each alone in memory."""
    from benchmarks.parts import Peer

    shows: dict[str, Callable[[float], str]] = {"build": seconds}
    for make in PEERS:
        for keys in counts:
            options.progress(f"states: {make.__name__}, {keys:,} keys")
            gc.collect()
            timed: Timed | None = make(keys, work, options)
            if timed is None:
                break
            for what, value in timed.seconds.items():
                mine = ours.get(f"{what} {keys}")
                if mine is not None:
                    show = shows.get(what, fine_milliseconds)
                    found.peers.append(Peer(f"{what}, {keys:,} keys", timed.name, value, mine, show, timed.note))
