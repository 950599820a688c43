# SPDX-License-Identifier: MIT
"""What an opening does after damage: adopts tails, notices lost batches, and makes the index anew from the segments."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from casstore.address import Address, event_address
from casstore.errors import CorruptionError, LockedError, NotFoundError, StorageError
from casstore.format.canonical import canonical_json
from casstore.format.event import RefMove, encode_history_cut, encode_ref_move
from casstore.format.index_entry import DAMAGED, NEXT_EVENT, NEXT_SEGMENT, SUSPECT, decode_number
from casstore.format.kinds import CHUNK_LIST, EVENT
from casstore.storage import index as index_module
from casstore.storage import recovery
from casstore.storage.index import LevelIndex
from casstore.storage.opening import OpenStorage
from casstore.storage.storage import Storage
from casstore.testing.faults import Call, FaultyFiles
from tests.storage.stores import abandon, flip, noise, open_small, record_place


def put_event(storage: Storage, payload: bytes) -> Address:
    address = event_address(payload)
    storage.put_record(EVENT, address, payload)
    return address


def move(storage: Storage, name: str, new: Address | None) -> int:
    """A ref move as the layer above makes it: a record, and its facts at the next sync point."""
    from casstore.format.event import event_facts

    with storage.backend.write_lock():
        number = storage.backend.next_event()
        payload = encode_ref_move(
            RefMove(name=name, old=None, new=new, number=number, time_ns=1, actor="me", reason="test")
        )
        put_event(storage, payload)
        storage.backend.sync(event_facts(payload))
    return number


def facts(opened: OpenStorage) -> dict[bytes, bytes]:
    return {key: value for prefix in (b"r", b"h", b"e") for key, value in opened.storage.backend.facts(prefix)}


def filled(path: str, **fields: object) -> tuple[dict[Address, bytes], dict[bytes, bytes]]:
    """A closed store of contents and refs; what it holds."""
    opened = open_small(path, **fields)
    datas = [noise(seed, size) for seed, size in enumerate([0, 50, 3000, 700, 9000, 100])]
    contents = {opened.storage.put(data): data for data in datas}
    for number, address in enumerate(contents):
        move(opened.storage, f"ref{number % 3}", address)
    move(opened.storage, "ref1", None)
    put_event(opened.storage, encode_history_cut(opened.storage.backend.next_event(), 1))
    opened.storage.sync()
    names = facts(opened)
    opened.close()
    return contents, names


def assert_holds(opened: OpenStorage, contents: dict[Address, bytes], names: dict[bytes, bytes]) -> None:
    for address, data in contents.items():
        assert opened.storage.get(address) == data
    found = facts(opened)
    assert {key: value for key, value in found.items() if key[:1] != b"e"} == names
    numbers = [int.from_bytes(key[-8:], "big") for key in found if key[:1] in (b"h", b"e")]
    assert opened.storage.backend.next_event() > max(numbers)


@pytest.mark.parametrize("backend", ["segments", "files"])
@pytest.mark.parametrize("how", ["deleted", "emptied", "current", "manifest", "tables", "garbage", "truncated"])
def test_an_index_that_is_gone_or_broken_is_made_anew(scratch: Path, how: str, backend: str) -> None:
    path = str(scratch / "store")
    contents, names = filled(path, backend=backend)
    index = os.path.join(path, "index")
    if how == "deleted":
        shutil.rmtree(index)
    elif how == "emptied":
        for name in os.listdir(index):
            os.unlink(os.path.join(index, name))
    else:
        part = {"current": "CURRENT", "manifest": "MANIFEST"}.get(how, ".ldb")
        for name in os.listdir(index):
            if part in name:
                if how == "garbage":
                    Path(index, name).write_bytes(noise(1, 3000))
                elif how == "truncated":
                    os.truncate(os.path.join(index, name), 10)
                else:
                    os.unlink(os.path.join(index, name))
    opened = open_small(path)
    assert_holds(opened, contents, names)
    assert opened.storage.backend.fact(SUSPECT) is None
    opened.close()
    assert sorted(os.listdir(path))[:3] == ["config", "index", "lock"]
    opened = open_small(path)
    assert_holds(opened, contents, names)
    opened.close()


def test_a_rebuilt_index_numbers_segments_and_events_on(scratch: Path) -> None:
    path = str(scratch / "store")
    filled(path)
    opened = open_small(path)
    before = [opened.storage.backend.fact(key) for key in (NEXT_SEGMENT, NEXT_EVENT)]
    opened.close()
    shutil.rmtree(os.path.join(path, "index"))
    opened = open_small(path)
    assert [opened.storage.backend.fact(key) for key in (NEXT_SEGMENT, NEXT_EVENT)] == before
    opened.close()


@pytest.mark.parametrize("seed", range(40))
def test_a_bit_flipped_in_the_index_costs_no_ref_and_no_content(scratch: Path, seed: int) -> None:
    """Everything in the index is in the segments too, so damage to it is found and mended, never believed."""
    path = str(scratch / "store")
    contents, names = filled(path)
    opened = open_small(path)
    # So many chunks that the index has several blocks: those with refs, and others.
    contents[opened.storage.put(noise(50, 60_000))] = noise(50, 60_000)
    opened.close()
    del opened
    draw = random.Random(seed)
    index = os.path.join(path, "index")
    victim = draw.choice(sorted(n for n in os.listdir(index) if n.endswith(".ldb") or n.startswith("MANIFEST")))
    file = os.path.join(index, victim)
    flip(file, draw.randrange(os.path.getsize(file)), 1 << draw.randrange(8))
    opened = None
    try:
        opened = open_small(path)
        assert_holds(opened, contents, names)
    except CorruptionError as error:
        # It says what to do: delete the folder, and the next opening makes it anew.
        if "delete this folder" not in str(error):
            raise
        if opened is not None:
            abandon(opened)
        shutil.rmtree(index)
        opened = open_small(path)
        assert_holds(opened, contents, names)
    opened.close()


def test_batches_that_leveldb_dropped_are_missed(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path, segment_bytes=1 << 20)
    contents = {}
    # More than two blocks of LevelDB's log: it goes on behind a damaged one, and what is missing leaves a gap.
    for seed in range(60):
        for number in range(20):
            data = noise(seed * 20 + number, 30)
            contents[opened.storage.put(data)] = data
        opened.storage.sync()
    move(opened.storage, "main", next(iter(contents)))
    names = facts(opened)
    abandon(opened)
    index = os.path.join(path, "index")
    logs = [name for name in os.listdir(index) if name.endswith(".log") and os.path.getsize(os.path.join(index, name))]
    assert len(logs) == 1
    log = os.path.join(index, logs[0])
    size = os.path.getsize(log)
    assert size > 2 * 32_768
    for place in range(20, size, size // 25):
        copy = str(scratch / f"flipped{place}")
        shutil.copytree(path, copy)
        flip(os.path.join(copy, "index", logs[0]), place, 4)
        opened = open_small(copy)
        assert_holds(opened, contents, names)
        abandon(opened)
        opened = open_small(copy)
        assert_holds(opened, contents, names)
        opened.close()
        shutil.rmtree(copy)


def test_numbers_of_batches(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "KEPT_BATCHES", 5)
    folder = str(scratch / "index")
    index = LevelIndex(folder, create=True, sync=False)
    assert index.batches_complete()
    for number in range(12):
        index.write({b"k%d" % number: b"v"})
        assert index.batches_complete()
    assert [key[-1] for key, _ in index.scan(b"b")] == [8, 9, 10, 11, 12]
    assert not index.closed_cleanly()
    index.close(clean=True)
    index = LevelIndex(folder, sync=False)
    assert index.closed_cleanly()
    assert index.batches_complete()
    index._db.delete(b"b" + (10).to_bytes(8, "big"))
    assert not index.batches_complete()
    index._db.put(b"b" + (10).to_bytes(8, "big"), b"")
    index._db.delete(b"b" + (9).to_bytes(8, "big"))
    assert not index.batches_complete()
    index.close(clean=False)


def test_a_clean_close_leaves_no_log_to_replay(scratch: Path) -> None:
    path = str(scratch / "store")
    filled(path)
    index = os.path.join(path, "index")
    assert [os.path.getsize(os.path.join(index, name)) for name in os.listdir(index) if name.endswith(".log")] == [0]


def test_a_clean_opening_reads_no_segment(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scratch / "store")
    contents, names = filled(path)
    monkeypatch.setattr(recovery.SegmentFiles, "walk", lambda *_: pytest.fail("a segment was walked"))
    opened = open_small(path)
    assert_holds(opened, contents, names)
    opened.close()


def test_adopted_events_are_applied_once(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path, segment_bytes=1 << 20)
    first = opened.storage.put(b"first")
    second = opened.storage.put(b"second")
    move(opened.storage, "main", first)
    move(opened.storage, "other", first)
    # Kept, but the batch with its facts never came: the record alone must do.
    with opened.storage.backend.write_lock():
        number = opened.storage.backend.next_event()
        payload = encode_ref_move(
            RefMove(name="main", old=first, new=second, number=number, time_ns=1, actor="me", reason="")
        )
        put_event(opened.storage, payload)
    abandon(opened)
    opened = open_small(path)
    assert dict(opened.storage.backend.facts(b"r")) == {
        b"rmain": second + number.to_bytes(8, "big"),
        b"rother": first + (2).to_bytes(8, "big"),
    }
    assert len(list(opened.storage.backend.facts(b"hmain\0"))) == 2
    assert opened.storage.backend.next_event() == number + 1
    opened.close()


def test_an_old_event_that_compaction_copied_is_not_made_again(scratch: Path) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    first, second = opened.storage.put(b"first"), opened.storage.put(b"second")
    move(opened.storage, "main", first)
    opened.storage.put(noise(1, 4000))
    opened.storage.put(noise(2, 900))
    move(opened.storage, "main", second)
    names = facts(opened)
    events = [entry.segment for _, entry in opened.storage.backend.scan() if entry.kind == EVENT]
    assert len(set(events)) == 2
    images: list[str] = []

    def before(call: Call) -> None:
        if call.name == "sync" and not images:
            images.append(str(scratch / "image"))
            files.crash_copy(images[0], keep_bytes=10**9, keep_names=True)

    files.before = before
    opened.storage.backend.compact([1])
    opened.close()
    opened = open_small(images[0])
    copied = [entry.segment for _, entry in opened.storage.backend.scan() if entry.kind == EVENT]
    assert max(copied) > max(events)
    assert facts(opened) == names
    opened.close()


def test_a_tail_heals_what_was_marked_damaged(scratch: Path) -> None:
    path = str(scratch / "store")
    opened = open_small(path)
    address = opened.storage.put(b"damaged and put again")
    opened.storage.backend.mark_damaged(address)
    opened.storage.sync()
    assert decode_number(opened.storage.backend.fact(DAMAGED) or b"") == 1
    opened.storage.put(b"damaged and put again")
    abandon(opened)
    opened = open_small(path)
    assert opened.storage.contains(address)
    assert decode_number(opened.storage.backend.fact(DAMAGED) or b"") == 0
    assert not opened.storage.backend.doubtful
    opened.close()


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
        assert bool(list(opened.storage.backend.check_segments())) is not newest
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
    from casstore.format.record import Record

    path = str(scratch / "store")
    opened = open_small(path)
    data = noise(3, 4000)
    from casstore.address import content_address

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


def test_an_index_in_use_is_not_taken_for_a_broken_one(scratch: Path) -> None:
    folder = str(scratch / "blocks" / "index")
    os.mkdir(scratch / "blocks")
    index = LevelIndex(folder, create=True)
    with pytest.raises(LockedError):
        LevelIndex(folder)
    index.close(clean=True)
    # And a path that says "lock" is no lock.
    os.unlink(os.path.join(folder, "CURRENT"))
    with pytest.raises(CorruptionError):
        LevelIndex(folder)


def test_an_index_that_cannot_be_read_at_all(scratch: Path) -> None:
    Path(scratch / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        LevelIndex(str(scratch / "file"))


def test_counters_that_are_malformed_make_a_rebuild(scratch: Path) -> None:
    for key in (NEXT_EVENT, b"s\0\0\0\1", b"b" + b"\xff" * 3):
        path = str(scratch / f"store{key.hex()}")
        contents, names = filled(path)
        opened = open_small(path)
        opened.storage.backend._index._db.put(key, b"short")  # type: ignore[attr-defined]
        opened.storage.put(b"a tail, so that it is looked at")
        abandon(opened)
        opened = open_small(path)
        assert_holds(opened, contents, names)
        opened.close()
