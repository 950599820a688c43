# SPDX-License-Identifier: MIT
"""What a collection keeps, what goes, and what comes back to the file system."""

from __future__ import annotations

import gc
import os
import time
import warnings
from pathlib import Path

import pytest

import casstore
from casstore.address import event_address
from casstore.collection import GcPlan
from casstore.collection.sweep import COMPACT_SHARE
from casstore.format.canonical import canonical_json
from casstore.format.entry import file_entry, snapshot_entry
from casstore.format.event import event_facts
from casstore.format.kinds import EVENT
from casstore.testing.model import noise
from tests.snapshots.driving import collect, commit, open_backend, tree_of

ON_DISK = ["segments", "files"]


def count(store: casstore.Store) -> int:
    return sum(1 for _ in store.storage.backend.scan())


def disk_bytes(path: Path) -> int:
    apart = {"index", "reserve"}
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file() and apart.isdisjoint(item.parts))


def test_what_a_ref_leads_to_stays_and_the_rest_goes(store: casstore.Store) -> None:
    kept = commit(store, {"a": noise(9000, 1), "shared": noise(3000, 2)}, ref="main").id
    gone = commit(store, {"b": noise(9000, 3), "shared": noise(3000, 2)}, ref="other").id
    loose = store.put(noise(5000, 4))
    del store.refs["other"]
    report = collect(store)
    assert report.deleted_objects > 0
    assert report.deleted_bytes > 14_000
    assert dict(store.refs["main"].files) == {"a": noise(9000, 1), "shared": noise(3000, 2)}
    assert store.refs["main"].id == kept
    for address in (gone, loose):
        assert address not in store
    with pytest.raises(casstore.NotFoundError):
        store.resolve(gone)
    with pytest.raises(casstore.NotFoundError):
        store.get(loose)
    store.verify()
    # What went can come again.
    assert store.put(noise(5000, 4)) == loose
    assert store.get(loose) == noise(5000, 4)
    assert commit(store, {"b": noise(9000, 3), "shared": noise(3000, 2)}).files["b"] == noise(9000, 3)


def test_history_of_snapshots_is_kept_and_what_retention_gave_up_is_not(store: casstore.Store) -> None:
    base = commit(store, {"a": noise(2000, 1)})
    middle = commit(store, {"a": noise(2000, 2)}, parents=[base])
    commit(store, {"a": noise(2000, 3)}, parents=[middle], ref="main")
    ids = [base.id, middle.id]
    del base, middle
    collect(store)
    assert [snapshot.id for snapshot in store.log("main")][1:] == ids[::-1]
    backend = store.storage.backend
    payload = canonical_json({"type": "shallow", "number": backend.next_event(), "snapshot": ids[1].hex()})
    backend.put([store.storage.record(EVENT, event_address(payload), payload)])
    backend.sync(event_facts(payload))
    collect(store)
    assert ids[0] not in store
    assert ids[1] in store
    assert len(list(store.log("main"))) == 2
    store.verify()
    assert collect(store).deleted_objects == 0


def test_linked_snapshots_are_kept(store: casstore.Store) -> None:
    deepest = commit(store, {"a": noise(2000, 1)})
    deep = commit(store, {"x": snapshot_entry(deepest.id)})
    commit(
        store,
        {f"{number}": file_entry(1, inline=b"1") for number in range(300)} | {"n": snapshot_entry(deep.id)},
        ref="m",
    )
    ids = [deepest.id, deep.id]
    del deepest, deep
    collect(store)
    assert store.resolve(ids[0]).files == {"a": noise(2000, 1)}
    store.verify()
    del store.refs["m"]
    collect(store)
    assert ids[0] not in store
    assert ids[1] not in store


def test_the_grace_period_keeps_what_is_young_with_all_below(store: casstore.Store) -> None:
    loose = store.put(noise(9000, 1))
    with store.storage.operation():
        root = tree_of(store, {"a": noise(5000, 2), "b": b"x"})
    assert root is not None
    plan = store.plan_gc(grace_seconds=3600, undo_keep_seconds=0)
    assert plan.dead == {}
    assert plan.live == {}
    assert set(plan.young) == {"chunk", "chunk list", "node"}
    plan.execute()
    assert store.get(loose) == noise(9000, 1)
    assert store.add_snapshot(roots={"files": root}).files["a"] == noise(5000, 2)


def age(store: casstore.Store, seconds: int) -> None:
    """Sets the stamps of all records back."""
    backend = store.storage.backend
    store.sync()
    for address, entry in list(backend.scan()):
        backend._pending[address] = entry._replace(stamp=entry.stamp - seconds)  # type: ignore[attr-defined]
    store.sync()


