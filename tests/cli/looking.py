# SPDX-License-Identifier: MIT
"""What the tests of workspaces look at: directories, refs, and lines that a command prints."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import casstore


def listing(top: Path) -> dict[str, object]:
    """Everything below ``top``, with what ``switch`` must not touch where nothing differs: inode and mtime."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        status = path.lstat()
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = (path.read_bytes(), status.st_mode, status.st_ino, status.st_mtime_ns)
    return found


def contents(top: Path) -> dict[str, object]:
    """What ``listing`` shows, without what differs between two directories of one state."""
    return {name: item[:2] if isinstance(item, tuple) else item for name, item in listing(top).items()}


def refs_of(command: Any) -> dict[str, str]:
    """Refs and the ids that they name."""
    return {item["name"]: item["id"] for item in command.json("refs")["refs"]}


def lines_of(text: str, letters: str = "AMDT!") -> list[str]:
    return [line for line in text.splitlines() if len(line) > 2 and line[0] in letters and line[1] == " "]


def undo_words(text: str) -> list[str]:
    """The command that a line ``undo: ...`` names, without ``casstore`` itself."""
    line = next(line for line in text.splitlines() if line.startswith("undo: "))
    words = shlex.split(line.removeprefix("undo: "))
    assert words[0] == "casstore"
    return words[1:]


def files(command: Any, state: str) -> dict[str, bytes]:
    """The files of a state."""
    with casstore.open(command.store, read_only=True) as store:
        return dict(store.resolve(state).files)
