# SPDX-License-Identifier: MIT
"""Damage on disk: found on reading, named by address and place, and healed by the next put of the same content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casstore.address import content_address, node_address
from casstore.errors import CasstoreError, CorruptionError, NotFoundError
from casstore.format.kinds import CHUNK, CHUNK_LIST, NODE
from casstore.format.record import HEADER_BYTES, REST_START
from tests.storage.stores import abandon, flip, noise, open_small, record_place


def test_every_header_bit_of_a_record_in_a_store(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path)
    data = b"compressible " * 20
    address = opened.storage.put(data)
    opened.storage.sync()
    file, offset, length = record_place(opened, address)
    assert length < HEADER_BYTES + len(data)
    for bit in range(HEADER_BYTES * 8):
        flip(file, offset + (bit >> 3), 1 << (bit & 7))
        if bit >> 3 < REST_START:
            # Magic and checksum are for those who walk over records; the address says more than they do.
            assert opened.storage.get(address) == data
        else:
            with pytest.raises(CorruptionError) as caught:
                opened.storage.get(address)
            assert (caught.value.address, caught.value.segment, caught.value.offset) == (address, 1, offset)
        flip(file, offset + (bit >> 3), 1 << (bit & 7))
    abandon(opened)


def test_every_stored_byte_of_a_record_in_a_store(scratch: Path) -> None:
    for number, data in enumerate((b"compressible " * 20, noise(1, 60))):
        opened = open_small(str(scratch / f"store{number}"))
        address = opened.storage.put(data)
        file, offset, length = record_place(opened, address)
        for place in range(offset + HEADER_BYTES, offset + length):
            for mask in (1, 0x80):
                flip(file, place, mask)
                with pytest.raises(CorruptionError):
                    opened.storage.get(address)
                flip(file, place, mask)
        assert opened.storage.get(address) == data
        abandon(opened)


@pytest.mark.parametrize("reopen", [False, True])
@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_damaged_chunk_heals(scratch: Path, backend: str, reopen: bool) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend=backend)
    storage = opened.storage
    data = noise(2, 400)
    address = storage.put(data)
    storage.sync()
    if backend == "segments":
        file, offset, _ = record_place(opened, address)
    else:
        text = address.hex()
        file, offset = os.path.join(path, "objects", text[:2], text[2:4], text[4:]), 0
    flip(file, offset + HEADER_BYTES + 100)
    assert storage.contains(address)
    with pytest.raises(CorruptionError, match="put the same content again") as caught:
        storage.get(address)
    assert caught.value.address == address
    assert (caught.value.segment, caught.value.offset) == (1, offset)
    assert not storage.contains(address)
    assert storage.backend.doubtful
    if reopen:
        opened.close()
        opened = open_small(path)
        storage = opened.storage
        assert not storage.contains(address)
    assert storage.put(data) == address
    assert storage.get(address) == data
    assert storage.contains(address)
    assert storage.backend.damaged_count == 0
    opened.close()
    opened = open_small(path)
    assert opened.storage.get(address) == data
    assert opened.storage.backend.damaged_count == 0
    opened.close()


@pytest.mark.parametrize("backend", ["segments", "files"])
@pytest.mark.parametrize("way", ["put", "stream", "ingest"])
def test_a_damaged_chunk_inside_a_list_heals(scratch: Path, way: str, backend: str) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend=backend, segment_bytes=1 << 20)
    storage = opened.storage
    data = noise(3, 9000)
    address = storage.put(data)
    storage.sync()
    found = storage.chunk_list(address)
    assert found is not None
    piece = found.pieces[4][0]
    if backend == "segments":
        file, offset, _ = record_place(opened, piece)
    else:
        text = piece.hex()
        file, offset = os.path.join(path, "objects", text[:2], text[2:4], text[4:]), 0
    flip(file, offset + HEADER_BYTES + 3)
    for _ in range(2):
        with pytest.raises(CorruptionError) as caught:
            storage.get(address)
        assert caught.value.address == piece
    with storage.open_content(address) as content, pytest.raises(CorruptionError):
        content.read()
    if way == "put":
        storage.put(data)
    elif way == "ingest":
        with storage.ingest() as ingest:
            ingest.add(data)
    else:
        with open(scratch / "file", "w+b") as source:
            source.write(data)
            source.seek(0)
            storage.put(source)
    assert storage.get(address) == data
    assert not storage.backend.damaged_count
    opened.close()
    opened = open_small(path)
    assert opened.storage.get(address) == data
    opened.close()


def test_a_damaged_list_heals(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"), segment_bytes=1 << 20)
    storage = opened.storage
    data = noise(4, 9000)
    address = storage.put(data)
    file, offset, length = record_place(opened, address)
    for place in (HEADER_BYTES, length - 1):
        flip(file, offset + place)
        for action in (storage.get, storage.open_content, storage.content_size, storage.check_content):
            with pytest.raises(CorruptionError) as caught:
                action(address)
            assert caught.value.address == address
        with pytest.raises(CorruptionError):
            storage.get_record(CHUNK_LIST, address)
        flip(file, offset + place)
    assert storage.put(data) == address
    assert storage.get(address) == data
    opened.close()


def test_a_list_deep_inside_is_looked_through_when_damage_is_known(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casstore.storage import content

    monkeypatch.setattr(content, "MAX_PIECES", 4)
    opened = open_small(str(scratch / "store"), segment_bytes=1 << 20)
    storage = opened.storage
    data = noise(5, 6000)
    address = storage.put(data)
    top = storage.chunk_list(address)
    assert top is not None
    lower = storage.chunk_list(top.pieces[-1][0])
    assert lower is not None
    file, offset, _ = record_place(opened, lower.pieces[-1][0])
    flip(file, offset + HEADER_BYTES)
    with pytest.raises(CorruptionError):
        storage.get(address)
    assert storage.put(data) == address
    assert storage.get(address) == data
    # Sound again: the next put of it writes nothing.
    used = storage.backend.used_bytes()
    storage.put(data)
    assert storage.backend.used_bytes() == used
    # The record of the list in the middle, damaged and found by another content's trouble.
    middle = top.pieces[-1][0]
    file, offset, _ = record_place(opened, middle)
    flip(file, offset + HEADER_BYTES)
    storage.backend.mark_damaged(storage.put(b"unrelated"))
    storage.put(data)
    assert storage.get(address) == data
    opened.close()


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_chunk_that_is_gone_is_put_again(scratch: Path, backend: str) -> None:
    """A file taken away behind the store's back; a list that is still there proves nothing."""
    path = str(scratch / "store")
    for clean in (True, False):
        opened = open_small(path, backend=backend)
        data = noise(6, 5000)
        address = opened.storage.put(data)
        opened.storage.sync()
        found = opened.storage.chunk_list(address)
        assert found is not None
        piece = found.pieces[1][0]
        if backend == "segments":
            victim = record_place(opened, piece)[0]
        else:
            text = piece.hex()
            victim = os.path.join(path, "objects", text[:2], text[2:4], text[4:])
        if clean:
            opened.close()
        else:
            abandon(opened)
        os.unlink(victim)
        opened = open_small(path)
        assert opened.storage.put(data) == address
        assert opened.storage.get(address) == data
        opened.close()


