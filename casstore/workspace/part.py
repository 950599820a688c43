# SPDX-License-Identifier: MIT
"""The part of a state that is checked out: all of it, a folder, or a single file or symlink."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from casstore.errors import NotFoundError
from casstore.format.entry import DIRECTORY, Entry
from casstore.format.posix import PosixMetadata, decode_posix, posix_key
from casstore.tree import Nodes, lookup, scan, summary

if TYPE_CHECKING:
    from casstore.address import Address

FILES: Final = "files"
OBJECTS: Final = "objects"
POSIX: Final = "posix"

Item = tuple[bytes, Entry]


class Part:
    """What is at ``path`` in the state with the table of ``roots`` (``b""`` for all of it).

    Attributes:
        total: Number of regular files, where it is known without reading the tree.

    Raises:
        NotFoundError: The state has no such path.
    """

    __slots__ = ("_cut", "_nodes", "_posix", "_prefix", "_root", "_single", "total")

    def __init__(self, nodes: Nodes, roots: Mapping[str, Address], path: bytes = b"") -> None:
        self._nodes = nodes
        self._root = roots.get(FILES)
        self._posix = roots.get(POSIX)
        self._prefix = path + b"/" if path else b""
        self._cut = len(self._prefix)
        self._single: Item | None = None
        self.total: int | None = None
        if not path:
            self.total = summary(nodes, self._root).files
            return
        entry = lookup(nodes, self._root, path)
        if entry is not None and entry.kind != DIRECTORY:
            self._prefix = path[: path.rfind(b"/") + 1]
            self._cut = len(self._prefix)
            self._single = path[self._cut :], entry
        elif entry is None and next(self.items(), None) is None:
            name = os.fsdecode(path)
            raise NotFoundError(f"the state has no path {name!r}; see what it has with `casstore ls`.", path=name)

    def items(self) -> Iterator[Item]:
        """Path below the target, and entry, sorted by path."""
        if self._single is not None:
            return iter([self._single])
        found = scan(self._nodes, self._root, prefix=self._prefix)
        cut = self._cut
        return ((key[cut:], entry) for key, entry in found) if cut else found

    def metadata(self, path: bytes, *, directory: bool) -> PosixMetadata | None:
        """What was kept of ``path`` below the target (``b""`` is the target), if anything.

        Raises:
            CorruptionError: The metadata is damaged.
        """
        if self._posix is None or (self._single is not None and directory):
            return None
        place = self._prefix + path if path else self._prefix[:-1]
        entry = lookup(self._nodes, self._posix, posix_key(place, directory=directory))
        return decode_posix(entry.inline) if entry is not None and entry.inline is not None else None
