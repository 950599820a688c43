# SPDX-License-Identifier: MIT
"""Other refusals than a full disk: a user's share, failed fsyncs, a file system that went read-only, no descriptors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.errors import CasstoreError, LockedError, StorageError
from casstore.format.index_entry import SUSPECT
from casstore.storage.index import LevelIndex
from casstore.storage.lock import FileLock
from casstore.storage.reserve import folder_bytes
from casstore.testing.faults import FaultyFiles
from casstore.testing.model import noise
from tests.full_disk.disk import Disk, tmpfs
from tests.full_disk.session import CONFIG
from tests.storage.stores import open_small

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with tmpfs(tmp_path / "disk", 16 * MIB) as made:
        yield made


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("name", ["sync", "sync_folder"])
def test_a_failed_fsync_is_final_whatever_it_says(tmp_path: Path, name: str, code: int) -> None:
    path = str(tmp_path / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    durable = opened.storage.put(b"durable")
    if name == "sync":
        opened.storage.sync()
    files.fail(name, error=code, path_part="segments")
    lost = opened.storage.put(b"lost")
    before = [call.name for call in files.calls].count(name)
    with pytest.raises(StorageError, match="fsync"):
        opened.storage.sync()
    with pytest.raises(StorageError, match="no more writes"):
        opened.storage.put(b"more")
    with pytest.raises(StorageError, match="no more writes"):
        opened.storage.sync()
    assert [call.name for call in files.calls].count(name) == before + 1
    assert not opened.storage.contains(lost)
    opened.close()
    opened = open_small(path)
    assert opened.storage.contains(durable) == (name == "sync")
    assert not opened.storage.contains(lost)
    assert opened.storage.get(opened.storage.put(b"lost")) == b"lost"
    opened.close()


def test_a_users_share_is_like_a_full_disk(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    kept = opened.storage.put(noise(2000, 1))
    files.fail("append", error=errno.EDQUOT, partial_bytes=77)
    with pytest.raises(StorageError, match=r"disk is full .*casstore gc"):
        opened.storage.put(noise(2000, 2))
    after = opened.storage.put(noise(2000, 3))
    opened.close()
    opened = open_small(path)
    assert [opened.storage.get(kept), opened.storage.get(after)] == [noise(2000, 1), noise(2000, 3)]
    assert list(opened.storage.backend.check_segments()) == []
    opened.close()


def test_between_the_event_of_a_move_and_its_batch_a_full_disk_is_final(tmp_path: Path) -> None:
    """The opening after it makes the move; a store that went on would not know of it."""
    path = tmp_path / "store"
    files = FaultyFiles(str(path))
    opened = open_small(str(path), files=files)
    backend = opened.storage.backend
    backend.put([opened.storage.record(5, *_event())])
    files.fail("append", error=errno.ENOSPC)
    with pytest.raises(StorageError):
        opened.storage.put(b"beside it")
    with pytest.raises(StorageError, match="no more writes"):
        opened.storage.put(b"later")
    opened.close()


def _event() -> tuple[casstore.Address, bytes]:
    from casstore.address import event_address
    from casstore.format.event import encode_history_cut

    payload = encode_history_cut(1, 0)
    return event_address(payload), payload


def test_a_file_system_that_goes_read_only(disk: Disk) -> None:
    path = str(disk.path / "store")
    with casstore.open(path, config=CONFIG) as store:
        branch = store.branch()
        branch.files["a"] = noise(3000, 1)
        branch.commit("first", ref="main")
    disk.read_only(True)
    with pytest.raises(StorageError, match=r"[Rr]ead-only file system"):
        casstore.open(path, config=CONFIG)
    with pytest.warns(RuntimeWarning, match="without a pin"):
        reader = casstore.open(path, read_only=True)
    with reader:
        assert bytes(reader.snapshot("main").files["a"]) == noise(3000, 1)
        reader.verify()
    disk.read_only(False)
    with casstore.open(path, config=CONFIG) as store:
        assert bytes(store.snapshot("main").files["a"]) == noise(3000, 1)
        store.verify()


@pytest.mark.parametrize("name", ["append", "create", "allocate", "sync", "sync_folder", "truncate"])
def test_writes_that_a_read_only_file_system_refuses(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    durable = {opened.storage.put(noise(2000, seed)): noise(2000, seed) for seed in range(3)}
    opened.storage.sync()
    files.fail(name, error=errno.EROFS)
    try:
        for seed in range(10, 60):
            opened.storage.put(noise(5000, seed))
        opened.storage.sync()
        opened.close()
    except StorageError:
        opened.close()
    opened = open_small(path)
    for address, data in durable.items():
        assert opened.storage.get(address) == data
    opened.close()


_FEW = """
import os, resource, sys
import casstore
path, config = sys.argv[1], casstore.Config(threads=1)
casstore.open(":memory:").close()
with casstore.open(path, config=config) as store:
    store.verify()
