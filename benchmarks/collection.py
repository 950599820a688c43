# SPDX-License-Identifier: MIT
"""``collection``: what a collection takes, and what it takes from writers beside it."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {"sweep": "collection_sweep", "writers": "collection_writers"}
"""Parts in the order they run."""


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "Stores on disk with `sync` in full. Half of the objects are in a state that a ref names, half in one that "
        "nothing names; grace and history are 0. One run: a collection cannot be repeated on the same store.",
    ]
    return run_parts("collection", MODULES, limits, options)
