# SPDX-License-Identifier: MIT
"""Making and opening stores: bad folders, damaged files, crashes while a store is made."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

import casstore
from casstore import Config
from casstore.errors import (
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    StorageError,
)
from casstore.format.settings import Settings
from casstore.format.superblock import Superblock, encode_superblock
from casstore.layout import (
    object_folders,
    object_path,
    parse_event_name,
    parse_object_path,
    parse_pin_name,
    parse_segment_name,
    pin_name,
    segment_name,
)
from casstore.storage.opening import is_store, make_store, open_storage
from casstore.testing.faults import Call, FaultyFiles
from tests.storage.stores import flip, open_small


def opened(path: Path | str, **fields: object) -> casstore.Store:
    return casstore.open(path, config=Config(**fields))  # type: ignore[arg-type]


def test_a_new_store(scratch: Path) -> None:
    path = scratch / "store"
    with casstore.open(path) as store:
        assert store.settings == Settings()
        first = store.store_id
        assert len(first) == 32
    assert sorted(os.listdir(path)) == ["index", "lock", "readers", "segments", "superblock", "workspaces"]
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert os.stat(path / "superblock").st_mode & 0o777 == 0o600
    with casstore.open(path, create=False) as store:
        assert store.store_id == first
    with casstore.open(scratch / "other") as other:
        assert other.store_id != first


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_store(scratch: Path, read_only: bool) -> None:
    (scratch / "file").write_bytes(b"x")
    for path in (scratch / "absent", scratch, scratch / "file", scratch / "absent" / "deeper"):
        with pytest.raises(NotFoundError, match="not a store"):
            casstore.open(path, create=False, read_only=read_only)
    assert not (scratch / "absent").exists()


def test_folders_that_a_store_cannot_be_made_in(scratch: Path) -> None:
    (scratch / "mine").mkdir()
    (scratch / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InvalidInputError, match=r"thesis\.tex"):
        casstore.open(scratch / "mine")
    assert os.listdir(scratch / "mine") == ["thesis.tex"]
    for path in (scratch / "mine" / "thesis.tex", scratch / "absent" / "deeper"):
        with pytest.raises(StorageError):
            casstore.open(path)
    (scratch / "empty").mkdir()
    casstore.open(scratch / "empty").close()
    assert is_store(str(scratch / "empty"))


def test_a_crash_while_a_store_is_made(scratch: Path) -> None:
    root = scratch / "root"
    root.mkdir()
    images: list[Path] = []

    def before(call: Call) -> None:
        for keep in (False, True):
            images.append(scratch / f"image{len(images)}")
            files.crash_copy(str(images[-1]), keep_names=keep)

    files = FaultyFiles(str(root), before)
    make_store(str(root / "store"), Config(), files)
    before(Call("end", ""))
    assert len(images) > 20
    for image in images:
        with casstore.open(image / "store") as store:
            assert store.get(store.put(b"content")) == b"content"
    # Once it was made, it is made.
    assert is_store(str(images[-2] / "store"))


def test_every_call_of_making_a_store_may_fail(scratch: Path) -> None:
    files = FaultyFiles(str(scratch))
    make_store(str(scratch / "trial"), Config(), files)
    counts = {name: [call.name for call in files.calls].count(name) for name in {call.name for call in files.calls}}
    for name, count in counts.items():
        for nth in range(1, count + 1):
            path = str(scratch / f"{name}{nth}")
            files.fail(name, nth=nth)
            if name == "unlink":
                files._faults.clear()
                continue
            with pytest.raises(StorageError, match="cannot be made"):
                make_store(path, Config(), files)
            with casstore.open(path) as store:
                assert store.get(store.put(b"content")) == b"content"


def test_every_byte_of_the_superblock(scratch: Path) -> None:
    path = scratch / "store"
    casstore.open(path).close()
    for place in range(96):
        flip(str(path / "superblock"), place, 0x40)
        for read_only in (False, True):
            with pytest.raises(CorruptionError) as caught:
                casstore.open(path, read_only=read_only)
            assert caught.value.path == str(path / "superblock")
        flip(str(path / "superblock"), place, 0x40)
    for size in (0, 50, 95):
        shutil.copytree(path, scratch / f"cut{size}")
        os.truncate(scratch / f"cut{size}" / "superblock", size)
        with pytest.raises(CorruptionError):
            casstore.open(scratch / f"cut{size}")
    casstore.open(path).close()


def test_a_store_of_a_later_format(scratch: Path) -> None:
    path = scratch / "store"
    casstore.open(path).close()
    (path / "superblock").write_bytes(b"casstore\x02\0\0\0" + bytes(200))
    with pytest.raises(FormatVersionError, match="format 2"):
        casstore.open(path)


def test_chunk_sizes_in_the_superblock_that_cannot_be(scratch: Path) -> None:
    path = scratch / "store"
    casstore.open(path).close()
    block = Superblock(store_id=bytes(16), created_ns=0, chunk_min_bytes=0, chunk_avg_bytes=0, chunk_max_bytes=0)
    (path / "superblock").write_bytes(encode_superblock(block))
    with pytest.raises(InvalidInputError, match="chunk sizes"):
        casstore.open(path)


@pytest.mark.parametrize(
    "fields",
    [{"backend": "files"}, {"chunk_min_bytes": 65}, {"chunk_avg_bytes": 512}, {"chunk_max_bytes": 1025}],
)
def test_format_fields_are_fixed_when_the_store_is_made(scratch: Path, fields: dict[str, object]) -> None:
    sizes = {"chunk_min_bytes": 64, "chunk_avg_bytes": 256, "chunk_max_bytes": 1024}
    opened(scratch / "store", **sizes, backend="segments").close()
    opened(scratch / "store", **sizes, backend="segments").close()
    (name,) = fields
    with pytest.raises(InvalidInputError, match=f"{name} of this store"):
        opened(scratch / "store", **fields)
    casstore.open(scratch / "store").close()


def test_an_average_alone_brings_its_limits(scratch: Path) -> None:
    with opened(scratch / "store", chunk_avg_bytes=4096) as store:
        fields = store.format_fields
        assert (fields["chunk_min_bytes"], fields["chunk_max_bytes"]) == (1024, 16384)
    for sizes in ({"chunk_avg_bytes": 300}, {"chunk_min_bytes": 10_000}, {"chunk_max_bytes": 1000}):
        with pytest.raises(InvalidInputError, match="chunk sizes"):
            opened(scratch / "wrong", **sizes)
        assert not (scratch / "wrong").exists()
        with pytest.raises(InvalidInputError, match="chunk sizes"):
            opened(":memory:", **sizes)


def test_settings_survive_and_a_damaged_file_is_named(scratch: Path) -> None:
    path = scratch / "store"
    with casstore.open(path) as store:
        store.configure(max_bytes=12345, grace_seconds=60)
    with casstore.open(path) as store:
        assert (store.settings.max_bytes, store.settings.grace_seconds) == (12345, 60)
        assert store.storage.renew_after_seconds == 30
    flip(str(path / "config"), 5)
    with pytest.raises(CorruptionError, match="config"):
        casstore.open(path)
    # A failed opening holds nothing: the lock and the index are free.
    os.unlink(path / "config")
    with casstore.open(path) as store:
        assert store.settings == Settings()
    with casstore.open(":memory:") as store:
        store.configure(max_bytes=5)
        assert store.settings.max_bytes == 5


def test_what_the_system_refuses_is_a_storage_error(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scratch / "store"
    casstore.open(path).close()
    os.unlink(path / "lock")
    (path / "lock").mkdir()
    with pytest.raises(StorageError, match="cannot be opened"):
        casstore.open(path)
    (path / "lock").rmdir()
    os.unlink(path / "superblock")
    (path / "superblock").mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        open_small_read(path)
    (path / "superblock").rmdir()


def open_small_read(path: Path) -> None:
    from casstore.storage.opening import read_superblock

    read_superblock(str(path))


def test_a_backend_that_cannot_be_begun_gives_everything_back(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scratch / "store")
    open_small(path).close()
    from casstore.storage import opening

    with monkeypatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise CorruptionError("no backend")

        patch.setattr(opening, "SegmentBackend", refuse)
        with pytest.raises(CorruptionError, match="no backend"):
            open_small(path)
        with pytest.raises(CorruptionError, match="no backend"):
            open_small(path, read_only=True)
    assert os.listdir(os.path.join(path, "readers")) == []
    open_small(path).close()


def test_windows_is_refused(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scratch / "store")
    open_small(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with pytest.raises(StorageError, match="Linux and macOS"):
            open_storage(path, read_only=False, timeout=0, config=Config(), files=FaultyFiles(path))


def test_an_index_that_another_program_holds(scratch: Path) -> None:
    path = str(scratch / "store")
    first = open_small(path)
    assert first.lock is not None
    # The lock file was taken away by hand: LevelDB's own lock still holds.
    os.unlink(os.path.join(path, "lock"))
    with pytest.raises(LockedError, match="index is in use"):
        open_small(path)
    assert first.storage.get(first.storage.put(b"content")) == b"content"
    first.close()


def test_stray_files_do_not_matter(scratch: Path) -> None:
    for backend in ("segments", "files"):
        path = scratch / backend
        with opened(path, backend=backend) as store:
            address = store.put(b"content")
        folder = path / ("segments" if backend == "segments" else "objects")
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "1.seg").write_bytes(b"x")
        (folder / "zz").mkdir()
        (folder / "zz" / "stray").write_bytes(b"x")
        for gone in (False, True):
            if gone:
                shutil.rmtree(path / "index")
            with casstore.open(path) as store:
                assert store.get(address) == b"content"
                assert store.storage.backend.used_bytes() > 0


def test_names() -> None:
    assert segment_name(1) == "00000001.seg"
    assert parse_segment_name(segment_name(123_456_789)) == 123_456_789
    for name in ("1.seg", "00000001.seg.tmp", "0000000a.seg", "x00000001.seg", "٠٠٠٠٠٠٠١.seg"):
        assert parse_segment_name(name) is None
    address = bytes(range(32))
    assert object_folders(address) == ("00", "01")
    assert object_path(address) == os.path.join("objects", "00", "01", address.hex()[4:])
    assert parse_object_path("00", "01", address.hex()[4:]) == address
    for first, second, name in (
        ("0", "01", "a" * 60),
        ("zz", "01", "a" * 60),
        ("00", "01", "a" * 59),
        ("  ", "01", "a" * 60),
        ("AB", "01", "a" * 60),
        ("abc", "d", "a" * 60),
    ):
        assert parse_object_path(first, second, name) is None
    assert parse_event_name("0000000000000012") == 12
    assert parse_event_name("12") is None
    assert parse_pin_name(pin_name("ab" * 16)) == "ab" * 16
    assert parse_pin_name("ab.pin") is None
