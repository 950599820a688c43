# SPDX-License-Identifier: MIT
"""The files of a branch as a mutable mapping: path → bytes.

A files root is a directory tree: no key is a path prefix of another, and a directory has an entry of its own only while
it is empty. Setting a key keeps that true, or raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casstore.branches.cell import Cell
from casstore.branches.delta import Delta, _Miss, ancestors
from casstore.branches.keyed import FILES_SLOT, Keyed, begins, check_key, kind_of
from casstore.branches.sharing_handles import Shared
from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.entry import (
    DIRECTORY,
    EXECUTABLE,
    INLINE_BYTES,
    OBJECT,
    VALUE,
    Entry,
    file_entry,
)
from casstore.snapshots import decode_key, encode_key
from casstore.tree import Root, Summary, first_key, lookup, scan

if TYPE_CHECKING:
    from casstore.branches.branch import State


class Files(Keyed[bytes]):
    """Regular files of a branch, in the byte order of their paths.

    Symlinks, empty directories and modes are seen through ``entry`` and ``entries`` and set with ``set_entry``.

    *Thread safety*: any number of threads may read and write; each operation is atomic.
    *Cost*: a changed key about 1 µs, a key of the base one look-up in the tree and in the hot cache.
    """

    __slots__ = ()
    _slot = FILES_SLOT

    def _root(self, state: State) -> Root:
        return state[1].files

    def _delta(self, state: State) -> Delta:
        return state[FILES_SLOT]

    def _counts(self, kind: int) -> bool:
        return kind <= EXECUTABLE

    def _total(self, found: Summary) -> int:
        return found.files

    def _content(self, found: Cell | Entry) -> bytes:
        storage = self._branch._context.storage
        if isinstance(found, Cell):
            return found.read(storage)
        if found.address is None:
            return found.inline or b""
        return storage.get(found.address)

    def __getitem__(self, key: str) -> bytes:
        # While the state is at hand, no collection takes what its base refers to.
        state = self._state()
        found = self._find(state, key)
        if found is None:
            raise self._missing(key)
        if kind_of(found) > EXECUTABLE:
            raise NotFoundError(f"{key!r} is no regular file; `entry` tells what it is.", path=key)
        return self._content(found)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        try:
            found = self._find(self._state(), key)
        except InvalidInputError:
            return False
        return found is not None and kind_of(found) <= EXECUTABLE

    def __setitem__(self, key: str, value: bytes | Shared) -> None:
        shared = value if isinstance(value, Shared) else None
        if shared is None and not isinstance(value, (bytes, bytearray, memoryview)):
            raise InvalidInputError(f"a file's content is bytes, not {type(value).__qualname__}; encode text first.")
        check_key(key)
        data = b"" if isinstance(value, Shared) else bytes(value)
        branch = self._branch
        with branch._lock():
            state = self._state()
            old = self._find(state, key)
            executable = old is not None and kind_of(old) == EXECUTABLE
            if shared is not None:
                self._put(state, key, shared.as_file(branch._context, executable), old)
                return
            size = len(data)
            entry = file_entry(size, None, data if size <= INLINE_BYTES else None, executable)
            self._put(state, key, branch._context.budget.cell(entry, data), old)

    def set_entry(self, key: str, entry: Entry, content: bytes | None = None) -> None:
        """Sets a symlink, an empty directory, or a file with its executable bit.

        Args:
            key: The path.
            entry: From ``casstore.format.entry``: ``file_entry``, ``symlink_entry``, ``directory_entry`` …
            content: The bytes that the entry's address stands for, where the store does not have them yet.

        Raises:
            InvalidInputError: The entry cannot stand in a files root, or does not fit ``content``.
            NotFoundError: The store does not have the entry's content.
        """
        check_key(key)
        cell = self._branch._entry_cell(entry, content)
        if entry.kind in (OBJECT, VALUE):
            raise InvalidInputError(f"an entry of kind {entry.kind} cannot stand among files; use `objects`.")
        with self._branch._lock():
            state = self._state()
            self._put(state, key, cell, self._find(state, key))

    def __repr__(self) -> str:
        return f"<files of {self._branch!r}>"

    def _put(self, state: State, key: str, cell: Cell, old: Cell | Entry | None) -> None:
        delta = state[FILES_SLOT]
        if old is None:
            delta = self._make_room(state, key, delta)
        self._branch._replace(FILES_SLOT, state, delta.with_cell(key, cell))

    def _make_room(self, state: State, key: str, delta: Delta) -> Delta:
        """Checks that a new key fits into the directory tree; an empty directory that it fills loses its entry."""
        if delta.folders.get(key) or self._has_below(state, key, delta):
            raise InvalidInputError(f"{key!r} is a directory of this state; delete what is below it first.", path=key)
        nodes = self._branch._context.nodes
        root = self._root(state)
        for folder in ancestors(key):
            if delta.folders.get(folder):
                # A key below this folder passed the same check, so this one and those above are in order.
                break
            raw = encode_key(folder)
            # The first key of the base that is not before the folder tells of both: its entry, and keys below it.
            near = first_key(nodes, root, raw)
            in_base = near == raw
            if near is not None and raw < near < raw + b"/":
                near = first_key(nodes, root, raw + b"/")
            if near is not None and near.startswith(raw + b"/"):
                below = decode_key(near)
                if below not in delta.keys and not delta.is_marked(below):
                    break
            found: Cell | Entry | _Miss | None = delta.find(folder)
            if isinstance(found, _Miss):
                found = lookup(nodes, root, raw) if in_base else None
            if found is None:
                continue
            if kind_of(found) != DIRECTORY:
                raise InvalidInputError(f"{folder!r} is a file of this state; delete it first.", path=folder)
            delta = delta.without(folder, in_base=in_base)
        return delta

    def _has_below(self, state: State, key: str, delta: Delta) -> bool:
        prefix = key + "/"
        nodes, root = self._branch._context.nodes, self._root(state)
        if not begins(nodes, root, prefix) or delta.is_marked(prefix + "x"):
            return False
        keys = delta.keys
        for raw, _ in scan(nodes, root, prefix=encode_key(prefix)):
            below = decode_key(raw)
            if below not in keys and not delta.is_marked(below):
                return True
        return False
