# SPDX-License-Identifier: MIT
"""``tracking``: what it costs to know what changed in a nested state, and to store only that."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {"fields": "tracking_fields", "steps": "tracking_steps"}


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "Times by `time.perf_counter_ns`; percentiles over single operations; shown is the best of "
        f"{options.repeat} repetitions, as other load on the machine only ever adds. Memory by tracemalloc, in a "
        "repetition of its own."
    ]
    return run_parts("tracking", MODULES, limits, options)