def test_typed_records(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    storage = opened.storage
    raw = b"encoded node" * 10
    address = node_address(raw)
    assert storage.put_record(NODE, address, raw)
    assert not storage.put_record(NODE, address, raw)
    assert storage.get_record(NODE, address) == raw
    with pytest.raises(NotFoundError, match="is a node, no chunk"):
        storage.get_record(CHUNK, address)
    with pytest.raises(NotFoundError):
        storage.get_record(NODE, content_address(b"absent"))
    file, offset, length = record_place(opened, address)
    flip(file, offset + length - 1)
    with pytest.raises(CorruptionError):
        storage.get_record(NODE, address)
    assert storage.put_record(NODE, address, raw)
    assert storage.get_record(NODE, address) == raw
    chunk = storage.put(b"chunk")
    assert storage.get_record(CHUNK, chunk) == b"chunk"
    data = noise(7, 3000)
    listed = storage.put(data)
    assert len(storage.get_record(CHUNK_LIST, listed)) > 48
    opened.close()


def test_a_segment_that_vanished_while_it_was_open(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    storage = opened.storage
    address = storage.put(b"here")
    storage.sync()
    os.unlink(record_place(opened, address)[0])
    # Nobody has read it, so it is not open yet.
    with pytest.raises(CorruptionError) as caught:
        storage.get(address)
    assert caught.value.segment == 1
    storage.put(b"here")
    with pytest.raises(CasstoreError):
        storage.get(address)
    abandon(opened)


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_damage_is_found_by_walking_too(scratch: Path, backend: str) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend=backend, segment_bytes=1 << 20)
    storage = opened.storage
    addresses = [storage.put(noise(seed, 100)) for seed in range(10)]
    storage.sync()
    assert list(storage.backend.check_segments()) == []
    wanted = []
    for address in (addresses[3], addresses[4], addresses[8]):
        if backend == "segments":
            file, offset, _ = record_place(opened, address)
            flip(file, offset + 12)
            wanted.append(offset)
        else:
            text = address.hex()
            flip(os.path.join(path, "objects", text[:2], text[2:4], text[4:]), 12)
            wanted.append(0)
    errors = list(storage.backend.check_segments())
    assert all(isinstance(error, CorruptionError) for error in errors)
    if backend == "segments":
        assert [(error.segment, error.offset) for error in errors] == [(1, wanted[0]), (1, wanted[2])]
        os.truncate(file, os.path.getsize(file) - 10)
        # What is missing at the end joins the damage before it.
        assert [error.offset for error in storage.backend.check_segments()] == [wanted[0], wanted[2]]
        os.unlink(file)
        assert list(storage.backend.check_segments()) == []
    else:
        assert {error.address for error in errors} == {addresses[3], addresses[4], addresses[8]}
        assert all(error.path for error in errors)
    abandon(opened)
