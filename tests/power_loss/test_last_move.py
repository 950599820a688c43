# SPDX-License-Identifier: MIT
"""The index is lost, and the last move of a ref lies behind a hole: it was never durable, and the ref stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import casstore
from casstore.format.entry import snapshot_entry
from casstore.format.index_entry import OBJECT, SUSPECT
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, SNAPSHOT
from casstore.format.record import decode_record
from casstore.storage.segment_files import SegmentFiles
from casstore.testing.faults import Call, FaultyFiles
from casstore.testing.model import noise
from tests.power_loss.unfinished import (
    BLOCK,
    CONFIG,
    event_of,
    first_commit,
    lose_record,
    main_of,
    newest,
    open_with,
    place_of,
    second_commit,
    torn,
    unfinished,
    unfinished_commit,
)
from tests.snapshots.driving import collect, commit


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", [CHUNK, CHUNK_LIST, NODE, SNAPSHOT])
def test_whatever_the_state_lacks_the_ref_stays(kind: int, last: bool, tmp_path: Path) -> None:
    """The first chunk is a piece of a list."""
    path = unfinished_commit(tmp_path)
    lose_record(newest(path), *place_of(path, newest(path), kind, last=last))
    with casstore.open(path, config=CONFIG) as store:
        assert store.refs["main"].message == "one"
        store.verify()


def test_the_ref_has_its_value_from_before_and_moves_on(tmp_path: Path) -> None:
    path = torn(unfinished_commit(tmp_path))
    event = event_of(path, newest(path))
    with casstore.open(path, config=CONFIG) as store:
        assert store.recovered is not None
        assert store.recovered.refs_suspect
        assert dict(store.refs["main"].files) == {"a": noise(700, 1)}
        assert [move.number for move in store.refs.history("main")] == [1]
        store.verify()
        # Nothing of the event is left, not even in the counts.
        info, walk = store.storage.backend.segments()[-1], SegmentFiles(str(path)).walk_past_damage(2)
        assert (info.records, info.total_bytes) == (len([*walk]), newest(path).stat().st_size)
        assert decode_record(event).address not in [key[1:] for key, _ in store.storage.backend.facts(OBJECT)]
        second_commit(store)
        store.refs.undo("main")
        store.refs.undo("main")
        assert [move.number for move in store.refs.history("main")] == [4, 3, 2, 1]
        refs, history = dict(store.refs.ids()), store.refs.history("main")
    assert [kept.read_bytes() for kept in (path / "quarantine").iterdir()] == [event]
    for _ in range(2):
        with casstore.open(path, config=CONFIG) as store:
            assert (dict(store.refs.ids()), store.refs.history("main")) == (refs, history)
            assert len(dict(store.refs["main"].files)) == 7
            store.verify()
        # The next index that is made anew does not find the move either.
        shutil.rmtree(path / "index")


def test_a_ref_that_was_being_made_is_not_there(tmp_path: Path) -> None:
    first_commit(tmp_path / "store")
    path = torn(unfinished(tmp_path / "store", lambda store: second_commit(store, "other")))
    with casstore.open(path, config=CONFIG) as store:
        assert [*store.refs] == ["main"]
        store.verify()
        second_commit(store, "other")
        assert store.refs["other"].message == "two"
        store.verify()


def test_what_the_parents_lack_counts(tmp_path: Path) -> None:
    def change(store: casstore.Store) -> None:
        branch = store.branch("main")
        for number in range(4):
            branch.files["b"] = noise(600, number + 2)
            snapshot = branch.commit(f"step {number}")
        store.refs["main"] = snapshot

    first_commit(tmp_path / "store")
    path = torn(unfinished(tmp_path / "store", change))
    assert main_of(path) == "one"
    with casstore.open(path, config=CONFIG) as store:
        store.verify()


def test_what_a_delta_is_stored_against_counts(tmp_path: Path) -> None:
    data = noise(900, 40)

    def change(store: casstore.Store) -> None:
        store.storage.put(data[:-20] + noise(20, 41), like=store.put(data))
        branch = store.branch("main")
        branch.files["c"] = data[:-20] + noise(20, 41)
        branch.commit("two", ref="main")

    first_commit(tmp_path / "store")
    path = unfinished(tmp_path / "store", change)
    shutil.copytree(path, tmp_path / "whole")
    assert main_of(tmp_path / "whole") == "two"
    lose_record(newest(path), *place_of(path, newest(path), CHUNK))
    assert main_of(path) == "one"


def test_what_a_linked_state_lacks_counts(tmp_path: Path) -> None:
    def change(store: casstore.Store) -> None:
        linked = commit(store, {"b": noise(600, 2)})
        commit(store, {"link": snapshot_entry(linked.id), "c": noise(600, 3)}, ref="main")

    first_commit(tmp_path / "store")
    path = unfinished(tmp_path / "store", change)
    lose_record(newest(path), *place_of(path, newest(path), CHUNK))
    assert main_of(path) == "one"


def test_what_only_a_collected_state_lacks_as_well_counts(tmp_path: Path) -> None:
    first_commit(tmp_path / "store")
    with casstore.open(tmp_path / "store", config=CONFIG) as store:
        # Its content shares a segment with what goes, and the records above it share one with much that stays.
        for number in range(3, 12):
            store.put(noise(900, number))
        gone = commit(store, {"c": noise(900, 3)}, ref="other").id
        commit(store, {"a": noise(7000, 5)}, ref="main", message="one")
        del store.refs["other"]
        collect(store)
    path = unfinished(tmp_path / "store", lambda store: commit(store, {"c": noise(900, 3)}, ref="main"))
    lose_record(newest(path), *place_of(path, newest(path), CHUNK))
    with casstore.open(path, config=CONFIG) as store:
        assert gone in store
        assert store.refs["main"].message == "one"


def test_half_a_rename_removes_no_ref(tmp_path: Path) -> None:
    first_commit(tmp_path / "store")
    path = unfinished(tmp_path / "store", lambda store: store.refs.rename("main", "other"))
    shutil.copytree(path, tmp_path / "whole")
    with casstore.open(tmp_path / "whole", config=CONFIG) as store:
        assert [*store.refs] == ["other"]
    lose_record(newest(path), *place_of(path, newest(path), EVENT))
    shutil.copytree(path, tmp_path / "repaired")
    casstore.repair(tmp_path / "repaired")
    for place in (path, tmp_path / "repaired"):
        with casstore.open(place, config=CONFIG) as store:
            assert [*store.refs] == ["main"]
            assert [move.number for move in store.refs.history("main")] == [1]
            store.verify()
            store.refs.rename("main", "other")
        shutil.rmtree(place / "index")
        with casstore.open(place, config=CONFIG) as store:
            assert [*store.refs] == ["other"]


def test_repair_and_readers_agree_with_an_opening(tmp_path: Path) -> None:
    path = torn(unfinished_commit(tmp_path))
    repaired, again = tmp_path / "repaired", tmp_path / "again"
    shutil.copytree(path, repaired)
    event = event_of(path, newest(path))
    with pytest.raises(casstore.CorruptionError, match="casstore repair"):
        casstore.open(path, read_only=True, config=CONFIG)
    dry = casstore.repair(repaired, dry_run=True)
    report = casstore.repair(repaired)
    assert (report.hurt, report.refs_suspect, report.damaged) == ((), True, dry.damaged)
    shutil.copytree(repaired, again)
    shutil.rmtree(again / "index")
    for place in (path, repaired, again):
        with casstore.open(place, config=CONFIG) as store:
            refs, history = dict(store.refs.ids()), store.refs.history("main")
            assert (store.refs["main"].message, len(history)) == ("one", 1)
            store.verify()
        with casstore.open(place, read_only=True, config=CONFIG) as store:
            assert (dict(store.refs.ids()), store.refs.history("main")) == (refs, history)
            store.verify()
        assert event in [kept.read_bytes() for kept in (place / "quarantine").iterdir()]
        second = casstore.repair(place)
        assert (second.hurt, main_of(place)) == ((), "one")
    assert casstore.repair(repaired).index == "sound"


def test_repair_agrees_where_the_index_is_sound(tmp_path: Path) -> None:
    """Then an opening cuts the end off at the hole; the index says what was durable, so the hole need not be zeros."""
    first_commit(tmp_path / "store")
    path = unfinished(tmp_path / "store", second_commit, index=True)
    segment = newest(path)
    data = bytearray(segment.read_bytes())
    data[2 * BLOCK : 3 * BLOCK] = noise(BLOCK, 9)
    segment.write_bytes(data)
    shutil.copytree(path, tmp_path / "repaired")
    report = casstore.repair(tmp_path / "repaired")
    assert (report.hurt, report.index_was) == ((), "inexact")
    assert main_of(path) == main_of(tmp_path / "repaired") == "one"


def test_a_rebuild_that_takes_a_move_back_may_crash_anywhere(tmp_path: Path) -> None:
    path = torn(unfinished_commit(tmp_path))
    images: list[Path] = []

    def before(call: Call) -> None:
        for keep in (False, True):
            images.append(tmp_path / f"image{len(images)}")
            files.crash_copy(str(images[-1]), keep_names=keep)

    files = FaultyFiles(str(path), before)
    with open_with(path, "segments", files) as store:
        assert store.refs["main"].message == "one"
    assert len(images) > 10
    for image in images:
        with casstore.open(image, config=CONFIG) as store:
            assert store.refs["main"].message == "one"
            assert store.storage.backend.fact(SUSPECT) is not None
            store.verify()
