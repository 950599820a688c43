# SPDX-License-Identifier: MIT
"""The rules in force in each folder of a walk, from the rule files that lie in it and above it.

A rule file is read only where something must be decided by it. What was decided before holds while the rule files
look as they did: their fingerprints, from the top down, make a folder's digest.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Final

from blake3 import blake3

from casstore.errors import InvalidInputError
from casstore.format.stat_cache import NO_RULES, FolderRecord
from casstore.workspace.scanning.fingerprint import fingerprint_of, is_settled
from casstore.workspace.scanning.folders import FOLDER_FLAGS
from casstore.workspace.scanning.ignoring import Rules
from casstore.workspace.selection import EXCLUDE_FILE, RULE_FILES, Selection

MAX_BYTES: Final = 16 * 1024 * 1024
IGNORED: Final = "ignored"
GIT: Final = ".git"
# ENXIO: a socket. Whatever else is met, rules that cannot be read must not count as none.
_NO_FILE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Names = list[tuple[bytes, str]]


class _Level:
    """The rules of a folder with rule files in it, and of those below that have none."""

    __slots__ = ("_rules", "digest", "files", "parent", "prefix")

    def __init__(self, parent: _Level | None, prefix: bytes, files: tuple[bytes, ...], digest: bytes) -> None:
        self.parent = parent
        self.prefix = prefix
        self.files = files
        self.digest = digest
        self._rules: Rules | None = None

    def rules(self, top: int) -> Rules:
        """The rules, read on first use."""
        if self._rules is None:
            contents = [_read(top, self.prefix + name) for name in self.files]
            if self.parent is None:
                self._rules = Rules.start(*contents)
            else:
                self._rules = self.parent.rules(top).enter(self.prefix, *contents)
        return self._rules


class RuleFiles:
    """What a selection leaves out of a walk.

    Args:
        top: The top folder, open.
        selection: What to leave out.
    """

    __slots__ = ("_above", "_git", "_inside_git", "_keep_git", "_levels", "_top")

    def __init__(self, top: int, selection: Selection) -> None:
        self._top = top
        self._git = selection.ignore == "git"
        self._keep_git = selection.keep_git
        start = NO_RULES
        if self._git:
            start = blake3(_look(top, EXCLUDE_FILE)).digest(16)
        # What lies above the top: the rules of the repository itself.
        self._above = _Level(None, b"", (EXCLUDE_FILE,), start)
        # Git has no say about what is in its own folders.
        self._inside_git = _Level(None, b"", (), NO_RULES)
        self._levels: dict[bytes, _Level] = {}

    def digest(self, prefix: bytes, record: FolderRecord) -> bytes:
        """16 bytes that stay while the folder's rules do; the folder's names are those of ``record``."""
        if not self._git:
            return NO_RULES
        names = record.members
        found = [name for name in RULE_FILES if name in names]
        if record.left_out:
            left_out = {name for name, _ in record.left_out}
            found = [name for name in RULE_FILES if name in found or name in left_out]
        return self._enter(prefix, tuple(found)).digest

    def enter(self, prefix: bytes, names: list[bytes]) -> bytes:
        """The same for a folder whose files are ``names``."""
        if not self._git:
            return NO_RULES
        return self._enter(prefix, tuple([name for name in RULE_FILES if name in names])).digest

    def _enter(self, prefix: bytes, files: tuple[bytes, ...]) -> _Level:
        level = self._levels.get(prefix)
        if level is None:
            above = self._levels.get(prefix[: prefix.rfind(b"/", 0, -1) + 1], self._above) if prefix else self._above
            level = above
            if above is self._inside_git or prefix.endswith(b"/.git/") or prefix == b".git/":
                level = self._inside_git
            elif files:
                seen = b"".join([_look(self._top, prefix + name) for name in files])
                level = _Level(above, prefix, files, blake3(above.digest + seen).digest(16))
            self._levels[prefix] = level
        return level

    def select(
        self, prefix: bytes, names: list[bytes], folders: list[bytes], left_out: Names
    ) -> tuple[list[bytes], list[bytes]]:
        """The names and folders that are kept; the others come into ``left_out``."""
        if not self._keep_git:
            names = _without_git(names, left_out, b".git")
            folders = _without_git(folders, left_out, b".git/")
        if self._git:
            leaves_out = self._levels[prefix].rules(self._top).leaves_out
            kept = [name for name in names if not leaves_out(prefix + name, directory=False)]
            if len(kept) < len(names):
                gone = set(names) - set(kept)
                left_out += [(name, IGNORED) for name in names if name in gone]
                names = kept
            kept = [name for name in folders if name == b".git" or not leaves_out(prefix + name, directory=True)]
            if len(kept) < len(folders):
                gone = set(folders) - set(kept)
                left_out += [(name + b"/", IGNORED) for name in folders if name in gone]
                folders = kept
        return names, folders


def _without_git(names: list[bytes], left_out: Names, shown: bytes) -> list[bytes]:
    if b".git" not in names:
        return names
    left_out.append((shown, GIT))
    return [name for name in names if name != b".git"]


def _look(top: int, path: bytes) -> bytes:
    """Bytes that change with the file at ``path``; none where there is no file."""
    try:
        status = os.stat(path, dir_fd=top, follow_symlinks=False)
    except OSError:
        return b"-"
    seen = b"%d %d %d %d %d;" % fingerprint_of(status)
    now = time.time_ns()
    # What may change again unseen is taken for another file each time.
    return seen if is_settled(status.st_mtime_ns, status.st_ctime_ns, now) else b"%b%d;" % (seen, now)


def _read(top: int, path: bytes) -> bytes:
    """The content of a rule file; nothing where it is no regular file (git follows no symlink either).

    Raises:
        InvalidInputError: It cannot be read, or is too large.
    """
    opened = -1
    try:
        *folders, name = path.split(b"/")
        for step, flags in [*[(folder, FOLDER_FLAGS) for folder in folders], (name, _READ_FLAGS)]:
            # One at a time: the way may be longer than a process may have files open.
            above, opened = opened, os.open(step, flags, dir_fd=top if opened < 0 else opened)
            if above >= 0:
                os.close(above)
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            return b""
        if status.st_size <= MAX_BYTES:
            with open(opened, "rb", closefd=False) as stream:
                return stream.read(MAX_BYTES)
        why = f"has {status.st_size:,} bytes"
    except OSError as error:
        if error.errno in _NO_FILE:
            return b""
        why = f"cannot be read: {error.strerror}"
    finally:
        if opened >= 0:
            os.close(opened)
    name_shown = os.fsdecode(path)
    raise InvalidInputError(
        f"the ignore rules in {name_shown!r} cannot be used: the file {why}. Mend it, or import without --ignore git.",
        path=name_shown,
    )
