# SPDX-License-Identifier: MIT
"""Linux tells which paths below a directory changed: one inotify watch on each folder, never through a symlink.

The kernel queues an event before the call that made the change returns. So reading what is queued now gives everything
that happened before, without a thread, and nothing runs while nobody asks. A queue that ran full says so.

``watchfiles`` is not used here, because a change can get lost in it without a word (1.3.0, notify 8.0.0): it drops the
kernel's notice of a full queue; it follows symlinks to folders, so that ``lib64 -> lib`` takes over the watch of
``lib``, and deleting the link ends it; folders made after the limit of watches is reached are not watched; and it does
not report the closing of a file, which is all there is to see of a write through a memory map.

Invariant: a folder is watched before it is listed, and both before its path is reported. What happens in it later comes
with the next ``read``; what happened earlier, whoever looks at the path now will see.

Not seen: a write through a hard link that lies elsewhere, stores through a memory map until it is unmapped, and what
other machines do on a network file system (which is refused).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct
import termios
from collections.abc import Iterator
from functools import cache
from typing import Final

from casstore.errors import CasstoreError, InvalidInputError, StorageError

# <sys/inotify.h>
_MODIFY: Final = 0x2
_ATTRIB: Final = 0x4
_CLOSE_WRITE: Final = 0x8
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_UNMOUNT: Final = 0x2000
_Q_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x1000000
_DONT_FOLLOW: Final = 0x2000000
_ISDIR: Final = 0x40000000
_NAMES: Final = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_MASK: Final = _MODIFY | _ATTRIB | _CLOSE_WRITE | _NAMES | _ONLYDIR | _DONT_FOLLOW
_MASK_TOP: Final = _MASK | _DELETE_SELF | _MOVE_SELF

_EVENT: Final = struct.Struct("iIII")
# The name is no folder, or not any more: the watch on the folder above tells what becomes of it.
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# Others change these too, and the kernel here does not learn of it.
_REMOTE: Final = tuple(b"nfs cifs smb 9p virtiofs ceph afs fuse gpfs lustre ocfs gfs".split())
_ESCAPES: Final = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))


class Unsure(Exception):
    """It is not known what changed; the watches are to be set anew."""


class _Folder:
    """A watched folder: the one it is in (None: the top), its name there, its path and a slash, its watched members."""

    __slots__ = ("above", "below", "descriptor", "name", "prefix")

    def __init__(self, above: _Folder | None, name: bytes, descriptor: int) -> None:
        self.above = above
        self.name = name
        self.prefix: bytes = b"%s%s/" % (above.prefix, name) if above else b""
        self.descriptor = descriptor
        self.below: dict[bytes, _Folder] = {}


class Inotify:
    """Watches on ``directory`` (absolute, no symlink in it) and every folder below.

    *Cost*: two calls and a listing for each folder at the start; afterwards O(events).

    Raises:
        InvalidInputError: It lies on a network file system, or is no directory.
        StorageError: A limit of the system is reached.
    """

    __slots__ = ("_blind", "_directory", "_fd", "_folders", "_mounts", "_poll", "_table", "_top")

    def __init__(self, directory: bytes) -> None:
        self._directory = directory
        self._folders: dict[int, _Folder] = {}
        # Folders that cannot be watched now, by the one above and name: reported each time, as nothing tells of them.
        self._blind: set[tuple[_Folder, bytes]] = set()
        self._top: _Folder | None = None
        self._fd = self._table = -1
        try:
            self._table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            self._fd = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd < 0:
                raise _cannot(ctypes.get_errno())
            self._poll = select.poll()
            self._poll.register(self._table, select.POLLPRI)
            self._mounts = self._mounts_now()
            self._top = self._watch(None, b"")
        except OSError as error:
            self.close()
            raise _cannot(error.errno or 0) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the watches back."""
        for fd in (self._fd, self._table):
            if fd >= 0:
                os.close(fd)
        self._fd = self._table = -1

    def read(self) -> set[bytes] | None:
        """Paths below the directory that changed since the last call; one that is a folder now: anything below it.

        None: the directory's own metadata changed.

        Raises:
            Unsure: Events were lost, or the directory or a mount below it was replaced.
        """
        changed: set[bytes] = set()
        whole = False
        fresh, self._blind = self._blind, set()
        for descriptor, mask, name in self._events():
            if mask & (_Q_OVERFLOW | _UNMOUNT):
                raise Unsure
            folder = self._folders.get(descriptor)
            if folder is None:
                continue  # It left its place since, which was read before this.
            if name:
                changed.add(folder.prefix + name)
                if mask & _NAMES and name in folder.below:
                    self._drop(folder.below[name])
                if mask & _ISDIR and mask & (_CREATE | _MOVED_TO):
                    fresh.add((folder, name))
            elif folder.above is None:  # Of any other folder, the one above tells.
                if mask & (_DELETE_SELF | _MOVE_SELF | _IGNORED):
                    raise Unsure
                whole = True
        # Only now: a folder that was moved here had to lose the watch of its old place first.
        for folder, name in fresh:
            if self._folders.get(folder.descriptor) is folder:
                changed.add(folder.prefix + name)
                self._watch(folder, name)
        # After the watches were set: a mount from before has shown itself, one from after has not been looked into.
        if self._poll.poll(0) and self._mounts_now() != self._mounts:
            raise Unsure
        return None if whole else changed

    def _events(self) -> Iterator[tuple[int, int, bytes]]:
        """What is queued now: watch descriptor, mask, name (empty: the folder itself)."""
        size = bytearray(4)
        fcntl.ioctl(self._fd, termios.FIONREAD, size)
        (queued,) = struct.unpack("i", size)
        data = os.read(self._fd, queued) if queued else b""
        at = 0
        while at < len(data):
            descriptor, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            yield descriptor, mask, data[at - length : at].rstrip(b"\0")

    def _watch(self, above: _Folder | None, name: bytes) -> _Folder | None:
        """Watches the folder ``name`` in ``above`` (the top: of None) and all below it; None: there is none."""
        start: _Folder | None = None
        pending = [(above, name)]
        while pending:
            above, name = pending.pop()
            folder = self._watch_one(above, name)
            if folder is None:
                continue
            start = start or folder
            try:
                pending += [(folder, below) for below in self._list(folder)]
            except OSError as error:
                if above is None:
                    raise
                self._drop(folder)
                if error.errno not in _GONE:
                    self._blind.add((above, name))
        return start

    def _watch_one(self, above: _Folder | None, name: bytes) -> _Folder | None:
        path = b"%s/%s%s" % (self._directory, above.prefix, name) if above else self._directory
        descriptor = _libc().inotify_add_watch(self._fd, path, _MASK if above else _MASK_TOP)
        if descriptor < 0:
            code = ctypes.get_errno()
            # At the start the user can still do something about a limit.
            if above is None or (code == errno.ENOSPC and self._top is None):
                raise _cannot(code)
            if code not in _GONE:
                self._blind.add((above, name))
            return None
        if descriptor in self._folders:
            raise Unsure  # One folder at two places: it was moved just now, or is mounted twice.
        self._folders[descriptor] = folder = _Folder(above, name, descriptor)
        if above:
            above.below[name] = folder
        return folder

    def _list(self, folder: _Folder) -> list[bytes]:
        """Names of the folders in it."""
        path = b"%s/%s" % (self._directory, folder.prefix[:-1])
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.scandir(fd) as entries:
                return [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)

    def _drop(self, folder: _Folder) -> None:
        """Ends the watches on a folder (not the top) that left its place, and below it."""
        if folder.above:
            del folder.above.below[folder.name]
        pending = [folder]
        while pending:
            folder = pending.pop()
            pending += folder.below.values()
            del self._folders[folder.descriptor]
            _libc().inotify_rm_watch(self._fd, folder.descriptor)  # EINVAL: deleted, the kernel ended it.

    def _mounts_now(self) -> dict[bytes, bytes]:
        """The mounts the directory lies on and those below it: one put over a folder hides it without an event."""
        below = self._directory.rstrip(b"/") + b"/"
        found: dict[bytes, bytes] = {}
        own = b""
        for line in _read(self._table).splitlines():
            place = line.split(b" ", 5)[4]
            for escape, letter in _ESCAPES:
                place = place.replace(escape, letter)
            if place.startswith(below):
                found[place] = line
            elif below.startswith(place.rstrip(b"/") + b"/") and len(place) >= len(own):
                found.pop(own, None)
                found[place] = line
                own = place
        for place, line in found.items():
            kind = line.partition(b" - ")[2].split(b" ", 1)[0]
            if kind.startswith(_REMOTE):
                raise InvalidInputError(
                    f"{os.fsdecode(place)!r} is a {os.fsdecode(kind)} file system, which does not tell of changes made "
                    "elsewhere; leave watching off",
                    path=os.fsdecode(place),
                )
        return found


def _read(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(fd, 1 << 16), b""))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
    return libc


def _cannot(code: int) -> CasstoreError:
    """What to raise where watching cannot begin."""
    limit = {errno.ENOSPC: "max_user_watches", errno.EMFILE: "max_user_instances"}.get(code)
    if limit is not None:
        return StorageError(
            f"no more folders can be watched; raise the limit with `sysctl fs.inotify.{limit}=…`, or leave watching off"
        )
    return InvalidInputError(f"the directory cannot be watched ({os.strerror(code)}); leave watching off")
