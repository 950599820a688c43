# SPDX-License-Identifier: MIT
"""Circles of objects, and what is left after many rounds of loading and unloading them: nothing."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import casstore
from casstore.objects import Materializer, Ref, Status

ROUNDS = int(os.environ.get("LEAK_ROUNDS", "10000"))


class Thing:
    """Can be referred to weakly."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    with casstore.open(":memory:") as store:
        yield store


@pytest.fixture
def snapshot(store: casstore.Store) -> casstore.Snapshot:
    branch = store.branch()
    branch.objects["memory"] = {"step": 3, "notes": ["a", "b"]}
    branch.objects["blob"] = b"x" * 20_000
    branch.objects["short"] = "text"
    branch.objects["none"] = None
    return branch.commit(ref="main")


@pytest.fixture
def home(store: casstore.Store) -> Iterator[Materializer]:
    found = Materializer(store)
    yield found
    found.close(discard=True)


def ring(home: Materializer, length: int) -> list[Ref[Any]]:
    """Objects that lead to each other in a circle, each also needing the next."""
    refs: list[Ref[Any]] = []

    def maker(place: int) -> Any:
        return lambda: Thing(next=refs[(place + 1) % length], data=bytes(100))

    refs += [home.register(maker(place), size_bytes=200) for place in range(length)]
    for place, ref in enumerate(refs):
        ref.needs = (refs[(place + 1) % length],)
    return refs


def test_a_circle_of_a_hundred_thousand_needs_no_recursion() -> None:
    length = 100_000 if ROUNDS > 10_000 else 20_000
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


def test_rounds_of_loading_and_unloading_leak_nothing() -> None:
    """Takes its rounds from LEAK_ROUNDS; 100,000 were run."""
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
        play(ROUNDS)
        forget(ROUNDS)
        gc.collect()
        assert home.status().loaded == home.status().loaded_bytes == 0
        after = len(gc.get_objects())
        assert after - before < 50
        assert home.status().loads >= ROUNDS
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


def test_an_unloaded_ref_is_small(home: Materializer, snapshot: casstore.Snapshot) -> None:
    import tracemalloc

    keys = [f"memory/{number:06d}" for number in range(1000)]
    refs: list[Any] = [None] * len(keys)
    home.register(snapshot, "memory").get()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for place, key in enumerate(keys):
            refs[place] = home.register(snapshot, key)
        taken = (tracemalloc.get_traced_memory()[0] - before) / len(keys)
    finally:
        tracemalloc.stop()
    # The key is somebody's; a Ref of its own key takes that too.
    assert taken < 120, taken
    assert taken + sys.getsizeof(keys[0]) < 200


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
