# SPDX-License-Identifier: MIT
"""What leads where, over the whole store, in bounded memory: numbers per record, and one walk from the roots down.

Nothing here keeps an address per record. A record is known by segment and ordinal, and has a few bytes in an array of
its segment; only what refers to others (snapshots, nodes, lists, deltas) is listed by address, 32 bytes each.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from casstore.address import ADDRESS_BYTES, Address
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.index_entry import IndexEntry
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, SNAPSHOT
from casstore.format.node import decode_node
from casstore.format.snapshot import decode_snapshot
from casstore.snapshots import decode_key
from casstore.storage import Storage
from casstore.storage.watch import Bitmap

_GROW = 512


class RecordNumbers:
    """A number for each record, 0 where none was given.

    Args:
        code: Type of the numbers, as ``array`` names it: ``"I"`` takes 4 bytes for each record, ``"Q"`` 8.
    """

    __slots__ = ("_arrays", "_code")

    def __init__(self, code: str) -> None:
        self._code = code
        self._arrays: dict[int, array[int]] = {}

    def get(self, entry: IndexEntry) -> int:
        """The number of a record."""
        numbers = self._arrays.get(entry.segment)
        return numbers[entry.ordinal] if numbers is not None and entry.ordinal < len(numbers) else 0

    def set(self, entry: IndexEntry, value: int) -> None:
        """Gives a record its number."""
        numbers = self._arrays.get(entry.segment)
        if numbers is None:
            numbers = self._arrays[entry.segment] = array(self._code)
        missing = entry.ordinal + 1 - len(numbers)
        if missing > 0:
            numbers.frombytes(bytes(numbers.itemsize * max(missing, _GROW)))
        numbers[entry.ordinal] = value

    def join(self, entry: IndexEntry, bits: int) -> None:
        """Adds bits to a record's number."""
        self.set(entry, self.get(entry) | bits)

    @property
    def memory_bytes(self) -> int:
        """Bytes that the numbers take."""
        return sum(len(numbers) * numbers.itemsize for numbers in self._arrays.values())


def references(
    storage: Storage, address: Address, entry: IndexEntry, shallow: Callable[[Address], bool]
) -> list[Address]:
    """What a record leads to; last, the record that it is stored against, if it is a delta.

    Raises:
        CorruptionError: The record is damaged.
        NotFoundError: It is gone.
    """
    found = [] if entry.base is None else [entry.base]
    if entry.kind in (CHUNK, EVENT):
        return found
    raw = storage.get_record(entry.kind, address)
    if entry.kind == NODE:
        node = decode_node(raw)
        return [*node.children, *node.references, *found]
    if entry.kind == CHUNK_LIST:
        return [*(piece for piece, _ in decode_chunk_list(address, raw).pieces), *found]
    fields = decode_snapshot(raw)
    parents = () if shallow(address) else fields.parents
    return [*fields.roots.values(), *parents, *found]


def named_references(
    storage: Storage, address: Address, entry: IndexEntry, shallow: Callable[[Address], bool]
) -> Iterator[tuple[Address, str]]:
    """What a record leads to, each with how: a root's name, ``"parent"``, a key, ``"piece 3"`` …"""
    if entry.kind == NODE:
        node = decode_node(storage.get_record(NODE, address))
        for child, last in zip(node.children, node.keys):
            yield child, f"keys up to {decode_key(last)}"
        if not node.height:
            for place, key in enumerate(node.keys):
                target = node.entry(place).address
                if target is not None:
                    yield target, decode_key(key)
    elif entry.kind == CHUNK_LIST:
        pieces = decode_chunk_list(address, storage.get_record(CHUNK_LIST, address)).pieces
        yield from ((piece, f"piece {number}") for number, (piece, _) in enumerate(pieces))
    elif entry.kind == SNAPSHOT:
        fields = decode_snapshot(storage.get_record(SNAPSHOT, address))
        yield from ((root, name) for name, root in fields.roots.items())
        if not shallow(address):
            yield from ((parent, "parent") for parent in fields.parents)
    if entry.base is not None:
        yield entry.base, "base that it is stored against"


