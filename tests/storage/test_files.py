# SPDX-License-Identifier: MIT
"""A file per object: what people see in the folder, and what happens when they touch it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from casstore.address import event_address
from casstore.errors import CorruptionError, StorageError
from casstore.format.event import encode_history_cut
from casstore.format.kinds import EVENT
from casstore.format.record import decode_record
from casstore.storage.index import LevelIndex
from tests.storage.stores import flip, noise, open_small


def file_of(path: str, address: bytes) -> str:
    text = address.hex()
    return os.path.join(path, "objects", text[:2], text[2:4], text[4:])


def test_objects_and_events_are_files(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend="files")
    address = opened.storage.put(noise(1, 100))
    payload = encode_history_cut(1, 0)
    event = event_address(payload)
    opened.storage.put_record(EVENT, event, payload)
    record = decode_record(Path(file_of(path, address)).read_bytes())
    assert (record.address, record.stored) == (address, noise(1, 100))
    assert os.listdir(os.path.join(path, "refs")) == ["0000000000000001"]
    assert Path(path, "refs", "0000000000000001").read_bytes() == Path(file_of(path, event)).read_bytes()
    backend = opened.storage.backend
    assert backend.used_bytes() == sum(os.path.getsize(file_of(path, each)) for each in (address, event))
    # What a collection forgets goes in both places; strangers and damaged copies stay.
    Path(path, "refs", ".DS_Store").write_bytes(b"x")
    Path(path, "refs", "0000000000000009").write_bytes(b"damaged")
    backend.sync()
    backend.compact([])
    assert len(os.listdir(os.path.join(path, "refs"))) == 3
    backend.delete([event])
    backend.compact([])
    assert sorted(os.listdir(os.path.join(path, "refs"))) == [".DS_Store", "0000000000000009"]
    assert opened.storage.get(address) == noise(1, 100)
    opened.close()
    opened.close()


def test_a_file_in_another_ones_place(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend="files")
    first, second = opened.storage.put(b"first"), opened.storage.put(b"second")
    shutil.copy(file_of(path, first), file_of(path, second))
    (error,) = opened.storage.backend.check_segments()
    assert (error.address, error.path) == (second, file_of(path, second))
    with pytest.raises(CorruptionError):
        opened.storage.get(second)
    opened.storage.put(b"second")
    assert opened.storage.get(second) == b"second"
    opened.close()


def test_every_bit_of_a_files_header(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"), backend="files")
    address = opened.storage.put(b"content")
    file = file_of(opened.path, address)
    for bit in range(56 * 8):
        flip(file, bit >> 3, 1 << (bit & 7))
        with pytest.raises(CorruptionError) as caught:
            opened.storage.get(address)
        assert caught.value.address == address
        flip(file, bit >> 3, 1 << (bit & 7))
    opened.close()


def test_a_file_that_cannot_be_read(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend="files")
    address = opened.storage.put(b"content")
    os.unlink(file_of(path, address))
    os.mkdir(file_of(path, address))
    with pytest.raises(StorageError, match="cannot be read"):
        opened.storage.get(address)
    os.rmdir(file_of(path, address))
    opened.close()


def test_a_crash_after_a_sync_point_is_mended_from_the_files(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend="files")
    contents = {opened.storage.put(noise(seed, 3000)): noise(seed, 3000) for seed in range(5)}
    opened.storage.sync()
    late = opened.storage.put(b"not yet synced")
    index = opened.storage.backend._index  # type: ignore[attr-defined]
    assert isinstance(index, LevelIndex)
    index.close(clean=False)
    assert opened.lock is not None
    opened.lock.release()
    opened = open_small(path)
    assert list(opened.storage.get_many(contents)) == list(contents.values())
    # Each file was synced by itself, so even this one is there.
    assert opened.storage.get(late) == b"not yet synced"
    opened.close()
