# SPDX-License-Identifier: MIT
"""Nodes that a search gives up when space is short: those that it is least likely to come back to, leaves first.

The store's collector asks; the tree answers. A tree is one thread's business, so the thread that searches does it,
between two batches; a tree that nobody searches says so (``at_once``), or calls ``serve`` itself.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from casstore.errors import ConflictError, NotFoundError, QuotaExceededError
from casstore.mcts.costs import own_bytes_of
from casstore.mcts.node import Node
from casstore.mcts.weights import best_path, shares_of

if TYPE_CHECKING:
    from casstore.mcts.tree import StateTree

WAIT_SECONDS: Final = 2.0
"""How long the collector waits for a search to come to the end of its batch."""

Protect = Callable[[Node], object]


class GivingUp:
    """What gives nodes of one tree up; see ``StateTree.give_up_when_short``.

    Attributes:
        nodes: How many were given up.
        given_bytes: About how many bytes they held.
    """

    def __init__(self, tree: StateTree, protect: Protect | None, *, at_once: bool, save: bool) -> None:
        self._tree = weakref.ref(tree)
        self._protect = protect
        self._at_once = at_once
        self._save = save
        self._wanted = 0
        self._given = 0
        self._served = threading.Event()
        self.nodes = self.given_bytes = 0
        self._leave = tree.store.on_short_space(self.ask)
        self._end = weakref.finalize(tree, self._leave)
        self._end.atexit = False

    def stop(self) -> None:
        """Gives nothing up any more."""
        self._end.detach()
        self._leave()
        tree = self._tree()
        if tree is not None and tree._giving is self:
            tree._giving = None

    def ask(self, wanted_bytes: int) -> int:
        """About how many bytes were given up; called by the collector.

        Where a search has to do it and does not come to the end of its batch in time, the collection goes on without,
        and the next one finds what was given up then.
        """
        self._served.clear()
        self._given, self._wanted = 0, wanted_bytes
        if self._at_once:
            return self.serve()
        self._served.wait(WAIT_SECONDS)
        return self._given

    def serve(self, keep: Collection[Node | None] = ()) -> int:
        """Does what was asked for, if anything; about how many bytes were given up. For the tree's own thread.

        Args:
            keep: Nodes that are in use.

        *Cost*: nothing where nothing was asked for; else some 30 µs per node of the tree.
        """
        wanted, self._wanted = self._wanted, 0
        tree = self._tree()
        if wanted <= 0 or tree is None:
            return 0
        with tree._lock:
            chosen, given = least_likely(tree, wanted, self._protect, keep)
            if chosen:
                _take_out(tree, chosen)
        if chosen and self._save and tree._saved is not None:
            for ref in list(tree._saved.refs):
                try:
                    tree.save(ref)
                except (ConflictError, QuotaExceededError):
                    # The ref is somebody else's by now, or there is no room left: the next save of the tree does it.
                    break
        self.nodes += len(chosen)
        self.given_bytes += given
        self._given = given
        self._served.set()
        return given


def least_likely(
    tree: StateTree, wanted_bytes: int, protect: Protect | None, keep: Collection[Node | None] = ()
) -> tuple[list[Node], int]:
    """Nodes to give up, those of the lowest weight first, each after all it leads to; and about what they hold.

    Kept are the root, the best path, the nodes of the highest value, those that a descent is in, that a ref names or a
    handle pins, and what leads to any of them.
    """
    store = tree.store
    named = {snapshot for _, snapshot in store.refs.ids()}
    pins = {pin.address: pin.count for pin in store.storage.pins.all() if pin.what == "snapshot"}
    busy = {id(node) for node in (*best_path(tree.root, "visits"), *keep) if node is not None}
    values = [(value, node) for node in tree if (value := node.stats.get("value")) is not None]
    if values:
        busy.add(id(max(values, key=lambda pair: pair[0])[1]))
    chosen: list[Node] = []
    gone: set[int] = set()
    given = 0
    for _, _, node in sorted(_weighed(tree), key=lambda item: item[:2]):
        if given >= wanted_bytes:
            break
        own_pins = 1 if node.id in tree._pins else 0
        if (
            node.edge is None
            or id(node) in busy
            or node.snapshot_id in named
            or pins.get(node.snapshot_id, 0) > own_pins
            or any(edge.pending for edge in node.in_edges)
            or any(edge.child.edge is edge and id(edge.child) not in gone for edge in node.edges)
            or (protect is not None and protect(node))
        ):
            continue
        try:
            given += own_bytes_of(node)
        except NotFoundError:
            pass
        chosen.append(node)
        gone.add(id(node))
    return chosen, given


def _weighed(tree: StateTree) -> list[tuple[float, int, Node]]:
    """Each node's weight, and its depth below zero, so that of equals the deeper comes first."""
    found = [(1.0, 0, tree.root)]
    for weight, depth, node in found:  # grows on the way
        found += [(weight * share, depth - 1, edge.child) for edge, share in shares_of(node) if edge.child.edge is edge]
    return found


def _take_out(tree: StateTree, chosen: list[Node]) -> None:
    from casstore.mcts.pruning import take_out

    parents = {id(edge.parent): edge.parent for node in chosen for edge in node.in_edges}
    take_out(tree, chosen)
    for parent in parents.values():
        if parent.expanded and not parent.edges:
            # Not an end: what it led to was given up, and a search that comes back makes it anew.
            parent.expanded = False