class Walk:
    """Everything that is reached from what was given to ``visit``, each record once.

    Attributes:
        seen: What was reached.
        bytes: Bytes of its records.
        order: Addresses of all that refer to others, joined, each after everything below it; empty without
            ``keep_order``.
        distance: Steps from a record down to the target, plus one; 0 where it does not lead there.

    Args:
        storage: The store's storage.
        shallow: Tells the snapshots whose parents are not followed.
        target: What distances are counted to.
        keep_order: Fill ``order``.

    *Cost*: one look-up per reference, one read per node and list, two per snapshot. Memory: a bit per record; with a
    target 4 bytes more; with the order 32 bytes for each record that refers to others; 32 bytes for each snapshot of
    the longest line.
    """

    __slots__ = ("_keep_order", "_shallow", "_storage", "bytes", "distance", "order", "seen")

    def __init__(
        self,
        storage: Storage,
        shallow: Callable[[Address], bool],
        *,
        target: Address | None = None,
        keep_order: bool = False,
    ) -> None:
        self._storage = storage
        self._shallow = shallow
        self._keep_order = keep_order
        self.seen = Bitmap()
        self.bytes = 0
        self.order = bytearray()
        self.distance = RecordNumbers("I")
        entry = None if target is None else storage.backend.find(target)
        if entry is not None:
            self.distance.set(entry, 1)

    def visit(self, start: Address) -> None:
        """Walks down from one record, past what was reached before. What is gone since is passed over."""
        for ancestor in self._oldest_first(start):
            self._down(ancestor)
        self._down(start)

    def _oldest_first(self, start: Address) -> Iterator[Address]:
        """The unreached ancestors of a snapshot, so that no walk is as deep as its history is long."""
        find, line, met = self._storage.backend.find, bytearray(), Bitmap()
        waiting = [start]
        while waiting:
            address = waiting.pop()
            entry = find(address)
            if entry is None or entry.kind != SNAPSHOT or (entry.segment, entry.ordinal) in self.seen:
                continue
            if met.add(entry.segment, entry.ordinal) and not self._shallow(address):
                line += address
                waiting += decode_snapshot(self._storage.get_record(SNAPSHOT, address)).parents
        for end in range(len(line), ADDRESS_BYTES, -ADDRESS_BYTES):
            yield Address(bytes(line[end - ADDRESS_BYTES : end]))

    def _down(self, start: Address) -> None:
        find, distance = self._storage.backend.find, self.distance
        entry = find(start)
        if entry is None or not self._meet(entry):
            return
        stack = [self._step(start, entry)]
        while stack:
            step = stack[-1]
            for child in step.waiting:
                found = find(child)
                if found is None:
                    continue
                if self._meet(found):
                    stack.append(self._step(child, found))
                    break
                step.nearer(distance.get(found))
            else:
                stack.pop()
                self._leave(step)
                if stack:
                    stack[-1].nearer(distance.get(step.entry))

    def _meet(self, entry: IndexEntry) -> bool:
        """Whether a record is new here and leads further."""
        if not self.seen.add(entry.segment, entry.ordinal):
            return False
        self.bytes += entry.record_bytes
        return entry.kind not in (CHUNK, EVENT) or entry.base is not None

    def _step(self, address: Address, entry: IndexEntry) -> _Step:
        return _Step(address, entry, iter(references(self._storage, address, entry, self._shallow)))

    def _leave(self, step: _Step) -> None:
        if step.nearest and not self.distance.get(step.entry):
            self.distance.set(step.entry, step.nearest + 1)
        if self._keep_order:
            self.order += step.address

    def parents_first(self) -> Iterator[tuple[Address, IndexEntry]]:
        """All that refer to others, each before everything below it. What is gone since is left out."""
        find, order = self._storage.backend.find, self.order
        for end in range(len(order), 0, -ADDRESS_BYTES):
            address = Address(bytes(order[end - ADDRESS_BYTES : end]))
            entry = find(address)
            if entry is not None:
                yield address, entry


class _Step:
    """A record on the way down: what of it is not yet followed, and how near it came to the target."""

    __slots__ = ("address", "entry", "nearest", "waiting")

    def __init__(self, address: Address, entry: IndexEntry, waiting: Iterator[Address]) -> None:
        self.address = address
        self.entry = entry
        self.waiting = waiting
        self.nearest = 0

    def nearer(self, distance: int) -> None:
        if distance and (not self.nearest or distance < self.nearest):
            self.nearest = distance
