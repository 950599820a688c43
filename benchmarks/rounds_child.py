# SPDX-License-Identifier: MIT
"""A process of its own in which ``tree_rounds`` creates and prunes nodes."""

from __future__ import annotations

import gc
import json
import os
import random
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.agents_child import resident_bytes
from benchmarks.scratch import scratch

if TYPE_CHECKING:
    from casstore import Store
    from casstore.mcts import StateTree

FILES = 64
VALUE_BYTES = 1_024
NEW_NODES = 2
KEEP = 32
COLLAPSE_ROUNDS = 100
SAVE_ROUNDS = 1_000
VALUE = "value"


def main(words: list[str]) -> None:
    """Prints memory and store size against rounds as JSON."""
    meter, rounds, checkpoints, work = words
    with scratch(Path(work), "rounds") as folder:
        print(json.dumps(run(folder / "store", int(rounds), int(checkpoints), traced=meter == "tracemalloc")))


def run(path: Path, rounds: int, checkpoints: int, *, traced: bool) -> dict[str, Any]:
    import casstore
    from casstore.mcts import StateTree

    if traced:
        tracemalloc.start()
    rng = random.Random(13)
    steps: list[dict[str, float]] = []
    marks: list[tracemalloc.Snapshot] = []
    started = time.perf_counter()
    with casstore.open(str(path)) as store:
        start = store.branch()
        for number in range(FILES):
            start.files[f"src/file_{number:02d}.py"] = rng.randbytes(VALUE_BYTES)
        tree = StateTree(store, start, history=False)
        for number in range(1, rounds + 1):
            one_round(tree, rng, number)
            if number % COLLAPSE_ROUNDS == 0:
                step_down(tree)
            if number % min(SAVE_ROUNDS, rounds // checkpoints) == 0:
                tree.save("search")
            if number % (rounds // checkpoints) == 0:
                collect(store)
                gc.collect()
                memory = tracemalloc.get_traced_memory()[0] if traced else resident_bytes()
                step = {"round": number, "memory": memory, "store": size_of(path), "nodes": len(tree)}
                steps.append({**step, **{name: size_of(path / name) for name in ("segments", "index")}})
                if traced and number in (rounds // checkpoints, rounds):
                    marks.append(tracemalloc.take_snapshot())
    found: dict[str, Any] = {"steps": steps, "seconds": time.perf_counter() - started, "rounds": rounds}
    if traced:
        grown = sorted(marks[-1].compare_to(marks[0], "lineno"), key=lambda line: -line.size_diff)
        found["grown"] = [
            (f"{'/'.join(Path(line.traceback[0].filename).parts[-2:])}:{line.traceback[0].lineno}", line.size_diff)
            for line in grown[:10]
        ]
    return found


def one_round(tree: StateTree, rng: random.Random, number: int) -> None:
    """Makes some nodes, and prunes."""
    from casstore.mcts import best

    nodes = list(tree)
    for _ in range(NEW_NODES):
        edits = {
            f"files/src/file_{rng.randrange(FILES):02d}.py": rng.randbytes(VALUE_BYTES),
            "objects/progress": {"round": number, "score": rng.random()},
        }
        tree.create_node(rng.choice(nodes), edits, action=number, value=rng.random() + number / COLLAPSE_ROUNDS)
    tree.prune_unreachable(best(KEEP))


def step_down(tree: StateTree) -> None:
    """Makes the child of the root that leads to the best node the root."""
    chosen = max((node for node in tree if node.edge is not None), key=lambda node: node.stats[VALUE])
    tree.collapse(chosen.path[1])


def collect(store: Store) -> None:
    """Collects the store at once."""
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(os.lstat(os.path.join(here, name)).st_size for here, _, files in os.walk(folder) for name in files)
