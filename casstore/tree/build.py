# SPDX-License-Identifier: MIT
"""Builds a tree from sorted keys in one pass, bottom up.

Invariant: in memory are one batch of entries and, per level, the one node that is still growing. A full node is written
only when another entry follows it on its level, so a level's only node is known to be the root and nothing is written
above it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from blake3 import blake3

from casstore.address import Address
from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.entry import EXECUTABLE, OBJECT, Entry, decode_entry, encode_entry
from casstore.format.key import BOUNDARY_LIMIT, key_level, keys_problem, tree_problem
from casstore.format.node import MAX_NODE_ENTRIES, Summary, encode_child, encode_node, join_key
from casstore.tree.nodes import Nodes, Root

_BATCH: Final = 2048


def build(nodes: Nodes, items: Iterable[tuple[bytes, Entry | bytes]], *, tree: bool = False) -> Root:
    """The root of the tree that holds ``items``.

    Args:
        nodes: Where the nodes go.
        items: Keys in strictly ascending order, each with its entry or an ``encode_entry`` of one. May be a generator.
        tree: The keys are paths of a directory tree: refuse a key that is a path prefix of another.

    Raises:
        InvalidInputError: A key or an entry cannot be stored, or keys are out of order. Nodes already written stay as
            garbage.

    Cost: O(n), about 2 µs per key; memory for some thousand entries.
    """
    levels = Levels(nodes)
    opened: list[bytes] = []
    last: list[bytes] = []
    source = iter(items)
    while batch := list(islice(source, _BATCH)):
        keys = [key for key, _ in batch]
        problem = keys_problem(last + keys) or (tree_problem(keys, opened) if tree else None)
        if problem:
            raise InvalidInputError(
                f"these keys cannot be stored: {problem}; they lie between {keys[0]!r} and {keys[-1]!r}."
            )
        last = keys[-1:]
        levels.add_entries(keys, [value if type(value) is Entry else checked_entry(value) for _, value in batch])
    return levels.finish()


def checked_entry(value: Entry | bytes) -> Entry:
    """``value`` as an entry.

    Raises:
        InvalidInputError: It is encoded, and not well.
    """
    if isinstance(value, Entry):
        return value
    try:
        return decode_entry(value)
    except CorruptionError as error:
        raise InvalidInputError(f"this is not an encoded entry: {error}") from error


class _Level:
    """The growing node of one level."""

    __slots__ = ("chunks", "keys", "summaries", "written")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.chunks: list[bytes] = []
        self.summaries: list[Summary] = []
        self.written = 0


class Levels:
    """The levels of a tree under construction, from height ``first`` upwards."""

    __slots__ = ("_files", "_first", "_inner", "_leaf_chunks", "_leaf_keys", "_leaves_written", "_nodes", "_sizes")

    def __init__(self, nodes: Nodes, first: int = 0) -> None:
        self._nodes = nodes
        self._first = first
        self._inner: list[_Level] = []
        self._leaf_keys: list[bytes] = []
        self._leaf_chunks: list[bytes] = []
        self._sizes: list[int] = []
        self._files: list[int] = []
        self._leaves_written = 0

    def add_entries(self, keys: list[bytes], entries: list[Entry]) -> None:
        """Adds leaf entries, in order, of which the keys are valid."""
        start = len(self._leaf_keys)
        self._leaf_chunks += [join_key(key, encode_entry(entry)) for key, entry in zip(keys, entries)]
        self._leaf_keys += keys
        self._sizes += [entry[1] if (kind := entry[0]) <= EXECUTABLE or kind == OBJECT else 0 for entry in entries]
        self._files += [entry[0] <= EXECUTABLE for entry in entries]
        # The last entry of a batch never closes its node here: it may be the last of all.
        ends = [at for at, key in enumerate(keys, start + 1) if blake3(key).digest()[0] < BOUNDARY_LIMIT]
        if start and key_level(self._leaf_keys[start - 1]):
            ends.insert(0, start)
        if ends and ends[-1] == len(self._leaf_keys):
            ends.pop()
        begin = 0
        for end in ends:
            self._write_leaf(begin, end)
            begin = end
        if begin:
            del self._leaf_keys[:begin], self._leaf_chunks[:begin], self._sizes[:begin], self._files[:begin]
        if len(self._leaf_keys) > MAX_NODE_ENTRIES:
            encode_node(0, self._leaf_chunks)  # raises, with the reason

    def add_child(self, height: int, key: bytes, chunk: bytes, summary: Summary) -> None:
        """Adds an entry to the growing node of ``height`` (``first`` or above)."""
        index = height - max(self._first, 1)
        if index == len(self._inner):
            self._inner.append(_Level())
        level = self._inner[index]
        if level.keys and key_level(level.keys[-1]) > height:
            self._write_inner(height, level)
        level.keys.append(key)
        level.chunks.append(chunk)
        level.summaries.append(summary)
        if len(level.keys) > MAX_NODE_ENTRIES:
            encode_node(height, level.chunks)  # raises, with the reason

    def finish(self) -> Root:
        """The root of everything added."""
        if self._leaf_keys:
            if not self._leaves_written:
                return self._nodes.put(encode_node(0, self._leaf_chunks))
            self._write_leaf(0, len(self._leaf_keys))
        height = max(self._first, 1)
        for level in self._inner:  # grows while it is walked
            if not level.written:
                return self._nodes.put(encode_node(height, level.chunks))
            self._write_inner(height, level)
            height += 1
        return None

    def _write_leaf(self, begin: int, end: int) -> None:
        address = self._nodes.put(encode_node(0, self._leaf_chunks[begin:end]))
        self._leaves_written += 1
        key = self._leaf_keys[end - 1]
        summary = Summary(end - begin, sum(self._files[begin:end]), sum(self._sizes[begin:end]))
        self.add_child(1, key, encode_child(key, address, summary), summary)

    def _write_inner(self, height: int, level: _Level) -> None:
        address: Address = self._nodes.put(encode_node(height, level.chunks))
        level.written += 1
        key = level.keys[-1]
        entries, files, sizes = zip(*level.summaries)
        summary = Summary(sum(entries), sum(files), sum(sizes))
        level.keys, level.chunks, level.summaries = [], [], []
        self.add_child(height + 1, key, encode_child(key, address, summary), summary)
