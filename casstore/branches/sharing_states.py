# SPDX-License-Identifier: MIT
"""What states on disk share: bytes as each state refers to them, against bytes that are stored once.

Equal contents have one address, so a store holds them once whoever put them; this says how much that saves, and who
shares with whom. Each tree node is read once, however many states have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

from casstore.address import Address
from casstore.format.entry import SNAPSHOT
from casstore.format.kinds import CHUNK_LIST
from casstore.format.snapshot import STATE_ROOTS

if TYPE_CHECKING:
    from casstore.snapshots import Snapshot
    from casstore.storage import Storage
    from casstore.tree import Nodes

MAX_PAIRED: Final = 12
"""Pairs are compared of so many states at the most, which makes 66."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSharing:
    """One state; contents are those of more than 127 bytes, as shorter ones stand in the nodes of trees.

    Attributes:
        name: What the state was called.
        id: Id of its snapshot, 32 bytes.
        values: Keys with a content.
        bytes: Their bytes; a content under two keys counts twice.
        distinct_bytes: Bytes of its chunks, each once.
        unique_bytes: Bytes of chunks that no other of the states has.
    """

    name: str
    id: Address
    values: int
    bytes: int
    distinct_bytes: int
    unique_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSharing:
    """Bytes of the chunks that two states both have, each once."""

    first: str
    second: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesSharing:
    """What some states share.

    Attributes:
        states: Each of them, in the order they were given.
        pairs: Two by two, those that share most first; empty for more than 12 states.
        contents: Different contents.
        bytes: Bytes as the states refer to them, all states together.
        content_bytes: Bytes of the contents, each once.
        distinct_bytes: Bytes of their chunks, each once: contents that are equal in part share chunks.
        stored_bytes: The same as stored: compressed, and without headers.
    """

    states: tuple[StateSharing, ...]
    pairs: tuple[PairSharing, ...]
    contents: int
    bytes: int
    content_bytes: int
    distinct_bytes: int
    stored_bytes: int

    @property
    def saved_bytes(self) -> int:
        """What storing everything once saves, before compression."""
        return self.bytes - self.distinct_bytes


class _Sets:
    """Which states have an address, as an int with a bit for each; one object for each set, as there are few."""

    __slots__ = ("_sets", "of")

    def __init__(self) -> None:
        self._sets: dict[int, int] = {}
        self.of: dict[Address, int] = {}

    def add(self, address: Address, states: int) -> bool:
        """Whether that was not known of the address yet."""
        known = self.of.get(address, 0)
        both = known | states
        if both != known:
            self.of[address] = self._sets.setdefault(both, both)
        return both != known


def compare_states(storage: Storage, nodes: Nodes, states: Mapping[str, Snapshot]) -> StatesSharing:
    """What states share with each other; changes nothing. Snapshots that entries link are not followed.

    Args:
        storage: The store's.
        nodes: The store's.
        states: Snapshots by what to call them.

    Raises:
        NotFoundError: A node or a content is missing.
        CorruptionError: A node is damaged.

    *Cost*: one read for each distinct node and a look-up for each distinct chunk; about 300 bytes of memory for each
    distinct content.
    """
    contents = _Sets()
    content_bytes = 0
    values, sizes = [0] * len(states), [0] * len(states)
    members: dict[int, list[int]] = {}
    for leaf, mask in _leaves(nodes, list(states.values())):
        for address, size in leaf:
            if address not in contents.of:
                content_bytes += size
            contents.add(address, mask)
        if mask not in members:
            members[mask] = [at for at in range(len(states)) if mask >> at & 1]
        for at in members[mask]:
            values[at] += len(leaf)
            sizes[at] += sum(size for _, size in leaf)
    by_set, stored_bytes = _chunks(storage, contents.of)
    names = list(states)
    pairs = []
    if len(names) <= MAX_PAIRED:
        for one, two in combinations(range(len(names)), 2):
            wanted = 1 << one | 1 << two
            common = sum(size for mask, size in by_set.items() if mask & wanted == wanted)
            pairs.append(PairSharing(first=names[one], second=names[two], bytes=common))
        pairs.sort(key=lambda pair: -pair.bytes)
    distinct = [0] * len(states)
    for mask, size in by_set.items():
        for at in range(len(states)):
            distinct[at] += size if mask >> at & 1 else 0
    return StatesSharing(
        states=tuple(
            StateSharing(
                name=name,
                id=snapshot.id,
                values=values[at],
                bytes=sizes[at],
                distinct_bytes=distinct[at],
                unique_bytes=by_set.get(1 << at, 0),
            )
            for at, (name, snapshot) in enumerate(states.items())
        ),
        pairs=tuple(pairs),
        contents=len(contents.of),
        bytes=sum(sizes),
        content_bytes=content_bytes,
        distinct_bytes=sum(by_set.values()),
        stored_bytes=stored_bytes,
    )


def _leaves(nodes: Nodes, snapshots: list[Snapshot]) -> Iterator[tuple[list[tuple[Address, int]], int]]:
    """Contents and sizes of each distinct leaf, and which states have it."""
    for root in STATE_ROOTS:
        # From the top down, level by level: when a node's turn comes, all that have it are known.
        levels: dict[int, dict[Address, int]] = {}
        for at, snapshot in enumerate(snapshots):
            address = snapshot.roots.get(root)
            if address is not None:
                level = levels.setdefault(nodes.get(address).height, {})
                level[address] = level.get(address, 0) | 1 << at
        for height in range(max(levels, default=-1), -1, -1):
            below = levels.setdefault(height - 1, {})
            for address, mask in levels.pop(height, {}).items():
                node = nodes.read(address)
                for child in node.children:
                    below[child] = below.get(child, 0) | mask
                if not height:
                    entries = map(node.entry, range(len(node.keys)))
                    found = ((entry.address, entry.size) for entry in entries if entry.kind != SNAPSHOT)
                    yield [(one, size) for one, size in found if one is not None], mask


def _chunks(storage: Storage, contents: Mapping[Address, int]) -> tuple[dict[int, int], int]:
    """Bytes of the chunks that each set of states has, and bytes of all of them as stored."""
    pieces = _Sets()
    raw_bytes: dict[Address, int] = {}
    stored_bytes = 0
    for content, states in contents.items():
        waiting = [content]
        while waiting:
            address = waiting.pop()
            if not pieces.add(address, states) or address in raw_bytes:
                continue
            record = storage.locate(address)
            if record.kind == CHUNK_LIST:
                below = storage.chunk_list(address)
                waiting += [] if below is None else [piece for piece, _ in below.pieces]
            else:
                raw_bytes[address] = record.raw_bytes
                stored_bytes += record.stored_bytes
    by_set: dict[int, int] = {}
    for address, size in raw_bytes.items():
        mask = pieces.of[address]
        by_set[mask] = by_set.get(mask, 0) + size
    return by_set, stored_bytes
