# SPDX-License-Identifier: MIT
"""Objects by type: how many there are, their bytes, and how many of their contents are distinct.

Several states count as if each were a copy, yet what two states share is passed over: the figures of a state are those
of the one before it, with what differs. Distinct contents are told by their hashes, of which a bounded number is kept:
where a type has more, only those hashes count that end in enough zero bits (its number is then an estimate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from casstore.address import content_address
from casstore.codecs.documents import HEADER, document_type
from casstore.codecs.members import is_members
from casstore.errors import InvalidInputError
from casstore.format.entry import OBJECT, SNAPSHOT, Entry
from casstore.tree import Nodes, Root, diff

MAX_SAMPLES: Final = 262_144
"""Hashes that are kept of all types together: about 30 MB; a type that has all of them is off by 0.2 % on average."""
MAX_TYPES: Final = 4096
"""Types that are told apart; further ones are counted together."""
OTHER: Final = "other types"
SNAPSHOT_TYPE: Final = "snapshot"
"""What links to snapshots are counted as; they have no bytes."""
DOCUMENT_TYPE: Final = "document"
"""What headers of documents are counted as, with the class's name: ``document:Agent``. Fields count by their types."""
_HEADER: Final = b"/" + HEADER.encode()

TypeKey = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFigures:
    """The objects of one type and version.

    Attributes:
        type_id: The type's name on disk; ``"snapshot"`` with version 0 for links to snapshots; ``"document:NAME"`` with
            the version of the class for documents, whose fields count by their own types.
        version: Of the encoding.
        count: Objects, in all states together.
        bytes: Of their contents, as copies.
        distinct: Distinct contents; a marker of ``Members`` and a link have none.
        distinct_bytes: Of these.
        exact: Whether the two numbers before are exact; otherwise they are estimates.
        share: Of the bytes of all types, from 0 to 1.
    """

    type_id: str
    version: int
    count: int
    bytes: int
    distinct: int
    distinct_bytes: int
    exact: bool
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStats:
    """The objects of some states by type, those with the most bytes first.

    Attributes:
        states: How many states were counted.
        count: Objects of all types.
        bytes: Of their contents, as copies.
        types: The types.
    """

    states: int
    count: int
    bytes: int
    types: tuple[TypeFigures, ...]


class _Type:
    """Figures of one type while they are gathered."""

    __slots__ = ("bytes", "count", "samples", "zeros")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        # Of the hashes that end in `zeros` zero bits: hash → size of the content.
        self.samples: dict[int, int] = {}
        self.zeros = 0

    def add(self, mark: int, size: int) -> bool:
        """Takes a hash; whether it is kept now and was not before."""
        if mark & ((1 << self.zeros) - 1) or mark in self.samples:
            return False
        self.samples[mark] = size
        return True

    def halve(self) -> None:
        """Keeps every second hash, by chance."""
        self.zeros += 1
        mask = (1 << self.zeros) - 1
        self.samples = {mark: size for mark, size in self.samples.items() if not mark & mask}


def gather_type_stats(
    nodes: Nodes,
    roots: Iterable[Root],
    *,
    max_samples: int = MAX_SAMPLES,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> TypeStats:
    """The objects of some states by type.

    Args:
        nodes: Where the nodes are.
        roots: The ``objects`` tree of each state; None is an empty one.
        max_samples: Hashes that are kept, from 1.
        progress: Called with a phase and how many entries were seen.

    Raises:
        InvalidInputError: ``max_samples`` is no such number.
        CorruptionError: A node is damaged or missing.

    *Cost*: one pass over the first state, and what differs of each later one from that before it; memory does not grow
    with either. No content is read.
    """
    if max_samples < 1:
        raise InvalidInputError(f"max_samples is {max_samples!r}; keep one at least.")
    gathering = _Gathering(max_samples)
    states = seen = 0
    before: Root = None
    for root in roots:
        states += 1
        for change in diff(nodes, before, root):
            if change.old is not None:
                gathering.count(change.key, change.old, -1)
            if change.new is not None:
                gathering.count(change.key, change.new, 1)
                gathering.sample(change.key, change.new)
            seen += 1
            if progress is not None:
                progress("counting", seen, None)
        gathering.close_state()
        before = root
    return gathering.result(states)


class _Gathering:
    __slots__ = ("_left", "_state", "_types")

    def __init__(self, max_samples: int) -> None:
        self._left = max_samples
        self._types: dict[TypeKey, _Type] = {}
        # Of the state that was read last: objects and bytes.
        self._state: dict[TypeKey, list[int]] = {}

    def _key(self, name: bytes, entry: Entry) -> TypeKey:
        key = (SNAPSHOT_TYPE, 0) if entry.kind == SNAPSHOT else (entry.type_id, entry.type_version)
        if entry.kind == OBJECT and name.endswith(_HEADER):
            found = document_type(entry)
            key = (f"{DOCUMENT_TYPE}:{found.name}" if found.name else DOCUMENT_TYPE, found.version)
        if entry.kind not in (OBJECT, SNAPSHOT):
            key = (OTHER, 0)
        return key if key in self._types or len(self._types) < MAX_TYPES else (OTHER, 0)

    def _type(self, key: TypeKey) -> _Type:
        found = self._types.get(key)
        if found is None:
            found = self._types[key] = _Type()
        return found

    def count(self, name: bytes, entry: Entry, sign: int) -> None:
        key = self._key(name, entry)
        self._type(key)
        state = self._state.setdefault(key, [0, 0])
        state[0] += sign
        state[1] += sign * entry.size

    def sample(self, name: bytes, entry: Entry) -> None:
        if entry.kind != OBJECT or is_members(entry):
            return
        address = content_address(entry.inline or b"") if entry.address is None else entry.address
        if not self._type(self._key(name, entry)).add(int.from_bytes(address[-8:], "big"), entry.size):
            return
        self._left -= 1
        while self._left < 0:
            # The type that has the most can best do with fewer, and stays the most exact of the estimated ones.
            largest = max(self._types.values(), key=lambda found: len(found.samples))
            before = len(largest.samples)
            largest.halve()
            self._left += before - len(largest.samples)

    def close_state(self) -> None:
        for key, (count, size) in self._state.items():
            found = self._types[key]
            found.count += count
            found.bytes += size

    def result(self, states: int) -> TypeStats:
        total = sum(found.bytes for found in self._types.values())
        types = [
            TypeFigures(
                type_id=type_id,
                version=version,
                count=found.count,
                bytes=found.bytes,
                distinct=len(found.samples) << found.zeros,
                distinct_bytes=sum(found.samples.values()) << found.zeros,
                exact=not found.zeros,
                share=found.bytes / total if total else 0.0,
            )
            for (type_id, version), found in self._types.items()
            if found.count
        ]
        types.sort(key=lambda figures: (-figures.bytes, -figures.count, figures.type_id, figures.version))
        return TypeStats(
            states=states, count=sum(figures.count for figures in types), bytes=total, types=tuple(types)
        )  # fmt: skip
