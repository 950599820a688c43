# SPDX-License-Identifier: MIT
"""Going back to any node of a large search, in memory and after the tree was saved and resumed."""

from __future__ import annotations

import copy
import gc
import pickle
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.options import Options
from benchmarks.parts import Curve, Measured, Peer
from benchmarks.scratch import scratch
from benchmarks.table import Goal
from benchmarks.timing import best, each, once, spread
from benchmarks.tree_task import ACTIONS, FILES, KEYS, Task
from benchmarks.units import fine_microseconds

if TYPE_CHECKING:
    from casstore.mcts import Node, StateTree

BAR, AIM = 10e-3, 100e-6


def sizes(options: Options) -> tuple[int, int]:
    """Nodes, and times to go back."""
    return options.pick(100_000, 500), options.pick(20_000, 100)


def workload(options: Options) -> str:
    nodes, backs = sizes(options)
    return (
        f"a search of {nodes:,} nodes, {ACTIONS} actions a node, over a state of {FILES} files (random bytes, median "
        f"3 KB), each action rewriting one; an evaluation reads {FILES} files. {backs:,} times back to a node chosen "
        "at random: `tree.backtrack_to(node)`, alone; and with reading one file of that state. The values that "
        "branches hold pass `pending_bytes` (64 MiB), so most lie in the store. Resumed: the tree is saved, the "
        "store closed and opened again, the tree resumed, and each node gone back to for the first time, in random "
        "order, with a read of one file. Peers: the state of one node as a dict, by `copy.deepcopy` (which shares "
        "the immutable bytes), or by `pickle.loads` of what was kept for the node."
    )


def measure(options: Options) -> Measured:
    import casstore
    from casstore.mcts import StateTree

    nodes, backs = sizes(options)
    generator = random.Random(9)
    found = Measured([])
    alone: list[tuple[float, float]] = []
    reading: list[tuple[float, float]] = []
    with scratch(options.work, "back") as work:
        path = str(work / "store")
        task = Task()
        with casstore.open(path) as store:
            tree = StateTree(store, task.start(store), history=False)
            size = 100
            while True:
                task.grow(tree, size)
                options.progress(f"tree: {len(tree):,} nodes")
                gc.collect()
                back, read = operations(tree)
                members = list(tree)
                runs = [spread(each(back, generator.choices(members, k=backs))) for _ in range(options.repeat)]
                alone.append((len(tree), best(runs)["p95"] * 1e6))
                read_runs = [spread(each(read, generator.choices(members, k=backs))) for _ in range(options.repeat)]
                reading.append((len(tree), best(read_runs)["p95"] * 1e6))
                if size >= nodes:
                    break
                size = min(size * 10, nodes)
            deepest = max(node.depth for node in members)
            what = f"back to any node of {len(tree):,}"
            goal(found, f"{what}, p95", runs, f"deepest node at {deepest}")
            goal(found, f"{what}, and reading a file, p95", read_runs)
            peers(found, best(runs, "p50")["p50"], store.branch(tree.backtrack_to(members[-1])).files, options)
            del members
            count = len(tree)
            options.progress("tree: saving")
            saving = once(lambda: tree.save("search"))
            tree.discard()
        with casstore.open(path, create=False) as store:
            resumed: list[StateTree] = []
            resuming = once(lambda: resumed.append(StateTree.resume(store, "search")))
            tree = resumed[0]
            _, read = operations(tree)
            members = list(tree)
            generator.shuffle(members)
            share = len(members) // options.repeat
            parts = [members[number * share : (number + 1) * share][:backs] for number in range(options.repeat)]
            runs = [spread(each(read, part)) for part in parts]
            note = f"saving {count:,} nodes took {saving:.1f} s, resuming {resuming:.1f} s"
            goal(found, f"back to any node of {count:,}, resumed, first time, and reading a file, p95", runs, note)
    lines = {"back": alone, "back, and reading a file": reading}
    found.curves.append(Curve("back-nodes", "Back to any node against nodes of the tree, p95", "nodes", "µs", lines))
    return found


def operations(tree: StateTree) -> tuple[Callable[[Node], object], Callable[[Node], object]]:
    """Going back, alone and with a read."""

    def read(node: Node) -> bytes:
        return tree.backtrack_to(node).files[KEYS[node.id % FILES]]

    return tree.backtrack_to, read


def goal(found: Measured, what: str, runs: list[dict[str, float]], more: str = "") -> None:
    least = best(runs)
    note = f"p50 {fine_microseconds(least['p50'])}, p99 {fine_microseconds(least['p99'])}"
    note += f"; {more}" if more else ""
    found.goals.append(Goal(what, least["p95"], fine_microseconds, BAR, AIM, detail={"runs": runs}, note=note))


def peers(found: Measured, ours: float, files: object, options: Options) -> None:
    """The state of one node, copied."""
    state = dict(files)  # type: ignore[call-overload]
    packed = pickle.dumps(state, 5)
    rounds = range(options.pick(1_000, 20))
    for name, operation in (
        ("copy.deepcopy", lambda _: copy.deepcopy(state)),
        ("pickle", lambda _: pickle.loads(packed)),
    ):
        took = best([spread(each(operation, rounds)) for _ in range(options.repeat)], "p50")["p50"]
        found.peers.append(Peer("back to a node, median", name, took, ours, fine_microseconds))
