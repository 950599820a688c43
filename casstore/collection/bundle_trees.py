# SPDX-License-Identifier: MIT
"""Checks the trees of received snapshots: each is the one tree of its content, and all it refers to is there.

What ``tree.check_tree`` and a look at every reference would tell, at the cost of what is new: a subtree that the
parent snapshot of this store has at the same place is known to be sound, and is not read. Nothing else is taken on
trust, also not nodes that are in the store already: a collection that was killed may have left some without what they
refer to, but never a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from casstore.address import Address
from casstore.collection.lockstep import bases_below
from casstore.errors import CasstoreError, CorruptionError
from casstore.format.entry import SNAPSHOT
from casstore.format.key import tree_problem
from casstore.format.kinds import NODE
from casstore.format.kinds import SNAPSHOT as SNAPSHOT_RECORD
from casstore.format.node import Node, check_node
from casstore.tree import Nodes, Root, first_key, lookup

_MAX_CLEAR = 100_000


class ReceivedTrees:
    """Checks trees one after the other; what they share is checked once.

    Args:
        nodes: The received nodes, and those of the store.
        received: Addresses of what was received.
        rely: Called with a kind and an address; returns if such a record is there to stay, else raises.
        content: Called with an address and a size in bytes; the same for a content of that size.
    """

    __slots__ = ("_clear", "_content", "_nodes", "_received", "_rely", "_root", "_sound", "_tree")

    def __init__(
        self,
        nodes: Nodes,
        received: Container[Address],
        rely: Callable[[int, Address], None],
        content: Callable[[Address, int], None],
    ) -> None:
        self._nodes = nodes
        self._received = received
        self._rely = rely
        self._content = content
        self._sound: dict[bool, set[Address]] = {False: set(), True: set()}
        self._clear: set[bytes] = set()
        self._root: Address | None = None
        self._tree = False

    def check(self, root: Address, base: Root, *, tree: bool) -> None:
        """Returns if the tree at ``root`` is sound and whole.

        Args:
            root: The tree.
            base: A tree of the same sort that is sound and whole, to compare with; None where there is none.
            tree: Its keys are paths of a directory tree.

        Raises:
            CorruptionError: Something is wrong, or missing; ``address`` names it.

        *Cost*: one read per node that is not in ``base``, one BLAKE3 per key of it, and at most two reads in ``base``.
        Memory: an address per node read.
        """
        if root == base and root not in self._received:
            return
        self._root, self._tree = root, tree
        self._clear.clear()
        bases = [] if base is None else [self._nodes.get(base)]
        node = self._subtree(root, None, bases, None)
        if node.height and len(node.keys) == 1:
            raise CorruptionError(f"the root {root.hex()} has a single child, which should be the root.", address=root)

    def _subtree(self, address: Address, height: int | None, bases: Sequence[Node], after: bytes | None) -> Node:
        """The node at ``address``, if all below it is sound; ``height`` is what it must have, and bounds recursion."""
        self._rely(NODE, address)
        node = self._nodes.get(address)
        sound = self._sound[self._tree]
        if height is not None and node.height != height:
            raise CorruptionError("a tree node has another height than its parent says.", address=address)
        if address in sound:
            return node
        try:
            check_node(node)
            if node.height:
                self._children(node, bases, after)
            else:
                self._leaf(node, bases)
        except CasstoreError as error:
            if error.address is None:
                error.address = address
            raise
        sound.add(address)
        return node

    def _children(self, node: Node, bases: Sequence[Node], after: bytes | None) -> None:
        height, keys = node.height, node.keys
        places = {
            child: (base, at) for base in bases if base.height == height for at, child in enumerate(base.children)
        }
        trusted = False
        for i, child in enumerate(node.children):
            place = places.get(child)
            if place is not None and child not in self._received:
                base, at = place
                if node.chunk(i) != base.chunk(at):
                    raise CorruptionError("a tree node misnames a child's last key, or counts its entries wrongly.")
            else:
                place = None
                below = bases_below(self._nodes, bases, height - 1, after, keys[i])
                found = self._subtree(child, height - 1, below, after)
                if found.keys[-1] != keys[i]:
                    raise CorruptionError("a tree node misnames a child's last key.")
                if found.summary != node.child_summary(i):
                    raise CorruptionError("a tree node counts a child's entries wrongly.")
            # What is in the base on both sides was compared there.
            if i and not (trusted and place):
                self._gap(keys[i - 1], self._first(child))
            trusted, after = place is not None, keys[i]

    def _first(self, address: Address) -> bytes:
        node = self._nodes.get(address)
        while node.height:
            node = self._nodes.child(node, 0)
        return node.keys[0]

    def _gap(self, before: bytes, after: bytes) -> None:
        """Checks the order across a gap, and that no key before it is a path prefix of one behind it.

        Such a key, `a` with `a/b` behind the gap, is a prefix of all keys between, so of both ``before`` and ``after``;
        and ``after`` is at most `a/b`, so its next byte is at most `/`. One of the two keys is not in the base, and the
        gap beside its leaf, towards the other key, is looked at: here, or when a subtree with both was checked.
        """
        if after <= before:
            raise CorruptionError("neighbouring tree nodes overlap.")
        if not self._tree:
            return
        nodes, root, clear = self._nodes, self._root, self._clear
        for at, byte in enumerate(after):
            if at and byte <= 47:
                key = after[:at]
                if key not in clear:
                    below = first_key(nodes, root, key + b"/")
                    if below is not None and below.startswith(key + b"/") and lookup(nodes, root, key):
                        raise CorruptionError(f"in a directory tree, {key!r} is beside {below!r}.")
                    if len(clear) < _MAX_CLEAR:
                        clear.add(key)
            if at == len(before) or before[at] != byte:
                return

    def _leaf(self, node: Node, bases: Sequence[Node]) -> None:
        received = self._received
        if self._tree:
            problem = tree_problem(node.keys, [])
            if problem:
                raise CorruptionError(f"a directory tree is damaged: {problem}.")
        had: set[bytes] = set()
        for base in bases:
            if not base.height:
                had.update(base.chunks())
        for i, chunk in enumerate(node.chunks()):
            # What was received is looked up even so: nothing may come along that nobody refers to.
            if chunk in had and chunk[-32:] not in received:
                continue
            entry = node.entry(i)
            if entry.address is not None:
                if entry.kind == SNAPSHOT:
                    self._rely(SNAPSHOT_RECORD, entry.address)
                else:
                    self._content(entry.address, entry.size)
