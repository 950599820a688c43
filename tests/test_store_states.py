# SPDX-License-Identifier: MIT
"""The façade over branches: merge, proofs and bundles, by the names that users call."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import casstore
from casstore.errors import ConflictError, CorruptionError, InvalidInputError, NotFoundError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with casstore.open(path) as store:
        branch = store.branch()
        branch.files.update({"a": b"a" * 300, "src/b": b"b"})
        branch.objects["memory"] = {"step": 1}
        branch.commit("start", ref="main")
        branch.files["src/b"] = b"two"
        branch.commit("left", ref="left")
        other = store.branch("main")
        other.files["c"] = b"c" * 50_000
        other.commit("right", ref="right")
    return path


def test_merge_gives_a_new_branch(path: Path) -> None:
    with casstore.open(path) as store:
        branch, report = store.merge("left", "right")
        assert report.conflicts == ()
        assert branch.files == {"a": b"a" * 300, "src/b": b"two", "c": b"c" * 50_000}
        merged = branch.commit("merged", ref="merged")
        assert merged.parents == (store.refs["left"].id, store.refs["right"].id)
        assert store.refs["left"].files["src/b"] == b"two"
        with pytest.raises(NotFoundError):
            store.merge("left", "nothing")
        lonely = store.branch()
        lonely.files["x"] = b""
        with pytest.raises(ConflictError):
            store.merge("left", lonely)
        branch, report = store.merge("left", lonely, base=store.branch(), resolve="theirs")
        assert sorted(branch.files) == ["a", "src/b", "x"]


def test_a_proof_needs_no_store(path: Path) -> None:
    with casstore.open(path, read_only=True) as store:
        state_id = store.refs["main"].state_id
        present = store.prove("main", "files/src/b")
        absent = store.prove("main", "files/src/c")
        listing = store.prove("main", "files/src/")
        branch = store.branch("main")
        branch.files["new"] = b"unsaved"
        unsaved = store.prove(branch, "files/new")
        unsaved_id = branch.state_id()
    found = casstore.verify_proof(state_id, present, "files/src/b")
    assert found.entry is not None
    assert found.entry.inline == b"b"
    assert casstore.verify_proof(state_id, absent, "files/src/c").entry is None
    assert [key for key, _ in casstore.verify_proof(state_id, listing).entries or ()] == [b"src/b"]
    assert casstore.verify_proof(unsaved_id, unsaved, "files/new").entry is not None
    with pytest.raises(CorruptionError):
        casstore.verify_proof(unsaved_id, present)
    with pytest.raises(CorruptionError):
        casstore.verify_proof(state_id, present, "files/a")


def test_a_bundle_carries_states_to_another_store(path: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "states.bundle"
    with casstore.open(path, read_only=True) as store:
        ids = [store.refs[name].id for name in ("left", "right")]
        store.export_bundle(bundle, ["left", store.refs["right"]])
        with pytest.raises(InvalidInputError):
            store.export_bundle(bundle, [])
    with casstore.open(tmp_path / "other") as other:
        report = other.adopt_bundle(bundle)
        assert list(report.tips) == ids
        assert dict(report.refs) == {"left": ids[0]}
        assert list(other.refs) == []
        assert other.snapshot(ids[1]).files["c"] == b"c" * 50_000
        assert [snapshot.message for snapshot in other.log(ids[0])] == ["left", "start"]
        assert other.verify().damage == []


def test_a_worker_hands_back_what_it_changed(path: Path) -> None:
    file = io.BytesIO()
    with casstore.open(path, read_only=True) as worker:
        branch = worker.branch("main")
        branch.files["result"] = b"r" * 100_000
        del branch.files["a"]
        wanted = branch.state_id()
        report = worker.export_bundle(file, [branch], exclude=["main"])
        assert report.bytes < 150_000
    with casstore.open(path) as store:
        (tip,) = store.adopt_bundle(io.BytesIO(file.getvalue())).tips
        snapshot = store.snapshot(tip)
        assert snapshot.state_id == wanted
        assert snapshot.parents == (store.refs["main"].id,)
        store.refs["from-worker"] = snapshot
        assert store.branch("from-worker").files["result"] == b"r" * 100_000
        torn = file.getvalue()[:-1]
        with pytest.raises(CorruptionError):
            store.adopt_bundle(io.BytesIO(torn))
