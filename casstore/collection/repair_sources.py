# SPDX-License-Identifier: MIT
"""Where a repair takes lost records from: another store, or a bundle. Every record is verified against its address."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Protocol

from casstore.address import Address
from casstore.collection.bundle_file import BundleFile
from casstore.collection.bundle_reader import check_stored
from casstore.config import Config
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError
from casstore.format.chunk_list import MAX_DEPTH, decode_chunk_list
from casstore.format.kinds import CHUNK_LIST, EVENT
from casstore.format.record import HEADER_BYTES, Record, decode_header
from casstore.osfile import OsFiles
from casstore.storage import Storage
from casstore.storage.opening import is_store, open_storage


class RecordSource(Protocol):
    """Records of somewhere else."""

    def take(self, address: Address) -> tuple[int, bytes] | None:
        """Kind and raw bytes of a record, verified; None where it is not there, or damaged there too."""


class StoreSource:
    """The records of another store, which is only read."""

    __slots__ = ("_storage",)

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def take(self, address: Address) -> tuple[int, bytes] | None:
        """As ``RecordSource``."""
        entry = self._storage.backend.find(address)
        if entry is None or entry.kind == EVENT:
            return None
        try:
            return entry.kind, self._storage.get_record(entry.kind, address)
        except (CorruptionError, NotFoundError):
            return None


class BundleSource:
    """The records of a bundle. Its framing is verified when it is opened, a record's content when it is taken."""

    __slots__ = ("_file", "_offsets")

    def __init__(self, file: BundleFile) -> None:
        self._file = file
        self._offsets = {header.address: offset for offset, header, _ in file.records()}

    def take(self, address: Address) -> tuple[int, bytes] | None:
        """As ``RecordSource``."""
        offset = self._offsets.get(address)
        if offset is None:
            return None
        try:
            header = decode_header(self._file.read(offset, HEADER_BYTES))
            stored = self._file.read(offset + HEADER_BYTES, header.stored_bytes)
            raw = check_stored(Record(header.kind, header.encoding, address, header.raw_bytes, stored))
        except CorruptionError:
            return None
        return header.kind, raw


@contextlib.contextmanager
def open_source(place: str | os.PathLike[str], repaired: str) -> Iterator[RecordSource]:
    """The store or bundle at ``place``, open.

    Raises:
        NotFoundError: There is neither.
        InvalidInputError: It is the store under repair itself.
        CorruptionError, FormatVersionError: It cannot be read.
    """
    path = os.fspath(place)
    if os.path.isdir(path):
        if not is_store(path):
            raise NotFoundError(f"{path} is neither a store nor a bundle.", path=path)
        if os.path.realpath(path) == os.path.realpath(repaired):
            raise InvalidInputError(f"{path} is the store under repair; name another one, or a bundle.", path=path)
        opened = open_storage(path, read_only=True, timeout=0.0, config=Config(cache_bytes=0), files=OsFiles())
        try:
            yield StoreSource(opened.storage)
        finally:
            opened.close()
    else:
        if not os.path.lexists(path):
            raise NotFoundError(f"{path} is neither a store nor a bundle: nothing is there.", path=path)
        with BundleFile(path) as file:
            yield BundleSource(file)


def is_whole_in(source: RecordSource, addresses: tuple[Address, ...]) -> bool:
    """Whether all of these records, and the pieces of lists among them, can be taken from a source."""
    waiting = list(addresses)
    seen = set(waiting)
    while waiting:
        address = waiting.pop()
        found = source.take(address)
        if found is None:
            return False
        if found[0] == CHUNK_LIST:
            pieces = [piece for piece, _ in decode_chunk_list(address, found[1]).pieces if piece not in seen]
            seen.update(pieces)
            waiting += pieces
    return True


def take_over(storage: Storage, source: RecordSource, addresses: list[Address]) -> int:
    """Puts what a source has of these records, and the pieces of lists that are missing; returns how many.

    Pieces come before their list, so that no list ever stands without them.
    """
    taken = 0
    for address in addresses:
        taken += _take(storage, source, address, 0)
    return taken


def _take(storage: Storage, source: RecordSource, address: Address, depth: int) -> int:
    found = source.take(address)
    if found is None or depth > MAX_DEPTH:
        return 0
    kind, raw = found
    taken = 0
    if kind == CHUNK_LIST:
        for piece, _ in decode_chunk_list(address, raw).pieces:
            if not storage.known(piece):
                taken += _take(storage, source, piece, depth + 1)
                if not storage.known(piece):
                    return taken
    return taken + storage.put_record(kind, address, raw)
