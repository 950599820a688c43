# SPDX-License-Identifier: MIT
"""Refs: moved by compare-and-set, with a history that takes moves back, and durable."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import casstore
from casstore.address import Address
from casstore.errors import NotFoundError
from casstore.format.event import encode_ref_move, event_facts
from casstore.osfile import OsFiles
from casstore.snapshots import Snapshots
from casstore.storage.opening import open_storage
from casstore.testing.faults import FaultyFiles
from tests.snapshots.driving import commit, open_backend

BACKENDS = ["segments", "files", "memory"]
ON_DISK = ["segments", "files"]


def test_refs_are_a_mapping_in_the_order_of_names(store: casstore.Store) -> None:
    one, two = commit(store, {"a": b"1"}), commit(store, {"a": b"2"})
    assert dict(store.refs) == {}
    assert len(store.refs) == 0
    store.refs["try/2"] = one
    store.refs["main"] = two
    store.refs["last"] = one.id  # type: ignore[assignment]
    assert list(store.refs) == ["last", "main", "try/2"]
    assert len(store.refs) == 3
    assert dict(store.refs) == {"last": one, "main": two, "try/2": one}
    assert "main" in store.refs
    assert "other" not in store.refs
    assert 5 not in store.refs
    assert list(store.refs.ids()) == [("last", one.id), ("main", two.id), ("try/2", one.id)]
    assert store.refs.id_of("other") is None
    with pytest.raises(KeyError):
        store.refs["other"]
    assert store.refs.get("other") is None
    assert store.refs.pop("last") == one
    assert "last" not in store.refs


def test_compare_and_set_moves_only_from_what_was_expected(store: casstore.Store) -> None:
    one, two, three = (commit(store, {"a": bytes([number])}) for number in range(3))
    made = store.refs.compare_and_set("main", None, one, reason="new")
    assert (made.name, made.old, made.new, made.reason) == ("main", None, one.id, "new")
    assert store.refs.compare_and_set("main", one, two.id).old == one.id
    for expected in (one, three, None):
        with pytest.raises(casstore.ConflictError) as caught:
            store.refs.compare_and_set("main", expected, three)
        assert two.id.hex()[:12] in str(caught.value)
        assert ("nothing" if expected is None else expected.id.hex()[:12]) in str(caught.value)
        assert caught.value.address == two.id
    with pytest.raises(casstore.ConflictError, match="nothing"):
        store.refs.compare_and_set("other", one, two)
    assert store.refs["main"] == two
    assert "other" not in store.refs
    assert len(store.refs.history("main")) == 2
    store.refs.compare_and_set("main", two, None)
    assert "main" not in store.refs


def test_history_tells_who_moved_what_when_and_why(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "store", config=casstore.Config(actor="Ada")) as store:
        one, two = commit(store, {"a": b"1"}), commit(store, {"a": b"2"})
        store.refs["main"] = one
        store.refs.compare_and_set("main", one, two, reason="better")
        del store.refs["main"]
        store.refs["mainline"] = one
        moves = store.refs.history("main")
        assert [(move.old, move.new, move.reason) for move in moves] == [
            (two.id, None, "delete"),
            (one.id, two.id, "better"),
            (None, one.id, "set"),
        ]
        assert {move.actor for move in moves} == {"Ada"}
        numbers = [move.number for move in moves]
        assert numbers == sorted(numbers, reverse=True)
        assert moves[0].time_ns >= moves[2].time_ns > 10**18
        assert store.refs.history("never") == []
        assert [move.name for move in store.refs.history("mainline")] == ["mainline"]


def test_an_actor_is_found_where_none_is_given(store: casstore.Store) -> None:
    store.refs["main"] = commit(store, {})
    assert store.refs.history("main")[0].actor


def test_undo_takes_back_and_undo_again_redoes(store: casstore.Store) -> None:
    one, two = commit(store, {"a": b"1"}), commit(store, {"a": b"2"})
    store.refs["main"] = one
    store.refs["main"] = two
    undone = store.refs.undo("main")
    assert (undone.old, undone.new) == (two.id, one.id)
    assert str(store.refs.history("main")[1].number) in undone.reason
    assert store.refs["main"] == one
    store.refs.undo("main")
    assert store.refs["main"] == two
    del store.refs["main"]
    assert store.refs.undo("main").new == two.id
    assert store.refs["main"] == two
    with pytest.raises(casstore.NotFoundError, match="nothing to undo"):
        store.refs.undo("other")


def test_undo_of_the_first_move_removes_the_ref(store: casstore.Store) -> None:
    store.refs["main"] = commit(store, {})
    assert store.refs.undo("main").new is None
    assert "main" not in store.refs


def test_rename_keeps_the_state_and_leaves_history_behind(store: casstore.Store) -> None:
    one = commit(store, {"a": b"1"})
    store.refs["old"] = one
    store.refs["taken"] = one
    store.refs.rename("old", "new")
    assert dict(store.refs) == {"new": one, "taken": one}
    assert [move.new for move in store.refs.history("old")] == [None, one.id]
    assert [move.new for move in store.refs.history("new")] == [one.id]
    with pytest.raises(casstore.NotFoundError, match="old"):
        store.refs.rename("old", "newer")
    with pytest.raises(casstore.ConflictError, match="taken"):
        store.refs.rename("new", "taken")
    with pytest.raises(casstore.ConflictError):
        store.refs.rename("new", "new")
    store.refs.undo("old")
    assert store.refs["old"] == one


def test_what_is_no_snapshot_cannot_be_named(store: casstore.Store) -> None:
    snapshot = commit(store, {"a": bytes(500)})
    content = store.put(bytes(500))
    for wrong in (Address(bytes(32)), content, snapshot.roots["files"]):
        with pytest.raises(casstore.NotFoundError, match=wrong.hex()):
            store.refs["main"] = wrong  # type: ignore[assignment]
        with pytest.raises(casstore.NotFoundError):
            store.refs.compare_and_set("main", None, wrong)
    for odd in ("main", b"short", 7):
        with pytest.raises(casstore.InvalidInputError):
            store.refs["main"] = odd  # type: ignore[assignment]
    assert len(store.refs) == 0
    assert store.refs.history("main") == []


def test_a_reason_that_could_not_be_read_back_is_refused(store: casstore.Store) -> None:
    snapshot = commit(store, {})
    for reason in (5, None, b"x"):
        with pytest.raises(casstore.InvalidInputError, match="reason"):
            store.refs.compare_and_set("main", None, snapshot, reason=reason)  # type: ignore[arg-type]
    with pytest.raises(casstore.InvalidInputError):
        store.refs.compare_and_set("main", None, snapshot, reason="\ud800")
    assert store.refs.history("main") == []
    store.refs["main"] = snapshot
    assert len(store.refs.history("main")) == 1


def test_a_ref_to_a_missing_snapshot_is_damage_and_not_a_free_name(store: casstore.Store) -> None:
    snapshot = commit(store, {"a": b"1"}, ref="main")
    store.storage.backend.delete([snapshot.id])
    for look in (lambda: store.refs["main"], lambda: store.refs.get("main"), lambda: store.resolve("main")):
        with pytest.raises(casstore.CorruptionError) as caught:
            look()
        assert snapshot.id.hex() in str(caught.value)
        assert caught.value.address == snapshot.id
    assert "main" in store.refs
    assert store.refs.id_of("main") == snapshot.id


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_many_threads_exactly_one_wins_each_move(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        store.refs["count"] = commit(store, {"n": b"0"})
        wins: list[int] = []
        rounds = 6

        def work(thread: int) -> None:
            done = 0
            while done < rounds:
                before = store.refs["count"]
                number = int(before.files["n"]) + 1
                after = commit(store, {"n": b"%d" % number, "by": b"%d" % thread}, parents=[before])
                try:
                    store.refs.compare_and_set("count", before, after)
                except casstore.ConflictError:
                    continue
                wins.append(number)
                done += 1

        threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # No update is lost and none is made twice.
        assert sorted(wins) == list(range(1, 4 * rounds + 1))
        assert store.refs["count"].files["n"] == b"%d" % (4 * rounds)
        assert len(list(store.log("count"))) == 4 * rounds + 1
        moves = store.refs.history("count")[::-1]
        assert [move.old for move in moves[1:]] == [move.new for move in moves[:-1]]


@pytest.mark.parametrize("backend", ON_DISK)
def test_moves_outlive_a_clean_close(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        one = commit(store, {"a": b"1"}, ref="main")
        two = commit(store, {"a": b"2"}, ref="main")
        store.refs["gone"] = one
        del store.refs["gone"]
        history = store.refs.history("main")
    with open_backend(backend, tmp_path / "store") as store:
        assert dict(store.refs) == {"main": two}
        assert store.refs.history("main") == history
        store.refs.undo("main")
        assert store.refs["main"].files == {"a": b"1"}
        assert store.refs.undo("gone").new == one.id
        assert store.refs.history("gone")[0].number > history[0].number


_CRASH = """
import os, sys
from pathlib import Path
from tests.snapshots.driving import commit, open_backend
store = open_backend(sys.argv[1], Path(sys.argv[2]), sync="full")
one = commit(store, {"a": b"1", "big": bytes(range(256)) * 40}, ref="main")
commit(store, {"a": b"2"}, ref="main")
commit(store, {"a": b"3"}, ref="gone")
del store.refs["gone"]
commit(store, {"a": b"unnamed"})
os._exit(0)
"""


@pytest.mark.parametrize("backend", ON_DISK)
def test_moves_outlive_the_end_of_the_process_without_a_close(backend: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path for path in sys.path if path])}
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-c", _CRASH, backend, str(tmp_path / "store")], check=True, cwd=root, env=environment
    )
    with open_backend(backend, tmp_path / "store") as store:
        assert list(store.refs) == ["main"]
        assert store.refs["main"].files == {"a": b"2"}
        assert store.refs.undo("main").new is not None
        assert store.refs["main"].files == {"a": b"1", "big": bytes(range(256)) * 40}
        assert store.refs.undo("gone").new is not None
        store.verify()


def open_with(path: Path, files: OsFiles, backend: str) -> casstore.Store:
    config = casstore.Config()
    return casstore.Store(open_storage(str(path), read_only=False, timeout=0.0, config=config, files=files), config)


@pytest.mark.parametrize("backend", ON_DISK)
def test_a_power_loss_at_any_call_of_a_move_leaves_the_old_or_the_new(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path, sync="full") as store:
        old = commit(store, {"a": b"1"}, ref="main")
    copies: list[Path] = []
    files = FaultyFiles(str(path))

    def crash(call: object) -> None:
        copies.append(tmp_path / f"copy{len(copies)}")
        files.crash_copy(str(copies[-1]))

    with open_with(path, files, backend) as store:
        files.before = crash
        new = commit(store, {"a": b"2" * 300}, parents=[old], ref="main")
        store.refs.rename("main", "renamed")
        files.before = None
        after = tmp_path / "after"
        files.crash_copy(str(after))
    assert len(copies) >= 4
    seen = []
    for copy in copies:
        with open_backend(backend, copy) as store:
            store.verify()
            seen.append({name: snapshot.id for name, snapshot in store.refs.items()})
    possible = [{"main": old.id}, {"main": new.id}, {"main": new.id, "renamed": new.id}, {"renamed": new.id}]
    assert [state for state in seen if state not in possible] == []
    assert seen == sorted(seen, key=possible.index)
    with open_backend(backend, after) as store:
        assert list(store.refs) == ["renamed"]


def test_a_read_only_store_moves_no_ref(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        one = commit(store, {"a": b"1"}, ref="main")
        with casstore.open(tmp_path / "store", read_only=True) as reader:
            for action in (
                lambda: reader.refs.__setitem__("main", one.id),  # type: ignore[arg-type]
                lambda: reader.refs.delete("main"),
                lambda: reader.refs.undo("main"),
                lambda: reader.refs.rename("main", "other"),
            ):
                with pytest.raises(casstore.ReadOnlyError):
                    action()
            assert dict(reader.refs) == {"main": one}
            # Nor does the reader see what the writer does next.
            store.refs["other"] = one
            assert list(reader.refs) == ["main"]


def test_event_facts_are_what_a_move_writes(store: casstore.Store) -> None:
    snapshot = commit(store, {})
    move = store.refs.compare_and_set("main", None, snapshot)
    for key, value in event_facts(encode_ref_move(move)).items():
        assert store.storage.backend.fact(key) == value


@pytest.mark.parametrize("moved", [False, True])
def test_a_ref_that_goes_while_it_is_read_is_no_damage(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    one, two = commit(store, {"a": b"1"}), commit(store, {"a": b"2"})
    store.refs["main"] = one
    get = Snapshots.get

    def slow(snapshots: Snapshots, snapshot_id: Address) -> casstore.Snapshot:
        if snapshot_id == one.id:
            # Between the look at the ref and the look at what it names, another thread does all this.
            if moved:
                store.refs["main"] = two
            else:
                del store.refs["main"]
            raise NotFoundError("collected", address=snapshot_id)
        return get(snapshots, snapshot_id)

    monkeypatch.setattr(Snapshots, "get", slow)
    if moved:
        assert store.refs["main"] == two
    else:
        assert store.refs.get("main") is None
