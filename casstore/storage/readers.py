# SPDX-License-Identifier: MIT
"""Read-only openers beside a live writer: a pin that says "I live", and an index copy of their own.

A pin is a locked file; the lock, never a clock, says that its owner lives. The pin is taken *before* the index is
copied, so whoever removes a segment after its index says "condemned" asks the pins and knows every copy that may still
lead there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from functools import partial

from casstore.errors import LockedError, StorageError
from casstore.layout import INDEX, READERS, parse_pin_name, pin_name
from casstore.storage.leveldb_copy import copy_index
from casstore.storage.lock import FileLock, remove_dead
from casstore.storage.reserve import is_full


class ReaderCopy:
    """A pin and the copy of the index that it guards; ``release`` removes both."""

    __slots__ = ("_folder", "_lock", "_pid", "_source", "index_path", "pin")

    def __init__(self, store: str) -> None:
        """Takes a pin in ``store`` and copies its index.

        Where the store's file system takes no writes, the copy is temporary and there is no pin: a warning says so.
        """
        self._lock: FileLock | None = None
        self._pid = os.getpid()
        self.pin: str | None = None
        readers = os.path.join(store, READERS)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(readers, 0o700)
            self.pin, self._lock = _take_pin(readers)
            self._folder = os.path.join(readers, self.pin)
        except OSError as error:
            import tempfile
            import warnings

            self._folder = tempfile.mkdtemp(prefix="casstore-reader-")
            warnings.warn(
                f"{readers} cannot be written ({error.strerror}); reading without a pin: "
                "a collection by a writer may remove what is being read.",
                RuntimeWarning,
                stacklevel=2,
            )
        self._source = os.path.join(store, INDEX)
        self.index_path = os.path.join(self._folder, INDEX)
        try:
            if self._lock is not None:
                os.mkdir(self._folder, 0o700)
            copy_index(self._source, self.index_path)
        except (StorageError, OSError) as error:
            if self._lock is None or not is_full(error):
                self.release()
                raise
            self.move_elsewhere()
        except BaseException:
            self.release()
            raise

    def move_elsewhere(self) -> None:
        """Makes the copy anew in the temporary folder, as the store's disk is full; the pin stays where it is.

        Raises:
            StorageError: There is no room either; the pin is given up.
        """
        import tempfile

        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = tempfile.mkdtemp(prefix="casstore-reader-")
        self.index_path = os.path.join(self._folder, INDEX)
        try:
            copy_index(self._source, self.index_path)
        except BaseException:
            self.release()
            raise

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked child, which owns nothing."""
        return self._pid != os.getpid()

    def release(self) -> None:
        """Removes the copy and gives the pin up; harmless when done twice, and nothing in a forked child."""
        if self.forked:
            return
        lock, self._lock = self._lock, None
        shutil.rmtree(self._folder, ignore_errors=True)
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock.path)
            lock.release()


def _take_pin(readers: str) -> tuple[str, FileLock]:
    while True:
        pin = os.urandom(16).hex()
        path = os.path.join(readers, pin_name(pin))
        try:
            lock = FileLock(path)
        except LockedError:
            continue
        # A writer may have swept the file between its making and its locking; then it is no pin.
        if os.path.exists(path):
            return pin, lock
        lock.release()


def live_pins(store: str) -> set[str]:
    """The pins whose owners live; what dead ones left is removed."""
    readers = os.path.join(store, READERS)
    found: set[str] = set()
    try:
        names = os.listdir(readers)
    except FileNotFoundError:
        return found
    for name in names:
        pin = parse_pin_name(name)
        if pin is None:
            continue
        if not remove_dead(os.path.join(readers, name), partial(_remove, readers, pin)):
            found.add(pin)
    return found


def _remove(readers: str, pin: str) -> None:
    shutil.rmtree(os.path.join(readers, pin), ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(readers, pin_name(pin)))
