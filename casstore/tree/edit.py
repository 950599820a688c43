# SPDX-License-Identifier: MIT
"""Changes a tree: a batch of edits goes in at the leaves, and each level hands the level above the edits it causes.

Invariant: the result equals what ``build`` makes of the edited content. A node ends at a boundary key and nowhere else,
so an inserted boundary key cuts its node in two, and a node that lost its boundary takes in its right neighbour. Every
other node, and every node that comes out as it was, keeps its address and is not written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from casstore.address import Address
from casstore.errors import InvalidInputError
from casstore.format.entry import Entry, encode_entry
from casstore.format.key import key_level, keys_problem
from casstore.format.node import (
    Node,
    Summary,
    chunk_child,
    chunk_summary,
    decode_node,
    encode_child,
    encode_node,
    join_key,
    make_node,
)
from casstore.tree.build import Levels, build, checked_entry
from casstore.tree.nodes import Nodes, Root
from casstore.tree.read import first_key, lookup


def apply(nodes: Nodes, root: Root, edits: Iterable[tuple[bytes, Entry | bytes | None]], *, tree: bool = False) -> Root:
    """The root of the tree ``root`` with ``edits`` made; ``root`` itself stays as it is.

    Args:
        nodes: Where the nodes are and go.
        root: The tree to change; None is the empty map.
        edits: Keys in strictly ascending order, each with its new entry (or an ``encode_entry`` of one), or with
            None to remove it. Removing what is not there changes nothing.
        tree: The keys are paths of a directory tree: refuse a new key that is a path prefix of another, or has one.

    Raises:
        InvalidInputError: A key or an entry cannot be stored, keys are out of order, or ``tree`` forbids one. Nodes
            already written stay as garbage.
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: O(edits · log n) node reads and writes; memory for the edits and the nodes they meet on one level.
    """
    keys: list[bytes] = []
    values: list[bytes | None] = []
    for key, value in edits:
        keys.append(key)
        values.append(None if value is None else join_key(key, encode_entry(checked_entry(value))))
    problem = keys_problem(keys)
    if problem:
        raise InvalidInputError(
            f"these keys cannot be stored: {problem}; they lie between {keys[0]!r} and {keys[-1]!r}."
        )
    if not keys:
        return root
    if root is None:
        present = ((key, chunk[len(join_key(key, b"")) :]) for key, chunk in zip(keys, values) if chunk is not None)
        return build(nodes, present, tree=tree)
    # Most of the old tree becomes part of the new one without being put again.
    nodes.rely_on(root)
    top = nodes.get(root)
    inserted: list[bytes] = []
    for height in range(top.height):
        level = _LevelEdit(nodes, top, height, inserted)
        level.run(keys, values)
        keys = sorted(level.above)
        values = [level.above[key] for key in keys]
    level = _LevelEdit(nodes, top, top.height, inserted)
    level.run(keys, values)
    changed = _new_root(nodes, root, level)
    if tree and inserted:
        _check_directory_tree(nodes, changed, inserted)
    return changed


class _LevelEdit:
    """The edits of one level.

    Attributes:
        above: The edits that the next level must make.
        tops: New nodes that replace the root, with their addresses; empty below its height.
    """

    __slots__ = (
        "_children",
        "_chunks",
        "_exact",
        "_height",
        "_inserted",
        "_keys",
        "_nodes",
        "_summary",
        "_top",
        "above",
        "tops",
    )

    def __init__(self, nodes: Nodes, top: Node, height: int, inserted: list[bytes]) -> None:
        self._nodes = nodes
        self._top = top
        self._height = height
        self._inserted = inserted
        self._keys: list[bytes] = []
        self._chunks: list[bytes] = []
        self._children: list[Address] = []
        self._summary = Summary(0, 0, 0)
        self._exact = True
        self.above: dict[bytes, bytes | None] = {}
        self.tops: list[tuple[Address, Node]] = []

    def run(self, keys: list[bytes], values: list[bytes | None]) -> None:
        """Makes the edits in every node they fall into, and closes what they left open."""
        nodes, top, height = self._nodes, self._top, self._height
        groups = _touched(nodes, top, height, keys, 0, len(keys))
        group = next(groups, None)
        while group is not None:
            node, low, high = group
            group = next(groups, None)
            if not self._changes(node, keys, values, low, high):
                continue
            self._edit(node, keys, values, low, high)
            while self._keys:  # the node lost its boundary, or is the last of its level
                following = _node_after(nodes, top, height, node.keys[-1])
                if following is None:
                    self._close()
                elif group is not None and group[0].keys[-1] == following.keys[-1]:
                    node, low, high = group
                    group = next(groups, None)
                    self._edit(node, keys, values, low, high)
                else:
                    node = following
                    self._edit(node, keys, values, 0, 0)

    def _changes(self, node: Node, keys: list[bytes], values: list[bytes | None], low: int, high: int) -> bool:
        """Whether the edits change this node at all."""
        at = 0
        for j in range(low, high):
            at = bisect_left(node.keys, keys[j], at)
            found = at < len(node.keys) and node.keys[at] == keys[j]
            if values[j] != (node.chunk(at) if found else None):
                return True
        return False

    def _edit(self, node: Node, keys: list[bytes], values: list[bytes | None], low: int, high: int) -> None:
        """Appends the node's entries, edited, to the growing node; closes it after each boundary."""
        old_keys, old_chunks, old_children = node.keys, node.chunks(), node.children
        count, height = len(old_keys), self._height
        self.above[old_keys[-1]] = None
        if not self._keys:
            self._exact = True
            self._summary = Summary(0, 0, 0)
        self._count(node.summary, 1)
        at = 0
        # Old keys but the last are no boundaries. So only new keys and the old last one are hashed.
        for j in range(low, high):
            key, value = keys[j], values[j]
            i = bisect_left(old_keys, key, at)
            if i > at:
                self._keys += old_keys[at:i]
                self._chunks += old_chunks[at:i]
                self._children += old_children[at:i]
                at = i
                if i == count:
                    self._close_at_boundary(True)
            found = i < count and old_keys[i] == key
            if found:
                self._count(chunk_summary(height, key, old_chunks[i]), -1)
                at = i + 1
            if value is not None:
                self._keys.append(key)
                self._chunks.append(value)
                self._count(chunk_summary(height, key, value), 1)
                if height:
                    self._children.append(chunk_child(key, value))
                elif not found:
                    self._inserted.append(key)
                if not found or at == count:
                    self._close_at_boundary(at == count)
        if at < count:
            self._keys += old_keys[at:]
            self._chunks += old_chunks[at:]
            self._children += old_children[at:]
            self._close_at_boundary(True)

    def _count(self, part: Summary, sign: int) -> None:
        entries, files, size = self._summary
        self._summary = Summary(entries + sign * part[0], files + sign * part[1], size + sign * part[2])

    def _close_at_boundary(self, exact: bool) -> None:
        """``exact``: the growing node holds all of the old one, so its summary, counted by differences, is true."""
        if key_level(self._keys[-1]) > self._height:
            self._exact = self._exact and exact
            self._close()
            self._exact = exact

    def _close(self) -> None:
        """Writes the growing node and tells the level above."""
        if self._exact:
            node = make_node(self._height, self._keys, self._chunks, self._children, self._summary)
        else:
            node = decode_node(encode_node(self._height, self._chunks))
        self._keys, self._chunks, self._children = [], [], []
        self._summary = Summary(0, 0, 0)
        address = self._nodes.add(node)
        self.above[node.keys[-1]] = encode_child(node.keys[-1], address, node.summary)
        if self._height == self._top.height:
            self.tops.append((address, node))


