# SPDX-License-Identifier: MIT
"""Which paths below a directory changed since one asked last, so that a scan need only look at those.

Linux is asked directly (``inotify``), other systems through ``watchfiles``. Wherever it is not known what changed, that
is what is said, and everything has to be scanned.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from typing import Any, Final

from casstore.errors import ClosedError, InvalidInputError, StorageError
from casstore.workspace.scanning.inotify import Inotify, Unsure

MAX_PATHS: Final = 10_000
"""Above this, looking at everything is no dearer than looking at each."""
SENTINEL_SECONDS: Final = 2.0
_UNKNOWN: Final = (Unsure, OSError, InvalidInputError, StorageError)


class Watcher:
    """Watches ``directory`` until it is closed.

    Not seen on any system: a write through a hard link that lies outside, and stores through a memory map that is still
    open. A full scan now and then finds those.

    Args:
        directory: The folder to watch, with everything below it. Symlinks below it are not followed.
        sentinel_folder: A folder of the store in which short-lived files can be made, where ``watchfiles`` is used.

    Raises:
        InvalidInputError: ``watchfiles`` is needed and missing, or the directory's changes cannot be known.
        StorageError: The system's limit of watches is reached.

    *Thread safety*: safe to share; each path is reported to one caller only.
    *Cost*: while nobody asks, none on Linux.
    """

    def __init__(self, directory: str, sentinel_folder: str) -> None:
        self._directory = os.path.abspath(directory)
        self._sentinel_folder = os.path.abspath(sentinel_folder)
        self._lock = threading.Lock()
        self._closed = False
        self._known = False
        self._identity = (0, 0)
        self._source: Inotify | Watchfiles | None = None
        # Unsure: things moved meanwhile, or one folder is mounted at two places; the first call tries again.
        with contextlib.suppress(Unsure):
            self._start()

    def changed(self) -> frozenset[bytes] | None:
        """Paths below the directory, relative to it, that changed before this call and were not reported yet.

        A path that is a folder now stands for everything below it; one that is not, for itself and its name. None: not
        known, look at everything. That is so at first, after more changes than the system or ``MAX_PATHS`` can hold,
        and after the directory itself was replaced.

        What was reported is not reported again: who fails to look at it has to look at everything the next time.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the watcher was closed; make a new one")
            try:
                found = self._read()
            except BaseException:
                self._stop()
                raise
            known, self._known = self._known, True
            return frozenset(found) if known and found is not None and len(found) <= MAX_PATHS else None

    def close(self) -> None:
        """Ends the watching. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            self._stop()

    def _read(self) -> set[bytes] | None:
        try:
            if self._source is not None:
                found = self._source.read()
                if self._identity == _identity(self._directory):
                    return found
        except _UNKNOWN:
            pass
        self._stop()
        # It may be refused for as long as the cause goes on; the caller's scan names that.
        with contextlib.suppress(*_UNKNOWN):
            self._start()
        return None

    def _start(self) -> None:
        directory = os.path.realpath(self._directory)
        if not os.path.isdir(directory):
            raise InvalidInputError(f"{self._directory!r} is no directory; name one", path=self._directory)
        self._identity = _identity(directory)
        if sys.platform == "linux":
            self._source = Inotify(os.fsencode(directory))
        else:
            self._source = Watchfiles(directory, os.path.realpath(self._sentinel_folder))

    def _stop(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()


def _identity(directory: str) -> tuple[int, int]:
    status = os.stat(directory)
    return status.st_dev, status.st_ino


class Watchfiles:
    """The same by ``watchfiles``, for systems other than Linux; both folders are absolute, without a symlink in them.

    A file made in ``sentinel_folder`` is reported after everything that happened before. That the system could not keep
    up, ``watchfiles`` does not tell: full scans have to be made from time to time.
    """

    __slots__ = ("_notify", "_numbers", "_prefix", "_sentinels")

    def __init__(self, directory: str, sentinel_folder: str) -> None:
        try:
            from watchfiles._rust_notify import RustNotify
        except ImportError as error:
            raise InvalidInputError(
                "watching a directory needs watchfiles: run `pip install casstore[watch]`, or leave watching off"
            ) from error
        self._prefix = directory.rstrip("/") + "/"
        self._sentinels = os.path.join(sentinel_folder, f"watched-{os.getpid()}-{id(self):x}-")
        self._numbers = itertools.count()
        try:
            self._notify: Any = RustNotify([directory, sentinel_folder], False, False, 0, True, False)
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{directory!r} cannot be watched: {error}; leave watching off") from error

    def close(self) -> None:
        """Ends its thread."""
        self._notify.close()

    def read(self) -> set[bytes] | None:
        """As ``Inotify.read``."""
        sentinel = self._sentinels + str(next(self._numbers))
        os.close(os.open(sentinel, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            found = self._until(sentinel)
        finally:
            os.unlink(sentinel)
        if self._prefix[:-1] in found:
            return None
        return {os.fsencode(path[len(self._prefix) :]) for path in found if path.startswith(self._prefix)}

    def _until(self, sentinel: str) -> set[str]:
        """Everything reported, up to and including ``sentinel``."""
        found: set[str] = set()
        deadline = time.monotonic() + SENTINEL_SECONDS
        while sentinel not in found:
            try:
                # No grouping in time: the sentinel comes last anyway. It polls only while somebody waits.
                changes = self._notify.watch(0, 1, 100, None)
            except RuntimeError as error:
                raise Unsure from error
            if changes == "signal":
                raise KeyboardInterrupt
            if not isinstance(changes, str):
                found.update(path for _, path in changes)
            if time.monotonic() > deadline:
                raise Unsure
        return found
