# SPDX-License-Identifier: MIT
"""Stores that the first version of format 1 wrote (``make_store.py``) stay readable, writable and the same."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.testing.model import noise
from tests.compat.make_store import BACKENDS, describe
from tests.snapshots.driving import collect, commit

KEPT = Path(__file__).parent / "format-1"


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(params=BACKENDS)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """A copy of the kept store, and what must be found in it."""
    backend = request.param
    shutil.copytree(KEPT / backend, tmp_path / "store")
    return tmp_path / "store", json.loads((KEPT / f"{backend}.json").read_text("utf-8"))


def check(store: casstore.Store, expected: Any) -> None:
    assert store.store_id == expected["store_id"]
    assert {name: snapshot.id.hex() for name, snapshot in store.refs.items()} == expected["refs"]
    for name, moves in expected["history"].items():
        found = [
            [move.old and move.old.hex(), move.new and move.new.hex(), move.reason] for move in store.refs.history(name)
        ]
        assert found == moves
    for snapshot_id, wanted in expected["snapshots"].items():
        assert json.loads(json.dumps(describe(store.resolve(snapshot_id)))) == wanted
    files = store.refs["main"].files
    assert files["big.bin"] == noise(12_000, 1)[:6000] + noise(6000, 2)
    assert files["text.txt"] == b"all work and no play makes Jack a dull boy\n" * 60
    assert files["\udcff\udcfe not UTF-8"] == b"\xff"
    assert files["empty file"] == b""
    assert len(files) == 156
    assert [snapshot.message for snapshot in store.log("main")] == ["zweiter Schnappschuß", "first"]
    assert store.verify().snapshots == 3


def test_it_is_read_as_it_was(copy: tuple[Path, Any]) -> None:
    path, expected = copy
    before = files_below(path)
    with casstore.open(path, read_only=True) as store:
        check(store, expected)
        # Written with other chunk sizes than today's defaults, and these stay.
        assert store.format_fields["chunk_avg_bytes"] == 1024
    assert files_below(path) == before


def test_it_is_written_on(copy: tuple[Path, Any]) -> None:
    path, expected = copy
    with casstore.open(path) as store:
        check(store, expected)
        used = store.storage.backend.used_bytes()
        # Equal content has equal addresses for ever, so nothing of this is stored again.
        store.put(noise(12_000, 1))
        assert store.storage.backend.used_bytes() == used
        commit(store, {"big.bin": noise(12_000, 1), "later": b"x"}, ref="later")
        assert store.refs.undo("gone").new is not None
        store.refs.undo("main")
        assert store.refs["main"].message == "first"
        store.refs.undo("main")
        del store.refs["gone"]
    with casstore.open(path) as store:
        assert store.refs["later"].files["big.bin"] == noise(12_000, 1)
        store.refs.delete("later")
        collect(store)
        assert {name: snapshot.id.hex() for name, snapshot in store.refs.items()} == expected["refs"]
        store.verify()


def test_its_index_can_be_made_anew(copy: tuple[Path, Any]) -> None:
    path, expected = copy
    shutil.rmtree(path / "index")
    with casstore.open(path) as store:
        check(store, expected)


def test_the_same_states_made_today_have_the_same_ids(copy: tuple[Path, Any], tmp_path: Path) -> None:
    from tests.compat.make_store import fill

    _, expected = copy
    with casstore.open(":memory:", config=casstore.Config(actor="compat")) as store:
        made = fill(store)
    assert json.loads(json.dumps(made["snapshots"])) == expected["snapshots"]


def test_the_kept_stores_are_whole_and_small() -> None:
    assert sum(map(len, files_below(KEPT).values())) < 200_000
    for backend in BACKENDS:
        assert os.path.isfile(KEPT / backend / "superblock")
        assert os.path.isfile(KEPT / backend / "index" / "CURRENT")
