# SPDX-License-Identifier: MIT
"""``tree``: a search tree over states: going back to any node, what its reads do to the cache, and long use."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {"rounds": "tree_rounds", "cache": "tree_cache", "back": "tree_backtrack"}
"""Parts in the order they run: the one that holds a hundred thousand nodes comes last."""


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "Searches are made by `casstore.mcts.search` with a fixed seed over a synthetic task; what they choose, and so "
        "what is read, is the same in every run.",
        f"Times of single operations by `time.perf_counter_ns`; percentiles; shown is the best of {options.repeat} "
        "repetitions, as other load on the machine only ever adds.",
    ]
    return run_parts("tree", MODULES, limits, options)
