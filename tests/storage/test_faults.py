# SPDX-License-Identifier: MIT
"""What the operating system refuses: the order of writes, failed fsyncs, full disks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from casstore.address import Address, content_address
from casstore.errors import CasstoreError, ClosedError, ReadOnlyError, StorageError
from casstore.osfile import OsFiles
from casstore.storage.index import LevelIndex
from casstore.testing.faults import Call, FaultyFiles
from tests.storage.stores import abandon, noise, open_small


class Journal(FaultyFiles):
    """Also notes when a batch reaches the index."""

    def watch_index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write = LevelIndex.write

        def noted(index: LevelIndex, changes: dict[bytes, bytes | None]) -> None:
            self.calls.append(Call("batch", "", len(changes)))
            write(index, changes)

        monkeypatch.setattr(LevelIndex, "write", noted)


def names(files: FaultyFiles) -> list[str]:
    return [call.name for call in files.calls]


def test_the_order_of_writes(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scratch / "store")
    files = Journal(path)
    opened = open_small(path, files=files)
    files.watch_index(monkeypatch)
    files.calls.clear()
    opened.storage.put(b"first")
    assert names(files) == ["create", "allocate", "append"]
    opened.storage.sync()
    # The segment, then its name in the folder, then what says that it is durable.
    assert names(files)[3:] == ["sync", "sync_folder", "batch"]
    assert files.calls[4].path == os.path.join(path, "segments")
    files.calls.clear()
    opened.storage.put(b"second")
    opened.storage.sync()
    assert names(files) == ["append", "sync", "batch"]
    files.calls.clear()
    opened.storage.sync()
    assert names(files) == []
    # A full segment is durable before the next one is begun.
    opened.storage.put(noise(1, 4000))
    opened.storage.put(noise(2, 4000))
    made = [place for place, call in enumerate(files.calls) if call.name == "create"]
    assert made
    for place in made:
        assert names(files)[place - 1] in ("sync", "sync_folder")
    assert "batch" not in names(files)
    opened.close()
    assert names(files)[-1] == "batch"
    assert names(files)[-2] in ("sync", "sync_folder")


def test_a_file_per_object_is_durable_before_the_batch(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scratch / "store")
    open_small(path, backend="files").close()
    files = Journal(path)
    opened = open_small(path, files=files)
    files.watch_index(monkeypatch)
    files.calls.clear()
    opened.storage.put(b"first")
    opened.storage.sync()
    assert [name for name in names(files) if name != "unlink"] == [
        *["make_folder", "sync_folder"] * 2,
        *["create", "append", "sync", "rename", "sync_folder", "batch"],
    ]
    opened.close()


def test_sync_off_syncs_nothing(scratch: Path) -> None:
    for backend in ("segments", "files"):
        path = str(scratch / backend)
        open_small(path, backend=backend).close()
        files = FaultyFiles(path)
        opened = open_small(path, files=files, sync="off")
        files.calls.clear()
        for seed in range(5):
            opened.storage.put(noise(seed, 3000))
        opened.storage.sync()
        opened.close()
        assert not {"sync", "sync_folder"} & set(names(files))


@pytest.mark.parametrize("name", ["sync", "sync_folder"])
def test_a_failed_fsync_is_never_retried(scratch: Path, name: str) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    storage = opened.storage
    durable = storage.put(b"durable")
    storage.sync()
    segment = os.path.join(path, "segments", "00000001.seg")
    end = os.path.getsize(segment)
    if name == "sync_folder":
        opened.close()
        opened = open_small(path, files=files)
        storage = opened.storage
        segment = os.path.join(path, "segments", "00000002.seg")
        end = 0
    lost = storage.put(b"lost")
    files.fail(name)
    with pytest.raises(StorageError, match="fsync"):
        storage.sync()
    # The segment ends where it is known to be durable, and nothing is taken for kept.
    assert os.path.getsize(segment) == end
    assert not storage.contains(lost)
    assert storage.get(durable) == b"durable"
    files.calls.clear()
    for action in (storage.sync, lambda: storage.put(b"lost"), lambda: storage.put(b"more")):
        with pytest.raises(StorageError, match="no more writes"):
            action()
    assert names(files) == []
    opened.close()
    opened = open_small(path)
    assert opened.storage.get(durable) == b"durable"
    assert not opened.storage.contains(lost)
    assert opened.storage.put(b"lost") == lost
    assert opened.storage.get(lost) == b"lost"
    opened.close()


def test_a_failed_fsync_whose_segment_cannot_be_cut_either(scratch: Path) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    address = opened.storage.put(b"lost")
    files.fail("sync")
    files.fail("truncate")
    with pytest.raises(StorageError):
        opened.storage.sync()
    assert not opened.storage.contains(address)
    with pytest.raises(StorageError, match="could not be cut"):
        opened.storage.put(b"more")
    opened.close()
    opened = open_small(path)
    opened.storage.put(b"lost")
    opened.close()


@pytest.mark.parametrize("partial", [0, 1, 57, 100_000])
def test_a_full_disk_refuses_what_does_not_fit_and_no_more(scratch: Path, partial: int) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    storage = opened.storage
    synced = storage.put(b"synced")
    storage.sync()
    waiting = storage.put(b"waiting")
    files.fail("append", error=errno.ENOSPC, partial_bytes=partial)
    with pytest.raises(StorageError, match="No space left") as caught:
        storage.put(b"too much")
    assert caught.value.segment == 1
    assert "casstore gc" in str(caught.value)
    assert [storage.get(synced), storage.get(waiting)] == [b"synced", b"waiting"]
    assert content_address(b"too much") not in [address for address, _ in storage.backend.scan()]
    # Nothing of it is left, so what fits is written behind what was there.
    again = storage.put(b"again")
    opened.close()
    opened = open_small(path)
    assert [opened.storage.get(synced), opened.storage.get(waiting)] == [b"synced", b"waiting"]
    assert opened.storage.get(again) == b"again"
    address = opened.storage.put(b"too much")
    assert opened.storage.get(address) == b"too much"
    assert list(opened.storage.backend.check_segments()) == []
    opened.close()


def test_a_segment_that_cannot_be_made_can_be_tried_again(scratch: Path) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    files.fail("create", error=errno.ENOSPC)
    with pytest.raises(StorageError, match="could not be made"):
        opened.storage.put(b"content")
    address = opened.storage.put(b"content")
    opened.storage.sync()
    assert opened.storage.get(address) == b"content"
    opened.close()


def test_every_call_may_fail_once(scratch: Path) -> None:
    """Whatever call fails: a ``StorageError``, and the next opening finds all that was durable."""

    def work(folder: str, files: FaultyFiles) -> dict[Address, bytes]:
        durable: dict[Address, bytes] = {}
        waiting: dict[Address, bytes] = {}
        try:
            opened = open_small(folder, files=files)
        except StorageError:
            return durable
        try:
            for seed in range(6):
                data = noise(seed, 1500)
                waiting[opened.storage.put(data)] = data
                if seed % 2:
                    opened.storage.sync()
                    durable.update(waiting)
            opened.storage.backend.delete([])
            opened.close()
            durable.update(waiting)
        except StorageError:
            try:
                opened.close()
            except StorageError:
                pass
        return durable

    trial = FaultyFiles(str(scratch / "trial"))
    open_small(str(scratch / "trial")).close()
    work(str(scratch / "trial"), trial)
    methods = {name: names(trial).count(name) for name in set(names(trial))}
    assert methods.keys() >= {"create", "append", "sync", "sync_folder"}
    for name, count in methods.items():
        for nth in range(1, count + 1):
            folder = str(scratch / f"{name}{nth}")
            open_small(folder).close()
            files = FaultyFiles(folder)
            files.fail(name, nth=nth, partial_bytes=33)
            durable = work(folder, files)
            after = open_small(folder)
            for address, data in durable.items():
                assert after.storage.get(address) == data
            for seed in range(6):
                data = noise(seed, 1500)
                assert after.storage.get(after.storage.put(data)) == data
            after.close()


def test_an_index_that_cannot_be_written(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scratch / "store")
    opened = open_small(path)
    address = opened.storage.put(b"content")

    def refuse(index: object, changes: object) -> None:
        raise StorageError("the index cannot be written (test).")

    with monkeypatch.context() as patch:
        patch.setattr(LevelIndex, "write", refuse)
        with pytest.raises(StorageError, match="index"):
            opened.storage.sync()
    with pytest.raises(StorageError, match="no more writes"):
        opened.storage.put(b"more")
    assert opened.storage.get(address) == b"content"
    opened.close()
    opened = open_small(path)
    assert opened.storage.get(address) == b"content"
    opened.close()


def test_files_that_cannot_be_written(scratch: Path) -> None:
    path = str(scratch / "store")
    open_small(path, backend="files").close()
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    kept = opened.storage.put(b"kept")
    opened.storage.sync()
    files.fail("append", error=errno.ENOSPC, partial_bytes=10)
    with pytest.raises(StorageError, match="No space left"):
        opened.storage.put(b"too much")
    with pytest.raises(StorageError, match="no more writes"):
        opened.storage.sync()
    opened.close()
    left = [name for _, _, found in os.walk(os.path.join(path, "objects")) for name in found if name.endswith(".tmp")]
    assert len(left) == 1
    opened = open_small(path)
    assert opened.storage.get(kept) == b"kept"
    address = opened.storage.put(b"too much, again")
    opened.storage.backend.compact([])
    left = [name for _, _, found in os.walk(os.path.join(path, "objects")) for name in found if name.endswith(".tmp")]
    assert left == []
    assert opened.storage.get(address) == b"too much, again"
    opened.close()


def test_a_condemned_segment_that_cannot_be_removed_goes_at_the_next_opening(scratch: Path) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    keep, drop = opened.storage.put(b"keep"), opened.storage.put(noise(1, 300))
    opened.storage.sync()
    opened.storage.backend.delete([drop])
    files.fail("unlink", path_part=".seg")
    with pytest.raises(StorageError, match="could not be removed"):
        opened.storage.backend.compact([1])
    assert opened.storage.get(keep) == b"keep"
    abandon(opened)
    opened = open_small(path)
    assert not os.path.exists(os.path.join(path, "segments", "00000001.seg"))
    assert opened.storage.get(keep) == b"keep"
    opened.close()


def test_closed_and_read_only_stores_refuse(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path)
    address = opened.storage.put(noise(1, 3000))
    opened.close()
    opened.close()
    with pytest.raises(ClosedError):
        opened.storage.put(b"more")
    with pytest.raises(ClosedError):
        opened.storage.get(address)
    with pytest.raises(ClosedError):
        opened.storage.open_content(address)
    reader = open_small(path, read_only=True)
    assert reader.storage.read_only
    assert reader.storage.get(address) == noise(1, 3000)
    for action in (
        lambda: reader.storage.put(b"more"),
        lambda: reader.storage.put_record(1, Address(bytes(32)), b""),
        lambda: reader.storage.ingest(),
        lambda: reader.storage.backend.delete([address]),
        lambda: reader.storage.backend.compact([1]),
        lambda: reader.storage.backend.put([]),
        reader.storage.sync,
    ):
        with pytest.raises(ReadOnlyError):
            action()
    reader.storage.backend.touch(address, 2**31)
    assert reader.storage.contains(address)
    # Damage that a reader meets it remembers for itself.
    reader.storage.backend.mark_damaged(address)
    assert reader.storage.backend.doubtful
    reader.close()
    with pytest.raises(CasstoreError):
        reader.storage.get(address)


def test_short_writes_are_continued(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = OsFiles()
    path = str(scratch / "file")
    fd = files.create(path)
    parts = [b"%d," % number for number in range(3000)]
    with monkeypatch.context() as patch:
        writev, write = os.writev, os.write
        patch.setattr(os, "writev", lambda fd, block: writev(fd, block[: len(block) // 2]))
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:100]))
        assert files.append(fd, parts) == len(b"".join(parts))
    assert files.append(fd, []) == 0
    os.close(fd)
    assert Path(path).read_bytes() == b"".join(parts)
    with pytest.raises(FileExistsError):
        files.create(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    files.truncate(path, 10)
    assert os.path.getsize(path) == 10
    Path(f"{path}.tmp").write_bytes(b"left by a crash")
    files.replace_file(path, b"new")
    assert Path(path).read_bytes() == b"new"
    assert os.listdir(scratch) == ["file"]


def test_the_double_takes_back_what_was_not_synced(scratch: Path) -> None:
    """The account of ``FaultyFiles`` itself."""
    root = scratch / "root"
    root.mkdir()
    files = FaultyFiles(str(root))
    files.replace_file(str(root / "old"), b"old", sync=True)
    files.make_folder(str(root / "folder"))
    files.sync_folder(str(root))
    fd = files.create(str(root / "folder" / "log"))
    files.append(fd, [b"12345"])
    files.sync(fd)
    files.append(fd, [b"67890"])
    assert files.unsynced_bytes(str(root / "folder" / "log")) == 5
    files.crash_copy(str(scratch / "a"))
    assert sorted(os.listdir(scratch / "a")) == ["folder", "old"]
    assert os.listdir(scratch / "a" / "folder") == []
    files.crash_copy(str(scratch / "b"), keep_names=True, keep_bytes=2)
    assert (scratch / "b" / "folder" / "log").read_bytes() == b"1234567"
    files.crash_copy(str(scratch / "c"), keep_names=True, keep_bytes=2, zeros=True)
    assert (scratch / "c" / "folder" / "log").read_bytes() == b"1234567\0\0\0"
    os.close(fd)
    files.replace_file(str(root / "old"), b"new", sync=False)
    files.unlink(str(root / "folder" / "log"))
    files.crash_copy(str(scratch / "d"))
    assert (scratch / "d" / "old").read_bytes() == b"old"
    files.sync_folder(str(root))
    files.sync_folder(str(root / "folder"))
    files.crash_copy(str(scratch / "e"))
    # The name is durable and its bytes are not: what a rename without fsync gets.
    assert (scratch / "e" / "old").read_bytes() == b""
    assert os.listdir(scratch / "e" / "folder") == []
    files.fail("unlink", nth=2)
    files.replace_file(str(root / "x"), b"x")
    with pytest.raises(OSError):
        files.unlink(str(root / "x"))
    files.unlink(str(root / "x"))
