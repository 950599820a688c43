# SPDX-License-Identifier: MIT
"""One search over Python objects, with states kept by casstore and with states kept by ``copy.deepcopy``.

The search solves a sliding puzzle (A*, Manhattan distance). With every position goes what an agent would carry along: a
memory of some hundred records, of which a move changes one. Both searches visit the same positions in the same order;
only keeping, copying and going back differ. Each runs in a process of its own, which reports its time and its memory
twice: what Python allocated (tracemalloc, in a second run, as it slows everything) and how much the process grew (RSS).

Exits with 1 unless both find the same solution and casstore's memory is at most a quarter.
"""

from __future__ import annotations

import copy
import heapq
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

Board = tuple[int, ...]

START: Board = (8, 6, 7, 2, 5, 4, 3, 0, 1)
GOAL: Board = (1, 2, 3, 4, 5, 6, 7, 8, 0)
RECORDS = 300
MOST_NODES = 1500
"""Enough to compare; the whole search for this position would take longer with copies."""

T = TypeVar("T")


def memory() -> dict[str, Any]:
    """What goes with every position: some 50 kB of nested records."""
    return {
        f"record/{number:03d}": {"number": number, "text": f"observation {number} " * 4, "scores": [number / 7] * 5}
        for number in range(RECORDS)
    }


def moves(board: Board) -> Iterator[Board]:
    hole = board.index(0)
    row, column = divmod(hole, 3)
    for to_row, to_column in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
        if 0 <= to_row < 3 and 0 <= to_column < 3:
            tile = 3 * to_row + to_column
            cells = list(board)
            cells[hole], cells[tile] = cells[tile], 0
            yield tuple(cells)


def distance(board: Board) -> int:
    total = 0
    for place, tile in enumerate(board):
        if tile:
            row, column = divmod(place, 3)
            to_row, to_column = divmod(tile - 1, 3)
            total += abs(row - to_row) + abs(column - to_column)
    return total


class Keeper(Protocol[T]):
    """Keeps the states of a search."""

    def root(self) -> T: ...
    def child(self, state: T, board: Board, step: int) -> T: ...
    def look(self, state: T) -> tuple[Board, dict[str, Any]]: ...


class Copies:
    """States as dicts; a child is a deep copy."""

    def root(self) -> dict[str, Any]:
        return {"board": list(START), **memory()}

    def child(self, state: dict[str, Any], board: Board, step: int) -> dict[str, Any]:
        made = copy.deepcopy(state)
        made["board"] = list(board)
        record = made[f"record/{step % RECORDS:03d}"]
        record["text"] = f"seen at step {step}"
        record["scores"].append(step)
        return made

    def look(self, state: dict[str, Any]) -> tuple[Board, dict[str, Any]]:
        record: dict[str, Any] = state["record/000"]
        return tuple(state["board"]), record


class Nodes:
    """States as nodes of a tree."""

    def __init__(self) -> None:
        import casstore
        from casstore.mcts import StateTree

        store = casstore.open(":memory:")
        start = store.branch()
        start.objects.update({"board": list(START), **memory()})
        start.commit(ref="start")
        self.tree = StateTree(store, "start")

    def root(self) -> Any:
        return self.tree.root

    def child(self, state: Any, board: Board, step: int) -> Any:
        key = f"record/{step % RECORDS:03d}"
        record = state.branch.objects[key]
        record["text"] = f"seen at step {step}"
        record["scores"].append(step)
        return self.tree.create_node(state, {"objects/board": list(board), f"objects/{key}": record})

    def look(self, state: Any) -> tuple[Board, dict[str, Any]]:
        branch = self.tree.backtrack_to(state)
        record: dict[str, Any] = branch.objects["record/000"]
        return tuple(branch.objects["board"]), record


class Found(Generic[T]):
    """What a search ends with."""

    def __init__(self, nodes: int, trace: int, best: int, record: dict[str, Any]) -> None:
        self.nodes = nodes
        self.trace = trace
        self.best = best
        self.record = record


def solve(keeper: Keeper[T]) -> Found[T]:
    """A*; every state that was made is kept, as whoever may go back to any of them must."""
    root = keeper.root()
    kept = [root]
    seen = {START}
    waiting = [(distance(START), 0, 0, 0)]
    trace = 0
    best = distance(START)
    while waiting:
        _, _, steps, number = heapq.heappop(waiting)
        board, _ = keeper.look(kept[number])
        trace = hash((trace, board))
        best = min(best, distance(board))
        if board == GOAL or len(kept) > MOST_NODES:
            break
        for following in moves(board):
            if following not in seen:
                seen.add(following)
                kept.append(keeper.child(kept[number], following, len(kept)))
                heapq.heappush(waiting, (steps + 1 + distance(following), -len(kept), steps + 1, len(kept) - 1))
    _, record = keeper.look(kept[-1])
    return Found(len(kept), trace, best, record)


def measure(way: str, traced: bool) -> dict[str, Any]:
    """One search in this process."""
    keeper: Copies | Nodes = Copies() if way == "deepcopy" else Nodes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if traced:
        tracemalloc.start()
    start = time.perf_counter()
    found: Found[Any] = solve(keeper)
    seconds = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if sys.platform == "darwin":
        grown //= 1024
    return {
        "nodes": found.nodes,
        "trace": found.trace,
        "best": found.best,
        "record": found.record,
        "seconds": seconds,
        "rss_kib": grown,
        "traced_bytes": tracemalloc.get_traced_memory()[1] if traced else 0,
    }


def run(way: str, traced: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, way, "traced" if traced else "timed"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], sys.argv[2] == "traced")))
        return 0
    size = len(json.dumps(memory()))
    print(f"A* over a sliding puzzle; each state carries {RECORDS} records, {size:,} bytes as JSON.\n")
    results = {}
    for way in ("deepcopy", "casstore"):
        timed, traced = run(way, False), run(way, True)
        results[way] = {**timed, "traced_bytes": traced["traced_bytes"]}
    print(f"{'':10}{'states':>8}{'seconds':>9}{'µs/state':>10}{'RSS grew':>12}{'allocated':>12}{'per state':>12}")
    for way, found in results.items():
        nodes = found["nodes"]
        print(
            f"{way:10}{nodes:>8,}{found['seconds']:>9.2f}{found['seconds'] / nodes * 1e6:>10.0f}"
            f"{found['rss_kib'] / 1024:>9.1f} MB{found['traced_bytes'] / 1e6:>9.1f} MB"
            f"{found['traced_bytes'] / nodes / 1e3:>9.1f} kB"
        )
    copied, kept = results["deepcopy"], results["casstore"]
    same = all(copied[name] == kept[name] for name in ("nodes", "trace", "best", "record"))
    less = kept["traced_bytes"] / copied["traced_bytes"]
    print(f"\nThe same states in the same order: {'yes' if same else 'NO'}.")
    print(f"casstore takes {kept['seconds'] / copied['seconds']:.1%} of the time and {less:.1%} of the memory.")
    return 0 if same and less <= 0.25 else 1


if __name__ == "__main__":
    sys.exit(main())
