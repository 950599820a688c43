# SPDX-License-Identifier: MIT
"""The bytes that a collection says it freed are those that the file system got back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import casstore
from casstore import KeepRule
from casstore.testing.model import noise
from tests.full_disk.disk import tmpfs
from tests.snapshots.driving import backend_config, commit

MIB = 1024 * 1024
BLOCK = 4096


def record_files(store: Path) -> list[os.stat_result]:
    """Files that hold records: segments, or a file for each record."""
    kept = ("index", "readers")
    return [item.stat() for item in store.rglob("*") if item.is_file() and not set(kept) & set(item.parts)]


def blocks(store: Path) -> tuple[int, int]:
    """Bytes that the file system gave to the records, and the number of files."""
    found = record_files(store)
    return sum(item.st_blocks * 512 for item in found), len(found)


def fill(store: casstore.Store, count: int = 40) -> None:
    """A line of snapshots with 100 KiB of its own in each, of which the newest will stay."""
    parent = None
    for number in range(count):
        files = {f"{place}": noise(10_000, number * 10 + place) for place in range(10)}
        made = commit(store, {**files, "same": noise(9000, 9999)}, parents=[parent] if parent else [])
        parent = made.id
    store.refs["main"] = made


def cut(store: casstore.Store) -> casstore.GcReport:
    store.configure(undo_keep_seconds=0)
    store.plan_retention([KeepRule(last=4)]).execute()
    plan = store.plan_gc(grace_seconds=0)
    planned = plan.explain().freed_bytes if plan.segments else plan.dead_bytes
    report = plan.execute()
    # Compaction writes what is live anew, so the plan's figure is exact but for the moves' own event.
    assert abs(report.freed_bytes - planned) < 4096
    return report


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_freed_bytes_are_blocks_that_came_back(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with casstore.open(path, config=backend_config(backend)) as store:
        # The backend `files` syncs each record by itself.
        fill(store, 40 if backend == "segments" else 6)
        before, files_before = blocks(path)
        report = cut(store)
        after, files_after = blocks(path)
        # A file takes whole blocks: up to one for each file that went or came is not the records' own.
        spare = BLOCK * (files_before + files_after)
        assert abs((before - after) - report.freed_bytes) <= spare
        if backend == "segments":
            assert report.freed_bytes > 3 * MIB
            assert before - after > 3 * MIB
        assert report.deleted_bytes > (3 * MIB if backend == "segments" else MIB // 8)
        store.verify()


def test_freed_bytes_are_what_df_shows(tmp_path: Path) -> None:
    # Of its own, so that ``df`` tells of the store alone.
    with (
        tmpfs(tmp_path / "disk", 64 * MIB) as disk,
        casstore.open(disk.path / "store", config=backend_config("segments")) as store,
    ):
        path = disk.path / "store"
        fill(store)
        _, files = blocks(path)
        index = index_bytes(path)
        before = disk.free()
        report = cut(store)
        gained = disk.free() - before
        # The index grows and shrinks on its own, and is no part of the figure.
        grown = index_bytes(path) - index
        assert report.freed_bytes > 3 * MIB
        assert abs(gained + grown - report.freed_bytes) <= BLOCK * (files + 8)


def index_bytes(store: Path) -> int:
    return sum(item.stat().st_blocks * 512 for item in (store / "index").iterdir())