def _touched(
    nodes: Nodes, node: Node, height: int, keys: list[bytes], low: int, high: int
) -> Iterator[tuple[Node, int, int]]:
    """The nodes of ``height`` below ``node`` into which ``keys[low:high]`` fall, each with its part of them."""
    if node.height == height:
        yield node, low, high
        return
    last = len(node.keys) - 1
    while low < high:
        # Keys after the last of all belong to the last node of each level.
        i = min(bisect_left(node.keys, keys[low]), last)
        end = high if i == last else bisect_right(keys, node.keys[i], low, high)
        yield from _touched(nodes, nodes.child(node, i), height, keys, low, end)
        low = end


def _node_after(nodes: Nodes, top: Node, height: int, key: bytes) -> Node | None:
    """The node of ``height`` that follows the one whose last key is ``key``."""
    if top.keys[-1] <= key:
        return None
    node = top
    while node.height > height:
        node = nodes.child(node, bisect_right(node.keys, key))
    return node


def _new_root(nodes: Nodes, root: Root, level: _LevelEdit) -> Root:
    """The root, given what happened on the level of the old one."""
    if not level.above:
        return root
    if not level.tops:
        return None
    if len(level.tops) > 1:
        height = level.tops[0][1].height + 1
        levels = Levels(nodes, height)
        for address, node in level.tops:
            key = node.keys[-1]
            levels.add_child(height, key, encode_child(key, address, node.summary), node.summary)
        return levels.finish()
    address, node = level.tops[0]
    while node.height and len(node.keys) == 1:  # the level below has a single node: that is the root
        address, node = node.children[0], nodes.child(node, 0)
    return address


def _check_directory_tree(nodes: Nodes, root: Root, inserted: list[bytes]) -> None:
    """Looks only at what the new keys can clash with: keys below them, and the directories that lead to them."""
    seen: set[bytes] = set()
    for key in inserted:
        below = first_key(nodes, root, key + b"/")
        if below is not None and below.startswith(key + b"/"):
            raise _clash(key, below)
        at = key.rfind(b"/")
        while at > 0 and (directory := key[:at]) not in seen:
            seen.add(directory)
            if lookup(nodes, root, directory) is not None:
                raise _clash(directory, key)
            at = key.rfind(b"/", 0, at)


def _clash(path: bytes, below: bytes) -> InvalidInputError:
    return InvalidInputError(
        f"{path!r} cannot be beside {below!r}: a path is either a directory or an entry; remove one of them."
    )
