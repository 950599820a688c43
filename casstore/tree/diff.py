# SPDX-License-Identifier: MIT
"""What differs between two trees, without reading what they share.

Two cursors move through both trees in key order. Where both stand before equal entries of equal height (an inner entry
names its subtree's address) the entries are passed over together; where heights differ, the higher one goes down.
Boundaries depend on keys alone, so after a difference both trees soon have the same nodes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from casstore.format.entry import Entry
from casstore.format.node import Node
from casstore.tree.nodes import Nodes, Root
from casstore.tree.read import scan


class Change(NamedTuple):
    """One key that differs: ``old`` is None where it was added, ``new`` where it was removed."""

    key: bytes
    old: Entry | None
    new: Entry | None


def diff(nodes: Nodes, a: Root, b: Root) -> Iterator[Change]:
    """The changes that lead from ``a`` to ``b``, in key order.

    Raises:
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: O(changes · log n) node reads; none when ``a == b``. Memory: one node per level of each tree.
    """
    if a == b:
        return
    if a is None:
        for key, entry in scan(nodes, b):
            yield Change(key, None, entry)
        return
    if b is None:
        for key, entry in scan(nodes, a):
            yield Change(key, entry, None)
        return
    left, right = _Cursor(nodes, nodes.get(a)), _Cursor(nodes, nodes.get(b))
    while left.path and right.path:
        old, i = left.path[-1]
        new, j = right.path[-1]
        if old.height > new.height:
            left.descend()
        elif old.height < new.height:
            right.descend()
        elif same := _same_run(old, i, new, j):
            left.advance(same)
            right.advance(same)
        elif old.height:
            left.descend()  # the right one follows, being higher then
        elif old.keys[i] == new.keys[j]:
            yield Change(old.keys[i], old.entry(i), new.entry(j))
            left.advance(1)
            right.advance(1)
        elif old.keys[i] < new.keys[j]:
            yield Change(old.keys[i], old.entry(i), None)
            left.advance(1)
        else:
            yield Change(new.keys[j], None, new.entry(j))
            right.advance(1)
    for key, entry in left.rest():
        yield Change(key, entry, None)
    for key, entry in right.rest():
        yield Change(key, None, entry)


class _Cursor:
    """A place in a tree: the nodes from the root down, each with the number of its next entry."""

    __slots__ = ("nodes", "path")

    def __init__(self, nodes: Nodes, root: Node) -> None:
        self.nodes = nodes
        self.path = [(root, 0)]

    def advance(self, count: int) -> None:
        """Passes over ``count`` entries of the lowest node, and leaves the nodes that end there."""
        node, i = self.path[-1]
        i += count
        if i < len(node.keys):
            self.path[-1] = (node, i)
            return
        path = self.path
        path.pop()
        while path and path[-1][1] == len(path[-1][0].keys):
            path.pop()

    def descend(self) -> None:
        """Goes into the next child. Its parent's place is already the one after it."""
        node, i = self.path[-1]
        self.path[-1] = (node, i + 1)
        self.path.append((self.nodes.child(node, i), 0))

    def rest(self) -> Iterator[tuple[bytes, Entry]]:
        """Every entry from here on."""
        while self.path:
            node, i = self.path[-1]
            if node.height:
                self.descend()
                continue
            for at in range(i, len(node.keys)):
                yield node.keys[at], node.entry(at)
            self.advance(len(node.keys) - i)


def _same_run(a: Node, i: int, b: Node, j: int) -> int:
    """How many entries from ``a``'s ``i`` on equal those from ``b``'s ``j`` on.

    A search by halves over the encoded bytes, so the entries themselves are not compared in Python.
    """
    a_offsets, b_offsets = a.offsets, b.offsets
    a_start, b_start = a_offsets[i], b_offsets[j]
    same, limit = 0, min(len(a.keys) - i, len(b.keys) - j)
    step, failed = 1, False  # the first entries differ more often than not: try them first
    while same < limit:
        end = min(same + step, limit)
        a_end, b_end = a_offsets[i + end], b_offsets[j + end]
        # Equal bytes of equally many entries are equal entries: an encoding is no prefix of another.
        if a.raw[a_start:a_end] == b.raw[b_start:b_end]:
            same, a_start, b_start = end, a_end, b_end
        else:
            limit, failed = end - 1, True
        step = (limit - same + 1) // 2 if failed else step * 8
    return same
