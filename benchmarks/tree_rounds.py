# SPDX-License-Identifier: MIT
"""Long use: a hundred thousand rounds of creating and pruning nodes, and what is left in memory and on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from benchmarks.parts import Curve, Measured
from benchmarks.process import python
from benchmarks.rounds_child import COLLAPSE_ROUNDS, FILES, KEEP, NEW_NODES, SAVE_ROUNDS, VALUE_BYTES
from benchmarks.table import Goal, megabytes
from benchmarks.units import percent

PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); import benchmarks.rounds_child as child; child.main(sys.argv[2:])"
)
BAR, AIM = 0.10, 0.02


def rounds_of(options: Options) -> int:
    return options.pick(100_000, 400)


def workload(options: Options) -> str:
    rounds = rounds_of(options)
    first = rounds // options.pick(10, 2)
    return (
        f"{rounds:,} rounds over a state of {FILES} files of {VALUE_BYTES:,} random bytes and one object; a round "
        f"makes {NEW_NODES} nodes from nodes chosen at random, each with one file and the object changed and a value "
        f"that favours late nodes, and prunes all but the best {KEEP} and their ancestors. Every {COLLAPSE_ROUNDS} "
        f"rounds the child of the root that leads to the best node becomes the root; every {SAVE_ROUNDS:,} rounds the "
        f"tree is saved; every {first:,} rounds the store is collected with no grace and no undo, and memory "
        "(after Python's own collection; by tracemalloc, and resident in another process without it) and the size of "
        f"all files of the store are noted. Growth: after round {rounds:,} against round {first:,}; and "
        "the largest noted on the way against it."
    )


def measure(options: Options) -> Measured:
    found = Measured([])
    rounds = rounds_of(options)
    lines: dict[str, list[tuple[float, float]]] = {}
    root = str(Path(__file__).resolve().parent.parent)
    for meter in ("tracemalloc", "RSS"):
        options.progress(f"tree: {rounds:,} rounds, {meter}")
        ran: dict[str, Any] = json.loads(
            python(PROGRAM, root, meter, str(rounds), str(options.pick(10, 2)), str(options.work))
        )
        steps = ran["steps"]
        add(found, f"memory after {rounds:,} rounds, {meter}", steps, "memory", ran)
        lines[f"memory, {meter}"] = points(steps, "memory")
        if meter == "RSS":
            add(found, f"store size after {rounds:,} rounds, collected", steps, "store", ran)
            lines["store"] = points(steps, "store")
    found.curves.append(
        Curve("rounds", "Memory and store size against rounds", "rounds", "MB", lines, logarithmic=False)
    )
    return found


def add(found: Measured, what: str, steps: list[dict[str, float]], name: str, ran: dict[str, Any]) -> None:
    first, last = steps[0][name], steps[-1][name]
    most = max(steps[1:], key=lambda step: step[name])
    each = ran["seconds"] / ran["rounds"]
    note = f"{megabytes(first)} at first, {megabytes(last)} at the end; {each * 1e6:.0f} µs a round"
    if name == "memory" and "grown" in ran:
        note += "; grown most: " + ", ".join(f"{place} {size / 1e3:+.0f} kB" for place, size in ran["grown"][:3])
    found.goals.append(
        Goal(f"growth of {what}", last / first - 1, percent, BAR, AIM, detail={"steps": steps}, note=note)
    )
    # The end alone could fall on a lucky moment, such as the one after a compaction.
    note = f"{megabytes(most[name])} after round {most['round']:,}"
    if name == "store":
        note += f": segments {megabytes(most['segments'])}, index {megabytes(most['index'])}"
    what = what.replace(" after ", ", the most noted up to ")
    found.goals.append(Goal(f"growth of {what}", most[name] / first - 1, percent, BAR, AIM, note=note))


def points(steps: list[dict[str, float]], name: str) -> list[tuple[float, float]]:
    return [(step["round"], step[name] / 1e6) for step in steps]