def test_a_put_half_a_second_ago_is_within_a_grace_of_one_second() -> None:
    with casstore.open(":memory:") as store:
        time.sleep(1 - time.time() % 1 + 0.7)
        late = store.put(noise(500, 1))
        # A new second begins, but a whole one does not pass.
        time.sleep(0.4)
        store.plan_gc(grace_seconds=1).execute()
        assert late in store


def test_a_hit_renews_the_grace_period(store: casstore.Store) -> None:
    store.configure(grace_seconds=100)
    once, again = store.put(noise(9000, 1)), store.put(noise(9000, 2))
    age(store, 90)
    store.put(noise(9000, 2))
    age(store, 70)
    store.plan_gc().execute()
    assert once not in store
    assert store.get(again) == noise(9000, 2)
    assert store.put(noise(9000, 1)) == once
    assert store.get(once) == noise(9000, 1)


def test_a_hit_that_renews_no_stamp_keeps_for_the_whole_period_too(store: casstore.Store) -> None:
    store.configure(grace_seconds=100)
    address = store.put(noise(9000, 1))
    age(store, 45)
    store.put(noise(9000, 1))
    age(store, 95)
    store.plan_gc().execute()
    assert store.get(address) == noise(9000, 1)
    age(store, 20)
    store.plan_gc().execute()
    assert address not in store


def test_an_old_piece_of_a_young_list_stays(store: casstore.Store) -> None:
    content = noise(9000, 1)
    address = store.put(content)
    age(store, 1000)
    store.storage.backend.touch(address, int(time.time()))
    store.plan_gc(grace_seconds=100).execute()
    assert store.get(address) == content
    assert store.put(content) == address
    assert store.get(address) == content


def test_pins_keep_what_they_hold(store: casstore.Store) -> None:
    snapshot = commit(store, {"a": noise(9000, 1)})
    content = noise(9000, 2)
    file = store.open_content(store.put(content))
    view = commit(store, {"v": noise(9000, 3)}).files
    plan = store.plan_gc(grace_seconds=0)
    assert plan.roots["pins"] == 3
    assert plan.dead == {}
    plan.execute()
    assert snapshot.files["a"] == noise(9000, 1)
    assert file.read() == content
    assert view["v"] == noise(9000, 3)
    snapshot_id = snapshot.id
    del snapshot, view
    file.close()
    assert store.pins() == []
    assert collect(store).deleted_objects > 0
    assert snapshot_id not in store
    assert count(store) == 0


def test_a_plan_changes_nothing(store: casstore.Store, tmp_path: Path) -> None:
    commit(store, {"a": noise(9000, 1)}, ref="main")
    del store.refs["main"]
    store.sync()
    before = list(store.storage.backend.scan())
    used = store.storage.backend.used_bytes()
    history = store.refs.history("main")
    plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
    text = str(plan)
    assert "chunk list" in text
    assert "grace 0s" in text
    assert "1 expired move of refs" in text
    assert plan.expired_moves == 1
    assert plan.dead_objects > 3
    assert plan.dead_bytes > 9000
    assert plan.mark_bytes >= 0
    plan.drop()
    plan.drop()
    assert list(store.storage.backend.scan()) == before
    assert store.storage.backend.used_bytes() == used
    assert store.refs.history("main") == history
    assert store.storage.backend.watches() == []
    with pytest.raises(casstore.ConflictError):
        plan.execute()
    with store.plan_gc(grace_seconds=0) as other:
        assert len(store.storage.backend.watches()) == 1
        assert isinstance(other, GcPlan)
    assert store.storage.backend.watches() == []
    store.refs.undo("main")
    assert store.refs["main"].files["a"] == noise(9000, 1)


def test_a_plan_is_executed_once(store: casstore.Store) -> None:
    address = store.put(noise(500, 1))
    plan = store.plan_gc(grace_seconds=0)
    report = plan.execute()
    assert report.deleted_objects == plan.dead_objects == 1
    assert report.deleted_bytes == plan.dead_bytes
    assert address not in store
    with pytest.raises(casstore.ConflictError, match="plan_gc"):
        plan.execute()
    assert store.storage.backend.watches() == []


def test_a_plan_tells_what_the_execution_does(store: casstore.Store) -> None:
    commit(store, {"a": noise(9000, 1), "b": noise(300, 2)}, ref="main")
    commit(store, {"c": noise(9000, 3)})
    plan = store.plan_gc(grace_seconds=0)
    live = sum(tally.objects for tally in plan.live.values())
    assert plan.roots["refs"] == 1
    seen: list[str] = []
    report = plan.execute(lambda phase, done, total: seen.append(phase))
    assert (report.deleted_objects, report.deleted_bytes) == (plan.dead_objects, plan.dead_bytes)
    assert report.seconds >= 0
    assert count(store) == live


