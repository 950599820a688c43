# SPDX-License-Identifier: MIT
"""Reading a directory into edits of a tree: what is new or looks different is read, the rest is as it was.

Invariant: applied to the tree that ``records`` are about (none: the empty one), the edits give the directory's tree.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from casstore.format.entry import Entry, directory_entry
from casstore.format.node import MAX_KEY_BYTES
from casstore.format.posix import posix_key
from casstore.format.stat_cache import UNSETTLED, FolderRecord, Stat
from casstore.tree import Nodes, Root, apply, build
from casstore.workspace.metadata import Place, link_place, read_metadata
from casstore.workspace.part import FILES, POSIX
from casstore.workspace.report import LeftOut, Progress
from casstore.workspace.scanning.fingerprint import COARSE_SLACK_NS, SLACK_NS
from casstore.workspace.scanning.reading import Sink, read_file, read_symlink
from casstore.workspace.scanning.scan import CHANGED_ERRNOS, UNREADABLE, Records, Scan, Visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from casstore.address import Address

Edit = tuple[bytes, Entry | None]
_IS_LINK: Final = stat.S_IFLNK
_TYPE: Final = 0o170000
_SECOND_NS: Final = 10**9


class Capture:
    """What one walk brought.

    Args:
        scan: The walk.
        sink: Where contents go.
        records: What the folders looked like before; changed in place to what they look like now.
        posix: Keep POSIX metadata, too.
        paranoid: Read every file.

    Attributes:
        edits: Changes of the ``files`` tree, sorted.
        posix: Changes of the ``posix`` tree, sorted, where asked for.
        changed: Folders whose records changed, or went.
        linked: Folders with a file among those looked at that has several names.
        vanished: Inodes of folders that are not where they were.
        directories: How many the whole directory has, after ``run``.
    """

    __slots__ = (
        "_gone",
        "_listed",
        "_paranoid",
        "_records",
        "_scan",
        "_sink",
        "changed",
        "directories",
        "edits",
        "linked",
        "posix",
        "read",
        "vanished",
        "warnings",
    )

    def __init__(
        self, scan: Scan, sink: Sink, records: Records, *, posix: bool = False, paranoid: bool = False
    ) -> None:
        self.edits: list[Edit] = []
        self.posix: list[Edit] | None = [] if posix else None
        self.changed: set[bytes] = set()
        self.warnings: list[LeftOut] = []
        self.directories = self.read = 0
        self._scan = scan
        self._sink = sink
        self._records = records
        self.linked: set[bytes] = set()
        self.vanished: set[int] = set()
        self._paranoid = paranoid
        # Folders that were looked into.
        self._listed: set[bytes] = set()
        # Keys that the tree had and the directory has not.
        self._gone: dict[bytes, None] = {}

    def run(self, progress: Progress | None = None, only: Mapping[bytes, bool] | None = None) -> None:
        """Walks, and reads what it must.

        Args:
            progress: Called with ``"reading"``, the files read, and None.
            only: Folders that may have changed, each with whether what is below may have; all others are as they were.

        Raises:
            InvalidInputError: Something is unreadable and was not to be left out.
            ConflictError: A file or folder changed while it was read.
        """
        visits = self._scan.folders() if only is None else self._reported(only)
        for visit in visits:
            if visit.names is None:
                self._look(visit)
            else:
                self._list(visit, visit.names)
            if progress is not None:
                progress("reading", self.read, None)
        self._take_out_lost()
        self._finish()

    def _reported(self, only: Mapping[bytes, bool]) -> Iterable[Visit]:
        records, scan = self._records, self._scan
        for prefix in sorted(only):
            old = records.get(prefix)
            if old is None or prefix in self.changed:
                # Gone together with the folder above it, or looked at by now.
                continue
            if any(prefix.startswith(lost) for lost, _ in scan.lost):
                continue
            scan.know_above(prefix)
            visit = scan.visit(prefix, listing=True)
            if visit is None:
                continue
            yield visit
            known = () if only[prefix] else set(old.folders)
            for name in visit.folders:
                if name not in known:
                    yield from scan.below(prefix + name + b"/")

    # -- a folder whose names are as they were

    def _look(self, visit: Visit) -> None:
        old = visit.old
        if old is None:
            return
        at, below = visit.at, visit.below
        look = os.stat
        place = 0
        try:
            for name, seen in zip(old.members, old.stats):
                status = look(below + name, dir_fd=at, follow_symlinks=False)
                if (
                    status.st_ctime_ns != seen[3]
                    or status.st_mtime_ns != seen[2]
                    or status.st_size != seen[1]
                    or status.st_ino != seen[0]
                    or status.st_mode != seen[4]
                ):
                    break
                if status.st_nlink > 1:
                    self.linked.add(visit.prefix)
                place += 1
            else:
                return
        except OSError as error:
            if error.errno in CHANGED_ERRNOS:
                raise self._scan.changed(visit.prefix + old.members[place]) from None
            # What cannot be looked at is met again below, and named there.
        # From here on it is a folder with changes.
        fd = self._open(visit)
        if fd is not None:
            self._read_members(visit._replace(at=fd, below=b""), old.members, dict(zip(old.members, old.stats)))

    def _open(self, visit: Visit) -> int | None:
        try:
            return self._scan.way.fd()
        except OSError as error:
            self._scan.lost.append((visit.prefix, self._scan.unreadable(visit.prefix[:-1], error)))
            return None

    # -- a folder that was listed

    def _list(self, visit: Visit, names: list[bytes]) -> None:
        old, prefix = visit.old, visit.prefix
        seen: dict[bytes, Stat] = {}
        if old is not None:
            seen = dict(zip(old.members, old.stats))
            kept = set(names)
            for name in old.members:
                if name not in kept:
                    self._drop_member(prefix, name)
            kept = set(visit.folders)
            for name in old.folders:
                if name not in kept:
                    self._drop_folder(prefix + name + b"/")
        self._read_members(visit, names, seen)
        if self.posix is not None:
            fd = self._open(visit)
            if fd is not None:
                self._keep_metadata(prefix[:-1], os.fstat(fd), fd, directory=True)

    def _read_members(self, visit: Visit, names: list[bytes], seen: dict[bytes, Stat]) -> None:
        """Reads what does not look as in ``seen``, and makes the folder's new record."""
        prefix, fd, paranoid, links = visit.prefix, visit.at, self._paranoid, visit.links
        sink, append, look = self._sink, self.edits.append, os.stat
        on_open = None
        stats: list[Stat] = []
        kept: list[bytes] = []
        left_out = list(visit.left_out)
        doubtful = False
        trusted_ns = visit.read_ns - SLACK_NS
        coarse_ns = visit.read_ns - COARSE_SLACK_NS
        for name in names:
            path = prefix + name
            try:
                before = seen.get(name)
                if before is not None:
                    status = look(name, dir_fd=fd, follow_symlinks=False)
                    mode = status.st_mode
                    if not paranoid and before == (
                        status.st_ino,
                        status.st_size,
                        status.st_mtime_ns,
                        status.st_ctime_ns,
                        mode,
                    ):
                        stats.append(before)
                        if status.st_nlink > 1:
                            self.linked.add(prefix)
                        kept.append(name)
                        continue
                    link = mode & _TYPE == _IS_LINK
                else:
                    link = name in links
                if not link:
                    if self.posix is not None:
                        on_open = self._metadata_of(path)
                    found = read_file(sink, fd, name, on_open, path)
                    if found is None:
                        raise self._scan.changed(path)
                    status, entry = found
                    self.read += 1
                if link:
                    status = look(name, dir_fd=fd, follow_symlinks=False)
                    entry = read_symlink(sink, fd, name)
                    if self.posix is not None:
                        self._keep_metadata(path, status, link_place(fd, name), directory=False)
            except OSError as error:
                if error.errno == errno.EINVAL:  # a symlink can always be read, so it is none any more
                    raise self._scan.changed(path) from None
                left_out.append((name, self._scan.unreadable(path, error)))
                doubtful = True
                if before is not None:
                    self._drop_member(prefix, name)
                continue
            append((path, entry))
            kept.append(name)
            mtime_ns, ctime_ns, mode = status.st_mtime_ns, status.st_ctime_ns, status.st_mode
            if status.st_nlink > 1:
                self.linked.add(prefix)
            newest = max(mtime_ns, ctime_ns)
            if newest >= coarse_ns and (newest >= trusted_ns or not (ctime_ns % _SECOND_NS or mtime_ns % _SECOND_NS)):
                mode |= UNSETTLED
            stats.append((status.st_ino, status.st_size, mtime_ns, ctime_ns, mode))
        folder = visit.status
        record = FolderRecord(
            folder.st_ino,
            folder.st_mtime_ns,
            folder.st_ctime_ns,
            not doubtful and (visit.names is None or self._scan.is_settled(visit)),
            visit.rules,
            kept,
            stats,
            visit.folders,
            left_out,
        )
        self._listed.add(prefix)
        self._records[prefix] = record
        self.changed.add(prefix)

    # -- what is not there any more

    def _drop_member(self, prefix: bytes, name: bytes) -> None:
        path = prefix + name
        self._gone[path] = None
        self._drop_metadata(path, directory=False)

    def _drop_folder(self, prefix: bytes) -> None:
        pending = [prefix]
        while pending:
            prefix = pending.pop()
            record = self._records.pop(prefix, None)
            self.changed.add(prefix)
            self._gone[prefix[:-1]] = None
            self._drop_metadata(prefix[:-1], directory=True)
            if record is not None:
                self.vanished.add(record.inode)
                for name in record.members:
                    self._drop_member(prefix, name)
                pending += [prefix + name + b"/" for name in record.folders]

    def _take_out_lost(self) -> None:
        """Folders that turned out to be left out go from the records of the folders above them."""
        for prefix, why in self._scan.lost:
            cut = prefix.rfind(b"/", 0, -1) + 1
            above, name = prefix[:cut], prefix[cut:-1]
            record = self._records[above]
            if prefix in self._records:
                self._drop_folder(prefix)
            self._records[above] = FolderRecord(
                record.inode,
                record.mtime_ns,
                record.ctime_ns,
                record.listed and not why.startswith(UNREADABLE),
                record.rules,
                record.members,
                record.stats,
                [folder for folder in record.folders if folder != name],
                [*record.left_out, (name + b"/", why)],
            )
            self.changed.add(above)
            self._listed.add(above)

    # -- the whole

    def _finish(self) -> None:
        """Empty folders get an entry, others lose theirs; then everything is sorted."""
        records, gone = self._records, self._gone
        for prefix in self._listed:
            record = records.get(prefix)
            if not prefix or record is None:
                continue
            if not (record.members or record.folders):
                self.edits.append((prefix[:-1], directory_entry()))
            else:
                # Whatever the records say: after a switch the tree may have the folder as an empty one.
                gone[prefix[:-1]] = None
        if gone:
            present = {path for path, _ in self.edits}
            self.edits += [(path, None) for path in gone if path not in present]
        self.edits.sort(key=itemgetter(0))
        if self.posix is not None:
            # The last word about a key counts: what went may have come again as something else.
            self.posix = sorted(dict(sorted(self.posix, key=_absent_first)).items(), key=itemgetter(0))
        self.directories = len(records) - 1

    def roots(self, nodes: Nodes, before: Mapping[str, Address]) -> dict[str, Root]:
        """The roots of the directory, given those that the records were about."""
        found = {FILES: edited(nodes, before.get(FILES), self.edits, tree=True)}
        if self.posix is not None:
            found[POSIX] = edited(nodes, before.get(POSIX), self.posix)
        return found

    def count_symlinks(self) -> int:
        """How many of the members are symlinks. Cost: O(members)."""
        return sum([1 for record in self._records.values() for seen in record.stats if seen[4] & _TYPE == _IS_LINK])

    def _metadata_of(self, path: bytes) -> Callable[[os.stat_result, int], None]:
        return lambda status, file: self._keep_metadata(path, status, file, directory=False)

    def _drop_metadata(self, path: bytes, *, directory: bool) -> None:
        if self.posix is not None:
            key = posix_key(path, directory=directory)
            # Longer ones were never kept.
            if len(key) <= MAX_KEY_BYTES:
                self.posix.append((key, None))

    def _keep_metadata(self, path: bytes, status: os.stat_result, place: Place, *, directory: bool) -> None:
        key, entry = read_metadata(path, status, place, self.warnings, directory=directory)
        if len(key) > MAX_KEY_BYTES:
            self.warnings.append(LeftOut(os.fsdecode(path), "metadata not kept: the path has too many levels"))
        elif self.posix is not None:
            self.posix.append((key, entry))


def _absent_first(edit: Edit) -> bool:
    return edit[1] is not None


def edited(nodes: Nodes, root: Root, edits: Sequence[Edit], *, tree: bool = False) -> Root:
    """The root of the tree ``root`` with sorted ``edits`` made."""
    if root is None:
        return build(nodes, [(key, entry) for key, entry in edits if entry is not None], tree=tree)
    return apply(nodes, root, edits, tree=tree)


def left_out_of(prefix: bytes, record: FolderRecord | None) -> list[LeftOut]:
    """What is left out in one folder."""
    if record is None:
        return []
    return [LeftOut(os.fsdecode(prefix + name.rstrip(b"/")), why) for name, why in record.left_out]


def all_left_out(records: Records) -> list[LeftOut]:
    """What is left out anywhere, by path. Cost: O(folders)."""
    found: list[LeftOut] = []
    for prefix, record in records.items():
        if record.left_out:
            found += left_out_of(prefix, record)
    return sorted(found, key=_path)


def _path(item: LeftOut) -> str:
    return item.path
