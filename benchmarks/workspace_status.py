# SPDX-License-Identifier: MIT
"""``casstore status`` as a command, the start of Python included, against ``git status``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError, casstore_command, run
from benchmarks.scratch import scratch
from benchmarks.workspace_git import Repository
from benchmarks.workspace_rounds import OURS, against, alone, alternate, pause, rounds_of
from benchmarks.workspace_trees import Editor, chosen, describe, real

BAR, AIM = 0.4, 0.15
STATUS, PYTHON = "git status", "python -c pass"


def workload(options: Options) -> str:
    return (
        f"the first tree ({describe(options)}), one file of which was changed. `casstore --store STORE status` in that "
        "directory, a process for each, wall time; the store is not open elsewhere. Against `git status`, and beside "
        f"`{PYTHON}` of the same interpreter. {rounds_of(options)} rounds."
    )


def measure(options: Options) -> Measured:
    import casstore
    from casstore.workspace import Workspace

    found = Measured([])
    tree = real(options)
    with scratch(options.work, "status") as work:
        ours, theirs = tree.make(work / "ours"), tree.make(work / "theirs")
        repository = Repository(theirs)
        repository.save()
        path = str(work / "store")
        with casstore.open(path) as store, Workspace(store, str(ours)) as workspace:
            workspace.snapshot("start")
        [changed] = chosen(ours, 1)
        for folder in (ours, theirs):
            Editor(folder, [changed]).change(1)
        words = [*casstore_command(), "--store", path, "status"]
        pause()
        check(words, ours, changed)

        def status(_: int) -> float:
            pause()
            return run(words, cwd=ours).seconds

        def git_status(_: int) -> float:
            pause()
            return repository.time("status")

        def python(_: int) -> float:
            pause()
            return run([sys.executable, "-c", "pass"], cwd=ours).seconds

        samples = alternate(rounds_of(options), {OURS: status, STATUS: git_status, PYTHON: python})
        check(words, ours, changed)
    what = f"casstore status, one file changed, {tree.name}"
    alone(found, what, samples[OURS], BAR, AIM)
    against(found, what, samples, STATUS, None, None)
    against(found, what, samples, PYTHON, None, None)
    return found


def check(words: list[str], folder: Path, changed: str) -> None:
    """The command names the file that was changed.

    Raises:
        BenchmarkError: It does not.
    """
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or changed not in done.stdout:
        raise BenchmarkError(f"{' '.join(words)} did not name {changed}:\n{done.stdout}{done.stderr}")
