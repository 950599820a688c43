# SPDX-License-Identifier: MIT
"""Ways in which the collector could lose data, one test each: what came between, and what must hold."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.errors import CasstoreError
from casstore.format.kinds import CHUNK_LIST
from casstore.testing.model import noise
from tests.collection.test_deltas import put_versions
from tests.snapshots.driving import collect, commit, open_backend, tree_of


def plan(store: casstore.Store, grace: int = 0) -> casstore.GcPlan:
    return store.plan_gc(grace_seconds=grace, undo_keep_seconds=0)


# Snapshots.add without an operation: hits before the plan, the snapshot's record after it, and mark_watched skips it
@pytest.mark.parametrize("grace", [0, 60])
@pytest.mark.parametrize("backend", ["segments", "files", "memory"])
def test_add_snapshot_across_plan(backend: str, grace: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_backend(backend, tmp_path / "s") as store:
        files = {f"{number}": noise(200, number) for number in range(20)}
        root = tree_of(store, files)
        assert root is not None
        if grace:
            # Put long ago: as if `time.time` went on by two hours.
            import time

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


# a collection that was interrupted leaves a list of lists without one; the next with grace clears SWEEPING
@pytest.mark.parametrize("how", ["exception"])
def test_interrupted_then_grace(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import casstore.collection.sweep as sweep
    import casstore.storage.content as content

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


def partly_collected(path: Path) -> tuple[bytes, dict[str, bytes]]:
    """A store whose index was rebuilt: a snapshot that was collected is back, some of what it leads to is not."""
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
    return address, files


# a collection after a rebuild clears SWEEPING although what is back in part is young: refs then take it unchecked
def test_rebuild_then_collection_with_grace(tmp_path: Path) -> None:
    address, files = partly_collected(tmp_path / "s")
    with open_backend("segments", tmp_path / "s") as store:
        with pytest.raises(CasstoreError):
            store.refs["again"] = store.resolve(address)
        plan(store, grace=3600).execute()
        try:
            store.refs["again"] = store.resolve(address)
        except CasstoreError:
            return
        assert dict(store.resolve("again").files) == files


# a mere handle of what is back in part stops every collection
def test_handle_stops_collection(tmp_path: Path) -> None:
    address, _ = partly_collected(tmp_path / "s")
    with open_backend("segments", tmp_path / "s") as store:
        handle = store.resolve(address)
        collect(store)
        assert handle


# a new snapshot on top of what is back in part is not checked
def test_branch_of_partly_collected(tmp_path: Path) -> None:
    address, _files = partly_collected(tmp_path / "s")
    with open_backend("segments", tmp_path / "s") as store:
        snapshot = store.resolve(address)
        branch = store.branch(snapshot)
        branch.files["new"] = b"new" * 100
        try:
            branch.commit("on top", ref="again")
        except CasstoreError:
            return
        del snapshot, branch
        collect(store)


# between `collecting = False` and `sweeps += 1` another plan may begin to execute
def test_two_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
                except casstore.ConflictError:
                    pass

        backend.__dict__.pop("collecting")
        monkeypatch.setattr(cls, "collecting", property(get, set_), raising=False)
        plan(store).execute()
        assert store.put(data) == address
        assert store.get(address) == data


# a delta became full between the look-up and the hit: live content "was collected"
@pytest.mark.parametrize("backend", ["segments", "files", "memory"])
def test_hit_with_an_old_entry(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


# memory backend: a record that is written anew is gone for a moment
def test_memory_put_again(tmp_path: Path) -> None:
    with open_backend("memory", tmp_path / "s") as store:
        data, (_base, delta) = put_versions(store, 1)
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


# verify of a writable store marks deltas damaged whose base is; healing the base does not heal them
def test_verify_marks_deltas(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "s") as store:
        data, addresses = put_versions(store, 3)
        base = addresses[0]
        with store.storage.operation():
            from casstore.format.entry import file_entry

            commit(store, {str(n): file_entry(len(d), a) for n, (d, a) in enumerate(zip(data, addresses))}, ref="main")
    with open_backend("segments", tmp_path / "s") as store:
        info = store.storage.locate(base)
        path = store.storage.backend._files.path(info.segment)
        with open(path, "r+b") as file:
            file.seek(info.offset + 60)
            byte = file.read(1)
            file.seek(info.offset + 60)
            file.write(bytes([byte[0] ^ 0xFF]))
        with pytest.raises(CasstoreError):
            store.verify()
        assert store.put(data[0]) == base
        store.storage.cache.clear()
        assert [store.get(address) for address in addresses] == data
        assert all(address in store for address in addresses)
        assert not store.storage.backend.hurt
