# SPDX-License-Identifier: MIT
"""Overlay mounts: made, taken away, and found again after whoever made them is gone.

A mount says where it comes from: its source, which ``/proc/self/mountinfo`` shows, is the folder of its workspace. So a
mount left behind by a killed process is found without any record of it. Never change an upper folder while it is
mounted: the kernel leaves undefined what is seen then.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Final

from casstore import layout
from casstore.errors import CasstoreError, ConflictError, InvalidInputError, LockedError, StorageError
from casstore.workspace.overlay import syscalls
from casstore.workspace.overlay.syscalls import MNT_DETACH

ROOT_OPTIONS: Final = "redirect_dir=on,metacopy=off,index=off"
"""Without redirects, renaming a folder of the base fails; metacopies would hide contents from a capture."""
PRIVATE_OPTIONS: Final = "userxattr,redirect_dir=nofollow,metacopy=off,index=off"
"""What a user namespace may have: marks in ``user.overlay.*``, and no redirects."""
_MOUNTINFO: Final = "/proc/self/mountinfo"
# The kernel takes a page of options. Three paths of this length fit, whatever has to be escaped.
_LONG_PATH: Final = 600
_SPECIAL: Final = frozenset('\\,:"\n')


@dataclass(frozen=True, slots=True)
class Mounted:
    """An overlay that is mounted, as this process sees it.

    Attributes:
        source: Folder of the workspace that it belongs to.
        target: Where it is mounted.
        device: Its device number, as ``st_dev`` gives it.
    """

    source: str
    target: str
    device: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayMount:
    """An overlay of one workspace: its layers, and where they are shown.

    Attributes:
        lower: The base's tree; nobody may change it.
        upper: Folder of what differs.
        work: Folder for the kernel, on the file system of ``upper``.
        target: The folder to mount on; it must exist.
        source: Folder of the workspace, by which the mount is found again.
        private: Mounted inside of a user namespace.
    """

    lower: str
    upper: str
    work: str
    target: str
    source: str
    private: bool = False

    def mount(self) -> None:
        """Mounts the overlay.

        Raises:
            ConflictError: Its upper folder is mounted already; two mounts of one would damage each other.
            InvalidInputError: This process may not mount, or a folder is missing.
            StorageError: The system refused for another reason.

        *Cost*: some 0.5 ms, whatever the size of the base.
        """
        source = os.path.realpath(self.source)
        for mounted in list_mounts():
            if mounted.source == source:
                raise ConflictError(
                    f"the workspace {os.path.basename(source)} is mounted already, at {mounted.target!r}; "
                    "unmount it there first (casstore workspace prune).",
                    path=mounted.target,
                )
        self.mount_unchecked()

    def mount_unchecked(self) -> None:
        """``mount`` without looking whether the upper folder is mounted elsewhere: for a mount namespace just made."""
        fds: list[int] = []
        try:
            lower, upper, work = (_option(place, fds) for place in (self.lower, self.upper, self.work))
            layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
            options = f"{layers},{PRIVATE_OPTIONS if self.private else ROOT_OPTIONS}"
            syscalls.mount(
                os.fsencode(os.path.realpath(self.source)),
                os.fsencode(self.target),
                b"overlay",
                0,
                os.fsencode(options),
            )
        except OSError as error:
            raise self._failure(error) from error
        finally:
            for fd in fds:
                os.close(fd)

    def unmount(self, *, lazy: bool = False) -> None:
        """Takes the overlay away; what was written stays in the upper folder. Nothing happens if it is not mounted.

        Args:
            lazy: Take the name away now although files are open below it; programs that have them go on using them.
                Mount the same upper folder again only when those have ended.

        Raises:
            LockedError: A program has a file or folder of it open, or works in it.
            InvalidInputError: This process may not unmount it.
            StorageError: The system refused for another reason.
        """
        if self.is_mounted():
            unmount(self.target, lazy=lazy)

    def is_mounted(self) -> bool:
        """Whether this overlay is what is seen at its target, in this process's mount namespace."""
        try:
            device = os.stat(self.target, follow_symlinks=False).st_dev
            if device == os.stat(os.path.dirname(os.path.realpath(self.target))).st_dev:
                return False
        except OSError:
            return False
        source = os.path.realpath(self.source)
        return any(mounted.device == device and mounted.source == source for mounted in list_mounts())

    def _failure(self, error: OSError) -> CasstoreError:
        text, target = error.strerror, self.target
        if error.errno in (errno.EPERM, errno.EACCES):
            return InvalidInputError(
                f"this process may not mount an overlay at {target!r} ({text}); run it as root, or fork with another "
                "method.",
                path=target,
            )
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            missing = next(
                (place for place in (self.lower, self.upper, self.work, target) if not os.path.isdir(place)), target
            )
            return InvalidInputError(
                f"{missing!r} is needed for the overlay at {target!r} and is no folder; see `casstore workspace list`.",
                path=missing,
            )
        return StorageError(
            f"the overlay at {target!r} cannot be mounted: {text}. The kernel's log (dmesg) has the reason; fork with "
            "another method if it stays.",
            path=target,
        )


def unmount(target: str, *, lazy: bool = False) -> None:
    """Takes away what is mounted at ``target``. Arguments and errors are those of ``OverlayMount.unmount``."""
    try:
        syscalls.unmount(os.fsencode(target), MNT_DETACH if lazy else 0)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise LockedError(
                f"{target!r} is in use: a program has something open in it, or works there. End it and try again.",
                path=target,
            ) from error
        if error.errno == errno.EPERM:
            raise InvalidInputError(
                f"this process may not unmount {target!r}; run it as the user who mounted it, with the same rights.",
                path=target,
            ) from error
        raise StorageError(
            f"{target!r} cannot be unmounted: {error.strerror}; see `casstore workspace list`.", path=target
        ) from error


def list_mounts(store: str | None = None) -> list[Mounted]:
    """The overlays mounted in this process's mount namespace.

    Args:
        store: Folder of a store: only those of its workspaces.

    *Cost*: some 20 µs, and 1 µs per mount of the system.
    """
    try:
        with open(_MOUNTINFO, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        # No Linux, or no /proc: nothing that could be seen is mounted.
        return []
    below = None if store is None else os.path.join(os.path.realpath(store), layout.WORKSPACES, "")
    found = []
    for line in lines:
        head, separator, tail = line.partition(b" - overlay ")
        if not separator:
            continue
        source = _unescape(tail.split(b" ", 1)[0])
        if below is not None and not source.startswith(below):
            continue
        _, _, device, _, target, *_ = head.split(b" ")
        major, _, minor = device.partition(b":")
        found.append(Mounted(source, _unescape(target), os.makedev(int(major), int(minor))))
    return found


def _option(path: str, fds: list[int]) -> str:
    """``path`` as a mount option takes it. Long ones, and those with letters of the options' grammar, go by number.

    The number lasts only while the folder is open, which is until the mount is made.
    """
    place = os.path.abspath(path)
    if len(os.fsencode(place)) <= _LONG_PATH and _SPECIAL.isdisjoint(place):
        return place
    fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{fds[-1]}"


def _unescape(field: bytes) -> str:
    """A field of mountinfo, where blanks, tabs, newlines, backslashes and hashes are ``\\`` and three octal digits."""
    if b"\\" not in field:
        return os.fsdecode(field)
    first, *rest = field.split(b"\\")
    return os.fsdecode(first + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in rest))
