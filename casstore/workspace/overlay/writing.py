# SPDX-License-Identifier: MIT
"""A delta as an upper folder, written before the overlay is first mounted: the inverse of a capture.

What is new or different is written as files, links and folders; what is gone becomes a whiteout, at the highest folder
that is gone as a whole. A fork of a fork is so the same base with one upper folder, however long its history.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from casstore.format.entry import DIRECTORY, EXECUTABLE, FILE, SYMLINK, Entry
from casstore.tree import Change, Nodes, Root, diff, first_key, lookup
from casstore.workspace.changing.ahead import is_fetched, naming
from casstore.workspace.changing.contents import blocks_of, no_file
from casstore.workspace.changing.target import EXECUTABLE_MODE, FILE_MODE, Target, check_name
from casstore.workspace.overlay.marks import Marks, make_whiteout

if TYPE_CHECKING:
    from casstore.storage import Storage

MAX_DELTA_CHANGES: Final = 2000
"""A fork that differs from its base in more paths gets a base of its own, which costs more once and then nothing."""
MAX_DELTA_BYTES: Final = 64 * 1024 * 1024
"""The same for the bytes of changed files. Both bound the time of a fork: some 0.2 ms a path, 50 ms for the bytes."""


def small_delta(
    nodes: Nodes,
    base: Root,
    root: Root,
    *,
    max_changes: int = MAX_DELTA_CHANGES,
    max_bytes: int = MAX_DELTA_BYTES,
) -> list[Change] | None:
    """The changes from ``base`` to ``root``, if a fork is to mount that base with them on top; None: make a new base.

    *Cost*: O(changes · log n) node reads, and never more than ``max_changes`` of them.
    """
    changes: list[Change] = []
    total = 0
    for change in diff(nodes, base, root):
        changes.append(change)
        total += 0 if change.new is None else change.new.size
        if len(changes) > max_changes or total > max_bytes:
            return None
    return changes


class DeltaWriter:
    """Writes changes into an upper folder that nothing has mounted.

    Args:
        storage: Where contents are.
        nodes: Where trees are.
        root: The state that the overlay is to show.
        base: The base's folder, for the modes of the folders that are made.
        upper: The upper folder.
        marks: How to write its marks.
    """

    def __init__(self, storage: Storage, nodes: Nodes, root: Root, base: str, upper: str, marks: Marks) -> None:
        self._storage = storage
        self._nodes = nodes
        self._root = root
        self._base = os.fsencode(base)
        self._marks = marks
        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._target = Target(upper, fd, replace=False, on_leave=self._leave)
        self._states: dict[bytes, _State] = {}
        self._gone: bytes | None = None

    def write(self, changes: Iterable[Change]) -> None:
        """Writes ``changes``, which lead from the base's tree to ``root`` and come in the order of their keys.

        Raises:
            CorruptionError: A content is damaged, or a key leads outside.
            StorageError: The system refused to write.
        """
        try:
            for path, _, entry in changes:
                if entry is None:
                    self._remove(path)
                elif entry.kind == DIRECTORY:
                    self._make_empty(path)
                else:
                    self._write(path, entry)
            self._target.finish()
        finally:
            self._target.close()

    def _write(self, path: bytes, entry: Entry) -> None:
        kind, _, address, content = entry[:4]
        folder, _, name = path.rpartition(b"/")
        fd = self._target.enter(folder)
        check_name(name, path)
        if content is None and is_fetched(entry) and address is not None:
            with naming(path):
                content = self._storage.get(address)
        if kind in (FILE, EXECUTABLE):
            blocks = blocks_of(self._storage, path, entry, content)
            self._target.write(fd, name, path, blocks, FILE_MODE if kind == FILE else EXECUTABLE_MODE, None)
        elif kind == SYMLINK and content is not None:
            self._target.link(fd, name, path, content)
        else:
            raise no_file(path, entry)

    def _remove(self, path: bytes) -> None:
        """Hides what the base has at ``path``, unless something else of the state does that."""
        if self._gone is not None and path.startswith(self._gone):
            return
        at = path.find(b"/")
        while at > 0 and self._state(path[:at]) is _State.FOLDER:
            at = path.find(b"/", at + 1)
        gone = path if at < 0 else path[:at]
        if at > 0:
            self._gone = gone + b"/"
        if self._state(gone) is not _State.NOTHING:
            return  # What has the name now hides what was there: a file, a folder in a file's place, an opaque folder.
        folder, _, name = gone.rpartition(b"/")
        fd = self._target.enter(folder)
        check_name(name, gone)
        try:
            make_whiteout(fd, name)
        except OSError as error:
            raise self._target.failure(fd, name, gone, error) from error

    def _make_empty(self, path: bytes) -> None:
        fd = self._target.enter(path)
        try:
            # The base may have had members there; without them the mark says nothing that is not so.
            self._marks.make_opaque(fd)
        except OSError as error:
            raise self._target.failure(fd, path.rpartition(b"/")[2], path, error) from error

    def _state(self, path: bytes) -> _State:
        """What the state has at ``path``."""
        state = self._states.get(path)
        if state is None:
            first = first_key(self._nodes, self._root, path + b"/")
            if first is not None and first.startswith(path + b"/"):
                state = _State.FOLDER
            else:
                state = _State.NOTHING if lookup(self._nodes, self._root, path) is None else _State.ENTRY
            self._states[path] = state
        return state

    def _leave(self, path: bytes, fd: int) -> None:
        """Gives a folder the mode that the base's has. Last, since without write permission it takes no more names."""
        if not path:
            return
        try:
            mode = os.lstat(os.path.join(self._base, path)).st_mode
        except OSError:
            return  # The base has none, so it keeps the mode of new folders.
        if stat.S_ISDIR(mode):
            os.fchmod(fd, stat.S_IMODE(mode))


class _State(Enum):
    """What a state has at a path: nothing, a file, symlink or empty folder, or a folder with members."""

    NOTHING = auto()
    ENTRY = auto()
    FOLDER = auto()
