# SPDX-License-Identifier: MIT
"""StateTree: every node is a state of one store, alive as a branch, at the cost of what differs from its parent.

Invariants: primary edges form a tree that spans all nodes; an edge leads from a node of the tree to a node of the tree;
ids grow in the order of creation and are never given twice; a node's state never changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from casstore.address import Address
from casstore.branches import Branch
from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.canonical import JsonValue, canonical_json, parse_canonical_json
from casstore.mcts.costs import NodeCost, cost_of
from casstore.mcts.edits import Edits, apply_edits
from casstore.mcts.events import Event, Hook, Hooks
from casstore.mcts.index import StateIndex
from casstore.mcts.keeping import Keep
from casstore.mcts.node import Edge, Node, unlink
from casstore.mcts.numbers import check_number, check_weight
from casstore.mcts.pruning import PrunePlan, PruneReport, collapse_plan, plan_prune, take_out
from casstore.mcts.weights import best_path, weigher, weight_of
from casstore.snapshots import Change, Snapshot

if TYPE_CHECKING:
    from casstore.mcts.giving_up import GivingUp, Protect
    from casstore.mcts.reach import TreeReach
    from casstore.mcts.saving import Saved
    from casstore.storage import PinHandle
    from casstore.store import State, Store
    from casstore.workspace.workspace import Workspace


class StateTree:
    """A tree of states for a search.

    Args:
        store: An open store. A read-only one takes a tree that is only looked at or searched, not saved.
        start: The root's state: a ref, snapshot, id or branch; None is the empty state.
        merge_transpositions: Equal states are one node, so that the tree is a directed graph, possibly with cycles.
        history: The snapshot of a node names that of its parent, so that ``store.log`` tells the way to a state and
            merges of two nodes find where they parted. Off, a saved state leads to nothing else.

    Attributes:
        root: The node of the start, or what ``collapse`` made the root.
        missing: Of a resumed tree: ids of nodes whose states are lost → their snapshots' ids.

    *Thread safety*: nodes may be created and gone back to by any number of threads; searching, pruning and saving are
    each one thread's business.
    """

    def __init__(
        self,
        store: Store,
        start: State | Branch | None = None,
        *,
        merge_transpositions: bool = False,
        history: bool = True,
    ) -> None:
        self.store = store
        self.merge_transpositions = bool(merge_transpositions)
        self.history = bool(history)
        self.missing: dict[int, Address] = {}
        self.root = Node(store, 0, _branch_of(store, start))
        self._hooks = Hooks()
        self._nodes: dict[int, Node] = {0: self.root}
        self._next_id = 1
        self._changes = 0
        self._index = StateIndex(self._nodes)
        self._lock = threading.RLock()
        self._saved: Saved | None = None
        # Of nodes that have a snapshot but are in no saved tree yet.
        self._pins: dict[int, PinHandle] = {}
        self._giving: GivingUp | None = None

    @classmethod
    def resume(cls, store: Store, ref: State) -> StateTree:
        """The tree that ``save`` left under a ref; see ``casstore.mcts.resume``."""
        from casstore.mcts.resuming import resume

        return resume(store, ref)

    # -- nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        """All nodes, in the order of their ids, as they are now."""
        with self._lock:
            return iter(list(self._nodes.values()))

    def __getitem__(self, node_id: int) -> Node:
        """The node with that id.

        Raises:
            NotFoundError: There is none, or not any more.
        """
        node = self._nodes.get(node_id)
        if node is None:
            raise NotFoundError(f"the tree has no node {node_id!r}; it was pruned, or never made.")
        return node

    def __contains__(self, node: object) -> bool:
        return isinstance(node, Node) and self._nodes.get(node.id) is node

    def find(self, state_id: Address) -> list[Node]:
        """The nodes whose state has that id, oldest first; at most one where transpositions are merged.

        *Cost*: the first call computes the state id of every node, some 80 µs each; later ones only of new nodes.
        """
        with self._lock:
            return self._index.find(state_id)

    def best_path(self, by: str = "visits") -> list[Node]:
        """The nodes from the root on along the best edges, by ``"visits"`` or ``"value"``; ends before a cycle."""
        return best_path(self.root, by)

    # -- making nodes and going back to them

    def create_node(
        self, parent: Node, edits: Edits = None, *, action: JsonValue = None, prior: float = 1.0, **stats: float
    ) -> Node:
        """A node whose state is the parent's, edited.

        Args:
            parent: A node of this tree.
            edits: A mapping of ``"files/…"`` and ``"objects/…"`` to values, a function that edits a branch, or a branch
                that holds the new state already, for example one from ``backtrack_to`` (it is forked). See
                ``casstore.mcts.edits``.
            action: What was done, as a JSON value.
            prior: How promising it is, 0 or more.
            **stats: Numbers that are kept with the node.

        Returns:
            The new node; where transpositions are merged, the node that has this state already, to which an edge now
            leads (it keeps its own ``stats``).

        Raises:
            InvalidInputError: The parent is not in this tree, or an argument cannot be. Whatever is raised, also by
                ``edits``, nothing was created.
            NotFoundError: The parent's state is lost.

        *Cost*: the edits, and some 10 µs; with merging also the state id, some 80 µs.
        """
        self._check_member(parent)
        check_weight("the prior", prior)
        action = _own_json(action)
        for name, value in stats.items():
            check_number(name, value)
        if isinstance(edits, Branch):
            if edits._context is not self.store.branches:
                raise InvalidInputError("the branch belongs to another opened store; import its state first.")
            branch = edits.fork()
        else:
            branch = parent.open().fork()
            for hook in self._hooks.forked:
                hook(parent, branch)
            apply_edits(branch, edits)
        state_id = branch.state_id() if self.merge_transpositions else None
        with self._lock:
            self._check_member(parent)
            if state_id is not None:
                found = self._index.find(state_id)
                if found:
                    return self._merge(parent, found[0], action, prior)
            node = Node(self.store, self._next_id, branch)
            edge = Edge(parent, node, action, float(prior))
            node.edge = edge
            node._state_id = state_id
            if stats:
                node._stats = stats
            self._nodes[node.id] = node
            self._next_id += 1
            self._changes += 1
            parent.edges.append(edge)
        for hook in self._hooks.created:
            hook(node, branch)
        return node

    def _merge(self, parent: Node, node: Node, action: JsonValue, prior: float) -> Node:
        for edge in parent.edges:
            if edge.child is node and canonical_json(edge.action) == canonical_json(action):
                return node
        edge = Edge(parent, node, action, float(prior))
        node.merged = (*node.merged, edge)
        self._changes += 1
        parent.edges.append(edge)
        return node

    def backtrack_to(self, node: Node, *, workspace: Workspace | None = None) -> Branch:
        """A fresh fork of the node's state, to work on; what is done to it changes no node.

        Args:
            node: Where to go.
            workspace: A directory that is switched to the files of the fork, so that files and objects are those of one
                state; what the directory alone had is saved before. ``workspace.capture(branch)`` takes back what
                programs do there, and ``create_node(node, branch)`` makes a node of it.

        Raises:
            InvalidInputError: The node is not in this tree.
            NotFoundError: Its state is lost.
            CasstoreError: The directory could not be switched; see ``Workspace.switch``. Nothing is returned then.

        *Cost*: 0.5 µs, wherever the node is; the first time after ``resume`` some 25 µs. With a workspace, its scan and
        what differs.
        """
        try:
            known = self._nodes.get(node.id) is node
        except AttributeError:
            known = False
        if not known:
            self._check_member(node)
        branch = (node._branch or node.open()).fork()
        for hook in self._hooks.forked:
            hook(node, branch)
        if workspace is not None:
            workspace.switch(branch)
        for hook in self._hooks.visited:
            hook(node, branch)
        return branch

    def state_diff(self, a: Node, b: Node) -> Iterator[Change]:
        """The changes of files and objects that lead from the state of ``a`` to that of ``b``, in key order."""
        self._check_member(a)
        self._check_member(b)
        return a.open().diff(b.open())

    # -- what nodes cost and how much they matter

    def cost(self, node: Node) -> NodeCost:
        """Bytes of the node's own and bytes that it shares with its parent.

        *Cost*: the node's state id and its changes; some 200 µs, more where much differs from the start of the tree.
        """
        self._check_member(node)
        return cost_of(node)

    def weight(self, node: Node) -> float:
        """How likely the search is to need the node: the product of the shares along its path, from 0 to 1.

        An edge's share is that of its visits among its siblings', begun with one visit spread by priors.
        """
        self._check_member(node)
        return weight_of(node)

    def weigher(self) -> Callable[[Address], float]:
        """A function from a snapshot's or a state's id to the largest weight of its nodes; 0.0 for any other state.

        For parts that load or keep by priority. It does not keep the tree alive.
        """
        return weigher(self)

    def reach(self) -> TreeReach:
        """The weights of the nodes summed by the objects that they reach; ``Materializer(tree=…)`` loads by them."""
        from casstore.mcts.reach import TreeReach

        return TreeReach(self)

    def on_visit(self, callback: Callable[[Iterable[tuple[Branch | Address, float]]], Any]) -> Callable[[], None]:
        """Has ``callback`` called when a node is visited, with its children's states and how likely each is.

        That is their shares of the visits, as in ``weight``. ``Prefetcher.follow`` loads ahead by it.

        Returns:
            A function that ends it.
        """
        from casstore.mcts.reach import on_visit

        return on_visit(self, callback)

    def on(self, event: Event, hook: Hook) -> Callable[[], None]:
        """Has ``hook(node, branch)`` called at every such event; returns a function that ends it.

        - ``"forked"``: a branch that somebody will work on was forked from ``node``, by ``backtrack_to``, by
          ``create_node`` before its edits, or by a search; the hook may edit it (random seeds, ids, ports). What it
          raises stops the operation.
        - ``"created"``: ``branch`` is the new node's own.
        - ``"visited"``: by ``backtrack_to``, which returns ``branch``; and by a search that has just made the node's
          edges, with None.
        - ``"evaluated"``: by a search; ``branch`` is as the evaluation left it, ``node.stats["value"]`` what it gave.
        - ``"pruned"``: the node is out of the tree; its links and branch (None if it was never opened) go after the
        hook.
        - ``"collapsed"``: ``node`` is the root now; ``branch`` is its own.

        Hooks run in the thread that caused the event, after the event but for ``"forked"``; what they raise is passed
        on, and the change stays.
        """
        return self._hooks.add(event, hook)

    # -- giving up

    def plan_prune(self, keep: Keep) -> PrunePlan:
        """What pruning would take out; nothing changes until the plan is executed.

        Args:
            keep: A policy (``best``, ``path``, ``subtree``, joined by ``|``), nodes, or a function from a node to
                whether it is kept. Ancestors of what is kept are kept, and the root.
        """
        return plan_prune(self, keep)

    def prune_unreachable(self, keep: Keep) -> PruneReport:
        """Takes out every node that ``keep`` does not lead to; see ``plan_prune``."""
        return plan_prune(self, keep).execute()

    def collapse(self, node: Node) -> PruneReport:
        """Makes ``node`` the root; its ancestors and the alternatives to it go.

        Where transpositions are merged, what can still be reached from it without passing its former ancestors stays.
        """
        self._check_member(node)
        with self._lock:
            dropped = collapse_plan(self, node)
            kept = len(self._nodes) - len(dropped)
            take_out(self, dropped)
        for hook in self._hooks.collapsed:
            hook(node, node.branch)
        return PruneReport(kept=kept, dropped=len(dropped))

    def give_up_when_short(
        self, *, protect: Protect | None = None, at_once: bool = False, save: bool = False
    ) -> GivingUp:
        """Gives nodes up from now on when ``store.auto_collect`` finds the quota near, until ``stop`` of the result.

        Those of the lowest weight go first, leaves before what leads to them; never the root, the best path, the node
        of the highest value, what a ref names or a handle pins. A search does it between two batches. What was saved
        comes free when the tree is saved again, and undo no longer keeps it.

        Args:
            protect: Tells of a node whether it must stay, with what leads to it.
            at_once: Nobody works on the tree, so the collector's thread may do it at any moment; else, where no search
                runs, call ``serve`` of the result.
            save: Save the tree again afterwards, under the refs that it was saved under.
        """
        from casstore.mcts.giving_up import GivingUp

        if self._giving is not None:
            self._giving.stop()
        self._giving = GivingUp(self, protect, at_once=bool(at_once), save=bool(save))
        return self._giving

    def discard(self) -> None:
        """Gives all branches up at once, instead of when Python's garbage collector finds the tree."""
        with self._lock:
            nodes = list(self._nodes.values())
            self._nodes.clear()
            self._index.clear()
            self._pins.clear()
            self._changes += 1
            for node in nodes:
                unlink(node)
            self._saved = None

    # -- saving

    def save(self, ref: str, message: str = "", *, unload: bool = False) -> Snapshot:
        """Saves the tree under a ref; see ``casstore.mcts.saving`` for what is written.

        Args:
            ref: Where to. It must be new, or name what this tree (or the one it was resumed from) saved there last.
            message: Text.
            unload: Give the branches' memory back; nodes open their snapshots again when they are used.

        Returns:
            The snapshot of the tree.

        Raises:
            ConflictError: The ref names something else. The states are in the store, and nothing was moved.
            ReadOnlyError: The store is open read-only.

        *Durability*: durable on return, by one sync. *Cost*: some 0.6 ms per new node and 7 µs per old one.
        """
        from casstore.mcts.saving import save

        with self._lock:
            snapshot = save(self, ref, message)
            if unload:
                for node in self._nodes.values():
                    if node.snapshot_id is not None:
                        node._branch = None
        return snapshot

    def _check_member(self, node: object) -> None:
        if not isinstance(node, Node) or self._nodes.get(node.id) is not node:
            raise InvalidInputError(f"{node!r} is no node of this tree; use one that the tree lists.")

    def __repr__(self) -> str:
        return f"<StateTree of {len(self._nodes)} nodes>"


def _own_json(action: JsonValue) -> JsonValue:
    """The value itself, or a copy that the caller cannot change."""
    if action is None or type(action) is str:
        return action
    return parse_canonical_json(canonical_json(action))


def _branch_of(store: Store, start: State | Branch | None) -> Branch:
    if isinstance(start, Branch) and start._context is not store.branches:
        raise InvalidInputError("the branch belongs to another opened store; import its state first.")
    return store.branch(start)
