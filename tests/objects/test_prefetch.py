# SPDX-License-Identifier: MIT
"""Prefetch: what it learns, that it stays within its bounds, and that it stops where it does not pay."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.branches import Branch
from casstore.errors import InvalidInputError, NotFoundError
from casstore.mcts import StateTree
from casstore.objects import Materializer, Prefetcher
from casstore.objects.places import BranchPlace
from casstore.objects.successors import FOLLOWERS, Followers, Successors, shape_of, step_between, take_step
from tests.objects.loading_fakes import until

LONG = 20.0


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    with casstore.open(":memory:") as store:
        yield store


def steps(store: casstore.Store, number: int, size: int = 300, agent: str = "agent") -> casstore.Snapshot:
    """A state with ``number`` steps, each a plan and a result."""
    branch = store.branch()
    for place in range(number):
        branch.objects[f"{agent}/{place:03d}/plan"] = {"plan": place, "text": agent + "p" * size}
        branch.objects[f"{agent}/{place:03d}/result"] = {"result": place, "text": agent + "r" * size}
    return branch.commit()


def settle(home: Materializer) -> None:
    """Waits until everything that was asked for ahead is done."""
    until(lambda: not home._pool.is_at_work)


def walk(home: Materializer, state: casstore.Snapshot | Branch, keys: list[str], *, wait: bool = True) -> None:
    """Reads objects one after the other; each is unloaded before the next but one."""
    for key in keys:
        value = home.register(state, key).get()
        assert value["text"]
        if wait:
            settle(home)


def keys_of(number: int, agent: str = "agent") -> list[str]:
    return [f"{agent}/{place:03d}/{part}" for place in range(number) for part in ("plan", "result")]


# -- what is learned


@given(st.from_regex(r"[a-c]{0,2}([0-9]{1,4}[a-c/]{1,3}){0,3}", fullmatch=True), st.data())
def test_a_step_leads_where_it_came_from(before: str, data: st.DataObject) -> None:
    after = data.draw(st.from_regex(r"[a-c]{0,2}([0-9]{1,4}[a-c/]{1,3}){0,3}", fullmatch=True))
    assert take_step(before, step_between(before, after)) == after


def test_shapes_and_steps() -> None:
    assert shape_of("step/007/plan") == ("step/#/plan", ("007",))
    assert shape_of("plain") == ("plain", ())
    assert take_step("step/041/plan", step_between("step/007/plan", "step/007/result")) == "step/041/result"
    assert take_step("step/041/result", step_between("step/007/result", "step/008/plan")) == "step/042/plan"
    assert take_step("step/9", step_between("step/1", "step/2")) == "step/10"
    assert take_step("step/099", step_between("step/007", "step/008")) == "step/100"
    assert take_step("step/0", step_between("step/2", "step/1")) is None
    assert take_step("step/5", step_between("step/1", "step/900")) == "step/900", "too far apart to be a stride"
    assert take_step("step", step_between("a/1", "b/2")) is None
    assert take_step("x", step_between("x", "y/" + "9" * 40)) == "y/" + "9" * 40


def test_followers_forget_what_is_no_more_true() -> None:
    followers: Followers[str] = Followers()
    for number in range(100):
        followers.add(f"rare{number}")
    assert len(followers.counts) <= FOLLOWERS
    for _ in range(30):
        followers.add("a")
    for _ in range(40):
        followers.add("b")
    assert followers.likely()[0][0] == "b"
    assert followers.likely()[0][1] > 0.5
    once: Followers[str] = Followers()
    once.add("a")
    assert once.likely() == [("a", 0.5)]


def test_tables_are_bounded() -> None:
    known = Successors(max_keys=50, max_shapes=20)
    for number in range(5000):
        known.learn(f"{'abcdefghij'[number % 10]}x{number}", f"y{number}/" + "z" * (number % 97))
    assert len(known.keys) == 50
    assert len(known.shapes) <= 20


def test_a_chain_multiplies_and_does_not_return() -> None:
    known = Successors(100, 100)
    for _ in range(8):
        known.learn("a", "b")
        known.learn("b", "c")
        known.learn("c", "a")
    found = dict(known.chain("a", 5, 0.1))
    assert found == {"b": 1.0, "c": 1.0}
    known.learn("b", "x")
    found = dict(known.chain("a", 2, 0.05))
    assert found["c"] > found["x"] > 0.05
    assert "x" not in dict(known.chain("a", 2, 0.5))


# -- what is loaded ahead


def test_it_loads_ahead_what_it_has_learned(store: casstore.Store) -> None:
    state = steps(store, 30)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        walk(home, state, keys_of(30))
        status = ahead.status()
        assert status.hits >= 50
        assert status.hits + status.wasted + status.waiting <= status.issued
        assert status.hit_share > 0.8
        assert status.saved_seconds > 0
        assert status.active
        # Each object was read once, by whomever.
        assert home.status().loads <= 62


def test_what_one_agent_does_serves_the_others(store: casstore.Store) -> None:
    one, other = steps(store, 30), steps(store, 30, size=400)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        walk(home, one, keys_of(30))
        before = ahead.status().hits
        walk(home, other, keys_of(3))
        assert ahead.status().hits - before >= 4


def test_agents_that_take_turns_do_not_confuse_each_other(store: casstore.Store) -> None:
    states = [steps(store, 20, agent="a"), steps(store, 20, agent="b")]
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        agents = [(copy_context(), state, iter(keys_of(20, name))) for state, name in zip(states, "ab", strict=True)]
        for _ in range(40):
            for context, state, keys in agents:
                context.run(walk, home, state, [next(keys)])
        assert ahead.status().hits > 60

        async def agent(state: casstore.Snapshot, name: str) -> None:
            for key in keys_of(20, name):
                await home.load(home.register(state, key), timeout=LONG)

        async def both() -> None:
            await asyncio.gather(*(agent(state, name) for state, name in zip(states, "ab", strict=True)))

        asyncio.run(both())


def test_what_is_loaded_ahead_is_nobodys_until_asked_for(store: casstore.Store) -> None:
    state = steps(store, 10)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        assert ahead.expect([(state, 1.0)], ["agent/000/plan", "missing"]) == 1
        settle(home)
        assert ahead.status().waiting == 1
        assert ahead.expect([(state, 1.0)], ["agent/000/plan"]) == 0
        one, other = home.register(state, "agent/000/plan"), home.register(state, "agent/000/plan")
        one.get()["text"] = "mine"
        assert other.get()["text"] != "mine"
        assert ahead.status().hits == 1
        assert (ahead.status().waiting, ahead.status().waiting_bytes) == (0, 0)


def test_what_can_be_shared_counts_as_well(store: casstore.Store) -> None:
    branch = store.branch()
    for place in range(20):
        branch.objects[f"blob/{place:02d}"] = bytes([place]) * 1000
    state = branch.commit()
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        for place in range(20):
            assert home.register(state, f"blob/{place:02d}").get()[0] == place
            settle(home)
        status = ahead.status()
        assert status.hits == status.issued > 15
        assert (status.waiting, status.wasted) == (0, 0)


def test_the_budget_holds(store: casstore.Store) -> None:
    state = steps(store, 40, size=2000)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0, budget_bytes=20_000)
        for key in keys_of(40):
            ahead.expect([(state, 1.0)], [key])
            settle(home)
            assert ahead.status().waiting_bytes <= 20_000
        status = ahead.status()
        assert status.waiting + status.wasted == status.issued
        assert status.waiting > 0
        gc.collect()
        assert home.status().loaded == status.waiting
        big = store.branch()
        big.objects["big"] = "x" * 30_000
        assert ahead.expect([(big.commit(), 1.0)], ["big"]) == 0


def test_children_of_a_search_by_their_share(store: casstore.Store) -> None:
    states = [steps(store, 5, size=size) for size in (200, 300, 400)]
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0, least=0.2)
        walk(home, states[0], keys_of(1))
        settle(home)
        before = ahead.status().issued
        assert ahead.expect([(states[1], 0.3), (states[2], 0.7)], limit=3) == 3
        settle(home)
        assert ahead.status().issued == before + 3
        hits = ahead.status().hits
        walk(home, states[2], keys_of(1))
        assert ahead.status().hits == hits + 2
        assert ahead.expect([(states[1], 0.1)]) == 0, "too unlikely"
        with pytest.raises(InvalidInputError):
            ahead.expect([(states[1], float("nan"))])
        with pytest.raises(NotFoundError):
            ahead.expect([("no-such-ref", 1.0)])


def test_objects_of_a_branch_are_loaded_ahead_where_the_store_has_them(store: casstore.Store) -> None:
    branch = store.branch(steps(store, 10))
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        for key in keys_of(10):
            assert home.register(branch, key).get()["text"]
            settle(home)
        assert ahead.status().hits >= 12
        # What is learned on a branch serves snapshots, and forks.
        before = ahead.status().hits
        fork = store.branch(steps(store, 10, size=500))
        walk(home, fork, keys_of(3))
        assert ahead.status().hits - before >= 4
        # What waits in memory is there already.
        branch.objects["agent/000/plan"] = {"text": "new" * 100}
        assert ahead.expect([(branch, 1.0)], ["agent/000/plan"]) == 0
        # What changed since it was loaded ahead is not what is handed out.
        assert ahead.expect([(branch, 1.0)], ["agent/003/plan"]) <= 1
        settle(home)
        branch.objects["agent/003/plan"] = {"text": "changed"}
        assert home.register(branch, "agent/003/plan").get() == {"text": "changed"}


def test_children_of_the_node_that_a_search_visits(store: casstore.Store) -> None:
    tree = StateTree(store, steps(store, 3, size=100))
    for number, visits in enumerate((1, 6, 3)):
        node = tree.create_node(
            tree.root, {"objects/agent/000/plan": {"plan": number, "text": str(number) * 400}}, prior=1.0
        )
        node.edge.visits = visits  # type: ignore[union-attr]
    likely = tree.root.edges[1].child
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0, least=0.25)
        end = ahead.follow(tree)
        home.register(tree.root.open(), "agent/000/plan").get()
        for node in tree.root.children:
            node.open().fold()
        tree.backtrack_to(tree.root)
        settle(home)
        assert sorted(held.value["plan"] for held in home._loader.ahead.values()) == [1, 2], "by their shares"
        assert ahead.status().issued == 2
        # Whichever agent goes there finds it, on a branch as on a snapshot.
        assert home.register(tree.backtrack_to(likely), "agent/000/plan").get()["plan"] == 1
        assert ahead.status().hits == 1
        snapshot = tree.root.edges[2].child.open().fork().commit()
        assert home.register(snapshot, "agent/000/plan").get()["plan"] == 2
        assert ahead.status().hits == 2
        end()
        issued = ahead.status().issued
        home._loader.make_room(0)
        tree.backtrack_to(tree.root)
        settle(home)
        assert ahead.status().issued == issued


def test_a_search_that_misleads_is_not_followed_and_what_was_learned_goes_on(store: casstore.Store) -> None:
    state = steps(store, 40)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0, budget_bytes=3000)
        wrong = [steps(store, 2, size=size) for size in range(300, 340)]
        for other in wrong:
            ahead.expect([(other, 1.0)], ["agent/000/plan", "agent/001/plan"])
            settle(home)
        status = ahead.status()
        assert not status.search_active
        assert status.active
        issued = status.issued
        assert ahead.expect([(wrong[0], 1.0)], ["agent/000/result"]) == 0
        assert ahead.status().issued == issued
        walk(home, state, keys_of(30))
        assert ahead.status().hits > 30
        # It watches, and follows again where the search is right.
        right = [steps(store, 2, size=size) for size in range(400, 600)]
        for other in right:
            ahead.expect([(other, 1.0)], ["agent/001/result"])
            home.register(other, "agent/001/result").get()
            settle(home)
            if ahead.status().search_active:
                break
        assert ahead.status().search_active


def test_a_visit_costs_little_and_stops_no_search(store: casstore.Store) -> None:
    tree = StateTree(store, steps(store, 40))
    for number in range(200):
        tree.create_node(tree.root, {"objects/x": number})
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0, least=0.0)
        ahead.follow(tree)
        walk(home, store.snapshot(tree.root.open().start.id), keys_of(16))  # type: ignore[union-attr]
        looks = []
        find = BranchPlace.find
        BranchPlace.find = lambda place, key: looks.append(key) or find(place, key)  # type: ignore[method-assign,func-returns-value]
        try:
            tree.backtrack_to(tree.root)
            settle(home)
        finally:
            BranchPlace.find = find  # type: ignore[method-assign]
        assert 0 < len(looks) <= 64 + 32
        settle(home)
        tree.root.edges[0].child.open().discard()
        tree.backtrack_to(tree.root)
        # Nobody keeps the other alive.
        gone = weakref.ref(ahead)
        ahead.close()
        del ahead
        gc.collect()
        assert gone() is None
        tree.backtrack_to(tree.root)


def test_it_stops_where_it_does_not_pay_and_starts_again(store: casstore.Store) -> None:
    state = steps(store, 60)
    keys = keys_of(60)
    rng = random.Random(5)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0, budget_bytes=4000, least=0.3)
        # Just learned, never true: after each key comes any other.
        pairs = [(keys[place], keys[(place * 37 + 11) % len(keys)]) for place in range(len(keys))]
        for before, after in pairs:
            for _ in range(3):
                ahead._memory.successors.learn(before, after)
        for _ in range(20):
            if not ahead.status().active:
                break
            walk(home, state, rng.sample(keys, 40))
        status = ahead.status()
        assert not status.active
        assert status.switches == 1
        assert status.wasted > status.hits
        issued = status.issued
        walk(home, state, rng.sample(keys, 60))
        assert ahead.status().issued == issued, "off, it loads nothing"
        # Then somebody reads in order, again and again.
        for _ in range(12):
            walk(home, state, keys)
            if ahead.status().active:
                break
        assert ahead.status().active
        assert ahead.status().switches == 2
        before_hits = ahead.status().hits
        walk(home, state, keys)
        assert ahead.status().hits > before_hits


def test_nothing_is_loaded_ahead_under_pressure(store: casstore.Store) -> None:
    state = steps(store, 10)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        home._pressure = 1.0
        assert ahead.expect([(state, 1.0)], keys_of(10)) == 0
        walk(home, state, keys_of(10))
        assert ahead.status().issued == 0


def test_what_left_before_it_was_asked_for_is_wasted(store: casstore.Store) -> None:
    state = steps(store, 10)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        ahead.expect([(state, 1.0)], ["agent/000/plan", "agent/001/plan"])
        # Both are there; the pool rests for a moment between thinking and loading, too.
        until(lambda: home.status().loaded == 2)
        settle(home)

        def emptied() -> bool:
            # A thread of the pool may hold what it loaded for a moment longer.
            home._loader.make_room(0)
            return home.status().loaded == 0

        until(emptied)
        assert home.register(state, "agent/000/plan").get()["plan"] == 0
        status = ahead.status()
        assert (status.hits, status.wasted, status.waiting) == (0, 2, 0)


def test_what_nobody_asks_for_goes_after_a_while(store: casstore.Store) -> None:
    state = steps(store, 60)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0, least=0.9)
        ahead.expect([(state, 1.0)], ["agent/059/plan"])
        settle(home)
        walk(home, state, random.Random(3).sample(keys_of(55), 60))
        assert any(held.value.get("plan") == 59 for held in home._loader.ahead.values())
        walk(home, state, random.Random(4).sample(keys_of(55), 10))
        assert all(held.value.get("plan") != 59 for held in home._loader.ahead.values())
        assert ahead.status().wasted >= 1


def test_closing_gives_everything_back(store: casstore.Store) -> None:
    state = steps(store, 10)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        ahead.expect([(state, 1.0)], keys_of(10))
        settle(home)
        assert home.status().loaded == 20
        ahead.close()
        gc.collect()
        assert home.status().loaded == home.status().loaded_bytes == 0
        walk(home, state, keys_of(5))
        assert ahead.status().issued == 20


def test_it_does_not_keep_the_materializer_alive(store: casstore.Store) -> None:
    home: Any = Materializer(store)
    ahead = Prefetcher(home, margin=0)
    del home
    gc.collect()
    assert ahead.expect([("main", 1.0)]) == 0
    assert ahead.status().active


def test_bounds_that_are_none(store: casstore.Store) -> None:
    with Materializer(store) as home:
        for name in ("budget_bytes", "ahead", "max_keys", "max_shapes"):
            with pytest.raises(InvalidInputError, match=name):
                Prefetcher(home, **{name: 0})
        with pytest.raises(InvalidInputError):
            Prefetcher(home, least=float("nan"))
