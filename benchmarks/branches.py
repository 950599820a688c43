# SPDX-License-Identifier: MIT
"""``branches``: what futures of one state cost in time and memory, and what others take for the same."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {
    "agents": "branch_agents",
    "fork": "branch_fork",
    "read": "branch_read",
    "fragments": "branch_fragments",
    "bundle": "branch_bundle",
    "states": "branch_states",
}
"""Parts in the order they run: those that hold a million keys come last, as Python's collector walks all that lives."""


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "Times are of single operations by `time.perf_counter_ns`, whose own 0.05 µs count; percentiles over the "
        f"operations of one repetition; shown is the best of {options.repeat} repetitions, as other load on the "
        "machine only ever adds. Python's cyclic collector runs as usual. Nothing is synced unless it says so.",
        "Peers work in memory (`copy.deepcopy`, `pickle`, `pyrsistent`, `immutables`, `prollytree`) or write to a "
        "repository without syncing it (`pygit2`); only casstore and git keep what they are given.",
    ]
    return run_parts("branches", MODULES, limits, options)
