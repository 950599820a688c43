# SPDX-License-Identifier: MIT
"""An ordinary directory: scanned with the stat cache, or only where a watcher says that something changed."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from casstore.errors import ConflictError
from casstore.format.entry import DIRECTORY
from casstore.format.stat_cache import NO_RULES, UNSETTLED, FolderRecord
from casstore.tree import contents_of
from casstore.workspace.observed import Changes, Observed
from casstore.workspace.part import FILES, POSIX
from casstore.workspace.scanning.capture import Capture, all_left_out, left_out_of
from casstore.workspace.scanning.fingerprint import Fingerprint
from casstore.workspace.scanning.reading import HashingSink
from casstore.workspace.scanning.scan import Records, Scan, identity_of
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.selection import EXCLUDE_FILE, RULE_FILES, Selection

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.snapshots import Snapshot
    from casstore.store import Store
    from casstore.tree import Change
    from casstore.workspace.report import LeftOut, Progress
    from casstore.workspace.scanning.folders import Identity
    from casstore.workspace.scanning.watching import Watcher

_EXCLUDE_PATHS: Final = frozenset({b".git", b".git/info", EXCLUDE_FILE})
FULL_EVERY: Final = 64
"""With a watcher, every so many scans look at everything."""


class PlainDirectory:
    """See ``Directory``.

    Args:
        store: An open store.
        path: The directory.
        selection: What is captured of it.
        posix: Whether POSIX metadata is.
        watcher: Says what changed; None scans everything each time.

    Memory: some 300 bytes for each file.
    """

    __slots__ = (
        "_all",
        "_cache",
        "_identity",
        "_left_out",
        "_left_out_in",
        "_linked",
        "_path",
        "_pins",
        "_posix",
        "_relist",
        "_reported",
        "_roots",
        "_scans",
        "_seen",
        "_selection",
        "_store",
        "_touched",
        "_unsaved",
        "_watcher",
    )

    def __init__(
        self, store: Store, path: str, selection: Selection, *, posix: bool, watcher: Watcher | None = None
    ) -> None:
        self._store = store
        self._path = path
        self._selection = selection
        self._posix = posix
        self._watcher = watcher
        self._cache: StatCache | None = None
        # The trees that the cache's records are about, and what keeps them from the collector.
        self._roots: dict[str, Address] = {}
        self._pins: list[object] = []
        # Folders whose records are not saved yet; None: nothing that was saved is of use.
        self._unsaved: set[bytes] | None = None
        self._left_out_in: dict[bytes, list[LeftOut]] = {}
        self._left_out: list[LeftOut] = []
        self._reported: set[bytes] = set()
        # The records of the last scan, whether it was kept or not.
        self._seen: Records = {}
        self._scans = 0
        self._all = True
        self._relist = False
        # Folders that a scan by reports looks at in any case.
        self._linked: set[bytes] = set()
        self._touched: set[bytes] = set()
        self._identity: Identity | None = None

    def observe(
        self,
        *,
        keep: bool,
        known: Mapping[str, Address] | None = None,
        paranoid: bool = False,
        progress: Progress | None = None,
    ) -> Observed:
        """See ``Directory``. *Cost*: some 3 µs for each file and folder, and the reading of what changed."""
        store = self._store
        reported = self._changed_paths() if not paranoid and not self._relist else None
        scan = Scan(self._path, exclude=identity_of(store.path), selection=self._selection, paranoid=paranoid)
        try:
            cache = self._loaded(scan.status)
            # A copy: should anything fail, what is known stays as it was.
            records = dict(cache.records)
            if self._relist:
                for record in records.values():
                    record.listed = False
            scan.records = records
            only = (
                _known_folders(reported, records, self._linked | self._touched)
                if reported is not None and records
                else None
            )
            nodes = store.nodes
            if keep:
                with store.storage.ingest(contents_of(nodes, self._roots.get(FILES))) as ingest:
                    capture = Capture(scan, ingest, records, posix=self._posix, paranoid=paranoid)
                    capture.run(progress, only)
            else:
                capture = Capture(scan, HashingSink(), records, posix=self._posix, paranoid=paranoid)
                capture.run(progress, only)
        finally:
            scan.close()
        if not keep and (capture.edits or capture.posix):
            # Imported on use: mostly there is nothing to add.
            from casstore.branches.folding import ScratchNodes

            nodes = ScratchNodes(store.nodes)
        found = capture.roots(nodes, self._roots)
        roots = {name: root for name, root in found.items() if root is not None}
        if keep or known is None:
            # Who only asks for a status must not change what a plan expects.
            self._seen = records
        if keep or roots in (self._roots, self._captured(known or {})):
            cache.records = records
            if self._unsaved is not None:
                self._unsaved |= capture.changed
            if roots != self._roots:
                self._describe(roots)
            self._reported.clear()
            self._touched.clear()
            # What is written under one name of a file changes its other names, too, and is reported under the one.
            self._linked = capture.linked if only is None else self._linked | capture.linked
            self._relist = self._all = False
            self._identity = scan.status.st_dev, scan.status.st_ino
            self._note_left_out(records, capture.changed)
            left_out = self._left_out
        else:
            left_out = all_left_out(records)
        return Observed(roots, nodes, tuple(left_out), frozenset(scan.leftovers), frozenset(capture.vanished))

    def _note_left_out(self, records: Records, changed: set[bytes]) -> None:
        """Keeps the list of what is left out, without a look at folders that are as they were."""
        folders = self._left_out_in
        known = [prefix for prefix in changed if prefix in folders or (prefix in records and records[prefix].left_out)]
        for prefix in known:
            folders.pop(prefix, None)
            found = left_out_of(prefix, records.get(prefix))
            if found:
                folders[prefix] = found
        if known:
            self._left_out = sorted((item for items in folders.values() for item in items), key=lambda item: item.path)

    def _loaded(self, status: os.stat_result) -> StatCache:
        """The cache of the directory, loaded on first use, and anew where another directory took the place."""
        cache = self._cache
        if cache is None or not cache.is_of(status):
            cache = self._cache = StatCache(self._store, self._path, status)
            cache.load()
            self._unsaved = set()
            if not cache.fits(self._selection, posix=self._posix):
                cache.forget()
                self._unsaved = None
            self._describe(self._captured({} if cache.snapshot is None else cache.snapshot.roots))
            self._left_out_in = {}
            self._left_out = []
            self._note_left_out(cache.records, {prefix for prefix, one in cache.records.items() if one.left_out})
        return cache

    def _captured(self, roots: Mapping[str, Address]) -> dict[str, Address]:
        """The part of a state that a capture sees."""
        names = (FILES, POSIX) if self._posix else (FILES,)
        return {name: roots[name] for name in names if name in roots}

    def _describe(self, roots: dict[str, Address]) -> None:
        self._roots = roots
        self._pins = [self._store.storage.pin("workspace", root) for root in roots.values()]

    def _changed_paths(self) -> set[bytes] | None:
        """Paths that were reported since the last scan that was kept; None where everything must be looked at."""
        if self._watcher is None:
            return None
        self._scans += 1
        found = self._watcher.changed()
        # Whatever was reported, also that not all was, holds until a scan that is kept has looked.
        self._all |= found is None or self._scans % FULL_EVERY == 0 or self._cache is None
        self._reported |= found or set()
        if self._all:
            return None
        for path in self._reported:
            name = path[path.rfind(b"/") + 1 :]
            if name in RULE_FILES or path in _EXCLUDE_PATHS:
                return None
        return self._reported

    def relist(self) -> None:
        """See ``Directory``."""
        self._relist = True

    def expected(self, path: bytes) -> Fingerprint | None:
        """See ``Directory``."""
        cut = path.rfind(b"/") + 1
        record = self._seen.get(path[:cut])
        if record is None:
            return None
        name = path[cut:]
        place = bisect_left(record.members, name)
        if place == len(record.members) or record.members[place] != name:
            return None
        inode, size, mtime_ns, ctime_ns, mode = record.stats[place]
        return Fingerprint(inode, size, mtime_ns, ctime_ns, mode & ~UNSETTLED)

    def require_same(self, status: os.stat_result) -> None:
        """See ``Directory``."""
        if self._identity is not None and self._identity != (status.st_dev, status.st_ino):
            raise ConflictError(
                f"{self._path!r} is another directory than the one that was looked at; nothing was changed. See what "
                "took its place, then try again.",
                path=self._path,
            )

    def saved(self, snapshot: Snapshot) -> None:
        """See ``Directory``."""
        if self._cache is not None and not self._store.read_only:
            self._cache.save(snapshot, self._selection, self._unsaved)
            self._unsaved = set()

    def switched(
        self, snapshot: Snapshot, changes: Changes, names: Sequence[Change], spared: Collection[bytes]
    ) -> None:
        """See ``Directory``.

        What was written or removed no longer looks as in the records, so the next scan reads it again. Should it look
        the same by chance (within one tick of the clock), the marks that are made here tell.
        """
        cache = self._cache
        if cache is None:
            return
        touched = {folder + b"/" if folder else b"" for folder in changes.touched}
        touched |= _add_names(cache.records, names)
        touched |= _forget_names(cache.records, spared)
        for path, _ in changes.written:
            cut = path.rfind(b"/") + 1
            touched.add(path[:cut])
            record = cache.records.get(path[:cut])
            if record is not None:
                place = bisect_left(record.members, path[cut:])
                if place < len(record.members) and record.members[place] == path[cut:]:
                    inode, size, mtime_ns, ctime_ns, mode = record.stats[place]
                    record.stats[place] = (inode, size, mtime_ns, ctime_ns, mode | UNSETTLED)
        # A watcher may not have seen what was to go and did not.
        self._touched |= touched
        for prefix in touched:
            record = cache.records.get(prefix)
            if record is not None:
                record.listed = False
                if self._unsaved is not None:
                    self._unsaved.add(prefix)
        if self._posix and POSIX not in snapshot.roots:
            # Nobody knows what metadata the files have now.
            cache.forget()
            self._unsaved = None
            self._describe({})
            return
        parts = (FILES, POSIX) if self._posix else (FILES,)
        self._describe({name: snapshot.roots[name] for name in parts if name in snapshot.roots})
        self.saved(snapshot)

    def close(self) -> None:
        """See ``Directory``."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None


