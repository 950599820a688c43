# SPDX-License-Identifier: MIT
"""What an opening does after damage: adopts tails, notices lost batches, and makes the index anew from the segments."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from casstore.errors import ClosedError, CorruptionError, LockedError, StorageError
from casstore.format.event import RefMove, encode_ref_move
from casstore.format.index_entry import DAMAGED, NEXT_EVENT, NEXT_SEGMENT, SUSPECT, decode_number
from casstore.format.kinds import EVENT
from casstore.storage import index as index_module
from casstore.storage import recovery
from casstore.storage.index import LevelIndex
from casstore.testing.faults import Call, FaultyFiles
from tests.storage.events import assert_holds, facts, filled, move, put_event
from tests.storage.stores import abandon, flip, noise, open_small


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
    assert sorted(os.listdir(path))[:2] == ["index", "lock"]
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
        # It says what to do, and which folder to delete by hand: the next opening makes it anew.
        if "run `casstore repair`" not in str(error) or f"delete the folder {index}," not in str(error):
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
    assert sorted(copied) == [2, 2] != sorted(events)
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


def test_an_index_that_is_closed_or_refused(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(scratch / "index")
    index = LevelIndex(folder, create=True)
    index.write({b"k": b"v"})

    class Refusing:
        closed = False

        def get(self, *_: object, **__: object) -> bytes:
            raise index_module.plyvel.IOError(b"IO error: 000005.ldb: Input/output error")

    true = index._db
    monkeypatch.setattr(index, "_db_get", Refusing().get)
    with pytest.raises(StorageError, match="Input/output error"):
        index.get(b"k")
    monkeypatch.setattr(index, "_db_get", true.get)
    # An error of the caller's own is not taken for a closed store.
    with pytest.raises(RuntimeError, match="changed size"):
        index.write(Changing())
    index.close(clean=False)
    for action in (lambda: index.get(b"k"), lambda: list(index.scan(b"k")), lambda: index.write({b"k": b"v"})):
        with pytest.raises(ClosedError):
            action()
    shutil.rmtree(folder)
    index = LevelIndex(folder, create=True)
    with pytest.raises(StorageError, match="cannot be written"):
        index.write(Refused())


class Changing(dict[bytes, "bytes | None"]):
    def items(self) -> object:  # type: ignore[override]
        raise RuntimeError("dictionary changed size during iteration")


class Refused(dict[bytes, "bytes | None"]):
    def items(self) -> object:  # type: ignore[override]
        raise index_module.plyvel.IOError(b"IO error: No space left on device")


def test_the_index_in_memory_is_like_the_one_on_disk() -> None:
    index = index_module.MemoryIndex()
    assert index.closed_cleanly()
    assert index.batches_complete()
    index.write({b"b": b"2", b"a": b"1", b"c": b"3"})
    index.write({b"a": None, b"absent": None})
    assert list(index.scan(b"")) == [(b"b", b"2"), (b"c", b"3")]
    assert index.get(b"a") is None
