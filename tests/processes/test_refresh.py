# SPDX-License-Identifier: MIT
"""``store.refresh()``: a new view for a reader, the old one for what it handed out before, and no view for ever."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from pathlib import Path

import pytest

import casstore
from casstore.errors import CasstoreError, ClosedError, FormatVersionError, NotFoundError
from casstore.storage.readers import live_pins
from tests.compat.stores import write_superblock
from tests.snapshots.driving import backend_config, collect, commit
from tests.storage.stores import noise


@pytest.fixture(params=["segments", "files"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with casstore.open(tmp_path / "store", config=backend_config(request.param)) as store:
        commit(store, {"f": noise(1, 9000), "same": noise(9, 500)}, ref="main")
    return tmp_path / "store"


def pins(path: Path) -> int:
    gc.collect()
    return len(live_pins(str(path)))


def test_it_shows_what_is_there_now_and_handles_what_was(path: Path) -> None:
    with casstore.open(path, read_only=True) as reader, casstore.open(path) as writer:
        old = reader.snapshot("main")
        branch = reader.branch("main")
        content = reader.open_content(writer.put(noise(1, 9000)))
        new = commit(writer, {"f": noise(2, 9000), "same": noise(9, 500)}, ref="main")
        collect(writer)
        assert reader.snapshot("main") == old
        with pytest.raises(NotFoundError):
            reader.resolve(new.id)
        reader.refresh()
        assert reader.snapshot("main") == new
        assert reader.snapshot("main").files["f"] == noise(2, 9000)
        with pytest.raises(NotFoundError):
            reader.resolve(old.id)
        # What was handed out before reads on from where it came from, although the writer has collected it.
        assert old.files["f"] == noise(1, 9000)
        assert branch.files["f"] == noise(1, 9000)
        assert content.read() == noise(1, 9000)
        assert reader.branch("main").files["f"] == noise(2, 9000)
        reader.verify()
        assert pins(path) == 2
        del old, branch, content
        assert pins(path) == 1
        collect(writer)
        assert writer.storage.backend.used_bytes() < 25_000
    assert list((path / "readers").iterdir()) == []


def test_views_do_not_pile_up(path: Path) -> None:
    with casstore.open(path, read_only=True) as reader, casstore.open(path) as writer:
        kept = []
        for number in range(12):
            commit(writer, {"f": noise(number, 3000)}, ref="main")
            reader.refresh()
            assert reader.refs["main"].files["f"] == noise(number, 3000)
            if number % 4 == 0:
                kept.append((number, reader.refs["main"]))
            assert pins(path) <= 1 + len(kept)
            assert len(reader._views) <= len(kept)
        for number, snapshot in kept:
            assert snapshot.files["f"] == noise(number, 3000)
        # What is closed is closed, old views too.
        reader.close()
        assert pins(path) == 0
        with pytest.raises(ClosedError):
            kept[0][1].files["f"]
        with pytest.raises(ClosedError):
            reader.refresh()


def test_factories_that_were_registered_stay(path: Path) -> None:
    with casstore.open(path, read_only=True) as reader:
        codecs = reader.branches.codecs
        reader.branches.fold_keys = 17
        reader.refresh()
        assert reader.branches.codecs is codecs
        assert reader.branches.fold_keys == 17
        assert reader.branches.snapshots is reader.snapshots


def test_where_it_cannot_be_opened_any_more_the_old_view_stays(path: Path) -> None:
    with casstore.open(path, read_only=True) as reader:
        superblock = (path / "superblock").read_bytes()
        write_superblock(path, 12, 2)
        with pytest.raises(FormatVersionError):
            reader.refresh()
        (path / "superblock").write_bytes(superblock)
        shutil.move(path / "index", path / "elsewhere")
        with pytest.raises(CasstoreError):
            reader.refresh()
        assert reader.refs["main"].files["f"] == noise(1, 9000)
        assert pins(path) == 1
        shutil.move(path / "elsewhere", path / "index")
        reader.refresh()
        assert reader.refs["main"].files["f"] == noise(1, 9000)


def test_a_store_that_is_open_for_writing_shows_everything_anyway(path: Path) -> None:
    with casstore.open(path) as store:
        storage = store.storage
        store.refresh()
        assert store.storage is storage
    with casstore.open(":memory:") as store:
        address = store.put(b"content")
        store.refresh()
        assert store.get(address) == b"content"


def test_threads_read_while_it_is_refreshed(path: Path) -> None:
    stop = threading.Event()
    wrong: list[BaseException] = []

    with casstore.open(path, read_only=True) as reader, casstore.open(path) as writer:

        def read() -> None:
            try:
                while not stop.is_set():
                    snapshot = reader.snapshot("main")
                    number = int(snapshot.message or 1)
                    assert snapshot.files["f"] == noise(number, 9000)
                    assert snapshot.files["same"] == noise(9, 500)
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(2, 10):
            files = {"f": noise(number, 9000), "same": noise(9, 500)}
            commit(writer, files, ref="main", message=str(number))
            collect(writer)
            reader.refresh()
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert pins(path) == 1


def test_threads_get_one_context(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what one of them registers is unknown to the branches of the other."""
    real = casstore.Store._new_context

    def slow(store: casstore.Store) -> object:
        time.sleep(0.02)
        return real(store)

    monkeypatch.setattr(casstore.Store, "_new_context", slow)
    with casstore.open(path, read_only=True) as reader:
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(reader.branches)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {id(one) for one in found} == {id(reader.branches)}
