# SPDX-License-Identifier: MIT
"""What must hold after each operation for its time to mean something."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.process import BenchmarkError
from benchmarks.workspace_rounds import timed
from benchmarks.workspace_trees import Editor, names

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.workspace import Workspace

EVERY = 10


def compare(expected: Path, found: Path) -> None:
    """Both directories have the same files.

    Raises:
        BenchmarkError: They have not.
    """
    words = ["git", "diff", "--no-index", "--stat", str(expected), str(found)]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd="/")
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise BenchmarkError(f"{found} is not like {expected}:\n" + "\n".join(lines[-10:]))


def check_snapshot(store: Store, before: Snapshot, after: Snapshot, editor: Editor, number: int) -> None:
    """The snapshot differs from the one before in the edited files alone, and has their bytes.

    Raises:
        BenchmarkError: It is not so.
    """
    named = sorted(change.key.removeprefix("files/") for change in store.diff(before, after))
    if named != editor.paths:
        raise BenchmarkError(f"the snapshot has changes in {named} instead of {editor.paths}.")
    for path in editor.paths:
        if after.files[path] != editor.data(path, number):
            raise BenchmarkError(f"the snapshot has old bytes of {path}.")


def identities(folder: Path, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Inode and mtime of files: what a switch leaves alone."""
    statuses = {path: os.lstat(folder / path) for path in paths}
    return {path: (status.st_ino, status.st_mtime_ns) for path, status in statuses.items()}


class Neighbours:
    """Two states of a workspace that differ in one file, and the switch from either to the other.

    Args:
        store: The workspace's.
        workspace: Its directory is left at the second state.
        expected: A copy of the directory as it is now; kept at the state that the directory should have.
        path: The file that differs.
    """

    def __init__(self, store: Store, workspace: Workspace, expected: Path, path: str) -> None:
        self.workspace = workspace
        self.folder = Path(workspace.directory)
        self.expected = expected
        self.path = path
        editor = Editor(self.folder, [path])
        self._others = [name for name in names(self.folder) if name != path]
        original = (self.folder / path).read_bytes()
        self.contents = (original, editor.data(path, 1))
        first = workspace.snapshot("first")
        editor.change(1)
        self.states = (first, workspace.snapshot("second"))
        check_snapshot(store, *self.states, editor, 1)
        self._identities = identities(self.folder, self._others)

    def switch(self, number: int) -> float:
        """Seconds of switching to the first state in even rounds, to the second in odd ones.

        Raises:
            BenchmarkError: The directory is not as it should be now.
        """
        target = self.states[number % 2]
        took, report = timed(lambda: self.workspace.switch(target))
        if report.snapshot != target or (self.folder / self.path).read_bytes() != self.contents[number % 2]:
            raise BenchmarkError(f"the directory was not switched: {report}")
        if number < 2 or number % EVERY == 0:
            self.compare(number)
        return took

    def compare(self, number: int, *, kept: bool = True) -> None:
        """Compares all files with what they should be after round ``number``.

        Args:
            number: The round.
            kept: Whether all files but the one that differs must still have their inode and mtime.

        Raises:
            BenchmarkError: They differ, or an unchanged one was written again.
        """
        (self.expected / self.path).write_bytes(self.contents[number % 2])
        compare(self.expected, self.folder)
        if kept and identities(self.folder, self._others) != self._identities:
            raise BenchmarkError("a switch wrote files that did not differ.")
