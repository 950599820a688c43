# SPDX-License-Identifier: MIT
"""Deltas that are made full must not take the room that a collection on a full disk needs."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import casstore
import casstore.collection.sweep as sweep
from casstore.collection.survey import Addresses
from casstore.format.entry import file_entry
from casstore.osfile import OsFiles
from casstore.testing.model import noise
from tests.snapshots.driving import commit

CONFIG = casstore.Config(
    chunk_min_bytes=32768, chunk_avg_bytes=65536, chunk_max_bytes=131072, segment_bytes=4 * 1024 * 1024, sync="off"
)


def used(path: Path) -> int:
    total = sum(file.stat().st_size for file in (path / "segments").iterdir())
    return total + (path / "reserve").stat().st_size


@pytest.mark.parametrize("with_full", [False, True])
def test_a_collection_gets_through_on_a_full_disk(
    with_full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    with casstore.open(path, config=CONFIG) as store:
        files: dict[str, Any] = {}
        with store.storage.operation():
            for number in range(250):
                first = noise(19000, 3 * number)
                base = store.put(first)
                store.put(noise(50000, 3 * number + 1)[:20000])
                live = noise(20000, 3 * number + 2)
                files[f"live/{number}"] = file_entry(len(live), store.put(live))
                second = first[:1000] + b"x" + first[1000:]
                address = store.storage.put(second, base)
                entry = store.storage.backend.find(address)
                assert entry is not None
                assert entry.base is not None
                files[f"delta/{number}"] = file_entry(len(second), address)
            commit(store, files, ref="main")
        store.sync()
    with casstore.open(path, config=CONFIG) as store:
        limit = used(path)
        append, allocate = OsFiles.append, OsFiles.allocate

        def full_append(self: OsFiles, fd: int, parts: Any) -> int:
            if used(path) + sum(map(len, parts)) > limit:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return append(self, fd, parts)

        def full_allocate(self: OsFiles, name: str, size: int, start: int = 0) -> None:
            if used(path) + size - start > limit:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            allocate(self, name, size, start)

        monkeypatch.setattr(OsFiles, "append", full_append)
        monkeypatch.setattr(OsFiles, "allocate", full_allocate)
        if not with_full:
            monkeypatch.setattr(sweep, "make_full", lambda *_: Addresses())
        report = store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        assert report.deleted_objects >= 250
        assert report.freed_bytes > 0
        assert used(path) < limit
