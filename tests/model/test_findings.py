# SPDX-License-Identifier: MIT
"""What the models led to in the store itself, each as short as it gets."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.testing.model import noise
from tests.snapshots.driving import SMALL, collect, commit


def test_no_ref_is_set_to_a_snapshot_that_a_rebuild_brought_back_in_part(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with casstore.open(path, config=SMALL) as store:
        with store.storage.operation():
            store.put(noise(15_800, 1))
            commit(store, {str(number): noise(900, 100 + number) for number in range(13)}, ref="live")
            snapshot_id = commit(store, {"large": noise(15_800, 1)}, ref="old").id
        del store.refs["old"]
        # The content's segment goes. The snapshot's stays, for it is mostly live.
        collect(store)
        assert snapshot_id not in {address for address, _ in store.storage.backend.scan()}
    shutil.rmtree(path / "index")
    with casstore.open(path, config=SMALL) as store:
        with pytest.raises(casstore.NotFoundError):
            store.refs["again"] = snapshot_id  # type: ignore[assignment]
        store.verify()
        collect(store)


def test_what_was_hit_stays_for_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with casstore.open(":memory:", config=SMALL) as store:
        address = store.put(b"put, and hit before half of the hour has passed")
        monkeypatch.setattr("time.time", lambda: now + 1700)
        store.put(b"put, and hit before half of the hour has passed")
        monkeypatch.setattr("time.time", lambda: now + 3700)
        store.plan_gc(grace_seconds=3600).execute()
        assert address in store


def test_two_collections_never_compact_at_once(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "store", config=SMALL) as store:
        for number in range(30):
            store.put(noise(2000, number))
        commit(store, {str(number): noise(2000, number) for number in range(0, 30, 2)}, ref="main")
        backend: Any = store.storage.backend
        move_live = backend._move_live
        others: list[BaseException] = []

        def another() -> None:
            try:
                collect(store)
            except casstore.ConflictError as error:
                others.append(error)

        def move(*arguments: int) -> bool:
            if not others:
                thread = threading.Thread(target=another)
                thread.start()
                thread.join()
            moved: bool = move_live(*arguments)
            return moved

        backend._move_live = move
        try:
            collect(store)
        finally:
            del backend._move_live
        assert len(others) == 1
        store.verify()
