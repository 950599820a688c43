# SPDX-License-Identifier: MIT
"""Refs to what changes, and Refs that share: branches, objects that go while they load, types that differ."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import casstore
from casstore.errors import FactoryError, NotFoundError
from casstore.objects import Materializer, Prefetcher, Ref, Status
from tests.objects.loading_fakes import LONG, Gate, until


def meanwhile(ref: Ref[Any], change: Callable[[], Any]) -> None:
    """Has ``change`` called between the look-up of an object and the reading, once."""
    place = ref._place
    read = type(place).read
    left = [change]

    class Late(type(place)):  # type: ignore[misc]
        __slots__ = ()

        def read(self, key: Any, entry: Any) -> Any:
            if left:
                left.pop()()
            return read(self, key, entry)

    late = Late.__new__(Late)
    for kind in type(place).__mro__[:-1]:
        for name in getattr(kind, "__slots__", ()):
            if name != "__weakref__":
                setattr(late, name, getattr(place, name))
    ref._place = late


def test_a_key_that_is_deleted_while_it_loads(home: Materializer, store: casstore.Store) -> None:
    def delete() -> None:
        del branch.objects["memory"]

    def collect() -> None:
        delete()
        branch.fold()
        store.plan_gc(grace_seconds=0).execute()

    branch = store.branch()
    # It waits in memory, so nobody knows it by its content.
    branch.objects["memory"] = {"text": "x" * 300}
    ref = home.register(branch, "memory")
    meanwhile(ref, delete)
    with pytest.raises(NotFoundError):
        ref.get()
    assert ref.status is Status.FAILED
    assert isinstance(ref.error, NotFoundError)
    # It is in the store, and is gone from there before it is read.
    branch.objects["memory"] = {"text": "y" * 300}
    branch.fold()
    meanwhile(ref, collect)
    with pytest.raises(NotFoundError):
        ref.get()
    # As long as it can be read, it is what it was when it was asked for.
    branch.objects["memory"] = {"step": 3}
    meanwhile(ref, delete)
    assert ref.get() == {"step": 3}
    ref.unload()
    with pytest.raises(NotFoundError):
        ref.get()
    branch.objects["memory"] = {"step": 4}
    assert ref.get() == {"step": 4}
    assert not home._loader._flights


def test_a_key_that_is_replaced_and_collected_while_it_loads(home: Materializer, store: casstore.Store) -> None:
    def replace() -> None:
        branch.objects["memory"] = {"text": "new"}
        branch.fold()
        store.plan_gc(grace_seconds=0).execute()

    branch = store.branch()
    branch.objects["memory"] = {"text": "x" * 300}
    branch.fold()
    ref = home.register(branch, "memory")
    meanwhile(ref, replace)
    assert ref.get() == {"text": "new"}
    assert home.status().loaded == 1
    assert not home._loader._flights


def test_a_branch_shares_what_nobody_can_change(home: Materializer, store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects["blob"] = data = b"x" * 1000
    snapshot = branch.commit()
    refs = [home.register(one, "blob") for one in (branch, branch.fork(), snapshot)]
    assert [ref.get() for ref in refs] == [data] * 3
    assert home.status().loads == 1
    assert refs[0].ref_count == 3
    branch.objects["blob"] = b"y" * 1000
    assert refs[0].get() == data, "as it was when it was loaded"
    refs[0].unload()
    assert refs[0].get() == b"y" * 1000
    assert refs[1].get() == data


def test_a_type_that_one_ref_stated_wrongly_is_its_own_affair(home: Materializer, store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects["blob"] = b"x" * 1000
    snapshot = branch.commit()
    right, wrong = home.register(snapshot, "blob", type=bytes), home.register(snapshot, "blob", type=dict)
    # One after the other, either way.
    assert right.get() == b"x" * 1000
    with pytest.raises(FactoryError, match="registered as dict"):
        wrong.get()
    right.unload()
    with pytest.raises(FactoryError, match="registered as dict"):
        wrong.get()
    assert home.status().loaded == 0
    assert right.get() == b"x" * 1000
    right.unload()
    # And while the other one loads.
    gate = Gate()
    read = type(right._place).read
    meanwhile(wrong, gate)
    found: list[Any] = []

    def ask() -> None:
        with pytest.raises(FactoryError, match="registered as dict"):
            wrong.get()
        found.append("refused")

    first = threading.Thread(target=ask)
    first.start()
    assert gate.started.wait(LONG)
    second = threading.Thread(target=lambda: found.append(right.get()))
    second.start()
    until(lambda: len(home._loader._waiting) == 1)
    gate.go.set()
    for thread in (first, second):
        thread.join(LONG)
    assert sorted(map(type, found), key=str) == [bytes, str]
    assert right.is_loaded
    assert not home._loader._flights
    assert type(right._place).read is read


@pytest.mark.parametrize("committed", [False, True])
def test_a_stated_type_is_not_that_of_what_is_loaded_ahead(store: casstore.Store, committed: bool) -> None:
    branch = store.branch()
    for number in range(20):
        branch.objects[f"{number:02d}/a"] = b"a" * 500
        branch.objects[f"{number:02d}/b"] = {"text": "b" * 500}
    snapshot = branch.commit()
    state: Any = snapshot if committed else branch
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        for number in range(20):
            for part, kind in (("a", bytes), ("b", dict)):
                assert isinstance(home.register(state, f"{number:02d}/{part}", type=kind).get(), kind)
                until(lambda: not home._pool.is_at_work)
        assert home.status().failures == 0
        assert ahead.status().hits > 20
