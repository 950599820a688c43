# SPDX-License-Identifier: MIT
"""The plain backend: a file per object. Slow, easy to look at, and the reference that the segments must agree with.

``objects/ab/cd/<60 hex digits>`` holds one record, written as temp file, fsync, rename; events lie a second time under
``refs/NUMBER``, so that the order of ref moves is plain to see. The index is LevelDB, as with segments, and is made
anew from the files after an unclean close.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence

import casstore.layout as layout
from casstore.address import Address
from casstore.errors import CorruptionError, FormatVersionError, StorageError
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.event import event_facts, parse_event
from casstore.format.index_entry import (
    NEXT_EVENT,
    NEXT_ORDINAL,
    OBJECT,
    SUSPECT,
    SWEEPING,
    IndexEntry,
    encode_entry,
    encode_number,
    entry_of,
)
from casstore.format.kinds import CHUNK_LIST, EVENT
from casstore.format.record import Record, check_record, decode_record, encode_record
from casstore.osfile import OsFiles
from casstore.storage.backend import SegmentInfo
from casstore.storage.filling import Decompress
from casstore.storage.index import Index, LevelIndex
from casstore.storage.indexed import IndexedBackend
from casstore.storage.quarantine import holds_records
from casstore.storage.readers import live_pins
from casstore.storage.recovery import Recovered, Tell

_SEGMENT = 1


class FileBackend(IndexedBackend):
    """Records in files of their own."""

    def __init__(
        self,
        path: str,
        index: Index,
        files: OsFiles,
        decompress: Decompress,
        *,
        read_only: bool = False,
        sync: bool = True,
    ) -> None:
        super().__init__(index, read_only=read_only)
        self.path = path
        self._os = files
        self._decompress = decompress
        self._sync_files = sync
        self._ordinal = self._number_fact(NEXT_ORDINAL, 0)
        self._used: int | None = None

    @property
    def doubtful(self) -> bool:
        """Always: a file may be gone without the index knowing."""
        return True

    def _path(self, address: Address) -> str:
        return os.path.join(self.path, layout.object_path(address))

    def find(self, address: Address) -> IndexEntry | None:
        entry = super().find(address)
        # An entry whose file is gone is absent, also for the dedup check of a put.
        return entry if entry is not None and os.path.exists(self._path(address)) else None

    def _reachable(self, entry: IndexEntry) -> bool:
        return True

    def get(self, address: Address) -> Record:
        if self.find(address) is None:
            raise self._missing(address)
        try:
            with open(self._path(address), "rb") as file:
                record = decode_record(file.read())
        except (CorruptionError, FormatVersionError, FileNotFoundError):
            raise self.damaged(address) from None
        except OSError as error:
            raise StorageError(f"an object's file cannot be read ({error}).", address=address) from None
        if record.address != address:
            raise self.damaged(address)
        return record

    def _prepare(self, record: Record) -> bytes:
        return encode_record(record)

    def _keep(self, prepared: Sequence[tuple[Record, bytes]]) -> None:
        stamp = int(time.time())
        for record, data in prepared:
            path = self._path(record.address)
            if self._used is not None:
                with contextlib.suppress(FileNotFoundError):
                    self._used -= os.path.getsize(path)
                self._used += len(data)
            try:
                self._make_folders(record.address)
                self._os.replace_file(path, data, sync=self._sync_files)
                if record.kind == EVENT:
                    payload = self._decompress(record.encoding, record.stored, record.raw_bytes)
                    number = parse_event(payload)["number"]
                    if isinstance(number, int):
                        name = os.path.join(self.path, layout.REFS, layout.event_name(number))
                        self._os.replace_file(name, data, sync=self._sync_files)
            except OSError as error:
                self._failure = f"an object could not be written ({error})"
                raise StorageError(
                    f"an object could not be written ({error}); free space, then open the store again.", path=path
                ) from error
            self._pending[record.address] = entry_of(record, _SEGMENT, 0, self._ordinal, stamp)
            self._ordinal += 1

    def _make_folders(self, address: Address) -> None:
        first, second = layout.object_folders(address)
        objects = os.path.join(self.path, layout.OBJECTS)
        for parent, name in ((objects, first), (os.path.join(objects, first), second)):
            try:
                self._os.make_folder(os.path.join(parent, name))
            except FileExistsError:
                continue
            if self._sync_files:
                self._os.sync_folder(parent)

    def _make_durable(self) -> dict[bytes, bytes | None]:
        return {NEXT_ORDINAL: encode_number(self._ordinal)} if self._pending else {}

    def _forget(self, found: Mapping[Address, IndexEntry]) -> None:
        pass

    def _position(self) -> tuple[int, int]:
        return _SEGMENT, self._ordinal

    def segments(self) -> list[SegmentInfo]:
        return [SegmentInfo(_SEGMENT, self.used_bytes(), self._ordinal, False)]

    def check_segments(self) -> Iterator[CorruptionError]:
        for path, address in object_files(self.path):
            try:
                with open(path, "rb") as file:
                    record = decode_record(file.read())
                if record.address != address:
                    yield CorruptionError(f"{path} holds another object.", address=address, path=path)
            except FileNotFoundError:
                continue
            except (CorruptionError, FormatVersionError) as error:
                yield CorruptionError(error.message, address=address, path=path)

    def compact(self, segments: Sequence[int]) -> None:
        """Removes the files that the index no longer knows, unless a reader may still need them."""
        with self._lock:
            self._check_writable()
            if live_pins(self.path):
                return
            self._used = None
            for folder, _, names in os.walk(os.path.join(self.path, layout.OBJECTS)):
                for name in names:
                    if name.endswith(".tmp"):
                        # What a crash left; nobody else writes one while the lock is held.
                        self._os.unlink(os.path.join(folder, name))
            known_events = set()
            for path, address in list(object_files(self.path)):
                if self.find(address) is None:
                    self._os.unlink(path)
                else:
                    known_events.add(address)
            refs = os.path.join(self.path, layout.REFS)
            for name in os.listdir(refs):
                if layout.parse_event_name(name) is None:
                    continue
                try:
                    with open(os.path.join(refs, name), "rb") as file:
                        header = check_record(file.read())
                except (CorruptionError, FormatVersionError):
                    # It is only for people to look at; that it is damaged is no reason to give no space back.
                    continue
                if header.address not in known_events:
                    self._os.unlink(os.path.join(refs, name))

    def used_bytes(self) -> int:
        # Counted once, and kept from then on: the quota asks before every put.
        with self._lock:
            if self._used is None:
                self._used = sum(os.path.getsize(path) for path, _ in object_files(self.path))
            return self._used

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            failed = bool(self._failure)
            try:
                if not self.read_only and not failed:
                    self.sync()
            finally:
                self._closed = "the store is closed; open it again."
                self._index.close(clean=not self.read_only and not failed)


def object_files(path: str) -> Iterator[tuple[str, Address]]:
    """Path and address of each object's file."""
    objects = os.path.join(path, layout.OBJECTS)
    for first in _names(objects):
        for second in _names(os.path.join(objects, first)):
            folder = os.path.join(objects, first, second)
            for name in _names(folder):
                address = layout.parse_object_path(first, second, name)
                if address is not None:
                    yield os.path.join(folder, name), Address(address)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except NotADirectoryError:
        # Desktops leave files of their own in any folder.
        return []


