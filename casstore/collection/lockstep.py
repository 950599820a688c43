# SPDX-License-Identifier: MIT
"""Walking a tree beside another one: where in the base is what lies below a node?

Boundaries depend on keys alone, so what two trees share lies in equal nodes under ancestors that cover the same keys.
Whoever goes down both at once meets every shared subtree at its top, and never reads it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from casstore.format.node import Node
from casstore.tree import Nodes


def bases_below(nodes: Nodes, bases: Sequence[Node], height: int, after: bytes | None, last: bytes) -> list[Node]:
    """The nodes of ``bases`` to compare with a node of ``height`` that holds the keys behind ``after`` up to ``last``.

    Those that hold the first and the last of these keys; a base that is lower yet is kept as it is. What lies between
    is left out, so a comparison may miss something that is shared, never the other way round.

    Raises:
        NotFoundError: A node of a base is missing.
        CorruptionError: A node of a base is damaged.

    Cost: at most two reads per base and level.
    """
    found: dict[int, Node] = {}
    for base in bases:
        if base.height <= height:
            found[id(base)] = base
            continue
        for first in (True, False):
            node: Node | None = base
            while node is not None and node.height > height:
                node = _child(nodes, node, after, last, first)
            if node is not None:
                found[id(node)] = node
    return list(found.values())


def _child(nodes: Nodes, node: Node, after: bytes | None, last: bytes, first: bool) -> Node | None:
    keys = node.keys
    if first:
        i = 0 if after is None else bisect_right(keys, after)
    else:
        i = min(bisect_left(keys, last), len(keys) - 1)
    if i == len(keys) or (i and keys[i - 1] >= last) or (after is not None and keys[i] <= after):
        return None
    return nodes.child(node, i)
