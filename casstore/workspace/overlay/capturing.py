# SPDX-License-Identifier: MIT
"""What an upper folder makes of its base, as edits of the base's tree; only the upper folder is walked.

Everything the base has stays, unless a folder above it was copied up and says otherwise. So for each folder of the
upper layer it is known where in the base its content lies (``lower``: under its own path, elsewhere after a renaming,
or nowhere), and whether what the base has under its own path was already edited away (``cleared``). Names in the upper
folder replace those of the base; a folder that comes from elsewhere brings the base's entries along under new paths.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from casstore.errors import ConflictError, InvalidInputError
from casstore.format.entry import Entry, directory_entry
from casstore.tree import Nodes, Root, lookup
from casstore.tree import scan as scan_tree
from casstore.workspace.overlay.marks import WHITEOUT_DEVICE, Marks, lower_path
from casstore.workspace.report import LeftOut
from casstore.workspace.scanning.fingerprint import Fingerprint, fingerprint_of, is_settled
from casstore.workspace.scanning.reading import Sink, read_file, read_symlink
from casstore.workspace.scanning.scan import TEMPORARY, is_temporary, special_kind
from casstore.workspace.scanning.way import Way

if TYPE_CHECKING:
    from casstore.address import Address

LeavesOut = Callable[[bytes, bool], bool]
"""Whether rules leave out a path, given it and whether it is a folder. Folders are asked about before their members."""

Known = tuple[Fingerprint, Entry]
"""A file as it was when it was read, and its entry."""

RULES: Final = "left out by the rules"
# The name is no longer what it was when its folder was listed.
_CHANGED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EMLINK, errno.EINVAL})
# Says nothing about the file: passing over it would lose data in silence.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_SLASH: Final = ord("/")
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()


class UpperFolder:
    """A folder of the upper layer.

    Attributes:
        prefix: Its path and a slash, nothing for the top.
        above: The folder that it is in; None for the top.
        lower: Path in the base of what it shows beside its own names; None: of nothing.
        cleared: What the base has at its own path was edited away.
        kept: How many of its members are captured, as far as the walk knows them.
        names: All names that the upper layer has in it.
    """

    __slots__ = ("above", "cleared", "kept", "lower", "names", "prefix")

    def __init__(self, prefix: bytes, above: UpperFolder | None) -> None:
        self.prefix = prefix
        self.above = above
        self.lower: bytes | None = b""
        self.cleared: bool = above is not None and above.cleared
        self.kept = 0
        self.names: set[bytes] = set()


class UpperWalk:
    """One walk over an upper folder.

    Args:
        directory: The upper folder, for messages.
        top: The same, open; closed by ``run``.
        marks: How to read its marks.
        nodes: Where the base's tree is.
        base: Root of the base's files.
        sink: Where contents go.
        is_stored: Whether the store has a content, so that what is known about a file is enough.
        known: Files that were read before, by path.
        leaves_out: Rules for what is not captured.
        skip_unreadable: Leave out what cannot be read instead of raising.

    Attributes:
        edits: Path → entry, or None where it is gone; complete after ``run``.
        seen: Files that need not be read again while they look the same.
        left_out: What is in the upper folder and not in the edits, and why.
        files_read: How many files were read.
        looked: What the files and symlinks of the upper folder looked like.
        folders: The folders of the upper folder, by path and a slash, nothing for the top.
    """

    def __init__(
        self,
        directory: str,
        top: int,
        marks: Marks,
        nodes: Nodes,
        base: Root,
        sink: Sink,
        *,
        is_stored: Callable[[Address], bool],
        known: dict[bytes, Known],
        leaves_out: LeavesOut | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        self.edits: dict[bytes, Entry | None] = {}
        self.seen: dict[bytes, Known] = {}
        self.left_out: list[LeftOut] = []
        self.files_read = 0
        self.looked: dict[bytes, Fingerprint] = {}
        self.folders: dict[bytes, UpperFolder] = {}
        self._directory = directory
        self._way = Way(top)
        self._marks = marks
        self._nodes = nodes
        self._base = base
        self._sink = sink
        self._is_stored = is_stored
        self._known = known
        self._leaves_out = leaves_out
        self._skip_unreadable = skip_unreadable

    def run(self) -> None:
        """Walks and reads.

        Raises:
            ConflictError: Something changed each time it was read.
            InvalidInputError: Something cannot be read.
        """
        pending = [UpperFolder(b"", None)]
        try:
            while pending:
                folder = pending.pop()
                try:
                    below = self._visit(folder)
                except OSError as error:
                    self._unreadable(folder.prefix[:-1], error)
                    self._lose(folder)
                    continue
                self.folders[folder.prefix] = folder
                pending += below
        finally:
            self._way.close()
        # Members before their folders: only then is it known which ones are lost.
        for folder in reversed(self.folders.values()):
            if not folder.kept and folder.above is not None and not self._base_keeps(folder):
                self.edits[folder.prefix[:-1]] = directory_entry()

    def _visit(self, folder: UpperFolder) -> list[UpperFolder]:
        """Takes what is in one folder; the folders in it."""
        prefix, above = folder.prefix, folder.above
        self._way.go(prefix)
        fd = self._way.fd()
        read_ns = time.time_ns()
        marks = self._marks.of_folder(fd)
        if above is not None:
            path = prefix[:-1]
            folder.lower = lower_path(marks, above.lower, prefix[len(above.prefix) : -1])
            if not folder.cleared:
                if folder.lower != path:
                    self._hide(path)
                    folder.cleared = True
                elif lookup(self._nodes, self._base, path) is not None:
                    self.edits[path] = None
        below = []
        with os.scandir(fd) as members:
            for member in members:
                name = member.name.encode(_ENCODING, _ERRORS)
                if name.startswith(TEMPORARY) and is_temporary(name):
                    # Never captured; the rules are asked all the same, so that who made them hears of it.
                    self._is_left_out(prefix + name, is_folder=member.is_dir(follow_symlinks=False))
                    continue
                folder.names.add(name)
                if member.is_dir(follow_symlinks=False):
                    if not self._is_left_out(prefix + name, is_folder=True):
                        folder.kept += 1
                        below.append(UpperFolder(prefix + name + b"/", folder))
                    elif not folder.cleared:
                        self._hide(prefix + name)
                    continue
                if not folder.cleared:
                    self._hide(prefix + name)
                try:
                    status = member.stat(follow_symlinks=False)
                    self.looked[prefix + name] = fingerprint_of(status)
                    self._take(folder, fd, name, status, read_ns, may_be_whiteout=marks.whiteout_files)
                except OSError as error:
                    self._unreadable(prefix + name, error)
        if folder.cleared and folder.lower is not None:
            self._bring(folder, folder.lower)
        return below

    def _take(
        self, folder: UpperFolder, fd: int, name: bytes, status: os.stat_result, read_ns: int, *, may_be_whiteout: bool
    ) -> None:
        """One name that is no folder."""
        path, mode = folder.prefix + name, status.st_mode
        if stat.S_ISREG(mode):
            if may_be_whiteout and not status.st_size and self._is_whiteout_file(fd, name):
                return
            if not self._is_left_out(path):
                self._put(folder, path, self._read(fd, name, path, status, read_ns))
        elif stat.S_ISLNK(mode):
            if not self._is_left_out(path):
                self._put(folder, path, read_symlink(self._sink, fd, name))
        elif not stat.S_ISCHR(mode) or status.st_rdev != WHITEOUT_DEVICE:
            self.left_out.append(LeftOut(os.fsdecode(path), f"{special_kind(mode)}; only its name is known"))

    def _put(self, folder: UpperFolder, path: bytes, entry: Entry) -> None:
        self.edits[path] = entry
        folder.kept += 1

    def _read(self, fd: int, name: bytes, path: bytes, status: os.stat_result, read_ns: int) -> Entry:
        known = self._known.get(path)
        if known is not None and known[0] == fingerprint_of(status):
            entry = known[1]
            if entry.address is None or self._is_stored(entry.address):
                self.seen[path] = known
                return entry
        found = read_file(self._sink, fd, name, key=path)
        if found is None:
            raise self._changed(path)
        status, entry = found
        self.looked[path] = fingerprint_of(status)
        self.files_read += 1
        if is_settled(status.st_mtime_ns, status.st_ctime_ns, read_ns):
            self.seen[path] = self.looked[path], entry
        return entry

    def _is_whiteout_file(self, fd: int, name: bytes) -> bool:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=fd)
        try:
            return self._marks.is_whiteout_file(file)
        finally:
            os.close(file)

    # -- what the base has

    def _hide(self, path: bytes) -> None:
        """Edits away what the base has at ``path``, and below."""
        if lookup(self._nodes, self._base, path) is not None:
            self.edits[path] = None
            return
        for key, _ in scan_tree(self._nodes, self._base, prefix=path + b"/"):
            self.edits[key] = None

    def _bring(self, folder: UpperFolder, lower: bytes) -> None:
        """Gives ``folder`` what the base has below ``lower``, but for the names that the upper folder has itself."""
        names, prefix, cut = folder.names, folder.prefix, len(lower) + 1
        brought: dict[bytes, Entry | None] = {}
        for key, entry in scan_tree(self._nodes, self._base, prefix=lower + b"/"):
            rest = key[cut:]
            if rest.partition(b"/")[0] not in names:
                brought[prefix + rest] = entry
        if self._leaves_out is not None:
            brought = self._wanted(brought, len(prefix))
        self.edits.update(brought)
        folder.kept += len(brought)

    def _wanted(self, brought: dict[bytes, Entry | None], start: int) -> dict[bytes, Entry | None]:
        """What the rules keep of ``brought``, and the folders of which they keep nothing, which are empty then."""
        wanted: dict[bytes, Entry | None] = {}
        members: dict[bytes, int] = {}
        refused: set[bytes] = set()
        for path, entry in brought.items():
            above = [path[:at] for at in range(start, len(path)) if path[at] == _SLASH]
            for folder in above:
                if folder not in members and folder not in refused:
                    if self._is_left_out(folder, is_folder=True):
                        refused.add(folder)
                    else:
                        members[folder] = 0
                if folder in refused:
                    break
            else:
                if not self._is_left_out(path, is_folder=entry == directory_entry()):
                    wanted[path] = entry
                    if above:
                        members[above[-1]] += 1
        for folder in sorted(members, reverse=True):
            if not members[folder]:
                wanted[folder] = directory_entry()
            parent = folder.rpartition(b"/")[0]
            if parent in members:
                members[parent] += 1
        return wanted

    def _base_keeps(self, folder: UpperFolder) -> bool:
        """Whether a folder in which the upper layer keeps nothing still shows something of the base."""
        if folder.cleared:
            return False
        cut = len(folder.prefix)
        found = scan_tree(self._nodes, self._base, prefix=folder.prefix)
        return any(key[cut:].partition(b"/")[0] not in folder.names for key, _ in found)

    # -- what is not captured

    def _is_left_out(self, path: bytes, *, is_folder: bool = False) -> bool:
        """Whether the rules leave ``path`` out; notes it."""
        if self._leaves_out is None or not self._leaves_out(path, is_folder):
            return False
        self.left_out.append(LeftOut(os.fsdecode(path) + ("/" if is_folder else ""), RULES))
        return True

    def _lose(self, folder: UpperFolder) -> None:
        """Takes a folder that cannot be read out of the one above it."""
        if not folder.cleared:
            self._hide(folder.prefix[:-1])
        if folder.above is not None:
            folder.above.kept -= 1

    def _unreadable(self, path: bytes, error: OSError) -> None:
        """Notes that ``path`` cannot be read, if that was asked for; raises otherwise."""
        if error.errno in _CHANGED:
            raise self._changed(path) from None
        name = os.path.join(self._directory, os.fsdecode(path)) if path else self._directory
        if not self._skip_unreadable or not path or error.errno in _EXHAUSTED:
            raise InvalidInputError(
                f"{name!r} cannot be read: {error.strerror}; nothing was stored. Give yourself access to it "
                "(chmod u+r), or import with --skip-unreadable (skip_unreadable=True), which leaves it out.",
                path=name,
            ) from None
        self.left_out.append(LeftOut(os.fsdecode(path), f"unreadable: {error.strerror}"))

    def _changed(self, path: bytes) -> ConflictError:
        name = os.fsdecode(path)
        return ConflictError(
            f"{name!r} changed while it was read; nothing was stored. Try again when nothing writes to it.", path=name
        )
