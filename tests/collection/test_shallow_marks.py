# SPDX-License-Identifier: MIT
"""Shallow marks go with the snapshots that they speak of: a store that is cut for ever does not grow by them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore import KeepRule
from casstore.format.event import SHALLOW, parse_event
from casstore.format.index_entry import EVENT_KEY
from casstore.format.kinds import EVENT
from casstore.snapshots import shallow_ids
from casstore.testing.model import noise
from tests.snapshots.driving import collect, open_backend

ROUNDS = 6
LINES = 4


@pytest.fixture(params=["segments", "files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[casstore.Store]:
    with open_backend(request.param, tmp_path / "store") as opened:
        opened.configure(undo_keep_seconds=0)
        yield opened


def marks(store: casstore.Store) -> int:
    return sum(parse_event(payload)["type"] == SHALLOW for _, payload in store.storage.backend.facts(EVENT_KEY))


def go_on(store: casstore.Store, rounds: int) -> None:
    """Every line goes on by a state and is cut to two, over and over; each time all that is dead goes."""
    for number in range(rounds):
        for line in range(LINES):
            ref = f"try/{line}"
            branch = store.branch(ref if ref in store.refs else None)
            branch.files["data"] = noise(500, number * 100 + line)
            branch.commit(ref=ref)
            del branch
        gc.collect()
        store.plan_retention([KeepRule(last=2)]).execute()
        collect(store)


def test_there_is_no_more_than_one_for_each_line(store: casstore.Store) -> None:
    go_on(store, ROUNDS)
    # Those of snapshots that went by the last collection go by the next.
    collect(store)
    assert marks(store) == LINES
    assert shallow_ids(store.storage) <= {snapshot.id for ref in store.refs for snapshot in store.log(ref)}
    for ref in store.refs:
        assert len(list(store.log(ref))) == 2
    store.verify()


def test_their_records_go_too(store: casstore.Store) -> None:
    go_on(store, ROUNDS)
    records = []
    for _ in range(2):
        collect(store)
        records.append(
            sum(
                parse_event(store.storage.get_record(EVENT, address))["type"] == SHALLOW
                for address, entry in store.storage.backend.scan()
                if entry.kind == EVENT
            )
        )
    assert records[-1] == LINES


def test_who_brings_a_snapshot_back_brings_its_history(store: casstore.Store, tmp_path: Path) -> None:
    """A mark that had stayed would have the collector take what came before, though it is all there again."""
    go_on(store, 1)
    branch = store.branch("try/0")
    for number in range(4):
        branch.files["data"] = noise(500, 7000 + number)
        branch.commit(ref="try/0")
    del branch
    # The third of five is the last that the first cut will keep, and is gone after the second.
    line = [snapshot.id for snapshot in store.log("try/0")]
    store.export_bundle(tmp_path / "all.bundle", [line[1]])
    gc.collect()
    store.plan_retention([KeepRule(last=2)]).execute()
    collect(store)
    assert line[1] in shallow_ids(store.storage)
    del store.refs["try/0"]
    gc.collect()
    collect(store)
    assert line[1] not in store
    collect(store)
    assert line[1] not in shallow_ids(store.storage)
    report = store.adopt_bundle(tmp_path / "all.bundle")
    store.refs["again"] = store.snapshot(line[1])
    del report
    gc.collect()
    collect(store)
    assert [snapshot.id for snapshot in store.log("again")] == line[1:]
    store.verify()
