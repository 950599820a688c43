# SPDX-License-Identifier: MIT
"""Resuming a saved tree, in this process or another. Nodes open their states when they are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from casstore.address import Address, content_address
from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.entry import OBJECT, SNAPSHOT
from casstore.mcts.node import Edge, Node
from casstore.mcts.record import HEADER, NODES, STATES, Header, NodeRecord, parse_header, parse_key, parse_node
from casstore.mcts.saving import Saved
from casstore.mcts.tree import StateTree

if TYPE_CHECKING:
    from casstore.branches import Objects
    from casstore.store import State, Store


def resume(store: Store, state: State) -> StateTree:
    """The tree that was saved as ``state``.

    What is lost does not stop it: a node whose snapshot is gone keeps its place and its statistics, is named in
    ``tree.missing``, and going back to it raises ``NotFoundError``.

    Args:
        store: An open store; a read-only one will do to look at the tree.
        state: The ref that the tree was saved under, or a snapshot of it (see ``store.refs.history``).

    Raises:
        NotFoundError: There is no such state.
        InvalidInputError: It holds no saved tree.
        CorruptionError: The saved tree is damaged.
        FormatVersionError: It was saved by a later format.

    *Cost*: reads the records of all nodes, some 45 µs each; no states.
    """
    snapshot = store.resolve(state)
    objects = store.branch(snapshot).objects
    if HEADER not in objects:
        raise InvalidInputError(f"{snapshot!r} holds no saved search tree; name the ref that a tree was saved under.")
    header = parse_header(objects[HEADER])
    states = _states(objects)
    nodes: dict[int, Node] = {}
    records: dict[int, NodeRecord] = {}
    for node_id, record, digest in _records(store, objects):
        node = Node(store, node_id, None, states.get(node_id, record.lost))
        node.expanded = record.expanded
        node._stats = record.stats or None
        node._recorded = digest
        nodes[node_id] = node
        records[node_id] = record
    _link(nodes, records, header)
    tree = StateTree(store, merge_transpositions=header.merge_transpositions, history=header.history)
    tree._nodes.clear()
    tree._nodes.update(nodes)
    tree.root = nodes[header.root]
    tree._next_id = header.next_id
    tree.missing.update(_missing(store, nodes, states))
    tree._saved = Saved(snapshot, {state: snapshot} if isinstance(state, str) and state in store.refs else {})
    return tree


def _states(objects: Objects) -> dict[int, Address]:
    found = {}
    for key, entry in objects.entries(STATES):
        if entry.kind != SNAPSHOT or entry.address is None:
            raise CorruptionError(f"objects/{key} is no snapshot, so the tree cannot be resumed.", path=key)
        found[parse_key(key, STATES)] = entry.address
    return found


def _records(store: Store, objects: Objects) -> Iterator[tuple[int, NodeRecord, Address]]:
    """Id, record, and address of the record's bytes of each node, in the order of ids."""
    decode = store.branches.codecs.decode
    for key, entry in sorted(objects.entries(NODES), key=lambda item: parse_key(item[0], NODES)):
        if entry.kind != OBJECT:
            raise CorruptionError(f"objects/{key} is no object, so the tree cannot be resumed.", path=key)
        data = entry.inline if entry.address is None else store.get(entry.address)
        value = decode(entry.type_id, entry.type_version, data or b"")
        yield parse_key(key, NODES), parse_node(key, value), content_address(data or b"")


def _link(nodes: dict[int, Node], records: dict[int, NodeRecord], header: Header) -> None:
    """Makes the edges.

    Raises:
        CorruptionError: They make no tree of these nodes.
    """
    for node_id, record in records.items():
        node = nodes[node_id]
        if node_id >= header.next_id:
            raise CorruptionError(f"the saved tree says that ids end below {header.next_id}, but has node {node_id}.")
        for saved in record.edges:
            child = nodes.get(saved.child)
            if child is None:
                raise CorruptionError(f"node {node_id} of the saved tree leads to {saved.child}, which is not there.")
            edge = Edge(node, child, saved.action, saved.prior)
            edge.visits = saved.visits
            edge.value_sum = saved.value_sum
            node.edges.append(edge)
            if child.edge is None and records[saved.child].parent == node_id:
                child.edge = edge
            else:
                child.merged = (*child.merged, edge)
    placed = 0
    waiting = [nodes[header.root]] if header.root in nodes else []
    while waiting:
        node = waiting.pop()
        placed += 1
        waiting += [edge.child for edge in node.edges if edge.child.edge is edge]
    # The root has no primary edge, every other node one; so what was not met from the root hangs in the air.
    if placed != len(nodes) or nodes[header.root].edge is not None:
        raise CorruptionError("the nodes of the saved tree do not hang together.")


def _missing(store: Store, nodes: dict[int, Node], states: dict[int, Address]) -> Iterator[tuple[int, Address]]:
    contains = store.storage.contains
    for node_id, node in nodes.items():
        if node.snapshot_id is None:
            raise CorruptionError(f"the saved tree has no state for node {node_id}.")
        if node_id not in states or not contains(node.snapshot_id):
            yield node_id, node.snapshot_id
