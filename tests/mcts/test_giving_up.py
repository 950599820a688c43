# SPDX-License-Identifier: MIT
"""What a search gives up when space is short, and what it never does."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

import casstore
from casstore.branches import Branch
from casstore.collection.auto_collect import AutoCollector
from casstore.mcts import Node, StateTree, search
from casstore.mcts import giving_up as module
from casstore.testing.model import noise

SIZE = 10_000
ALL = 10**9


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    with casstore.open(":memory:") as opened:
        opened.configure(grace_seconds=0, undo_keep_seconds=0)
        yield opened


@pytest.fixture
def tree(store: casstore.Store) -> StateTree:
    """Ids: 0 → 1 → (3 → 5, 4), 0 → 2 → 6; the more visits, the lower the number among siblings."""
    tree = StateTree(store, history=False)
    for node_id, parent in {1: 0, 2: 0, 3: 1, 4: 1, 5: 3, 6: 2}.items():
        tree.create_node(tree[parent], {f"files/{node_id}": noise(SIZE, node_id)})
        edge = tree[node_id].edge
        assert edge is not None
        edge.visits = 10 - node_id
    return tree


def ids(tree: StateTree) -> list[int]:
    return [node.id for node in tree]


def test_the_lowest_weight_goes_first_and_leaves_before_what_leads_to_them(
    store: casstore.Store, tree: StateTree
) -> None:
    giving = tree.give_up_when_short(at_once=True)
    order = []
    before = set(ids(tree))
    while giving.ask(1):
        left = set(ids(tree))
        order += sorted(before - left)
        before = left
    # 0 → 1 → 3 → 5 is the best path; 6 and 2 weigh the same but for the prior, and 6 hangs on 2.
    weights = {4: 6 / 14, 2: 8 / 18}
    assert weights[4] * 9 / 18 < weights[2]
    assert order == [4, 6, 2]
    assert ids(tree) == [0, 1, 3, 5]
    assert giving.nodes == 3
    assert giving.given_bytes == 3 * SIZE
    assert giving.ask(ALL) == 0


def test_no_more_than_was_asked_for(tree: StateTree) -> None:
    giving = tree.give_up_when_short(at_once=True)
    assert giving.ask(SIZE + 1) == 2 * SIZE
    assert ids(tree) == [0, 1, 2, 3, 5]


def test_what_is_protected_stays_with_what_leads_to_it(tree: StateTree) -> None:
    giving = tree.give_up_when_short(at_once=True, protect=lambda node: node.id == 6)
    assert giving.ask(ALL) == SIZE
    assert ids(tree) == [0, 1, 2, 3, 5, 6]


def test_the_highest_value_stays(tree: StateTree) -> None:
    tree[4].stats["value"] = 0.9
    tree[6].stats["value"] = 0.8
    giving = tree.give_up_when_short(at_once=True)
    assert giving.ask(ALL) == 2 * SIZE
    assert ids(tree) == [0, 1, 3, 4, 5]


def test_what_a_ref_names_or_a_handle_pins_stays(store: casstore.Store, tree: StateTree) -> None:
    tree.save("search")
    named = tree[4].snapshot
    assert named is not None
    store.refs["best"] = named
    del named
    pin = store.storage.pin("snapshot", tree[6].snapshot_id)  # type: ignore[arg-type]
    giving = tree.give_up_when_short(at_once=True)
    assert giving.ask(ALL) == 0
    del pin
    assert giving.ask(ALL) == 2 * SIZE
    del store.refs["best"]
    assert giving.ask(ALL) == SIZE
    assert ids(tree) == [0, 1, 3, 5]


def test_what_a_descent_is_in_stays(tree: StateTree) -> None:
    edge = tree[6].edge
    assert edge is not None
    edge.pending = 1
    giving = tree.give_up_when_short(at_once=True)
    giving.ask(ALL)
    assert ids(tree) == [0, 1, 2, 3, 5, 6]


def test_nodes_that_several_lead_to(store: casstore.Store) -> None:
    tree = StateTree(store, merge_transpositions=True, history=False)
    a = tree.create_node(tree.root, {"files/a": noise(SIZE, 1)})
    b = tree.create_node(tree.root, {"files/b": noise(SIZE, 2)})
    both = tree.create_node(a, {"files/b": noise(SIZE, 2)})
    assert tree.create_node(b, {"files/a": noise(SIZE, 1)}) is both
    for node, visits in ((a, 10), (b, 1), (both, 5)):
        assert node.edge is not None
        node.edge.visits = visits
    giving = tree.give_up_when_short(at_once=True)
    giving.ask(ALL)
    # `b` leads to a node that stays, which is on the best path by another edge.
    assert ids(tree) == [0, a.id, both.id]
    assert both.merged == ()


def test_what_lost_all_it_led_to_is_no_end(tree: StateTree) -> None:
    for node in tree:
        node.expanded = True
    tree.give_up_when_short(at_once=True, protect=lambda node: node.id == 2).ask(ALL)
    assert not tree[2].expanded
    # A node that still leads somewhere is as it was.
    assert tree[1].expanded


def test_a_tree_that_others_work_on_answers_when_it_is_asked_to(
    tree: StateTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    giving = tree.give_up_when_short()
    assert giving.serve() == 0
    assert giving.ask(SIZE) == 0
    assert len(tree) == 7
    # In time or not, what was asked for is done.
    assert giving.serve() == SIZE
    assert ids(tree) == [0, 1, 2, 3, 5, 6]
    assert giving.serve() == 0
    assert giving.ask(SIZE) == 0
    assert giving.serve([None, tree[6]]) == 0
    assert len(tree) == 6


def test_a_search_gives_up_between_two_batches(store: casstore.Store) -> None:
    tree = StateTree(store, history=False)
    rng = random.Random(1)
    giving = tree.give_up_when_short()
    answers: list[int] = []
    asking = threading.Event()

    def expand(branch: Branch, rng: random.Random) -> Iterable[tuple[Any, Any, float]]:
        for number in range(3):
            yield number, {f"files/{len(branch.files)}": noise(SIZE, rng.randrange(10**6))}, 1.0

    def evaluate(branch: Branch) -> float:
        if len(tree) > 30 and not asking.is_set():
            asking.set()
            thread.start()
            while not giving._wanted:
                time.sleep(0.001)
        return rng.random()

    thread = threading.Thread(target=lambda: answers.append(giving.ask(5 * SIZE)))
    result = search(tree, expand, evaluate, iterations=200, batch=4)
    thread.join(10)
    assert len(answers) == 1
    assert answers[0] >= 5 * SIZE
    assert giving.nodes >= 5
    assert result.best is not None
    assert result.best in tree
    for node in tree:
        assert node.path[0] is tree.root
        assert dict(node.open().files) is not None


def test_what_is_given_up_comes_free(store: casstore.Store, tree: StateTree) -> None:
    tree.save("search")
    for node in tree:
        node._branch = None
    store.configure(max_bytes=int(store.storage.backend.used_bytes() * 1.05))
    before = store.storage.backend.used_bytes()
    giving = tree.give_up_when_short(at_once=True, save=True)
    collector = AutoCollector(store)
    assert collector.look() == "quota"
    assert giving.nodes >= 1
    assert collector.status().given_up_bytes == giving.given_bytes
    assert store.storage.backend.used_bytes() < before - 0.9 * giving.given_bytes
    again = StateTree.resume(store, "search")
    assert ids(again) == ids(tree)
    for node in again:
        assert dict(node.open().files) == dict(tree[node.id].open().files)
    store.verify()


def test_a_ref_that_is_somebody_elses_by_now_is_left_alone(store: casstore.Store, tree: StateTree) -> None:
    tree.save("search")
    other = store.branch().commit("other")
    store.refs["search"] = other
    giving = tree.give_up_when_short(at_once=True, save=True)
    assert giving.ask(SIZE) == SIZE
    assert store.refs["search"].id == other.id


def test_it_ends_with_stop_and_with_the_tree(store: casstore.Store, tree: StateTree) -> None:
    giving = tree.give_up_when_short(at_once=True)
    second = tree.give_up_when_short(at_once=True)
    assert list(store.givers) == [second.ask]
    giving.stop()
    assert [tree._giving] == [second]
    second.stop()
    assert not store.givers
    assert [tree._giving] == [None]
    third = StateTree(store)
    third.give_up_when_short()
    assert len(store.givers) == 1
    del third
    gc.collect()
    assert not store.givers


def test_lost_states_do_not_stop_it(tree: StateTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def own_bytes_of(node: Node) -> int:
        raise casstore.NotFoundError("lost; go back to another node.")

    monkeypatch.setattr(module, "own_bytes_of", own_bytes_of)
    assert tree.give_up_when_short(at_once=True).ask(1) == 0
    assert ids(tree) == [0, 1, 3, 5]
