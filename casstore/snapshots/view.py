# SPDX-License-Identifier: MIT
"""Read-only view of a state's files as a mapping: path → bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.entry import EXECUTABLE, FILE, Entry
from casstore.storage import Storage
from casstore.tree import Nodes, Root, lookup, scan, summary


def encode_key(key: str) -> bytes:
    """A key as it stands in a tree: UTF-8, with surrogate escapes for bytes that are not.

    Raises:
        InvalidInputError: ``key`` is no str, or holds a lone surrogate that stands for no byte.
    """
    try:
        return key.encode("utf-8", "surrogateescape")
    except (AttributeError, UnicodeEncodeError):
        raise InvalidInputError(f"{key!r} is no key; give a str with `/` between components.") from None


def decode_key(key: bytes) -> str:
    """A tree's key as str."""
    return key.decode("utf-8", "surrogateescape")


class FilesView(Mapping[str, bytes]):
    """Regular files of a state, in the byte order of their paths. ``entries`` also yields symlinks and empty folders.

    *Cost*: ``len`` reads one node, a look-up one node per level and the content.
    """

    __slots__ = ("_nodes", "_pin", "_storage", "root")

    def __init__(self, storage: Storage, nodes: Nodes, root: Root, pin: object = None) -> None:
        """``pin`` keeps the state from the collector for as long as the view lives."""
        self._pin = pin
        self._storage = storage
        self._nodes = nodes
        self.root = root

    def entry(self, key: str) -> Entry:
        """What ``key`` maps to, whatever its kind.

        Raises:
            NotFoundError: Nothing has that key.
        """
        found = lookup(self._nodes, self.root, encode_key(key))
        if found is None:
            raise NotFoundError(f"the state holds no {key!r}; list what it holds with `casstore ls`.", path=key)
        return found

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """Keys and entries of every kind, in order, that begin with ``prefix``."""
        for key, entry in scan(self._nodes, self.root, prefix=encode_key(prefix)):
            yield decode_key(key), entry

    def open(self, key: str) -> BinaryIO:
        """The file, opened for reading: seekable, and only the chunks that are needed are read.

        Raises:
            NotFoundError: Nothing has that key, or it is no regular file.
        """
        entry = self._file(key)
        if entry.address is None:
            return io.BytesIO(entry.inline or b"")
        return self._storage.open_content(entry.address)

    def _file(self, key: str) -> Entry:
        entry = self.entry(key)
        if entry.kind not in (FILE, EXECUTABLE):
            raise NotFoundError(f"{key!r} is no regular file; `entry` tells what it is.", path=key)
        return entry

    def __getitem__(self, key: str) -> bytes:
        return self.read(self._file(key))

    def read(self, entry: Entry) -> bytes:
        """The content of an entry, from the entry itself or from the store."""
        if entry.inline is not None:
            return entry.inline
        return b"" if entry.address is None else self._storage.get(entry.address)

    def __iter__(self) -> Iterator[str]:
        return (key for key, entry in self.entries() if entry.kind in (FILE, EXECUTABLE))

    def __len__(self) -> int:
        return summary(self._nodes, self.root).files

    def __contains__(self, key: object) -> bool:
        try:
            found = lookup(self._nodes, self.root, encode_key(key))  # type: ignore[arg-type]
        except InvalidInputError:
            return False
        return found is not None and found.kind in (FILE, EXECUTABLE)

    def __repr__(self) -> str:
        return f"<{len(self)} files>"
