# SPDX-License-Identifier: MIT
"""Ways in which the collector could lose data, one test each: what came between, and what must hold."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import casstore
import casstore.collection.plan as plan_module
import casstore.collection.sweep as sweep
import casstore.storage.content as content
from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.entry import file_entry
from casstore.format.kinds import CHUNK_LIST
from casstore.storage.indexed import MAX_PENDING
from casstore.testing.model import noise
from tests.collection.test_deltas import put_versions
from tests.snapshots.driving import collect, commit, open_backend, tree_of


def plan(store: casstore.Store, grace: int = 0) -> casstore.GcPlan:
    return store.plan_gc(grace_seconds=grace, undo_keep_seconds=0)


@pytest.mark.parametrize("grace", [0, 60])
@pytest.mark.parametrize("backend", ["segments", "files", "memory"])
def test_a_snapshot_that_is_added_across_a_plan_keeps_its_tree(
    backend: str, grace: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan comes after the hits on the roots, and before the snapshot's record."""
    with open_backend(backend, tmp_path / "s") as store:
        files = {f"{number}": noise(200, number) for number in range(20)}
        root = tree_of(store, files)
        assert root is not None
        if grace:
            # Put long ago: as if `time.time` went on by two hours.
            now = time.time
            monkeypatch.setattr(time, "time", lambda: now() + 7200)
        put_record = store.storage.__class__.put_record
        plans: list[Any] = []

        def slow(self: Any, kind: int, address: Any, raw: bytes) -> bool:
            if not plans:
                plans.append(plan(store, grace))
            return put_record(self, kind, address, raw)

        monkeypatch.setattr(store.storage.__class__, "put_record", slow)
        snapshot = store.add_snapshot(roots={"files": root})
        plans[0].execute()
        store.refs["main"] = snapshot
        assert dict(store.resolve("main").files) == files
        collect(store)


def test_after_an_interrupted_sweep_a_collection_with_grace_makes_no_list_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep ends between a list below and the one above it, which then is young."""
    monkeypatch.setattr(content, "MAX_PIECES", 4)
    monkeypatch.setattr(sweep, "_BATCH", 1)
    with open_backend("segments", tmp_path / "s") as store:
        # A content of which a list below goes before its own.
        for seed in range(100):
            data = noise(40_000, seed)
            address = store.put(data)
            found = store.storage.chunk_list(address)
            assert found is not None
            below = [
                piece
                for piece, _ in found.pieces
                if (entry := store.storage.backend.find(piece)) is not None and entry.kind == CHUNK_LIST
            ]
            if below and min(below) < address:
                break
            collect(store)
        else:
            raise AssertionError

        class Stop(Exception):
            pass

        def stop(phase: str, done: int, total: int | None) -> None:
            if phase == "deleting" and done == 1:
                raise Stop

        with pytest.raises(Stop):
            plan(store).execute(stop)
        assert store.storage.backend.find(address) is not None, "setup: the list is still there"
        plan(store, grace=3600).execute()
        assert store.put(data) == address
        assert store.get(address) == data


def partly_collected(path: Path) -> Address:
    """A store without its index: a snapshot that was collected will be back, some of what it leads to will not."""
    files = {"a": noise(30_000, 1), "b": noise(20_000, 2)}
    with open_backend("segments", path) as store:
        store.refs["gone"] = snapshot = commit(store, files)
        address = snapshot.id
        del snapshot
        # The last segment, in which snapshot and nodes lie, gets much that stays.
        commit(store, {"stay": noise(9_000, 7)}, ref="main")
        del store.refs["gone"]
        monkey = store.storage.backend
        compact = monkey.compact
        # Only the oldest segment is compacted away, as where the share of the dead is small elsewhere.
        monkey.compact = lambda segments: compact([s for s in segments if s == 1])  # type: ignore[method-assign]
        collect(store)
        del monkey.compact
    shutil.rmtree(path / "index")
    return address


def test_no_ref_is_set_to_what_is_back_in_part(tmp_path: Path) -> None:
    """Not after a collection either, for which all that is back is young."""
    address = partly_collected(tmp_path / "s")
    with open_backend("segments", tmp_path / "s") as store:
        for _ in range(2):
            with pytest.raises(casstore.NotFoundError, match="only in part"):
                store.refs["again"] = store.resolve(address)
            assert "again" not in store.refs
            plan(store, grace=3600).execute()


def test_a_handle_of_what_is_back_in_part_stops_no_collection(tmp_path: Path) -> None:
    address = partly_collected(tmp_path / "s")
    with open_backend("segments", tmp_path / "s") as store:
        dead = store.put(noise(500, 3))
        handle = store.resolve(address)
        collect(store)
        assert dead not in store
        assert handle.id in store
        assert dict(store.refs["main"].files) == {"stay": noise(9_000, 7)}


def test_no_ref_is_set_to_what_is_made_of_it(tmp_path: Path) -> None:
    address = partly_collected(tmp_path / "s")
    with open_backend("segments", tmp_path / "s") as store:
        branch = store.branch(store.resolve(address))
        branch.files["new"] = b"new" * 100
        with pytest.raises(casstore.NotFoundError, match="only in part"):
            branch.commit("on top", ref="again")
        assert "again" not in store.refs
        del branch
        collect(store)
        assert address not in store
        assert store.verify()
        # From here on nothing is in doubt.
        branch = store.branch("main")
        branch.files["new"] = b"new" * 100
        branch.commit("on top", ref="again")


def test_a_plan_that_waits_for_the_end_of_another_collection_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made while the other one compacted, and is executed as soon as that one says that it is done."""
    with open_backend("segments", tmp_path / "s") as store:
        backend: Any = store.storage.backend
        store.put(noise(20_000, 5))
        data = noise(30_000, 1)
        snapshot = commit(store, {"a": data}, ref="main")
        address = snapshot.files.entry("a").address
        assert address is not None
        del snapshot
        entry = backend.find(address)
        assert entry.kind == CHUNK_LIST
        plans: list[Any] = []
        refused: list[str] = []
        compact = backend.compact

        def slow_compact(segments: Any, **options: Any) -> None:
            if not plans:
                del store.refs["main"]
                plans.append(plan(store))
            compact([entry.segment])

        monkeypatch.setattr(backend, "compact", slow_compact)
        cls = type(backend)

        def get(self: Any) -> bool:
            return self.__dict__.get("_collecting", False)

        def set_(self: Any, value: bool) -> None:
            self.__dict__["_collecting"] = value
            if not value and plans and plans[-1] is not None:
                # Another thread gets its turn here.
                other, plans[-1] = plans[-1], None
                try:
                    other.execute()
                except casstore.ConflictError as error:
                    refused.append(error.message)

        backend.__dict__.pop("collecting")
        monkeypatch.setattr(cls, "collecting", property(get, set_), raising=False)
        plan(store).execute()
        assert ["make a new plan" in message for message in refused] == [True]
        assert store.put(data) == address
        assert store.get(address) == data


