# SPDX-License-Identifier: MIT
"""A small UCT/PUCT over a state tree, for people who bring none: select, expand, evaluate, back up.

A batch of descents is selected, evaluated (at once, in threads, or in worker processes), and backed up in the order of
selection. So a search depends on its arguments, its functions and the batch size alone, not on who evaluates or how
fast.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from casstore.branches import Branch
from casstore.errors import InvalidInputError
from casstore.format.canonical import JsonValue
from casstore.mcts.edits import Edits
from casstore.mcts.errors import SearchError
from casstore.mcts.evaluation import Evaluate, Evaluated, InThreads, evaluate_here
from casstore.mcts.node import Edge, Node
from casstore.mcts.numbers import check_weight
from casstore.mcts.pruning import undo_edges
from casstore.mcts.selection import POLICIES
from casstore.mcts.weights import best_edge, best_path

if TYPE_CHECKING:
    from casstore.mcts.tree import StateTree

Expand = Callable[[Branch, random.Random], Iterable[tuple[JsonValue, Edits, float]]]
"""Gives the actions that a state has, each with its edits and its prior; none where the state is an end."""

VALUE = "value"
"""The statistic that holds what a node's own evaluation gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found and did.

    Attributes:
        best: The node with the highest evaluation of those that the search evaluated; of equals the first. None where
            it evaluated none.
        edge: The most visited edge of the root: what to do next. None where the root has none.
        path: Nodes along the most visited edges, from the root on.
        reached: Whether ``target`` was reached.
        iterations: Descents that were backed up.
        evaluations: Calls of ``evaluate``.
        expanded: Nodes whose edges were made.
        created: Nodes that were made.
        merged: Edges that led to a state that was there already.
        cycles: Descents that ended at a state on their own path.
    """

    best: Node | None
    edge: Edge | None
    path: list[Node]
    reached: bool
    iterations: int
    evaluations: int
    expanded: int
    created: int
    merged: int
    cycles: int


def search(
    tree: StateTree,
    expand: Expand,
    evaluate: Evaluate,
    *,
    iterations: int,
    exploration: float = 1.4,
    policy: Literal["puct", "uct"] = "puct",
    players: Literal[1, 2] = 1,
    target: float | None = None,
    seed: int = 0,
    threads: int = 0,
    workers: int = 0,
    batch: int = 8,
) -> SearchResult:
    """Searches on from what the tree knows.

    A node is evaluated when a descent first comes to it and expanded when the second does; one that is expanded and has
    no edges is an end, whose value is used again.

    Args:
        tree: The tree; its statistics are continued.
        expand: Called with a fork of a state and a random generator that depends on ``seed`` and the node's id alone.
            If it fails, or one of its edits does, the node stays unexpanded.
        evaluate: Called with a fork of a state, which it may edit; gives a finite number, usually 0 to 1. With
            ``players=2`` as seen by whoever moves in that state.
        iterations: Descents to make.
        exploration: How much untried edges count against good ones, for values from 0 to 1.
        policy: ``"puct"`` (priors steer) or ``"uct"`` (every edge is tried first; priors give the order).
        players: 2 where players with opposite aims move in turn.
        target: Stop after the batch in which an evaluation gave at least this.
        seed: Of ``expand``'s random generators.
        threads: Evaluate in so many threads.
        workers: Evaluate in so many processes, which open the store read-only: ``evaluate`` must be a function that
            they can import, the store on disk, and the program's own start guarded by ``if __name__ == "__main__":``.
            Nodes are committed, and the store synced, before a batch is handed out.
        batch: Descents that are evaluated together; 1 is the textbook's search.

    Raises:
        SearchError: ``expand`` or ``evaluate`` raised (``__cause__``, if it was in this process), gave something
            unusable, or a worker died. Nothing of the batch was backed up.
        InvalidInputError: An argument cannot be.
        NotFoundError: The state of a node that was to be evaluated is lost.

    *Cost* beside the functions: some 10 µs per level of a descent; with workers one sync and one fresh opening per
    batch.
    """
    _check(iterations, exploration, policy, players, threads, workers, batch)
    run = _Search(tree, expand, exploration, policy, players, seed)
    left = iterations
    reached = False
    with _evaluator(tree, evaluate, threads, workers) as evaluator:
        while left and not reached:
            count = min(batch, left)
            best = run.batch(count, evaluator)
            left -= count
            reached = target is not None and best is not None and best >= target
            if tree._giving is not None:
                tree._giving.serve((run.best,))
    return run.result(iterations - left, reached)


def _check(
    iterations: int, exploration: float, policy: str, players: int, threads: int, workers: int, batch: int
) -> None:
    counts = (("iterations", iterations, 0), ("threads", threads, 0), ("workers", workers, 0), ("batch", batch, 1))
    for name, value, least in counts:
        if type(value) is not int or value < least:
            raise InvalidInputError(f"{name} is {value!r}; give a whole number, {least} or more.")
    if threads and workers:
        raise InvalidInputError("evaluate in threads or in workers, not in both.")
    if policy not in POLICIES:
        raise InvalidInputError(f"there is no policy {policy!r}; use {' or '.join(sorted(POLICIES))}.")
    if players not in (1, 2):
        raise InvalidInputError(f"players is {players!r}; give 1 or 2.")
    check_weight("exploration", exploration)


Evaluator = Callable[["StateTree", list[Node]], Iterator[Evaluated]]
"""Values of nodes and the branches as the evaluation left them, in order."""


def _evaluator(tree: StateTree, evaluate: Evaluate, threads: int, workers: int) -> AbstractContextManager[Evaluator]:
    if workers:
        from casstore.mcts.workers import Workers

        return Workers(tree, evaluate, workers)
    if threads:
        return InThreads(evaluate, threads)
    return nullcontext(evaluate_here(evaluate))


class _Search:
    """One run."""

    def __init__(
        self, tree: StateTree, expand: Expand, exploration: float, policy: str, players: int, seed: int
    ) -> None:
        self.tree = tree
        self.expand = expand
        self.exploration = exploration
        self.select = POLICIES[policy]
        self.sign = -1.0 if players == 2 else 1.0
        self.seed = seed
        self.best: Node | None = None
        self.best_value = float("-inf")
        self.evaluations = self.expanded = self.created = self.merged = self.cycles = 0

    def result(self, iterations: int, reached: bool) -> SearchResult:
        root = self.tree.root
        return SearchResult(
            best=self.best,
            edge=best_edge(root.edges),
            path=best_path(root, "visits"),
            reached=reached,
            iterations=iterations,
            evaluations=self.evaluations,
            expanded=self.expanded,
            created=self.created,
            merged=self.merged,
            cycles=self.cycles,
        )

    def batch(self, count: int, evaluator: Evaluator) -> float | None:
        """Makes ``count`` descents; returns the highest value of the nodes that were evaluated now."""
        paths: list[list[Edge]] = []
        ends: list[Node] = []
        waiting: dict[int, Node] = {}
        try:
            for _ in range(count):
                path, end = self._descend(waiting)
                for edge in path:
                    edge.pending += 1
                paths.append(path)
                ends.append(end)
                if not _is_evaluated(end):
                    waiting[end.id] = end
            nodes = list(waiting.values())
            found = self._evaluate(nodes, evaluator) if nodes else []
        finally:
            for path in paths:
                for edge in path:
                    edge.pending -= 1
        best = None
        for node, (value, _) in zip(nodes, found, strict=True):
            node.stats[VALUE] = value
            if value > self.best_value:
                self.best, self.best_value = node, value
            best = value if best is None else max(best, value)
        for path, end in zip(paths, ends, strict=True):
            value = end.stats[VALUE]
            for edge in reversed(path):
                value *= self.sign
                edge.visits += 1
                edge.value_sum += value
        for hook in self.tree._hooks.evaluated:
            for node, (_, branch) in zip(nodes, found, strict=True):
                hook(node, branch)
        return best

    def _descend(self, waiting: dict[int, Node]) -> tuple[list[Edge], Node]:
        """Edges from the root to a node that is to be evaluated, or that ends the descent."""
        node = self.tree.root
        path: list[Edge] = []
        passed = {node.id}
        while True:
            if not node.expanded:
                # The root is expanded at once: whoever searches wants to know what to do there.
                seen = node.edge is None or node.id in waiting or _is_evaluated(node)
                # What is lost cannot be expanded, but what is known of it holds.
                if not seen or node.id in self.tree.missing:
                    return path, node
                self._expand(node)
            if not node.edges:
                return path, node
            edge = self.select(node, self.exploration)
            path.append(edge)
            node = edge.child
            if node.id in passed:
                self.cycles += 1
                return path, node
            passed.add(node.id)

    def _expand(self, node: Node) -> None:
        tree = self.tree
        before = len(node.edges)
        branch = tree.backtrack_to(node)
        try:
            rng = random.Random(f"{self.seed}:{node.id}")
            for action, edits, prior in self.expand(branch, rng):
                tree.create_node(node, edits, action=action, prior=prior)
        except Exception as error:
            undo_edges(tree, node, before)
            raise SearchError(
                f"node {node.id} could not be expanded ({type(error).__qualname__}: {error}); mend `expand` and search "
                "on.",
                node_id=node.id,
            ) from error
        node.expanded = True
        new = node.edges[before:]
        created = sum(1 for edge in new if edge.child.edge is edge)
        self.expanded += 1
        self.created += created
        self.merged += len(new) - created
        # Here the next descents will go.
        for hook in tree._hooks.visited:
            hook(node, None)

    def _evaluate(self, nodes: list[Node], evaluator: Evaluator) -> list[Evaluated]:
        found = []
        for node, (value, branch) in zip(nodes, evaluator(self.tree, nodes), strict=True):
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                raise SearchError(
                    f"the evaluation of node {node.id} gave {value!r}; give a finite number.", node_id=node.id
                )
            found.append(Evaluated(number, branch))
        self.evaluations += len(nodes)
        return found


def _is_evaluated(node: Node) -> bool:
    return node._stats is not None and VALUE in node._stats
