# SPDX-License-Identifier: MIT
"""Reads a tree: one key, a range, its totals, all its nodes.

Every function takes the root; None is the empty map.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from casstore.address import Address
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.entry import SNAPSHOT, Entry
from casstore.format.node import Node, Summary
from casstore.tree.nodes import Nodes, Root, check_child


def lookup(nodes: Nodes, root: Root, key: bytes) -> Entry | None:
    """The entry of ``key``, or None.

    Raises:
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: one node read per level, of which a store of a million keys has four.
    """
    if root is None:
        return None
    node = nodes.get(root)
    while node.height:
        i = bisect_left(node.keys, key)
        if i == len(node.keys):
            return None
        node = nodes.child(node, i)
    keys = node.keys
    i = bisect_left(keys, key)
    if i < len(keys) and keys[i] == key:
        return node.entry(i)
    return None


def contents_of(nodes: Nodes, root: Root) -> Callable[[bytes], Address | None]:
    """Looks up which content a key has in a tree: None where it has none, or where the tree cannot be read.

    For hints only: whoever needs the content needs to know why it is not there.
    """

    def content(key: bytes) -> Address | None:
        try:
            entry = lookup(nodes, root, key)
        except (CorruptionError, NotFoundError):
            return None
        return None if entry is None or entry.kind == SNAPSHOT else entry.address

    return content


def scan(
    nodes: Nodes, root: Root, start: bytes = b"", stop: bytes | None = None, prefix: bytes = b""
) -> Iterator[tuple[bytes, Entry]]:
    """Keys and entries in key order.

    Args:
        nodes: Where the nodes are.
        root: The tree.
        start: First key wanted, or where it would be.
        stop: First key no longer wanted; None for the end.
        prefix: Only keys that begin with these bytes (``b"src/"`` for what is below ``src``).

    Raises:
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: one node read per level to find the first key, then one per node passed.
    """
    start, stop = key_range(start, stop, prefix)
    if root is None or (stop is not None and stop <= start):
        return
    for leaf in _leaves(nodes, nodes.get(root), start):
        keys = leaf.keys
        first = bisect_left(keys, start) if keys[0] < start else 0
        end = len(keys) if stop is None or keys[-1] < stop else bisect_left(keys, stop)
        entry = leaf.entry
        for i in range(first, end):
            yield keys[i], entry(i)
        if end < len(keys):
            return


def first_key(nodes: Nodes, root: Root, start: bytes = b"") -> bytes | None:
    """The smallest key that is not below ``start``, or None. Cost and errors: those of ``lookup``."""
    if root is None:
        return None
    node = nodes.get(root)
    if node.keys[-1] < start:
        return None
    while node.height:
        node = nodes.child(node, bisect_left(node.keys, start))
    return node.keys[bisect_left(node.keys, start)]


def summary(nodes: Nodes, root: Root) -> Summary:
    """Number of entries and of regular files, and bytes of files and objects. Reads the root only."""
    return Summary(0, 0, 0) if root is None else nodes.get(root).summary


def walk_nodes(
    nodes: Nodes, root: Root, skip: Callable[[Address], bool] | None = None
) -> Iterator[tuple[Address, Node]]:
    """Every node of a tree with its address, parents before children, in key order.

    Args:
        nodes: Where the nodes are; the cache is left alone.
        root: The tree.
        skip: Called with an address before its node is read; True leaves out the node and all below it.

    Raises:
        NotFoundError: A node is missing (``address`` names it).
        CorruptionError: A node is damaged.

    Cost: one read per node that is not skipped; memory for the addresses of one node per level.
    """
    if root is None or (skip is not None and skip(root)):
        return
    node = nodes.read(root)
    yield root, node
    path = [(node, iter(range(len(node.children))))]
    while path:
        parent, rest = path[-1]
        for i in rest:
            address = parent.children[i]
            if skip is not None and skip(address):
                continue
            child = nodes.read(address)
            check_child(parent, i, child)
            yield address, child
            if child.height:
                path.append((child, iter(range(len(child.children)))))
                break
        else:
            path.pop()


def _leaves(nodes: Nodes, node: Node, start: bytes) -> Iterator[Node]:
    """Leaves from the one where ``start`` is or would be."""
    if not node.height:
        yield node
        return
    path = [(node, bisect_left(node.keys, start))]
    while path:
        node, i = path.pop()
        if i == len(node.keys):
            continue
        child = nodes.child(node, i)
        path.append((node, i + 1))
        if child.height:
            path.append((child, bisect_left(child.keys, start)))
        else:
            yield child


def key_range(start: bytes, stop: bytes | None, prefix: bytes) -> tuple[bytes, bytes | None]:
    """The first key and the first key after, None being the end, of what begins with ``prefix`` in a range of keys."""
    stem = prefix.rstrip(b"\xff")
    if stem:
        # The smallest key above every key with this prefix.
        after = stem[:-1] + bytes((stem[-1] + 1,))
        stop = after if stop is None else min(stop, after)
    return max(start, prefix), stop
