# SPDX-License-Identifier: MIT
"""What the store notes about a directory that a whole state was checked out to, or that was imported."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from casstore.errors import LockedError, StorageError
from casstore.format.workspace_files import Info
from casstore.workspace.part import POSIX
from casstore.workspace.registry import OVERLAYS, Registry
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.selection import Selection

if TYPE_CHECKING:
    from casstore.snapshots import Snapshot
    from casstore.store import Store

_MEMORY = ":memory:"


def register_checkout(store: Store, directory: str, snapshot: Snapshot, ref: str | None) -> str | None:
    """Makes ``directory`` a workspace whose base is ``snapshot``, and returns its id.

    None with a store in memory or on read-only media.
    """
    if store.path == _MEMORY:
        return None
    registry = Registry(store)
    place = os.path.realpath(directory)
    status = os.stat(place)
    info = registry.find(place, status)
    try:
        # What has only the inode of one that is gone has nothing else of it: the folder was empty.
        if info is not None and info.path == place:
            lock = registry.lock(info.id)
            try:
                registry.write(replace(info, base=snapshot.id, base_ref=ref, last_switch=None), sync=False)
            finally:
                lock.release()
            return info.id
        info = Info(
            id=registry.new_id(),
            path=place,
            device=status.st_dev,
            inode=status.st_ino,
            base=snapshot.id,
            base_ref=ref,
            metadata="full" if POSIX in snapshot.roots else "basic",
            created_ns=time.time_ns(),
        )
        registry.register(info)
        return info.id
    except StorageError:
        # On read-only media a checkout is still a checkout; `Workspace` will know the directory by nothing.
        if not store.read_only:
            raise
        return None


def save_checkout(store: Store, directory: str, snapshot: Snapshot, folders: Mapping[bytes, bytes]) -> None:
    """Keeps what was written as the stat cache of ``directory``; nothing with a store that is open read-only."""
    if folders and not store.read_only:
        StatCache(store, directory, os.stat(directory)).save_encoded(snapshot, Selection(), folders)


def note_import(
    store: Store,
    directory: str,
    status: os.stat_result,
    snapshot: Snapshot,
    ref: str,
    selection: Selection,
    metadata: Literal["basic", "full"],
) -> None:
    """An imported directory that is a workspace has the snapshot for its base now, and is captured as it was then."""
    if store.path == _MEMORY:
        return
    registry = Registry(store)
    found = registry.find(os.path.realpath(directory), status)
    if found is None or _noted(found, snapshot, ref, selection, metadata) == found:
        return
    try:
        lock = registry.lock(found.id)
    except LockedError:
        return  # Whoever changes it notes what it has then.
    try:
        info, journal = registry.state(found.id) or (found, None)
        registry.write(_noted(info, snapshot, ref, selection, metadata), journal, sync=False)
    finally:
        lock.release()


def _noted(info: Info, snapshot: Snapshot, ref: str, selection: Selection, metadata: str) -> Info:
    info = replace(info, base=snapshot.id, base_ref=ref, keep_git=selection.keep_git)
    # An overlay is captured whole, without metadata.
    return info if info.kind in OVERLAYS else replace(info, ignore=selection.ignore, metadata=metadata)
