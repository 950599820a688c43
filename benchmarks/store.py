# SPDX-License-Identifier: MIT
"""``store``: the parts of the store one by one: chunk and hash, get, many threads, opening, memory."""

from __future__ import annotations

import importlib

from benchmarks import environment
from benchmarks.options import Options
from benchmarks.table import GOAL_HEADERS, Goal, Result, Table

# Memory first: Linux counts a child's memory from before its exec, so the benchmark itself must still be small then.
PARTS = ("memory", "open", "hash", "get", "threads")
MODULES = {"memory": "memory", "open": "opening", "hash": "hashing", "get": "reading", "threads": "threads"}


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    goals: list[Goal] = []
    workload: list[str] = []
    for part in PARTS:
        if options.wants(part):
            options.progress(f"store: {part}")
            module = importlib.import_module(f"benchmarks.{MODULES[part]}")
            workload.append(f"{part}: {module.workload(options)}")
            goals += module.measure(options)
    table = Table("Goals", GOAL_HEADERS, [goal.cells() for goal in goals])
    figures = {goal.what: {"value": goal.value, "bar": goal.bar, "aim": goal.aim, **goal.detail} for goal in goals}
    return Result("store", workload, environment.describe(options.work), [table], figures)