import casstore.collection.verify
opened = 0
for spare in range(40):
    used = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for read_only in (False, True):
        try:
            with casstore.open(path, config=config, read_only=read_only) as store:
                assert bytes(store.snapshot("main").files["a"]) == b"a" * 500
                opened += 1
        except casstore.StorageError as error:
            assert "Too many open files" in str(error), error
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
with casstore.open(path, config=config) as store:
    store.verify()
    assert bytes(store.snapshot("main").files["a"]) == b"a" * 500
print(opened)
"""


def test_an_opening_without_descriptors_is_refused_and_hurts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for number in range(3):
        with casstore.open(path) as store:
            branch = store.branch()
            branch.files["a"] = b"a" * 500
            branch.files[f"{number}"] = noise(500, number)
            branch.commit("first", ref="main" if number == 0 else f"other{number}")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FEW, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
    # No opening took a refusal for damage, and made the index anew or called refs doubtful.
    assert not (path / "index.new").exists()
    with casstore.open(path) as store:
        assert store.storage.backend.fact(SUSPECT) is None
        store.plan_gc(grace_seconds=0).drop()


def test_an_error_names_what_to_do(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    for code in (errno.ENOSPC, errno.EDQUOT):
        files.fail("append", error=code)
        with pytest.raises(CasstoreError, match="Delete refs that are not needed and run `casstore gc`"):
            opened.storage.put(os.urandom(50))
    opened.close()


def test_a_cache_that_the_index_refuses_ends_its_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LevelDB's log may be torn by then, and what it appends behind that would be lost at the next opening."""
    path = str(tmp_path / "store")
    opened = open_small(path)
    address = opened.storage.put(b"content")

    def refuse(index: object, changes: object) -> None:
        raise StorageError("the index cannot be written (test).")

    with monkeypatch.context() as patch:
        patch.setattr(LevelIndex, "write_cache", refuse)
        with pytest.raises(StorageError, match="test"):
            opened.storage.backend.put_cache({b"key": b"value"})
    with pytest.raises(StorageError, match="no more writes"):
        opened.storage.sync()
    opened.close()
    opened = open_small(path)
    assert opened.storage.get(address) == b"content"
    opened.close()


def test_a_lock_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        lock = FileLock(str(tmp_path / "lock"))
    with pytest.raises(LockedError, match="another process"):
        FileLock(str(tmp_path / "lock"))
    lock.release()


def test_an_index_is_not_compacted_where_it_would_not_fit_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = LevelIndex(str(tmp_path / "index"), create=True)
    keys = [b"o%08d" % number for number in range(20_000)]
    index.write(dict.fromkeys(keys, os.urandom(60)))
    index._flush()
    index.write(dict.fromkeys(keys))
    monkeypatch.setattr("casstore.storage.index._free_bytes", lambda path: 1000)
    index.tidy()
    full = folder_bytes(str(tmp_path / "index"))
    monkeypatch.undo()
    index.tidy()
    assert folder_bytes(str(tmp_path / "index")) < full / 4
    index.close(clean=True)
