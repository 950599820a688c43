# SPDX-License-Identifier: MIT
"""Segments as files: bounded descriptors, compaction, walking and finding records among garbage."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from casstore.address import Address, content_address
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError, StorageError
from casstore.format.kinds import CHUNK, MAX_RAW_BYTES
from casstore.format.record import HEADER_BYTES, encode_record
from casstore.storage import indexed, segment_backend, segment_files
from casstore.storage.segment_files import OpenSegment, SegmentFiles
from casstore.testing.backends import make_record
from casstore.testing.faults import FaultyFiles
from tests.storage.stores import flip, noise, open_small, record_place


def segment_of(folder: Path, *parts: bytes) -> SegmentFiles:
    (folder / "segments").mkdir(exist_ok=True)
    (folder / "segments" / "00000001.seg").write_bytes(b"".join(parts))
    return SegmentFiles(str(folder))


def test_walking_ends_at_the_first_record_that_is_not_intact(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_files, "_WINDOW_BYTES", 500)
    records = [make_record(noise(seed, size)) for seed, size in enumerate([0, 5, 900, 444, 2000, 1])]
    encoded = [encode_record(record) for record in records]
    files = segment_of(scratch, *encoded)
    walked = list(files.walk(1))
    assert [data for _, _, data in walked] == encoded
    assert [header.address for _, header, _ in walked] == [record.address for record in records]
    starts = [sum(map(len, encoded[:place])) for place in range(6)]
    assert [offset for offset, _, _ in walked] == starts
    assert [offset for offset, _, _ in files.walk(1, starts[3])] == starts[3:]
    flip(files.path(1), starts[4] + 1000)
    assert [offset for offset, _, _ in files.walk(1)] == starts[:4]
    assert files.find_record(1, starts[4]) == starts[5]
    assert files.find_record(1, starts[2] + 1) == starts[3]
    assert files.find_record(1, starts[5] + 1) is None
    assert files.find_record(1, 10**6) is None


def test_a_record_is_found_wherever_the_window_ends(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = encode_record(make_record(b"needle"))
    for window in (5, 64, 100):
        monkeypatch.setattr(segment_files, "_WINDOW_BYTES", window)
        for before in range(0, 130, 3):
            files = segment_of(scratch, (b"CASr" * 40)[:before], record, b"CA")
            assert files.find_record(1, 0) == before


def test_descriptors_are_bounded_and_released(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_files, "_MAX_OPEN", 3)
    (scratch / "segments").mkdir()
    for number in range(1, 9):
        (scratch / "segments" / f"{number:08d}.seg").write_bytes(b"%d" % number)
    files = SegmentFiles(str(scratch))
    before = len(os.listdir("/dev/fd"))
    for number in [*range(1, 9), 1, 2, 8]:
        assert files.read(number, 0, 10) == b"%d" % number
        assert len(os.listdir("/dev/fd")) <= before + 3
    with pytest.raises(FileNotFoundError):
        files.read(99, 0, 1)
    files.close()
    assert len(os.listdir("/dev/fd")) == before
    assert list(files.on_disk()) == list(range(1, 9))
    assert SegmentFiles(str(scratch / "absent")).on_disk() == {}


def test_a_segment_let_go_of_during_a_read_stays_open_for_it(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its descriptor is closed, or given to another file, under the hands of the thread that reads."""
    files = segment_of(scratch, b"the segment")
    pread = os.pread

    def late(fd: int, length: int, offset: int) -> bytes:
        files.forget(1)
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", late)
    assert files.read(1, 4, 7) == b"segment"
    with pytest.raises(FileNotFoundError):
        OpenSegment(str(scratch / "absent"))


