# SPDX-License-Identifier: MIT
"""What a repair says and does in single cases: where damage lies, what heals it, what is left alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import casstore
from casstore.address import Address, content_address
from casstore.format.index_entry import SUSPECT
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, SNAPSHOT
from casstore.format.record import HEADER_BYTES, Record, encode_record
from casstore.storage.deltas import is_readable
from casstore.workspace import import_directory
from tests.damage.stores import OPENING, PRISTINE, STORE, Expected, NoSync, make, read_all


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    folder = tmp_path_factory.mktemp("base")
    return folder, make(folder)


@pytest.fixture
def work(base: tuple[Path, Expected], tmp_path: Path) -> Path:
    shutil.copytree(base[0] / STORE, tmp_path / STORE)
    shutil.copytree(base[0] / PRISTINE, tmp_path / PRISTINE)
    return tmp_path


def repair(path: Path, **options: object) -> casstore.RepairReport:
    return casstore.repair(path, files=NoSync(), **options)  # type: ignore[arg-type]


def open_store(path: Path, *, read_only: bool = False) -> casstore.Store:
    return casstore.open(path, create=False, read_only=read_only, config=OPENING)


def flip_record(path: Path, address: Address, inside: int = 60) -> None:
    """Flips a bit of an object's record."""
    with open_store(path, read_only=True) as store:
        info = store.storage.locate(address)
    file = path / "segments" / f"{info.segment:08d}.seg"
    data = bytearray(file.read_bytes())
    data[info.offset + inside] ^= 1
    file.write_bytes(data)


