# SPDX-License-Identifier: MIT
"""A crash at any moment of a collection: the store opens, what is reachable is there, and what went can come again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.osfile import OsFiles
from casstore.snapshots import Snapshot
from casstore.storage.opening import open_storage
from casstore.testing.faults import Call, FaultyFiles
from casstore.testing.model import noise
from tests.snapshots.driving import backend_config, collect, commit, copy_open_store, open_backend

KEPT = {"a": noise(9000, 1), "shared": noise(5000, 2), "small": noise(200, 5)}
GONE = {"b": noise(20_000, 3), "shared": noise(5000, 2), "c": noise(300, 4)}
LOOSE = noise(12_000, 6)


def open_with(path: Path, files: OsFiles, backend: str) -> casstore.Store:
    config = backend_config(backend)
    return casstore.Store(open_storage(str(path), read_only=False, timeout=0.0, config=config, files=files), config)


def fill(store: casstore.Store) -> Snapshot:
    base = commit(store, {"old": noise(3000, 7)}, time_ns=1)
    kept = commit(store, KEPT, parents=[base], ref="main", time_ns=2)
    commit(store, GONE, ref="gone", time_ns=3)
    store.put(LOOSE)
    del store.refs["gone"]
    store.sync()
    return kept


def check(path: Path, backend: str, kept: bytes) -> None:
    """All that must be there is there, and all that may be gone can be put again and stays."""
    with open_backend(backend, path) as store:
        store.verify()
        assert dict(store.refs.ids()) == {"main": kept}
        assert dict(store.refs["main"].files) == KEPT
        assert len(list(store.log("main"))) == 2
        address = store.put(LOOSE)
        assert store.get(address) == LOOSE
        again = commit(store, GONE, ref="again", time_ns=3)
        assert dict(again.files) == GONE
        del again
        store.verify()
    with open_backend(backend, path) as store:
        collect(store)
        assert dict(store.refs["again"].files) == GONE
        assert dict(store.refs["main"].files) == KEPT
        assert address not in store
        assert collect(store).deleted_objects == 0
        store.verify()


@pytest.mark.parametrize("keep_names", [False, True])
@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_power_loss_at_any_call(backend: str, keep_names: bool, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend(backend, path, sync="full") as store:
        kept = fill(store).id
    copies: list[Path] = []
    names: set[str] = set()
    files = FaultyFiles(str(path))

    def crash(call: Call) -> None:
        names.add(call.name)
        if backend == "segments" or len(files.calls) % 9 == 0:
            copies.append(tmp_path / f"copy{len(copies)}")
            files.crash_copy(str(copies[-1]), keep_names=keep_names)

    with open_with(path, files, backend) as store:
        files.before = crash
        report = collect(store)
        files.before = None
        assert report.deleted_objects > 20
        files.crash_copy(str(tmp_path / "after"), keep_names=keep_names)
    assert {"append", "sync", "unlink"} <= names
    assert len(copies) >= 5
    for copy in [*copies, tmp_path / "after"]:
        check(copy, backend, kept)
        shutil.rmtree(copy)


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_crash_between_any_two_writes_of_the_index(backend: str, tmp_path: Path) -> None:
    """The process ends without a close; what it appended is there, synced or not."""
    path = tmp_path / "store"
    with open_backend(backend, path, sync="full") as store:
        kept = fill(store).id
    copies: list[Path] = []
    with open_backend(backend, path, sync="full") as store:
        index: Any = store.storage.backend._index  # type: ignore[attr-defined]

        class Copying:
            """The index, with a copy of the store before and after each batch."""

            def __getattr__(self, name: str) -> Any:
                return getattr(index, name)

            def write(self, changes: Mapping[bytes, bytes | None]) -> None:
                self.copy()
                index.write(changes)
                self.copy()

            def write_unsynced(self, changes: Mapping[bytes, bytes | None]) -> None:
                index.write_unsynced(changes)
                self.copy()

            def copy(self) -> None:
                copies.append(tmp_path / f"copy{len(copies)}")
                copy_open_store(path, copies[-1])

        store.storage.backend._index = Copying()  # type: ignore[attr-defined]
        collect(store)
        store.storage.backend._index = index  # type: ignore[attr-defined]
    assert len(copies) >= 8
    for copy in copies if backend == "segments" else copies[1::3]:
        check(copy, backend, kept)


@pytest.mark.parametrize(
    ("name", "nth"), [("append", 1), ("append", 2), ("sync", 1), ("sync", 2), ("sync_folder", 1), ("create", 1)]
)
def test_a_call_that_fails_loses_nothing(name: str, nth: int, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path, sync="full") as store:
        kept = fill(store).id
    files = FaultyFiles(str(path))
    store = open_with(path, files, "segments")
    files.fail(name, nth=nth)
    with pytest.raises(casstore.StorageError):
        collect(store)
    assert dict(store.refs["main"].files) == KEPT
    store.close()
    check(path, "segments", kept)


def test_an_unlink_that_fails_is_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path, sync="full") as store:
        kept = fill(store).id
    files = FaultyFiles(str(path))
    store = open_with(path, files, "segments")
    files.fail("unlink")
    with pytest.raises((casstore.StorageError, OSError)):
        collect(store)
    store.close()
    check(path, "segments", kept)


def test_a_crash_while_marking_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path, sync="full") as store:
        kept = fill(store).id
        plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
        copy_open_store(path, tmp_path / "copy")
        plan.drop()
    check(tmp_path / "copy", "segments", kept)


def test_writes_between_plan_and_crash_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path, sync="full") as store:
        fill(store)
        copies: list[Path] = []
        backend: Any = store.storage.backend
        original: Callable[..., int] = backend.delete
        named: dict[str, dict[str, bytes]] = {}

        def delete(addresses: Any, **options: bool) -> int:
            number = original(addresses, **options)
            copies.append(tmp_path / f"copy{len(copies)}")
            copy_open_store(path, copies[-1])
            return number

        plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
        for number in range(3):
            files = {"x": noise(2000, 50 + number), **GONE}
            commit(store, files, ref=f"new/{number}")
            named[f"new/{number}"] = files
        backend.delete = delete
        plan.execute()
        del backend.delete
    assert copies
    for copy in copies:
        with open_backend("segments", copy) as store:
            store.verify()
            assert {name: dict(store.refs[name].files) for name in named} == named
            collect(store)
            assert {name: dict(store.refs[name].files) for name in named} == named
            store.verify()


def test_killed_by_the_system_in_the_middle_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path, sync="full") as store:
        kept = fill(store).id
    child = os.fork()
    if child == 0:
        # The rule that forked children open no store is for those that live on; this one dies in the middle.
        monkeypatch.setattr("casstore.storage.index._user_pid", None)
        files = FaultyFiles(str(path), before=lambda call: os._exit(7) if call.name == "sync_folder" else None)
        try:
            collect(open_with(path, files, "segments"))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    check(path, "segments", kept)