def test_reading_beside_compaction(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"), segment_bytes=4096)
    storage = opened.storage
    contents = {storage.put(noise(seed, 700)): noise(seed, 700) for seed in range(60)}
    storage.sync()
    errors: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                if {address for address, _ in storage.backend.scan()} < contents.keys():
                    raise ValueError("a scan missed something")
                for address, data in contents.items():
                    if storage.get(address) != data:
                        raise ValueError(address)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        storage.backend.compact([info.segment for info in storage.backend.segments()])
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert not storage.backend.doubtful
    opened.close()


def test_a_look_that_compaction_overtakes(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_small(str(scratch / "store"), segment_bytes=1 << 20)
    backend = opened.storage.backend
    addresses = sorted(opened.storage.put(noise(seed, 100)) for seed in range(10))
    backend.sync()
    scan = backend.scan()
    found = [next(scan)[0]]
    backend.compact([1])
    found += [address for address, _ in scan]
    assert found == addresses
    index_get = backend._index_get  # type: ignore[attr-defined]
    overtaken = []

    def slow(key: bytes) -> bytes | None:
        value: bytes | None = index_get(key)
        if not overtaken:
            overtaken.append(key)
            backend.compact([info.segment for info in backend.segments()])
        return value

    monkeypatch.setattr(backend, "_index_get", slow)
    assert backend.contains(addresses[3])
    assert len(overtaken) == 1
    assert opened.storage.get(addresses[3]) in [noise(seed, 100) for seed in range(10)]
    opened.close()


def test_compaction_moves_in_portions_and_keeps_stamps(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_backend, "_COPY_BYTES", 500)
    opened = open_small(str(scratch / "store"), segment_bytes=1 << 20)
    backend = opened.storage.backend
    addresses = [opened.storage.put(noise(seed, 300)) for seed in range(12)]
    for address in addresses:
        backend.touch(address, 2**31)
    backend.sync()
    backend.delete(addresses[::3])
    backend.compact([1])
    assert [info.segment for info in backend.segments()] == [2]
    for place, address in enumerate(addresses):
        entry = backend.find(address)
        if place % 3:
            assert entry is not None
            assert (entry.segment, entry.stamp) == (2, 2**31)
            assert opened.storage.get(address) == noise(place, 300)
        else:
            assert entry is None
    opened.close()


def test_a_damaged_segment_is_not_compacted_away(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path, segment_bytes=1 << 20)
    backend = opened.storage.backend
    addresses = [opened.storage.put(noise(seed, 300)) for seed in range(6)]
    backend.sync()
    file, offset, _ = record_place(opened, addresses[2])
    flip(file, offset + 20)
    backend.compact([1])
    assert os.path.exists(file)
    for place, address in enumerate(addresses):
        if place != 2:
            assert opened.storage.get(address) == noise(place, 300)
    with pytest.raises(CorruptionError):
        opened.storage.get(addresses[2])
    opened.close()


def test_compaction_may_crash_anywhere(scratch: Path) -> None:
    path = str(scratch / "store")
    open_small(path).close()
    images: list[tuple[str, bool]] = []
    deleted = False

    def before(call: object) -> None:
        for keep in (False, True):
            images.append((str(scratch / f"image{len(images)}"), deleted))
            files.crash_copy(images[-1][0], keep_names=keep)

    files = FaultyFiles(path)
    opened = open_small(path, files=files, segment_bytes=1 << 20)
    contents = {opened.storage.put(noise(seed, 200)): noise(seed, 200) for seed in range(10)}
    gone = list(contents)[::2]
    opened.storage.sync()
    opened.storage.backend.delete(gone)
    files.before = before
    opened.storage.backend.compact([1])
    files.before = None
    opened.close()
    assert len(images) > 8
    for image, _ in images:
        after = open_small(image)
        for address, data in contents.items():
            if address not in gone:
                assert after.storage.get(address) == data
        assert list(after.storage.backend.check_segments()) == []
        for data in contents.values():
            after.storage.put(data)
        after.close()
        after = open_small(image)
        assert list(after.storage.get_many(contents)) == list(contents.values())
        after.close()


def test_a_full_table_of_waiting_entries_makes_a_sync_point(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexed, "MAX_PENDING", 10)
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    files.calls.clear()
    addresses = [opened.storage.put(b"%d" % number) for number in range(25)]
    assert [call.name for call in files.calls].count("sync") == 2
    assert opened.storage.backend._pending.keys() == set(addresses[20:])  # type: ignore[attr-defined]
    # Scans join what waits with what does not, in order.
    assert [address for address, _ in opened.storage.backend.scan()] == sorted(addresses)
    opened.storage.backend.touch(addresses[3], 2**31)
    assert [address for address, _ in opened.storage.backend.scan()] == sorted(addresses)
    opened.close()


def test_a_segment_that_cannot_be_read(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_small(str(scratch / "store"))
    address = opened.storage.put(b"content")
    opened.storage.sync()

    def refuse(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        with pytest.raises(StorageError, match="cannot be read") as caught:
            opened.storage.get(address)
        assert (caught.value.address, caught.value.segment) == (address, 1)
    # That is no proof of damage.
    assert opened.storage.get(address) == b"content"
    assert not opened.storage.backend.doubtful
    opened.close()


def test_where_an_object_lies(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    address = opened.storage.put(b"compressible " * 20)
    info = opened.storage.locate(address)
    assert (info.address, info.kind, info.segment, info.offset) == (address, CHUNK, 1, 0)
    assert info.stored_bytes < info.raw_bytes == 260
    assert not info.damaged
    opened.storage.backend.mark_damaged(address)
    assert opened.storage.locate(address).damaged
    with pytest.raises(NotFoundError):
        opened.storage.locate(content_address(b"absent"))
    opened.close()


def test_a_record_has_a_largest_size(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    raw = bytes(MAX_RAW_BYTES)
    assert opened.storage.put_record(CHUNK, content_address(raw), raw)
    assert opened.storage.get(content_address(raw)) == raw
    with pytest.raises(InvalidInputError, match="limit"):
        opened.storage.put_record(CHUNK, Address(bytes(32)), raw + b"\0")
    opened.close()


def test_a_record_that_claims_too_much_is_refused_unread(scratch: Path) -> None:
    """A header that claims 4 GiB: the index would not point there, and a walk ends before it."""
    path = str(scratch / "store")
    opened = open_small(path)
    address = opened.storage.put(noise(1, 100))
    file, offset, _ = record_place(opened, address)
    opened.close()
    for place in (offset + 19, offset + 23):
        flip(file, place, 0xFF)
    opened = open_small(path)
    with pytest.raises(CorruptionError):
        opened.storage.get(address)
    assert list(SegmentFiles(path).walk(1)) == []
    assert os.path.getsize(file) == HEADER_BYTES + 100
    opened.close()
