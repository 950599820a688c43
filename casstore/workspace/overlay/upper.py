# SPDX-License-Identifier: MIT
"""The upper folder of one overlay: its delta on disk, written once before the first mount and read by every capture."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from casstore import layout
from casstore.errors import ConflictError, CorruptionError, InvalidInputError, StorageError
from casstore.format.entry import Entry, decode_entry, encode_entry
from casstore.tree import Change, Nodes, Root, contents_of
from casstore.workspace.overlay.capturing import Known, LeavesOut, UpperFolder, UpperWalk
from casstore.workspace.overlay.marks import Marks
from casstore.workspace.overlay.mounting import OverlayMount, list_mounts
from casstore.workspace.overlay.removing import remove_tree as remove_tree
from casstore.workspace.overlay.writing import DeltaWriter
from casstore.workspace.scanning.fingerprint import Fingerprint, fingerprint_of
from casstore.workspace.scanning.reading import HashingSink, Sink

if TYPE_CHECKING:
    from casstore.storage import Storage
    from casstore.store import Store
    from casstore.workspace.report import LeftOut

_FINGERPRINT: Final = struct.Struct(">QQqqI")
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Upper:
    """The delta of one overlay, in the folder of its workspace.

    It may be read while it is mounted, and is changed then only through the mount.

    Args:
        folder: The workspace's folder, which holds ``upper`` and ``work``.
        private: The overlay is mounted in user namespaces.
        cache_key: What the keys of the store's cache begin with for this overlay, so that files are not read again
            after a restart; None keeps what is known about them in memory only.

    Attributes:
        left_out: What the last ``edits`` did not capture, and why.
        files_read: How many files it read.
    """

    __slots__ = (
        "_cache_key",
        "_inodes",
        "_known",
        "_marks",
        "_private",
        "_walk",
        "files_read",
        "folder",
        "left_out",
        "path",
        "work",
    )

    def __init__(self, folder: str, *, private: bool = False, cache_key: bytes | None = None) -> None:
        self.folder = folder
        self.path = os.path.join(folder, layout.UPPER)
        self.work = os.path.join(folder, layout.WORK)
        self.left_out: tuple[LeftOut, ...] = ()
        self.files_read = 0
        self._private = private
        self._marks = Marks(private=private)
        self._cache_key = cache_key
        self._known: dict[bytes, Known] | None = None
        self._inodes: dict[bytes, int] = {}
        self._walk: tuple[dict[bytes, UpperFolder], dict[bytes, Fingerprint]] | None = None

    def overlay(self, base: str, target: str) -> OverlayMount:
        """The mount that shows ``base`` with this delta at ``target``."""
        return OverlayMount(
            lower=base, upper=self.path, work=self.work, target=target, source=self.folder, private=self._private
        )

    def create(self) -> None:
        """Makes the folders of an empty delta; the folder of the workspace must be there.

        Raises:
            InvalidInputError: They exist, or the file system cannot hold the marks of an overlay.
            StorageError: The system refused.
        """
        try:
            os.mkdir(self.path)
            os.mkdir(self.work, 0o700)
            fd = os.open(self.work, _FOLDER_FLAGS)
            try:
                self._marks.seal(fd)
            finally:
                os.close(fd)
        except FileExistsError as error:
            raise InvalidInputError(
                f"{error.filename!r} exists; remove the workspace first (casstore workspace prune).",
                path=str(error.filename),
            ) from None
        except OSError as error:
            raise StorageError(
                f"{self.folder!r} cannot hold the upper folder of an overlay: {error.strerror}; fork with another "
                "method.",
                path=self.folder,
            ) from error

    def write(self, store: Store, changes: Iterable[Change], *, base: str, root: Root) -> None:
        """Writes a delta into the new, never mounted upper folder.

        Args:
            store: Where contents and trees are.
            changes: What leads from the base's tree to ``root``, in key order (``small_delta`` gives them).
            base: The base's folder.
            root: The files that the overlay is to show.

        Raises:
            CorruptionError: A content is damaged, or a key leads outside.
            StorageError: The system refused to write.

        *Cost*: some 0.2 ms per changed path.
        """
        DeltaWriter(store.storage, store.nodes, root, base, self.path, self._marks).write(changes)

    def edits(
        self,
        storage: Storage,
        nodes: Nodes,
        base: Root,
        *,
        leaves_out: LeavesOut | None = None,
        skip_unreadable: bool = False,
        paranoid: bool = False,
        keep: bool = True,
    ) -> list[tuple[bytes, Entry | None]]:
        """What the overlay shows, as sorted edits of the base's tree: ``apply(nodes, base, edits, tree=True)``.

        Only the upper folder is read. A file is read again unless it looks as it did at a read that came well after
        its last change. Hold ``storage.operation()`` until a snapshot names the result.

        Args:
            storage: Where contents go.
            nodes: Where the base's tree is.
            base: Root of the base's files.
            leaves_out: Rules, given a path and whether it is a folder. They are asked about what the upper folder has
                and what renamed folders bring along; what lies unchanged in the base stays.
            skip_unreadable: Name what cannot be read in ``left_out`` instead of raising.
            paranoid: Read every file of the upper folder.
            keep: Put contents into the store; off, only their addresses are computed and nothing is remembered.

        Raises:
            InvalidInputError: The upper folder is gone, or this process may not see its marks, or something is
                unreadable.
            ConflictError: A file changed each time it was read.

        *Cost*: some 50 µs per changed path, whatever the size of the base; reads what is new. A folder that is gone or
        renamed costs 1 µs for each path that the base has in it.
        """
        top = self._open()
        known = self._load(storage)
        sink: AbstractContextManager[Sink] = (
            storage.ingest(contents_of(nodes, base)) if keep else nullcontext(HashingSink())
        )
        with sink as ingest:
            walk = UpperWalk(
                self.path,
                top,
                self._marks,
                nodes,
                base,
                ingest,
                is_stored=storage.known if keep else storage.contains,
                known={} if paranoid else known,
                leaves_out=leaves_out,
                skip_unreadable=skip_unreadable,
            )
            walk.run()
        if keep:
            self._keep(storage, known, walk.seen)
        self._walk = walk.folders, walk.looked
        self._inodes.clear()
        self.left_out = tuple(walk.left_out)
        self.files_read = walk.files_read
        return sorted(walk.edits.items())

    def seen(self, path: bytes) -> Fingerprint | None:
        """The fingerprint that the last ``edits`` saw at ``path`` in the upper folder; None where it has none."""
        found = None if self._known is None else self._known.get(path)
        return None if found is None else found[0]

    def fingerprint(self, path: bytes, base: str | None = None, shown: str | bytes | None = None) -> Fingerprint | None:
        """The fingerprint that the file or symlink at ``path`` had when ``edits`` last looked; None: there was none.

        Args:
            path: Below the overlay's top.
            base: The base's folder: its files are looked up too, under their own path or below a renamed folder.
                Without it only what the upper folder has itself is known.
            shown: Where the overlay is mounted. Through a mount, a file of the base that was changed keeps the inode
                that it has in the base, while everything else is the upper file's: the fingerprint then has the inode
                that was seen there when this was first asked after ``edits``.

        *Cost*: one or two looks at a file.
        """
        if self._walk is None:
            return None
        folders, looked = self._walk
        found = looked.get(path)
        if found is None and base is not None:
            at = len(path)
            while path[:at] not in folders:
                at = path.rfind(b"/", 0, at - 1) + 1
            folder = folders[path[:at]]
            rest = path[at:]
            if folder.lower is None or rest.partition(b"/")[0] in folder.names:
                return None
            found = _leaf(b"/".join((os.fsencode(base), folder.lower, rest)))
        if found is None or not (stat.S_ISREG(found.mode) or stat.S_ISLNK(found.mode)):
            return None
        if shown is None:
            return found
        if path not in self._inodes:
            seen = _leaf(os.path.join(os.fsencode(shown), path))
            if seen is None:
                return found
            self._inodes[path] = seen.inode
        return found._replace(inode=self._inodes[path])

    def forget(self, storage: Storage) -> None:
        """Drops what the store's cache knows about the files of this overlay.

        Raises:
            StorageError: The system refused to write.
        """
        self._known = None
        if self._cache_key is None:
            return
        # By the keys, since what cannot be read is to go too.
        changes = {key: None for key, _ in storage.backend.cache(self._cache_key)}
        if changes:
            storage.backend.put_cache(changes)

    def remove(self) -> None:
        """Deletes the delta. What was not captured is lost.

        Raises:
            ConflictError: It is mounted.
            StorageError: The system refused.
        """
        source = os.path.realpath(self.folder)
        for mounted in list_mounts():
            if mounted.source == source:
                raise ConflictError(f"{mounted.target!r} shows it; unmount that first.", path=mounted.target)
        for place in (self.path, self.work):
            remove_tree(place)

    def _open(self) -> int:
        try:
            top = os.open(self.path, _FOLDER_FLAGS)
        except OSError as error:
            raise InvalidInputError(
                f"the delta of the workspace at {self.path!r} cannot be read: {error.strerror}. If it is gone, so is "
                "what was not saved; run `casstore workspace prune`.",
                path=self.path,
            ) from error
        try:
            work = os.open(self.work, _FOLDER_FLAGS)
            try:
                readable = self._marks.can_read(work)
            finally:
                os.close(work)
        except OSError:
            readable = False
        if not readable:
            os.close(top)
            raise InvalidInputError(
                f"this process cannot see the marks of the overlay in {self.folder!r}; run it as the user who mounted "
                "it, with the same rights.",
                path=self.folder,
            )
        return top

    def _load(self, storage: Storage) -> dict[bytes, Known]:
        if self._known is None:
            self._known = {}
            if self._cache_key is not None:
                cut = len(self._cache_key)
                for key, value in storage.backend.cache(self._cache_key):
                    try:
                        fingerprint = Fingerprint(*_FINGERPRINT.unpack_from(value))
                        self._known[key[cut:]] = fingerprint, decode_entry(value, _FINGERPRINT.size)
                    except (struct.error, CorruptionError):
                        continue  # Only a cache: the file is read again.
        return self._known

    def _keep(self, storage: Storage, known: dict[bytes, Known], seen: dict[bytes, Known]) -> None:
        self._known = seen
        if self._cache_key is None or known == seen:
            return
        changes: dict[bytes, bytes | None] = {
            self._cache_key + path: _FINGERPRINT.pack(*item[0]) + encode_entry(item[1])
            for path, item in seen.items()
            if known.get(path) != item
        }
        changes |= {self._cache_key + path: None for path in known.keys() - seen.keys()}
        storage.backend.put_cache(changes)


def _leaf(place: bytes) -> Fingerprint | None:
    """The fingerprint of a regular file or a symlink."""
    try:
        status = os.lstat(place)
    except OSError:
        return None
    mode = status.st_mode
    return fingerprint_of(status) if stat.S_ISREG(mode) or stat.S_ISLNK(mode) else None
