# SPDX-License-Identifier: MIT
"""``objects``: objects on demand: looking up, loading, memory, what it costs, and loading ahead."""

from __future__ import annotations

import os

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {
    "lookup": "objects_lookup",
    "load": "objects_load",
    "refs": "objects_refs",
    "large": "objects_large",
    "costs": "objects_costs",
    "prefetch": "objects_prefetch",
}
"""Parts in the order they run."""


def load_of() -> float:
    """How many processes want a processor, on average of a minute; 0 where nobody says."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "`lookup`, `load`, `refs` and `prefetch` run in this process, `large` and `costs` in one for each run. Times "
        "of single operations by `time.perf_counter_ns`, which takes part of what is shown; percentiles; shown is the "
        f"best of {options.repeat} repetitions where nothing else is said, as other load on the machine only ever "
        f"adds. At the start, {load_of():.1f} processes wanted one of {os.cpu_count()} processors.",
        "Elsewhere: `is_modified`, one changed field against `deepcopy`, and the 200 steps of an agent are rows of "
        "`python -m benchmarks tracking`; stored bytes of the series with deltas of `python -m benchmarks series`.",
    ]
    return run_parts("objects", MODULES, limits, options)
