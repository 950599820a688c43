# SPDX-License-Identifier: MIT
"""What runs in a worker process: a read-only opening of the store, a branch per task, a bundle of what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from casstore.address import Address
from casstore.opening import open_store
from casstore.store import Store

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.config import Config
    from casstore.mcts.evaluation import Evaluate


class Answer(NamedTuple):
    """What a worker sends: a value, or what was raised; and whether it left a bundle."""

    value: float
    bundle: bool = False
    error: str = ""
    message: str = ""


class _Worker:
    """This process's opening of the store."""

    __slots__ = ("_config", "_path", "_store", "evaluate")

    def __init__(self, path: str, config: Config, evaluate: Evaluate) -> None:
        self._path = path
        self._config = config
        self._store: Store | None = None
        self.evaluate = evaluate

    def close(self) -> None:
        """Gives the opening up."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def branch(self, state: Address) -> tuple[Store, Branch]:
        """A branch of a snapshot; the store is opened anew where this opening does not see it yet."""
        store = self._store
        if store is None or not store.storage.contains(state):
            self.close()
            store = self._store = open_store(self._path, read_only=True, config=self._config)
        return store, store.branch(state)


_worker: _Worker | None = None


def start(path: str, config: Config, evaluate: Evaluate) -> None:
    """Runs once in each worker process."""
    import signal
    from multiprocessing.util import Finalize

    global _worker
    # An interrupt reaches the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = _Worker(path, config, evaluate)
    # Not atexit: a process of a pool does not run what is registered there.
    Finalize(None, _worker.close, exitpriority=0)


def work(state: Address, bundle: str | None) -> Answer:
    """Evaluates a state; leaves what came of it in a bundle, where one is wanted and anything changed."""
    worker = _worker
    if worker is None:
        return Answer(0.0, error="RuntimeError", message="the worker process was not started as one")
    try:
        store, branch = worker.branch(state)
        value = float(worker.evaluate(branch))
        changed = bundle is not None and export_branch(store, branch, bundle)
    except Exception as error:
        # Exceptions of any kind need not survive the way to the parent; their words do.
        return Answer(0.0, error=type(error).__qualname__, message=str(error))
    return Answer(value, bundle=changed)


def export_branch(store: Store, branch: Branch, path: str) -> bool:
    """Writes what a branch of a read-only store changed as a bundle; False where that is nothing."""
    from casstore.collection.branch_overlay import branch_overlay
    from casstore.collection.bundle import OverlayReader, StorageReader, export_bundle

    start = branch.start
    if next(branch.changes(), None) is None:
        return False
    overlay = branch_overlay(store.storage, branch, "evaluated")
    # Not by its path: the parent adopts it at once, so it need not be durable.
    with open(path, "xb") as file:
        export_bundle(
            OverlayReader(overlay.records, StorageReader(store.storage)),
            file,
            [overlay.tip],
            exclude=() if start is None else [start.id],
            same_chunks=True,
        )
    return True
