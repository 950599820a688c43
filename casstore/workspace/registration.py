# SPDX-License-Identifier: MIT
"""What the store knows of one directory, and the right to change it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from casstore.errors import InvalidInputError, NotFoundError, ReadOnlyError
from casstore.format.workspace_files import PLAIN, Info
from casstore.snapshots.refs import WORKSPACE_PREFIX
from casstore.workspace.part import POSIX
from casstore.workspace.registry import OVERLAYS, Registry, workspace_ref
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.selection import Selection, recorded_selection

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.format.workspace_files import Journal, LastSwitch
    from casstore.snapshots import Snapshot
    from casstore.store import Store

Metadata = Literal["basic", "full"]


class Registration:
    """The registration of a directory, made when it is first needed.

    Args:
        store: An open store.
        directory: Absolute, without symlinks.
        status: Its status.
        selection: What is captured of it; None as before.
        metadata: The same for POSIX metadata.
        info: What was registered, where that is known.

    Attributes:
        info: What was registered, as it was last read; None until the directory is.
        lock: Held by the thread that uses the directory.
    """

    __slots__ = (
        "_chosen",
        "_found_base",
        "_held",
        "_journal",
        "directory",
        "info",
        "lock",
        "metadata",
        "registry",
        "selection",
        "store",
    )

    def __init__(
        self,
        store: Store,
        directory: str,
        status: os.stat_result,
        selection: Selection | None,
        metadata: Metadata | None,
        info: Info | None = None,
    ) -> None:
        self.store = store
        self.directory = directory
        self.registry = Registry(store)
        self.lock = threading.RLock()
        self.info: Info | None = info or self.registry.find(directory, status)
        self._held = False
        self._journal: Journal | None = None
        # Of a directory that was imported, and no more.
        self._found_base: Snapshot | None = None
        if self.info is None:
            cache = StatCache(store, directory, status)
            found = cache.saved_snapshot()
            self._found_base = found if cache.in_place else None
        self._chosen = (selection, metadata)
        self.selection = selection or self._known_selection()
        self.metadata: Metadata = metadata or self._known_metadata()

    def _known_selection(self) -> Selection:
        info = self.info
        if info is not None:
            return Selection(ignore="git" if info.ignore == "git" else "nothing", keep_git=info.keep_git)
        return Selection() if self._found_base is None else recorded_selection(self._found_base.meta)

    def _known_metadata(self) -> Metadata:
        if self.info is not None:
            return "full" if self.info.metadata == "full" else "basic"
        return "full" if self._found_base is not None and POSIX in self._found_base.roots else "basic"

    # -- what is known

    @property
    def kind(self) -> str:
        """``"plain"``, or how a fork was made."""
        return PLAIN if self.info is None else self.info.kind

    @property
    def base(self) -> Snapshot | None:
        """The snapshot that the directory was last made from or saved as; None where there is none, or it is lost."""
        return self._found_base if self.info is None else self.snapshot(self.info.base)

    @property
    def base_ref(self) -> str | None:
        """The ref that was named then; of a directory that was only imported, one that names its snapshot."""
        if self.info is not None:
            return self.info.base_ref
        base = self._found_base
        if base is None:
            return None
        names = (
            name for name, found in self.store.refs.ids() if found == base.id and not name.startswith(WORKSPACE_PREFIX)
        )
        return next(names, None)

    def standing(self) -> tuple[Address | None, str | None, LastSwitch | None]:
        """Where the directory is at; the same before and right after it is registered."""
        info = self.info
        if info is not None:
            return info.base, info.base_ref, info.last_switch
        base = self._found_base
        return None if base is None else base.id, self.base_ref, None

    def snapshot(self, snapshot_id: Address | None) -> Snapshot | None:
        """The snapshot with that id; None for none, and where it was collected."""
        if snapshot_id is None:
            return None
        try:
            return self.store.snapshots.get(snapshot_id)
        except NotFoundError:
            return None

    def journal(self) -> Journal | None:
        """The switch that began and did not end."""
        if not self._held:
            self._read()
        return self._journal

    def _read(self) -> None:
        found = None if self.info is None else self.registry.state(self.info.id)
        self.info, self._journal = found or (None, None)
        if self.info is not None:
            # Another process may have imported the directory in another way.
            selection, metadata = self._chosen
            self.selection = selection or self._known_selection()
            self.metadata = metadata or self._known_metadata()

    @property
    def folder(self) -> str:
        """The folder of the registration in the store."""
        return self.registry.folder(self.registered().id)

    # -- changing it

    def refresh(self) -> bool:
        """Reads again what is known, since another process may have changed it; whether one has."""
        info = self.info
        if info is None or self._held:
            return False
        self._read()
        return self.info != info

    def registered(self) -> Info:
        """What is known, registering the directory where it is not."""
        if self.info is None:
            status = self._status()
            base = self._found_base
            # Another handle, or another process, may be registering the same directory.
            with self.registry.registering():
                info = self.registry.find(self.directory, status)
                if info is None:
                    info = Info(
                        id=self.registry.new_id(),
                        path=self.directory,
                        device=status.st_dev,
                        inode=status.st_ino,
                        base=None if base is None else base.id,
                        base_ref=self.base_ref,
                        ignore=self.selection.ignore,
                        keep_git=self.selection.keep_git,
                        metadata=self.metadata,
                        created_ns=time.time_ns(),
                    )
                    self.registry.register(info)
                self.info = info
        return self.info

    def write(self, info: Info, journal: Journal | None = None) -> None:
        """Keeps what is known now, with the directory's place and identity, and what is captured of it.

        Without a ``journal`` no switch is open any more.
        """
        status = self._status()
        info = replace(
            info,
            path=self.directory,
            device=status.st_dev,
            inode=status.st_ino,
            ignore=self.selection.ignore,
            keep_git=self.selection.keep_git,
            metadata=self.metadata,
        )
        if (info, journal) != (self.info, self._journal):
            self.registry.write(info, journal, sync=False)
            self.info, self._journal = info, journal

    def begin(self, journal: Journal) -> None:
        """Says, durably, that a switch begins."""
        info = self.registered()
        self.registry.write(info, journal, sync=True)
        self._journal = journal

    def _follow(self) -> None:
        """Notes where the directory is now, if it was moved; else it would count as missing."""
        info = self.info
        if info is None or info.kind in OVERLAYS or os.path.realpath(self.directory) != self.directory:
            return
        if os.path.isdir(self.directory):
            self.write(info, self.journal())

    def _status(self) -> os.stat_result:
        try:
            return os.stat(self.directory)
        except OSError as error:
            raise InvalidInputError(
                f"{self.directory!r} cannot be looked at: {error.strerror}; was it moved or deleted? Open it where it "
                "is now.",
                path=self.directory,
            ) from error

    def is_kept(self, snapshot_id: Address) -> bool:
        """Whether a ref names the snapshot. *Cost*: mostly two look-ups, else the refs."""
        refs = self.store.refs
        likely = (self.base_ref, workspace_ref(self.registered().id))
        if any(name is not None and refs.id_of(name) == snapshot_id for name in likely):
            return True
        return any(found == snapshot_id for _, found in refs.ids())

    def keep(self, snapshot: Snapshot, reason: str) -> None:
        """Keeps what was saved from the directory under the workspace's own ref, durably."""
        name = workspace_ref(self.registered().id)
        refs = self.store.refs
        refs.compare_and_set(name, refs.id_of(name), snapshot, reason=reason)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Holds the directory against other threads and processes; whether another process had changed what is known.

        Raises:
            LockedError: Another process holds it.
            ReadOnlyError: The store is open read-only.
        """
        if self.store.read_only:
            raise ReadOnlyError("the store is open read-only; open it for writing to save or change a directory.")
        with self.lock:
            if self._held:
                yield False
                return
            # It may have been forgotten meanwhile; then it is registered anew.
            changed = self.refresh()
            lock = self.registry.lock(self.registered().id)
            try:
                changed |= self.refresh()
                self._held = True
                self._follow()
                yield changed
            finally:
                self._held = False
                lock.release()
