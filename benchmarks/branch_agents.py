# SPDX-License-Identifier: MIT
"""850 agents with a megabyte of state each, most of it shared: what that takes in memory, against copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from benchmarks.parts import Curve, Measured, Peer
from benchmarks.process import python
from benchmarks.table import Goal, megabytes
from benchmarks.units import four_digits, percent

STATE_BYTES = 1_000_000
SHAPES = ((250, 4_000), (1_000, 1_000))
"""Values of a state, and bytes of each."""
SHARED = 0.9
METERS = ("tracemalloc", "RSS")
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); import benchmarks.agents_child as child; child.main(sys.argv[2:])"
)


def agents_of(options: Options) -> int:
    return options.pick(850, 20)


def workload(options: Options) -> str:
    shapes = " or ".join(f"{count:,} files of {size:,} bytes" for count, size in SHAPES)
    return (
        f"a snapshot of {STATE_BYTES / 1e6:.0f} MB of random bytes ({shapes}) in a store on disk; "
        f"{agents_of(options)} agents fork it, each writes 10 % of the files anew with bytes of its own and then "
        "reads its whole state once; all stay alive. `pending_bytes` is raised to 1 GiB, so that nothing is spilled "
        "to the store and all of it is in memory; one row has the default of 64 MiB. Memory: growth since before the "
        "first branch, by tracemalloc and by resident memory of a process of its own; it includes the caches that "
        "the shared part fills. Copies: every agent's state by a `pickle` round trip, and the same writes "
        "(`copy.deepcopy` shares immutable bytes, so it copies nothing but the dict). Overhead: all that tracemalloc "
        "counts and is no byte of a value (branches, deltas, cells, entries, nodes, pins, and the 33 bytes that "
        "Python puts before each value), as a share of the whole. R² of a straight line through memory against "
        "agents, from 1 to all."
    )


def measure(options: Options) -> Measured:
    found = Measured([])
    agents = agents_of(options)
    lines: dict[str, list[tuple[float, float]]] = {}
    for count, size in SHAPES[:1] if options.quick else SHAPES:
        shape = f"{count:,} × {size:,} bytes"
        for meter in METERS:
            branches = child(options, "branches", meter, count, size, agents)
            copies = child(options, "pickle", meter, count, size, agents)
            steps = branches["steps"]
            used, copied = steps[-1][1], copies["steps"][-1][1]
            note = f"{megabytes(used)} against {megabytes(copied)}"
            what = f"{agents} agents, {shape}, {meter}"
            detail = {"branches": branches, "pickle": copies}
            found.goals.append(
                Goal(
                    f"memory saved, {what}",
                    1 - used / copied,
                    percent,
                    0.8,
                    0.87,
                    higher=True,
                    detail=detail,
                    note=note,
                )
            )
            square = r_squared(steps)
            found.goals.append(
                Goal(f"R² of memory against agents, {what}", square, four_digits, 0.99, 0.99, higher=True)
            )
            lines[f"branches, {count:,} values, {meter}"] = megabyte_points(steps)
            if meter == "tracemalloc":
                overhead = 1 - branches["payload_bytes"] / used
                each = (used - branches["payload_bytes"]) / agents / (count * (1 - SHARED))
                note = (
                    f"{each:.0f} bytes for each value that an agent wrote: {parts(branches['by_part'], agents, count)}"
                )
                found.goals.append(Goal(f"overhead, {what}", overhead, percent, 0.1, 0.05, note=note))
                for name in ("copy.deepcopy", "immutables"):
                    other = child(options, name, meter, count, size, agents)["steps"][-1][1]
                    found.peers.append(Peer(f"memory, {what}", name, other, used, megabytes))
            found.peers.append(Peer(f"memory, {what}", "pickle", copied, used, megabytes))
            if count == SHAPES[0][0] and meter == METERS[0]:
                lines[f"pickle copies, {count:,} values"] = megabyte_points(copies["steps"])
    count, size = SHAPES[0]
    spilled = child(options, "branches, default budget", "RSS", count, size, agents)
    copied = child(options, "pickle", "RSS", count, size, agents)["steps"][-1][1]
    used = spilled["steps"][-1][1]
    what = f"memory saved, {agents} agents, {count:,} × {size:,} bytes, RSS, default budget"
    note = f"{megabytes(used)} against {megabytes(copied)}"
    found.goals.append(Goal(what, 1 - used / copied, percent, 0.8, 0.87, higher=True, detail=spilled, note=note))
    title = f"Memory of agents with {STATE_BYTES / 1e6:.0f} MB of state each, {SHARED:.0%} shared"
    found.curves.append(Curve("agents-memory", title, "agents", "MB", lines))
    return found


def child(options: Options, kind: str, meter: str, count: int, size: int, agents: int) -> dict[str, Any]:
    """What a fresh process measured."""
    root = str(Path(__file__).resolve().parent.parent)
    words = (kind, meter, str(count), str(size), str(agents), str(SHARED), str(options.work))
    found: dict[str, Any] = json.loads(python(PROGRAM, root, *words))
    return found


def parts(by_part: dict[str, float], agents: int, count: int) -> str:
    """Bytes for each written value, by what allocated them, the largest first."""
    written = agents * count * (1 - SHARED)
    largest = sorted(by_part.items(), key=lambda item: -item[1])[:5]
    return ", ".join(f"{name} {size / written:.0f}" for name, size in largest)


def megabyte_points(steps: list[list[float]]) -> list[tuple[float, float]]:
    return [(agents, max(used, 1e3) / 1e6) for agents, used in steps]


def r_squared(steps: list[list[float]]) -> float:
    """How much of the variance a straight line explains."""
    xs, ys = [x for x, _ in steps], [y for _, y in steps]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    xy = sum((x - middle_x) * (y - middle_y) for x, y in steps)
    xx = sum((x - middle_x) ** 2 for x in xs)
    yy = sum((y - middle_y) ** 2 for y in ys)
    return xy * xy / (xx * yy) if xx and yy else 0.0
