# SPDX-License-Identifier: MIT
"""Evaluation in worker processes: the same results, what they wrote adopted, failures named and nothing left."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import casstore
from casstore.errors import InvalidInputError, ReadOnlyError
from casstore.mcts import SearchError, StateTree, search

FAST = casstore.Config(sync="off")


@pytest.fixture(scope="module")
def functions() -> Iterator[ModuleType]:
    """The module `evaluations`, under a name that a fresh process can import too: it gets this one's `sys.path`."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("evaluations")
    finally:
        sys.path.remove(folder)
        sys.modules.pop("evaluations", None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[casstore.Store]:
    with casstore.open(tmp_path / "s", config=FAST) as opened:
        branch = opened.branch()
        branch.files["start"] = b"s" * 1000
        branch.objects["place"] = 0
        branch.commit(ref="main")
        yield opened


def left_over(store: casstore.Store) -> list[str]:
    """What workers left among the readers' files, when those of dead processes are swept."""
    store.pins()
    return os.listdir(os.path.join(store.path, "readers"))


def test_workers_find_what_the_process_itself_finds(store: casstore.Store, functions: ModuleType) -> None:
    found: list[Any] = []
    for workers in (0, 2):
        tree = StateTree(store, "main", merge_transpositions=True)
        seen: list[Any] = []
        tree.on(
            "evaluated",
            lambda node, branch, seen=seen: seen.append((node.id, branch.objects["log"], dict(branch.files))),
        )
        result = search(tree, functions.walk, functions.note, iterations=60, workers=workers, batch=5, seed=1)
        assert len(seen) == result.evaluations == 12
        nodes = [(n.id, n.stats, n.state_id, [(e.action, e.visits, e.value_sum) for e in n.edges]) for n in tree]
        found.append((nodes, seen))
    assert found[0] == found[1]
    assert left_over(store) == []
    # What was adopted is as good as what was written here, and goes when nobody has it.
    store.verify()
    tree.save("tree")
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    store.verify()


def test_failures_are_named_and_leave_nothing(store: casstore.Store, functions: ModuleType) -> None:
    for evaluate, words in ((functions.fail, "KeyError: 'the sensor'"), (functions.die, "a worker process died")):
        tree = StateTree(store, "main")
        with pytest.raises(SearchError, match=words) as caught:
            search(tree, functions.walk, evaluate, iterations=200, workers=1, batch=4)
        assert caught.value.node_id in [node.id for node in tree]
        assert tree.root.visits % 4 == 0
        assert all(edge.pending == 0 for node in tree for edge in node.edges)
        assert left_over(store) == []
        # The tree is as good as before.
        search(tree, functions.walk, functions.look, iterations=8)
        tree.save(f"after-{evaluate.__name__}")
    store.verify()


def test_what_cannot_be_handed_to_workers(store: casstore.Store, functions: ModuleType, tmp_path: Path) -> None:
    tree = StateTree(store, "main")
    with pytest.raises(InvalidInputError, match="cannot import"):
        search(tree, functions.walk, lambda branch: 0.0, iterations=5, workers=1)
    with casstore.open(":memory:") as memory, pytest.raises(InvalidInputError, match="on disk"):
        search(StateTree(memory), functions.walk, functions.look, iterations=5, workers=1)
    with casstore.open(tmp_path / "s", read_only=True) as reader, pytest.raises(ReadOnlyError):
        search(StateTree(reader, "main"), functions.walk, functions.look, iterations=5, workers=1)


def test_bundles_of_a_writer_that_died_are_removed(store: casstore.Store, functions: ModuleType) -> None:
    from casstore.mcts.workers import Workers

    old = Path(store.path) / "readers" / "bundles-1-abc"
    old.mkdir(parents=True)
    (old / "1").write_bytes(b"half a bundle")
    with Workers(StateTree(store, "main"), functions.look, 1):
        assert not old.exists()
    assert left_over(store) == []
