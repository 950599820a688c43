# SPDX-License-Identifier: MIT
"""The façade: opening, settings, closing, figures, pins."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import casstore
from casstore.address import Address
from casstore.testing.model import noise
from tests.snapshots.driving import SMALL, collect, commit, open_backend

BACKENDS = ["segments", "files", "memory"]


def test_a_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "new"
    for action in (
        lambda: casstore.open(path, create=False),
        lambda: casstore.open(path, read_only=True),
        lambda: casstore.open(tmp_path / "a" / "b", create=False),
    ):
        with pytest.raises(casstore.NotFoundError):
            action()
    assert not path.exists()
    with casstore.open(path) as store:
        assert store.path == str(path)
        assert not store.read_only
        assert len(bytes.fromhex(store.store_id)) == 16
        store_id = store.store_id
        assert "state.cas" not in repr(store)
        assert str(path) in repr(store)
    with casstore.open(str(path), create=False) as store:
        assert store.store_id == store_id
    with casstore.open(tmp_path / "other") as store:
        assert store.store_id != store_id


def test_other_folders_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(casstore.InvalidInputError, match="not empty"):
        casstore.open(tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["file"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(casstore.CasstoreError):
        casstore.open(tmp_path / "file")
    with pytest.raises(casstore.CasstoreError):
        casstore.open(tmp_path / "no" / "such" / "parent")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "store"), pytest.raises(casstore.LockedError) as caught:
        casstore.open(tmp_path / "store", timeout=0.05)
    assert caught.value.pid == os.getpid()
    casstore.open(tmp_path / "store").close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_format_fields_are_fixed_when_the_store_is_made(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        fields = store.format_fields
        assert fields["backend"] == backend
        assert (fields["chunk_min_bytes"], fields["chunk_avg_bytes"], fields["chunk_max_bytes"]) == (256, 1024, 4096)
        assert int(fields["created_ns"]) > 10**18
    if backend != "memory":
        with pytest.raises(casstore.InvalidInputError, match="chunk_avg_bytes"):
            casstore.open(tmp_path / "store", config=casstore.Config(chunk_avg_bytes=8192))
        with casstore.open(tmp_path / "store") as store:
            assert store.format_fields == fields


@pytest.mark.parametrize("backend", BACKENDS)
def test_settings_stay(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        assert store.settings.max_bytes is None
        assert store.configure(max_bytes=10**9, grace_seconds=5).grace_seconds == 5
        assert store.configure(undo_keep_seconds=0).max_bytes == 10**9
        for wrong in ({"grace_seconds": -1}, {"grace_seconds": None}, {"max_bytes": "1"}, {"other": 1}, {"path": 1}):
            with pytest.raises(casstore.InvalidInputError):
                store.configure(**wrong)  # type: ignore[arg-type]
        settings = store.settings
        assert (settings.max_bytes, settings.grace_seconds, settings.undo_keep_seconds) == (10**9, 5, 0)
        assert store.storage.renew_after_seconds == 2
        assert store.configure(max_bytes=None).max_bytes is None
    if backend != "memory":
        with casstore.open(tmp_path / "store", read_only=True) as reader:
            assert reader.settings.grace_seconds == 5
            with pytest.raises(casstore.ReadOnlyError):
                reader.configure(grace_seconds=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_store_says_so(backend: str, tmp_path: Path) -> None:
    store = open_backend(backend, tmp_path / "store")
    snapshot = commit(store, {"a": noise(3000, 1)}, ref="main")
    address = store.put(noise(3000, 1))
    refs = store.refs
    store.close()
    store.close()
    assert "closed" in repr(store)
    for action in (
        lambda: store.put(b"x"),
        lambda: store.get(address),
        lambda: store.open_content(address),
        lambda: address in store,
        lambda: store.resolve("main"),
        lambda: store.resolve(snapshot.id),
        lambda: store.add_snapshot(roots={}),
        lambda: list(store.log("main")),
        lambda: list(store.diff("main", "main")),
        lambda: store.stats(),
        lambda: store.pins(),
        lambda: store.verify(),
        lambda: store.plan_gc(),
        lambda: store.sync(),
        lambda: store.configure(grace_seconds=1),
        lambda: refs["main"],
        lambda: list(refs),
        lambda: refs.history("main"),
        lambda: refs.__setitem__("main", snapshot),
        lambda: snapshot.files["a"],
    ):
        with pytest.raises(casstore.ClosedError):
            action()
    # What needs no store goes on.
    assert snapshot.state_id
    assert snapshot == snapshot


def test_a_forked_child_owns_nothing(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        snapshot = commit(store, {"a": noise(3000, 1)}, ref="main")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                store.put(b"x" * 1000)
            except casstore.ClosedError:
                store.close()
                code = 7
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        commit(store, {"b": noise(3000, 2)}, parents=[snapshot], ref="main")
        store.verify()


@pytest.mark.parametrize("backend", BACKENDS)
def test_contents(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        for content in (b"", b"x", noise(9000, 1)):
            address = store.put(content)
            assert store.put(bytearray(content)) == store.put(memoryview(content)) == address
            assert address in store
            assert store.get(address) == content
            with store.open_content(address) as file:
                assert file.read() == content
        with open(__file__, "rb") as file:
            address = store.put(file)
        assert store.get(address) == Path(__file__).read_bytes()
        missing = Address(bytes(32))
        assert missing not in store
        with pytest.raises(casstore.NotFoundError):
            store.get(missing)
        with pytest.raises(casstore.NotFoundError):
            store.open_content(missing)
        assert store.pins() == []
        for wrong in ("text", 5, None):
            with pytest.raises(casstore.InvalidInputError):
                store.put(wrong)  # type: ignore[arg-type]
            with pytest.raises(casstore.InvalidInputError):
                store.get(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
def test_stats_add_up(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        empty = store.stats()
        assert (empty.refs, empty.snapshots, empty.logical_bytes, empty.raw_bytes) == (0, 0, 0, 0)
        assert (empty.dedup_ratio, empty.compression_ratio) == (1.0, 1.0)
        text = b"all work and no play\n" * 190
        first = commit(store, {"text": text, "noise": noise(5000, 1), "small": b"inline"})
        second = commit(store, {"text": text, "copy": text, "noise": noise(5000, 1)}, parents=[first], ref="main")
        store.refs["same"] = second
        commit(store, {"loose": noise(700, 2)})
        stats = store.stats()
        assert (stats.refs, stats.snapshots) == (2, 2)
        assert stats.logical_bytes == 3 * len(text) + 2 * 5000 + 6
        assert stats.raw_bytes == len(text) + 5000 + 700
        assert stats.kinds["snapshot"].objects == 3
        assert stats.kinds["event"].objects == 2
        assert stats.kinds["chunk"].raw_bytes == stats.raw_bytes
        assert stats.kinds["chunk"].stored_bytes == stats.stored_bytes < stats.raw_bytes
        assert stats.record_bytes == store.storage.backend.used_bytes() > stats.stored_bytes
        assert stats.dedup_ratio == stats.logical_bytes / stats.raw_bytes
        assert stats.compression_ratio > 1.5
        assert stats.segments >= 1
        del first, second
        collect(store)
        assert store.stats().kinds["snapshot"].objects == 2


def test_pins_are_listed(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        assert store.pins() == []
        snapshot = commit(store, {"a": noise(3000, 1)}, ref="main")
        file = store.open_content(store.put(noise(3000, 1)))
        with casstore.open(tmp_path / "store", read_only=True) as reader:
            assert [(pin.what, pin.count) for pin in reader.pins()] == [("reader", 1)]
            pins = store.pins()
            assert sorted(pin.what for pin in pins) == ["content", "reader", "snapshot"]
            owners = {pin.what: pin.owner for pin in pins}
            assert owners["snapshot"] == "this process"
            assert len(owners["reader"]) == 32
        file.close()
        del snapshot
        assert store.pins() == []


def test_pins_dropped_in_any_thread_are_gone() -> None:
    with casstore.open(":memory:", config=SMALL) as store:
        snapshot_id = commit(store, {"a": b"1"}).id

        def work() -> None:
            for _ in range(300):
                store.resolve(snapshot_id)
                store.pins()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.pins() == []


def test_sync_makes_a_snapshot_durable_without_a_ref(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from tests.snapshots.driving import commit, open_backend
store = open_backend("segments", Path(sys.argv[1]), sync="full")
snapshot = commit(store, {"a": bytes(range(256)) * 20})
store.sync()
print(snapshot.id.hex(), flush=True)
os._exit(0)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path for path in sys.path if path])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
        env=environment,
    )
    with casstore.open(tmp_path / "store") as store:
        assert store.resolve(done.stdout.strip()).files == {"a": bytes(range(256)) * 20}


def test_a_reader_sees_the_state_of_its_opening(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        first = commit(store, {"a": noise(3000, 1)}, ref="main")
        with casstore.open(tmp_path / "store", read_only=True) as reader:
            assert reader.read_only
            later = commit(store, {"b": noise(3000, 2)}, ref="main")
            assert reader.refs["main"] == first
            assert later.id not in reader
            assert reader.verify().snapshots == 1
            for action in (
                lambda: reader.put(b"new"),
                lambda: reader.add_snapshot(roots={}),
                lambda: reader.sync(),
                lambda: reader.plan_gc(),
            ):
                with pytest.raises(casstore.ReadOnlyError):
                    action()
            assert list(reader.log("main")) == [first]
            assert reader.stats().snapshots == 1
