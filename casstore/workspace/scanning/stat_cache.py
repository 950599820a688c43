# SPDX-License-Identifier: MIT
"""The stat cache of a directory, kept in the store's index.

It is found by the directory's device and inode, so it moves with the directory. It says how folders and files looked
when a snapshot had their content, and is worth nothing once that snapshot was collected.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from casstore.compression import Prefixed
from casstore.errors import CorruptionError, NotFoundError, StorageError
from casstore.format.stat_cache import (
    PACKED,
    PACKED_PREFIX,
    CacheHead,
    FolderRecord,
    cache_key,
    decode_folder,
    decode_head,
    encode_folder,
    encode_head,
    folder_key,
    head_key,
)
from casstore.workspace.part import POSIX

if TYPE_CHECKING:
    from casstore.snapshots import Snapshot
    from casstore.store import Store
    from casstore.workspace.scanning.scan import Records
    from casstore.workspace.selection import Selection

_RECOGNIZED: Final = 16
"""How many folders are looked at to recognize a directory."""


class StatCache:
    """What a directory looked like when ``snapshot`` had its content.

    Args:
        store: An open store.
        directory: The directory's path.
        status: Its status.

    Attributes:
        snapshot: None where nothing is known.
        records: Its folders; empty where nothing is known.
    """

    __slots__ = ("_head", "_identity", "_place", "_store", "records", "snapshot")

    def __init__(self, store: Store, directory: str, status: os.stat_result) -> None:
        self._store = store
        self._identity = cache_key(status.st_dev, status.st_ino)
        self._place = blake3(os.fsencode(os.path.realpath(directory))).digest(16)
        self._head: CacheHead | None = None
        self.snapshot: Snapshot | None = None
        self.records: Records = {}

    def is_of(self, status: os.stat_result) -> bool:
        """Whether it is about the directory that has this status."""
        return self._identity == cache_key(status.st_dev, status.st_ino)

    def recognizes(self, directory: str) -> bool:
        """Whether something in ``directory`` is what was saved: an inode alone is given again to other directories."""
        backend = self._store.storage.backend
        value = next((value for _, value in backend.cache(folder_key(self._identity, b""))), None)
        if value is None:
            return False
        try:
            record = _unpacked(value)
            names = [(name, stat[0]) for name, stat in zip(record.members, record.stats)]
            for name in record.folders[:_RECOGNIZED]:
                found = next((one for _, one in backend.cache(folder_key(self._identity, name + b"/"))), None)
                if found is not None:
                    names.append((name, _unpacked(found).inode))
        except CorruptionError:
            return False
        return any(_has_inode(os.path.join(os.fsencode(directory), name), inode) for name, inode in names)

    def load(self) -> None:
        """Reads what was saved, as far as it still holds. Cost: O(files), some 0.5 µs each.

        In a store with damage nothing is known: what is damaged may belong to a file that would not be read, and only
        what is read heals. ``snapshot`` keeps its trees from the collector.
        """
        backend = self._store.storage.backend
        self.records = {}
        self.snapshot = None if backend.hurt else self.saved_snapshot()
        if self.snapshot is None:
            return
        cut = len(folder_key(self._identity, b""))
        try:
            self.records = {
                key[cut:]: _unpacked(value) for key, value in backend.cache(folder_key(self._identity, b""))
            }
        except CorruptionError:
            self.forget()

    def saved_snapshot(self) -> Snapshot | None:
        """The snapshot that the directory was last saved as, or made from; None where that is not known any more."""
        key = head_key(self._identity)
        found = next(self._store.storage.backend.cache(key), None)
        if found is None or found[0] != key:
            return None
        try:
            self._head = decode_head(found[1])
            return self._store.snapshots.get(self._head.snapshot)
        except (CorruptionError, NotFoundError):
            return None

    @property
    def in_place(self) -> bool:
        """Whether the directory lies where it lay when this was saved: an inode alone is given again to others."""
        return self._head is not None and self._head.place == self._place

    def fits(self, selection: Selection, *, posix: bool) -> bool:
        """Whether it tells what a capture with that selection would see."""
        head = self._head
        if self.snapshot is None or head is None:
            return False
        return head.selection == selection.digest() and (head.posix or not posix)

    def forget(self) -> None:
        """Nothing is known any more."""
        self._head = None
        self.snapshot = None
        self.records = {}

    def save_encoded(self, snapshot: Snapshot, selection: Selection, folders: Mapping[bytes, bytes]) -> None:
        """Keeps ``folders`` (encoded records by their prefixes) in place of all that was saved; see ``save``."""
        backend = self._store.storage.backend
        changes: dict[bytes, bytes | None] = {key: None for key, _ in backend.cache(folder_key(self._identity, b""))}
        for prefix, value in folders.items():
            changes[folder_key(self._identity, prefix)] = _packed(value)
        self._head = CacheHead(snapshot.id, selection.digest(), self._place, POSIX in snapshot.roots)
        changes[head_key(self._identity)] = encode_head(self._head)
        self._put(changes)

    def save(self, snapshot: Snapshot, selection: Selection, changed: Iterable[bytes] | None) -> None:
        """Keeps ``records`` as those of ``snapshot``.

        Args:
            snapshot: The state that the directory has; it must be durable.
            selection: What it was captured with.
            changed: Folders whose records changed or went; None: what was saved before is of no use.
        """
        backend = self._store.storage.backend
        head = CacheHead(snapshot.id, selection.digest(), self._place, POSIX in snapshot.roots)
        changes: dict[bytes, bytes | None] = {}
        with backend.write_lock():
            if changed is not None and not self._is_as_loaded():
                # Another capture saved its own meanwhile: records of two snapshots must not be mixed.
                changed = None
            if changed is None:
                changes = {key: None for key, _ in backend.cache(folder_key(self._identity, b""))}
                changed = self.records
            for prefix in changed:
                record = self.records.get(prefix)
                changes[folder_key(self._identity, prefix)] = None if record is None else _packed(encode_folder(record))
            self.snapshot = snapshot
            if changes or head != self._head:
                changes[head_key(self._identity)] = encode_head(head)
                self._head = head
                self._put(changes)

    def _is_as_loaded(self) -> bool:
        key = head_key(self._identity)
        found = dict(self._store.storage.backend.cache(key)).get(key)
        return self._head is not None and found == encode_head(self._head)

    def _put(self, changes: Mapping[bytes, bytes | None]) -> None:
        try:
            self._store.storage.backend.put_cache(changes)
        except StorageError:
            # A capture that is durable must not look as if it had failed; the next one reads more.
            self._head = None


def _has_inode(path: bytes, inode: int) -> bool:
    try:
        return os.lstat(path).st_ino == inode
    except OSError:
        return False


_frames: Final = Prefixed(PACKED_PREFIX, 1)


def _packed(record: bytes) -> bytes:
    """A folder's record as it is kept: half as large, as times, inodes and names of folders are much alike."""
    stored = PACKED + len(record).to_bytes(4, "little") + _frames.compress(record)
    return stored if len(stored) < len(record) else record


def _unpacked(value: bytes) -> FolderRecord:
    """The record that was kept.

    Raises:
        CorruptionError: It is none.
    """
    if value.startswith(PACKED):
        value = _frames.decompress(value[5:], int.from_bytes(value[1:5], "little"))
    return decode_folder(value)
