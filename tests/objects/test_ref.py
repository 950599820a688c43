# SPDX-License-Identifier: MIT
"""Refs: what they say, what they share, what they keep, and what they give back."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from typing import Any

import pytest

import casstore
from casstore.errors import ClosedError, FactoryError, InvalidInputError, NotFoundError
from casstore.format.entry import directory_entry, object_entry
from casstore.objects import Materializer, Status
from casstore.objects.held import is_shareable
from tests.objects.samples import Thing


def test_a_ref_goes_from_unloaded_to_loaded_and_back(home: Materializer, snapshot: casstore.Snapshot) -> None:
    ref = home.register(snapshot, "memory", type=dict)
    assert (ref.status, ref.is_loaded, ref.ref_count, ref.error) == (Status.UNLOADED, False, 0, None)
    assert ref.get() == {"step": 3, "notes": ["a", "b"]}
    assert (ref.status, ref.is_loaded, ref.ref_count) == (Status.LOADED, True, 1)
    assert ref.get() is ref.load() is home.materialize(ref)
    assert ref.unload() > 0
    assert (ref.status, ref.is_loaded, ref.unload()) == (Status.UNLOADED, False, 0)
    assert home.status().loaded == 0
    assert home.status().loaded_bytes == 0
    assert home.status().loads == 1
    assert ref.get()["step"] == 3
    assert "memory" in repr(ref)
    assert "loaded" in repr(ref)


@pytest.mark.parametrize("name", ["snapshot", "id", "ref", "branch"])
def test_any_way_to_name_a_state(home: Materializer, snapshot: casstore.Snapshot, name: str) -> None:
    assert home.store is not None
    state = {"snapshot": snapshot, "id": snapshot.id, "ref": "main", "branch": home.store.branch("main")}[name]
    assert home.register(state, "short").get() == "text"
    assert home.register(state, "none").get() is None
    with pytest.raises(NotFoundError):
        home.register(state, "missing").get()


def test_none_is_a_value(home: Materializer, snapshot: casstore.Snapshot) -> None:
    ref = home.register(snapshot, "none")
    assert ref.get() is None
    assert ref.is_loaded
    assert ref.get() is None
    assert home.status().loads == 1


def test_equal_immutable_content_is_loaded_once(home: Materializer, snapshot: casstore.Snapshot) -> None:
    assert home.store is not None
    branch = home.store.branch(snapshot)
    branch.objects["copy"] = b"x" * 20_000
    later = branch.commit()
    refs = [home.register(snapshot, "blob"), home.register(later, "blob"), home.register(later, "copy")]
    values = [ref.get() for ref in refs]
    assert values[0] is values[1] is values[2]
    assert [ref.ref_count for ref in refs] == [3, 3, 3]
    assert (home.status().loads, home.status().loaded) == (1, 1)
    assert refs[0].unload() == 0
    assert [ref.ref_count for ref in refs] == [0, 2, 2]
    del refs[2]
    assert refs[1].ref_count == 1
    assert refs[1].unload() > 20_000
    assert home.status().loaded_bytes == 0


def test_a_mutable_value_is_each_refs_own(home: Materializer, snapshot: casstore.Snapshot) -> None:
    one, other = home.register(snapshot, "memory"), home.register(snapshot, "memory")
    one.get()["step"] = 99
    assert other.get()["step"] == 3
    assert one.ref_count == other.ref_count == 1


def test_arrays_are_shared_while_nobody_can_write_to_them(home: Materializer, store: casstore.Store) -> None:
    numpy = pytest.importorskip("numpy", reason="arrays need numpy")
    branch = store.branch()
    branch.objects["array"] = numpy.arange(1000)
    snapshot = branch.commit()
    one, other = home.register(snapshot, "array"), home.register(snapshot, "array")
    assert one.get() is other.get()
    assert not is_shareable(numpy.arange(3))
    view = numpy.arange(3)[:]
    view.flags.writeable = False
    assert not is_shareable(view), "its owner can still write"


def test_a_dirty_object_is_not_unloaded_silently(home: Materializer, store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects["memory"] = {"step": 3}
    ref = home.register(branch, "memory", type=dict)
    with pytest.raises(InvalidInputError, match="not loaded"):
        ref.mark_dirty()
    ref.get()["step"] = 4
    ref.mark_dirty()
    assert ref.status is Status.DIRTY
    for leave in (ref.unload, lambda: home.unload(ref), lambda: home.unload(ref, deep=True), home.close):
        with pytest.raises(InvalidInputError, match=r"`?save"):
            leave()
    assert ref.get() == {"step": 4}
    assert branch.objects["memory"] == {"step": 3}
    assert ref.save() == branch.objects.entry("memory")
    assert branch.objects["memory"] == {"step": 4}
    assert ref.status is Status.LOADED
    assert home.status().dirty == 0
    assert ref.unload() > 0
    assert ref.get() == {"step": 4}


def test_discard_drops_the_changes(home: Materializer, snapshot: casstore.Snapshot) -> None:
    ref = home.register(snapshot, "memory")
    ref.get()["step"] = 4
    ref.mark_dirty()
    ref.discard()
    assert ref.status is Status.UNLOADED
    assert home.status().dirty == home.status().loaded == 0
    assert ref.get()["step"] == 3
    ref.discard()
    ref.discard()


def test_a_dirty_object_stays_though_its_ref_is_dropped(home: Materializer, store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects["memory"] = {"step": 3}
    ref = home.register(branch, "memory")
    ref.get()["step"] = 4
    ref.mark_dirty()
    del ref
    gc.collect()
    assert home.status().dirty == 1
    assert home.save_all() == 1
    assert branch.objects["memory"] == {"step": 4}
    gc.collect()
    assert home.status().loaded == home.status().dirty == 0


def test_memory_pressure_leaves_dirty_objects(store: casstore.Store, snapshot: casstore.Snapshot) -> None:
    with Materializer(store, max_bytes=1000, max_object_bytes=10**6) as home:
        ref = home.register(snapshot, "memory")
        ref.get()["step"] = 4
        ref.mark_dirty()
        home.register(snapshot, "blob").get()
        assert ref.get()["step"] == 4
        ref.discard()


def test_what_came_from_a_snapshot_is_saved_to_a_branch(home: Materializer, snapshot: casstore.Snapshot) -> None:
    assert home.store is not None
    ref = home.register(snapshot, "memory")
    ref.get()["step"] = 4
    ref.mark_dirty()
    with pytest.raises(InvalidInputError, match=r"save\(branch\)"):
        ref.save()
    with pytest.raises(InvalidInputError, match="no branch"):
        ref.save("main")  # type: ignore[arg-type]
    assert ref.status is Status.DIRTY
    branch = home.store.branch(snapshot)
    ref.save(branch, "other")
    assert branch.objects["other"]["step"] == 4
    assert branch.objects["memory"]["step"] == 3
    ref.get()["step"] = 5
    ref.mark_dirty()
    ref.save()
    assert branch.objects["other"]["step"] == 5
    # Who asks the snapshot again gets what it was.
    assert home.register(snapshot, "memory").get()["step"] == 3


def test_an_entry_is_replaced_by_one_of_its_own(home: Materializer, store: casstore.Store) -> None:
    data = b"[" + b"1," * 200 + b"1]"
    entry = object_entry("json", 1, len(data), store.put(data))
    ref = home.register(entry)
    assert len(ref.get()) == 201
    ref.get().append(2)
    ref.mark_dirty()
    saved = ref.save()
    assert saved.address is not None
    assert saved.address != entry.address
    assert store.storage.get(saved.address).endswith(b",2]")
    ref.unload()
    assert ref.get()[-1] == 2
    kept = {pin.address for pin in store.pins() if pin.what == "content"}
    assert kept == {saved.address}, "it keeps what it stands for, and no longer what it stood for"
    ref.set([7])
    assert ref.save().inline == b"[7]"
    assert not [pin for pin in store.pins() if pin.what == "content"]
    assert home.register(entry).get()[-1] == 1


def test_an_entry_is_pinned_while_its_ref_lives(home: Materializer, store: casstore.Store) -> None:
    data = os.urandom(1000)
    address = store.put(data)
    ref = home.register(object_entry("bytes", 1, len(data), address))
    store.plan_gc(grace_seconds=0).execute()
    assert ref.get() == data
    del ref
    gc.collect()
    assert all(pin.address != address for pin in store.pins())
    store.plan_gc(grace_seconds=0).execute()
    assert address not in store
    with pytest.raises(NotFoundError):
        home.register(object_entry("bytes", 1, len(data), address))


def test_a_snapshot_is_pinned_while_a_ref_to_it_lives(home: Materializer, store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects["blob"] = data = os.urandom(1000)
    ref = home.register(branch.commit(), "blob")
    branch.discard()
    store.plan_gc(grace_seconds=0).execute()
    assert ref.get() == data


def test_set_puts_another_value_in_place(home: Materializer, snapshot: casstore.Snapshot) -> None:
    ref = home.register(snapshot, "memory", type=dict)
    ref.set({"step": 9})
    assert (ref.status, ref.get()) == (Status.DIRTY, {"step": 9})
    with pytest.raises(FactoryError, match="registered as dict"):
        ref.set([1])  # type: ignore[arg-type]
    ref.set({"step": 10})
    assert home.status().loaded == 1
    ref.discard()
    assert ref.get()["step"] == 3


def test_marking_a_shared_value_dirty_takes_it_apart(home: Materializer, snapshot: casstore.Snapshot) -> None:
    one, other = home.register(snapshot, "short"), home.register(snapshot, "short")
    assert one.get() is other.get()
    one.mark_dirty()
    assert (one.status, other.status) == (Status.DIRTY, Status.LOADED)
    assert (one.ref_count, other.ref_count) == (1, 1)
    # What is dirty is nobody else's source.
    assert home.register(snapshot, "short").get() is other.get()
    one.discard()


# -- weak references


def test_who_keeps_the_value_brings_it_back(home: Materializer) -> None:
    made: list[Thing] = []

    def make() -> Thing:
        made.append(Thing())
        return made.pop()

    ref = home.register(make, size_bytes=100)
    kept = ref.get()
    assert ref.unload() > 0
    assert (ref.status, home.status().loaded) == (Status.UNLOADED, 0)
    assert ref.get() is kept
    assert (home.status().loads, home.status().loaded) == (1, 1)
    ref.unload()
    gone = weakref.ref(kept)
    del kept
    gc.collect()
    assert gone() is None
    assert isinstance(ref.get(), Thing)
    assert home.status().loads == 2


def test_a_value_that_somebody_holds_does_not_leave_by_itself(store: casstore.Store) -> None:
    with Materializer(store, max_bytes=4000) as home:
        first = home.register(lambda: {"a": 1}, size_bytes=1500)
        value = first.get()
        others = [home.register(lambda: {"b": 1}, size_bytes=1500) for _ in range(5)]
        for other in others:
            other.get()
        assert first.is_loaded
        value["a"] = 2
        first.mark_dirty()
        assert first.get() == {"a": 2}
        first.discard()
        assert sum(other.is_loaded for other in others) == 1


def test_a_dead_materializer_takes_its_objects_along(store: casstore.Store, snapshot: casstore.Snapshot) -> None:
    home = Materializer(store)
    ref = home.register(snapshot, "blob")
    home.preload([ref]).wait(10)
    assert ref.is_loaded
    gone = weakref.ref(home)
    threads = [worker.thread for worker in home._pool._workers]
    del home, ref
    gc.collect()
    assert gone() is None
    for thread in threads:
        assert thread is not None
        thread.join(10)
        assert not thread.is_alive()


# -- bad input


def test_priorities_are_finite_and_not_negative(home: Materializer, snapshot: casstore.Snapshot) -> None:
    for bad in (-1.0, float("nan"), float("inf"), "high", True):
        with pytest.raises(InvalidInputError, match="no priority"):
            home.register(snapshot, "memory", priority=bad)  # type: ignore[arg-type]
    ref = home.register(snapshot, "memory", priority=0.25)
    assert ref.priority == 0.25
    with pytest.raises(InvalidInputError):
        ref.priority = float("nan")
    assert ref.priority == 0.25
    ref.priority = lambda: float("nan")
    with pytest.raises(InvalidInputError):
        assert ref.priority
    with pytest.raises(InvalidInputError):
        home.preload([ref])
    with pytest.raises(InvalidInputError):
        ref.get()
    ref.priority = None
    assert ref.priority == 0.0
    assert ref.get()


def test_what_cannot_be_registered(home: Materializer, store: casstore.Store, snapshot: casstore.Snapshot) -> None:
    for target, key in ((snapshot, None), (snapshot, 7), (7, "memory"), (directory_entry(), None)):
        with pytest.raises(InvalidInputError):
            home.register(target, key)  # type: ignore[arg-type, call-overload]
    with pytest.raises(NotFoundError):
        home.register("no-such-ref", "memory")
    with pytest.raises(NotFoundError):
        home.register(object_entry("bytes", 1, 1000, casstore.Address(bytes(32))))
    with casstore.open(":memory:") as other, pytest.raises(InvalidInputError, match="another"):
        home.register(other.branch(), "memory")
    with Materializer() as bare, pytest.raises(InvalidInputError, match="no store"):
        bare.register(snapshot, "memory")
    for bad in ("max_bytes", "threads", "max_queue", "max_abandoned", "max_object_bytes"):
        for value in (0, -1, 1.5, True):
            with pytest.raises(InvalidInputError, match=bad):
                Materializer(store, **{bad: value})  # type: ignore[arg-type]


def test_an_unknown_type_is_an_error_that_says_so(home: Materializer, store: casstore.Store) -> None:
    ref = home.register(object_entry("alien", 1, 3, None, b"abc"))
    with pytest.raises(FactoryError, match="alien"):
        ref.get()
    assert ref.status is Status.FAILED
    assert isinstance(ref.error, FactoryError)
    assert home.status().failures == 1
    assert ref.unload() == 0
    assert ref.status is Status.UNLOADED
    newer = home.register(object_entry("json", 99, 3, None, b"abc"))
    with pytest.raises(FactoryError):
        newer.get()


def test_another_type_than_was_stated(home: Materializer, snapshot: casstore.Snapshot) -> None:
    with pytest.raises(FactoryError, match="registered as list"):
        home.register(snapshot, "memory", type=list).get()
    with pytest.raises(FactoryError, match="registered as list"):
        home.register(lambda: 7, type=list).get()


def test_a_factory_that_raises_fails_and_may_be_tried_again(home: Materializer) -> None:
    answers: list[Any] = [ValueError("no"), 7]

    def make() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    ref = home.register(make)
    with pytest.raises(FactoryError, match="ValueError"):
        ref.get()
    assert ref.status is Status.FAILED
    assert ref.get() == 7


def test_a_size_beyond_the_bound_is_refused_before_and_after(store: casstore.Store) -> None:
    with Materializer(store, max_object_bytes=10_000) as home:
        data = bytes(20_000)
        stored = home.register(object_entry("bytes", 1, len(data), store.put(data)))
        misses = store.storage.cache.stats().misses
        with pytest.raises(FactoryError, match="max_object_bytes"):
            stored.get()
        assert store.storage.cache.stats().misses == misses, "nothing was read"
        called = []

        def make() -> bytes:
            called.append(1)
            return bytes(20_000)

        with pytest.raises(FactoryError, match="max_object_bytes"):
            home.register(make).get()
        assert called == [1]
        with pytest.raises(FactoryError, match="max_object_bytes"):
            home.register(make, size_bytes=20_000).get()
        assert called == [1]
        assert home.status().loaded == 0


def test_closing_twice_and_using_it_after(store: casstore.Store, snapshot: casstore.Snapshot) -> None:
    home = Materializer(store)
    loaded, other = home.register(snapshot, "memory"), home.register(snapshot, "blob")
    loaded.get()
    home.close()
    home.close()
    assert loaded.get()["step"] == 3
    for use in (other.get, lambda: home.preload([other]), lambda: other.get(timeout=1)):
        with pytest.raises(ClosedError):
            use()


def test_a_closed_store_says_so(snapshot: casstore.Snapshot) -> None:
    with casstore.open(":memory:") as store:
        branch = store.branch()
        branch.objects["memory"] = {"step": 3}
        home = Materializer(store)
        ref = home.register(branch.commit(), "memory")
    with pytest.raises(ClosedError):
        ref.get()
    home.close()


def test_many_threads_get_one_load(home: Materializer) -> None:
    started, go = threading.Event(), threading.Event()
    calls = []

    def make() -> Thing:
        calls.append(threading.get_ident())
        started.set()
        assert go.wait(10)
        return Thing()

    ref = home.register(make)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(ref.get())) for _ in range(8)]
    threads[0].start()
    assert started.wait(10)
    assert ref.status is Status.LOADING
    assert ref.unload() == 0
    with pytest.raises(InvalidInputError, match="loading"):
        ref.set(Thing())
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(calls) == 1
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