def _add_names(records: Records, changes: Sequence[Change]) -> set[bytes]:
    """Gives the records every name that ``changes`` brought, so that it is missed when it goes; the folders concerned.

    Whatever the new names look like, their content must be read.
    """
    folders: set[bytes] = set()
    for key, old, new in changes:
        if old is not None:
            _doubt(records, key, old.kind == DIRECTORY, folders)
        if new is None:
            continue
        prefix, place = key + b"/", 0
        if new.kind != DIRECTORY:
            place = key.rfind(b"/") + 1
            prefix = key[:place]
        record = _record_of(records, prefix, folders)
        if new.kind != DIRECTORY:
            at = bisect_left(record.members, key[place:])
            if at == len(record.members) or record.members[at] != key[place:]:
                record.members.insert(at, key[place:])
                record.stats.insert(at, (0, 0, 0, 0, UNSETTLED))
    return folders


def _doubt(records: Records, path: bytes, is_folder: bool, changed: set[bytes]) -> None:
    """What went or was replaced may be there all the same (something was left in a folder, power failed): it is new."""
    prefix = path + b"/" if is_folder else path[: path.rfind(b"/") + 1]
    if prefix not in records:
        return
    record = _record_of(records, prefix, changed)
    if not is_folder:
        at = bisect_left(record.members, path[len(prefix) :])
        if at < len(record.members) and record.members[at] == path[len(prefix) :]:
            record.stats[at] = (0, 0, 0, 0, UNSETTLED)


