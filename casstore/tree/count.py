# SPDX-License-Identifier: MIT
"""Totals of a range of keys, from what inner nodes say of their children."""

from __future__ import annotations

from bisect import bisect_left

from casstore.format.node import Summary, chunk_summary
from casstore.tree.nodes import Nodes, Root
from casstore.tree.read import key_range, summary


def count(nodes: Nodes, root: Root, start: bytes = b"", stop: bytes | None = None, prefix: bytes = b"") -> Summary:
    """Number of entries and of regular files, and bytes of files and objects, in a range of keys.

    Args:
        nodes: Where the nodes are.
        root: The tree.
        start: First key that counts.
        stop: First key that no longer counts; None for the end.
        prefix: Only keys that begin with these bytes count.

    Raises:
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: two node reads per level, however many keys there are.
    """
    start, stop = key_range(start, stop, prefix)
    if root is None or (stop is not None and stop <= start):
        return Summary(0, 0, 0)
    entries, files, size = summary(nodes, root) if stop is None else _before(nodes, root, stop)
    less = _before(nodes, root, start)
    return Summary(entries - less.entries, files - less.files, size - less.bytes)


def _before(nodes: Nodes, root: Root, key: bytes) -> Summary:
    """The totals of all keys below ``key``."""
    entries = files = size = 0
    node = None if root is None or not key else nodes.get(root)
    while node is not None:
        keys, height = node.keys, node.height
        end = bisect_left(keys, key)
        for i in range(end):
            part = chunk_summary(height, keys[i], node.chunk(i))
            entries += part.entries
            files += part.files
            size += part.bytes
        node = nodes.child(node, end) if height and end < len(keys) else None
    return Summary(entries, files, size)
