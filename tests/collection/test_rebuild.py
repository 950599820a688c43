# SPDX-License-Identifier: MIT
"""Collection and an index that is made anew from the records: what was expired stays expired, nothing is lost."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

import casstore
from casstore.format.index_entry import SUSPECT
from casstore.format.record import HEADER_BYTES
from casstore.testing.model import noise
from tests.snapshots.driving import collect, commit, copy_open_store, damage_of, open_backend

ON_DISK = ["segments", "files"]


def rebuilt(backend: str, path: Path) -> casstore.Store:
    """The store, opened after its index was lost."""
    shutil.rmtree(path / "index")
    return open_backend(backend, path)


def fill(store: casstore.Store) -> None:
    for number in range(6):
        commit(store, {"a": noise(6000, number), "same": noise(3000, 99)}, ref="main", time_ns=number)
        commit(store, {"b": noise(500, 50 + number)}, ref=f"try/{number}", time_ns=number)
    for number in range(4):
        del store.refs[f"try/{number}"]


@pytest.mark.parametrize("backend", ON_DISK)
def test_refs_and_history_come_back(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        fill(store)
        refs = dict(store.refs.ids())
        history = store.refs.history("main"), store.refs.history("try/0")
    with rebuilt(backend, path) as store:
        assert dict(store.refs.ids()) == refs
        assert (store.refs.history("main"), store.refs.history("try/0")) == history
        store.verify()
        store.plan_gc(grace_seconds=0).execute()
        assert dict(store.refs.ids()) == refs
        store.refs.undo("try/0")
        assert store.refs["try/0"].files == {"b": noise(500, 50)}
        numbers = [move.number for name in [*refs, "try/0"] for move in store.refs.history(name)]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("grace", [0, 3600])
@pytest.mark.parametrize("backend", ON_DISK)
def test_what_was_expired_stays_expired(backend: str, grace: int, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        fill(store)
        collect(store)
        refs = dict(store.refs.ids())
        states = {name: dict(snapshot.files) for name, snapshot in store.refs.items()}
    for undo_keep in (7 * 24 * 3600, 0, 7 * 24 * 3600):
        with rebuilt(backend, path) as store:
            assert dict(store.refs.ids()) == refs
            store.verify()
            # Moves whose states are gone do not stand in the way.
            store.plan_gc(grace_seconds=grace, undo_keep_seconds=undo_keep).execute()
            assert {name: dict(snapshot.files) for name, snapshot in store.refs.items()} == states
            store.verify()
            # What went can be put again, whatever of it came back with the index.
            for number in range(6):
                again = commit(store, {"a": noise(6000, number), "b": noise(500, 50 + number)})
                assert dict(again.files) == {"a": noise(6000, number), "b": noise(500, 50 + number)}
            del again


@pytest.mark.parametrize("backend", ON_DISK)
def test_an_expired_move_is_not_undone_into_half_a_state(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        # The record of the old snapshot shares a segment with much that stays; its contents have one of their own.
        commit(store, {"old": noise(15_900, 1)}, ref="main")
        commit(store, {"new": noise(12_000, 2)}, ref="main")
        collect(store)
        with pytest.raises(casstore.NotFoundError):
            store.refs.undo("main")
    with rebuilt(backend, path) as store:
        with pytest.raises(casstore.NotFoundError):
            store.refs.undo("main")
        assert store.refs["main"].files == {"new": noise(12_000, 2)}
        store.verify()
        store.refs["main"] = commit(store, {"newer": b"x"})
        store.refs.undo("main")
        assert store.refs["main"].files == {"new": noise(12_000, 2)}


@pytest.mark.parametrize("backend", ON_DISK)
def test_new_moves_after_a_rebuild_come_after_the_old(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        commit(store, {"a": b"1"}, ref="main")
        commit(store, {"a": b"2"}, ref="main")
        collect(store)
    with rebuilt(backend, path) as store:
        commit(store, {"a": b"3"}, ref="main")
    with rebuilt(backend, path) as store:
        assert store.refs["main"].files == {"a": b"3"}
        store.refs.undo("main")
        assert store.refs["main"].files == {"a": b"2"}


def test_the_record_of_a_cut_is_not_kept_for_ever(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        for number in range(5):
            commit(store, {"a": b"%d" % number}, ref="main")
            collect(store)
        kinds = store.stats().kinds
        # The last move of the ref, and the cut before which nothing is kept.
        assert kinds["event"].objects == 2
        assert collect(store).deleted_objects == 0


def damage(path: Path, backend: str) -> None:
    """Spoils a record in the middle of the store, the index being lost too."""
    if backend == "segments":
        segment = sorted((path / "segments").iterdir())[0]
        data = bytearray(segment.read_bytes())
        data[len(data) // 2 : len(data) // 2 + HEADER_BYTES] = bytes(HEADER_BYTES)
        segment.write_bytes(data)
    else:
        event = sorted((path / "objects").rglob("*"))
        victim = next(item for item in event if item.is_file())
        victim.write_bytes(b"x" + victim.read_bytes()[1:])


@pytest.mark.parametrize("backend", ON_DISK)
def test_after_damage_refs_must_be_accepted(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path) as store:
        fill(store)
    damage(path, backend)
    with rebuilt(backend, path) as store:
        assert store.storage.backend.fact(SUSPECT) is not None
        assert damage_of(store)
        with pytest.raises(casstore.CorruptionError, match="accept"):
            store.plan_gc(grace_seconds=0)
    with open_backend(backend, path) as store:
        with pytest.raises(casstore.CorruptionError, match="--accept-refs"):
            store.plan_gc(grace_seconds=0)
        # What the damage hurts has to go first: nothing is deleted on the strength of half a mark.
        for name in list(store.refs):
            store.refs.delete(name)
        commit(store, {"fresh": noise(3000, 1)}, ref="fresh")
        with store.plan_gc(grace_seconds=0, undo_keep_seconds=0, accept_refs=True) as dry:
            assert dry.dead_objects > 0
        # A plan accepts nothing until it is executed.
        with pytest.raises(casstore.CorruptionError):
            store.plan_gc(grace_seconds=0)
        store.plan_gc(grace_seconds=0, undo_keep_seconds=0, accept_refs=True).execute()
        assert store.storage.backend.fact(SUSPECT) is None
        store.plan_gc(grace_seconds=0).execute()
    with open_backend(backend, path) as store:
        store.plan_gc(grace_seconds=0).execute()
        assert store.refs["fresh"].files == {"fresh": noise(3000, 1)}


def test_after_a_lost_segment_refs_must_be_accepted(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path) as store:
        for number in range(6):
            commit(store, {"a": noise(9000, number)}, ref=f"state/{number}")
    segments = sorted((path / "segments").iterdir())
    assert len(segments) > 2
    segments[0].unlink()
    with open_backend("segments", path) as store:
        # The old index could be read, so it tells of the moves whose records are gone.
        assert len(store.refs) == 6
        with pytest.raises(casstore.CorruptionError, match="accept"):
            store.plan_gc(grace_seconds=0)


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_move_that_a_crash_cut_short_does_not_come_back_later(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event was written and the index was not: its number must not be given to another event as well."""
    clock = count(10**18)
    monkeypatch.setattr("casstore.snapshots.refs.time.time_ns", lambda: next(clock))
    for number in range(6):
        path, copy = tmp_path / f"store{number}", tmp_path / f"copy{number}"
        with open_backend(backend, path) as store:
            one = commit(store, {"a": b"1"}, ref="main", time_ns=1).id
            two = commit(store, {"a": b"2"}, ref="second", time_ns=2).id
        with open_backend(backend, path) as store:
            store.refs._record("main", one, two, "cut short")
            copy_open_store(path, copy)
        with open_backend(backend, copy) as store:
            store.refs["main"] = one  # type: ignore[assignment]
            store.refs["third"] = two  # type: ignore[assignment]
            refs = dict(store.refs.ids())
            histories = {name: store.refs.history(name) for name in refs}
        with rebuilt(backend, copy) as store:
            assert dict(store.refs.ids()) == refs
            assert {name: store.refs.history(name) for name in refs} == histories
