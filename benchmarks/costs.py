# SPDX-License-Identifier: MIT
"""``costs``: what each thing that a program holds takes, in bytes and in time, and ways of keeping a growing state."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {"states": "costs_states", "caches": "costs_caches", "growing": "costs_growing"}
"""Parts in the order they run."""


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "One process, one thread. Bytes by `tracemalloc` (Python's own; not what LevelDB takes), of many of a kind "
        "that are all kept, divided by their number, with what they refer to only where it is theirs. Times of single "
        f"operations by `time.perf_counter_ns`; medians, the best of {options.repeat} repetitions.",
    ]
    return run_parts("costs", MODULES, limits, options)
