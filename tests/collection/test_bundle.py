# SPDX-License-Identifier: MIT
"""Bundles between stores: what is exported, what is left out, what is adopted, and what keeps it."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.address import Address, content_address, snapshot_address
from casstore.collection.bundle import (
    OverlayReader,
    StorageReader,
    adopt_bundle,
    export_bundle,
    read_bundle,
)
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.entry import directory_entry, file_entry, object_entry, snapshot_entry, symlink_entry, value_entry
from casstore.format.kinds import CHUNK, CHUNK_LIST, NODE, SNAPSHOT
from casstore.format.record import Record
from casstore.format.snapshot import SnapshotFields, encode_snapshot
from casstore.tree import apply, build, diff
from tests.collection.bundles import (
    FILES,
    LARGE,
    SMALL,
    adopt,
    chunk_list,
    entry_of,
    export,
    files_of,
    held,
    leaf,
    memory,
    noise,
    on_disk,
    raw_record,
    snapshot,
    state,
    unpack,
)


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


@pytest.mark.parametrize("name", ["objects", "files"])
def test_linked_snapshots_of_a_base_are_left_out(name: str) -> None:
    source, target = memory(), memory()
    states = [state(source, {b"f": noise(i, 200)}) for i in range(200)]
    entries = [(b"node/%04d" % i, snapshot_entry(snapshot.id)) for i, snapshot in enumerate(states)]
    root = build(source.nodes, entries)
    assert root
    saved = source.add_snapshot(roots={name: root})
    adopt(target, export(source, saved))
    # A parent that the saved tree links is looked for among objects only.
    new = state(source, {b"f": noise(1000, 200)}, [states[4]] if name == "objects" else [])
    grown = apply(source.nodes, root, [(b"node/0100x", snapshot_entry(new.id))])
    assert grown
    later = source.add_snapshot(roots={name: grown}, message="later")
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


class CountingReader(RawReader):
    """A reader that counts what is asked of it."""

    def __init__(self, store: casstore.Store) -> None:
        super().__init__(store)
        self.asked: Counter[int] = Counter()

        def get_record(kind: int, address: Address) -> bytes:
            self.asked[kind] += 1
            return store.storage.get_record(kind, address)

        self.get_record = get_record


def test_what_the_receiver_has_is_not_read() -> None:
    source = memory()
    files = {b"d%02d/f%04d" % (i % 50, i): b"x%d" % i for i in range(5000)}
    base = state(source, files)
    for i in range(200):
        base = state(source, {**files, b"d00/f0000": b"y%d" % i}, [base])
    changed = {**files, b"d25/f0025": b"new", b"d25/new": b"more", b"d40/f0040": b"other"}
    tip = state(source, changed, [base])
    reader = CountingReader(source)
    report = export_bundle(reader, io.BytesIO(), [tip.id], exclude=[base.id])
    assert report.kinds["snapshot"] == 1
    assert report.kinds["node"] <= 10
    assert reader.asked[SNAPSHOT] <= 8
    assert reader.asked[NODE] <= 5 * report.kinds["node"]
    # And where it is adopted.
    target = memory()
    adopt(target, export(source, base))
    bundle = export(source, tip, exclude=[base])
    target.nodes.clear()
    target.nodes.misses = 0
    adopt(target, bundle)
    assert target.nodes.misses <= 4 * report.kinds["node"]


def test_two_states_with_a_part_in_common() -> None:
    source, target = memory(), memory()
    files = {b"d%02d/f%04d" % (i % 50, i): b"x%d" % i for i in range(2000)}
    first, second = state(source, files), state(source, {**files, b"d25/f0025": b"new"})
    bundle = export(source, first, second)
    assert {record.address for record in unpack(bundle)[:-1]} == set(held(source))
    adopt(target, bundle)
    assert files_of(target, second.id) == {**files, b"d25/f0025": b"new"}


def test_damage_is_not_exported() -> None:
    source = memory()
    tip = state(source, FILES)
    address = content_address(FILES[b"d3/f59"])
    record = next(address for address, kind in held(source).items() if kind == CHUNK)
    backend = source.storage.backend
    stored = backend.get(record).stored
    backend._records[record] = backend.get(record)._replace(stored=stored[:-1] + bytes([stored[-1] ^ 1]))  # type: ignore[attr-defined]
    with pytest.raises(CorruptionError):
        export(source, tip)
    assert not source.storage.contains(record)
    assert source.storage.contains(address)


def test_lists_that_nest_too_deep_are_not_exported() -> None:
    source = memory()
    made = [raw_record(CHUNK, content_address(bytes(1024)), bytes(1024))]
    for height in range(1, 11):
        size = 1024 << height
        made.append(chunk_list(content_address(bytes(size)), [(made[-1].address, size // 2)] * 2))
    for height, fine in ((8, True), (9, False)):
        top = leaf((b"f", file_entry(1024 << height, made[height].address)))
        tip = snapshot(files=top.address)
        records = {record.address: record for record in (*made, top, tip)}
        reader = OverlayReader(records, StorageReader(source.storage))
        if fine:
            export_bundle(reader, io.BytesIO(), [tip.address])
        else:
            with pytest.raises(CorruptionError, match="too deep"):
                export_bundle(reader, io.BytesIO(), [tip.address])
    with pytest.raises(NotFoundError):
        reader.get_record(NODE, made[0].address)
    assert reader.get_record(CHUNK, made[0].address) == bytes(1024)


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