@pytest.mark.parametrize("backend", ["segments", "files", "memory"])
def test_a_delta_that_became_full_since_it_was_looked_up_is_hit(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_backend(backend, tmp_path / "s") as store:
        data, (base, delta) = put_versions(store, 1)
        held = store.open_content(delta)
        inner: Any = store.storage.backend
        find = inner.find

        def slow(wanted: Any) -> Any:
            entry = find(wanted)
            if wanted == delta:
                monkeypatch.setattr(inner, "find", find)
                collect(store)
            return entry

        monkeypatch.setattr(inner, "find", slow)
        # First the look-ups of the record itself, then that for the hit.
        entry = inner.find(delta)
        assert inner.find(base) is None
        assert store.get(delta) == data[1]
        assert inner.hit(delta, entry), "it is there, and pinned all the time"
        held.close()


def test_in_memory_a_record_that_is_written_anew_is_never_absent(tmp_path: Path) -> None:
    """A reader looks whenever a record is taken out, and the one that is made full is not."""
    with open_backend("memory", tmp_path / "s") as store:
        data, (base, delta) = put_versions(store, 1)
        held = store.open_content(delta)
        store.storage.cache.clear()
        backend: Any = store.storage.backend
        errors: list[BaseException] = []

        class Records(dict):  # type: ignore[type-arg]
            def pop(self, key: Any, *default: Any) -> Any:
                found = super().pop(key, *default)
                if key == delta:

                    def read() -> None:
                        try:
                            assert store.get(delta) == data[1]
                        except BaseException as error:
                            errors.append(error)

                    thread = threading.Thread(target=read)
                    thread.start()
                    thread.join()
                return found

        backend._records = Records(backend._records)
        collect(store)
        held.close()
        assert errors == []
        # It was written anew, and its base is gone.
        entry = backend.find(delta)
        assert entry is not None
        assert entry.base is None
        assert base not in store
        assert store.get(delta) == data[1]


def test_what_verify_finds_out_about_a_base_is_no_damage_of_its_deltas(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "s") as store:
        data, addresses = put_versions(store, 3)
        base = addresses[0]
        with store.storage.operation():
            commit(store, {str(n): file_entry(len(d), a) for n, (d, a) in enumerate(zip(data, addresses))}, ref="main")
    with open_backend("segments", tmp_path / "s") as store:
        info = store.storage.locate(base)
        path = store.storage.backend._files.path(info.segment)
        with open(path, "r+b") as file:
            file.seek(info.offset + 60)
            byte = file.read(1)
            file.seek(info.offset + 60)
            file.write(bytes([byte[0] ^ 0xFF]))
        with pytest.raises(CorruptionError):
            store.verify()
        assert store.put(data[0]) == base
        store.storage.cache.clear()
        assert [store.get(address) for address in addresses] == data
        assert all(address in store for address in addresses)
        assert not store.storage.backend.hurt


def test_renewed_stamps_do_not_wait_without_bound(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "s") as store:
        with store.storage.ingest() as ingest:
            addresses = [ingest.add(b"content %08d" % number * 3) for number in range(MAX_PENDING + 100)]
        store.sync()
        later = int(time.time()) + 10_000
        backend: Any = store.storage.backend
        for address in addresses:
            backend.touch(address, later)
            assert len(backend._pending) <= MAX_PENDING
        assert {entry.stamp for _, entry in backend.scan()} == {later}


def test_what_is_written_during_a_survey_is_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_survey = plan_module.make_survey

    def slow(*arguments: Any) -> Any:
        found = make_survey(*arguments)
        commit(store, {str(number): noise(9000, 10 + number) for number in range(20)}, ref="meanwhile")
        store.sync()
        return found

    with open_backend("segments", tmp_path / "s") as store:
        commit(store, {"a": noise(9000, 1)}, ref="main")
        monkeypatch.setattr(plan_module, "make_survey", slow)
        with store.plan_gc(grace_seconds=0, undo_keep_seconds=3600) as made:
            assert made.dead_objects == 0
            assert made.segments == {}
            before = {info.segment for info in store.storage.backend.segments()}
            assert len(before) > 3
            made.execute()
        assert {info.segment for info in store.storage.backend.segments()} >= before
