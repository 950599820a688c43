# SPDX-License-Identifier: MIT
"""The index is lost, and there is a hole before the last move of a ref: durable or whole, it stands."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import casstore
import casstore.storage.last_move as last_move
from casstore import KeepRule
from casstore.format.event import RefMove, encode_ref_move
from casstore.format.index_entry import BATCH, encode_number, history_key
from casstore.format.kinds import CHUNK, EVENT
from casstore.storage.index import LevelIndex
from casstore.testing.model import noise
from tests.collection.bundles import adopt
from tests.collection.test_bundle_shallow import written
from tests.power_loss.unfinished import (
    BLOCK,
    CONFIG,
    Change,
    assert_hurt,
    durable,
    event_of,
    first_commit,
    lose,
    lose_record,
    main_of,
    newest,
    place_of,
    second_commit,
    torn,
    unfinished,
)
from tests.snapshots.driving import collect, commit


def waste(store: casstore.Store) -> None:
    """Contents that nothing refers to."""
    for number in range(3):
        store.put(noise(600, 20 + number))


def test_a_move_stands_though_a_hole_lies_behind_it(tmp_path: Path) -> None:
    def more(store: casstore.Store) -> None:
        second_commit(store)
        for number in range(6):
            store.put(noise(600, 20 + number))
        store.sync()

    path = durable(tmp_path / "store", more)
    segment = newest(path)
    _, event = place_of(path, segment, CHUNK, last=True)
    lose(segment, event - 2 * BLOCK)
    with casstore.open(path, config=CONFIG) as store:
        assert (store.refs["main"].message, len(dict(store.refs["main"].files))) == ("two", 7)
        store.verify()


def test_a_move_stands_whose_state_is_whole(tmp_path: Path) -> None:
    def change(store: casstore.Store) -> None:
        waste(store)
        second_commit(store)

    first_commit(tmp_path / "store")
    path = torn(unfinished(tmp_path / "store", change))
    with casstore.open(path, config=CONFIG) as store:
        assert (store.refs["main"].message, len(dict(store.refs["main"].files))) == ("two", 7)
        store.verify()


@pytest.mark.parametrize(
    "more",
    [
        lambda store: store.put(b"something"),
        lambda store: store.refs.__setitem__("other", store.refs["main"]),
        lambda store: store.refs.rename("main", "elsewhere") or store.refs.rename("elsewhere", "main"),
    ],
    ids=["content", "move", "renames"],
)
def test_what_follows_a_move_shows_that_it_was_synced(more: Change, tmp_path: Path) -> None:
    assert_hurt(torn(durable(tmp_path / "store", more)))


def test_what_is_torn_behind_a_move_shows_it_too(tmp_path: Path) -> None:
    path = torn(durable(tmp_path / "store", lambda store: store.put(noise(600, 20)) and None))
    os.truncate(newest(path), newest(path).stat().st_size - 300)
    assert_hurt(path)


def test_a_move_between_the_hole_and_the_last_one_shows_that_the_hole_was_synced(tmp_path: Path) -> None:
    def third(store: casstore.Store) -> None:
        branch = store.branch("main")
        branch.files["c"] = noise(600, 30)
        branch.commit("three", ref="other")

    path = torn(durable(tmp_path / "store", third))
    assert_hurt(path)
    with casstore.open(path, config=CONFIG) as store:
        assert store.refs["other"].message == "three"


def test_damage_that_is_no_lost_block_takes_no_move_back(tmp_path: Path) -> None:
    path = durable(tmp_path / "store")
    data = bytearray(newest(path).read_bytes())
    for place in range(2 * BLOCK, 3 * BLOCK):
        data[place] ^= 1
    newest(path).write_bytes(data)
    assert_hurt(path)


@pytest.mark.parametrize("lost", ["CURRENT", "MANIFEST-*"])
@pytest.mark.parametrize("closed", [False, True])
def test_the_files_of_an_index_that_cannot_be_opened_tell(closed: bool, lost: str, tmp_path: Path) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    first_commit(path)
    with casstore.open(path, config=CONFIG) as store:
        second_commit(store)
        shutil.copytree(path, copy)
    path = path if closed else copy
    for file in (path / "index").glob(lost):
        file.write_bytes(b"nothing that LevelDB reads")
    assert_hurt(torn(path))


def test_a_move_that_was_copied_stands(tmp_path: Path) -> None:
    """Compaction copies the records of events, and removes those that it copied only after the sync."""
    path = torn(durable(tmp_path / "store"))
    event = event_of(path, newest(path))
    with min((path / "segments").iterdir()).open("ab") as file:
        file.write(event)
    assert_hurt(path)


@pytest.mark.parametrize("expired", [False, True])
def test_what_another_state_lacks_too_takes_no_move_back(expired: bool, tmp_path: Path) -> None:
    def change(store: casstore.Store) -> None:
        waste(store)
        second_commit(store)

    first_commit(tmp_path / "store")
    with casstore.open(tmp_path / "store", config=CONFIG) as store:
        if expired:
            collect(store)
    path = torn(unfinished(tmp_path / "store", change))
    first = min((path / "segments").iterdir())
    start, _ = place_of(path, first, CHUNK)
    lose(first, start + 100, start + 101)
    assert_hurt(path)


def test_parents_that_were_given_up_are_not_missed(tmp_path: Path) -> None:
    with casstore.open(":memory:") as other:
        for number in range(3):
            branch = other.branch("main" if number else None)
            branch.files["a"] = noise(300, number)
            branch.commit("two", ref="main")
        del branch
        other.configure(undo_keep_seconds=0)
        other.plan_retention([KeepRule(last=1)]).execute()
        collect(other)
        bundle = written(other, "main")

    def change(store: casstore.Store) -> None:
        waste(store)
        store.refs["main"] = store.snapshot(report.tips[0])

    first_commit(tmp_path / "store")
    with casstore.open(tmp_path / "store", config=CONFIG) as store:
        report = adopt(store, bundle)
        assert len(report.shallow) == 1
    path = torn(unfinished(tmp_path / "store", change))
    with casstore.open(path, config=CONFIG) as store:
        assert store.refs["main"].message == "two"
        store.verify()


@pytest.mark.parametrize("adjacent", [False, True])
def test_a_deletion_stands_that_is_no_half_of_a_rename(adjacent: bool, tmp_path: Path) -> None:
    def change(store: casstore.Store) -> None:
        waste(store)
        del store.refs["other"]

    path = tmp_path / "store"
    first_commit(path)
    with casstore.open(path, config=CONFIG) as store:
        for name in ("other", "third"):
            store.refs[name] = store.refs["main"]
    path = unfinished(path, change)
    lost = place_of(path, newest(path), CHUNK, last=adjacent)
    if not adjacent:
        # The event before it is gone too, and not with the same hole.
        older = sorted((path / "segments").iterdir())[-2]
        lose_record(older, *place_of(path, older, EVENT, last=True))
    lose_record(newest(path), *lost)
    with casstore.open(path, config=CONFIG) as store:
        assert {"other", "third"} - {*store.refs} == ({"other"} if adjacent else {"other", "third"})


def test_what_was_synced_with_the_move_before_takes_the_last_one_not_back(tmp_path: Path) -> None:
    def third(store: casstore.Store) -> None:
        commit(store, {"b": noise(600, 50)}, ref="main", message="two")

    first_commit(tmp_path / "store")
    with casstore.open(tmp_path / "store", config=CONFIG) as store:
        store.put(noise(600, 50))
        commit(store, {"c": noise(600, 51)}, ref="other")
        third(store)
    shutil.rmtree(tmp_path / "store" / "index")
    segment = newest(tmp_path / "store")
    lose_record(segment, *place_of(tmp_path / "store", segment, CHUNK))
    assert_hurt(tmp_path / "store")


def test_what_an_index_knows_that_lacks_batches_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    first_commit(path)
    with casstore.open(path, config=CONFIG) as store:
        second_commit(store)
    index = LevelIndex(str(path / "index"))
    index.write({BATCH + encode_number(2): None})
    assert not index.batches_complete()
    index.close(clean=False)
    # Its files say the same, and here they are not asked.
    monkeypatch.setattr(last_move, "_old_index_holds", lambda store, move: False)
    assert_hurt(torn(path))


@pytest.mark.parametrize("whole", ["value", "key", "neither"])
def test_a_log_may_part_what_tells_of_the_move(whole: str, tmp_path: Path) -> None:
    moves: list[RefMove] = []
    path = torn(durable(tmp_path / "store", lambda store: moves.extend(store.refs.history("main"))))
    value, key = encode_ref_move(moves[0]), history_key("main", 2)
    parted = {"value": (value, key[:5] + b"." + key[5:]), "key": (value[:20] + b"." + value[20:], key)}
    data = b"..".join(parted.get(whole, (value[:9], key[:9])))
    (path / "index").mkdir()
    (path / "index" / "CURRENT").write_bytes(b"nothing that LevelDB reads")
    (path / "index" / "000003.log").write_bytes(data)
    if whole == "neither":
        assert main_of(path) == "one"
    else:
        assert_hurt(path)


def test_a_lost_commit_in_an_older_segment_is_damage(tmp_path: Path) -> None:
    path = durable(tmp_path / "store")
    segment = newest(path)
    with casstore.open(path, config=CONFIG) as store:
        store.put(b"something")
    shutil.rmtree(path / "index")
    assert newest(path) != segment
    lose(segment, 2 * BLOCK)
    assert_hurt(path)
