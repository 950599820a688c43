# SPDX-License-Identifier: MIT
"""Repair: the one command for a damaged store, also for one that does not open.

What is intact stays or is brought back; what is damaged is moved aside, never deleted; what refs need and cannot have
is named, with what would heal it. Each step leaves a store that the next run goes on with, so it may be stopped
anywhere:

1. superblock, settings: damaged ones are copied or moved into the quarantine first;
2. a fresh index is made beside the old one from all segments, with moves of refs that only the old one still knows;
3. damaged stretches are copied into the quarantine, synced;
4. the fresh index takes the place of the old one, unless that is exact;
5. events whose records are lost are written again; intact records move out of damaged segments, which then go;
6. what is lost is taken from elsewhere, where that was asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from typing import Final

import casstore.layout as layout
from casstore.address import Address, event_address
from casstore.chunking import Chunker
from casstore.collection import repair_index as making
from casstore.collection.healing import with_remedies
from casstore.collection.hurt import Examination
from casstore.collection.repair_files import mend_config, mend_superblock, read_workspaces
from casstore.collection.repair_objects import mend_objects
from casstore.collection.repair_report import Hurt, RepairReport
from casstore.collection.repair_sources import RecordSource, is_whole_in, open_source, take_over
from casstore.config import Config
from casstore.errors import FormatVersionError, InvalidInputError, NotFoundError, StorageError
from casstore.format.event import HISTORY_CUT, parse_event
from casstore.format.index_entry import SUSPECT
from casstore.format.kinds import EVENT
from casstore.format.superblock import FILES_BACKEND, Superblock
from casstore.osfile import OsFiles
from casstore.snapshots import Refs, Snapshots
from casstore.storage import Storage
from casstore.storage.filling import Progress, Stretch
from casstore.storage.lock import FileLock
from casstore.storage.opening import MEMORY, open_storage
from casstore.storage.quarantine import Quarantine
from casstore.storage.segment_backend import SegmentBackend
from casstore.storage.segment_files import SegmentFiles
from casstore.tree import Nodes

_NODE_CACHE_BYTES: Final = 8 * 1024 * 1024
_CONFIG: Final = Config(cache_bytes=0)


def repair(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    source: str | os.PathLike[str] | None = None,
    new_superblock: bool = False,
    timeout: float = 0.0,
    progress: Progress | None = None,
    files: OsFiles | None = None,
) -> RepairReport:
    """What was found and done; ``hurt`` names everything that refs need and that is still lost.

    Args:
        path: The store's folder.
        dry_run: Change nothing; say what would be done.
        source: Another store, or a bundle, to take what is lost from.
        new_superblock: Make a new superblock where it is lost: only if no later casstore ever wrote the store.
        timeout: Seconds to wait for another writer.
        progress: Called with a phase, how many are done, and None.
        files: The way to the file system, for tests.

    Raises:
        NotFoundError: There is no store, or no ``source``.
        LockedError: Another process writes the store.
        CorruptionError: The superblock is lost; the message says what to do.
        FormatVersionError: A later casstore wrote the store.
        InvalidInputError: ``source`` is the store itself.
        StorageError: The operating system refused; nothing intact is lost, and a later run goes on.

    *Durability*: all that it did is durable on return. It may be stopped at any point and run again.

    *Cost*: reads the whole store twice. Needs room for a new index, for what is damaged, and for one segment.
    """
    place = os.fspath(path)
    if place == MEMORY:
        raise InvalidInputError("a store in memory has nothing to repair; give the folder of a store.")
    if not os.path.isdir(place):
        raise NotFoundError(f"{place} is not a store, so there is nothing to repair.", path=place)
    with contextlib.ExitStack() as stack:
        elsewhere = None if source is None else stack.enter_context(open_source(source, place))
        run = _Repair(place, files or OsFiles(), elsewhere, dry_run, new_superblock, progress)
        try:
            return run.run(stack, timeout)
        except OSError as error:
            raise StorageError(
                f"the repair stopped ({error}); free space or give yourself access, then run it again.", path=place
            ) from error


def drop_quarantine(path: str | os.PathLike[str], *, timeout: float = 0.0, files: OsFiles | None = None) -> int:
    """Deletes what repairs moved aside; returns how many bytes.

    Raises:
        LockedError: Another process writes the store.
        StorageError: The operating system refused.
    """
    place = os.fspath(path)
    lock = FileLock(os.path.join(place, layout.LOCK), timeout)
    try:
        return Quarantine(place, files or OsFiles()).drop()
    finally:
        lock.release()


@dataclass(slots=True)
class _Outcome:
    """What was found in segments or files of objects."""

    index: str
    index_was: str
    segments: int
    records: int
    record_bytes: int
    damaged: tuple[Stretch, ...]
    missing: tuple[Stretch, ...]
    refs: int
    suspect: bool
    hurt: tuple[Hurt, ...]
    restored_events: int = 0
    from_source: int = 0


class _Repair:
    """One run."""

    def __init__(
        self,
        path: str,
        files: OsFiles,
        source: RecordSource | None,
        dry_run: bool,
        new_superblock: bool,
        progress: Progress | None,
    ) -> None:
        self._path = path
        self._files = files
        self._source = source
        self._dry_run = dry_run
        self._anew = new_superblock
        self._progress = progress
        self._quarantine = Quarantine(path, files)

    def run(self, stack: contextlib.ExitStack, timeout: float) -> RepairReport:
        lock = FileLock(os.path.join(self._path, layout.LOCK), timeout)
        stack.callback(lock.release)
        block, superblock = mend_superblock(
            self._path, self._files, self._quarantine, dry_run=self._dry_run, anew=self._anew
        )
        if block.write_features:
            raise FormatVersionError(
                f"writers of this store need features {block.write_features:#x} that this casstore lacks; repair it "
                "with a later one.",
                path=self._path,
            )
        config = mend_config(self._path, self._quarantine, dry_run=self._dry_run)
        infos, damaged_infos = read_workspaces(self._path)
        self._infos = infos
        found = self._objects(lock) if block.backend == FILES_BACKEND else self._segments(stack, lock, block)
        kept = self._quarantine.items()
        return RepairReport(
            path=self._path,
            dry_run=self._dry_run,
            superblock=superblock,
            config=config,
            index=found.index,
            index_was=found.index_was,
            workspaces=tuple(damaged_infos),
            segments=found.segments,
            records=found.records,
            record_bytes=found.record_bytes,
            damaged=found.damaged,
            missing=found.missing,
            damaged_bytes=sum(stretch.end - stretch.start for stretch in found.damaged),
            quarantined=tuple(kept),
            quarantine_bytes=sum(item.bytes for item in kept),
            restored_events=found.restored_events,
            from_source=found.from_source,
            refs=found.refs,
            refs_suspect=found.suspect,
            hurt=found.hurt,
        )

    # -- a store of segments

    def _segments(self, stack: contextlib.ExitStack, lock: FileLock, block: Superblock) -> _Outcome:
        work = None
        if self._dry_run:
            work = making.work_folder()
            stack.callback(shutil.rmtree, work, ignore_errors=True)
        old = making.read_old_index(self._path, self._files, work)
        stack.callback(old.close)
        fresh = making.make_fresh_index(self._path, old, work, self._progress)
        stack.callback(fresh.close)
        backend = SegmentBackend(
            self._path, fresh.index, self._files, segment_bytes=_CONFIG.segment_bytes, read_only=True
        )
        chunker = Chunker(block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
        storage = Storage(backend, chunker, _CONFIG)
        making.drop_false_records(fresh, storage, self._progress)
        lost, found = self._examine(storage, fresh)
        making.settle(fresh, self._path, lost)
        exact = making.is_exact(old, fresh, lost)
        found.index_was = old.state if exact or old.state != making.SOUND else making.INEXACT
        found.index = making.SOUND if exact else making.MADE_ANEW
        events = [fresh.filled.events[number] for number in fresh.filled.from_index]
        events = [payload for payload in events if parse_event(payload)["type"] != HISTORY_CUT]
        found.restored_events = len(events)
        if self._dry_run:
            return found
        for stretch in fresh.damaged:
            name = layout.stretch_name(*stretch)
            self._quarantine.keep(name, SegmentFiles(self._path).path(stretch.segment), stretch.start, stretch.end)
        retired = [] if exact else fresh.retired
        if exact:
            old.close()
            fresh.close()
        else:
            making.put_in_place(self._path, self._files, self._quarantine, old, fresh)
        self._finish(lock, found, events, retired)
        return found

    def _examine(self, storage: Storage, fresh: making.Fresh) -> tuple[dict[Address, int], _Outcome]:
        lost, refs, hurt = self._look(storage)
        return lost, _Outcome(
            index=making.SOUND,
            index_was=making.SOUND,
            segments=len(fresh.filled.sizes),
            records=fresh.filled.records,
            record_bytes=fresh.filled.total_bytes,
            damaged=tuple(fresh.damaged),
            missing=tuple(fresh.missing),
            refs=refs,
            suspect=fresh.suspect,
            hurt=hurt,
        )

    # -- a store with a file per object

    def _objects(self, lock: FileLock) -> _Outcome:
        mended = mend_objects(self._path, self._files, self._quarantine, dry_run=self._dry_run)
        with contextlib.ExitStack() as stack:
            storage = mended.open(stack, self._path, self._files)
            lost, refs, hurt = self._look(storage)
            suspect = storage.backend.fact(SUSPECT) is not None
        found = _Outcome(
            index=making.MADE_ANEW if mended.rebuild else making.SOUND,
            index_was=mended.index_was,
            segments=0,
            records=mended.records,
            record_bytes=mended.record_bytes,
            damaged=(),
            missing=(),
            refs=refs,
            suspect=suspect,
            hurt=hurt,
        )
        if not self._dry_run:
            self._finish(lock, found, [], [], forget_caches=bool(lost))
        return found

    # -- both

    def _look(self, storage: Storage) -> tuple[dict[Address, int], int, tuple[Hurt, ...]]:
        """What is lost, how many refs there are, and what is hurt, with what would heal it."""
        snapshots = Snapshots(storage, Nodes(storage, _NODE_CACHE_BYTES))
        refs = Refs(snapshots, None)
        examination = Examination(snapshots, refs, progress=self._progress)
        hurt = [
            replace(one, in_source=self._source is not None and is_whole_in(self._source, one.lost))
            for one in examination.run()
        ]
        return examination.lost, examination.refs, with_remedies(hurt, snapshots, refs, self._infos, self._path)

    def _finish(
        self,
        lock: FileLock,
        found: _Outcome,
        events: list[bytes],
        retired: list[int],
        *,
        forget_caches: bool = False,
    ) -> None:
        """Opens the store, which can be opened by now, and does what needs it open."""
        opened = open_storage(self._path, read_only=False, timeout=0.0, config=_CONFIG, files=self._files, lock=lock)
        try:
            storage, backend = opened.storage, opened.storage.backend
            with backend.freeing():
                for payload in events:
                    storage.put_record(EVENT, event_address(payload), payload)
                if forget_caches:
                    # What they say is stored may be what is lost.
                    backend.put_cache(dict.fromkeys([key for key, _ in backend.cache(b"")]))
                backend.sync()
                if retired and isinstance(backend, SegmentBackend):
                    backend.compact(retired, past_damage=True)
            if self._source is not None:
                self._take_over(storage, found)
            found.suspect = backend.fact(SUSPECT) is not None
        finally:
            opened.close()

    def _take_over(self, storage: Storage, found: _Outcome) -> None:
        """Takes what is lost from the source; what was below a lost node shows only after that."""
        if self._source is None:
            return
        backend = storage.backend
        tried: set[Address] = set()
        while True:
            lost, found.refs, found.hurt = self._look(storage)
            for address, kind in lost.items():
                backend.mark_damaged(address, kind)
            wanted = [address for address in lost if address not in tried]
            tried.update(wanted)
            taken = take_over(storage, self._source, wanted)
            backend.sync()
            found.from_source += taken
            if not taken:
                return
