# SPDX-License-Identifier: MIT
"""Adoption: where bundles are read from and written to, what stays, what is kept from the collector."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

import casstore
from casstore.address import Address, content_address
from casstore.collection.bundle import BundleInfo, StorageReader, adopt_bundle, export_bundle, read_bundle
from casstore.collection.bundle_reception import Reception
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError, ReadOnlyError, StorageError
from casstore.format.kinds import CHUNK_LIST, NODE, RAW, SNAPSHOT
from casstore.testing.faults import FaultyFiles
from tests.collection.bundles import FILES, adopt, export, files_of, held, memory, noise, on_disk, state, unpack


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


def test_a_collection_in_the_middle_of_an_adoption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = memory(), on_disk(tmp_path / "target")
    base = state(source, FILES)
    adopt(target, export(source, base))
    # Nothing keeps the base now but what the adoption meets.
    tip = state(source, {**FILES, b"more": noise(1, 400)}, [base])
    put = Reception.put

    def collect_and_put(self: Reception) -> tuple[int, int]:
        target.plan_gc(grace_seconds=0).execute()
        result = put(self)
        target.plan_gc(grace_seconds=0).execute()
        return result

    monkeypatch.setattr(Reception, "put", collect_and_put)
    for bundle in (export(source, tip), export(source, tip, exclude=[base])):
        report = adopt(target, bundle)
        assert files_of(target, report.tips[0]) == {**FILES, b"more": noise(1, 400)}
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
        with pytest.raises(CorruptionError, match="torn"):
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
    monkeypatch.setattr("casstore.collection.bundle_reception.Reception._check_excluded", change)
    with pytest.raises(CorruptionError, match="changed while"):
        adopt_bundle(target.storage, target.nodes, path)
    assert held(target) == {}


class Shifty(io.BytesIO):
    """A bundle of which a part reads differently when it is read alone."""

    part = other = b""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        return self.other if data == self.part else data


def test_what_is_read_once_more_is_verified_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = memory(), memory()
    data = noise(1, 5000)
    tip = state(source, {b"a": data, b"b": b"x" * 100})
    bundle = export(source, tip)
    monkeypatch.setattr("casstore.collection.bundle_file.MEMORY_BYTES", 0)
    monkeypatch.setattr("casstore.collection.bundle_reception._NODE_CACHE_BYTES", 0)
    monkeypatch.setattr("casstore.collection.bundle_reception._RECENT_BYTES", 0)
    for record in unpack(bundle)[:-1]:
        # Lists and snapshots are read again only by what lies behind them here.
        if record.kind in (CHUNK_LIST, SNAPSHOT):
            continue
        file = Shifty(bundle)
        file.part = record.stored
        file.other = record.stored[:-1] + bytes([record.stored[-1] ^ 1])
        if record.kind == NODE and record.encoding == RAW:
            file.other = record.stored.replace(b"x" * 100, b"y" * 100)
        assert file.other != file.part
        with pytest.raises(CorruptionError):
            adopt_bundle(target.storage, target.nodes, file)
    adopt_bundle(target.storage, target.nodes, Shifty(bundle))
    assert files_of(target, tip.id)[b"a"] == data


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    target = memory()
    os.mkfifo(tmp_path / "pipe")
    for name, error in (("missing", NotFoundError), (".", InvalidInputError), ("pipe", InvalidInputError)):
        with pytest.raises(error) as caught:
            adopt_bundle(target.storage, target.nodes, tmp_path / name)
        assert caught.value.path == str(tmp_path / name)  # type: ignore[attr-defined]
    for wrong in (5, io.StringIO("text")):
        with pytest.raises(InvalidInputError, match="binary"):
            adopt_bundle(target.storage, target.nodes, wrong)  # type: ignore[arg-type]


def test_the_number_of_records_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = memory()
    tip = state(source, FILES)
    bundle = export(source, tip)
    count = len(unpack(bundle)) - 1
    for module in ("collection.bundle_output", "collection.bundle_file"):
        monkeypatch.setattr(f"casstore.{module}.MAX_RECORDS", count)
    assert adopt(memory(), export(source, tip)).new_records == count
    for module in ("collection.bundle_output", "collection.bundle_file"):
        monkeypatch.setattr(f"casstore.{module}.MAX_RECORDS", count - 1)
    with pytest.raises(InvalidInputError, match="at most"):
        export(source, tip)
    with pytest.raises(CorruptionError, match="more than"):
        adopt(memory(), bundle)


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
    for wrong in (5, io.StringIO()):
        with pytest.raises(InvalidInputError, match="binary"):
            export_bundle(reader, wrong, [tip.id])  # type: ignore[arg-type]
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


def test_adopting_a_thousand_objects_is_quick(tmp_path: Path) -> None:
    source = on_disk(tmp_path / "source")
    tip = state(source, {b"d%d/f%d" % (i % 30, i): noise(i, 200) for i in range(1000)})
    bundle = export(source, tip)
    times = []
    for number in range(5):
        with on_disk(tmp_path / str(number)) as target:
            start = time.process_time()
            assert adopt(target, bundle).new_records > 1000
            times.append(time.process_time() - start)
    source.close()
    assert min(times) < 0.1
