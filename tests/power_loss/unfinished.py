# SPDX-License-Identifier: MIT
"""Stores of which the last commit was written and not synced, and holes in them, as a power loss leaves them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import casstore
from casstore.format.index_entry import SUSPECT
from casstore.format.kinds import EVENT
from casstore.osfile import OsFiles
from casstore.storage.opening import open_storage
from casstore.storage.segment_files import SegmentFiles
from casstore.testing.faults import Call, FaultyFiles
from casstore.testing.model import noise
from tests.power_loss.check import config_of

Change = Callable[[casstore.Store], object]

BLOCK = 512
CONFIG = config_of("segments")


class Killed(BaseException):
    """The process ends here: nothing catches it."""


def open_with(path: Path, backend: str, files: OsFiles) -> casstore.Store:
    config = config_of(backend)
    return casstore.Store(open_storage(str(path), read_only=False, timeout=0.0, config=config, files=files), config)


def first_commit(path: Path) -> None:
    """A closed store in which ``main`` names the state ``one``."""
    with casstore.open(path, config=CONFIG) as store:
        branch = store.branch()
        branch.files["a"] = noise(700, 1)
        branch.commit("one", ref="main")


def second_commit(store: casstore.Store, ref: str = "main") -> None:
    """Moves a ref to the state ``two``."""
    branch = store.branch("main")
    for number in range(6):
        branch.files[f"b{number}"] = noise(600 if number else 1500, number + 2)
    branch.commit("two", ref=ref)


def unfinished(path: Path, change: Change, *, index: bool = False) -> Path:
    """A copy of a store as it was when what ``change`` wrote was to be synced; with its index if asked for."""

    def stop(call: Call) -> None:
        if call.name == "sync" and call.path.endswith(".seg"):
            raise Killed

    files = FaultyFiles(str(path), before=stop)
    store = open_with(path, "segments", files)
    with pytest.raises(Killed):
        change(store)
    left = path.with_name("left")
    shutil.copytree(path, left, ignore=shutil.ignore_patterns("lock", *(() if index else ("index",))))
    files.before = None
    store.close()
    return left


def unfinished_commit(tmp_path: Path) -> Path:
    """A store without an index whose last commit was written and not synced; the one before was."""
    first_commit(tmp_path / "store")
    return unfinished(tmp_path / "store", second_commit)


def newest(path: Path) -> Path:
    """The segment that was written last."""
    return max((path / "segments").iterdir())


def lose(segment: Path, start: int, end: int | None = None) -> None:
    """Zeros instead of the bytes of a segment, a block of them where no ``end`` is given."""
    data = segment.read_bytes()
    end = min(start + BLOCK, len(data)) if end is None else end
    segment.write_bytes(data[:start] + bytes(end - start) + data[end:])


def lose_record(segment: Path, start: int, end: int) -> None:
    """A block of zeros instead of a record, as if a block had held that record alone."""
    data = segment.read_bytes()
    block = -(-start // BLOCK) * BLOCK + BLOCK
    segment.write_bytes(data[:start] + bytes(block - start) + data[end:])


def place_of(path: Path, segment: Path, kind: int, *, last: bool = False) -> tuple[int, int]:
    """Where the first or last record of a kind lies in a segment."""
    records = [
        (offset, offset + len(data))
        for offset, header, data in SegmentFiles(str(path)).walk_past_damage(int(segment.stem))
        if header.kind == kind
    ]
    return records[-1 if last else 0]


def event_of(path: Path, segment: Path) -> bytes:
    """The record of a segment's last event."""
    start, end = place_of(path, segment, EVENT, last=True)
    return segment.read_bytes()[start:end]


def torn(path: Path) -> Path:
    """The last commit lost one of its blocks."""
    lose(newest(path), 2 * BLOCK)
    return path


def main_of(path: Path) -> str:
    with casstore.open(path, config=CONFIG) as store:
        return store.refs["main"].message


def durable(path: Path, *more: Change) -> Path:
    """A closed store without an index, in which ``main`` was durably moved to ``two``."""
    first_commit(path)
    with casstore.open(path, config=CONFIG) as store:
        second_commit(store)
        for change in more:
            change(store)
    shutil.rmtree(path / "index")
    return path


def assert_hurt(path: Path) -> None:
    """The move stands, and damage is what it is called."""
    with casstore.open(path, config=CONFIG) as store:
        assert store.refs["main"].message == "two"
        assert store.storage.backend.fact(SUSPECT) is not None
        with pytest.raises(casstore.CorruptionError):
            store.verify()
