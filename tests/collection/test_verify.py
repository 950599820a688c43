# SPDX-License-Identifier: MIT
"""Verify names every damage that can be made on disk, and whom it hurts."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

import casstore
from casstore.address import Address, content_address, event_address, node_address
from casstore.collection.verify import _Verifier
from casstore.format.chunk_list import encode_chunk_list
from casstore.format.entry import file_entry, snapshot_entry
from casstore.format.event import encode_ref_move
from casstore.format.index_entry import EVENT_KEY, HISTORY
from casstore.format.kinds import CHUNK_LIST, NODE
from casstore.format.node import encode_child, encode_node
from casstore.format.record import HEADER_BYTES
from casstore.testing.model import noise
from casstore.tree import walk_nodes
from tests.snapshots.driving import SMALL, collect, commit, damage_of, edited, open_backend

ON_DISK = ["segments", "files"]


def drop(store: casstore.Store, address: Address | None) -> None:
    assert address is not None
    assert store.storage.backend.delete([address]) == 1
    store.nodes.clear()
    store.storage.cache.clear()


def where(damage: list[casstore.Damage]) -> set[str]:
    return {place for one in damage for place in one.where}


def test_a_sound_store_has_a_report(store: casstore.Store) -> None:
    base = commit(store, {"a": noise(9000, 1), "b": b"small", "c": noise(200, 3)}, ref="main")
    commit(store, {"a": noise(9000, 1), "d": noise(300, 4)}, parents=[base], ref="other")
    store.put(noise(100, 9))
    phases: set[str] = set()
    report = store.verify(progress=lambda phase, done, total: phases.add(phase))
    assert report.damage == []
    assert (report.refs, report.snapshots, report.read_data) == (2, 2, True)
    assert report.nodes >= 2
    assert report.contents == 4
    assert report.records == sum(1 for _ in store.storage.backend.scan())
    assert report.bytes > 9000
    assert "sound" in str(report)
    quick = store.verify(read_data=False)
    assert (quick.records, quick.contents, quick.snapshots, quick.read_data) == (0, 4, 2, False)


def test_an_empty_store_is_sound(store: casstore.Store) -> None:
    assert store.verify().records == 0


@pytest.mark.parametrize("read_data", [True, False])
def test_what_is_missing_is_named_with_whom_it_hurts(store: casstore.Store, read_data: bool) -> None:
    content = noise(9000, 1)
    files = {f"{number:03}": b"%d" % number for number in range(200)} | {"dir/big": content, "one": noise(200, 2)}
    first = commit(store, files, ref="main")
    store.refs["same"] = first
    second = store.add_snapshot(roots={"files": edited(store, first, {"000": None}) or b""}, parents=[first])  # type: ignore[dict-item]
    store.refs["next"] = second
    store.verify(read_data)
    address = first.files.entry("dir/big").address
    pieces = store.storage.chunk_list(Address(address or b""))
    assert pieces is not None
    drop(store, pieces.pieces[3][0])
    damage = damage_of(store, read_data=read_data)
    assert where(damage) == {"main:files/dir/big", "same:files/dir/big", "next:files/dir/big"}
    assert {one.what for one in damage} == {"content"}
    drop(store, address)
    drop(store, first.files.entry("one").address)
    hurt = {f"{name}:files/{path}" for name in ("main", "same", "next") for path in ("dir/big", "one")}
    assert where(damage_of(store, read_data=read_data)) == hurt


def test_damage_behind_other_damage_is_named_too() -> None:
    with casstore.open(":memory:", config=SMALL) as store:
        damage_here_and_there(store)


def damage_here_and_there(store: casstore.Store) -> None:
    files = {f"{number:04}": noise(200, number) for number in range(600)}
    snapshot = commit(store, files, ref="main")
    leaves = [(address, node) for address, node in walk_nodes(store.nodes, snapshot.roots["files"]) if not node.height]
    assert len(leaves) > 3
    last = max(files)
    drop(store, leaves[0][0])
    drop(store, leaves[2][0])
    drop(store, snapshot.files.entry(last).address)
    damage = damage_of(store)
    assert {one.address for one in damage if one.what == "tree"} == {leaves[0][0], leaves[2][0]}
    assert where(damage) == {"main:files", f"main:files/{last}"}


def test_the_history_of_a_state_is_looked_at_on_all_its_ways(store: casstore.Store) -> None:
    left = commit(store, {"left": noise(200, 1)}, time_ns=1)
    right = commit(store, {"right": noise(200, 2)}, time_ns=2)
    lost = commit(store, {"lost": noise(200, 3)}, time_ns=3)
    commit(store, {"top": b"x"}, parents=[lost, left, right], ref="main", time_ns=4)
    hurt = [left.files.entry("left").address, right.files.entry("right").address]
    drop(store, lost.id)
    for address in hurt:
        drop(store, address)
    damage = damage_of(store)
    assert where(damage) == {
        "main",
        f"{left.id.hex()[:12]}:files/left",
        f"{right.id.hex()[:12]}:files/right",
    }
    assert {one.address for one in damage if one.what == "snapshot"} == {lost.id}


def test_states_that_are_linked_are_looked_at(store: casstore.Store) -> None:
    deep = commit(store, {"a": noise(300, 1)})
    commit(store, {"state": snapshot_entry(deep.id)}, ref="tree")
    store.verify()
    drop(store, deep.files.entry("a").address)
    damage = damage_of(store)
    assert where(damage) == {f"{deep.id.hex()[:12]}:files/a"}
    drop(store, deep.id)
    damage = damage_of(store)
    assert [(one.what, one.address, one.where) for one in damage] == [("snapshot", deep.id, ("tree",))]


def test_states_that_only_history_keeps_are_looked_at(store: casstore.Store) -> None:
    """A collection would stop at them, so verify must name them."""
    old = commit(store, {"a": noise(300, 1)}, ref="main")
    commit(store, {"b": b"x"}, ref="main")
    drop(store, old.files.entry("a").address)
    damage = damage_of(store)
    number = store.refs.history("main")[-1].number
    assert where(damage) == {f"main@{number}:files/a"}
    with pytest.raises(casstore.CorruptionError):
        store.plan_gc(undo_keep_seconds=10**6)
    del old
    # Given up, it hurts nobody any more.
    collect(store)
    store.verify()


def test_a_ref_whose_snapshot_is_gone_is_named(store: casstore.Store) -> None:
    snapshot = commit(store, {"a": b"1"}, ref="main")
    drop(store, snapshot.id)
    damage = damage_of(store)
    assert [(one.what, one.address, one.where) for one in damage] == [("snapshot", snapshot.id, ("main",))]


def test_a_move_without_its_record_is_named(store: casstore.Store) -> None:
    commit(store, {"a": b"1"}, ref="main")
    address = event_address(encode_ref_move(store.refs.history("main")[0]))
    drop(store, address)
    damage = damage_of(store)
    assert [(one.what, one.address, one.where) for one in damage] == [("ref", address, ("main",))]
    with pytest.raises(casstore.CorruptionError):
        store.plan_gc()


def test_an_entry_with_a_wrong_size_is_named(store: casstore.Store) -> None:
    single, several = store.put(noise(200, 1)), store.put(noise(9000, 2))
    commit(
        store,
        {
            "good": file_entry(200, single),
            "list": file_entry(9000, several),
            "short": file_entry(199, single),
            "z-list": file_entry(9001, several),
        },
        ref="main",
    )
    for read_data in (True, False):
        damage = damage_of(store, read_data=read_data)
        assert where(damage) == {"main:files/short", "main:files/z-list"}
        assert all("bytes long" in one.message for one in damage)


def test_a_list_that_leads_to_another_content_is_named(store: casstore.Store) -> None:
    good = store.put(noise(9000, 1))
    pieces = store.storage.chunk_list(good)
    assert pieces is not None
    false = Address(bytes(31) + b"\1")
    turned = pieces.pieces[::-1]
    store.storage.put_record(CHUNK_LIST, false, encode_chunk_list(false, turned))
    commit(store, {"false": file_entry(9000, false), "good": file_entry(9000, good)}, ref="main")
    damage = damage_of(store)
    assert where(damage) == {"main:files/false"}
    # What is wrong with it only its bytes can tell.
    assert damage_of(store, read_data=False) == []


def test_a_tree_that_no_build_makes_is_named(store: casstore.Store) -> None:
    snapshot = commit(store, {f"{number:04}": b"x" for number in range(600)})
    nodes = [node for _, node in walk_nodes(store.nodes, snapshot.roots["files"])]
    inner = next(node for node in nodes if node.height == 1)
    # A single child should be the root itself.
    child = encode_child(inner.keys[0], inner.children[0], inner.child_summary(0))
    lonely = encode_node(1, [child])
    store.storage.put_record(NODE, node_address(lonely), lonely)
    store.refs["main"] = store.add_snapshot(roots={"files": node_address(lonely)})
    damage = damage_of(store)
    assert [(one.what, one.where) for one in damage] == [("tree", ("main:files",))]


def test_the_error_says_how_many_and_names_the_first(store: casstore.Store) -> None:
    snapshot = commit(store, {"a": noise(200, 1), "b": noise(200, 2)}, ref="main")
    for key in ("a", "b"):
        drop(store, snapshot.files.entry(key).address)
    with pytest.raises(casstore.CorruptionError) as caught:
        store.verify()
    assert "2 things are damaged" in str(caught.value)
    assert isinstance(caught.value.report, casstore.VerifyReport)
    assert "2 damaged" in str(caught.value.report)
    assert caught.value.address == snapshot.files.entry("a").address


# -- on disk


def record_files(path: Path) -> list[Path]:
    return sorted(item for folder in ("segments", "objects") for item in (path / folder).rglob("*") if item.is_file())


def make(backend: str, path: Path) -> set[bytes]:
    with open_backend(backend, path) as store:
        base = commit(store, {"a": noise(3000, 1), "b": b"text " * 200}, ref="main")
        commit(store, {"a": noise(3000, 1), "c": noise(200, 3)}, parents=[base], ref="other")
        return {address for address, _ in store.storage.backend.scan()}


@pytest.mark.parametrize("backend", ON_DISK)
def test_every_flipped_byte_is_found(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    make(backend, path)
    choice = random.Random(1)
    places: list[tuple[Path, int]] = []
    for file in record_files(path):
        size = file.stat().st_size
        places += [(file, place) for place in range(min(HEADER_BYTES, size))] if backend == "files" else []
        places += [(file, choice.randrange(size)) for _ in range(120 if backend == "segments" else 4)]
    if len(places) > 120:
        places = choice.sample(places, 120)
    for file, place in places:
        good = file.read_bytes()
        changed = bytearray(good)
        changed[place] ^= 1 << choice.randrange(8)
        file.write_bytes(changed)
        with casstore.open(path, read_only=True, config=casstore.Config(cache_bytes=0)) as store:
            damage = damage_of(store)
        assert damage, f"{file.name} at {place}"
        file.write_bytes(good)
    with casstore.open(path, read_only=True) as store:
        store.verify()


def test_damaged_contents_name_their_paths_and_heal(tmp_path: Path) -> None:
    path = tmp_path / "store"
    content = noise(9000, 1)
    with open_backend("segments", path) as store:
        commit(store, {"dir/big": content, "ok": noise(200, 2)}, ref="main")
        store.sync()
        pieces = store.storage.chunk_list(Address(store.refs["main"].files.entry("dir/big").address or b""))
        assert pieces is not None
        info = store.storage.locate(pieces.pieces[1][0])
        with open(path / "segments" / f"{info.segment:08}.seg", "r+b") as file:
            file.seek(info.offset + HEADER_BYTES + 5)
            file.write(b"XX")
        damage = damage_of(store)
        assert where(damage) == {"main:files/dir/big"}
        assert {(one.segment, one.offset) for one in damage if one.what == "record"} == {(info.segment, info.offset)}
        assert {one.what for one in damage} == {"record", "segment", "content"}
        with pytest.raises(casstore.CorruptionError):
            store.refs["main"].files["dir/big"]
        # The same content again heals it; the damaged bytes lie in the segment until it is compacted, and hurt nobody.
        store.put(content)
        assert store.refs["main"].files["dir/big"] == content
        assert damage_of(store) == []
        assert damage_of(store, read_data=False) == []


def test_a_cut_segment_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store"
    make("segments", path)
    (segment,) = record_files(path)
    size = segment.stat().st_size
    for length in [0, 10, HEADER_BYTES, size // 3, size - 1]:
        copy = tmp_path / f"cut{length}"
        shutil.copytree(path, copy)
        os.truncate(copy / "segments" / segment.name, length)
        with casstore.open(copy, read_only=True) as store:
            assert damage_of(store)
            assert where(damage_of(store)) & {"main", "other", "main:files", "other:files", "other:files/c"}
        with casstore.open(copy) as store:
            assert damage_of(store)


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store"
    make("files", path)
    for file in record_files(path):
        data = file.read_bytes()
        file.unlink()
        with casstore.open(path, read_only=True) as store:
            assert damage_of(store), file
        file.write_bytes(data)
    with casstore.open(path, read_only=True) as store:
        store.verify()


def test_verify_beside_a_collection_sees_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        commit(store, {f"{number:03}": noise(300, number) for number in range(60)}, ref="main")
        commit(store, {"b": noise(9000, 99)}, ref="other")
        commit(store, {"c": noise(9000, 98)}, ref="next")

        def tell(self: _Verifier, phase: str, done: int) -> None:
            if phase == "nodes" and len(store.refs) == 3:
                # One that is being looked at, and one whose turn is still to come.
                del store.refs["main"]
                del store.refs["next"]
                collect(store)

        monkeypatch.setattr(_Verifier, "_tell", tell)
        store.verify()
        assert list(store.refs) == ["other"]
        assert collect(store).deleted_objects > 50


@pytest.mark.parametrize("key", [HISTORY + b"main\0" + bytes(8), EVENT_KEY + bytes(8)])
def test_an_event_that_cannot_be_read_is_named(key: bytes) -> None:
    for payload in (b"junk", b'{"number":1,"type":"ref-move"}', b'{"number":1,"snapshot":"x","type":"shallow"}'):
        with casstore.open(":memory:") as store:
            commit(store, {"a": b"1"}, ref="main")
            store.verify()
            store.storage.backend.sync({key: payload})
            with pytest.raises(casstore.CorruptionError):
                store.verify()
            with pytest.raises(casstore.CorruptionError):
                store.plan_gc()


def test_lists_of_lists_are_followed_without_reading_the_chunks() -> None:
    with casstore.open(":memory:", config=SMALL) as store:
        first, second = noise(9000, 1), noise(9000, 2)
        parts = [(store.put(first), 9000), (store.put(second), 9000)]
        whole = content_address(first + second)
        store.storage.put_record(CHUNK_LIST, whole, encode_chunk_list(whole, parts))
        commit(store, {"deep": file_entry(18_000, whole)}, ref="main")
        for read_data in (True, False):
            store.verify(read_data)
        pieces = store.storage.chunk_list(parts[1][0])
        assert pieces is not None
        drop(store, pieces.pieces[1][0])
        for read_data in (True, False):
            assert where(damage_of(store, read_data=read_data)) == {"main:files/deep"}


def test_a_piece_of_another_length_is_named_without_reading_it() -> None:
    with casstore.open(":memory:", config=SMALL) as store:
        piece, other = store.put(noise(200, 1)), store.put(noise(300, 2))
        false = Address(bytes(31) + b"\1")
        store.storage.put_record(CHUNK_LIST, false, encode_chunk_list(false, [(piece, 201), (other, 299)]))
        commit(store, {"false": file_entry(500, false)}, ref="main")
        for read_data in (True, False):
            assert where(damage_of(store, read_data=read_data)) == {"main:files/false"}


def test_progress_is_told_now_and_then() -> None:
    with casstore.open(":memory:") as store:
        commit(store, {f"{number:05}": noise(130, number) for number in range(1100)}, ref="main")
        told: list[tuple[str, int]] = []
        store.verify(progress=lambda phase, done, total: told.append((phase, done)))
        assert ("records", 1000) in told
