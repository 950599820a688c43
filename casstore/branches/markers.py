# SPDX-License-Identifier: MIT
"""Which keys of object trees mark what lies below another: those of ``Members``, and headers of documents.

With that, setting a key need not look into the base.

Invariant: what is known of a tree is right for ever, as a tree never changes; of a tree that nothing is known of, the
tree itself is asked. Known are the empty tree, every tree that a branch folded from one that is known, and trees of
which so much was asked that looking once at all of their leaves costs no more.
"""

from __future__ import annotations

from typing import Final

from casstore.address import Address
from casstore.branches.cell import Cell
from casstore.branches.delta import Delta
from casstore.codecs.documents import HEADER, headed_by
from casstore.codecs.members import MEMBERS_TYPE, is_members
from casstore.format.entry import Entry
from casstore.format.key import Q
from casstore.format.node import Node
from casstore.snapshots import decode_key
from casstore.tree import Nodes, Root, summary

MAX_TREES: Final = 4096
"""Trees that are remembered twice over, about 150 bytes each; beyond, those that were met first are forgotten."""
MAX_MARKERS: Final = 4096
"""Of a tree with more markers nothing is remembered."""
MAX_ENTRIES: Final = 16_384
"""Trees with more entries are not looked through: that would hold a writer up for tens of milliseconds."""

_NONE: Final[frozenset[str]] = frozenset()
_WORD: Final = bytes((len(MEMBERS_TYPE),)) + MEMBERS_TYPE.encode()
"""What every marker of Members holds: a leaf without it has none, which takes no decoding to see."""
_HEADER: Final = b"/" + HEADER.encode()


class Markers:
    """Markers by tree.

    *Thread safety*: any number of threads; two that learn the same thing write the same.
    *Cost*: a microsecond at the most where the tree is known.
    """

    __slots__ = ("_asked", "_before", "_known")

    def __init__(self) -> None:
        self._known: dict[Address, frozenset[str]] = {}
        # The generation before, as nothing need be locked to forget all of it at once.
        self._before: dict[Address, frozenset[str]] = {}
        self._asked: dict[Address, int] = {}

    def of(self, nodes: Nodes, root: Root) -> frozenset[str] | None:
        """The keys of a tree that are markers; None where that is not known, and the tree has to be asked.

        Raises:
            NotFoundError: A node is missing.
            CorruptionError: A node is damaged.
        """
        if root is None:
            return _NONE
        found = self._known.get(root)
        if found is None:
            found = self._before.get(root)
            if found is None:
                return self._ask(nodes, root)
            self._keep(root, found)
        return found

    def _ask(self, nodes: Nodes, root: Address) -> frozenset[str] | None:
        asked = self._asked.get(root, 0) + 1
        if len(self._asked) >= MAX_TREES:
            self._asked = {}
        self._asked[root] = asked
        entries = summary(nodes, root).entries
        # As many look-ups by now as there are leaves: then those cost as much as they may have cost already.
        if entries > MAX_ENTRIES or asked * Q < entries:
            return None
        found: set[str] = set()
        waiting: list[Node] = [nodes.get(root)]
        while waiting:
            node = waiting.pop()
            if node.height:
                waiting += [nodes.child(node, i) for i in range(len(node.children))]
            elif _WORD in node.raw or _HEADER in node.raw:
                names = map(decode_key, node.keys)
                found |= {key for i, key in enumerate(names) if marks(key, node.entry(i))}
        return self._keep(root, frozenset(found))

    def _keep(self, root: Address, found: frozenset[str]) -> frozenset[str] | None:
        self._asked.pop(root, None)
        if len(found) > MAX_MARKERS:
            return None
        if len(self._known) >= MAX_TREES:
            self._before, self._known = self._known, {}
        self._known[root] = found or _NONE
        return found

    def folded(self, base: Root, delta: Delta, root: Root) -> None:
        """Notes that ``delta`` on ``base`` gave ``root``: where the markers of the one are known, the other's are."""
        before = _NONE if base is None else self._known.get(base, self._before.get(base))
        if root is None or before is None or root in self._known:
            return
        keys = delta.keys
        found = {key for key in before if key not in keys and not delta.is_marked(key)}
        found |= {key for key, cell in keys.items() if cell is not None and (is_marker(cell) or headed_by(key))}
        self._keep(root, frozenset(found))


def marks(key: str, entry: Entry) -> bool:
    """Whether an entry says that what lies below its key, or beside it, is one thing."""
    return is_members(entry) or headed_by(key) is not None


def is_marker(cell: Cell) -> bool:
    """Whether a cell is the marker of a ``Members``; one has no bytes that wait."""
    return cell.data is None and is_members(cell.entry)
