# SPDX-License-Identifier: MIT
"""The record of an old move is damaged: one that history keeps no longer, and that still says what a ref names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import casstore
from casstore import KeepRule
from casstore.compression import decompress
from casstore.format.event import SHALLOW, RefMove, decode_ref_move, encode_ref_move, parse_event
from casstore.format.index_entry import BATCH, HISTORY, SUSPECT, encode_number, history_key, ref_key
from casstore.format.kinds import EVENT
from casstore.snapshots import shallow_ids
from casstore.storage.filling import event_payload
from casstore.storage.index import LevelIndex
from casstore.storage.segment_files import SegmentFiles
from casstore.testing.model import noise
from tests.snapshots.driving import SMALL, collect, commit

Wanted = Callable[[bytes], bool]


def latest(name: str) -> Wanted:
    def is_it(payload: bytes) -> bool:
        return parse_event(payload).get("name") == name

    return is_it


def is_mark(payload: bytes) -> bool:
    return parse_event(payload)["type"] == SHALLOW


def damage(path: Path, wanted: Wanted) -> None:
    """Flips a bit of every record of the events that are wanted."""
    files = SegmentFiles(str(path))
    for segment in files.on_disk():
        for offset, header, data in [*files.walk_past_damage(segment)]:
            if header.kind == EVENT and wanted(event_payload(data, decompress)):
                file = Path(files.path(segment))
                changed = bytearray(file.read_bytes())
                changed[offset + 60] ^= 1
                file.write_bytes(changed)


def lack_a_batch(path: Path) -> None:
    """Makes the index one that is made anew by the next opening."""
    index = LevelIndex(str(path / "index"))
    index.write({BATCH + encode_number(2): None})
    index.close(clean=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of which a collection took the history; ``main`` was moved, ``gone`` deleted, ``line`` cut."""
    path = tmp_path / "store"
    with casstore.open(path, config=SMALL) as store:
        for name in ("main", "gone", "line"):
            commit(store, {"a": noise(900, 1)}, ref=name, message="one")
    with casstore.open(path, config=SMALL) as store:
        commit(store, {"a": noise(900, 2)}, ref="main", message="two")
        for number in range(3):
            branch = store.branch("line")
            branch.files["b"] = noise(900, 3 + number)
            branch.commit(f"step {number}", ref="line")
        del branch, store.refs["gone"]
        store.configure(undo_keep_seconds=0)
        store.plan_retention([KeepRule(ref="line", last=2)]).execute()
        collect(store)
        # Moves of a later history, or there would be no cut above all.
        commit(store, {"a": noise(900, 7)}, ref="later")
        collect(store)
    return path


def facts(store: casstore.Store) -> tuple[dict[str, bytes], dict[str, RefMove], set[bytes]]:
    moves = [decode_ref_move(payload) for _, payload in store.storage.backend.facts(HISTORY)]
    by_name = {move.name: move for move in sorted(moves, key=lambda move: move.number)}
    return dict(store.refs.ids()), by_name, set(shallow_ids(store.storage))


@pytest.mark.parametrize("remade", ["repaired", "opened"])
@pytest.mark.parametrize(
    "wanted", [latest("main"), latest("gone"), latest("line"), is_mark], ids=["moved", "deleted", "cut", "mark"]
)
def test_the_index_tells_of_it(wanted: Wanted, remade: str, path: Path) -> None:
    with casstore.open(path, config=SMALL) as store:
        before = facts(store)
        assert [*store.refs] == ["later", "line", "main"]
        assert len(before[2]) == 1
    damage(path, wanted)
    if remade == "repaired":
        report = casstore.repair(path)
        assert (report.hurt, report.refs_suspect) == ((), False)
        assert report.restored_events >= 1
    else:
        lack_a_batch(path)
    with casstore.open(path, config=SMALL) as store:
        assert facts(store) == before
        assert (store.storage.backend.fact(SUSPECT) is not None) == (remade == "opened")
        assert store.refs["main"].message == "two"
    if remade == "opened":
        # An opening writes no records.
        assert casstore.repair(path).restored_events >= 1
    with casstore.open(path, config=SMALL) as store:
        store.plan_gc(accept_refs=True, grace_seconds=0).execute()
        assert facts(store) == before
        assert len([*store.log("line")]) == 2
        store.verify()
    # From now on the segments alone tell, too.
    shutil.rmtree(path / "index")
    with casstore.open(path, config=SMALL) as store:
        assert facts(store) == before


def test_what_later_moves_replaced_is_not_taken_from_an_old_index(path: Path) -> None:
    with casstore.open(path, config=SMALL) as store:
        before = facts(store)
    last = before[1]["main"]
    stale = replace(last, new=last.old, old=None, number=1)
    index = LevelIndex(str(path / "index"))
    index.write({history_key("main", 1): encode_ref_move(stale), ref_key("main"): None})
    index.close(clean=False)
    lack_a_batch(path)
    # Else the old index is not asked.
    damage(path, latest("line"))
    with casstore.open(path, config=SMALL) as store:
        assert facts(store) == before
        assert [move.number for move in store.refs.history("main")] == [last.number]
