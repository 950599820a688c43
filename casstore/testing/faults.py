# SPDX-License-Identifier: MIT
"""A file system that records, fails, tears and forgets: for crash tests of whatever goes through ``OsFiles``.

``FaultyFiles`` does what it is told to the real files and keeps account of what a power loss could take back. At any
call ``crash_copy`` makes a folder as a crash just then could leave it. LevelDB does not go through ``OsFiles``: its
files are copied as they are, which is what a power loss leaves of an index whose every batch is synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from typing import NamedTuple

from casstore.osfile import OsFiles


class Call(NamedTuple):
    """One call: the method's name, the path concerned, and the bytes or the length that it was given."""

    name: str
    path: str
    size: int = 0


class _Fault:
    __slots__ = ("error", "left", "name", "partial_bytes", "path_part")

    def __init__(self, name: str, nth: int, error: int, partial_bytes: int, path_part: str) -> None:
        self.name = name
        self.left = nth
        self.error = error
        self.partial_bytes = partial_bytes
        self.path_part = path_part


class _NameChange(NamedTuple):
    """How to take back a name that was made, changed or removed, as long as its folder was not synced."""

    folder: str
    made: str
    moved_from: str | None
    replaced: bytes | None


class FaultyFiles(OsFiles):
    """Real files under ``root`` whose calls can be watched, failed and taken back.

    Attributes:
        calls: All calls so far, in order; those that failed too.
        before: Called with each call before it is carried out; what it raises, the call raises.
    """

    __slots__ = ("_faults", "_names", "_paths", "_synced", "before", "calls", "root")

    def __init__(self, root: str, before: Callable[[Call], None] | None = None) -> None:
        self.root = os.path.abspath(root)
        self.before = before
        self.calls: list[Call] = []
        self._faults: list[_Fault] = []
        self._paths: dict[int, str] = {}
        self._synced: dict[str, int] = {}
        self._names: list[_NameChange] = []

    # -- what tests ask for

    def fail(
        self, name: str, *, nth: int = 1, error: int = errno.EIO, partial_bytes: int = 0, path_part: str = ""
    ) -> None:
        """Lets the ``nth`` next call of method ``name`` (on a path that holds ``path_part``) fail, once.

        Args:
            name: ``"append"``, ``"sync"``, ``"sync_folder"``, ``"create"`` …
            nth: Which call from now on, from 1.
            error: The ``errno`` of the ``OSError``.
            partial_bytes: An append writes this many bytes before it fails.
            path_part: Only calls on paths that hold this count.
        """
        self._faults.append(_Fault(name, nth, error, partial_bytes, path_part))

    def unsynced_bytes(self, path: str) -> int:
        """Bytes at the end of a file that no ``sync`` covered yet."""
        path = os.path.abspath(path)
        return os.path.getsize(path) - self._synced[path] if path in self._synced and os.path.exists(path) else 0

    def crash_copy(self, target: str, *, keep_bytes: int = 0, zeros: bool = False, keep_names: bool = False) -> None:
        """Copies ``root`` to ``target`` as a power loss at this moment could leave it.

        Args:
            target: A folder that does not exist yet.
            keep_bytes: How many unsynced bytes at the end of each file reached the disk.
            zeros: The rest of the unsynced bytes is there as zeros instead of missing.
            keep_names: Names whose folder was not synced survive all the same.
        """
        self._copy(target)
        for path, synced in self._synced.items():
            copy = self._in(target, path)
            if os.path.isfile(copy):
                size = os.path.getsize(copy)
                kept = min(size, synced + keep_bytes)
                os.truncate(copy, kept)
                if zeros:
                    os.truncate(copy, size)
        if not keep_names:
            for change in reversed(self._names):
                self._take_back(target, change)

    def _copy(self, target: str) -> None:
        """A copy of one moment: LevelDB's own thread may be making and removing files meanwhile."""
        while True:
            before = _listing(self.root)
            try:
                shutil.copytree(self.root, target)
                if _listing(self.root) == before:
                    return
            except shutil.Error:
                pass
            shutil.rmtree(target)

    def _take_back(self, target: str, change: _NameChange) -> None:
        made = self._in(target, change.made)
        if change.moved_from is not None:
            os.rename(made, self._in(target, change.moved_from))
        elif os.path.isdir(made):
            shutil.rmtree(made)
        elif os.path.exists(made):
            os.unlink(made)
        if change.replaced is not None:
            with open(made, "wb") as file:
                file.write(change.replaced)

    def _in(self, target: str, path: str) -> str:
        return os.path.join(target, os.path.relpath(path, self.root))

    # -- the calls

    def _note(self, name: str, path: str, size: int = 0) -> None:
        call = Call(name, path, size)
        self.calls.append(call)
        if self.before is not None:
            self.before(call)

    def _check_fault(self, name: str, path: str) -> _Fault | None:
        for fault in self._faults:
            if fault.name == name and fault.path_part in path:
                fault.left -= 1
                if not fault.left:
                    self._faults.remove(fault)
                    return fault
        return None

    def _enter(self, name: str, path: str, size: int = 0) -> None:
        self._note(name, path, size)
        fault = self._check_fault(name, path)
        if fault is not None:
            raise OSError(fault.error, os.strerror(fault.error), path)

    def make_folder(self, path: str) -> None:
        self._enter("make_folder", path)
        super().make_folder(path)
        self._names.append(_NameChange(os.path.dirname(path), path, None, None))

    def create(self, path: str) -> int:
        self._enter("create", path)
        fd = super().create(path)
        path = os.path.abspath(path)
        self._paths[fd] = path
        self._synced[path] = 0
        self._names.append(_NameChange(os.path.dirname(path), path, None, None))
        return fd

    def append(self, fd: int, parts: Sequence[bytes]) -> int:
        path = self._paths[fd]
        self._note("append", path, sum(map(len, parts)))
        fault = self._check_fault("append", path)
        if fault is not None:
            os.write(fd, b"".join(parts)[: fault.partial_bytes])
            raise OSError(fault.error, os.strerror(fault.error), path)
        return super().append(fd, parts)

    def sync(self, fd: int) -> None:
        path = self._paths[fd]
        self._enter("sync", path)
        # Nothing is really synced: the account says what would be.
        self._synced[path] = os.fstat(fd).st_size

    def sync_folder(self, path: str) -> None:
        self._enter("sync_folder", path)
        folder = os.path.abspath(path)
        self._names = [change for change in self._names if change.folder != folder]

    def rename(self, source: str, target: str) -> None:
        self._enter("rename", target)
        source, target = os.path.abspath(source), os.path.abspath(target)
        replaced = _content(target)
        super().rename(source, target)
        if source in self._synced:
            self._synced[target] = self._synced.pop(source)
        # The name that was made under the old one moves along.
        self._names = [change for change in self._names if change.made != source or change.moved_from is not None]
        self._names.append(_NameChange(os.path.dirname(target), target, source, replaced))

    def unlink(self, path: str) -> None:
        self._enter("unlink", path)
        path = os.path.abspath(path)
        content = _content(path)
        super().unlink(path)
        self._synced.pop(path, None)
        self._names.append(_NameChange(os.path.dirname(path), path, None, content))

    def allocate(self, path: str, size: int, start: int = 0) -> None:
        self._enter("allocate", path, size)
        super().allocate(path, size, start)

    def truncate(self, path: str, length: int) -> None:
        self._enter("truncate", path, length)
        os.truncate(path, length)
        self._synced[os.path.abspath(path)] = length


def _listing(folder: str) -> dict[str, tuple[int, int]]:
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def _content(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()
