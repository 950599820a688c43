# SPDX-License-Identifier: MIT
"""From a delta to roots: into the store (fold, commit), or into memory only (state ids, proofs, bundles of workers)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from casstore.address import Address, node_address
from casstore.branches.delta import Delta
from casstore.format.entry import Entry
from casstore.format.node import Node, decode_node
from casstore.format.posix import posix_key
from casstore.format.snapshot import FILES, OBJECTS, POSIX
from casstore.snapshots import encode_key
from casstore.storage.deltas import MIN_BYTES
from casstore.tree import Nodes, Root, apply, contents_of, lookup, scan

if TYPE_CHECKING:
    from casstore.branches.branch import State
    from casstore.branches.cell import Cell
    from casstore.branches.context import BranchContext

Edit = tuple[bytes, Entry | None]
Previous = Callable[[bytes], Address | None]


class ScratchNodes(Nodes):
    """Nodes of a store, and new ones that are kept in memory until this object goes."""

    __slots__ = ("_below", "fresh", "held")

    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes.records, 0)
        self._below = nodes
        self.fresh: dict[Address, Node] = {}
        self.held: list[object] = []
        """What keeps the nodes below from the collector, for as long as these are read."""

    def join(self, other: ScratchNodes) -> None:
        """Takes in the nodes of another state, so that the two can be compared."""
        self.fresh.update(other.fresh)
        self.held += other.held

    def get(self, address: Address) -> Node:
        found = self.fresh.get(address)
        return self._below.get(address) if found is None else found

    def read(self, address: Address) -> Node:
        found = self.fresh.get(address)
        return self._below.read(address) if found is None else found

    def rely_on(self, root: Address) -> None:
        """Nothing: what is made here is not kept."""

    def put(self, encoded: bytes) -> Address:
        address = node_address(encoded)
        if address not in self.fresh:
            self.fresh[address] = decode_node(encoded)
        return address

    def add(self, node: Node) -> Address:
        address = node_address(node.raw)
        self.fresh[address] = node
        return address


def edits_of(nodes: Nodes, root: Root, delta: Delta, store: Callable[[Cell, bytes, Previous], Entry]) -> list[Edit]:
    """The edits that a delta makes to ``root``, in key order; prefix marks are expanded here."""
    edits: dict[bytes, Entry | None] = {}
    for mark in delta.marks:
        for key, _ in scan(nodes, root, prefix=encode_key(mark)):
            edits[key] = None
    previous = contents_of(nodes, root)
    for name, cell in delta.keys.items():
        key = encode_key(name)
        edits[key] = None if cell is None else store(cell, key, previous)
    return sorted(edits.items())


def roots_of(context: BranchContext, nodes: Nodes, state: State, *, keep: bool) -> dict[str, Address]:
    """Roots of a branch's state.

    Args:
        context: The branch's.
        nodes: Where new nodes go: the store's, or scratch ones.
        state: The branch's.
        keep: Whether the contents go to the store too.
    """
    base, files, objects = state[1], state[2], state[3]
    storage = context.storage

    def store(cell: Cell, key: bytes, previous: Previous) -> Entry:
        if not keep:
            return cell.addressed()
        data = cell.data
        # The look-up is not for nothing: the edit will read the same nodes.
        return cell.store(storage, None if data is None or len(data) < MIN_BYTES else previous(key))

    roots = dict(base.roots)
    if files:
        edits = edits_of(nodes, base.files, files, store)
        _set(roots, FILES, apply(nodes, base.files, edits, tree=True))
        if base.posix is not None:
            _set(roots, POSIX, apply(nodes, base.posix, _stale_metadata(nodes, base.files, base.posix, edits)))
    if objects:
        _set(roots, OBJECTS, apply(nodes, base.objects, edits_of(nodes, base.objects, objects, store)))
    return roots


def _set(roots: dict[str, Address], name: str, root: Root) -> None:
    if root is None:
        roots.pop(name, None)
    else:
        roots[name] = root


def _stale_metadata(nodes: Nodes, files: Root, posix: Root, edits: list[Edit]) -> Iterator[Edit]:
    """Metadata of paths that changed says nothing of what is there now, so it goes."""
    stale = set()
    for path, entry in edits:
        if entry == lookup(nodes, files, path):
            continue
        for directory in (False, True):
            stale.add(posix_key(path, directory=directory))
    return ((key, None) for key in sorted(stale) if lookup(nodes, posix, key) is not None)
