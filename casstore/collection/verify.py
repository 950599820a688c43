# SPDX-License-Identifier: MIT
"""Verify: is all that is kept whole, and does everything lead where it says?

Three passes, each with bounded memory: every record against its address; every segment record by record, header and
checksum; every state that a collection would keep for a ref or its history, down to the contents and their sizes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from casstore.address import Address, event_address
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError, NotFoundError
from casstore.format.entry import SNAPSHOT as SNAPSHOT_ENTRY
from casstore.format.event import HISTORY_CUT, decode_ref_move, parse_event
from casstore.format.index_entry import DAMAGED_FLAG, EVENT_KEY, HISTORY, is_lost
from casstore.format.kinds import CHUNK, CHUNK_LIST
from casstore.format.node import Node
from casstore.format.snapshot import FILES
from casstore.quantities import count
from casstore.snapshots import Refs, Snapshots, decode_key, history_cut, shallow_ids
from casstore.storage import Storage
from casstore.storage.deltas import is_readable
from casstore.storage.watch import Bitmap
from casstore.tree import Checked, check_tree

_DAMAGE: Final = (CorruptionError, NotFoundError, FormatVersionError)

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it should be.

    Attributes:
        what: ``"record"``, ``"segment"``, ``"content"``, ``"tree"``, ``"snapshot"``, or ``"ref"``.
        message: What is wrong, in words.
        address: 32 bytes of the object concerned, where there is one.
        segment: The segment of the record that is to blame; None where that is lost.
        offset: Its place in the segment, in bytes.
        where: Refs and paths that are hurt, as ``NAME:files/path``.
        record: 32 bytes of the record that is to blame, where that is known: the object's own, a piece of it, or what
            it is stored against.
    """

    what: str
    message: str
    address: Address | None = None
    segment: int | None = None
    offset: int | None = None
    where: tuple[str, ...] = ()
    record: Address | None = None


@dataclass(slots=True)
class VerifyReport:
    """What was looked at, and what is damaged."""

    records: int = 0
    bytes: int = 0
    segments: int = 0
    refs: int = 0
    snapshots: int = 0
    nodes: int = 0
    contents: int = 0
    read_data: bool = True
    damage: list[Damage] = field(default_factory=list)

    def __str__(self) -> str:
        state = f"{len(self.damage)} damaged" if self.damage else "sound"
        return (
            f"{state}: {count(self.records, 'record')} ({self.bytes:,} bytes) in {count(self.segments, 'segment')}, "
            f"{count(self.snapshots, 'snapshot')}, {count(self.nodes, 'node')} and "
            f"{count(self.contents, 'content')} behind {count(self.refs, 'ref')}"
        )


def verify(
    storage: Storage, snapshots: Snapshots, refs: Refs, *, read_data: bool = True, progress: Progress | None = None
) -> VerifyReport:
    """A report of a sound store.

    Args:
        storage: The store's storage.
        snapshots: Its snapshots.
        refs: Its refs.
        read_data: Read and hash every record; without it only metadata is read and contents must merely be there.
        progress: Called with a phase, how many are done, and None.

    Raises:
        CorruptionError: Something is damaged; ``report`` names everything that is.
    """
    report = VerifyReport(read_data=read_data)
    _Verifier(storage, snapshots, refs, report, progress).run()
    if report.damage:
        first = report.damage[0]
        raise CorruptionError(
            f"{_things(len(report.damage))}: {first.message} "
            "Run `casstore repair`, which names what heals it, or import or put the same content again; "
            "the report names all.",
            address=first.address,
            segment=first.segment,
            offset=first.offset,
            report=report,
        )
    return report


def mark_damaged(storage: Storage, report: VerifyReport) -> int:
    """Marks the records that a report names, durably; how many there are. See ``Store.mark_damaged``."""
    backend = storage.backend
    addresses = {damage.address for damage in report.damage if damage.address is not None}
    found = [address for address in sorted(addresses) if backend.find(address) is not None]
    for address in found:
        backend.mark_damaged(address)
    backend.sync()
    return len(found)


