# SPDX-License-Identifier: MIT
"""The walk over a directory: what is in each folder, without following a symlink, listing only what may have changed.

Names in a folder change only together with the folder's own times. So a folder that looks as it did is not listed
again, and its members are merely looked at. Looking goes by paths below the open top, which might lead through a
symlink that somebody puts there meanwhile; whatever looks different is then opened component by component with
``O_NOFOLLOW``, so nothing is ever read through one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from casstore import layout
from casstore.errors import CasstoreError, ConflictError, InvalidInputError
from casstore.format.stat_cache import NO_RULES, FolderRecord
from casstore.workspace.scanning.fingerprint import is_settled
from casstore.workspace.scanning.folders import Identity
from casstore.workspace.scanning.way import Way

if TYPE_CHECKING:
    from casstore.workspace.scanning.rule_files import RuleFiles
    from casstore.workspace.selection import Selection

# Says that a name is no longer what it was when its folder was listed.
CHANGED_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EMLINK})
TEMPORARY: Final = b".casstore-"
"""What the names of files begin with that a switch or checkout has not yet put in place; never captured."""
_TEMPORARY_NAME: Final = re.compile(rb"\.casstore-[0-9a-f]{16}(-[0-9]+)?")
LEFTOVER: Final = "left by an interrupted command"
UNREADABLE: Final = "unreadable"
# What os.fsencode does, at a third of its price.
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()
_SUPERBLOCK: Final = os.fsencode(layout.SUPERBLOCK)
# Says nothing about the file: passing over it would lose data in silence.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# Longer paths are looked at from their folder: the system takes 4,096 bytes at a time.
_FAR: Final = 3500

_NONE: Final[frozenset[bytes]] = frozenset()

Records = dict[bytes, FolderRecord]
"""A folder's path and a slash (nothing for the top) → what it looked like."""


class Visit(NamedTuple):
    """One folder of the walk.

    Attributes:
        prefix: Its path and a slash, nothing for the top.
        old: What it looked like before, if that is known.
        status: Its own status now.
        read_ns: Time before it was looked at.
        names: Names of files and symlinks now, sorted; None: as they were.
        links: Those that were symlinks when they were listed.
        at: What to look at members from, an open folder …
        below: … and what to put before their names there.
    """

    prefix: bytes
    old: FolderRecord | None
    status: os.stat_result
    read_ns: int
    names: list[bytes] | None
    links: frozenset[bytes]
    folders: list[bytes]
    left_out: list[tuple[bytes, str]]
    rules: bytes
    at: int
    below: bytes


