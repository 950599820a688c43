# SPDX-License-Identifier: MIT
"""Registered workspaces: each has a folder of the store with its ``info`` and its ``lock``.

A directory is found by its path and its identity (device and inode). Nothing is put inside of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from casstore import layout
from casstore.errors import (
    ConflictError,
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    StorageError,
)
from casstore.format.slots import (
    MAX_UNSYNCED,
    SLOTS,
    Slot,
    encode_slot,
    new_file,
    newest_slot,
    place_of,
    slot_bytes_for,
)
from casstore.format.workspace_files import (
    OVERLAY,
    OVERLAY_PRIVATE,
    Info,
    Journal,
    decode_state,
    encode_info,
    encode_journal,
    is_workspace_id,
)
from casstore.osfile import OsFiles
from casstore.snapshots.refs import WORKSPACE_PREFIX
from casstore.storage.lock import FileLock
from casstore.workspace.scanning.stat_cache import StatCache

if TYPE_CHECKING:
    from casstore.store import Store

OVERLAYS: Final = (OVERLAY, OVERLAY_PRIVATE)
_REGISTERING_SECONDS: Final = 10.0
_BUSY_REGISTRY: Final = "is registering a workspace; try again"
_BUSY: Final = "is changing this workspace; wait for it, then try again"
_MEMORY: Final = ":memory:"
MAX_INFO_BYTES: Final = 1024 * 1024


class Registry:
    """The workspaces of one store.

    Args:
        store: An open store.
    """

    __slots__ = ("_files", "_folder", "_store")

    def __init__(self, store: Store) -> None:
        self._folder = os.path.join(os.path.realpath(store.path), layout.WORKSPACES) if store.path != _MEMORY else ""
        self._files = OsFiles()
        self._store = store

    def folder(self, workspace: str) -> str:
        """The folder of a workspace in the store."""
        return os.path.join(self._folder, workspace)

    @contextlib.contextmanager
    def registering(self) -> Iterator[None]:
        """Held while a directory is looked for and registered, so that it is registered once.

        Raises:
            LockedError: Somebody holds it for more than ten seconds.
            InvalidInputError: The store is in memory.
            StorageError: The store's folder cannot be written.
        """
        if not self._folder:
            raise InvalidInputError("a store in memory keeps no workspaces; open one on disk.")
        path = os.path.join(self._folder, layout.LOCK)
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            lock = FileLock(path, _REGISTERING_SECONDS, _BUSY_REGISTRY)
        except OSError as error:
            raise StorageError(
                f"the store cannot keep a workspace: {error.strerror}; give yourself access to {self._folder!r}.",
                path=self._folder,
            ) from error
        try:
            yield
        finally:
            lock.release()

    def new_id(self) -> str:
        """An id that no workspace has; its folder is made.

        Raises:
            InvalidInputError: The store is in memory.
            StorageError: The store's folder cannot be written.
        """
        if not self._folder:
            raise InvalidInputError("a store in memory keeps no workspaces; open one on disk.")
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            while True:
                workspace = os.urandom(4).hex()
                with contextlib.suppress(FileExistsError):
                    self._files.make_folder(self.folder(workspace))
                    return workspace
        except OSError as error:
            raise StorageError(
                f"the store cannot keep a workspace: {error.strerror}; give yourself access to {self._folder!r}.",
                path=self._folder,
            ) from error

    def register(self, info: Info) -> None:
        """Keeps a new workspace, durably; its folder was made by ``new_id``."""
        try:
            self.write(info, sync=True)
            self._files.sync_folder(self._folder)
            self._files.sync_folder(os.path.dirname(self._folder))
        except OSError as error:
            raise StorageError(
                f"the workspace cannot be kept: {error.strerror}; free space or give yourself access, then try again.",
                path=self._folder,
            ) from error
        except (InvalidInputError, StorageError):
            # Without `info` it is nothing, and has nothing in it.
            if not os.path.exists(os.path.join(self.folder(info.id), layout.UPPER)):
                self.remove(info.id)
            raise

    def write(self, info: Info, journal: Journal | None = None, *, sync: bool) -> None:
        """Keeps what is known of a workspace and, while a switch runs, its journal; after a crash it is old or new.

        Args:
            info: What is known.
            journal: The switch that begins; None: none runs, or the one that ran has ended.
            sync: Make it durable.

        Raises:
            InvalidInputError: Its path or a name is too long; nothing was written.
            StorageError: The system refused.
        """
        path = os.path.join(self.folder(info.id), layout.WORKSPACE_INFO)
        payload = encode_info(info) + (b"" if journal is None else encode_journal(journal))
        try:
            if not self._write_in_place(path, payload, sync=sync):
                size = slot_bytes_for(payload)
                self._files.replace_file(path, new_file(Slot(1, 0 if sync else 1, payload), size), sync=sync)
        except OSError as error:
            raise StorageError(
                f"{path!r} cannot be written: {error.strerror}. Free space or give yourself access, then repeat the "
                "command; the directory keeps what it has.",
                path=path,
            ) from error

    def _write_in_place(self, path: str, payload: bytes, *, sync: bool) -> bool:
        """Writes the next slot; False where there is no file yet, or no room in it."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            data = os.pread(fd, MAX_INFO_BYTES, 0)
            size = len(data) // SLOTS
            last = newest_slot(data)
            if last is None:
                return False
            slot = Slot(last.number + 1, 0 if sync else last.unsynced + 1, payload)
            encoded = encode_slot(slot, size)
            if encoded is None:
                return False
            if last.unsynced >= MAX_UNSYNCED:
                self._files.sync(fd)
                encoded = encode_slot(slot._replace(unsynced=0 if sync else 1), size) or encoded
            self._files.write_at(fd, encoded, place_of(slot.number, size))
            if sync:
                self._files.sync(fd)
            return True
        finally:
            os.close(fd)

    def state(self, workspace: str) -> tuple[Info, Journal | None] | None:
        """What is known of a workspace, and the switch that began and did not end; None where it is not registered.

        Raises:
            CorruptionError: What is known is damaged.
        """
        path = os.path.join(self.folder(workspace), layout.WORKSPACE_INFO)
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read(MAX_INFO_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(
                f"the workspace {workspace} cannot be read: {error.strerror}; give yourself access to the store.",
                path=self.folder(workspace),
            ) from error
        slot = newest_slot(data)
        found = decode_state(b"" if slot is None else slot.payload)
        if found[0].id != workspace:
            raise CorruptionError(
                f"the workspace {workspace} has the registration of {found[0].id}; forget it with `casstore workspace "
                "prune`.",
                path=path,
            )
        return found

    def info(self, workspace: str) -> Info | None:
        """What is known of a workspace; None where it is not registered. Raises as ``state``."""
        found = self.state(workspace)
        return None if found is None else found[0]

    def journal(self, workspace: str) -> Journal | None:
        """The switch that has begun and not ended, if any. Raises as ``state``."""
        found = self.state(workspace)
        return None if found is None else found[1]

    def ids(self) -> list[str]:
        """Ids of all workspaces, in order."""
        if not self._folder:
            return []
        try:
            return sorted(name for name in os.listdir(self._folder) if is_workspace_id(name))
        except FileNotFoundError:
            return []

    def all(self) -> Iterator[Info]:
        """What is known of every workspace whose ``info`` can be read."""
        for workspace in self.ids():
            try:
                info = self.info(workspace)
            except (CorruptionError, FormatVersionError):
                continue
            if info is not None:
                yield info

    def find(self, directory: str, status: os.stat_result | None = None) -> Info | None:
        """The workspace that ``directory`` (absolute, without symlinks) is; None where it is none.

        A directory that was moved is known by its identity, as long as nothing else took its place.
        """
        moved: Info | None = None
        for info in self.all():
            if info.path == directory:
                # An overlay has another identity after each mount.
                if status is None or info.kind in OVERLAYS or _is(info, status):
                    return info
            elif (
                status is not None
                and info.kind not in OVERLAYS
                and _is(info, status)
                and not _stands(info)
                and StatCache(self._store, directory, status).recognizes(directory)
            ):
                moved = info
        return moved

    def around(self, directory: str) -> Info | None:
        """The workspace that ``directory`` (absolute, without symlinks) is or lies in; it need not exist."""
        places: dict[str, os.stat_result] = {}
        place = directory
        while True:
            with contextlib.suppress(OSError):
                places[place] = os.stat(place)
            above = os.path.dirname(place)
            if above == place:
                break
            place = above
        identities = {(status.st_dev, status.st_ino): place for place, status in places.items()}
        for info in self.all():
            here = info.path if info.path in places else identities.get((info.device, info.inode))
            found = None if here is None else self.find(here, places[here])
            if found is not None:
                return found
        return None

    def require_ready(self, directory: str, *, then: str) -> None:
        """Passes unless what is in ``directory`` is not what its workspace holds.

        That is where an overlay is not mounted, and where a switch began and did not end.

        Args:
            directory: Absolute, without symlinks.
            then: What is to be done after that was mended, for messages.

        Raises:
            InvalidInputError: An overlay should be there that is not mounted.
            ConflictError: A switch of it was interrupted.
            LockedError: A switch of it is running.
        """
        self._require_shown(directory)
        try:
            status = os.stat(directory)
        except OSError:
            return  # What was interrupted there is gone.
        info = self.find(directory, status)
        if info is None or self.journal(info.id) is None:
            return
        with contextlib.suppress(NotFoundError, StorageError):  # on read-only media nobody switches
            self.lock(info.id).release()
        # It may have ended meanwhile.
        if self.journal(info.id) is not None:
            raise ConflictError(
                f"a switch of {directory!r} was interrupted; go on with `casstore switch STATE` or back with `casstore "
                f"undo`, then {then}.",
                path=directory,
            )

    def _require_shown(self, directory: str) -> None:
        for info in self.all():
            if info.path == directory and info.kind in OVERLAYS:
                from casstore.workspace.overlay import list_mounts

                source = os.path.realpath(self.folder(info.id))
                if not any(mounted.source == source for mounted in list_mounts()):
                    raise InvalidInputError(
                        f"{directory!r} is an overlay that is not mounted now; show it with `casstore workspace mount "
                        f"{directory}`, or forget it with `casstore workspace remove {directory}`.",
                        path=directory,
                    )

    def lock(self, workspace: str) -> FileLock:
        """The lock of a workspace, to be held while its directory or its files here are changed.

        Raises:
            LockedError: Somebody else holds it.
            NotFoundError: The workspace was forgotten.
            StorageError: The system refused.
        """
        path = os.path.join(self.folder(workspace), layout.LOCK)
        try:
            return FileLock(path, what=_BUSY)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"the workspace {workspace} was forgotten; open its directory again.", path=self.folder(workspace)
            ) from None
        except OSError as error:
            raise StorageError(
                f"{path!r} cannot be written: {error.strerror}; give yourself access to the store.", path=path
            ) from error

    def is_held(self, workspace: str) -> bool:
        """Whether somebody is changing the workspace right now."""
        try:
            self.lock(workspace).release()
        except LockedError:
            return True
        except (NotFoundError, StorageError):
            pass  # On read-only media nobody changes it.
        return False

    def is_interrupted(self, workspace: str) -> bool:
        """Whether a switch has begun and not ended, and nobody is at it now.

        Raises:
            CorruptionError: The journal is damaged.
        """
        return self.journal(workspace) is not None and not self.is_held(workspace)

    def remove(self, workspace: str) -> None:
        """Forgets a workspace: its folder in the store goes."""
        shutil.rmtree(self.folder(workspace), ignore_errors=True)


def workspace_ref(workspace: str) -> str:
    """Name of the ref under which lies what was saved from a workspace's directory."""
    return f"{WORKSPACE_PREFIX}{workspace}"


def base_ref_of(workspace: str) -> str:
    """Name of the ref that keeps the files of an overlay's base: without them nobody could tell what it changed."""
    return f"{WORKSPACE_PREFIX}{workspace}/base"


def forget_refs(store: Store, workspace: str, reason: str) -> None:
    """Deletes the refs of a workspace; what they named stays for the undo period."""
    for name in (workspace_ref(workspace), base_ref_of(workspace)):
        if name in store.refs:
            store.refs.delete(name, reason=reason)


def _is(info: Info, status: os.stat_result) -> bool:
    return (info.device, info.inode) == (status.st_dev, status.st_ino)


def _stands(info: Info) -> bool:
    """Whether the directory is still where it was."""
    try:
        return _is(info, os.stat(info.path))
    except OSError:
        return False