class _Verifier:
    def __init__(
        self, storage: Storage, snapshots: Snapshots, refs: Refs, report: VerifyReport, progress: Progress | None
    ) -> None:
        self._storage = storage
        self._snapshots = snapshots
        self._refs = refs
        self._report = report
        self._progress = progress
        self._bad: set[Address] = set()
        self._sound = Bitmap()
        self._checked: Checked = {}

    def run(self) -> None:
        if self._report.read_data:
            self._records()
            self._segments()
        self._states()

    def _tell(self, phase: str, done: int) -> None:
        if self._progress is not None and done % 1000 == 0:
            self._progress(phase, done, None)

    def _add(self, what: str, error: CasstoreError, address: Address | None = None, where: Iterable[str] = ()) -> None:
        record = Address(error.address) if error.address else address
        segment, offset = error.segment, error.offset
        entry = None if record is None else self._storage.backend.find(record)
        if entry is not None:
            segment, offset = (None, None) if is_lost(entry) else (entry.segment, entry.offset)
        found = Damage(what, error.message, address or record, segment, offset, tuple(where), record)
        self._report.damage.append(found)

    def _records(self) -> None:
        storage, report = self._storage, self._report
        for address, entry in storage.backend.scan():
            report.records += 1
            report.bytes += entry.record_bytes
            self._tell("records", report.records)
            try:
                storage.get_record(entry.kind, address)
                if entry.kind == CHUNK:
                    self._sound.add(entry.segment, entry.ordinal)
            except (CorruptionError, FormatVersionError) as error:
                # What is stored against a damaged base is sound itself, and heals with it.
                self._bad.add(Address(error.address) if error.address else address)
                self._add("record", error, address)
            except NotFoundError as error:
                # Deleted by a collection since the scan began.
                if storage.backend.find(address) is not None:
                    self._add("record", error, address)

    def _segments(self) -> None:
        for problem in self._storage.backend.check_segments():
            self._report.damage.append(Damage("segment", problem.message, None, problem.segment, problem.offset))
        self._report.segments = len(self._storage.backend.segments())

    def _states(self) -> None:
        # An operation of its own: what it looked at stays, also where a ref moves away and a collection begins.
        with self._storage.operation():
            self._events()
            roots = self._roots()
            for snapshot_id in roots:
                entry = self._storage.backend.find(snapshot_id)
                if entry is not None:
                    self._storage.backend.hit(snapshot_id, entry)
            waiting = deque((snapshot_id, tuple(names)) for snapshot_id, names in roots.items())
            seen = set(roots)
            shallow = shallow_ids(self._storage)
            while waiting:
                snapshot_id, names = waiting.popleft()
                try:
                    snapshot = self._snapshots.get(snapshot_id)
                except _DAMAGE as error:
                    self._add("snapshot", error, snapshot_id, names)
                    continue
                self._report.snapshots += 1
                labels = roots.get(snapshot_id) or [snapshot_id.hex()[:12]]
                below = [] if snapshot_id in shallow else list(snapshot.parents)
                for root_name, root in snapshot.roots.items():
                    below += self._tree([f"{label}:{root_name}" for label in labels], root, root_name == FILES)
                for other in below:
                    if other not in seen:
                        seen.add(other)
                        waiting.append((other, names))

    def _events(self) -> None:
        """Every fact that a rebuild could not compute must lie in a record too."""
        backend = self._storage.backend
        for prefix in (HISTORY, EVENT_KEY):
            for key, payload in backend.facts(prefix):
                try:
                    members = parse_event(payload)
                except CorruptionError as error:
                    self._add("ref", error)
                    continue
                address = event_address(payload)
                # A later cut stands for all before it.
                if members["type"] != HISTORY_CUT and backend.find(address) is None and backend.fact(key) is not None:
                    name = members.get("name")
                    missing = CorruptionError(f"the record of event {members['number']} is missing.", address=address)
                    self._add("ref", missing, address, [name] if isinstance(name, str) else [])

    def _roots(self) -> dict[Address, list[str]]:
        """Snapshots that refs and kept history name, and by what names."""
        roots: dict[Address, list[str]] = {}
        for name, snapshot_id in self._refs.ids():
            self._report.refs += 1
            roots.setdefault(snapshot_id, []).append(name)
        cut = history_cut(self._storage)
        for _, payload in self._storage.backend.facts(HISTORY):
            try:
                move = decode_ref_move(payload)
            except CorruptionError:
                # Named by the look at the events.
                continue
            for old in (move.old, move.new):
                # Collected states may still stand in the history.
                if old and move.number > cut and old not in roots and self._storage.backend.find(old):
                    roots[old] = [f"{move.name}@{move.number}"]
        return roots

    def _tree(self, labels: Sequence[str], root: Address, tree: bool) -> list[Address]:
        """Looks at every node and content below ``root``; the snapshots that it links."""
        nodes, find, known = self._snapshots.nodes, self._storage.backend.find, self._sound
        linked: list[Address] = []
        waiting = [root]
        readable = True
        while waiting:
            address = waiting.pop()
            entry = find(address)
            if entry is not None and (entry.segment, entry.ordinal) in known:
                continue
            try:
                node = nodes.read(address)
            except _DAMAGE as error:
                self._add("tree", error, address, labels)
                readable = False
                continue
            self._report.nodes += 1
            self._tell("nodes", self._report.nodes)
            waiting += reversed(node.children)
            linked += node.snapshots
            # Only leaves are left out next time: what lies below an inner node may be hurt.
            if not node.height and self._leaf(labels, node) and entry is not None:
                known.add(entry.segment, entry.ordinal)
        if readable:
            try:
                check_tree(nodes, root, tree=tree, checked=self._checked)
            except _DAMAGE as error:
                self._add("tree", error, where=labels)
        return linked

    def _leaf(self, labels: Sequence[str], node: Node) -> bool:
        whole = True
        for place, key in enumerate(node.keys):
            entry = node.entry(place)
            if entry.address is None or entry.kind == SNAPSHOT_ENTRY:
                continue
            try:
                self._content(entry.address, entry.size)
            except _DAMAGE as error:
                self._add("content", error, entry.address, [f"{label}/{decode_key(key)}" for label in labels])
                whole = False
        return whole

    def _content(self, address: Address, size: int) -> None:
        storage = self._storage
        found = storage.backend.find(address)
        if found is None or found.kind not in (CHUNK, CHUNK_LIST):
            raise CorruptionError(f"the content {address.hex()} is missing.", address=address)
        if found.flags & DAMAGED_FLAG or address in self._bad:
            raise storage.backend.damaged(address)
        if found.base is not None and (found.base in self._bad or not is_readable(storage, found)):
            raise _without_base(address, found.base)
        if found.kind == CHUNK:
            if found.raw_bytes != size:
                raise CorruptionError(f"the content {address.hex()} is not {size} bytes long.", address=address)
        elif storage.content_size(address) != size:
            raise CorruptionError(f"the content {address.hex()} is not {size} bytes long.", address=address)
        elif (found.segment, found.ordinal) not in self._sound:
            self._list(address)
            self._sound.add(found.segment, found.ordinal)
        self._report.contents += 1

    def _list(self, address: Address) -> None:
        storage = self._storage
        if self._report.read_data:
            storage.check_content(address)
            return
        waiting = [address]
        # A list may name another one thousands of times, which names a third one as often.
        seen = {address}
        while waiting:
            pieces = storage.chunk_list(waiting.pop())
            for piece, length in () if pieces is None else pieces.pieces:
                entry = storage.backend.find(piece)
                if entry is None or entry.flags & DAMAGED_FLAG:
                    raise CorruptionError(f"the piece {piece.hex()} of {address.hex()} is missing.", address=piece)
                if entry.base is not None and not is_readable(storage, entry):
                    raise _without_base(piece, entry.base)
                if entry.kind == CHUNK_LIST:
                    if piece not in seen:
                        seen.add(piece)
                        waiting.append(piece)
                elif entry.raw_bytes != length:
                    raise CorruptionError(f"the piece {piece.hex()} is not {length} bytes long.", address=piece)


def _things(number: int) -> str:
    return "1 thing is damaged" if number == 1 else f"{number:,} things are damaged, the first"


def _without_base(address: Address, base: Address) -> CorruptionError:
    return CorruptionError(
        f"{address.hex()} is stored against {base.hex()}, which is missing or damaged; "
        "run `casstore repair`, or put either content again.",
        address=address,
    )