class Scan:
    """A walk over ``directory``.

    Args:
        directory: The folder to walk; a symlink given here is followed, as the user named it.
        exclude: Identity of a folder that is passed over (the store), if any.
        skip_unreadable: Leave out what cannot be read instead of raising.
        selection: What else is left out.
        records: What the folders looked like before.
        paranoid: List every folder again.

    Attributes:
        records: As given.
        leftovers: Paths of temporary names that an interrupted switch left; they are never captured.
        lost: Folders that turned out to be left out when they were looked at, each with the reason.
        status: Status of the top.

    Raises:
        InvalidInputError: It is not there, no directory, not readable, the root of the file system or the home folder.
    """

    __slots__ = (
        "_exclude",
        "_paranoid",
        "_rules",
        "_skip_unreadable",
        "directory",
        "leftovers",
        "lost",
        "records",
        "status",
        "way",
    )

    def __init__(
        self,
        directory: str,
        *,
        exclude: Identity | None,
        skip_unreadable: bool = False,
        selection: Selection | None = None,
        records: Records | None = None,
        paranoid: bool = False,
    ) -> None:
        self.directory = directory
        self._exclude = exclude
        self._skip_unreadable = skip_unreadable
        self.records: Records = {} if records is None else records
        self._paranoid = paranoid
        self.lost: list[tuple[bytes, str]] = []
        self.leftovers: list[bytes] = []
        top = open_top(directory)
        try:
            self.status = os.fstat(top)
            _refuse(directory, self.status, exclude)
        except (CasstoreError, OSError):
            os.close(top)
            raise
        self.way = Way(top)
        self._rules: RuleFiles | None = None
        if selection is not None and not selection.everything:
            # Imported on use: most directories are captured whole.
            from casstore.workspace.scanning.rule_files import RuleFiles

            self._rules = RuleFiles(top, selection)

    def close(self) -> None:
        """Gives the open folders back."""
        self.way.close()

    def folders(self) -> Iterator[Visit]:
        """Every folder, a parent before what is in it, in the order of their names. To be called once.

        Raises:
            InvalidInputError: A folder cannot be read (without ``skip_unreadable``).
            ConflictError: A folder changed into something else during the walk.
        """
        return self.below(b"")

    def below(self, start: bytes) -> Iterator[Visit]:
        """The folder ``start`` (a path and a slash) and every folder below it; as ``folders``."""
        pending = [start]
        while pending:
            visit = self.visit(pending.pop())
            if visit is not None:
                yield visit
                prefix = visit.prefix
                if self.lost and self.lost[-1][0] == prefix:
                    # Whoever was given the visit could not open it.
                    continue
                pending.extend([prefix + name + b"/" for name in reversed(visit.folders)])

    def visit(self, prefix: bytes, *, listing: bool = False) -> Visit | None:
        """What the folder ``prefix`` looks like now; None where it is left out. ``listing`` lists it in any case."""
        old = self.records.get(prefix)
        way = self.way
        way.go(prefix)
        read_ns = time.time_ns()
        try:
            if len(prefix) <= _FAR:
                at, below = way.top, prefix
                status = os.stat(prefix or b".", dir_fd=at, follow_symlinks=False)
            else:
                at, below = way.fd(), b""
                status = os.fstat(at)
            if (
                old is not None
                and old.listed
                and status.st_mtime_ns == old.mtime_ns
                and status.st_ctime_ns == old.ctime_ns
                and status.st_ino == old.inode
                and not listing
                and not self._paranoid
                and (self._rules is None or self._rules.digest(prefix, old) == old.rules)
            ):
                return Visit(prefix, old, status, read_ns, None, _NONE, old.folders, old.left_out, old.rules, at, below)
            fd = way.fd()
            status = os.fstat(fd)
            names, links, folders, left_out = self._list(prefix, fd)
        except OSError as error:
            why = self.unreadable(prefix[:-1], error)
            self.lost.append((prefix, why))
            return None
        # Every store has a superblock, so other folders cost no look. Not by the inode in the listing above it: for a
        # mount point that is another one.
        if _SUPERBLOCK in names and (status.st_dev, status.st_ino) == self._exclude:
            self.lost.append((prefix, "the store itself"))
            return None
        rules = NO_RULES
        if self._rules is not None:
            rules = self._rules.enter(prefix, names)
            names, folders = self._rules.select(prefix, names, folders, left_out)
        return Visit(prefix, old, status, read_ns, names, links, folders, left_out, rules, fd, b"")

    def know_above(self, prefix: bytes) -> None:
        """Has the rules of the folders above ``prefix`` known, where the walk does not come by them."""
        if self._rules is None:
            return
        cut = 0
        while cut < len(prefix):
            record = self.records.get(prefix[:cut])
            if record is not None:
                self._rules.digest(prefix[:cut], record)
            cut = prefix.index(b"/", cut) + 1

    def is_settled(self, visit: Visit) -> bool:
        """Whether the listing of a folder may be trusted the next time."""
        status = visit.status
        return is_settled(status.st_mtime_ns, status.st_ctime_ns, visit.read_ns)

    def unreadable(self, path: bytes, error: OSError) -> str:
        """Why ``path`` is left out, if what cannot be read is to be.

        Raises:
            InvalidInputError: It is not.
            ConflictError: ``path`` is not what it was when its folder was listed.
        """
        if error.errno in CHANGED_ERRNOS:
            raise self.changed(path) from None
        name = self.full_name(path)
        if not self._skip_unreadable or not path or error.errno in _EXHAUSTED:
            raise InvalidInputError(
                f"{name!r} cannot be read: {error.strerror}; nothing was stored. Give yourself access to it "
                "(chmod u+r), or import with --skip-unreadable (skip_unreadable=True), which leaves it out.",
                path=name,
            ) from None
        return f"{UNREADABLE}: {error.strerror}"

    def changed(self, path: bytes) -> ConflictError:
        """The error that says that ``path`` did not keep still."""
        name = self.full_name(path)
        return ConflictError(
            f"{name!r} changed while it was read; nothing was stored. Try again when nobody writes it.", path=name
        )

    def full_name(self, path: bytes) -> str:
        """The path as the user would name it."""
        return os.path.join(self.directory, os.fsdecode(path)) if path else self.directory

    def _list(
        self, prefix: bytes, fd: int
    ) -> tuple[list[bytes], frozenset[bytes], list[bytes], list[tuple[bytes, str]]]:
        """Files and symlinks, symlinks alone, folders, and what is neither."""
        links: list[bytes] = []
        names: list[bytes] = []
        folders: list[bytes] = []
        left_out: list[tuple[bytes, str]] = []
        with os.scandir(fd) as members:
            for member in members:
                name = member.name.encode(_ENCODING, _ERRORS)
                if name.startswith(TEMPORARY) and is_temporary(name):
                    left_out.append((name, LEFTOVER))
                    self.leftovers.append(prefix + name)
                elif member.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif member.is_symlink():
                    links.append(name)
                elif member.is_file(follow_symlinks=False):
                    names.append(name)
                else:
                    mode = member.stat(follow_symlinks=False).st_mode
                    left_out.append((name, f"{special_kind(mode)}; only its name is known"))
        names += links
        names.sort()
        folders.sort()
        left_out.sort()
        return names, frozenset(links) if links else _NONE, folders, left_out


