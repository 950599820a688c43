# SPDX-License-Identifier: MIT
"""Evaluating nodes in this process: one after the other, or in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from casstore.branches import Branch
from casstore.mcts.errors import SearchError
from casstore.mcts.node import Node

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from types import TracebackType

    from casstore.mcts.tree import StateTree

Evaluate = Callable[[Branch], float]
"""Says how good a state is. It gets a branch of its own, which it may edit."""


class Evaluated(NamedTuple):
    """What an evaluation gave, and the branch as it left it."""

    value: float
    branch: Branch


def evaluate_here(evaluate: Evaluate) -> Callable[[StateTree, list[Node]], Iterator[Evaluated]]:
    """Evaluates in the caller's thread."""

    def run(tree: StateTree, nodes: list[Node]) -> Iterator[Evaluated]:
        # All are forked before the first is evaluated, as with threads, so that hooks see the same order.
        for node, branch in [(node, tree.backtrack_to(node)) for node in nodes]:
            yield _evaluate(evaluate, node, branch)

    return run


class InThreads:
    """Evaluates in threads."""

    def __init__(self, evaluate: Evaluate, threads: int) -> None:
        self._evaluate = evaluate
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Callable[[StateTree, list[Node]], Iterator[Evaluated]]:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = pool = ThreadPoolExecutor(self._threads, "casstore-evaluate")

        def run(tree: StateTree, nodes: list[Node]) -> Iterator[Evaluated]:
            branches = [tree.backtrack_to(node) for node in nodes]
            futures = [
                pool.submit(_evaluate, self._evaluate, node, branch)
                for node, branch in zip(nodes, branches, strict=True)
            ]
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _evaluate(evaluate: Evaluate, node: Node, branch: Branch) -> Evaluated:
    try:
        return Evaluated(evaluate(branch), branch)
    except Exception as error:
        raise failed(node.id, type(error).__qualname__, str(error)) from error


def failed(node_id: int, kind: str, message: str) -> SearchError:
    """The error of an evaluation that raised."""
    return SearchError(
        f"the evaluation of node {node_id} raised {kind}: {message}. Nothing of its batch was counted; mend `evaluate` "
        "and search on.",
        node_id=node_id,
    )
