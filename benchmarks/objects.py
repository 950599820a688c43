# SPDX-License-Identifier: MIT
"""``objects``: Refs, loading, and loading ahead."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {"load": "objects_load", "refs": "objects_refs", "prefetch": "objects_prefetch"}
"""Parts in the order they run."""


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "Everything in one process. Times of single operations by `time.perf_counter_ns`, which takes part of what is "
        f"shown; percentiles; shown is the best of {options.repeat} repetitions, as other load on the machine only "
        "ever adds.",
    ]
    return run_parts("objects", MODULES, limits, options)
