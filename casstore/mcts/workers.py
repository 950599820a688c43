# SPDX-License-Identifier: MIT
"""Evaluating nodes in worker processes.

A worker opens the store read-only and works on a branch of its own. What it made of it comes back as a bundle, which is
verified before anything of it enters the store; a worker that dies or raises leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from casstore.errors import InvalidInputError, ReadOnlyError
from casstore.layout import READERS
from casstore.mcts.errors import SearchError
from casstore.mcts.evaluation import Evaluate, Evaluated, failed
from casstore.mcts.node import Node
from casstore.mcts.saving import commit_node
from casstore.mcts.worker_process import Answer, start, work

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor
    from types import TracebackType

    from casstore.branches import Branch
    from casstore.mcts.tree import StateTree

_PREFIX: Final = "bundles-"


class Workers:
    """Processes that evaluate. Use it as a context manager, which gives the function that does it."""

    def __init__(self, tree: StateTree, evaluate: Evaluate, count: int) -> None:
        store = tree.store
        if not os.path.isdir(store.path):
            raise InvalidInputError("workers need a store on disk; open one at a path, or evaluate in threads.")
        if store.read_only:
            raise ReadOnlyError("the store is open read-only, so no state can be handed to workers; use threads.")
        _check_importable(evaluate)
        self._tree = tree
        self._evaluate = evaluate
        self._count = count
        self._folder = ""
        self._number = 0
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Callable[[StateTree, list[Node]], Iterator[Evaluated]]:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        store = self._tree.store
        self._folder = _make_folder(os.path.join(store.path, READERS))
        self._pool = ProcessPoolExecutor(
            self._count,
            mp_context=get_context("spawn"),
            initializer=start,
            initargs=(os.path.abspath(store.path), store.config, self._evaluate),
        )
        return self._run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, tree: StateTree, nodes: list[Node]) -> Iterator[Evaluated]:
        from concurrent.futures.process import BrokenProcessPool

        pool = self._pool
        if pool is None:
            return
        states = [commit_node(tree, node) for node in nodes]
        # Readers see what is synced, and nothing else.
        tree.store.sync()
        wanted = bool(tree._hooks.evaluated)
        futures: list[Future[Answer]] = []
        paths = []
        try:
            for state in states:
                self._number += 1
                path = os.path.join(self._folder, str(self._number))
                paths.append(path)
                futures.append(pool.submit(work, state, path if wanted else None))
            for node, path, future in zip(nodes, paths, futures, strict=True):
                answer = future.result()
                if answer.error:
                    raise failed(node.id, answer.error, answer.message)
                branch = self._adopt(path) if answer.bundle else node.open().fork()
                yield Evaluated(answer.value, branch)
        except BrokenProcessPool as error:
            ids = ", ".join(str(node.id) for node in nodes)
            raise SearchError(
                f"a worker process died while nodes {ids} were evaluated; nothing of them was counted. Run `evaluate` "
                "in this process (workers=0) to see why, and give workers enough memory.",
                node_id=nodes[0].id,
            ) from error
        finally:
            for future in futures:
                future.cancel()

    def _adopt(self, path: str) -> Branch:
        """A branch of the state that a worker's bundle brings."""
        from casstore.collection.bundle import adopt_bundle

        store = self._tree.store
        report = adopt_bundle(store.storage, store.nodes, path)
        branch = store.branch(report.tips[0])
        # The branch keeps the snapshot from the collector from here on.
        with contextlib.suppress(OSError):
            os.truncate(path, 0)
        return branch


def _check_importable(evaluate: Evaluate) -> None:
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.dumps(evaluate)
    except Exception as error:
        raise InvalidInputError(
            f"workers cannot import {evaluate!r} ({error}); give a function of a module, not one made inside another."
        ) from error


def _make_folder(readers: str) -> str:
    """A folder for bundles among the readers' files; what a writer that died left there is removed."""
    os.makedirs(readers, mode=0o700, exist_ok=True)
    own = f"{_PREFIX}{os.getpid()}-"
    for name in os.listdir(readers):
        # There is one writer at a time, and that is this process.
        if name.startswith(_PREFIX) and not name.startswith(own):
            shutil.rmtree(os.path.join(readers, name), ignore_errors=True)
    return tempfile.mkdtemp(prefix=own, dir=readers)
