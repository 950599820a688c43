# SPDX-License-Identifier: MIT
"""Writing a whole state to an empty folder, against ``git checkout`` and ``cp -a``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError, run
from benchmarks.scratch import scratch
from benchmarks.workspace_checks import compare
from benchmarks.workspace_git import Repository
from benchmarks.workspace_rounds import OURS, against, alternate, timed
from benchmarks.workspace_trees import copy, described_large, generated, names

if TYPE_CHECKING:
    from casstore import Snapshot, Store

CHECKOUT, COPY = "git checkout", "cp -a"
BLOCK = 4096
ROUNDS = 20
FEWEST = 3


def workload(options: Options) -> str:
    return (
        f"{described_large(options)}. `checkout(store, snapshot, folder)` into an empty folder, against `git checkout "
        "--force HEAD -- .` from a packed repository (faster than from loose objects) with an empty index and a new "
        "work tree, and against `cp -a` of the directory. "
        f"{wanted(options)} rounds, fewer where the disk has no room for them, as nothing is removed before the end; "
        "`sync` before each, not timed; folders spread over the disk. All files are compared in the first round, and "
        "counted in each."
    )


def wanted(options: Options) -> int:
    """Rounds that count: 20 unless ``--repeat`` says otherwise."""
    return options.pick(max(FEWEST, round(ROUNDS * options.repeat / 3)), 2)


def measure(options: Options) -> Measured:
    import casstore
    from casstore.workspace import Workspace

    found = Measured([])
    tree = generated(options)
    with scratch(options.work, "restore") as work:
        source = tree.make(work / "source")
        plain = work / "plain"
        copy(source, plain)
        repository = Repository(source)
        repository.save()
        repository.time("repack", "-adq")
        with casstore.open(str(work / "store")) as store:
            with Workspace(store, str(plain)) as workspace:
                state = workspace.snapshot("all")
            made = Restores(store, state, repository, plain, work)
            sides = {OURS: made.restore, CHECKOUT: made.checkout, COPY: made.copy}
            samples = alternate(room(work, plain, wanted(options)), sides, warm_up=1)
        what = f"restore of all into an empty folder, {tree.name}"
        against(found, what, samples, CHECKOUT, 1.0, None)
        against(found, what, samples, COPY, None, 1.2)
    return found


def room(work: Path, source: Path, rounds: int) -> int:
    """Rounds that half of the free space has room for.

    Raises:
        BenchmarkError: There is no room for any.
    """
    blocks = 0
    for here, _, files in os.walk(source):
        blocks += 1 + sum(-(-os.lstat(os.path.join(here, name)).st_size // BLOCK) for name in files)
    fit = shutil.disk_usage(work).free // 2 // (3 * blocks * BLOCK) - 1
    if fit < min(rounds, FEWEST):
        raise BenchmarkError(f"{work} has no room for {FEWEST} rounds of three copies; give --cache FOLDER elsewhere.")
    return min(rounds, fit)


class Restores:
    """Each way to fill an empty folder."""

    def __init__(self, store: Store, state: Snapshot, repository: Repository, plain: Path, work: Path) -> None:
        self.store = store
        self.state = state
        self.repository = repository
        self.plain = plain
        self.work = work
        self._files = len(names(plain))

    def restore(self, number: int) -> float:
        from casstore.workspace import checkout

        target = self._folder("ours", number)
        took, _ = timed(lambda: checkout(self.store, self.state, str(target)))
        return self._check(took, target, number)

    def checkout(self, number: int) -> float:
        target = self._folder("git", number)
        places = {"GIT_WORK_TREE": str(target), "GIT_INDEX_FILE": str(self.work / f"index-{number}")}
        took = self.repository.time("checkout", "--quiet", "--force", "HEAD", "--", ".", cwd=target, **places)
        return self._check(took, target, number)

    def copy(self, number: int) -> float:
        target = self._folder("copy", number)
        return self._check(run(["cp", "-a", f"{self.plain}/.", str(target)]).seconds, target, number)

    def _folder(self, name: str, number: int) -> Path:
        target = self.work / f"{name}-{number}"
        target.mkdir()
        os.sync()
        return target

    def _check(self, took: float, target: Path, number: int) -> float:
        if number == 0:
            compare(self.plain, target)
        elif (count := len(names(target))) != self._files:
            raise BenchmarkError(f"{target} has {count} files instead of {self._files}.")
        return took
