# SPDX-License-Identifier: MIT
"""Bundles of lines that retention cut: history ends where it was given up, in the bundle and where it is adopted."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore import KeepRule
from casstore.address import Address
from casstore.collection.bundle import StorageReader, export_bundle, read_bundle
from casstore.collection.bundle_reception import Reception
from casstore.collection.repair import repair
from casstore.format.index_entry import EVENT_KEY
from casstore.snapshots import shallow_ids, shallow_of
from casstore.testing.model import noise
from tests.collection.bundles import adopt, bundle_of, leaf, pack, raw_record, refused, snapshot
from tests.snapshots.driving import collect, damage_of, open_backend


@pytest.fixture(params=["segments", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[casstore.Store]:
    with open_backend(request.param, tmp_path / "here") as opened:
        yield opened


@pytest.fixture(params=["segments", "files"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[casstore.Store]:
    with open_backend(request.param, tmp_path / "there") as opened:
        yield opened


def line(store: casstore.Store, count: int, ref: str = "main", first: int = 0) -> list[Address]:
    """Snapshots, oldest first, each with a content of its own and one that all share."""
    ids = []
    for number in range(first, first + count):
        branch = store.branch(ref if ref in store.refs else None)
        branch.files["own"] = noise(3000, number)
        branch.files["same"] = noise(2000, 99)
        ids.append(branch.commit(f"{ref} {number}", ref=ref).id)
        del branch
    return ids


def cut(store: casstore.Store, last: int, *, collected: bool = True) -> None:
    gc.collect()
    collect(store)
    store.configure(undo_keep_seconds=0 if collected else 1000)
    store.plan_retention([KeepRule(last=last)]).execute()
    if collected:
        collect(store)


def messages(store: casstore.Store, ref: str = "main") -> list[str]:
    return [snapshot.message for snapshot in store.log(ref)]


def take(store: casstore.Store, bundle: bytes, ref: str = "main") -> casstore.AdoptReport:
    report = adopt(store, bundle)
    store.refs[ref] = store.snapshot(report.tips[0])
    return report


def written(store: casstore.Store, *states: str, exclude: tuple[Address, ...] = ()) -> bytes:
    file = io.BytesIO()
    store.export_bundle(file, states, exclude=exclude)
    return file.getvalue()


@pytest.mark.parametrize("collected", [True, False])
def test_a_line_that_was_cut(store: casstore.Store, there: casstore.Store, collected: bool) -> None:
    ids = line(store, 6)
    cut(store, 2, collected=collected)
    assert (ids[3] in store) is not collected
    bundle = written(store, "main")
    assert read_bundle(io.BytesIO(bundle)).shallow == (ids[4],)
    report = take(there, bundle)
    assert report.shallow == (ids[4],)
    del report
    assert shallow_ids(there.storage) == {ids[4]}
    assert messages(there) == ["main 5", "main 4"]
    for _ in range(2):
        collect(there)
        assert messages(there) == ["main 5", "main 4"]
        assert shallow_ids(there.storage) == {ids[4]}
        there.verify()
    # It goes on there, and on to a third store.
    line(there, 1, first=6)
    again = written(there, "main")
    with casstore.open(":memory:") as third:
        take(third, again)
        collect(third)
        assert messages(third) == ["main 6", "main 5", "main 4"]
        assert third.snapshot("main").files["own"] == noise(3000, 6)
        third.verify()


def test_marks_are_there_after_an_end_and_a_rebuild(tmp_path: Path) -> None:
    import shutil

    with casstore.open(":memory:") as store:
        ids = line(store, 4)
        cut(store, 2)
        bundle = written(store, "main")
    with open_backend("segments", tmp_path / "there") as there:
        take(there, bundle)
    shutil.rmtree(tmp_path / "there" / "index")
    with open_backend("segments", tmp_path / "there") as there:
        assert shallow_ids(there.storage) == {ids[2]}
        collect(there)
        assert messages(there) == ["main 3", "main 2"]
        there.verify()


def test_only_what_is_new_needs_no_mark(store: casstore.Store, there: casstore.Store) -> None:
    ids = line(store, 4)
    cut(store, 2)
    take(there, written(store, "main"))
    line(store, 2, first=4)
    bundle = written(store, "main", exclude=(ids[3],))
    info = read_bundle(io.BytesIO(bundle))
    assert (info.shallow, info.kinds["snapshot"]) == ((), 2)
    assert take(there, bundle).shallow == ()
    collect(there)
    assert messages(there) == ["main 5", "main 4", "main 3", "main 2"]
    there.verify()


def test_what_the_receiver_still_has_is_not_given_up_there(store: casstore.Store, there: casstore.Store) -> None:
    """A backup outlives the retention of what it is a backup of."""
    line(store, 4)
    take(there, written(store, "main"))
    line(store, 3, first=4)
    cut(store, 3)
    bundle = written(store, "main")
    assert len(read_bundle(io.BytesIO(bundle)).shallow) == 1
    assert take(there, bundle).shallow == ()
    assert shallow_ids(there.storage) == set()
    collect(there)
    assert messages(there) == [f"main {number}" for number in range(6, -1, -1)]
    there.verify()


def test_a_snapshot_that_is_there_is_not_cut_by_a_bundle(store: casstore.Store, there: casstore.Store) -> None:
    line(store, 4)
    take(there, written(store, "main"))
    cut(store, 2)
    report = take(there, written(store, "main"))
    assert (report.new_records, report.shallow) == (0, ())
    collect(there)
    assert len(messages(there)) == 4


def test_two_lines_that_share_a_cut(store: casstore.Store, there: casstore.Store) -> None:
    """What another line still has of the history that one gave up comes as a line of its own."""
    ids = line(store, 4)
    store.refs["old"] = store.snapshot(ids[1])
    gc.collect()
    store.configure(undo_keep_seconds=0)
    store.plan_retention([KeepRule(ref="main", last=1)]).execute()
    collect(store)
    assert [number in store for number in ids] == [True, True, False, True]
    bundle = written(store, "main", "old")
    report = adopt(there, bundle)
    for name, tip in report.refs.items():
        there.refs[name] = there.snapshot(tip)
    assert report.shallow == (ids[3],)
    del report
    collect(there)
    assert messages(there) == ["main 3"]
    assert messages(there, "old") == ["main 1", "main 0"]
    there.verify()


def test_a_branch_on_a_line_that_was_cut(store: casstore.Store, there: casstore.Store) -> None:
    ids = line(store, 3)
    cut(store, 1)
    branch = store.branch("main")
    branch.files["more"] = b"x" * 500
    file = io.BytesIO()
    report = store.export_bundle(file, [branch])
    assert report.shallow == (ids[2],)
    take(there, file.getvalue())
    assert messages(there)[1:] == ["main 2"]
    there.verify()


def test_damage_is_told_from_what_was_given_up(store: casstore.Store) -> None:
    ids = line(store, 3)
    store.storage.backend.delete([ids[1]], durable=True)
    with pytest.raises(casstore.NotFoundError, match="nothing says that it was given up"):
        export_bundle(StorageReader(store.storage), io.BytesIO(), [ids[2]])


def test_hostile(there: casstore.Store) -> None:
    top = leaf((b"f", casstore.format.entry.file_entry(1, inline=b"x")))
    gone, other = Address(b"\1" * 32), Address(b"\2" * 32)
    cut_off = snapshot(gone, files=top.address)
    # Missing parents, and nobody says why; of another snapshot; of what it does not bring; of what is no snapshot.
    refused(there, bundle_of(top, cut_off))
    whole = snapshot(files=top.address)
    refused(there, pack([top, whole, cut_off], [cut_off.address, whole.address], shallow=[whole.address]))
    refused(there, pack([top, cut_off], [cut_off.address], shallow=[cut_off.address, other]))
    refused(there, pack([top, cut_off], [cut_off.address], shallow=[cut_off.address, top.address]))
    error = refused(there, pack([top, raw_record(2, cut_off.address, cut_off.stored)], [cut_off.address]))
    assert error.message
    assert shallow_ids(there.storage) == set()
    assert adopt(there, pack([top, cut_off], [cut_off.address], shallow=[cut_off.address])).shallow == (
        cut_off.address,
    )


def test_a_collection_that_took_the_mark_for_an_old_one_leaves_it(store: casstore.Store, there: casstore.Store) -> None:
    """Roots may be gathered when the mark is there and its snapshot is not yet."""
    ids = line(store, 3)
    cut(store, 1)
    plan = there.plan_gc(grace_seconds=0, undo_keep_seconds=0)
    take(there, written(store, "main"))
    sweep = plan._sweep
    assert sweep is not None
    sweep._roots.superseded += [key for key, payload in there.storage.backend.facts(EVENT_KEY) if shallow_of(payload)]
    assert len(sweep._roots.superseded) == 1
    plan.execute()
    assert shallow_ids(there.storage) == {ids[2]}
    collect(there)
    assert messages(there) == ["main 2"]
    there.verify()


def test_a_put_that_fails_leaves_no_snapshot_without_its_mark(
    store: casstore.Store, there: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = line(store, 3)
    cut(store, 1)
    bundle = written(store, "main")
    put = Reception.put

    def put_and_fail(self: Reception) -> tuple[int, int]:
        put(self)
        raise casstore.StorageError("full.")

    monkeypatch.setattr(Reception, "put", put_and_fail)
    with pytest.raises(casstore.StorageError):
        adopt(there, bundle)
    monkeypatch.undo()
    assert ids[2] in there
    assert shallow_ids(there.storage) == {ids[2]}
    assert take(there, bundle).shallow == ()
    collect(there)
    there.verify()
    # A mark whose snapshot never came goes.
    del there.refs["main"]
    for _ in range(2):
        gc.collect()
        collect(there)
    assert shallow_ids(there.storage) == set()


def test_repair_takes_from_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("files", path) as store:
        ids = line(store, 4)
        cut(store, 2)
        store.export_bundle(tmp_path / "main.bundle", ["main"])
        root = store.snapshot(ids[2]).roots["files"]
    for address in (ids[2], root):
        (lost,) = path.glob(f"**/{address.hex()[4:]}*")
        lost.write_bytes(b"damaged")
    report = repair(path, source=tmp_path / "main.bundle")
    assert report.hurt == ()
    assert report.from_source == 2
    with open_backend("files", path) as store:
        assert damage_of(store) == []
        assert messages(store) == ["main 3", "main 2"]
