# SPDX-License-Identifier: MIT
"""What refs need and cannot have: every ref and path that damage hurts, and the lost records that are to blame.

All states behind refs and their kept history are walked. Subtrees that were found whole are not walked again, so the
cost is that of what is stored, not of how often it is shared; what is hurt is walked for each state that has it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from casstore.address import Address
from casstore.collection.repair_report import Hurt, HurtWhat, Place
from casstore.errors import CorruptionError, FormatVersionError, NotFoundError
from casstore.format.entry import SNAPSHOT as SNAPSHOT_ENTRY
from casstore.format.event import decode_ref_move
from casstore.format.index_entry import DAMAGED_FLAG, HISTORY
from casstore.format.kinds import CHUNK, CHUNK_LIST, NODE, SNAPSHOT
from casstore.format.node import Node
from casstore.snapshots import Refs, Snapshots, decode_key, history_cut, shallow_ids
from casstore.storage.filling import Progress
from casstore.storage.indexed import MAX_BASES
from casstore.storage.watch import Bitmap

_DAMAGE: Final = (CorruptionError, NotFoundError, FormatVersionError)


@dataclass(slots=True)
class _Found:
    """One thing that is hurt, while places of it are being found."""

    what: HurtWhat
    message: str
    lost: dict[Address, int]
    places: dict[Place, None] = field(default_factory=dict)


class Examination:
    """A walk over all that refs need.

    Args:
        snapshots: The store's snapshots.
        refs: Its refs.
        read_lists: Also compare contents of several chunks with their addresses, which reads them all.
        progress: Called with ``"states"``, how many nodes were read, and None.

    Attributes:
        refs: How many refs there are.
        lost: Addresses of all records that are needed and nowhere or damaged, and their kinds.
    """

    def __init__(
        self, snapshots: Snapshots, refs: Refs, *, read_lists: bool = True, progress: Progress | None = None
    ) -> None:
        self.refs = 0
        self.lost: dict[Address, int] = {}
        self._snapshots = snapshots
        self._storage = snapshots.storage
        self._names = refs
        self._read_lists = read_lists
        self._progress = progress
        self._whole = Bitmap()
        self._nodes = 0
        self._found: dict[Address, _Found] = {}
        self._linked: deque[Address] = deque()

    def run(self) -> tuple[Hurt, ...]:
        """Everything that is hurt, in the order in which it was met."""
        self._walk_states()
        return tuple(
            Hurt(
                what=found.what,
                address=address,
                lost=tuple(found.lost),
                message=found.message,
                places=tuple(found.places),
            )
            for address, found in self._found.items()
        )

    # -- states

    def _roots(self) -> dict[Address, list[str]]:
        """Snapshots that refs and kept history name, and their refs."""
        roots: dict[Address, list[str]] = {}
        for name, snapshot in self._names.ids():
            self.refs += 1
            roots.setdefault(snapshot, []).append(name)
        find = self._storage.backend.find
        try:
            cut = history_cut(self._storage)
        except CorruptionError:
            cut = 0
        for _, payload in self._storage.backend.facts(HISTORY):
            try:
                move = decode_ref_move(payload)
            except CorruptionError:
                continue
            for old in (move.old, move.new):
                # Collected states may still stand in the history.
                if old is not None and move.number > cut and find(old) is not None:
                    roots.setdefault(old, [])
        return roots

    def _walk_states(self) -> None:
        roots = self._roots()
        try:
            shallow = shallow_ids(self._storage)
        except CorruptionError:
            shallow = set()
        waiting = deque(roots)
        seen = set(roots)
        while waiting:
            snapshot = waiting.popleft()
            states = roots.get(snapshot) or [snapshot.hex()[:12]]
            try:
                fields = self._snapshots.fields(snapshot)
            except _DAMAGE as error:
                self._add("snapshot", snapshot, {snapshot: SNAPSHOT}, error.message, [Place(state=s) for s in states])
                continue
            for name, root in fields.roots.items():
                self._subtree(root, _Where(states, name, None, None))
            below = [] if snapshot in shallow else list(fields.parents)
            for other in (*below, *self._linked):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
            self._linked.clear()

    # -- trees

    def _subtree(self, address: Address, where: _Where) -> bool:
        """Whether all that lies below a node is whole."""
        backend = self._storage.backend
        entry = backend.find(address)
        if entry is not None and (entry.segment, entry.ordinal) in self._whole:
            return True
        try:
            if entry is None or entry.flags & DAMAGED_FLAG:
                raise CorruptionError(f"the tree node {address.hex()} is lost.", address=address)
            node = self._snapshots.nodes.read(address)
        except _DAMAGE as error:
            self._add("node", address, {address: NODE}, error.message, where.subtree())
            return False
        self._nodes += 1
        if self._progress is not None and self._nodes % 1000 == 0:
            self._progress("states", self._nodes, None)
        whole = True
        if node.height:
            for place, child in enumerate(node.children):
                after = node.keys[place - 1] if place else where.after
                upto = node.keys[place] if place + 1 < len(node.children) else where.upto
                whole &= self._subtree(child, _Where(where.states, where.root, after, upto))
        else:
            whole = self._leaf(node, where)
        if whole:
            self._whole.add(entry.segment, entry.ordinal)
        return whole

    def _leaf(self, node: Node, where: _Where) -> bool:
        whole = True
        for number, key in enumerate(node.keys):
            entry = node.entry(number)
            if entry.address is None:
                continue
            if entry.kind == SNAPSHOT_ENTRY:
                self._linked.append(entry.address)
                continue
            problem = self._content(entry.address, entry.size)
            if problem is not None:
                message, lost = problem
                self._add("content", entry.address, lost, message, where.key(key))
                whole = False
        return whole

    # -- contents

    def _content(self, address: Address, size: int) -> tuple[str, dict[Address, int]] | None:
        """What is wrong with a content and which records are lost; None where it is whole."""
        backend, storage = self._storage.backend, self._storage
        entry = backend.find(address)
        if entry is not None and entry.kind == CHUNK_LIST and (entry.segment, entry.ordinal) in self._whole:
            return None
        lost = self._lost_of(address)
        if lost:
            return _message(address, lost), lost
        try:
            if storage.content_size(address) != size:
                raise CorruptionError(f"the content {address.hex()} is not {size} bytes long.", address=address)
            if entry is not None and entry.kind == CHUNK_LIST:
                if self._read_lists:
                    storage.check_content(address)
                self._whole.add(entry.segment, entry.ordinal)
        except _DAMAGE as error:
            return error.message, {address: CHUNK_LIST}
        return None

    def _lost_of(self, address: Address, depth: int = 0) -> dict[Address, int]:
        """The lost records that a content is made of, or stored against."""
        backend, storage = self._storage.backend, self._storage
        entry = backend.find(address)
        for _ in range(MAX_BASES):
            if entry is None or entry.flags & DAMAGED_FLAG or entry.kind not in (CHUNK, CHUNK_LIST):
                return {address: CHUNK if entry is None else entry.kind}
            if entry.base is None:
                break
            address = entry.base
            entry = backend.find(address)
        if entry is None or entry.kind == CHUNK:
            return {}
        lost: dict[Address, int] = {}
        try:
            pieces = storage.chunk_list(address)
        except _DAMAGE:
            return {address: CHUNK_LIST}
        for piece, _ in () if pieces is None or depth > MAX_BASES else pieces.pieces:
            lost.update(self._lost_of(piece, depth + 1))
        return lost

    def _add(
        self, what: HurtWhat, address: Address, lost: dict[Address, int], message: str, places: Sequence[Place]
    ) -> None:
        found = self._found.setdefault(address, _Found(what, message, lost))
        found.places.update(dict.fromkeys(places))
        self.lost.update(lost)


@dataclass(frozen=True, slots=True)
class _Where:
    """Part of a tree: of which states, of which root, and which keys."""

    states: Sequence[str]
    root: str
    after: bytes | None
    upto: bytes | None

    def key(self, key: bytes) -> list[Place]:
        return [Place(state=state, root=self.root, key=decode_key(key)) for state in self.states]

    def subtree(self) -> list[Place]:
        after, upto = (None if key is None else decode_key(key) for key in (self.after, self.upto))
        return [Place(state=state, root=self.root, after=after, upto=upto) for state in self.states]


def _message(address: Address, lost: dict[Address, int]) -> str:
    if address in lost:
        return f"the content {address.hex()} is lost."
    others = ", ".join(other.hex()[:12] for other in list(lost)[:4])
    more = f" and {len(lost) - 4} more" if len(lost) > 4 else ""
    return f"the content {address.hex()} needs {others}{more}, which is lost."