def test_progress_is_told_for_each_batch(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casstore.collection.sweep._BATCH", 3)
    for number in range(10):
        store.put(noise(200, number))
    told: list[int] = []
    store.plan_gc(grace_seconds=0).execute(lambda phase, done, total: told.append(done))
    assert told == [3, 6, 9, 10]


def test_collecting_twice_does_nothing_more(store: casstore.Store) -> None:
    commit(store, {"a": noise(9000, 1)}, ref="main")
    commit(store, {"b": noise(9000, 2)}, ref="main")
    assert collect(store).deleted_objects > 0
    again = collect(store)
    assert (again.deleted_objects, again.deleted_bytes, again.freed_bytes) == (0, 0, 0)
    assert again.waiting_segments == 0
    with store.plan_gc(grace_seconds=0) as plan:
        assert plan.segments == {}


def test_everything_can_go(store: casstore.Store) -> None:
    for number in range(5):
        commit(store, {"a": noise(9000, number)}, ref="main")
    del store.refs["main"]
    collect(store)
    # What stays says that the ref is gone, and how far its history was cut.
    assert {entry.kind for _, entry in store.storage.backend.scan()} <= {EVENT}
    assert list(store.refs) == []
    store.verify()
    assert commit(store, {"a": noise(9000, 1)}, ref="main").files["a"] == noise(9000, 1)
    store.verify()


def test_nothing_to_collect_in_an_empty_store(store: casstore.Store) -> None:
    report = collect(store)
    assert (report.deleted_objects, report.freed_bytes) == (0, 0)


def test_periods_are_whole_numbers(store: casstore.Store) -> None:
    for wrong in (-1, 1.5, "1", True):
        with pytest.raises(casstore.InvalidInputError):
            store.plan_gc(grace_seconds=wrong)  # type: ignore[arg-type]
        with pytest.raises(casstore.InvalidInputError):
            store.plan_gc(undo_keep_seconds=wrong)  # type: ignore[arg-type]
    assert store.storage.backend.watches() == []


def test_the_periods_of_the_store_hold_where_none_is_given(store: casstore.Store) -> None:
    with store.plan_gc() as plan:
        assert (plan.grace_seconds, plan.undo_keep_seconds) == (3600, 7 * 24 * 3600)
    store.configure(grace_seconds=5, undo_keep_seconds=6)
    with store.plan_gc() as plan:
        assert (plan.grace_seconds, plan.undo_keep_seconds) == (5, 6)


def test_a_plan_that_is_forgotten_is_dropped_with_a_warning(store: casstore.Store) -> None:
    plan: GcPlan | None = store.plan_gc(grace_seconds=0)
    assert len(store.storage.backend.watches()) == 1
    with pytest.warns(ResourceWarning, match="neither executed nor dropped"):
        plan = None
    assert plan is None
    assert store.storage.backend.watches() == []


def test_a_plan_that_ended_is_forgotten_in_silence(store: casstore.Store) -> None:
    collect(store)
    store.plan_gc(grace_seconds=0).drop()
    with store.plan_gc(grace_seconds=0):
        pass
    store.put(noise(9000, 1))
    failed = store.plan_gc(grace_seconds=0)
    with pytest.raises(ZeroDivisionError):
        failed.execute(lambda phase, done, total: 1 // 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError):
        GcPlan()  # type: ignore[call-arg]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del failed
        gc.collect()
    assert store.storage.backend.watches() == []


def test_a_reader_collects_nothing(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        store.put(b"x" * 500)
    with (
        casstore.open(tmp_path / "store", read_only=True) as reader,
        pytest.raises(casstore.ReadOnlyError),
    ):
        reader.plan_gc()


def test_marking_stops_before_anything_is_deleted(store: casstore.Store) -> None:
    snapshot = commit(store, {"a": noise(9000, 1)}, ref="main")
    loose = store.put(noise(9000, 2))
    pieces = store.storage.chunk_list(casstore.Address(snapshot.files.entry("a").address or b""))
    assert pieces is not None
    for missing in (pieces.pieces[2][0], snapshot.roots["files"]):
        store.storage.backend.delete([missing])
        left = count(store)
        with pytest.raises(casstore.CorruptionError) as caught:
            store.plan_gc(grace_seconds=0)
        assert caught.value.address == missing
        assert "nothing was deleted" in str(caught.value)
        assert count(store) == left
        assert store.storage.backend.watches() == []
        # `verify` names it too, so the message leads somewhere.
        with pytest.raises(casstore.CorruptionError):
            store.verify()
    assert store.get(loose) == noise(9000, 2)


def test_a_reference_of_the_wrong_kind_stops_the_mark(store: casstore.Store) -> None:
    content = store.put(noise(500, 1))
    node = tree_of(store, {"x": b"1"})
    assert node is not None
    commit(store, {"a": file_entry(500, node)}, ref="main")
    with pytest.raises(casstore.CorruptionError, match="referred to as content"):
        store.plan_gc(grace_seconds=0)
    del store.refs["main"]
    commit(store, {"a": snapshot_entry(content)}, ref="main")
    with pytest.raises(casstore.CorruptionError, match="referred to as snapshot"):
        store.plan_gc(grace_seconds=0)


@pytest.mark.parametrize("backend", ON_DISK)
def test_bytes_come_back_to_the_file_system(backend: str, tmp_path: Path) -> None:
    with open_backend(backend, tmp_path / "store") as store:
        commit(store, {"keep": noise(20_000, 1)}, ref="main")
        for number in range(10):
            commit(store, {"go": noise(20_000, 2 + number)})
        store.sync()
        before = disk_bytes(tmp_path / "store")
        plan = store.plan_gc(grace_seconds=0)
        report = plan.execute()
        after = disk_bytes(tmp_path / "store")
        assert before - after == pytest.approx(report.freed_bytes, abs=200)
        assert report.freed_bytes > 195_000
        assert plan.freed_bytes == pytest.approx(report.freed_bytes, rel=0.1)
        assert after < 30_000
        assert store.storage.backend.used_bytes() <= after
        assert store.refs["main"].files["keep"] == noise(20_000, 1)
        store.verify()
    with open_backend(backend, tmp_path / "store") as store:
        assert store.refs["main"].files["keep"] == noise(20_000, 1)
        store.verify()


def test_a_segment_with_few_dead_bytes_is_left_alone(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        commit(store, {f"{number}": noise(1000, number) for number in range(14)}, ref="main")
        store.put(noise(200, 99))
        plan = store.plan_gc(grace_seconds=0)
        assert plan.dead_objects == 1
        assert plan.segments == {}
        assert COMPACT_SHARE > 200 / 16_000
        assert plan.execute().freed_bytes == 0
        store.verify()


def test_a_condemned_segment_waits_for_the_readers_that_need_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path) as store:
        commit(store, {"a": noise(30_000, 1)}, ref="main")
        commit(store, {"b": noise(10_000, 2)}, ref="other")
        reader = casstore.open(path, read_only=True, config=casstore.Config(cache_bytes=0))
        del store.refs["main"]
        report = collect(store)
        assert report.waiting_segments > 0
        assert [pin.what for pin in store.pins()] == ["reader"]
        # The reader goes on seeing what it saw, and its opening is no obstacle to later ones.
        assert dict(reader.refs["main"].files) == {"a": noise(30_000, 1)}
        reader.verify()
        later = casstore.open(path, read_only=True)
        assert list(later.refs) == ["other"]
        later.verify()
        assert collect(store).waiting_segments == report.waiting_segments
        reader.close()
        assert collect(store).waiting_segments == 0
        # The later one was opened after the segments were condemned, so it never needed them.
        assert dict(later.refs["other"].files) == {"b": noise(10_000, 2)}
        later.verify()
        later.close()
        assert store.pins() == []
        assert disk_bytes(path) < 15_000
        store.verify()


def test_a_reader_of_files_holds_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("files", path) as store:
        commit(store, {"a": noise(3000, 1)}, ref="main")
        reader = casstore.open(path, read_only=True, config=casstore.Config(cache_bytes=0))
        del store.refs["main"]
        assert collect(store).freed_bytes == 0
        assert dict(reader.refs["main"].files) == {"a": noise(3000, 1)}
        reader.verify()
        reader.close()
        collect(store)
        # Only the two events are left: that the ref is gone, and how far its history was cut.
        assert len([item for item in (path / "objects").rglob("*") if item.is_file()]) == 2
        assert len(list((path / "refs").iterdir())) == 2
        store.verify()


def test_condemned_segments_of_a_store_that_was_closed_go_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = open_backend("segments", path)
    commit(store, {"a": noise(30_000, 1)})
    store.sync()
    reader = casstore.open(path, read_only=True)
    assert collect(store).waiting_segments > 0
    store.close()
    assert disk_bytes(path) > 30_000
    reader.close()
    with open_backend("segments", path) as store:
        assert store.stats().segments == 0
        assert disk_bytes(path) < 2000
        store.verify()
    assert os.listdir(path / "readers") == []
