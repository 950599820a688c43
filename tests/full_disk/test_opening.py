# SPDX-License-Identifier: MIT
"""What an opening needs when the last one was killed and not a byte is free, and where the reserve comes in."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
import casstore.storage.opening as opening
from casstore.errors import StorageError
from casstore.storage.reserve import Reserve
from casstore.testing.faults import FaultyFiles
from casstore.testing.model import noise
from tests.full_disk.disk import Disk, tmpfs
from tests.full_disk.session import CONFIG
from tests.storage.stores import abandon, open_small

MIB = 1024 * 1024

_KILLED = """
import os, sys
import casstore
from casstore.testing.model import noise
from tests.full_disk.session import CONFIG
store = casstore.open(sys.argv[1], config=CONFIG)
for number in range(3000):
    store.put(noise(60, number))
    if number % 500 == 0:
        store.sync()
branch = store.branch()
branch.files["a"] = noise(3000, 1)
branch.commit("first", ref="main")
store.put(noise(900, 99999))
os._exit(0)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Disk]:
    """A disk with a store whose process was killed: LevelDB has 200 KB in its log. Nothing is free."""
    with tmpfs(tmp_path / "disk", 16 * MIB) as disk:
        words = [sys.executable, "-c", _KILLED, str(disk.path / "store")]
        subprocess.run(words, check=True, cwd=Path(__file__).parents[2])
        disk.fill()
        yield disk


def check(disk: Disk) -> None:
    with casstore.open(disk.path / "store", config=CONFIG) as store:
        assert bytes(store.snapshot("main").files["a"]) == noise(3000, 1)
        store.verify()
        assert store.plan_gc(grace_seconds=0).execute().freed_bytes > 200_000
        store.verify()
    assert disk.free() > 200_000


def test_without_the_reserve_it_could_not_be_opened(killed: Disk) -> None:
    log = max(item.stat().st_size for item in (killed.path / "store" / "index").glob("*.log"))
    assert log > 100_000
    # The reserve's bytes are somebody else's now.
    (killed.path / "store" / "reserve").rename(killed.path / "taken")
    with pytest.raises(StorageError, match="No space left"):
        casstore.open(killed.path / "store", config=CONFIG)
    (killed.path / "taken").rename(killed.path / "store" / "reserve")
    check(killed)


def test_it_is_given_back_before_leveldb_is_opened(killed: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """LevelDB begins to compact at once, and after one refusal takes no more writes."""
    sizes = []
    real = opening.open_index

    def noted(*args: object, **options: object) -> object:
        sizes.append((killed.path / "store" / "reserve").stat().st_size)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "open_index", noted)
    check(killed)
    assert sizes == [0]


def test_it_is_given_back_where_only_leveldb_learns_that_the_disk_is_full(
    killed: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Reserve, "has_room", lambda self: True)
        with casstore.open(killed.path / "store", config=CONFIG) as store:
            store.verify()
    check(killed)


def test_the_command_line_collects_on_a_full_disk(killed: Disk) -> None:
    place = str(killed.path / "store")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli", "--store", place, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])

    assert "main" in run("refs").stdout
    done = run("gc", "--grace", "0s", "--yes")
    assert done.returncode == 0, done.stderr
    assert run("verify").returncode == 0
    assert killed.free() > 200_000
    shown = run("stats").stdout
    assert "reserve bytes" in shown
    assert "quota" in shown


def test_what_gives_space_back_is_written_with_the_reserves_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    storage = opened.storage
    storage.put(noise(1000, 1))
    for seed, name in enumerate(("append", "create"), 10):
        with storage.backend.freeing():
            storage.backend._end_segment()  # type: ignore[attr-defined]
            held = os.path.getsize(os.path.join(path, "reserve"))
            files.fail(name, error=errno.ENOSPC, partial_bytes=30, path_part=".seg")
            address = storage.put(noise(500, seed))
            assert os.path.getsize(os.path.join(path, "reserve")) == 0 < held
        assert storage.get(address) == noise(500, seed)
        # There was room after all, so it is held again.
        assert os.path.getsize(os.path.join(path, "reserve")) == held
    opened.close()
    opened = open_small(path)
    assert list(opened.storage.backend.check_segments()) == []
    opened.close()


def test_the_emptiest_segments_are_compacted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with casstore.open(tmp_path / "store", config=CONFIG) as store:
        store.configure(undo_keep_seconds=0)
        branch = store.branch()
        for segment, kept in enumerate((20, 2, 10)):
            for number in range(40):
                data = noise(1500, segment * 1000 + number)
                if number < kept:
                    branch.files[f"{segment}/{number}"] = data
                store.put(data)
        branch.commit("kept", ref="main")
        backend = store.storage.backend
        seen: list[list[int]] = []
        monkeypatch.setattr(backend, "compact", lambda segments: seen.append(list(segments)))
        plan = store.plan_gc(grace_seconds=0)
        dead = dict(plan.segments)
        plan.execute()
        assert len(seen[0]) >= 3
        assert seen[0] == sorted(dead, key=lambda segment: (-dead[segment], segment))
        assert seen[0] != sorted(dead)


def test_a_refused_opening_lets_go_of_the_index(tmp_path: Path) -> None:
    """Also while somebody still holds the error: the next try must not find the index in use."""
    path = str(tmp_path / "store")
    opened = open_small(path)
    address = opened.storage.put(noise(500, 1))
    opened.storage.sync()
    opened.storage.put(noise(500, 2))
    abandon(opened)
    files = FaultyFiles(path)
    files.fail("truncate", error=errno.EIO)
    with pytest.raises(StorageError) as caught:
        open_small(path, files=files)
    opened = open_small(path)
    assert opened.storage.get(address) == noise(500, 1)
    assert caught.value is not None
    opened.close()
