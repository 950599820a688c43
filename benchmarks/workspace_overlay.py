# SPDX-License-Identifier: MIT
"""Forks shown as directories by overlayfs: making one, and taking its changes back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError, run
from benchmarks.scratch import scratch
from benchmarks.table import milliseconds
from benchmarks.workspace_checks import compare
from benchmarks.workspace_git import Repository
from benchmarks.workspace_mounts import mounted_below, unavailable, unmount, unmounting
from benchmarks.workspace_overlay_edits import edits
from benchmarks.workspace_rounds import OURS, Samples, against, alone, alternate, pause, rounds_of, syncs, timed
from benchmarks.workspace_trees import Tree, chosen, copy, describe, generated, real

if TYPE_CHECKING:
    from casstore import Snapshot, Store

BAR, AIM = 10e-3, 3e-3
WORKTREES = 10
WORKTREES_LARGE = 3
WORKTREE, MOUNT = "git worktree add", "mount as a process"
OPTIONS = "redirect_dir=on,metacopy=off,index=off"


def workload(options: Options) -> str:
    if reason := unavailable(options.work):
        return f"not measured: {reason}"
    return (
        f"{describe(options)}. The base is made before by a first fork, whose time is a row of its own; then "
        "`fork_to(store, snapshot, directory, method='overlay')`, each fork listed as mounted, and removed when it was "
        f"measured. Against `{WORKTREE}` ({WORKTREES} and, of the larger tree, {WORKTREES_LARGE} rounds; they are "
        "removed when the benchmark ends) and against `mount -t overlay` of the same files with an empty upper "
        "folder, started as a process. In one fork: `capture` into a branch made before, after the same ten files "
        "were rewritten through the mount; `snapshot` with nothing and with one file changed; `fork_to` from the "
        f"fork, with ten changes; `switch` to and fro between two snapshots that differ in one file. "
        f"{rounds_of(options)} rounds."
    )


def measure(options: Options) -> Measured:
    found = Measured([])
    if reason := unavailable(options.work):
        options.progress(f"workspace: overlay is not measured: {reason}")
        return found
    with scratch(options.work, "overlay") as work, unmounting(work):
        for number, tree in enumerate((real(options), generated(options))):
            options.progress(f"workspace: overlay of {tree.name}")
            folder = work / f"tree-{number}"
            folder.mkdir()
            overlay(found, options, folder, tree, WORKTREES_LARGE if number else WORKTREES)
        syncs(found, "overlay", rounds_of(options), work)
    return found


def overlay(found: Measured, options: Options, work: Path, tree: Tree, worktrees: int) -> None:
    """The rows of one tree."""
    import casstore
    from casstore.workspace import Workspace, fork_to

    rounds = rounds_of(options)
    plain = tree.make(work / "plain")
    with casstore.open(str(work / "store")) as store:
        with Workspace(store, str(plain)) as workspace:
            state = workspace.snapshot("state")
        took, first = timed(lambda: fork_to(store, state, str(work / "first"), method="overlay"))
        with first:
            compare(plain, work / "first")
            forks(found, rounds, tree, Forks(store, state, plain, work), min(rounds, worktrees))
            found.goals[-1].note += f"; the first fork took {milliseconds(took)}, as it materializes the base"
            edits(found, rounds, tree, store, first, state, plain)
            first.remove()
    if left := mounted_below(work):
        raise BenchmarkError(f"mounts are left over: {left}")


class Forks:
    """New directories with one state, made in each way."""

    def __init__(self, store: Store, state: Snapshot, plain: Path, work: Path) -> None:
        self.store = store
        self.state = state
        self.plain = plain
        self.work = work
        [self.path] = chosen(plain, 1)
        copy(plain, work / "repository")
        self.repository = Repository(work / "repository")
        self.repository.save()

    def fork(self, number: int) -> float:
        from casstore.workspace import fork_to

        target = self.work / f"fork-{number}"
        took, made = timed(lambda: fork_to(self.store, self.state, str(target), method="overlay"))
        with made:
            if made.kind != "overlay" or not os.path.ismount(target):
                raise BenchmarkError(f"the fork is no mounted overlay, but {made.kind}.")
            self._check(target)
            made.remove()
        return took

    def mount(self, number: int) -> float:
        place = self.work / f"mount-{number}"
        folders = {name: place / name for name in ("upper", "work", "target")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        options = f"lowerdir={self.plain},upperdir={folders['upper']},workdir={folders['work']},{OPTIONS}"
        pause()
        took = run(["mount", "-t", "overlay", "overlay", "-o", options, str(folders["target"])]).seconds
        self._check(folders["target"])
        unmount(folders["target"])
        return took

    def worktree(self, number: int) -> float:
        target = self.work / f"worktree-{number}"
        pause()
        took = self.repository.time("worktree", "add", "--quiet", "--detach", str(target), "HEAD")
        self._check(target)
        return took

    def _check(self, target: Path) -> None:
        if (target / self.path).read_bytes() != (self.plain / self.path).read_bytes():
            raise BenchmarkError(f"{target} has another {self.path}.")


def forks(found: Measured, rounds: int, tree: Tree, made: Forks, worktrees: int) -> None:
    """Rows of making a directory."""
    samples: Samples = alternate(rounds, {OURS: made.fork, MOUNT: made.mount})
    samples |= alternate(worktrees, {WORKTREE: made.worktree}, warm_up=0)
    what = f"fork to a directory, overlay, {tree.name}"
    against(found, what, samples, WORKTREE, None, None)
    against(found, what, samples, MOUNT, None, None)
    alone(found, what, samples[OURS], BAR, AIM)
