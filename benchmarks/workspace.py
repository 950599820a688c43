# SPDX-License-Identifier: MIT
"""``workspace``: directories: snapshots, switches, forks and restores of them, against git in the same run."""

from __future__ import annotations

import shutil

from benchmarks.environment import program_version
from benchmarks.options import Options
from benchmarks.parts import run_parts
from benchmarks.process import BenchmarkError
from benchmarks.table import Result
from benchmarks.workspace_rounds import PAUSE_SECONDS, WARM_UP

MODULES = {
    "scan": "workspace_scan",
    "switch": "workspace_switch",
    "watch": "workspace_watch",
    "overlay": "workspace_overlay",
    "status": "workspace_status",
    "restore": "workspace_restore",
}
"""Parts in the order they run: the one that writes most comes last."""


def run(options: Options) -> Result:
    """Measures each part that was asked for.

    Raises:
        BenchmarkError: git is not installed, or something was not as it should be after an operation.
    """
    if shutil.which("git") is None:
        raise BenchmarkError("git is not installed; every part compares with it.")
    limits = [
        "casstore in one process that keeps its store open (`sync=full`, on disk); a row is the p95 of its operation, "
        "or the ratio of that to the p95 of git, which is started as a process for each command. Both sides have a "
        "copy of the same files, and are measured in turns, the order reversed every other round; the first rounds "
        f"({WARM_UP}) do not count. With few rounds, a p95 lies between the two slowest. The page cache is warm.",
        f"{PAUSE_SECONDS * 1e3:.0f} ms pass before each operation, and the benchmark sets the mtime of files that it "
        "changes a day back, to another second each time. So no file is so new that casstore (change time) or git "
        "(mtime, in whole seconds) reads it though it did not change; except the one file that a switch has just "
        "written, for both.",
        f"{program_version(['git', '--version'])}: `gc.auto=0`, no fsmonitor, no untracked cache, no system or user "
        "configuration, else its defaults: threads that stat ahead, and no fsync of loose objects.",
        "What an operation left is checked after it, outside the time: the changed files each time, all files by "
        "`git diff --no-index` in some rounds; a difference ends the benchmark.",
    ]
    return run_parts("workspace", MODULES, limits, options)
