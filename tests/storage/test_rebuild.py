# SPDX-License-Identifier: MIT
"""Rebuilding the index over damage, and crashes in the middle of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import casstore
from casstore.address import Address, content_address, event_address
from casstore.errors import CorruptionError, NotFoundError, StorageError
from casstore.format.canonical import canonical_json
from casstore.format.event import RefMove, encode_ref_move
from casstore.format.index_entry import SUSPECT
from casstore.format.kinds import CHUNK_LIST, EVENT
from casstore.format.record import Record, encode_record
from casstore.storage.recovery import Recovered
from casstore.testing.faults import Call, FaultyFiles
from tests.storage.events import assert_holds, facts, filled, move, put_event
from tests.storage.stores import abandon, flip, noise, open_small, record_place

# -- a rebuild over damage


def damaged_in_the_middle(path: str, **fields: object) -> tuple[dict[Address, bytes], Address]:
    contents, _ = filled(path, **fields)
    opened = open_small(path)
    victim = next(address for address, data in contents.items() if len(data) == 50)
    file, offset, _ = record_place(opened, victim)
    opened.close()
    flip(file, offset + 60)
    shutil.rmtree(os.path.join(path, "index"))
    return contents, victim


def test_damage_in_the_middle_is_stepped_over_and_remembered(scratch: Path) -> None:
    path = str(scratch / "store")
    contents, victim = damaged_in_the_middle(path)
    opened = open_small(path)
    assert opened.recovered == Recovered(damaged=1, refs_suspect=True)
    assert "past 1 damaged place, and moves of refs may be lost; run `casstore verify`" in str(opened.recovered)
    assert opened.storage.backend.fact(SUSPECT) == b"1"
    for address, data in contents.items():
        if address == victim:
            with pytest.raises(NotFoundError):
                opened.storage.get(address)
        else:
            assert opened.storage.get(address) == data
    opened.storage.put(contents[victim])
    assert opened.storage.get(victim) == contents[victim]
    opened.close()


@pytest.mark.parametrize("place", [4, 13, 14, 24, 56 + 5])
def test_records_inside_a_damaged_content_are_not_the_stores(scratch: Path, place: int) -> None:
    """Somebody keeps a segment, with ref moves in it, as a content; then the record around it is damaged."""
    path = str(scratch / "store")
    opened = open_small(path, segment_bytes=1 << 20)
    mine = opened.storage.put(b"mine")
    move(opened.storage, "main", mine)
    payload = encode_ref_move(
        RefMove(name="main", old=mine, new=Address(bytes(32)), number=9, time_ns=1, actor="them", reason="")
    )
    record = encode_record(Record(EVENT, 0, event_address(payload), len(payload), payload))
    content = opened.storage.put(noise(1, 50) + record + noise(2, 50))
    opened.storage.put(b"behind it")
    names = facts(opened)
    file, offset, _ = record_place(opened, content)
    opened.close()
    flip(file, offset + place, 1)
    shutil.rmtree(os.path.join(path, "index"))
    opened = open_small(path)
    assert facts(opened) == names
    assert opened.storage.backend.fact(SUSPECT) == b"1"
    assert opened.storage.get(content_address(b"behind it")) == b"behind it"
    opened.close()


def test_a_torn_end_of_the_newest_segment_is_no_damage_but_of_another_it_is(scratch: Path) -> None:
    for newest in (True, False):
        path = str(scratch / f"store{newest}")
        filled(path)
        shutil.rmtree(os.path.join(path, "index"))
        names = sorted(os.listdir(os.path.join(path, "segments")))
        assert len(names) > 2
        victim = os.path.join(path, "segments", names[-1] if newest else names[1])
        os.truncate(victim, os.path.getsize(victim) - 5)
        opened = open_small(path)
        assert (opened.storage.backend.fact(SUSPECT) is None) is newest
        opened.close()


def test_lists_whose_pieces_are_gone_are_dropped(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from casstore.storage import content

    monkeypatch.setattr(content, "MAX_PIECES", 4)
    path = str(scratch / "store")
    opened = open_small(path, segment_bytes=1 << 20)
    data = noise(1, 8000)
    address = opened.storage.put(data)
    other = opened.storage.put(noise(2, 3000))
    top = opened.storage.chunk_list(address)
    assert top is not None
    lower = opened.storage.chunk_list(top.pieces[-1][0])
    assert lower is not None
    file, offset, _ = record_place(opened, lower.pieces[-1][0])
    opened.close()
    flip(file, offset + 57)
    shutil.rmtree(os.path.join(path, "index"))
    opened = open_small(path)
    for gone in (address, top.pieces[-1][0]):
        assert not opened.storage.contains(gone)
    assert opened.storage.contains(top.pieces[0][0])
    assert opened.storage.get(other) == noise(2, 3000)
    assert opened.storage.put(data) == address
    assert opened.storage.get(address) == data
    opened.close()


def test_a_list_that_is_signed_wrong_is_dropped(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path)
    data = noise(3, 4000)
    address = content_address(data)
    opened.storage.backend.put([Record(CHUNK_LIST, 0, address, 60, bytes(60))])
    opened.close()
    shutil.rmtree(os.path.join(path, "index"))
    opened = open_small(path)
    assert not opened.storage.contains(address)
    opened.storage.put(data)
    assert opened.storage.get(address) == data
    opened.close()


@pytest.mark.parametrize("backend", ["segments", "files"])
@pytest.mark.parametrize("payload", [b"{}", canonical_json({"type": "ref-move", "number": 70, "name": "x"})])
def test_an_event_that_says_nothing_makes_the_refs_suspect(scratch: Path, backend: str, payload: bytes) -> None:
    path = str(scratch / "store")
    contents, names = filled(path, backend=backend)
    opened = open_small(path)
    if backend == "files" and payload == b"{}":
        # This backend looks at events when they are put.
        with pytest.raises(CorruptionError):
            put_event(opened.storage, payload)
    else:
        put_event(opened.storage, payload)
    opened.close()
    shutil.rmtree(os.path.join(path, "index"))
    opened = open_small(path)
    assert opened.storage.backend.fact(SUSPECT) == b"1"
    for address, data in contents.items():
        assert opened.storage.get(address) == data
    assert names.items() >= dict(opened.storage.backend.facts(b"r")).items()
    opened.close()


def test_such_an_event_in_a_tail_makes_a_rebuild(scratch: Path) -> None:
    for payload in (b"no event", canonical_json({"type": "ref-move", "number": 70, "name": "x"})):
        path = str(scratch / f"store{len(payload)}")
        contents, names = filled(path)
        opened = open_small(path)
        put_event(opened.storage, payload)
        abandon(opened)
        opened = open_small(path)
        assert opened.storage.backend.fact(SUSPECT) == b"1"
        for address, data in contents.items():
            assert opened.storage.get(address) == data
        assert names.items() >= dict(opened.storage.backend.facts(b"r")).items()
        opened.close()


def test_files_with_a_damaged_object_are_suspect_after_a_rebuild(scratch: Path) -> None:
    path = str(scratch / "store")
    contents, _ = filled(path, backend="files")
    victim = next(address for address, data in contents.items() if len(data) == 50).hex()
    for offset in (12, 70):
        shutil.rmtree(os.path.join(path, "index"))
        file = os.path.join(path, "objects", victim[:2], victim[2:4], victim[4:])
        flip(file, offset)
        opened = open_small(path)
        assert opened.storage.backend.fact(SUSPECT) == b"1"
        assert not opened.storage.contains(Address(bytes.fromhex(victim)))
        opened.close()
        flip(file, offset)


# -- crashes in the middle of a rebuild


def test_a_rebuild_may_crash_anywhere(scratch: Path) -> None:
    path = str(scratch / "store")
    contents, names = filled(path)
    for name in os.listdir(os.path.join(path, "index")):
        if name.endswith(".ldb"):
            Path(path, "index", name).write_bytes(noise(4, 100))
    images: list[str] = []

    def before(call: Call) -> None:
        for keep in (False, True):
            images.append(str(scratch / f"image{len(images)}"))
            files.crash_copy(images[-1], keep_names=keep)

    files = FaultyFiles(path, before)
    opened = open_small(path, files=files)
    assert_holds(opened, contents, names)
    opened.close()
    assert len(images) > 10
    assert any(os.path.isdir(os.path.join(image, "index.old")) for image in images)
    for image in images:
        opened = open_small(image)
        assert_holds(opened, contents, names)
        opened.close()
        assert not os.path.exists(os.path.join(image, "index.old"))


@pytest.mark.parametrize("name", ["rename", "sync_folder", "truncate"])
def test_a_rebuild_that_the_system_refuses(scratch: Path, name: str) -> None:
    path = str(scratch / "store")
    contents, names = filled(path)
    shutil.rmtree(os.path.join(path, "index"))
    files = FaultyFiles(path)
    files.fail(name)
    with pytest.raises(StorageError):
        open_small(path, files=files)
    opened = open_small(path)
    assert_holds(opened, contents, names)
    opened.close()


# -- what an opening tells


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_an_opening_tells_of_an_index_that_it_made_anew(scratch: Path, backend: str) -> None:
    path = str(scratch / "store")
    opened = open_small(path, backend=backend)
    assert opened.recovered is None
    opened.storage.put(noise(1, 500))
    opened.close()
    opened = open_small(path)
    assert opened.recovered is None
    opened.close()
    shutil.rmtree(os.path.join(path, "index"))
    opened = open_small(path)
    assert opened.recovered == Recovered(damaged=0, refs_suspect=False)
    assert str(opened.recovered) == "the index was made anew; run `casstore verify`."
    opened.close()
    # It is told once; and a crash is no damage.
    opened = open_small(path)
    assert opened.recovered is None
    opened.storage.put(noise(2, 500))
    abandon(opened)
    opened = open_small(path)
    assert opened.recovered is None
    opened.close()


def test_a_store_has_what_its_opening_tells(scratch: Path) -> None:
    with casstore.open(scratch / "store") as store:
        assert store.recovered is None
        store.put(b"something")
    shutil.rmtree(scratch / "store" / "index")
    with casstore.open(scratch / "store") as store:
        assert store.recovered is not None
        assert not store.recovered.refs_suspect
