# SPDX-License-Identifier: MIT
"""Checks a whole tree: that it is the one tree of its content, and that its counts are true.

Reading checks each node by itself. Here is what only several nodes together can tell: boundaries, counts, order from
one node to the next, and that no path is both a directory and an entry.
"""

from __future__ import annotations

from typing import NamedTuple

from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.key import tree_problem
from casstore.format.node import Node, Summary, check_node
from casstore.tree.nodes import Nodes, Root
from casstore.tree.read import first_key, lookup


class Sound(NamedTuple):
    """A subtree that was found sound."""

    first: bytes
    last: bytes
    height: int
    summary: Summary


Checked = dict[tuple[Address, bool], Sound]
"""Subtrees found sound, and whether their keys were checked as a directory tree's."""


def check_tree(nodes: Nodes, root: Root, *, tree: bool = False, checked: Checked | None = None) -> None:
    """Returns if the tree at ``root`` is sound.

    Args:
        nodes: Where the nodes are.
        root: The tree.
        tree: Its keys are paths of a directory tree: no key is a path prefix of another.
        checked: Pass the same dict for several trees, so that what they share is checked once.

    Raises:
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged or not the one that ``build`` makes; ``address`` names it.

    Cost: one read per node and one BLAKE3 per key of what is not in ``checked``, which grows by one item per node.
    """
    if root is None:
        return
    sound = _Check(nodes, root, tree, {} if checked is None else checked).subtree(root)
    if sound.height and len(nodes.get(root).keys) == 1:
        raise CorruptionError(
            f"the root {root.hex()} has a single child, which should be the root; run `casstore verify`.", address=root
        )


class _Check:
    __slots__ = ("_checked", "_nodes", "_root", "_tree")

    def __init__(self, nodes: Nodes, root: Address, tree: bool, checked: Checked) -> None:
        self._nodes = nodes
        self._root = root
        self._tree = tree
        self._checked = checked

    def subtree(self, address: Address, height: int | None = None) -> Sound:
        """What is at ``address``, if it is sound. ``height`` is what it must have, which bounds the recursion.

        The last key of a node may be no boundary only where nothing follows. So it is checked where something does: as
        an inner key of an ancestor, by ``check_node``.
        """
        known = self._checked.get((address, self._tree))
        if known is not None:
            return known
        node = self._nodes.read(address)
        try:
            if height is not None and node.height != height:
                raise CorruptionError("a tree node has another height than its parent says; run `casstore verify`.")
            check_node(node)
            first = self._children(node) if node.height else self._leaf(node)
        except CorruptionError as error:
            if error.address is None:
                error.address = address
            raise
        sound = Sound(first, node.keys[-1], node.height, node.summary)
        self._checked[address, self._tree] = sound
        return sound

    def _leaf(self, node: Node) -> bytes:
        if self._tree:
            problem = tree_problem(node.keys, [])
            if problem:
                raise CorruptionError(f"a directory tree is damaged: {problem}; run `casstore verify`.")
        return node.keys[0]

    def _children(self, node: Node) -> bytes:
        first = b""
        for i, address in enumerate(node.children):
            child = self.subtree(address, node.height - 1)
            if child.height != node.height - 1 or child.last != node.keys[i]:
                raise CorruptionError("a tree node misnames a child's last key or height; run `casstore verify`.")
            if child.summary != node.child_summary(i):
                raise CorruptionError("a tree node counts a child's entries wrongly; run `casstore verify`.")
            if i == 0:
                first = child.first
            elif child.first <= node.keys[i - 1]:
                raise CorruptionError("neighbouring tree nodes overlap; run `casstore verify`.")
            elif self._tree:
                self._gap(node.keys[i - 1], child.first)
        return first

    def _gap(self, before: bytes, after: bytes) -> None:
        """Checks that no key up to ``before`` is a path prefix of one from ``after`` on.

        Such a key, `a` with `a/b` after the gap, is a prefix of all keys between, so of both ``before`` and ``after``;
        and ``after`` is at most `a/b`, so its next byte is at most `/`.
        """
        for at, byte in enumerate(after):
            if at and byte <= 47:
                key = after[:at]
                below = first_key(self._nodes, self._root, key + b"/")
                if below is not None and below.startswith(key + b"/") and lookup(self._nodes, self._root, key):
                    raise CorruptionError(
                        f"a directory tree is damaged: {key!r} is beside {below!r}; run `casstore verify`."
                    )
            if at == len(before) or before[at] != byte:
                return
