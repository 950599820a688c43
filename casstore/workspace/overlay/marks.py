# SPDX-License-Identifier: MIT
"""How the kernel marks in an upper folder what differs from the base.

A *whiteout* hides a name of the base: a character device 0/0, or an empty file with the mark ``whiteout`` in a folder
whose mark ``opaque`` is ``x``. A folder whose mark ``opaque`` is ``y`` hides all that the base has there. A *redirect*
says where in the base the content of a renamed folder lies: ``/a/b`` from the top, or ``b`` in the folder of the base
that lies under the folder above. Other marks (``origin``, ``impure``, ``uuid``, ``nlink``, ``protattr``) say nothing
about content.

Marks are extended attributes: ``trusted.overlay.*``, which only root sees, or ``user.overlay.*`` in a user namespace.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

WHITEOUT_DEVICE: Final = 0
_ABSENT: Final = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


class FolderMarks(NamedTuple):
    """The marks of one folder.

    Attributes:
        opaque: What the base has there is hidden.
        whiteout_files: Empty files in it may be whiteouts.
        redirect: Where its content lies in the base, if not under its own name.
    """

    opaque: bool
    whiteout_files: bool
    redirect: bytes | None


NO_MARKS: Final = FolderMarks(False, False, None)


class Marks:
    """Reads and writes the marks of one overlay.

    Args:
        private: It is mounted in a user namespace.
    """

    __slots__ = ("_opaque", "_redirect", "_seal", "_whiteout")

    def __init__(self, *, private: bool) -> None:
        kind = "user" if private else "trusted"
        self._opaque = f"{kind}.overlay.opaque"
        self._redirect = f"{kind}.overlay.redirect"
        self._whiteout = f"{kind}.overlay.whiteout"
        self._seal = f"{kind}.casstore.upper"

    def of_folder(self, fd: int) -> FolderMarks:
        """The marks of an open folder of the upper layer."""
        names = os.listxattr(fd)
        if not names:
            return NO_MARKS
        opaque = os.getxattr(fd, self._opaque) if self._opaque in names else b""
        redirect = os.getxattr(fd, self._redirect) if self._redirect in names else None
        if redirect is not None and not _is_redirect(redirect):
            redirect = None
        return FolderMarks(opaque == b"y", opaque == b"x", redirect)

    def is_whiteout_file(self, fd: int) -> bool:
        """Whether an open empty file stands for a name that is gone; asked only in folders that may have such files."""
        try:
            os.getxattr(fd, self._whiteout)
        except OSError as error:
            if error.errno in _ABSENT:
                return False
            raise
        return True

    def make_opaque(self, fd: int) -> None:
        """Marks an open folder: what the base has there is hidden."""
        os.setxattr(fd, self._opaque, b"y")

    def seal(self, fd: int) -> None:
        """Leaves a mark of our own on an open folder, by which ``can_read`` tells whether marks can be seen."""
        os.setxattr(fd, self._seal, b"1")

    def can_read(self, fd: int) -> bool:
        """Whether this process sees the marks. Who may not is told that there are none, not that they are hidden."""
        return self._seal in os.listxattr(fd)


def make_whiteout(fd: int, name: bytes) -> None:
    """Makes ``name`` in the open folder ``fd`` a whiteout. Needs no rights beyond those of writing there."""
    os.mknod(name, 0o020000, WHITEOUT_DEVICE, dir_fd=fd)


def lower_path(marks: FolderMarks, above: bytes | None, name: bytes) -> bytes | None:
    """Where in the base the content of a folder lies that the upper layer has; None: nowhere.

    Args:
        marks: The folder's marks.
        above: The same of the folder above it; ``b""`` is the top.
        name: Its name in the upper layer.
    """
    if marks.opaque:
        return None  # Whatever a redirect says: the kernel does not look into the base.
    redirect = marks.redirect
    if redirect is not None and redirect.startswith(b"/"):
        return redirect[1:]
    if above is None:
        return None
    name = name if redirect is None else redirect
    return above + b"/" + name if above else name


def _is_redirect(value: bytes) -> bool:
    """Whether the kernel follows a redirect of that form; others it passes over."""
    if not value:
        return False
    if value.startswith(b"/"):
        return b"" not in value[1:].split(b"/")
    return b"/" not in value
