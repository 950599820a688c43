# SPDX-License-Identifier: MIT
"""Delta: what a branch changed in one root since its base. Immutable: a change makes a new one that shares the rest.

Lookup goes exact key, then prefix marks of the key's ancestors, then base. A key set below a mark wins over it. Keys
are str as users give them; the order of iteration is that of their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from immutables import Map

from casstore.branches.cell import WHITEOUT, Cell
from casstore.snapshots import encode_key

Change = Cell | None
"""A cell, or WHITEOUT."""


class _Miss:
    __slots__ = ()


MISS: Final = _Miss()
"""The delta says nothing of a key: ask the base."""

_EMPTY_KEYS: Final[Map[str, Change]] = Map()
_EMPTY_MARKS: Final[Map[str, bool]] = Map()
_EMPTY_FOLDERS: Final[Map[str, int]] = Map()


class Delta:
    """Changed keys, prefix marks, and how many keys that are set lie below each folder."""

    __slots__ = ("folders", "keys", "marks")

    def __init__(
        self,
        keys: Map[str, Change] = _EMPTY_KEYS,
        marks: Map[str, bool] = _EMPTY_MARKS,
        folders: Map[str, int] = _EMPTY_FOLDERS,
    ) -> None:
        self.keys = keys
        self.marks = marks
        self.folders = folders

    def __bool__(self) -> bool:
        return bool(self.keys) or bool(self.marks)

    def find(self, key: str) -> Change | _Miss:
        """The cell of a key, WHITEOUT, or MISS."""
        found = self.keys.get(key, MISS)
        if found is MISS and self.marks and self.is_marked(key):
            return WHITEOUT
        return found

    def is_marked(self, key: str) -> bool:
        """Whether a prefix mark covers the key."""
        marks = self.marks
        if not marks:
            return False
        return "" in marks or any(folder + "/" in marks for folder in ancestors(key))

    def with_cell(self, key: str, cell: Cell) -> Delta:
        """The delta with a key set."""
        folders = self.folders
        if not isinstance(self.keys.get(key), Cell):
            folders = _count(folders, key, 1)
        return Delta(self.keys.set(key, cell), self.marks, folders)

    def without(self, key: str, *, in_base: bool) -> Delta:
        """The delta with a key gone: whited out where the base has it, else forgotten."""
        keys = self.keys
        folders = self.folders
        if isinstance(keys.get(key), Cell):
            folders = _count(folders, key, -1)
        if in_base and not self.is_marked(key):
            keys = keys.set(key, WHITEOUT)
        elif key in keys:
            keys = keys.delete(key)
        return Delta(keys, self.marks, folders)

    def without_prefix(self, prefix: str, *, in_base: bool) -> Delta:
        """The delta with all keys below ``prefix`` (ends with ``/``, or is empty) gone, by one mark."""
        gone = [key for key in self.keys if key.startswith(prefix)]
        keys, folders = self.keys, self.folders
        if len(gone) == len(keys):
            keys, folders = _EMPTY_KEYS, _EMPTY_FOLDERS
        elif gone:
            with keys.mutate() as editing:
                for key in gone:
                    if isinstance(editing.pop(key), Cell):
                        folders = _count(folders, key, -1)
                keys = editing.finish()
        marks = self.marks
        for mark in [mark for mark in marks if mark.startswith(prefix)]:
            marks = marks.delete(mark)
        if in_base:
            marks = marks.set(prefix, True)
        return Delta(keys, marks, folders)

    def sorted_keys(self, prefix: str = "") -> list[tuple[bytes, str]]:
        """Changed keys as bytes and str, in byte order."""
        raw = encode_key(prefix)
        if prefix.isascii():
            found = [(encode_key(key), key) for key in self.keys if key.startswith(prefix)]
        else:
            # A prefix may end within a letter of the key.
            found = [pair for key in self.keys if (pair := (encode_key(key), key))[0].startswith(raw)]
        found.sort()
        return found


EMPTY: Final = Delta()


def ancestors(key: str) -> Iterator[str]:
    """Folders that a key lies in, nearest first."""
    end = key.rfind("/")
    while end > 0:
        yield key[:end]
        end = key.rfind("/", 0, end)


def _count(folders: Map[str, int], key: str, step: int) -> Map[str, int]:
    for folder in ancestors(key):
        number = folders.get(folder, 0) + step
        folders = folders.set(folder, number) if number else folders.delete(folder)
    return folders
