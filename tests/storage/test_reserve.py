# SPDX-License-Identifier: MIT
"""The reserve: how large it is, that it is real, when it goes and when it comes back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import casstore
from casstore import Config
from casstore.errors import StorageError
from casstore.osfile import OsFiles
from casstore.storage.reserve import Reserve, is_full, wanted_bytes
from casstore.testing.faults import FaultyFiles
from casstore.testing.model import noise
from tests.storage.stores import open_small

MIB = 1024 * 1024
KIB = 1024


def size(path: Path) -> int:
    return os.path.getsize(path / "reserve") if (path / "reserve").exists() else 0


def test_small_stores_hold_little_and_large_ones_a_segment_and_two_write_buffers() -> None:
    assert wanted_bytes(0, 10**9) == 0
    assert wanted_bytes(10 * KIB, 12 * KIB) == 64 * KIB + 64 * KIB
    assert wanted_bytes(300 * KIB, 80 * KIB) == 320 * KIB + 192 * KIB
    assert wanted_bytes(32 * MIB, 100 * MIB) == 32 * MIB + 8 * MIB
    assert wanted_bytes(32 * MIB + 1, 10**9) == 33 * MIB + 8 * MIB
    sizes = [wanted_bytes(step * 100_000, step * 20_000) for step in range(1, 500)]
    assert sizes == sorted(sizes)


def test_it_grows_with_the_largest_segment_and_is_of_real_blocks(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with casstore.open(path) as store:
        assert size(path) == 0
        store.put(b"x" * 100)
        assert size(path) == 128 * KIB
        for seed in range(40):
            store.put(noise(100_000, seed))
            found = os.stat(path / "reserve")
            largest = max(os.path.getsize(item) for item in (path / "segments").iterdir())
            assert found.st_size >= largest + 64 * KIB
            assert found.st_blocks * 512 >= found.st_size
        assert store.stats().reserve_bytes >= 4 * MIB
        assert store.stats().record_bytes < store.stats().reserve_bytes
        store.configure(undo_keep_seconds=0)
        store.plan_gc(grace_seconds=0).execute()
        # Nothing is left to collect, so there is nothing to hold back for.
        assert size(path) <= 192 * KIB
    with casstore.open(path) as store:
        store.verify()


def test_a_reserve_that_was_copied_with_holes_or_lost_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with casstore.open(path) as store:
        store.put(noise(500_000, 1))
    held = size(path)
    assert held > 500_000
    os.truncate(path / "reserve", 0)
    os.truncate(path / "reserve", held)
    assert os.stat(path / "reserve").st_blocks == 0
    with casstore.open(path) as store:
        # At the opening, not only when it next grows.
        assert store.stats().reserve_bytes >= held
    assert os.stat(path / "reserve").st_blocks * 512 >= held
    os.unlink(path / "reserve")
    casstore.open(path).close()
    assert size(path) == held
    # Readers have no need of it, and do not make it.
    os.unlink(path / "reserve")
    with casstore.open(path, read_only=True) as reader:
        assert reader.stats().reserve_bytes == 0
    assert size(path) == 0


def test_nothing_is_written_where_it_cannot_grow(tmp_path: Path) -> None:
    path = tmp_path / "store"
    files = FaultyFiles(str(path))
    opened = open_small(str(path), files=files, segment_bytes=MIB)
    storage = opened.storage
    first = storage.put(noise(1000, 1))
    for code, text in ((errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EIO, "held back")):
        files.fail("allocate", error=code)
        before = storage.backend.used_bytes()
        with pytest.raises(StorageError, match=text):
            storage.put(os.urandom(70_000))
        assert storage.backend.used_bytes() - before < 70_000
    assert storage.get(first) == noise(1000, 1)
    again = storage.put(noise(70_000, 2))
    opened.close()
    opened = open_small(str(path))
    assert opened.storage.get(again) == noise(70_000, 2)
    opened.close()


def test_a_file_system_without_the_call_gets_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    path = str(tmp_path / "file")
    for length in (1, 3 * MIB + 17, 2 * MIB):
        OsFiles().allocate(path, length)
    assert os.path.getsize(path) == 3 * MIB + 17
    assert os.stat(path).st_blocks * 512 >= 3 * MIB
    monkeypatch.delattr(os, "posix_fallocate")
    OsFiles().allocate(path, 4 * MIB)
    assert os.path.getsize(path) == 4 * MIB
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_refused_growth_leaves_it_as_it_was(tmp_path: Path) -> None:
    files = FaultyFiles(str(tmp_path))
    (tmp_path / "index").mkdir()
    reserve = Reserve(str(tmp_path), files)
    assert reserve.cover(10_000) == 64 * KIB
    held = reserve.held_bytes
    files.fail("allocate", error=errno.ENOSPC)
    assert reserve.cover(MIB) == -1
    assert size(tmp_path) == reserve.held_bytes == held
    assert is_full(reserve.refusal)
    assert reserve.cover(MIB) == MIB
    assert reserve.release()
    assert not reserve.release()
    assert size(tmp_path) == 0


def test_which_errors_mean_a_full_disk() -> None:
    full = StorageError(f"the index cannot be written (IO error: a/000005.log: {os.strerror(errno.ENOSPC)}).")
    assert is_full(full)
    assert is_full(OSError(errno.EDQUOT, "x"))
    assert not is_full(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert not is_full(None)
    outer = StorageError("it failed.")
    outer.__cause__ = OSError(errno.ENOSPC, "x")
    assert is_full(outer)


@pytest.mark.parametrize("backend", ["files", ":memory:"])
def test_other_backends_hold_nothing_back(tmp_path: Path, backend: str) -> None:
    place = backend if backend == ":memory:" else str(tmp_path / "store")
    with casstore.open(place, config=Config(backend="files" if backend == "files" else None)) as store:
        store.put(noise(5000, 1))
        assert store.stats().reserve_bytes == 0
        with store.storage.backend.freeing():
            store.put(noise(5000, 2))
