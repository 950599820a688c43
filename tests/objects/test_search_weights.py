# SPDX-License-Identifier: MIT
"""Priorities that follow a search: what a node reaches counts with its weight, what many share with all of theirs."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.errors import CasstoreError, NotFoundError
from casstore.mcts import Node, StateTree
from casstore.objects import Materializer, Prefetcher
from casstore.objects.reach import LEAST_REST_SECONDS, LONG_SECONDS, NEW_NODES, RESTS, SearchWeights
from tests.objects.loading_fakes import LONG, Monitor, blocked


def visit(node: Node, number: int = 1) -> None:
    for one in node.path[1:]:
        one.edge.visits += number  # type: ignore[union-attr]


def plainly(tree: StateTree, key: str, entry: Any) -> float:
    """The sum over the nodes whose state has the entry, by looking into every state."""
    found = 0.0
    for node in tree:
        if dict(node.open().objects.entries()).get(key) == entry:
            found += tree.weight(node)
    return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.integers(0, 30), st.sampled_from(["a", "b/c", "d"]), st.integers(0, 3)),
        st.tuples(st.just("gone"), st.integers(0, 30), st.sampled_from(["a", "b/c", "d"])),
        st.tuples(st.just("visit"), st.integers(0, 30), st.integers(1, 5)),
        st.tuples(st.just("fold"), st.integers(0, 30)),
        st.tuples(st.just("save"), st.booleans()),
        st.tuples(st.just("prune"), st.integers(0, 30)),
        st.tuples(st.just("collapse"), st.integers(0, 30)),
        st.tuples(st.just("refresh")),
    ),
    max_size=25,
)


@given(STEPS, st.booleans())
def test_the_sum_is_that_of_looking_into_every_state(steps: list[Any], merge: bool) -> None:
    with casstore.open(":memory:") as store:
        start = store.branch()
        start.objects.update({"a": "x" * 300, "kept": 1})
        tree = StateTree(store, start, merge_transpositions=merge)
        reach = tree.reach()
        for word, *rest in steps:
            nodes = list(tree)
            node = nodes[rest[0] % len(nodes)] if rest and type(rest[0]) is int else tree.root
            if word == "node":
                # Long values wait in memory, short ones stand in the entry.
                tree.create_node(node, {f"objects/{rest[1]}": rest[2] if rest[2] < 2 else str(rest[2]) * 200})
            elif word == "gone":
                if rest[1] in node.open().objects:
                    tree.create_node(node, lambda branch, key=rest[1]: branch.objects.__delitem__(key))
            elif word == "visit":
                visit(node, rest[1])
            elif word == "fold":
                node.open().fold()
            elif word == "save":
                tree.save("tree", unload=rest[0])
            elif word == "prune":
                tree.prune_unreachable([node])
            elif word == "collapse":
                tree.collapse(node)
            else:
                reach.refresh()
        reach.refresh()
        pairs = {pair for node in tree for pair in node.open().objects.entries()}
        assert pairs
        for key, entry in pairs:
            assert reach.weight(key, entry) == pytest.approx(plainly(tree, key, entry), abs=1e-9)
            assert reach.weight("other", entry) == 0.0


def test_a_shared_object_has_the_weights_of_all_nodes_that_reach_it(store: casstore.Store) -> None:
    start = store.branch()
    start.objects.update({"shared": "s" * 300, "own": "o" * 300})
    tree = StateTree(store, start)
    likely = tree.create_node(tree.root, {"objects/own": "l" * 300}, prior=3.0)
    other = tree.create_node(tree.root, {"objects/own": "r" * 300}, prior=1.0)
    with Materializer(store, tree=tree) as home:
        refs = {
            name: home.register(node.open(), key)
            for name, node, key in (("shared", other, "shared"), ("likely", likely, "own"), ("other", other, "own"))
        }
        found = {name: ref.priority for name, ref in refs.items()}
        assert found == {"shared": pytest.approx(2.0), "likely": pytest.approx(0.75), "other": pytest.approx(0.25)}
        # A snapshot of the same state says the same; a key that is nowhere, an entry and a function have none.
        snapshot = likely.open().fork().commit()
        assert home.register(snapshot, "own").priority == pytest.approx(0.75)
        assert home.register(snapshot, "missing").priority == 0.0
        assert home.register(likely.open().objects.entry("own")).priority == 0.0
        assert home.register(lambda: 1).priority == 0.0
        assert home.register(snapshot, "own", priority=7).priority == 7
        # Not with each visit, but when somebody asks.
        visit(other, 9)
        assert refs["other"].priority == pytest.approx(0.25)
        home.reprioritize()
        assert refs["other"].priority == pytest.approx(9.25 / 10)
        assert refs["likely"].priority == pytest.approx(0.75 / 10)
        # A node that came since counts at once, by what it set.
        new = tree.create_node(other, {"objects/new": "n" * 300})
        assert home.register(new.open(), "new").priority == pytest.approx(9.25 / 10)


def test_several_searches_add_up_and_may_be_left(store: casstore.Store) -> None:
    start = store.branch()
    start.objects["x"] = "x" * 300
    snapshot = start.commit()
    trees = [StateTree(store, snapshot) for _ in range(2)]
    with Materializer(store, tree=trees[0]) as home:
        ref = home.register(snapshot, "x")
        assert ref.priority == 1.0
        end = home.follow(trees[1])
        assert ref.priority == 2.0
        end()
        end()
        assert ref.priority == 1.0
        gone = weakref.ref(trees.pop(0))
        gc.collect()
        assert gone() is None, "the search is not kept alive"
        assert ref.priority == 0.0
        home.reprioritize()
    with Materializer(store) as home:
        home.follow(trees[0])
        assert home.register(snapshot, "x").priority == 1.0


def test_what_waits_is_loaded_by_the_weights_of_now(store: casstore.Store) -> None:
    tree = StateTree(store)
    nodes = [tree.create_node(tree.root, {"objects/x": str(number) * 300}) for number in range(3)]
    with Materializer(store, tree=tree, threads=1) as home:
        gate = blocked(home)
        order: list[str] = []
        home._loader.observer = lambda ref, loaded: order.append(ref._held.value[0])
        refs = [home.register(node.open(), "x") for node in nodes]
        ticket = home.preload(refs)
        for node, visits in zip(nodes, (1, 5, 3)):
            visit(node, visits)
        home.reprioritize()
        gate.go.set()
        assert ticket.wait(LONG)
        assert order[-3:] == ["1", "2", "0"]


def test_what_a_search_left_behind_is_what_leaves(store: casstore.Store) -> None:
    tree = StateTree(store)
    nodes = [tree.create_node(tree.root, {"objects/x": [number] * 2000}) for number in range(4)]
    monitor = Monitor()
    with Materializer(store, tree=tree, monitor=monitor, max_bytes=200_000) as home:
        refs = [home.register(node.open(), "x") for node in nodes]
        for ref in refs:
            ref.get()
        visit(nodes[2], 20)
        visit(nodes[0], 10)
        home.reprioritize()
        least = home.status().loaded_bytes / home.status().max_bytes
        monitor.say(1 / 3 + (1 - least * 0.6) * 2 / 3 / 0.9)
        assert [ref.is_loaded for ref in refs] == [True, False, True, False]


def test_several_refs_to_one_object(store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects.update({"x": b"x" * 300, "same": b"x" * 300})
    states = [branch.commit(str(number)) for number in range(2)]
    weights = {state.id: weight for state, weight in zip(states, (0.25, 0.5))}
    with Materializer(store, weigh=lambda state: weights.get(state, 0.0)) as home:
        refs = [home.register(state, "x") for state in states]
        refs.append(home.register(states[0], "x", type=bytes))
        for ref in refs:
            ref.get()
        home.reprioritize()
        held: Any = refs[0]._held
        assert len(held.refs()) == 3
        assert held.priority == pytest.approx(0.75), "each state once"
        refs[0].priority = 0.9
        home.reprioritize()
        assert held.priority == 0.9
        refs[0].priority = None
        home.reprioritize()
        assert held.priority == pytest.approx(0.75)
    tree = StateTree(store, states[0])
    with Materializer(store, tree=tree) as home:
        refs = [home.register(state, key) for state in states for key in ("x", "same")]
        for ref in refs:
            ref.get()
        home.reprioritize()
        held = refs[0]._held
        assert len(held.refs()) == 4
        assert held.priority == pytest.approx(2.0), "each key once, as each sums over all nodes"


class Fake:
    """A search that counts, and takes its time."""

    def __init__(self, clock: list[float], cost: float) -> None:
        self.clock, self.cost = clock, cost
        self.asked: list[int | None] = []

    def reach(self) -> Fake:
        return self

    def on_visit(self, callback: Any) -> Any:
        raise AssertionError

    def weight(self, key: str, entry: Any) -> float:
        return 1.0

    def refresh(self, most: int | None = None) -> bool:
        self.asked.append(most)
        self.clock[0] += self.cost
        return True


def test_weights_are_taken_over_for_a_twentieth_of_the_time() -> None:
    clock = [0.0]
    for cost in (0.0001, 0.01, 1.0):
        search = Fake(clock, cost)
        weights = SearchWeights(clock=lambda: clock[0])
        assert not weights.reaches
        assert not weights.refresh_if_due(in_haste=False)
        weights.add(search)
        began, spent = clock[0], 0.0
        for _ in range(100_000):
            before = clock[0]
            weights.refresh_if_due(in_haste=False)
            spent += clock[0] - before
            clock[0] += max(cost, LEAST_REST_SECONDS) / 10
            if len(search.asked) > 20:
                break
        assert set(search.asked) == {NEW_NODES}
        assert spent / (clock[0] - began) <= 1 / RESTS
        # Who waits for an object does not wait for that too, where it takes long.
        clock[0] += 100 * cost + LEAST_REST_SECONDS
        assert weights.refresh_if_due(in_haste=True) == (cost <= LONG_SECONDS)
        # Who asks for it gets it at once, and all of it.
        weights.refresh()
        assert search.asked[-1] is None


def test_weights_follow_by_themselves_where_it_matters(store: casstore.Store) -> None:
    clock = [0.0]
    branch = store.branch()
    for number in range(20):
        branch.objects[f"k/{number}"] = [number] * 1000
    snapshot = branch.commit()
    monitor = Monitor()
    with Materializer(store, max_bytes=100_000, monitor=monitor) as home:
        home.search = SearchWeights(clock=lambda: clock[0])
        search = Fake(clock, 0.0)
        home.follow(search)
        for act in (
            lambda: [ref.get() for ref in home.members(snapshot)],
            lambda: home.preload(home.members(snapshot)).wait(LONG),
            lambda: (monitor.say(0.0), monitor.say(0.9)),
        ):
            clock[0] += 1
            before = len(search.asked)
            act()
            assert len(search.asked) == before + 1
        assert search.asked[0] is None


def test_new_nodes_are_looked_into_a_few_at_a_time(store: casstore.Store) -> None:
    tree = StateTree(store)
    reach = tree.reach()
    nodes = [tree.create_node(tree.root, {"objects/x": str(number) * 300}) for number in range(10)]
    entries = [node.open().objects.entry("x") for node in nodes]
    reach.refresh(4)
    assert sum(reach.weight("x", entry) > 0 for entry in entries) == 4
    reach.refresh(4)
    reach.refresh(4)
    assert sum(reach.weight("x", entry) for entry in entries) == pytest.approx(1.0)
    tree.discard()
    reach.refresh()
    assert all(reach.weight("x", entry) == 0.0 for entry in entries)


def test_a_search_that_goes_on_meanwhile(store: casstore.Store) -> None:
    tree = StateTree(store)
    stop = threading.Event()
    wrong: list[Any] = []
    with Materializer(store, tree=tree, threads=2) as home:
        ahead = Prefetcher(home)
        ahead.follow(tree)

        def ask() -> None:
            while not stop.is_set():
                for node in list(tree)[-3:]:
                    ref = home.register(node.open(), "x")
                    if not 0 <= ref.priority <= 1000:
                        wrong.append(ref.priority)
                    try:
                        home.preload([ref])
                        ref.get(timeout=LONG)
                    except NotFoundError:
                        continue
                    except CasstoreError as error:
                        wrong.append(error)
                home.reprioritize()

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(150):
            nodes = list(tree)
            node = tree.create_node(nodes[number * 7 % len(nodes)], {"objects/x": str(number) * 200})
            visit(node)
            tree.backtrack_to(node)
        stop.set()
        for thread in threads:
            thread.join(LONG)
            assert not thread.is_alive()
        assert not wrong
        home.reprioritize()
        for node in tree:
            for key, entry in node.open().objects.entries():
                assert home.register(node.open(), key).priority == pytest.approx(plainly(tree, key, entry))


def test_a_tree_whose_states_are_lost_weighs_what_is_left(store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects["x"] = "x" * 300
    tree = StateTree(store, branch)
    reach = tree.reach()
    node = tree.create_node(tree.root, {"objects/y": "y" * 300})
    node._branch = None
    reach.refresh()
    assert reach.weight("x", branch.objects.entry("x")) == pytest.approx(2.0)


def test_a_node_that_is_reached_another_way_by_now(store: casstore.Store) -> None:
    tree = StateTree(store, merge_transpositions=True)
    one = tree.create_node(tree.root, {"objects/x": "1" * 300})
    two = tree.create_node(tree.root, {"objects/x": "2" * 300, "objects/y": "y" * 300})
    both = tree.create_node(one, {"objects/y": "y" * 300})
    assert tree.create_node(two, {"objects/x": "1" * 300}) is both
    reach = tree.reach()
    reach.refresh()
    tree.collapse(two)
    reach.refresh()
    assert both.parent is two
    for node in (two, both):
        for key, entry in node.open().objects.entries():
            assert reach.weight(key, entry) == pytest.approx(plainly(tree, key, entry))


def test_a_deep_tree_and_a_large_state(store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects.update({f"k/{number:04d}": str(number) * 50 for number in range(2000)})
    tree = StateTree(store, branch)
    node = tree.root
    for number in range(1200):
        node = tree.create_node(node, {f"objects/k/{number:04d}": "changed" * 40})
    reach = tree.reach()
    reach.refresh()
    assert reach.weight("k/1999", branch.objects.entry("k/1999")) == pytest.approx(1201.0)
    assert reach.weight("k/0100", branch.objects.entry("k/0100")) == pytest.approx(101.0)
    assert reach.weight("k/0100", node.open().objects.entry("k/0100")) == pytest.approx(1100.0)
