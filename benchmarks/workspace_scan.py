# SPDX-License-Identifier: MIT
"""A snapshot of a plain directory with a full scan: nothing changed, and ten files changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.workspace_checks import check_snapshot
from benchmarks.workspace_git import Repository
from benchmarks.workspace_rounds import OURS, against, alternate, pause, rounds_of, timed
from benchmarks.workspace_trees import Editor, Tree, chosen, describe, generated, real

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.workspace import Workspace

CHANGED = 10


def workload(options: Options) -> str:
    return (
        f"{describe(options)}. `Workspace.snapshot()` with a full scan, when nothing changed since the last one, "
        "against `git add --all`; and in the larger tree when the same ten files, spread over it, were rewritten, "
        f"against `git add --all` and `git commit`, which count together. {rounds_of(options)} rounds."
    )


def measure(options: Options) -> Measured:
    found = Measured([])
    with scratch(options.work, "scan") as work:
        for number, tree in enumerate((real(options), generated(options))):
            options.progress(f"workspace: scan of {tree.name}")
            folder = work / f"tree-{number}"
            folder.mkdir()
            scan(found, options, folder, tree, ten=number == 1)
    return found


def scan(found: Measured, options: Options, work: Path, tree: Tree, *, ten: bool) -> None:
    """The rows of one tree."""
    import casstore
    from casstore.workspace import Workspace

    ours, theirs = tree.make(work / "ours"), tree.make(work / "theirs")
    repository = Repository(theirs)
    repository.save()
    with casstore.open(str(work / "store")) as store, Workspace(store, str(ours)) as workspace:
        first = workspace.snapshot("start")
        unchanged(found, rounds_of(options), tree, workspace, first, repository)
        if ten:
            changed(found, rounds_of(options), tree, store, workspace, first, repository)


def unchanged(
    found: Measured, rounds: int, tree: Tree, workspace: Workspace, first: Snapshot, repository: Repository
) -> None:
    def save(_: int) -> float:
        took, snapshot = timed(workspace.snapshot)
        if snapshot.roots != first.roots:
            raise BenchmarkError("a snapshot of an unchanged directory has another content.")
        return took

    def add(_: int) -> float:
        pause()
        return repository.add()

    samples = alternate(rounds, {OURS: save, "git add": add})
    against(found, f"snapshot, nothing changed, {tree.name}", samples, "git add", 2.5, 1.0)


def changed(
    found: Measured,
    rounds: int,
    tree: Tree,
    store: Store,
    workspace: Workspace,
    first: Snapshot,
    repository: Repository,
) -> None:
    paths = chosen(Path(workspace.directory), CHANGED)
    ours, theirs = Editor(Path(workspace.directory), paths), Editor(repository.folder, paths)
    last = first

    def save(number: int) -> float:
        nonlocal last
        ours.change(number)
        took, snapshot = timed(workspace.snapshot)
        check_snapshot(store, last, snapshot, ours, number)
        last = snapshot
        return took

    def commit(number: int) -> float:
        theirs.change(number)
        pause()
        took = repository.add() + repository.commit()
        named = repository.read("diff-tree", "-r", "--name-only", "--no-commit-id", "HEAD").split()
        if sorted(named) != theirs.paths:
            raise BenchmarkError(f"git committed {named} instead of {theirs.paths}.")
        return took

    peer = "git add + commit"
    samples = alternate(rounds, {OURS: save, peer: commit})
    against(found, f"snapshot, {CHANGED} changed, {tree.name}", samples, peer, 1.5, 1.0)
