# SPDX-License-Identifier: MIT
"""POSIX metadata beyond the executable bit: read at an import, given back at a checkout.

Extended attributes that cannot be read or set are warnings, never errors: file systems differ in what they take.
Where Python has no calls for them (macOS), none are kept.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from casstore.errors import InvalidInputError
from casstore.format.entry import Entry, value_entry
from casstore.format.posix import PosixMetadata, encode_posix, posix_key
from casstore.workspace.report import LeftOut

HAS_XATTRS: Final = hasattr(os, "listxattr")
_SET_ID: Final = stat.S_ISUID | stat.S_ISGID

Place = int | bytes
"""An open file or folder, or the path of a symlink."""


def read_metadata(
    path: bytes, status: os.stat_result, place: Place, warnings: list[LeftOut], *, directory: bool
) -> tuple[bytes, Entry]:
    """Key and entry of ``path`` in the ``posix`` root."""
    xattrs = _read_xattrs(path, place, warnings) if HAS_XATTRS else ()
    mode = stat.S_IMODE(status.st_mode)
    metadata = PosixMetadata(mode, status.st_uid, status.st_gid, status.st_mtime_ns, xattrs)
    while True:
        try:
            value = encode_posix(metadata)
            break
        except InvalidInputError:
            if not metadata.xattrs:
                raise
            largest = max(metadata.xattrs, key=lambda xattr: len(xattr[1]))
            name = os.fsdecode(largest[0])
            warnings.append(LeftOut(os.fsdecode(path), f"extended attribute {name!r} not kept: too large"))
            metadata = replace(metadata, xattrs=tuple(xattr for xattr in metadata.xattrs if xattr is not largest))
    return posix_key(path, directory=directory), value_entry(value)


def restore_metadata(path: bytes, metadata: PosixMetadata, place: int, warnings: list[LeftOut]) -> None:
    """Gives an open file or folder its owner (as root), mode, extended attributes and time, in this order.

    Each step undoes part of those after it: a new owner clears set-user-id and capabilities, and everything but the
    time itself may touch the time.
    """

    def attempt(what: str, action: Callable[[], None]) -> bool:
        try:
            action()
        except OSError as error:
            warnings.append(LeftOut(os.fsdecode(path), f"{what} not restored: {error.strerror}"))
            return False
        return True

    mode, xattrs = metadata.mode, metadata.xattrs
    if os.geteuid() == 0:
        owned = attempt("owner", lambda: os.fchown(place, metadata.uid, metadata.gid))
    else:
        status = os.fstat(place)
        owned = (status.st_uid, status.st_gid) == (metadata.uid, metadata.gid)
    # A set-user-id program must not become one of somebody else.
    attempt("mode", lambda: os.fchmod(place, mode if owned else mode & ~_SET_ID))
    if xattrs:
        _restore_xattrs(path, xattrs, place, warnings)
    attempt("time", lambda: os.utime(place, ns=(time.time_ns(), metadata.mtime_ns)))


def restore_link_metadata(path: bytes, metadata: PosixMetadata, fd: int, name: bytes, warnings: list[LeftOut]) -> None:
    """Gives the symlink ``name`` in the open folder ``fd`` its owner (as root), extended attributes and time."""
    try:
        if os.geteuid() == 0:
            os.chown(name, metadata.uid, metadata.gid, dir_fd=fd, follow_symlinks=False)
        if metadata.xattrs:
            _restore_xattrs(path, metadata.xattrs, link_place(fd, name), warnings)
        os.utime(name, ns=(time.time_ns(), metadata.mtime_ns), dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        warnings.append(LeftOut(os.fsdecode(path), f"owner and time of the symlink not restored: {error.strerror}"))


def link_place(fd: int, name: bytes) -> bytes:
    """A path to the symlink ``name`` in the open folder ``fd``: no call for extended attributes takes both."""
    return b"/proc/self/fd/%d/%s" % (fd, name)


def _read_xattrs(path: bytes, place: Place, warnings: list[LeftOut]) -> tuple[tuple[bytes, bytes], ...]:
    follow = isinstance(place, int)
    found: list[tuple[bytes, bytes]] = []
    try:
        names = os.listxattr(place, follow_symlinks=follow)
    except OSError as error:
        if error.errno != errno.ENOTSUP:  # A file system without any is no loss.
            warnings.append(LeftOut(os.fsdecode(path), f"extended attributes not kept: {error.strerror}"))
        return ()
    for name in names:
        try:
            found.append((os.fsencode(name), os.getxattr(place, name, follow_symlinks=follow)))
        except OSError as error:
            warnings.append(LeftOut(os.fsdecode(path), f"extended attribute {name!r} not kept: {error.strerror}"))
    found.sort()
    return tuple(found)


def _restore_xattrs(
    path: bytes, xattrs: tuple[tuple[bytes, bytes], ...], place: Place, warnings: list[LeftOut]
) -> None:
    if not HAS_XATTRS:
        warnings.append(LeftOut(os.fsdecode(path), "extended attributes not restored: not possible on this system"))
        return
    for name, value in xattrs:
        try:
            os.setxattr(place, name, value, follow_symlinks=isinstance(place, int))
        except OSError as error:
            text = os.fsdecode(name)
            warnings.append(LeftOut(os.fsdecode(path), f"extended attribute {text!r} not restored: {error.strerror}"))
