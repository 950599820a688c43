# SPDX-License-Identifier: MIT
"""Names by which a cut is taken back go when undo has ended, and none of them ever comes to life by itself."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore import KeepRule
from casstore.format.event import CUT_REASON, cut_ref, encode_ref_move, event_facts, is_lone, parse_event
from casstore.format.index_entry import HISTORY
from casstore.format.kinds import EVENT
from tests.snapshots.driving import collect, open_backend

ON_DISK = ["segments", "files"]


@pytest.fixture(params=[*ON_DISK, "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[casstore.Store]:
    with open_backend(request.param, tmp_path / "store") as opened:
        opened.configure(undo_keep_seconds=0)
        yield opened


@pytest.fixture(autouse=True)
def without_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead records stay where they lie, so a rebuild reads every event that there ever was."""
    monkeypatch.setattr("casstore.collection.sweep.COMPACT_SHARE", 2.0)


def go_on(store: casstore.Store, ref: str, count: int) -> list[casstore.Address]:
    """Ids of as many states more."""
    ids = []
    for _ in range(count):
        branch = store.branch(ref if ref in store.refs else None)
        branch.objects["state"] = len(list(store.log(ref))) if ref in store.refs else 0
        ids.append(branch.commit(ref=ref).id)
        del branch
    gc.collect()
    return ids


def cut(store: casstore.Store, ref: str = "main") -> tuple[str, ...]:
    """Leaves a line its newest state; the names by which that is taken back."""
    return store.plan_retention([KeepRule(ref=ref, last=1)]).execute().undo_refs


def cut_names(store: casstore.Store) -> set[str]:
    """Names of refs, and of those that the history knows, that retention made for cuts."""
    known = {key[1:].partition(b"\0")[0].decode() for key, _ in store.storage.backend.facts(HISTORY)}
    return {name for name in {*known, *store.refs} if name.startswith("cut/")}


def event_records(store: casstore.Store) -> list[str]:
    """Types of the events of which there are records."""
    events = [address for address, entry in store.storage.backend.scan() if entry.kind == EVENT]
    return sorted(str(parse_event(store.storage.get_record(EVENT, address))["type"]) for address in events)


def rebuilt(backend: str, path: Path) -> casstore.Store:
    shutil.rmtree(path / "index")
    return open_backend(backend, path)


def test_a_store_that_is_cut_for_ever_does_not_grow(store: casstore.Store) -> None:
    records = []
    for _ in range(4):
        for _ in range(3):
            go_on(store, "main", 2)
            assert len(cut(store)) == 1
            collect(store)
        # What one collection gives up, the next one finds to be gone.
        collect(store)
        assert cut_names(store) == set()
        records.append(event_records(store))
    assert records == [["history-cut", "ref-move", "shallow"]] * 4
    store.verify()


@pytest.mark.parametrize("backend", ON_DISK)
def test_none_comes_back_with_an_index_made_anew(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        store.configure(undo_keep_seconds=0)
        go_on(store, "main", 3)
        for _ in range(3):
            go_on(store, "main", 2)
            cut(store)
            collect(store)
        collect(store)
        refs = dict(store.refs.ids())
        assert cut_names(store) == set()
    for _ in range(2):
        with rebuilt(backend, path) as store:
            assert dict(store.refs.ids()) == refs
            collect(store)
            collect(store)
            assert cut_names(store) == set()
            assert dict(store.refs.ids()) == refs
            # Numbers go on where they were, also behind what is gone.
            go_on(store, "main", 1)
            refs = dict(store.refs.ids())
            store.verify()


@pytest.mark.parametrize("backend", ON_DISK)
def test_the_end_of_one_that_was_taken_back_stays_told(backend: str, tmp_path: Path) -> None:
    """The move that made the ref lies in a segment, dead; without the deletion a rebuild would make it again."""
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        store.configure(undo_keep_seconds=0)
        go_on(store, "main", 3)
        (name,) = cut(store)
        store.refs.undo(name)
        store.refs.delete(name)
        go_on(store, "main", 1)
        collect(store)
        collect(store)
        (last,) = store.refs.history(name)
        assert not is_lone(last)
    with rebuilt(backend, path) as store:
        assert set(store.refs) == {"main"}
        store.verify()


@pytest.mark.parametrize("backend", ON_DISK)
def test_a_state_that_is_cut_off_again_after_it_was_a_ref(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        store.configure(undo_keep_seconds=0)
        ids = go_on(store, "main", 3)
        (name,) = cut(store)
        assert name == cut_ref(ids[1])
        store.refs.undo(name)
        store.refs["other"] = store.refs[name]
        go_on(store, "other", 1)
        store.refs.delete(name)
        assert cut(store, "other") == (name,)
        assert not is_lone(store.refs.history(name)[0])
        # It can be taken back like any other cut.
        store.refs.undo(name)
        assert store.refs.id_of(name) == ids[1]
        store.refs.undo(name)
        collect(store)
        collect(store)
        assert cut_names(store) == {name}
    with rebuilt(backend, path) as store:
        assert set(store.refs) == {"main", "other"}
        store.verify()


def test_a_state_that_is_cut_off_again_and_was_no_ref(store: casstore.Store) -> None:
    ids = go_on(store, "main", 3)
    (name,) = cut(store)
    store.refs["other"] = store.snapshot(ids[1])
    go_on(store, "other", 1)
    assert cut(store, "other") == (name,) == (cut_ref(ids[1]),)
    assert [is_lone(move) for move in store.refs.history(name)] == [True, True]
    for _ in range(2):
        collect(store)
    assert cut_names(store) == set()


@pytest.mark.parametrize("backend", ON_DISK)
def test_names_that_an_earlier_version_made_stay_told(backend: str, tmp_path: Path) -> None:
    """It wrote two moves for each: one that made the ref, and one that deleted it."""
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        store.configure(undo_keep_seconds=0)
        (snapshot,) = go_on(store, "main", 1)
        name = cut_ref(snapshot)
        with store.storage.backend.write_lock():
            for old, new in ((None, snapshot), (snapshot, None)):
                move = store.refs._record(name, old, new, "retention")
                store.storage.backend.sync(event_facts(encode_ref_move(move)))
        collect(store)
        collect(store)
        assert len(store.refs.history(name)) == 1
    with rebuilt(backend, path) as store:
        assert set(store.refs) == {"main"}


def test_nobody_else_gives_their_reason(store: casstore.Store) -> None:
    (snapshot,) = go_on(store, "main", 1)
    name = cut_ref(snapshot)
    store.refs[name] = store.snapshot(snapshot)
    with pytest.raises(casstore.InvalidInputError, match="retention's own"):
        store.refs.delete(name, reason=CUT_REASON)
    with pytest.raises(casstore.InvalidInputError, match="retention's own"):
        store.refs.compare_and_set(name, snapshot, None, reason=CUT_REASON)
    assert store.refs.id_of(name) == snapshot
