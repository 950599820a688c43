# SPDX-License-Identifier: MIT
"""Circles of objects, and what is left after many rounds of loading and unloading them: nothing."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import casstore
from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.entry import object_entry
from casstore.mcts import StateTree
from casstore.objects import Materializer, Ref, Status
from tests.objects.samples import Thing

ROUNDS = [pytest.param(5_000, id="a_share"), pytest.param(100_000, id="all", marks=pytest.mark.slow)]
"""Rounds of loading and unloading: all of them take half a minute, so a share is run each time."""


def ring(home: Materializer, length: int) -> list[Ref[Any]]:
    """Objects that lead to each other in a circle, each also needing the next."""
    refs: list[Ref[Any]] = []

    def maker(place: int) -> Any:
        return lambda: Thing(next=refs[(place + 1) % length], data=bytes(100))

    refs += [home.register(maker(place), size_bytes=200) for place in range(length)]
    for place, ref in enumerate(refs):
        ref.needs = (refs[(place + 1) % length],)
    return refs


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_long_circle_needs_no_recursion(rounds: int) -> None:
    length = rounds
    assert length > 4 * sys.getrecursionlimit()
    with Materializer(max_bytes=2**30) as home:
        refs = ring(home, length)
        assert isinstance(home.materialize(refs[0]), Thing)
        assert home.status().loaded == length
        assert home.unload(refs[0], deep=True) >= length * 200
        assert home.status().loaded == home.status().loaded_bytes == 0
        for ref in refs:
            ref.needs = ()
        home.materialize(refs[5], deep=True)
        assert home.status().loaded == length
        assert home.status().loads == 2 * length


@pytest.mark.parametrize("total", ROUNDS)
def test_rounds_of_loading_and_unloading_leak_nothing(total: int) -> None:
    with Materializer(max_bytes=2**24) as home:
        refs = ring(home, 10)

        def play(rounds: int) -> None:
            for _ in range(rounds // 10):
                home.materialize(refs[0], deep=True)
                home.unload(refs[3], deep=True)

        def forget(rounds: int) -> None:
            for _ in range(rounds // 50):
                home.materialize(ring(home, 5)[0])

        play(1000)
        forget(1000)
        gc.collect()
        assert home.status().loaded == 0
        before = len(gc.get_objects())
        play(total)
        forget(total)
        gc.collect()
        assert home.status().loaded == home.status().loaded_bytes == 0
        after = len(gc.get_objects())
        assert after - before < 50
        assert home.status().loads >= total
        assert not home._loader._flights
        assert not home._loader._waiting
        assert not home._pool.jobs


def test_objects_in_a_circle_are_collected_without_being_unloaded() -> None:
    with Materializer() as home:
        refs = ring(home, 3)
        value = weakref.ref(home.materialize(refs[0], deep=True))
        assert home.status().loaded == 3
        del refs
        gc.collect()
        assert value() is None
        assert home.status().loaded == home.status().loaded_bytes == 0


@pytest.mark.parametrize(("total"), ROUNDS)
def test_rounds_over_a_store_leak_nothing(store: casstore.Store, total: int) -> None:
    """Snapshots, branches and entries, circles of values that hold Refs, and a search that they follow."""
    branch = store.branch()
    branch.objects.update({f"k/{number}": {"number": number, "text": "x" * 300} for number in range(10)})
    snapshot = branch.commit()
    tree = StateTree(store, snapshot)
    entries = [branch.objects.entry(f"k/{number}") for number in range(10)]
    with Materializer(store, tree=tree, max_bytes=2**24) as home:

        def play(rounds: int) -> None:
            for number in range(rounds // 10):
                refs = [home.register(one, f"k/{number % 10}") for one in (snapshot, branch, branch.fork())]
                refs += [home.register(entries[number % 10]), *home.members(snapshot, "k/")[:6]]
                for ref in refs:
                    # Whose values lead to each other in circles.
                    ref.get()["others"] = refs
                if number % 2:
                    home.unload(refs[0], deep=True)
                if number % 50 == 0:
                    home.reprioritize()

        play(500)
        gc.collect()
        store.pins()
        before = len(gc.get_objects())
        play(total)
        gc.collect()
        assert home.status().loaded == home.status().loaded_bytes == 0
        assert len(gc.get_objects()) - before < 50
        assert home.status().loads >= total
        assert not home._loader._flights
        assert not home._pool.jobs
        assert len(home.places) <= 2
        contents = [pin for pin in store.pins() if pin.what == "content"]
        assert not contents


def taken_by(make: Callable[[], list[Any]], number: int) -> float:
    """Bytes for each of what ``make`` gives, without the list."""
    import tracemalloc

    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before - sys.getsizeof(kept)
    finally:
        tracemalloc.stop()
    assert len(kept) == number
    return taken / number


def test_an_unloaded_ref_is_small(home: Materializer, store: casstore.Store, snapshot: casstore.Snapshot) -> None:
    number = 2000
    branch = store.branch(snapshot)
    home.register(snapshot, "memory").get()
    # With keys of 13 letters of their own.
    assert taken_by(lambda: [home.register(snapshot, f"memory/{place:06d}") for place in range(number)], number) < 120
    assert taken_by(lambda: [home.register(branch, f"memory/{place:06d}") for place in range(number)], number) < 120
    entry = object_entry("bytes", 1, 300, store.put(bytes(300)))
    assert taken_by(lambda: [home.register(entry) for _ in range(number)], number) < 80
    # To contents of their own, with what the table of pins takes.
    contents = [object_entry("bytes", 1, 300, store.put(place.to_bytes(300))) for place in range(number)]
    assert taken_by(lambda: [home.register(one) for one in contents], number) < 200
    assert (
        taken_by(lambda: [home.register(object_entry("bytes", 1, 2, None, bytes(2))) for _ in contents], number) < 120
    )
    assert sys.getsizeof(home.register(snapshot, "memory")) <= 48 + 16


def test_what_is_packed_is_what_was_given(home: Materializer, store: casstore.Store) -> None:
    branch = store.branch()
    keys = ["plain", "a/b", "ümlaut/ä", "日本", "byte\udcff"]
    branch.objects.update(dict.fromkeys(keys, 1))
    snapshot = branch.commit()
    for state in (branch, snapshot):
        for key in keys:
            ref = home.register(state, key, priority=0.5, needs=[home.register(lambda: 1)])
            assert (ref.key, ref.get(), ref.priority, len(ref.needs)) == (key, 1, 0.5, 1)
            ref.priority = None
            ref.needs = ()
            assert (ref.key, ref.priority, ref.needs) == (key, 0.0, ())
        # A second name of a key is none, and what cannot be a key shows when it is loaded.
        for wrong in ("\udcc3\udcbcmlaut/ä", "\ud800"):
            with pytest.raises((NotFoundError, InvalidInputError)):
                home.register(state, wrong).get()
    address = store.put(bytes(300))
    assert home.register(object_entry("bytes", 1, 300, address)).key == address


def test_what_is_dirty_is_nobody_elses_source(home: Materializer, snapshot: casstore.Snapshot) -> None:
    one, other = home.register(snapshot, "short"), home.register(snapshot, "short")
    one.get()
    one.mark_dirty()
    assert other.get() == "text"
    assert (one.status, one.ref_count) == (Status.DIRTY, 1)
    assert (other.status, other.ref_count) == (Status.LOADED, 1)
    one.discard()


def test_what_left_is_in_no_table(home: Materializer, store: casstore.Store) -> None:
    branch = store.branch()
    for number in range(100):
        branch.objects[f"k/{number}"] = f"text {number}"
    refs = home.members(branch.commit())
    for ref in refs:
        ref.get()
    assert len(home._loader.residents._by_entry) == 100
    for ref in refs[:50]:
        ref.unload()
    del refs, ref
    gc.collect()
    assert home.status().loaded == 0
    assert not home._loader.residents._by_entry
    assert not home._loader.residents._all
