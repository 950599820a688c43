# SPDX-License-Identifier: MIT
"""Repairing a store with a file per object: damaged files move aside, events come back from their second copies."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass

import casstore.layout as layout
from casstore.address import event_address
from casstore.chunking import Chunker
from casstore.collection.repair_index import ABSENT, DAMAGED_INDEX, SOUND, work_folder
from casstore.compression import decompress
from casstore.config import DEFAULT_CHUNK_BYTES, Config
from casstore.errors import CorruptionError, FormatVersionError
from casstore.format.index_entry import SUSPECT
from casstore.format.kinds import EVENT
from casstore.format.record import HEADER_BYTES, check_record, decode_record
from casstore.osfile import OsFiles
from casstore.storage import Storage
from casstore.storage.file_backend import FileBackend, object_files, open_file_index
from casstore.storage.index import LevelIndex
from casstore.storage.quarantine import Quarantine


@dataclass(slots=True)
class MendedObjects:
    """What was found.

    Attributes:
        records: Intact objects.
        record_bytes: Their files' bytes.
        damaged: Damaged objects.
        index_was: State of the index.
        rebuild: Whether the index has to be made anew.
    """

    records: int = 0
    record_bytes: int = 0
    damaged: int = 0
    index_was: str = SOUND
    rebuild: bool = False

    def open(self, stack: contextlib.ExitStack, path: str, files: OsFiles) -> Storage:
        """The store as it would be, to look at: its index is made in a temporary folder."""
        work = work_folder()
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        index = open_file_index(path, decompress, sync=False, folder=os.path.join(work, layout.INDEX))
        stack.callback(index.close, clean=False)
        if self.damaged:
            index.write({SUSPECT: b"1"})
        config = Config(cache_bytes=0)
        backend = FileBackend(path, index, files, decompress, read_only=True)
        return Storage(backend, Chunker(*DEFAULT_CHUNK_BYTES), config)


def mend_objects(path: str, files: OsFiles, quarantine: Quarantine, *, dry_run: bool) -> MendedObjects:
    """Moves damaged files aside and brings events back; what was found."""
    mended = MendedObjects()
    for file_path, address in list(object_files(path)):
        try:
            with open(file_path, "rb") as file:
                record = decode_record(file.read())
            if record.address != address:
                raise CorruptionError("another object.", address=address)
            mended.records += 1
            mended.record_bytes += HEADER_BYTES + len(record.stored)
        except CorruptionError:
            mended.damaged += 1
            if not dry_run:
                quarantine.move(layout.object_name(address), file_path)
    _bring_events_back(path, files, dry_run=dry_run)
    mended.index_was = _index_state(path)
    mended.rebuild = mended.damaged > 0 or mended.index_was != SOUND
    if mended.rebuild and not dry_run:
        shutil.rmtree(os.path.join(path, layout.INDEX), ignore_errors=True)
    return mended


def _bring_events_back(path: str, files: OsFiles, *, dry_run: bool) -> None:
    refs = os.path.join(path, layout.REFS)
    for name in sorted(os.listdir(refs)) if os.path.isdir(refs) and not dry_run else ():
        if layout.parse_event_name(name) is None:
            continue
        with open(os.path.join(refs, name), "rb") as file:
            data = file.read()
        try:
            header = check_record(data)
            payload = decompress(header.encoding, data[HEADER_BYTES:], header.raw_bytes)
        except (CorruptionError, FormatVersionError):
            # A copy; its object's file is what counts.
            continue
        target = os.path.join(path, layout.object_path(header.address))
        if header.kind == EVENT and event_address(payload) == header.address and not os.path.exists(target):
            for folder in (os.path.dirname(os.path.dirname(target)), os.path.dirname(target)):
                with contextlib.suppress(FileExistsError):
                    files.make_folder(folder)
            files.replace_file(target, data)


def _index_state(path: str) -> str:
    folder = os.path.join(path, layout.INDEX)
    if not os.path.isdir(folder):
        return ABSENT
    try:
        index = LevelIndex(folder)
    except CorruptionError:
        return DAMAGED_INDEX
    try:
        for _ in index.scan(b""):
            pass
        return SOUND if index.closed_cleanly() else DAMAGED_INDEX
    except CorruptionError:
        return DAMAGED_INDEX
    finally:
        index.close(clean=False)