def open_file_index(
    path: str,
    decompress: Decompress,
    *,
    sync: bool = True,
    folder: str | None = None,
    files: OsFiles | None = None,
    tell: Tell | None = None,
) -> LevelIndex:
    """The index of a store with a file per object: as it was closed, or made anew from the files, in ``folder``.

    ``tell`` is told where damage was the reason, or was met; after every unclean close it is made anew anyway.
    """
    folder = folder or os.path.join(path, layout.INDEX)
    unclean = False
    if os.path.isdir(folder):
        with contextlib.suppress(CorruptionError):
            index = LevelIndex(folder, sync=sync)
            clean = False
            try:
                clean = index.closed_cleanly()
            finally:
                if not clean:
                    index.close(clean=False)
            unclean = not clean
            if clean:
                # From here on a crash must not find the mark of the last close and trust this index.
                index.write({})
                return index
        shutil.rmtree(folder)
    index = LevelIndex(folder, create=True, sync=sync)
    if files is not None:
        # The folder that was removed must not come back: it may have been closed in order, and would be believed.
        files.sync_folder(folder)
        files.sync_folder(path)
    changes: dict[bytes, bytes | None] = {}
    lists: dict[Address, list[Address]] = {}
    events: dict[int, bytes] = {}
    stamp = int(time.time())
    ordinal = 0
    damaged = 0
    for file_path, address in object_files(path):
        with open(file_path, "rb") as file:
            try:
                record = decode_record(file.read())
                payload = decompress(record.encoding, record.stored, record.raw_bytes) if record.kind == EVENT else b""
                number = parse_event(payload)["number"] if payload else None
            except (CorruptionError, FormatVersionError):
                damaged += 1
                continue
        changes[OBJECT + address] = encode_entry(entry_of(record, _SEGMENT, 0, ordinal, stamp))
        ordinal += 1
        if record.base is not None:
            lists[address] = [record.base]
        if record.kind == CHUNK_LIST:
            try:
                pieces = decode_chunk_list(address, decompress(record.encoding, record.stored, record.raw_bytes)).pieces
                lists[address] = [piece for piece, _ in pieces]
            except CorruptionError:
                damaged += 1
                del changes[OBJECT + address]
        if isinstance(number, int):
            events[number] = payload
    # A collection that a crash cut short may have removed pieces, or a base, before what names them.
    while gone := [one for one, pieces in lists.items() if any(OBJECT + piece not in changes for piece in pieces)]:
        for one in gone:
            del lists[one], changes[OBJECT + one]
    for number, payload in sorted(events.items()):
        try:
            changes.update(event_facts(payload))
        except CorruptionError:
            damaged += 1
        changes[NEXT_EVENT] = encode_number(number + 1)
    suspect = bool(damaged) or holds_records(path)
    if suspect:
        changes[SUSPECT] = b"1"
    if ordinal:
        # What was collected may be back in part.
        changes[SWEEPING] = b"1"
    changes[NEXT_ORDINAL] = encode_number(ordinal)
    index.write(changes)
    if tell is not None and (damaged or (ordinal and not unclean)):
        tell(Recovered(damaged, suspect))
    return index
