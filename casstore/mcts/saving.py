# SPDX-License-Identifier: MIT
"""Saving a tree: a snapshot per node, and one snapshot that links them all; see ``record`` for what it holds.

The snapshot of a node names that of its parent as parent, unless the tree was made with ``history=False``: so
``store.log`` shows the way to a state and a merge finds where two nodes parted, at the price that a saved state keeps
its ancestors' states, which the tree keeps anyway. The snapshot of the tree itself has no parents: it would keep what
was pruned since. The history of its ref leads back instead, as long as the store keeps that.

Nothing is synced until the ref moves. Node snapshots are linked by entries of kind snapshot, so the collector keeps
them as long as it keeps the tree's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from casstore.address import Address, content_address
from casstore.errors import InvalidInputError, ReadOnlyError
from casstore.format.canonical import canonical_json
from casstore.format.entry import snapshot_entry
from casstore.mcts.lineage import rebased
from casstore.mcts.node import Node
from casstore.mcts.record import HEADER, NODES, STATES, Header, header_value, node_key, node_value
from casstore.snapshots import Snapshot

if TYPE_CHECKING:
    from casstore.branches import Branch, Objects
    from casstore.mcts.tree import StateTree

_MESSAGE_LETTERS: Final = 200


class Saved:
    """What of a tree is in the store.

    Attributes:
        snapshot: The tree's; it keeps the snapshots of all saved nodes from the collector.
        refs: What the tree saved under each ref.
        gone: Ids of saved nodes that were pruned since.
    """

    __slots__ = ("gone", "refs", "snapshot")

    def __init__(self, snapshot: Snapshot, refs: dict[str, Snapshot]) -> None:
        self.snapshot = snapshot
        self.refs = refs
        self.gone: list[int] = []


def save(tree: StateTree, ref: str, message: str = "") -> Snapshot:
    """Saves the tree; see ``StateTree.save``. The tree's lock is held."""
    store = tree.store
    if store.read_only:
        raise ReadOnlyError("the store is open read-only; open it for writing to save the tree.")
    saved = tree._saved
    with store.storage.operation():
        branch = store.branch(None if saved is None else saved.snapshot)
        objects = branch.objects
        if saved is not None:
            for node_id in saved.gone:
                for prefix in (NODES, STATES):
                    _drop(objects, node_key(prefix, node_id))
        records: list[tuple[Node, Address]] = []
        for node in tree:
            lost = tree.missing.get(node.id)
            if lost is not None:
                _drop(objects, node_key(STATES, node.id))
            elif node._recorded is None:
                objects.set_entry(node_key(STATES, node.id), snapshot_entry(commit_node(tree, node)))
            value = node_value(node, lost)
            digest = content_address(canonical_json(value))
            if digest != node._recorded:
                objects[node_key(NODES, node.id)] = value
                records.append((node, digest))
        header = header_value(Header(tree.root.id, tree._next_id, tree.merge_transpositions, tree.history))
        if objects.get(HEADER) != header:
            objects[HEADER] = header
        branch.fold()
        roots = branch.snapshot_fields()[0].roots
        if saved is not None and saved.snapshot.roots == roots and saved.snapshot.message == message:
            snapshot = saved.snapshot
        else:
            snapshot = store.add_snapshot(roots=roots, message=message, meta={"nodes": len(tree)})
        # From here on the nodes are in the store, whatever becomes of the ref.
        for node, digest in records:
            node._recorded = digest
        tree._pins.clear()
        refs = {} if saved is None else saved.refs
        tree._saved = Saved(snapshot, refs)
        if refs.get(ref) != snapshot or store.refs.id_of(ref) != snapshot.id:
            store.refs.compare_and_set(ref, refs.get(ref), snapshot, reason="save tree")
        refs[ref] = snapshot
    return snapshot


def _drop(objects: Objects, key: str) -> None:
    if key in objects:
        del objects[key]


def commit_node(tree: StateTree, node: Node) -> Address:
    """The id of the node's snapshot, which is made if there is none, as are those of its ancestors. Nothing is synced.

    The tree keeps it from the collector.
    """
    line = []
    member: Node | None = node
    while member is not None and member.snapshot_id is None:
        line.append(member)
        member = member.parent
    for member in reversed(line):
        with tree.store.storage.operation():
            state = _commit(tree, member)
            tree._pins[member.id] = tree.store.storage.pin("snapshot", state)
        member.snapshot_id = state
        tree._index.forget_snapshots()
    if node.snapshot_id is None:
        raise InvalidInputError(f"node {node.id} was pruned from its tree; use a node that is still in it.")
    return node.snapshot_id


def _commit(tree: StateTree, node: Node) -> Address:
    """The id of a snapshot of the node's state. The node's own branch stays as it is in memory."""
    store = tree.store
    parent = node.parent
    above = None if parent is None or parent.id in tree.missing else parent.snapshot_id
    own = node.open()
    branch: Branch | None = None
    if parent is not None and parent._branch is not None and above is not None:
        branch = rebased(store, own, parent._branch, store.branch(above))
    if branch is None:
        branch = own.fork()
    start = branch.start
    branch.fold()
    fields = branch.snapshot_fields()[0]
    parents: list[Address] = []
    if tree.history:
        if parent is not None:
            # The branch names where it began itself, which is where its parent did, or its parent.
            parents = [found for found in fields.parents if start is None or found != start.id]
            if above is not None:
                parents.insert(0, above)
        elif start is not None and start.roots == fields.roots and fields.parents == (start.id,):
            return start.id
        else:
            parents += fields.parents
    return store.snapshots.add(roots=fields.roots, parents=list(dict.fromkeys(parents)), message=_message(node)).id


def _message(node: Node) -> str:
    if node.edge is None or node.action is None:
        return f"node {node.id}"
    action = node.action if isinstance(node.action, str) else canonical_json(node.action).decode()
    if len(action) > _MESSAGE_LETTERS:
        action = action[:_MESSAGE_LETTERS] + " …"
    return f"node {node.id}: {action}"
