# SPDX-License-Identifier: MIT
"""The log: a snapshot and all it came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.address import Address, event_address
from casstore.format.canonical import canonical_json
from casstore.format.event import event_facts
from casstore.format.kinds import EVENT
from casstore.snapshots import Snapshot
from casstore.snapshots.ancestors import best_common_ancestors


def at(store: casstore.Store, time_ns: int, *parents: Snapshot) -> Snapshot:
    return store.add_snapshot(roots={}, parents=parents, time_ns=time_ns)


def test_log_is_newest_first_and_names_each_once() -> None:
    with casstore.open(":memory:") as store:
        base = at(store, 1)
        left, right = at(store, 2, base), at(store, 3, base)
        merged = at(store, 4, left, right)
        top = at(store, 5, merged, base)
        assert list(store.log(top)) == [top, merged, right, left, base]
        store.refs["main"] = left
        assert list(store.log("main")) == [left, base]
        assert list(store.log(base.id)) == [base]


def test_a_clock_that_went_back_does_not_lose_anybody() -> None:
    with casstore.open(":memory:") as store:
        base = at(store, 100)
        middle = at(store, 1, base)
        top = at(store, 50, middle)
        assert list(store.log(top)) == [top, middle, base]


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 100), max_size=3)), min_size=1, max_size=12))
def test_log_is_all_that_a_plain_walk_finds(shape: list[tuple[int, list[int]]]) -> None:
    with casstore.open(":memory:") as store:
        made: list[Snapshot] = []
        for number, (time_ns, links) in enumerate(shape):
            parents = [made[link % number] for link in links] if number else []
            made.append(store.add_snapshot(roots={}, parents=parents, time_ns=time_ns, message=str(number)))
        by_id = {snapshot.id: snapshot for snapshot in made}
        found: set[Address] = set()
        waiting = [made[-1].id]
        while waiting:
            snapshot_id = waiting.pop()
            if snapshot_id not in found:
                found.add(snapshot_id)
                waiting += by_id[snapshot_id].parents
        logged = list(store.log(made[-1]))
        assert {snapshot.id for snapshot in logged} == found
        assert len(logged) == len(found)
        assert logged[0] == made[-1]
        for place, snapshot in enumerate(logged[1:], 1):
            assert any(snapshot.id in earlier.parents for earlier in logged[:place])


def give_up_parents(store: casstore.Store, snapshot: casstore.Snapshot) -> None:
    backend = store.storage.backend
    payload = canonical_json({"type": "shallow", "number": backend.next_event(), "snapshot": snapshot.id.hex()})
    backend.put([store.storage.record(EVENT, event_address(payload), payload)])
    backend.sync(event_facts(payload))


def test_a_missing_parent_is_damage_unless_it_was_given_up() -> None:
    with casstore.open(":memory:") as store:
        base = at(store, 1)
        middle = at(store, 2, base)
        top = at(store, 3, middle)
        store.storage.backend.delete([base.id])
        with pytest.raises(casstore.CorruptionError) as caught:
            list(store.log(top))
        assert caught.value.address == base.id
        assert middle.id.hex()[:12] in str(caught.value)
        give_up_parents(store, middle)
        assert list(store.log(top)) == [top, middle]
        # Only those of that snapshot: the parents of others must be there.
        other = at(store, 4, top)
        store.storage.backend.delete([top.id])
        with pytest.raises(casstore.CorruptionError):
            list(store.log(other))


def test_what_was_given_up_may_be_there_in_part() -> None:
    """A collection takes it one snapshot after the other, in the order of their ids, and others read meanwhile."""
    with casstore.open(":memory:") as store:
        first = at(store, 1)
        second = at(store, 2, first)
        middle = at(store, 3, second)
        top = at(store, 4, middle)
        left, right = at(store, 5, top), at(store, 6, top)
        give_up_parents(store, middle)
        store.storage.backend.delete([first.id])
        assert list(store.log(top)) == [top, middle, second]
        assert best_common_ancestors(store.snapshots, [left.id], [right.id]) == [top.id]
        # Who reaches it by another way too was promised all of it.
        other = at(store, 7, top, second)
        with pytest.raises(casstore.CorruptionError) as caught:
            list(store.log(other))
        assert caught.value.address == first.id
        for sides in (([other.id], [left.id]), ([left.id], [other.id])):
            with pytest.raises(casstore.CorruptionError) as caught:
                best_common_ancestors(store.snapshots, *sides)
            assert caught.value.address == first.id
