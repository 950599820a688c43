# SPDX-License-Identifier: MIT
"""``recovery``: opening after kill -9, making the index anew, repairing, and what verification costs a checkout."""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.table import Result

MODULES = {"kill": "recovery_kill", "rebuild": "recovery_rebuild", "verification": "recovery_verification"}


def run(options: Options) -> Result:
    """Measures each part that was asked for."""
    limits = [
        "Contents are slices of 64 MiB of random bytes, each with a number of its own in front: they do not compress, "
        "and are quick to make. Stores are written by child processes; times are taken inside a fresh process each, "
        "after its imports. Files are in the page cache as far as they fit."
    ]
    return run_parts("recovery", MODULES, limits, options)
