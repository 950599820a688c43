# SPDX-License-Identifier: MIT
"""A disk in memory that takes the calls of a trace and knows at each moment what a power loss may leave.

The model. A file has the bytes of its last ``fsync`` and the writes since; a folder has its names. A power loss leaves

- of a file: what was synced, always; of later writes any blocks (512 or 4096 bytes), in any order, or none; the size
  may be there without the data (then zeros are read). What was synced is not hurt by writes beside it: as SQLite's
  "powersafe overwrite", which today's disks keep. Writes behind a truncation that did not happen did not happen either.
- of names: what the rules of the variant call durable, and of the rest what it chooses.

Three rules of names, from strong to weak:

- ``JOURNAL``: changes of names reach the disk in the order of the calls (ext4 without fast commits, XFS). An ``fsync``
  of a file or folder makes all changes durable up to the last one that concerned it.
- ``LOOSE``: changes reach the disk in any order, but for those of one name. An ``fsync`` of a file makes its own names
  durable, and the new folders above it; that of a folder, all changes in it (btrfs, F2FS, ext4 with fast commits).
- ``POSIX``: as LOOSE, but an ``fsync`` of a file says nothing of its name. No file system in use is as weak; ALICE's
  default model is.

A rename is atomic in all of them. Changes of names older than ``EXPIRED`` calls have reached the disk: kernels write
back by the clock.

Source: Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), sections 2 and 3.2, for what applications
may not count on, and for making states from traces; Mohan et al., "Finding Crash-Consistency Bugs with Bounded
Black-Box Crash Testing" (OSDI 2018), for what file systems do guarantee. We tear data at any block instead of at three
places, and choose states by chance instead of all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from tests.power_loss.loss import Bytes, Choice, Rule, torn
from tests.power_loss.trace import Kind, Line

EXPIRED: Final = 400


class Unmodelled(Exception):
    """The trace holds a call that this disk does not know."""


class File(Bytes):
    """A file, and the change that made its name."""

    __slots__ = ("born",)

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.born: Change | None = None


class Folder:
    """A folder: names as of now, and as they are durable under every rule."""

    __slots__ = ("born", "durable", "names")

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.born: Change | None = None


Node = File | Folder


class Change:
    """A change of names that may not have reached the disk, and by which rules it has."""

    __slots__ = ("call", "durable", "edits", "node")

    def __init__(self, call: int, node: Node, edits: tuple[tuple[Folder, str, Node | None], ...]) -> None:
        self.call = call
        self.node = node
        self.edits = edits
        # The rules under which it is durable: those below this number.
        self.durable = 0


class Disk:
    """The state after the calls that were applied."""

    def __init__(self) -> None:
        self.root = Folder()
        self.calls = 0
        self.changes: list[Change] = []
        self._open: dict[tuple[int, int], Node] = {}
        self._unsynced: dict[int, File] = {}

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """A disk that durably holds what ``folder`` does."""
        disk = cls()
        disk.root = _durable(folder)
        return disk

    # -- calls

    def apply(self, line: Line) -> None:
        """Carries one line out."""
        kind = line.kind
        if kind is Kind.NOTE:
            return
        self.calls += 1
        if kind is Kind.WRITE:
            file = self._file(line)
            file.write(line.a, line.data, self.calls)
            self._unsynced[id(file)] = file
        elif kind is Kind.OPEN:
            self._opened(line)
        elif kind is Kind.CLOSE:
            self._open.pop((line.pid, line.fd), None)
        elif kind is Kind.DUP:
            self._open[line.pid, line.a] = self._open[line.pid, line.fd]
        elif kind is Kind.FSYNC:
            self._sync(self._open[line.pid, line.fd] if line.fd >= 0 else self.find(line.path))
        elif kind in (Kind.FTRUNCATE, Kind.TRUNCATE):
            self._truncate(self._file(line), line.a)
        elif kind is Kind.ALLOCATE:
            file = self._file(line)
            if line.a + line.b > len(file.data):
                self._truncate(file, line.a + line.b)
        elif kind is Kind.SYNC_ALL:
            self.sync_all()
        else:
            self._rename(line)
        if self.calls % 50 == 0:
            self._expire()

    def _file(self, line: Line) -> File:
        node = self._open[line.pid, line.fd] if line.fd >= 0 else self.find(line.path)
        assert isinstance(node, File), line
        return node

    def _truncate(self, file: File, length: int) -> None:
        if length != len(file.data):
            file.truncate(length, self.calls)
            self._unsynced[id(file)] = file

    def find(self, path: str) -> Node:
        """What lies at a path now."""
        node: Node = self.root
        for name in path.split("/") if path else ():
            assert isinstance(node, Folder), path
            node = node.names[name]
        return node

    def _place(self, path: str) -> tuple[Folder, str]:
        folder, _, name = path.rpartition("/")
        found = self.find(folder)
        assert isinstance(found, Folder), path
        return found, name

    def _opened(self, line: Line) -> None:
        if line.b:
            self._open[line.pid, line.fd] = self.find(line.path)
            return
        folder, name = self._place(line.path)
        node = folder.names.get(name)
        if node is None:
            node = File()
            self._change(node, (folder, name, node))
            node.born = self.changes[-1]
        elif line.a & os.O_TRUNC:
            assert isinstance(node, File), line
            self._truncate(node, 0)
        if line.fd >= 0:
            self._open[line.pid, line.fd] = node

    def _rename(self, line: Line) -> None:
        folder, name = self._place(line.path)
        if line.kind is Kind.MKDIR:
            node: Node = Folder()
            self._change(node, (folder, name, node))
            node.born = self.changes[-1]
        elif line.kind in (Kind.UNLINK, Kind.RMDIR):
            self._change(folder.names[name], (folder, name, None))
        elif line.kind is Kind.LINK:
            node = folder.names[name]
            self._change(node, (*self._place(line.second), node))
        elif line.kind is Kind.RENAME:
            node = folder.names[name]
            self._change(node, (folder, name, None), (*self._place(line.second), node))
        else:
            raise Unmodelled(f"{line.kind.name} {line.path}")

    def _change(self, node: Node, *edits: tuple[Folder, str, Node | None]) -> None:
        for folder, name, new in edits:
            if new is None:
                del folder.names[name]
            else:
                folder.names[name] = new
        self.changes.append(Change(self.calls, node, edits))

    # -- what is durable

    def _sync(self, node: Node) -> None:
        if isinstance(node, File):
            node.sync()
            self._unsynced.pop(id(node), None)
        last = -1
        above = self._new_folders_above(node)
        for place, change in enumerate(self.changes):
            if isinstance(node, Folder) and any(folder is node for folder, _, _ in change.edits):
                change.durable = len(Rule)
                last = place
            elif change.node is node or any(change is one for one in above):
                change.durable = max(change.durable, Rule.LOOSE + 1)
                last = place
        for change in self.changes[: last + 1]:
            change.durable = max(change.durable, Rule.JOURNAL + 1)
        self._fold()

    def _new_folders_above(self, node: Node) -> list[Change]:
        """The changes that made the folders in which the names of ``node`` lie, as far as they are not durable."""
        found: list[Change] = []
        waiting = [folder for change in self.changes if change.node is node for folder, _, _ in change.edits]
        while waiting:
            folder = waiting.pop()
            if folder.born is not None and folder.born.durable < len(Rule) and folder.born not in found:
                found.append(folder.born)
                waiting.append(folder.born.edits[0][0])
        return found

    def sync_all(self) -> None:
        """Everything is durable."""
        for file in self._unsynced.values():
            file.sync()
        self._unsynced = {}
        for change in self.changes:
            change.durable = len(Rule)
        self._fold()

    def _expire(self) -> None:
        for change in self.changes:
            if change.call > self.calls - EXPIRED:
                break
            change.durable = len(Rule)
        self._fold()

    def _fold(self) -> None:
        """Takes the first changes that every rule calls durable out of the list."""
        number = 0
        for change in self.changes:
            if change.durable < len(Rule):
                break
            _edit(change, {}, fold=True)
            number += 1
        del self.changes[:number]

    # -- what a power loss leaves

    def now(self) -> dict[str, bytes | None]:
        """All files and folders (None) by path, as they are now."""
        return dict(_walk(self.root, "", lambda folder: folder.names, lambda file: bytes(file.data)))

    def lost(self, choice: Choice, random: Random) -> dict[str, bytes | None]:
        """All files and folders (None) by path, as a power loss now may leave them."""
        names: dict[int, dict[str, Node]] = {}
        reached = -1
        for change in self._surviving(choice, random):
            _edit(change, names)
            reached = max(reached, change.call)
        ordered = choice.rule is Rule.JOURNAL

        def content(file: File) -> bytes:
            return torn(file, choice, random, reached if ordered else None)

        return dict(_walk(self.root, "", lambda folder: names.get(id(folder), folder.durable), content))

    def _surviving(self, choice: Choice, random: Random) -> list[Change]:
        changes = self.changes
        if choice.rule is Rule.JOURNAL:
            least = max((place + 1 for place, change in enumerate(changes) if change.durable), default=0)
            return changes[: least + round((len(changes) - least) * _share(choice.names, random))]
        kept: list[Change] = []
        forced: set[tuple[int, str]] = set()
        for change in reversed(changes):
            places = {(id(folder), name) for folder, name, _ in change.edits}
            # Changes of one name keep their order: where a later one is there, so are those before it.
            if change.durable > choice.rule or places & forced or random.random() < choice.names:
                kept.append(change)
                forced |= places
        return kept[::-1]


def _share(names: float, random: Random) -> float:
    return names if names in (0.0, 1.0) else random.random()


def _edit(change: Change, names: dict[int, dict[str, Node]], *, fold: bool = False) -> None:
    for folder, name, new in change.edits:
        entries = folder.durable if fold else names.get(id(folder))
        if entries is None:
            entries = names[id(folder)] = dict(folder.durable)
        if new is None:
            entries.pop(name, None)
        else:
            entries[name] = new


def _walk(folder: Folder, path: str, names: object, content: object) -> Iterator[tuple[str, bytes | None]]:
    for name, node in sorted(names(folder).items()):  # type: ignore[operator]
        below = f"{path}/{name}" if path else name
        if isinstance(node, Folder):
            yield below, None
            yield from _walk(node, below, names, content)
        else:
            yield below, content(node)  # type: ignore[operator]


def _durable(folder: Path) -> Folder:
    made = Folder()
    for path in sorted(folder.iterdir()):
        made.names[path.name] = _durable(path) if path.is_dir() else File(path.read_bytes())
    made.durable = dict(made.names)
    return made
