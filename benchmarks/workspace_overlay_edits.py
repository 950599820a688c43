# SPDX-License-Identifier: MIT
"""One overlay: what changed in it is captured, saved, forked again and switched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.workspace_checks import Neighbours, check_snapshot, compare
from benchmarks.workspace_rounds import alone, alternate, timed
from benchmarks.workspace_trees import Editor, Tree, chosen, copy, set_back

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.workspace import Workspace

CHANGED = 10
NEW = "new-folder/new-file.txt"
BAR, AIM = 10e-3, 3e-3
STEP_BAR, STEP_AIM = 10e-3, 2e-3


def edits(
    found: Measured, rounds: int, tree: Tree, store: Store, fork: Workspace, state: Snapshot, plain: Path
) -> None:
    """Rows of one fork, whose state is ``state`` and equals the directory ``plain``."""
    folder = Path(fork.directory)
    every = chosen(folder, CHANGED + 2)
    editor, single = Editor(folder, every[:CHANGED]), Editor(folder, every[CHANGED : CHANGED + 1])

    def capture(number: int) -> float:
        editor.change(number)
        branch = store.branch(state)
        took, _ = timed(lambda: fork.capture(branch))
        named = sorted(change.key.removeprefix("files/") for change in store.diff(state, branch.commit("captured")))
        if named != editor.paths or any(branch.files[path] != editor.data(path, number) for path in named):
            raise BenchmarkError(f"the capture has changes in {named} instead of {editor.paths}.")
        return took

    def refork(number: int) -> float:
        editor.change(number)
        target = folder.parent / f"refork-{number}"
        took, made = timed(lambda: fork.fork_to(str(target), method="overlay"))
        with made:
            if any((target / path).read_bytes() != editor.data(path, number) for path in editor.paths):
                raise BenchmarkError("a fork of the fork lacks its changes.")
            made.remove()
        return took

    samples = alternate(rounds, {"capture": capture})
    alone(found, f"overlay: capture, {CHANGED} changed, {tree.name}", samples["capture"], BAR, AIM)
    samples = alternate(rounds, {"refork": refork})
    alone(found, f"overlay: fork of the fork, {CHANGED} changed since its snapshot, {tree.name}", samples["refork"])
    last = fork.snapshot("ten changed")

    def unchanged(_: int) -> float:
        took, snapshot = timed(fork.snapshot)
        if snapshot.roots != last.roots:
            raise BenchmarkError("a snapshot of an unchanged overlay has another content.")
        return took

    def changed(number: int) -> float:
        nonlocal last
        single.change(number)
        took, snapshot = timed(fork.snapshot)
        check_snapshot(store, last, snapshot, single, number)
        last = snapshot
        return took

    samples = alternate(rounds, {"unchanged": unchanged})
    alone(found, f"overlay: snapshot, nothing changed, {tree.name}", samples["unchanged"], STEP_BAR, STEP_AIM)
    samples = alternate(rounds, {"changed": changed})
    alone(found, f"overlay: snapshot, 1 changed, {tree.name}", samples["changed"], STEP_BAR, STEP_AIM)
    expected = folder.parent / "expected"
    copy(folder, expected)
    pair = Neighbours(store, fork, expected, every[-1])
    samples = alternate(rounds, {"switch": pair.switch})
    alone(found, f"overlay: switch, 1 file differs, {tree.name}", samples["switch"], STEP_BAR, STEP_AIM)
    back(fork, state, plain, folder)


def back(fork: Workspace, state: Snapshot, plain: Path, folder: Path) -> None:
    """Switches to the first state with something new in the way, and compares with the directory it came from.

    Raises:
        BenchmarkError: It is not the same.
    """
    (folder / NEW).parent.mkdir()
    (folder / NEW).write_bytes(b"new\n")
    set_back(folder, [NEW])
    report = fork.switch(state)
    if report.saved is None or NEW not in report.saved.files:
        raise BenchmarkError("a new file in an overlay was not saved before the switch.")
    compare(plain, folder)