def _forget_names(records: Records, paths: Iterable[bytes]) -> set[bytes]:
    """Takes out of the records what the state has not, so that it is new should it be captured one day."""
    folders: set[bytes] = set()
    for path in paths:
        cut = path.rfind(b"/") + 1
        if path[:cut] in records:
            record = _record_of(records, path[:cut], folders)
            at = bisect_left(record.members, path[cut:])
            if at < len(record.members) and record.members[at] == path[cut:]:
                del record.members[at], record.stats[at]
    return folders


def _record_of(records: Records, prefix: bytes, changed: set[bytes]) -> FolderRecord:
    """The record of a folder, as one that may be changed; made where it is missing, with those above it."""
    if prefix in changed:
        return records[prefix]
    changed.add(prefix)
    old = records.get(prefix)
    if old is None:
        record = FolderRecord(0, 0, 0, False, NO_RULES, [], [], [], [])
    else:
        record = FolderRecord(
            old.inode,
            old.mtime_ns,
            old.ctime_ns,
            False,
            old.rules,
            list(old.members),
            list(old.stats),
            list(old.folders),
            old.left_out,
        )
    records[prefix] = record
    if old is None and prefix:
        cut = prefix.rfind(b"/", 0, -1) + 1
        above = _record_of(records, prefix[:cut], changed)
        at = bisect_left(above.folders, prefix[cut:-1])
        if at == len(above.folders) or above.folders[at] != prefix[cut:-1]:
            above.folders.insert(at, prefix[cut:-1])
    return record


def _known_folders(paths: set[bytes], records: Records, also: set[bytes]) -> dict[bytes, bool]:
    """Folders to look at, each with whether all below it is to be looked at too: for reported paths, and ``also``."""
    folders: dict[bytes, bool] = dict.fromkeys(also & records.keys(), False)
    for path in paths:
        prefix = path + b"/" if path else b""
        if prefix in records:
            folders[prefix] = True
        while prefix:
            prefix = prefix[: prefix.rfind(b"/", 0, -1) + 1]
            if prefix in records:
                folders.setdefault(prefix, False)
                break
    return folders
