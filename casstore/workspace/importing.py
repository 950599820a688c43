# SPDX-License-Identifier: MIT
"""A directory in: one walk, one tree, one snapshot, one move of a ref; or an error, and nothing moved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from casstore.errors import InvalidInputError, ReadOnlyError
from casstore.format.canonical import JsonValue
from casstore.tree import contents_of, summary
from casstore.workspace.part import FILES, OBJECTS
from casstore.workspace.registering import note_import
from casstore.workspace.registry import Registry
from casstore.workspace.report import ImportReport, Progress
from casstore.workspace.scanning.capture import Capture, all_left_out
from casstore.workspace.scanning.scan import Scan, folder_name, identity_of, is_inside
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.selection import Selection

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.snapshots import Snapshot
    from casstore.store import Store


def import_directory(
    store: Store,
    directory: str | os.PathLike[str],
    *,
    ref: str | None = None,
    message: str = "",
    metadata: Literal["basic", "full"] = "basic",
    skip_unreadable: bool = False,
    meta: Mapping[str, JsonValue] | None = None,
    parents: Sequence[Snapshot | Address | str] | None = None,
    selection: Selection | None = None,
    paranoid: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Makes a snapshot of ``directory`` and, where given, moves ``ref`` to it.

    Kept are regular files with their content and the executable bit (the owner's), symlinks as links, and empty
    directories; names are bytes. FIFOs, sockets and devices are named in the report and left out, and so is the store
    itself when it lies inside. Nothing else is ignored without a ``selection``. Hard links become files of their own.

    A file that looks as it did at the last import of that directory into this store (inode, size, times, mode) is not
    read again, and a folder that looks so is not listed again. What may have changed unseen, because it changed
    shortly before it was read, is read again.

    The snapshot's ``files`` are those of the directory; its ``objects`` are those of its first parent, because files
    and objects are one state. Where the ref exists and files, objects and metadata equal those of its snapshot,
    nothing is added and the ref stays.

    Args:
        store: An open, writable store.
        directory: The folder to import, followed if it is a symlink.
        ref: Name to move; it is created if it does not exist. Its snapshot is the default parent.
        message: Text for the snapshot.
        metadata: ``"full"`` also keeps mode, modification time, owner and extended attributes of each path, in a root
            of its own (``posix``) that ``state_id`` does not see.
        skip_unreadable: Name what cannot be read in the report instead of failing.
        meta: Further fields of the snapshot.
        parents: States that the new one came from, instead of the ref's.
        selection: What to leave out; the snapshot's ``meta`` says so under ``"workspace"``.
        paranoid: Read every file, whatever it looks like.
        progress: Called after each folder with ``"reading"``, the files read so far, and None.

    Returns:
        What was imported.

    Raises:
        InvalidInputError: The directory is not there, is none, is ``/``, the home folder or the store, or something in
            it is unreadable.
        ConflictError: A file changed each time it was read, the ref moved during the import, or a switch of the
            directory was interrupted.
        LockedError: The directory is being switched.
        NotFoundError: A parent does not exist.
        ReadOnlyError: The store was opened read-only.
        QuotaExceededError: There is no room for it.

    *Durability*: with ``ref``, durable on return; else from the next ``store.sync()``. After an error no ref has moved.

    *Cost*: every file that is new or looks different is read once; the others cost some 3 µs each. Memory: O(number of
    paths), and at most 8 MiB of a content at a time.
    """
    if store.read_only:
        raise ReadOnlyError("the store is open read-only; open it for writing to import.")
    if metadata not in ("basic", "full"):
        raise InvalidInputError(f"metadata is 'basic' or 'full', not {metadata!r}.")
    current = store.refs.get(ref) if ref is not None else None
    if parents is not None:
        origins = [store.resolve(parent) for parent in parents]
    else:
        origins = [current] if current is not None else []
    folder = folder_name(directory)
    own = identity_of(store.path)
    if own is not None and is_inside(folder, store.path):
        raise InvalidInputError(f"{folder!r} belongs to the store itself; import another folder.", path=folder)
    if store.path != ":memory:":
        Registry(store).require_ready(os.path.realpath(folder), then="import")
    chosen = selection or Selection()
    posix = metadata == "full"
    with ExitStack() as stack:
        # From the first file to the move of the ref: the collector keeps what nothing names yet.
        stack.enter_context(store.storage.operation())
        scan = Scan(folder, exclude=own, skip_unreadable=skip_unreadable, selection=chosen, paranoid=paranoid)
        stack.callback(scan.close)
        cache = StatCache(store, folder, scan.status)
        cache.load()
        if paranoid or not cache.fits(chosen, posix=posix):
            cache.forget()
        known = cache.snapshot
        scan.records = cache.records
        before = origins[0] if origins else known
        previous = contents_of(store.nodes, None if before is None else before.roots.get(FILES))
        with store.storage.ingest(previous) as ingest:
            capture = Capture(scan, ingest, cache.records, posix=posix, paranoid=paranoid)
            capture.run(progress)
            left_out = all_left_out(cache.records)
            roots = capture.roots(store.nodes, {} if known is None else known.roots)
        if origins:
            roots[OBJECTS] = origins[0].roots.get(OBJECTS)
        present = {name: root for name, root in roots.items() if root is not None}
        if current is not None and present == dict(current.roots):
            snapshot, moved = current, False
        else:
            snapshot = store.add_snapshot(
                roots=present,
                parents=tuple(origin.id for origin in origins),
                message=message,
                meta={**chosen.meta(left_out), **(meta or {})},
            )
            moved = ref is not None
            if ref is not None:
                store.refs.compare_and_set(ref, current, snapshot, reason="import")
        if ref is not None:
            cache.save(snapshot, chosen, None if known is None else capture.changed)
            note_import(store, folder, scan.status, snapshot, ref, chosen, metadata)
    found = summary(store.nodes, snapshot.roots.get(FILES))
    return ImportReport(
        snapshot=snapshot,
        moved=moved,
        files=found.files,
        directories=capture.directories,
        symlinks=capture.count_symlinks(),
        bytes=found.bytes,
        new_bytes=ingest.new_bytes,
        left_out=tuple(left_out),
        warnings=tuple(capture.warnings),
    )
