# SPDX-License-Identifier: MIT
"""The materializer: order, single flight, what is needed first. Events synchronize; nothing sleeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casstore
from casstore.errors import FactoryError
from casstore.format.entry import object_entry
from casstore.objects import Materializer, Ref, Status, reached_by
from tests.objects.loading_fakes import LONG, Gate, blocked, until


@pytest.fixture
def home() -> Iterator[Materializer]:
    found = Materializer(threads=1)
    yield found
    found.close(discard=True)


# -- order


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]), min_size=1, max_size=25))
def test_requests_are_served_by_priority(priorities: list[float]) -> None:
    with Materializer(threads=1) as home:
        gate = blocked(home)
        order: list[int] = []
        refs = []
        for number, priority in enumerate(priorities):
            refs.append(home.register(lambda number=number: order.append(number), priority=priority))
            home.preload(refs[-1:])
        waited = threading.Thread(target=lambda: home.register(lambda: order.append(-1)).get(timeout=LONG))
        waited.start()
        until(lambda: home.status().queued == len(priorities) + 1)
        ticket = home.preload(refs)
        gate.go.set()
        assert ticket.wait(LONG)
        waited.join(LONG)
        expected = sorted(range(len(priorities)), key=lambda number: -priorities[number])
        assert order == [-1, *expected]


def test_a_full_queue_drops_what_matters_least() -> None:
    with Materializer(threads=1, max_queue=3) as home:
        gate = blocked(home)
        refs = [home.register(lambda: 1, priority=priority) for priority in (0.1, 0.5, 0.3, 0.9, 0.2)]
        ticket = home.preload(refs)
        assert {ref.priority for ref in ticket.admitted} == {0.9, 0.5, 0.3}
        assert len(ticket.rejected) == 2
        better = home.preload([home.register(lambda: 2, priority=0.7)])
        assert len(better.admitted) == 1
        assert home.status().queued == 3
        assert home.status().rejected == 3
        # Who waits is never refused.
        assert home.register(lambda: 3).get() == 3
        gate.go.set()
        assert ticket.wait(LONG)
        assert [ref.is_loaded for ref in refs] == [False, True, False, True, False]


def test_a_search_that_moves_changes_the_order(home: Materializer) -> None:
    gate = blocked(home)
    weights = {"a": 1.0, "b": 0.1}
    order: list[str] = []
    refs = [
        home.register(lambda name=name: order.append(name), priority=lambda name=name: weights[name]) for name in "ab"
    ]
    ticket = home.preload(refs)
    weights.update(a=0.0, b=0.5)
    home.reprioritize()
    gate.go.set()
    assert ticket.wait(LONG)
    assert order == ["b", "a"]


def test_priorities_come_from_a_search() -> None:
    from casstore.mcts import StateTree

    with casstore.open(":memory:") as store:
        tree = StateTree(store)
        nodes = [tree.create_node(tree.root, {"objects/x": "shared" * 40}, prior=prior) for prior in (1.0, 3.0)]
        tree.save("tree")
        snapshots = [store.snapshot(node.snapshot_id) for node in nodes if node.snapshot_id is not None]
        weigh = tree.weigher()
        with Materializer(store, weigh=weigh) as home:
            refs = [home.register(snapshot, "x") for snapshot in snapshots]
            assert [ref.priority for ref in refs] == [pytest.approx(0.25), pytest.approx(0.75)]
            whole = home.register(
                snapshots[0], "x", priority=reached_by(weigh, [snapshot.id for snapshot in snapshots])
            )
            assert whole.priority == pytest.approx(1.0)
            nodes[0].edge.visits = 3  # type: ignore[union-attr]
            assert refs[0].priority == pytest.approx(3.25 / 4)


# -- single flight


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["get", "timeout", "preload", "await"]), min_size=1, max_size=8))
def test_one_load_however_many_ask(ways: list[str]) -> None:
    with Materializer(threads=2) as home:
        gate = Gate([1])
        ref = home.register(gate)
        found: list[Any] = []

        def ask(way: str) -> None:
            if way == "get":
                found.append(ref.get())
            elif way == "timeout":
                found.append(ref.get(timeout=LONG))
            elif way == "await":
                found.append(asyncio.run(home.load(ref, timeout=LONG)))
            else:
                assert home.preload([ref]).wait(LONG)
                found.append(ref.get())

        threads = [threading.Thread(target=ask, args=(way,)) for way in ways]
        for thread in threads:
            thread.start()
        assert gate.started.wait(LONG)
        gate.go.set()
        for thread in threads:
            thread.join(LONG)
        assert gate.calls == 1
        assert home.status().loads == 1
        assert [one is gate.value for one in found] == [True] * len(ways)


def test_refs_to_one_content_share_one_flight() -> None:
    with casstore.open(":memory:") as store, Materializer(store, threads=4) as home:
        data = bytes(1000)
        entry = object_entry("bytes", 1, len(data), store.put(data))
        reads = []
        gate = Gate()
        refs = [home.register(entry) for _ in range(6)]
        place = refs[0]._place
        codecs = store.branches.codecs

        class Slow:
            type_id, version = "bytes", 1

            def encode(self, value: bytes) -> bytes:
                return value

            def decode(self, found: bytes) -> bytes:
                reads.append(1)
                gate()
                return found

        codecs.register(Slow())
        found: list[Any] = []
        threads = [threading.Thread(target=lambda ref=ref: found.append(ref.get())) for ref in refs]
        threads[0].start()
        assert gate.started.wait(LONG)
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(place.loader._waiting) == 5)
        assert all(ref.status is Status.LOADING for ref in refs)
        gate.go.set()
        for thread in threads:
            thread.join(LONG)
        assert reads == [1]
        assert found == [data] * 6
        assert refs[0].ref_count == 6


def test_what_fails_fails_for_all_who_wait(home: Materializer) -> None:
    gate = Gate()

    def make() -> None:
        gate()
        raise ValueError("broken")

    ref = home.register(make)
    errors: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(FactoryError) as caught:
            ref.get()
        errors.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    assert gate.started.wait(LONG)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(home._loader._waiting) == 3)
    gate.go.set()
    for thread in threads:
        thread.join(LONG)
    assert gate.calls == 1
    assert len(errors) == 4


def test_who_waits_takes_a_request_that_no_thread_has_taken(home: Materializer) -> None:
    gate = blocked(home)
    calls = []
    ref = home.register(lambda: calls.append(threading.get_ident()), priority=1.0)
    ticket = home.preload([ref])
    ref.get()
    assert ticket.wait(LONG)
    assert calls == [threading.get_ident()]
    gate.go.set()


# -- what is needed first


def test_what_is_needed_is_loaded_first(home: Materializer) -> None:
    order: list[str] = []
    refs: dict[str, Ref[Any]] = {}
    for name, needs in (("d", ""), ("c", "d"), ("b", "d"), ("a", "bc")):
        refs[name] = home.register(lambda name=name: order.append(name) or name, needs=[refs[need] for need in needs])
    refs["d"].needs = (refs["a"],)
    for load in (refs["a"].get, lambda: refs["a"].get(timeout=LONG), lambda: asyncio.run(home.load(refs["a"]))):
        order.clear()
        assert load() == "a"
        assert order[0] == "d"
        assert order[-1] == "a"
        assert sorted(order) == ["a", "b", "c", "d"]
        for ref in refs.values():
            ref.unload()


def test_a_need_that_fails_is_the_error(home: Materializer) -> None:
    def fail() -> None:
        raise ValueError("broken")

    calls: list[int] = []
    ref = home.register(lambda: calls.append(1), needs=[home.register(fail)])
    with pytest.raises(FactoryError, match="broken"):
        ref.get()
    assert not calls


def test_factories_that_load_each_other_are_named(home: Materializer) -> None:
    refs: list[Ref[Any]] = []
    refs.append(home.register(lambda: refs[1].get()))
    refs.append(home.register(lambda: refs[0].get()))
    with pytest.raises(FactoryError, match="needs itself"):
        refs[0].get()
    assert [ref.status for ref in refs] == [Status.FAILED, Status.FAILED]


def test_threads_whose_factories_wait_for_each_other_do_not_hang(home: Materializer) -> None:
    gates = [Gate(), Gate()]
    refs: list[Ref[Any]] = []

    def make(me: int) -> Any:
        gates[me]()
        return refs[1 - me].get()

    refs += [home.register(lambda me=me: make(me)) for me in (0, 1)]
    errors: list[BaseException] = []

    def ask(me: int) -> None:
        with pytest.raises(FactoryError) as caught:
            refs[me].get()
        errors.append(caught.value)

    threads = [threading.Thread(target=ask, args=(me,)) for me in (0, 1)]
    for thread, gate in zip(threads, gates, strict=True):
        thread.start()
        assert gate.started.wait(LONG)
    for gate in gates:
        gate.go.set()
    for thread in threads:
        thread.join(LONG)
    assert len(errors) == 2


def test_a_factory_in_the_pool_may_wait_for_others(home: Materializer) -> None:
    inner = home.register(lambda: 1)
    outer = home.register(lambda: inner.get(timeout=LONG) + 1)
    assert outer.get(timeout=LONG) == 2
