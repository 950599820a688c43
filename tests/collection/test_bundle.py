# SPDX-License-Identifier: MIT
"""Bundles between stores: what is exported, what is left out, what is adopted, and what keeps it."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.address import Address, content_address, snapshot_address
from casstore.collection.bundle import (
    BundleInfo,
    OverlayReader,
    StorageReader,
    adopt_bundle,
    export_bundle,
    read_bundle,
)
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError, ReadOnlyError, StorageError
from casstore.format.entry import directory_entry, file_entry, object_entry, snapshot_entry, symlink_entry, value_entry
from casstore.format.kinds import CHUNK, CHUNK_LIST, NODE, SNAPSHOT
from casstore.format.record import Record
from casstore.format.snapshot import SnapshotFields, encode_snapshot
from casstore.testing.faults import FaultyFiles
from casstore.tree import apply, build, diff
from tests.collection.bundles import (
    LARGE,
    SMALL,
    adopt,
    entry_of,
    export,
    files_of,
    held,
    memory,
    noise,
    on_disk,
    state,
    unpack,
)

FILES = {b"d%d/f%d" % (i % 7, i): noise(i, 40 * i) for i in range(60)}


def kinds_in(bundle: bytes) -> dict[str, int]:
    return dict(read_bundle(io.BytesIO(bundle)).kinds)


@pytest.mark.parametrize("receiver", ["segments", "files", "memory", "other chunks"])
def test_a_state_goes_from_store_to_store(receiver: str, tmp_path: Path) -> None:
    source = on_disk(tmp_path / "source")
    files = {**FILES, b"large": noise(99, 700_000)}
    first = state(source, files, message="first")
    second = state(source, {**files, b"new": b"x" * 500}, [first], message="second")
    if receiver == "memory":
        target = memory()
    elif receiver == "files":
        target = on_disk(tmp_path / "target", casstore.Config(backend="files", sync="off", chunk_avg_bytes=1024))
    else:
        target = on_disk(tmp_path / "target", LARGE if receiver == "other chunks" else SMALL)
        if receiver == "other chunks":
            # The same content is there in other chunks.
            target.put(files[b"large"])
    path = tmp_path / "a.bundle"
    written = export_bundle(StorageReader(source.storage), path, [second.id], refs={"main": second.id})
    assert written.bytes == path.stat().st_size
    assert written.kinds["snapshot"] == 2
    assert sum(written.kinds.values()) == written.records
    report = adopt_bundle(target.storage, target.nodes, path)
    assert report.tips == (second.id,)
    assert report.refs == {"main": second.id}
    assert (report.new_records == written.records) == (receiver != "other chunks")
    assert report.new_records + report.known_records == written.records
    assert dict(target.refs) == {}
    assert target.snapshot(second.id).message == "second"
    assert target.snapshot(second.id).parents == (first.id,)
    assert files_of(target, second.id) == files_of(source, second.id) == {**files, b"new": b"x" * 500}
    assert files_of(target, first.id) == files
    target.refs["taken"] = target.snapshot(second.id)
    assert target.verify().snapshots == 2
    target.close()
    if receiver != "memory":
        with casstore.open(tmp_path / "target") as again:
            assert files_of(again, second.id)[b"large"] == files[b"large"]
    source.close()


def test_everything_that_a_state_can_hold() -> None:
    source, target = memory(), memory()
    linked = state(source, {b"inner": noise(1, 500)}, message="linked")
    long = noise(2, 300)
    files = build(
        source.nodes,
        [
            (b"empty", directory_entry()),
            (b"link", symlink_entry(300, source.put(long))),
            (b"run", file_entry(300, source.put(long), executable=True)),
        ],
        tree=True,
    )
    objects = build(
        source.nodes,
        [
            (b"a", object_entry("json", 1, 2, inline=b"{}")),
            # Allowed beside `a`: objects are no directory tree.
            (b"a/b", object_entry("bytes", 1, 4000, source.put(noise(3, 4000)))),
            (b"child", snapshot_entry(linked.id)),
        ],
    )
    posix = build(source.nodes, [(b"run", value_entry(b"x" * 200))])
    assert files
    assert objects
    assert posix
    tip = source.add_snapshot(roots={"files": files, "objects": objects, "posix": posix}, meta={"score": 0.5})
    bundle = export(source, tip)
    assert {record.address for record in unpack(bundle)[:-1]} == set(held(source))
    adopt(target, bundle)
    target.refs["x"] = target.snapshot(tip.id)
    assert target.verify().snapshots == 2
    assert files_of(target, linked.id) == {b"inner": noise(1, 500)}
    assert target.snapshot(tip.id).meta == {"score": 0.5}
    assert target.snapshot(tip.id).roots == tip.roots
    assert list(diff(target.nodes, objects, None)) == list(diff(source.nodes, objects, None))


def test_each_record_comes_after_what_it_refers_to() -> None:
    source = memory()
    linked = state(source, FILES)
    root = build(source.nodes, [(b"%03d" % i, snapshot_entry(linked.id)) for i in range(100)])
    assert root
    tip = source.add_snapshot(roots={"objects": root}, parents=[state(source, {b"big": noise(5, 60_000)})])
    seen: set[bytes] = set()
    for record in unpack(export(source, tip))[:-1]:
        below: list[Address] = []
        if record.kind == NODE:
            node = source.nodes.get(record.address)
            below = [*node.children, *node.references]
        elif record.kind == CHUNK_LIST:
            pieces = source.storage.chunk_list(record.address)
            assert pieces
            below = [piece for piece, _ in pieces.pieces]
        elif record.kind == SNAPSHOT:
            fields = source.snapshots.fields(record.address)
            below = [*fields.roots.values(), *fields.parents]
        assert seen.issuperset(below)
        assert record.address not in seen
        seen.add(record.address)
    # Exactly what the tip leads to.
    assert seen == set(held(source))


def test_a_content_of_nested_lists() -> None:
    source, target = memory(), memory()
    data = noise(1, 2_000_000)
    tip = state(source, {b"big": data})
    bundle = export(source, tip)
    assert kinds_in(bundle)["chunk list"] > 1
    adopt(target, bundle)
    assert target.get(content_address(data)) == data
    target.refs["x"] = target.snapshot(tip.id)
    target.verify()


# -- what is left out


def test_what_the_receiver_has_is_left_out() -> None:
    source, target = memory(), memory()
    base = state(source, FILES)
    adopt(target, export(source, base))
    changed = {**FILES, b"d3/f3": noise(1000, 400), b"d9/new": noise(1001, 200)}
    del changed[b"d0/f7"]
    tip = state(source, changed, [base])
    before = held(target)
    bundle = export(source, tip, exclude=[base])
    kinds = kinds_in(bundle)
    assert kinds["snapshot"] == 1
    assert kinds["node"] <= 8
    assert set(held(source)) - set(before) == {record.address for record in unpack(bundle)[:-1]}
    report = adopt(target, bundle)
    assert (report.new_records, report.known_records) == (sum(kinds.values()), 0)
    assert files_of(target, tip.id) == changed
    target.refs["x"] = target.snapshot(tip.id)
    target.verify()


def test_the_store_must_have_what_was_left_out() -> None:
    source, target = memory(), memory()
    base = state(source, FILES)
    tip = state(source, {**FILES, b"more": noise(1, 300)}, [base])
    bundle = export(source, tip, exclude=[base])
    with pytest.raises(NotFoundError) as caught:
        adopt(target, bundle)
    assert caught.value.address == base.id
    assert held(target) == {}
    # The same, where nothing is missing but the snapshot itself.
    state(target, FILES)
    tip = state(source, FILES, message="no parent")
    bundle = export(source, tip, exclude=[base])
    assert kinds_in(bundle) == {"snapshot": 1}
    before = held(target)
    with pytest.raises(NotFoundError):
        adopt(target, bundle)
    assert held(target) == before


def test_history_is_followed_up_to_what_is_excluded() -> None:
    source = memory()
    chain = [state(source, {b"a": b"0"})]
    for i in range(1, 30):
        chain.append(state(source, {b"a": b"%d" % i, b"b": noise(i, 200)}, [chain[-1]]))
    side = state(source, {b"side": noise(50, 200)}, [chain[5]])
    merged = state(source, {b"a": b"m"}, [chain[29], side])
    assert kinds_in(export(source, merged))["snapshot"] == 32
    assert kinds_in(export(source, merged, exclude=[chain[29]]))["snapshot"] == 2
    # chain[5] is below what is excluded, and side leads there.
    assert kinds_in(export(source, side, exclude=[chain[29]]))["snapshot"] == 1
    assert kinds_in(export(source, side, chain[12], exclude=[chain[10]]))["snapshot"] == 3
    # Older than what is excluded: nothing is left.
    assert kinds_in(export(source, chain[3], exclude=[chain[29]])) == {}
    assert kinds_in(export(source, merged, exclude=[merged])) == {}


def test_a_bundle_of_what_is_known_already_is_adopted() -> None:
    source, target = memory(), memory()
    tip = state(source, FILES)
    adopt(target, export(source, tip))
    report = adopt(target, export(source, tip, exclude=[tip]))
    assert (report.tips, report.new_records, report.known_records) == ((tip.id,), 0, 0)


def test_clocks_that_went_wrong_cost_size_only() -> None:
    source, target = memory(), memory()
    old = source.add_snapshot(roots={}, time_ns=10**18)
    base = source.add_snapshot(roots={}, parents=[old], time_ns=5)
    tip = source.add_snapshot(roots={}, parents=[old], message="tip", time_ns=6)
    adopt(target, export(source, base))
    bundle = export(source, tip, exclude=[base])
    assert kinds_in(bundle)["snapshot"] in (1, 2)
    adopt(target, bundle)
    assert target.snapshot(tip.id).message == "tip"


def test_a_long_history_needs_no_stack() -> None:
    source, target = memory(), memory()
    tip = state(source, {})
    for i in range(3000):
        tip = state(source, {}, [tip], message=str(i))
    adopt(target, export(source, tip))
    assert sum(1 for _ in target.log(target.snapshot(tip.id))) == 3001


def test_a_moved_file_is_not_sent_again() -> None:
    source, target = memory(), memory()
    big = noise(1, 50_000)
    base = state(source, {**FILES, b"a/old": big})
    adopt(target, export(source, base))
    tip = state(source, {**FILES, b"z/new": big}, [base])
    bundle = export(source, tip, exclude=[base])
    assert "chunk" not in kinds_in(bundle)
    adopt(target, bundle)
    assert files_of(target, tip.id)[b"z/new"] == big


def test_chunks_are_left_out_only_where_the_receiver_has_the_same() -> None:
    source, same, other = memory(), memory(), memory(LARGE)
    big = noise(1, 200_000)
    base = state(source, {b"big": big})
    other.put(big)
    for target in (same, other):
        adopt(target, export(source, base))
        target.refs["base"] = target.snapshot(base.id)
        # Also the chunks that came along for a list that is there in other chunks.
        target.plan_gc(grace_seconds=0).execute()
    tip = state(source, {b"big": big[:1000] + b"!" + big[1000:]}, [base])
    whole = export(source, tip, exclude=[base])
    part = export(source, tip, exclude=[base], same_chunks=True)
    assert len(part) < len(whole) / 4
    adopt(same, part)
    assert files_of(same, tip.id) == files_of(source, tip.id)
    with pytest.raises(CorruptionError, match="neither earlier in the bundle nor sound in the store"):
        adopt(other, part)
    adopt(other, whole)
    assert files_of(other, tip.id) == files_of(source, tip.id)


def test_linked_snapshots_of_a_base_are_left_out() -> None:
    source, target = memory(), memory()
    states = [state(source, {b"f": noise(i, 200)}) for i in range(200)]
    entries = [(b"node/%04d" % i, snapshot_entry(snapshot.id)) for i, snapshot in enumerate(states)]
    root = build(source.nodes, entries)
    assert root
    saved = source.add_snapshot(roots={"objects": root})
    adopt(target, export(source, saved))
    new = state(source, {b"f": noise(1000, 200)}, [states[4]])
    grown = apply(source.nodes, root, [(b"node/0100x", snapshot_entry(new.id))])
    assert grown
    later = source.add_snapshot(roots={"objects": grown}, message="later")
    bundle = export(source, later, exclude=[saved])
    assert kinds_in(bundle)["snapshot"] == 2
    adopt(target, bundle)
    target.refs["x"] = target.snapshot(later.id)
    assert target.verify().snapshots == 202


# -- workers


class RawReader:
    """A reader that has raw bytes only."""

    def __init__(self, store: casstore.Store) -> None:
        self.get_record = store.storage.get_record
        self.kind_of = StorageReader(store.storage).kind_of


@pytest.mark.parametrize("stored", [True, False])
def test_a_worker_hands_back_what_it_made(stored: bool, tmp_path: Path) -> None:
    writer = on_disk(tmp_path / "store")
    base = state(writer, {**FILES, b"big": noise(7, 90_000)})
    writer.refs["main"] = base
    with casstore.open(tmp_path / "store", read_only=True) as worker:
        made: dict[Address, Record] = {}
        own = memory()
        entry = entry_of(own, noise(70, 5000))
        adopt(own, export(writer, base))
        root = apply(own.nodes, base.roots["files"], [(b"d1/made", entry), (b"d2/f2", None)])
        assert root
        raw = encode_snapshot(
            SnapshotFields(roots={"files": root}, parents=(base.id,), message="try", meta={}, time_ns=2_000_000)
        )
        tip = snapshot_address(raw)
        for address in held(own):
            if not worker.storage.contains(address):
                made[address] = own.storage.backend.get(address)
        made[tip] = own.storage.record(SNAPSHOT, tip, raw)
        below = StorageReader(worker.storage) if stored else RawReader(worker)
        path = tmp_path / "worker.bundle"
        report = export_bundle(OverlayReader(made, below), path, [tip], exclude=[base.id], same_chunks=True)
        assert report.records == len(made)
        whole = tmp_path / "whole.bundle"
        assert export_bundle(OverlayReader(made, below), whole, [tip]).kinds["snapshot"] == 2
    report = adopt_bundle(writer.storage, writer.nodes, path)
    assert report.new_records == len(made)
    writer.refs["try"] = writer.snapshot(tip)
    expected = {**FILES, b"big": noise(7, 90_000), b"d1/made": noise(70, 5000)}
    del expected[b"d2/f2"]
    assert files_of(writer, tip) == expected
    writer.verify()
    with memory() as elsewhere:
        adopt(elsewhere, whole.read_bytes())
        assert files_of(elsewhere, tip) == expected
    writer.close()


def test_a_reader_that_lies_makes_no_bundle() -> None:
    source = memory()
    tip = state(source, {b"a": noise(1, 300)})
    address = content_address(noise(1, 300))
    wrong = source.storage.record(CHUNK, address, noise(2, 300))
    reader = StorageReader(source.storage)
    with pytest.raises(CorruptionError):
        export_bundle(OverlayReader({address: wrong}, reader), io.BytesIO(), [tip.id])
    node = source.storage.backend.get(tip.roots["files"])
    for hidden in (address, tip.id):
        with pytest.raises((CorruptionError, NotFoundError)):
            export_bundle(OverlayReader({hidden: node}, reader), io.BytesIO(), [tip.id])


# -- adoption


def test_adopting_twice_changes_nothing() -> None:
    source, target = memory(), memory()
    tip = state(source, {**FILES, b"big": noise(7, 90_000)})
    bundle = export(source, tip)
    first = adopt(target, bundle)
    before, used = held(target), target.storage.backend.used_bytes()
    second = adopt(target, bundle)
    assert (held(target), target.storage.backend.used_bytes()) == (before, used)
    assert (second.new_records, second.new_bytes) == (0, 0)
    assert second.known_records == first.new_records == len(before)
    assert first.new_bytes == used


def test_adoption_heals() -> None:
    source, target = memory(), memory()
    tip = state(source, FILES)
    bundle = export(source, tip)
    adopt(target, bundle)
    target.refs["x"] = target.snapshot(tip.id)
    for address in (content_address(FILES[b"d3/f59"]), tip.roots["files"]):
        target.storage.backend.mark_damaged(address)
        assert not target.storage.contains(address)
    assert adopt(target, bundle).new_records == 2
    target.verify()


def test_adopted_states_are_kept_by_the_report_and_then_by_a_ref(tmp_path: Path) -> None:
    source, target = memory(), on_disk(tmp_path / "target")
    tip = state(source, FILES)
    bundle = export(source, tip)
    running = target.plan_gc(grace_seconds=0)
    report = adopt(target, bundle)
    # A collection that was under way, and one that begins now.
    running.execute()
    target.plan_gc(grace_seconds=0).execute()
    assert files_of(target, tip.id) == FILES
    del report
    plan = target.plan_gc(grace_seconds=0)
    # Hits revive what the plan would delete.
    report = adopt(target, bundle)
    assert report.new_records == 0
    plan.execute()
    assert files_of(target, tip.id) == FILES
    target.refs["x"] = target.snapshot(tip.id)
    del report
    target.plan_gc(grace_seconds=0).execute()
    target.verify()
    target.refs.pop("x")
    target.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    assert not target.storage.contains(tip.id)
    target.close()


def test_what_the_bundle_builds_on_is_kept_too(tmp_path: Path) -> None:
    source, target = memory(), on_disk(tmp_path / "target")
    base = state(source, FILES)
    held_base = adopt(target, export(source, base))
    tip = state(source, {**FILES, b"more": noise(1, 400)}, [base])
    bundle = export(source, tip, exclude=[base])
    del held_base
    plan = target.plan_gc(grace_seconds=0)
    assert plan.dead_objects == len(held(target))
    report = adopt(target, bundle)
    plan.execute()
    assert files_of(target, report.tips[0]) == {**FILES, b"more": noise(1, 400)}
    target.close()


def test_a_store_that_is_read_only_adopts_nothing(tmp_path: Path) -> None:
    source = on_disk(tmp_path / "source")
    tip = state(source, FILES)
    bundle = export(source, tip)
    source.sync()
    with casstore.open(tmp_path / "source", read_only=True) as reader, pytest.raises(ReadOnlyError):
        adopt(reader, bundle)
    source.close()


# -- files


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        return self._file.readinto(buffer)  # type: ignore[arg-type]


def test_sources_of_all_sorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = memory()
    tip = state(source, FILES)
    bundle = export(source, tip)
    path = tmp_path / "x.bundle"
    path.write_bytes(bundle)
    with path.open("rb") as file:
        file.seek(17)
        for target, given_source in (
            (memory(), file),
            (memory(), str(path)),
            (memory(), io.BufferedReader(Pipe(bundle))),
        ):
            adopt_bundle(target.storage, target.nodes, given_source)
            assert files_of(target, tip.id) == FILES
        assert not file.closed
    # Larger than what is held in memory: read twice, in parts.
    monkeypatch.setattr("casstore.collection.bundle_file.MEMORY_BYTES", 5000)
    monkeypatch.setattr("casstore.collection.bundle_file._RUN_BYTES", 3000)
    target = memory()
    assert adopt_bundle(target.storage, target.nodes, path).new_records == len(unpack(bundle)) - 1
    assert files_of(target, tip.id) == FILES
    with pytest.raises(InvalidInputError, match="seek"):
        adopt_bundle(target.storage, target.nodes, io.BufferedReader(Pipe(bundle)))
    for length in range(0, len(bundle), 997):
        path.write_bytes(bundle[:length])
        with pytest.raises(CorruptionError):
            adopt_bundle(target.storage, target.nodes, path)


def test_a_bundle_that_changes_while_it_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = memory(), memory()
    tip = state(source, FILES)
    path = tmp_path / "x.bundle"
    path.write_bytes(export(source, tip))
    monkeypatch.setattr("casstore.collection.bundle_file.MEMORY_BYTES", 0)

    def change(*_: object) -> None:
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)

    # Between the first pass and the second.
    monkeypatch.setattr("casstore.collection.bundle_adopt._Reception._check_excluded", change)
    with pytest.raises(CorruptionError, match="changed while"):
        adopt_bundle(target.storage, target.nodes, path)
    assert held(target) == {}


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    target = memory()
    os.mkfifo(tmp_path / "pipe")
    for name, error in (("missing", NotFoundError), (".", InvalidInputError), ("pipe", InvalidInputError)):
        with pytest.raises(error) as caught:
            adopt_bundle(target.storage, target.nodes, tmp_path / name)
        assert caught.value.path == str(tmp_path / name)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInputError):
        adopt_bundle(target.storage, target.nodes, 5)  # type: ignore[arg-type]


def test_a_failed_export_leaves_the_old_bundle(tmp_path: Path) -> None:
    source = memory()
    tip = state(source, FILES)
    path = tmp_path / "x.bundle"
    path.write_bytes(b"old")
    for call in ("create", "append", "sync", "rename"):
        files = FaultyFiles(str(tmp_path))
        files.fail(call)
        with pytest.raises(StorageError):
            export_bundle(StorageReader(source.storage), path, [tip.id], files=files)
        assert [entry.name for entry in tmp_path.iterdir()] == ["x.bundle"]
        assert path.read_bytes() == b"old"
    files = FaultyFiles(str(tmp_path))
    export_bundle(StorageReader(source.storage), path, [tip.id], files=files)
    order = [call.name for call in files.calls if call.name != "append"]
    assert order == ["create", "sync", "rename", "sync_folder"]
    assert read_bundle(path).tips == (tip.id,)


def test_bad_requests() -> None:
    source = memory()
    tip, other = state(source, FILES), state(source, {})
    reader = StorageReader(source.storage)
    file = io.BytesIO()
    with pytest.raises(InvalidInputError, match="tips"):
        export_bundle(reader, file, [])
    with pytest.raises(InvalidInputError, match="names none of its tips"):
        export_bundle(reader, file, [tip.id], refs={"x": other.id})
    with pytest.raises(InvalidInputError, match="32 bytes"):
        export_bundle(reader, file, ["main"])  # type: ignore[list-item]
    assert file.getvalue() == b""
    missing = Address(bytes(32))
    for arguments in ({"tips": [missing]}, {"tips": [tip.id], "exclude": [missing]}, {"tips": [tip.roots["files"]]}):
        with pytest.raises(NotFoundError):
            export_bundle(reader, io.BytesIO(), **arguments)  # type: ignore[arg-type]


def test_what_a_bundle_says(tmp_path: Path) -> None:
    source = memory()
    base = state(source, FILES)
    tip = state(source, {**FILES, b"x": noise(1, 300)}, [base])
    path = tmp_path / "x.bundle"
    report = export_bundle(
        StorageReader(source.storage), path, [tip.id, tip.id], exclude=[base.id], refs={"try/1": tip.id}
    )
    info = read_bundle(path)
    assert info == BundleInfo(
        tips=(tip.id,),
        refs={"try/1": tip.id},
        excluded=(base.id,),
        records=report.records,
        kinds=report.kinds,
        bytes=path.stat().st_size,
        raw_bytes=sum(record.raw_bytes for record in unpack(path.read_bytes())[:-1]),
    )


# -- any history


EDITS = st.dictionaries(
    st.sampled_from([b"%s%d" % (name, i) for name in (b"a/", b"a-", b"b", b"c/d/") for i in range(40)]),
    st.one_of(st.none(), st.integers(0, 20)),
    max_size=12,
)


@given(st.lists(st.tuples(EDITS, st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_any_history_arrives_in_parts(steps: list[tuple[dict[bytes, int | None], int, bool, bool]]) -> None:
    source, target = memory(), memory()
    filler = {b"a/%d" % i: noise(i, 150) for i in range(100, 300)}
    known = [(state(source, filler), filler)]
    adopt(target, export(source, known[0][0]))
    target.refs["r0"] = target.snapshot(known[0][0].id)
    for number, (edits, back, merge, same_chunks) in enumerate(steps, 1):
        parent, files = known[max(0, len(known) - 1 - back)]
        files = {**files, **{key: noise(seed, 20 * seed * seed) for key, seed in edits.items() if seed is not None}}
        for key, seed in edits.items():
            if seed is None:
                files.pop(key, None)
        parents = [parent, known[-1][0]] if merge and known[-1][0] != parent else [parent]
        tip = state(source, files, parents)
        exclude = [known[-1][0]] if merge else [parent]
        adopt(target, export(source, tip, exclude=exclude, same_chunks=same_chunks))
        target.refs[f"r{number}"] = target.snapshot(tip.id)
        assert files_of(target, tip.id) == files
        known.append((tip, files))
    assert target.verify().snapshots == len(steps) + 1
    assert held(target).keys() - held(source).keys() == {address for address, kind in held(target).items() if kind == 5}


def test_adopting_a_thousand_objects_is_quick(tmp_path: Path) -> None:
    source = on_disk(tmp_path / "source")
    tip = state(source, {b"d%d/f%d" % (i % 30, i): noise(i, 200) for i in range(1000)})
    bundle = export(source, tip)
    times = []
    for number in range(5):
        with on_disk(tmp_path / str(number)) as target:
            start = time.perf_counter()
            assert adopt(target, bundle).new_records > 1000
            times.append(time.perf_counter() - start)
    source.close()
    assert min(times) < 0.1