def tree(path: Path) -> dict[str, bytes]:
    """Everything in the store but what every opening leaves behind."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("lock", "LOG", "LOCK", "LOG.old")
    }


def test_a_sound_store_stays_as_it_is(work: Path) -> None:
    path = work / STORE
    before = tree(path)
    dry = repair(path, dry_run=True)
    assert tree(path) == before
    report = repair(path)
    assert (report.index, report.superblock, report.config) == ("sound", "sound", "sound")
    assert report.sound
    assert not report.damaged
    assert not report.quarantined
    assert (dry.records, dry.refs) == (report.records, report.refs)
    assert {name: data for name, data in tree(path).items() if not name.startswith("index")} == {
        name: data for name, data in before.items() if not name.startswith("index")
    }


def test_a_dry_run_changes_nothing(work: Path) -> None:
    path = work / STORE
    with open_store(path, read_only=True) as store:
        victim = store.snapshot("main").files.entry("docs/04.txt").address
    assert victim is not None
    flip_record(path, victim)
    (path / "index" / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    (path / "config").write_bytes(b"no settings")
    before = tree(path)
    report = repair(path, dry_run=True)
    assert report.hurt
    assert (report.index, report.index_was, report.config) == ("made anew", "damaged", "set aside")
    assert tree(path) == before


def test_a_hurt_content_is_named_wherever_it_is_used(work: Path, base: tuple[Path, Expected]) -> None:
    path = work / STORE
    content = base[1].states[0]["docs/04.txt"]
    flip_record(path, content_address(content))
    report = repair(path)
    (hurt,) = (one for one in report.hurt if one.address == content_address(content))
    assert hurt.what == "content"
    assert hurt.lost == (content_address(content),)
    assert {place.text for place in hurt.places} >= {
        "main:files/docs/04.txt",
        "first:files/docs/04.txt",
        "with:files/docs/04.txt",
    }
    # The directory that was checked out still holds the file.
    assert hurt.copies == (str(base[0] / "tree" / "docs/04.txt"),)
    assert any("import" in words and str(base[0] / "tree") in words for words in hurt.heal)
    with open_store(path) as store:
        import_directory(store, str(base[0] / "tree"), ref="healed")
        store.verify()
    assert repair(path).sound


def test_states_that_share_a_whole_tree_are_both_named(work: Path, base: tuple[Path, Expected]) -> None:
    path = work / STORE
    with open_store(path) as store:
        store.refs["twin"] = store.branch("main").commit("the same tree, another snapshot")
        root = store.snapshot("main").roots["files"]
        assert store.snapshot("twin").roots["files"] == root
        assert store.nodes.get(root).height
    content = base[1].states[2]["code/a.py"]
    flip_record(path, content_address(content))
    (hurt,) = (one for one in repair(path).hurt if one.address == content_address(content))
    assert {place.text for place in hurt.places} >= {"main:files/code/a.py", "twin:files/code/a.py"}


def test_another_version_is_told(work: Path, base: tuple[Path, Expected]) -> None:
    path = work / STORE
    content = base[1].states[2]["docs/01.txt"]
    flip_record(path, content_address(content))
    (hurt,) = (one for one in repair(path).hurt if one.address == content_address(content))
    assert [place.text for place in hurt.places] == ["main:files/docs/01.txt"]
    assert "with:files/docs/01.txt" in hurt.others


def delta_and_base(path: Path) -> tuple[Address, Address]:
    with open_store(path, read_only=True) as store:
        for address, entry in store.storage.backend.scan():
            if entry.base is not None:
                return address, entry.base
    raise AssertionError("no deltas")


def test_a_base_that_is_put_again_heals_its_deltas(work: Path) -> None:
    path = work / STORE
    delta, lost = delta_and_base(path)
    with open_store(path, read_only=True) as store:
        wanted = store.storage.get_record(CHUNK, delta)
        data = store.storage.get_record(CHUNK, lost)
    flip_record(path, lost)
    report = repair(path)
    assert any(lost in one.lost and one.address != lost for one in report.hurt)
    with open_store(path) as store:
        entry = store.storage.backend.find(delta)
        assert entry is not None
        assert not is_readable(store.storage, entry)
        with pytest.raises(casstore.CorruptionError):
            store.storage.get_record(CHUNK, delta)
        store.put(data)
        store.sync()
        assert store.storage.get_record(CHUNK, delta) == wanted
        store.verify()
    assert repair(path).sound


def test_a_list_heals_with_its_piece(work: Path, base: tuple[Path, Expected]) -> None:
    path = work / STORE
    large = base[1].states[0]["large.bin"]
    with open_store(path, read_only=True) as store:
        pieces = store.storage.chunk_list(content_address(large))
        assert pieces is not None
        piece = pieces.pieces[1][0]
        data = store.storage.get_record(CHUNK, piece)
    flip_record(path, piece)
    report = repair(path)
    (hurt,) = (one for one in report.hurt if one.address == content_address(large))
    assert hurt.lost == (piece,)
    with open_store(path) as store:
        store.put(data)
        assert store.get(content_address(large)) == large
        store.verify()


def test_what_no_ref_needs_is_not_hurt_and_never_taken_for_whole(work: Path) -> None:
    path = work / STORE
    data = bytes(range(256)) * 20 + os.urandom(9000)
    with open_store(path) as store:
        address = store.put(data)
        store.sync()
        pieces = store.storage.chunk_list(address)
        assert pieces is not None
    flip_record(path, pieces.pieces[-1][0])
    report = repair(path)
    assert report.sound
    assert report.damaged
    with open_store(path) as store:
        assert not store.storage.backend.hurt
        assert store.put(data) == address
        assert store.get(address) == data
        store.verify()


def test_records_that_hold_something_else_are_moved_aside(work: Path, base: tuple[Path, Expected]) -> None:
    """Their checksums are right: no walk finds them, only a look at what they hold."""
    path = work / STORE
    content = base[1].states[0]["docs/04.txt"]
    address = content_address(content)
    with open_store(path, read_only=True) as store:
        info = store.storage.locate(address)
    file = path / "segments" / f"{info.segment:08d}.seg"
    data = bytearray(file.read_bytes())
    wrong = Record(CHUNK, 0, address, info.stored_bytes, bytes(info.stored_bytes))
    data[info.offset : info.offset + HEADER_BYTES + info.stored_bytes] = encode_record(wrong)
    file.write_bytes(data)
    report = repair(path)
    assert [(stretch.segment, stretch.start) for stretch in report.damaged] == [(info.segment, info.offset)]
    assert address in [one.address for one in report.hurt]
    with open_store(path) as store:
        store.put(content)
        store.verify()


def test_a_lost_node_hurts_a_range_of_keys(work: Path) -> None:
    path = work / STORE
    with open_store(path, read_only=True) as store:
        root = store.nodes.get(store.snapshot("first").roots["files"])
        assert root.height
        first, second = root.children[:2]
        after, upto = root.keys[0].decode(), root.keys[1].decode()
    flip_record(path, second)
    report = repair(path)
    (hurt,) = (one for one in report.hurt if one.address == second)
    assert hurt.what == "node"
    (place,) = (place for place in hurt.places if place.state == "first")
    assert (place.key, place.after, place.upto) == (None, after, None if root.keys[-1] == root.keys[1] else upto)
    assert "first:files/ (keys from" in place.text
    assert first != second


def test_a_lost_event_is_written_again(work: Path, base: tuple[Path, Expected]) -> None:
    path = work / STORE
    with open_store(path, read_only=True) as store:
        events = [address for address, entry in store.storage.backend.scan() if entry.kind == EVENT]
        refs = dict(store.refs.ids())
    for address in events:
        flip_record(path, address)
    report = repair(path)
    assert report.restored_events == len(events)
    assert report.sound
    assert not report.refs_suspect
    # From now on the segments alone tell, too.
    shutil.rmtree(path / "index")
    with open_store(path) as store:
        assert dict(store.refs.ids()) == refs
        # What was moved aside may have been later moves of refs.
        assert store.storage.backend.fact(SUSPECT) is not None


def test_refs_are_suspect_where_index_and_segments_are_damaged(work: Path) -> None:
    path = work / STORE
    with open_store(path, read_only=True) as store:
        event = next(address for address, entry in store.storage.backend.scan() if entry.kind == EVENT)
    flip_record(path, event)
    shutil.rmtree(path / "index")
    report = repair(path)
    assert report.refs_suspect
    with open_store(path) as store:
        with pytest.raises(casstore.CorruptionError, match="accept"):
            store.plan_gc()
        store.plan_gc(accept_refs=True).execute()
    assert not repair(path).refs_suspect


def test_what_is_lost_is_taken_from_elsewhere(work: Path, base: tuple[Path, Expected]) -> None:
    path = work / STORE
    with open_store(path, read_only=True) as store:
        kinds = {entry.kind: address for address, entry in store.storage.backend.scan() if entry.base is None}
        root = store.snapshot("main").roots["files"]
        snapshot = store.snapshot("first").id
    for address in (kinds[CHUNK_LIST], root, snapshot):
        flip_record(path, address)
    dry = repair(path, dry_run=True, source=work / PRISTINE)
    assert dry.hurt
    assert all(one.in_source for one in dry.hurt)
    for source in (base[0] / "bundle", work / PRISTINE):
        copy = work / f"from {source.name}"
        shutil.copytree(path, copy)
        report = repair(copy, source=source)
        assert report.sound
        assert report.from_source >= 3
        with open_store(copy) as store:
            store.verify()
            assert set(read_all(store, base[1])) == set()
    assert {NODE, SNAPSHOT} < set(kinds)
    with pytest.raises(casstore.InvalidInputError, match="under repair"):
        repair(path, source=path)
    with pytest.raises(casstore.NotFoundError):
        repair(path, source=work / "nothing")


def test_intact_records_leave_a_damaged_segment_and_readers_keep_their_view(work: Path) -> None:
    path = work / STORE
    with open_store(path, read_only=True) as store:
        victim = next(address for address, entry in store.storage.backend.scan() if entry.kind == CHUNK)
        segment = store.storage.locate(victim).segment
        others = {
            address: store.storage.get_record(entry.kind, address)
            for address, entry in store.storage.backend.scan()
            if entry.segment == segment and address != victim and entry.kind in (NODE, SNAPSHOT)
        }
        flip_record(path, victim)
        report = repair(path)
        assert [stretch.segment for stretch in report.damaged] == [segment]
        file = path / "segments" / f"{segment:08d}.seg"
        assert file.exists()
        for address, raw in others.items():
            assert store.storage.get_record(store.storage.locate(address).kind, address) == raw
    again = repair(path)
    assert (again.index, again.damaged, again.hurt) == ("sound", (), report.hurt)
    assert not file.exists()
    (kept,) = again.quarantined
    assert kept.bytes == report.damaged_bytes == again.quarantine_bytes
    assert casstore.drop_quarantine(path) == kept.bytes
    assert repair(path).quarantined == ()


def test_a_superblock_with_one_wrong_byte_is_mended_and_a_lost_one_only_on_demand(work: Path) -> None:
    path = work / STORE
    block = (path / "superblock").read_bytes()
    for place in (0, 9, 21, 40, 95):
        damaged = bytearray(block)
        damaged[place] ^= 0x55
        (path / "superblock").write_bytes(damaged)
        with pytest.raises(casstore.CasstoreError, match=r"casstore repair|later"):
            open_store(path)
        assert repair(path).superblock == "mended"
        assert (path / "superblock").read_bytes() == block
    for damaged_file in (b"", block[:50], None):
        (path / "superblock").unlink()
        if damaged_file is not None:
            (path / "superblock").write_bytes(damaged_file)
        with pytest.raises(casstore.CorruptionError, match="casstore repair"):
            casstore.open(path, config=OPENING)
        with pytest.raises(casstore.CorruptionError, match="--new-superblock"):
            repair(path)
        report = repair(path, new_superblock=True)
        assert (report.superblock, report.sound) == ("made anew", True)
        with open_store(path) as store:
            store.verify()


def test_a_record_of_a_later_format_stops_the_repair(work: Path) -> None:
    from blake3 import blake3

    path = work / STORE
    segment = sorted((path / "segments").iterdir())[1]
    rest = bytes([2, 1, 0, 0]) + (5).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(32) + b"later"
    with segment.open("ab") as file:
        file.write(b"CASr" + blake3(rest).digest(8) + rest)
    before = tree(path)
    with pytest.raises(casstore.FormatVersionError):
        repair(path)
    assert tree(path).keys() >= {name for name in before if name.startswith("segments")}
    assert not (path / "quarantine").exists()


def test_who_writes_is_waited_for(work: Path) -> None:
    with open_store(work / STORE), pytest.raises(casstore.LockedError):
        repair(work / STORE)
    repair(work / STORE)
    with pytest.raises(casstore.NotFoundError):
        repair(work / "nothing")
    (work / "empty").mkdir()
    with pytest.raises(casstore.NotFoundError):
        repair(work / "empty")


def test_a_store_with_a_file_per_object(tmp_path: Path) -> None:
    expected = make(tmp_path, backend="files")
    path = tmp_path / STORE
    content = content_address(expected.states[0]["docs/04.txt"])
    text = content.hex()
    victim = path / "objects" / text[:2] / text[2:4] / text[4:]
    data = bytearray(victim.read_bytes())
    data[70] ^= 1
    victim.write_bytes(data)
    dry = repair(path, dry_run=True)
    assert victim.exists()
    report = repair(path)
    assert [one.address for one in dry.hurt] == [one.address for one in report.hurt]
    assert content in [one.address for one in report.hurt]
    assert not victim.exists()
    assert report.refs_suspect
    assert [item.name for item in report.quarantined] == [f"object-{text}"]
    again = repair(path)
    assert (again.hurt, again.quarantined) == (report.hurt, report.quarantined)
    assert repair(path, source=tmp_path / PRISTINE).sound
    with open_store(path) as store:
        store.verify()
        assert set(read_all(store, expected)) == set()


def test_the_report_is_json(work: Path, base: tuple[Path, Expected]) -> None:
    path = work / STORE
    flip_record(path, content_address(base[1].states[0]["docs/04.txt"]))
    report = repair(path)
    plain = json.loads(json.dumps(report.plain()))
    assert plain["sound"] is False
    assert plain["hurt"][0]["places"][0]["root"] == "files"
    assert len(plain["hurt"][0]["address"]) == 64
    assert plain["damaged"][0]["segment"] == report.damaged[0].segment
    assert os.fspath(path) == plain["path"]
