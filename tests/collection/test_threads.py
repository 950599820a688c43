# SPDX-License-Identifier: MIT
"""Writers, committers, readers and collections at once, with no grace period to hide behind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import casstore
from casstore.testing.model import noise
from tests.snapshots.driving import collect, commit, edited, open_backend


def run(store: casstore.Store, seconds: float) -> dict[str, int]:
    """Works on the store from many threads; returns how often each sort of work was done."""
    end = time.monotonic() + seconds
    errors: list[BaseException] = []
    done = {"write": 0, "commit": 0, "delete": 0, "collect": 0, "read": 0, "ingest": 0}

    def thread(what: str, work: Callable[[random.Random], None], seed: int) -> threading.Thread:
        def loop() -> None:
            choice = random.Random(seed)
            try:
                while time.monotonic() < end and not errors:
                    work(choice)
                    done[what] += 1
            except BaseException as error:
                errors.append(error)

        return threading.Thread(target=loop)

    def content(choice: random.Random) -> bytes:
        # Few different ones, so that most puts meet what another thread put, or what was just collected.
        return noise(choice.choice([200, 900, 6000]), choice.randrange(12))

    def write(choice: random.Random) -> None:
        with store.storage.operation():
            data = content(choice)
            address = store.put(data)
            assert store.get(address) == data

    def ingest(choice: random.Random) -> None:
        with store.storage.operation():
            made = {}
            with store.storage.ingest() as bulk:
                for _ in range(8):
                    data = content(choice)
                    made[bulk.add(data)] = data
            for address, data in made.items():
                assert store.get(address) == data

    def work(choice: random.Random) -> None:
        name = f"ref/{choice.randrange(4)}x"
        base = store.refs.get(name)
        with store.storage.operation():
            if base is None or choice.random() < 0.3:
                files = {f"{number:02}": content(choice) for number in range(choice.randrange(1, 30))}
                snapshot = commit(store, files)
            else:
                root = edited(store, base, {f"{choice.randrange(30):02}": content(choice)})
                assert root is not None
                snapshot = store.add_snapshot(roots={"files": root}, parents=[base] if choice.random() < 0.8 else [])
            try:
                store.refs.compare_and_set(name, base, snapshot)
            except casstore.ConflictError:
                pass
        for path in snapshot.files:
            assert snapshot.files[path]

    def delete(choice: random.Random) -> None:
        name = f"ref/{choice.randrange(4)}x"
        try:
            store.refs.delete(name)
            if choice.random() < 0.3:
                store.refs.undo(name)
        except casstore.NotFoundError:
            pass
        time.sleep(0.01)

    def read(choice: random.Random) -> None:
        snapshot = store.refs.get(f"ref/{choice.randrange(4)}x")
        if snapshot is not None:
            for ancestor in store.log(snapshot):
                for path, data in ancestor.files.items():
                    assert data, path
                break

    def gather(choice: random.Random) -> None:
        plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
        if choice.random() < 0.2:
            time.sleep(0.01)
        plan.execute()
        time.sleep(0.005)

    threads = [thread("write", write, 1), thread("ingest", ingest, 2), thread("delete", delete, 3)]
    threads += [thread("commit", work, 10 + seed) for seed in range(3)]
    threads += [thread("read", read, 20), thread("collect", gather, 30)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if errors:
        raise errors[0]
    return done


def check(store: casstore.Store) -> None:
    store.verify()
    collect(store)
    store.verify()
    assert collect(store).deleted_objects == 0
    assert store.storage.backend.watches() == []
    assert store.pins() == []


@pytest.mark.parametrize(("backend", "seconds"), [("segments", 1.5), ("memory", 1.0), ("files", 1.0)])
def test_nothing_is_lost_under_load(backend: str, seconds: float, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        done = run(store, seconds)
        assert all(done.values()), done
        check(store)
        refs = {name: dict(snapshot.files) for name, snapshot in store.refs.items()}
    if backend != "memory":
        with open_backend(backend, tmp_path / "store") as store:
            assert {name: dict(snapshot.files) for name, snapshot in store.refs.items()} == refs
            check(store)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["segments", "memory", "files"])
def test_nothing_is_lost_under_long_load(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        run(store, 20)
        check(store)