def is_temporary(name: bytes) -> bool:
    """Whether only a switch or a checkout gives such a name, for a while."""
    return name.startswith(TEMPORARY) and _TEMPORARY_NAME.fullmatch(name) is not None


def folder_name(directory: str | bytes | os.PathLike[str]) -> str:
    """The path that the caller gave, as text.

    Raises:
        InvalidInputError: It can be no path.
    """
    name = os.fsdecode(directory)
    if not name or "\0" in name:
        raise InvalidInputError(f"{name!r} is no path; give a folder.", path=name)
    return name


def identity_of(path: str) -> Identity | None:
    """Device and inode of what ``path`` leads to, ``None`` where there is nothing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def is_inside(directory: str, folder: str) -> bool:
    """``directory`` is ``folder`` or below it, symlinks resolved."""
    inner, outer = os.path.realpath(directory), os.path.realpath(folder)
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def open_top(directory: str) -> int:
    """The folder ``directory``, open.

    Raises:
        InvalidInputError: It is not there, no directory, or not readable.
    """
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        why = "does not exist; check the spelling"
    except NotADirectoryError:
        why = "is not a directory; give the directory that holds it"
    except (OSError, ValueError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}; give yourself access to it"
    raise InvalidInputError(f"{directory!r} {why}.", path=directory)


def _refuse(directory: str, status: os.stat_result, exclude: Identity | None) -> None:
    own = (status.st_dev, status.st_ino)
    if own == identity_of("/"):
        what = "the root of the file system"
    elif own == identity_of(os.path.expanduser("~")):
        what = "your home folder"
    elif own == exclude:
        what = "the store itself"
    else:
        return
    raise InvalidInputError(
        f"{directory!r} is {what}, which is never imported; give a folder below it.", path=directory
    )


def special_kind(mode: int) -> str:
    """What a thing is called that is never captured."""
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "neither file, folder nor symlink"
