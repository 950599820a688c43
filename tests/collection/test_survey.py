# SPDX-License-Identifier: MIT
"""The survey: the same in a process of its own; and what a sweep does with it while writers go on."""

from __future__ import annotations

import os
import random
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.address import Address
from casstore.collection import survey_process
from casstore.collection.survey import Addresses, survey
from casstore.collection.survey_process import survey_elsewhere
from casstore.collection.sweep import Sweep
from casstore.format.index_entry import SWEEPING
from casstore.format.kinds import CHUNK_LIST, NODE
from casstore.storage.watch import Bitmap
from casstore.testing.model import noise
from casstore.tree import apply
from tests.collection.test_deltas import edited as edited_text
from tests.collection.test_deltas import words
from tests.snapshots.driving import collect, commit, open_backend, tree_of


def plan(store: casstore.Store, grace: int = 0) -> casstore.GcPlan:
    return store.plan_gc(grace_seconds=grace, undo_keep_seconds=0)


def fill(store: casstore.Store, seed: int) -> list[object]:
    """A store with live, young and dead states, lists, deltas, pins and history; returns what holds the pins."""
    chance = random.Random(seed)
    held: list[object] = []
    text = words(seed)
    for number in range(12):
        branch = store.branch()
        for name in range(6):
            branch.files[f"d/{name}"] = noise(chance.choice((20, 300, 4000)), chance.randrange(30))
        text = edited_text(text, number)
        branch.files["text"] = text
        snapshot = branch.commit(str(number))
        if chance.random() < 0.4:
            store.refs[f"r{chance.randrange(4)}"] = snapshot
        elif chance.random() < 0.3:
            held.append(snapshot)
        like = store.storage.put(words(1000 + number))
        store.storage.put(edited_text(words(1000 + number), number), like)
    if chance.random() < 0.5 and "r1" in store.refs:
        del store.refs["r1"]
    return held


def as_plain(found: Any) -> Any:
    return {
        name: (
            value.parts() if isinstance(value, Bitmap) else bytes(value.data) if isinstance(value, Addresses) else value
        )
        for name in found.__slots__
        for value in [getattr(found, name)]
        if name != "dead"
    } | {"dead": {kind: bytes(value.data) for kind, value in found.dead.items()}}


@pytest.mark.parametrize("backend", ["segments", "files"])
@pytest.mark.parametrize("seed", [1, 2])
def test_another_process_finds_the_same(
    backend: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[Any, Any]] = []

    def both(storage: Any, task: Any, path: str | None) -> Any:
        assert path is not None
        storage.sync()
        found.append((survey(storage, task), survey_elsewhere(storage, task, path)))
        return found[-1][1]

    with open_backend(backend, tmp_path / "store") as store:
        held = fill(store, seed)
        monkeypatch.setattr("casstore.collection.plan.make_survey", both)
        for grace in (0, 1000):
            with store.storage.operation():
                store.put(noise(300, 3))
                commit(store, {"x": noise(4000, 4)})
                with plan(store, grace) as made:
                    here, there = map(as_plain, found[-1])
                    assert here == there
                    assert made.dead_objects > 0 or grace
        with plan(store) as made:
            made.execute()
        assert store.verify()
        assert collect(store).deleted_objects == 0
        del held


def test_large_stores_are_surveyed_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        kept = commit(store, {"a": noise(4000, 1)}, ref="main")
        commit(store, {"b": noise(4000, 2)})
        monkeypatch.setattr(survey_process, "FEW_RECORDS", 5)
        monkeypatch.setattr(survey_process, "survey", None)
        assert collect(store).deleted_objects > 3
        assert dict(kept.files) == {"a": noise(4000, 1)}
        assert store.verify()


def test_damage_is_told_by_the_other_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        address = store.put(noise(300, 1))
        commit(store, {"a": noise(300, 1)}, ref="main")
        store.storage.backend.delete([address])
        monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
        with pytest.raises(casstore.CorruptionError, match="missing; nothing was deleted") as caught:
            plan(store)
        assert caught.value.address == address


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false", "", None, "frozen"])
def test_where_there_is_no_such_process_the_survey_is_made_here(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        address = store.put(noise(300, 1))
        monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
        if program == "frozen":
            monkeypatch.setattr(sys, "frozen", True, raising=False)
        else:
            monkeypatch.setattr(sys, "executable", program)
        assert collect(store).deleted_objects == 1
        assert address not in store
        assert store.storage.backend.watches() == []


def test_what_python_prints_when_it_starts_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello from a site')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with open_backend("segments", tmp_path / "store") as store:
        commit(store, {"a": noise(300, 1)}, ref="main")
        monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
        monkeypatch.setattr(survey_process, "survey", None)
        assert collect(store).deleted_objects == 0


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff" * 8, b"\xff" * 7 + b"\x7f", struct.pack("<Q", 3) + b"abc", struct.pack("<Q", 1) + b"\x80", bytes(8)],
)
def test_an_answer_that_makes_no_sense_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """The survey is made here then."""
    monkeypatch.setattr(survey_process, "_START", "import os; os.write({answer}, " + repr(answer) + "); {path!r}")
    with open_backend("segments", tmp_path / "store") as store:
        commit(store, {"a": noise(300, 1)}, ref="main")
        store.put(noise(400, 2))
        monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
        assert collect(store).deleted_objects == 1
        assert store.refs["main"].files["a"] == noise(300, 1)


# -- doomed


def while_doomed(monkeypatch: pytest.MonkeyPatch, action: Any) -> list[Any]:
    """Calls ``action`` once, after what goes was settled and before any of it went."""
    done: list[Any] = []
    delete = Sweep._delete_all

    def late(self: Sweep, *arguments: Any) -> Any:
        done.append(action())
        return delete(self, *arguments)

    monkeypatch.setattr(Sweep, "_delete_all", late)
    return done


def test_a_content_that_is_doomed_is_written_again(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(9000, 1)
    address = store.put(content)
    assert store.storage.locate(address).kind == CHUNK_LIST
    done = while_doomed(monkeypatch, lambda: store.put(content))
    collect(store)
    assert done == [address]
    monkeypatch.undo()
    assert store.get(address) == content
    assert store.verify()
    collect(store)
    assert address not in store


def test_a_renewed_stamp_does_not_save_what_is_doomed(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that met a list before it was doomed renews its stamp, and only then learns that it is too late."""
    content = noise(9000, 1)
    address = store.put(content)
    backend = store.storage.backend
    entry = backend.find(address)
    assert entry is not None

    def renew() -> bool:
        backend.touch(address, 2**31)
        return backend.hit(address, entry)

    done = while_doomed(monkeypatch, renew)
    collect(store)
    assert done == [False]
    assert backend.find(address) is None
    assert store.get(store.put(content)) == content


def test_a_doomed_hit_leaves_nothing_in_the_watches(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next plan would look for what is gone."""
    address = store.put(noise(9000, 1))
    with store.storage.operation() as watch:
        pass
    with store.storage.operation():
        done = while_doomed(monkeypatch, lambda: store.storage.known(address))
        with plan(store) as made:
            made.execute()
        assert done == [False]
        assert all(address not in other.parents for other in store.storage.backend.watches())
        plan(store).drop()
    assert address not in watch.parents


def test_a_tree_that_is_doomed_cannot_be_edited(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.storage.operation():
        root = tree_of(store, {f"{number:04}": noise(100, number) for number in range(300)})
    assert root is not None

    def edit() -> str:
        try:
            apply(store.nodes, root, [(b"0000", None)], tree=True)
        except casstore.NotFoundError as error:
            return error.message
        return ""

    done = while_doomed(monkeypatch, edit)
    collect(store)
    assert "collected just now" in done[0]
    assert not any(entry.kind == NODE for _, entry in store.storage.backend.scan())


def test_snapshots_met_in_time_are_whole(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Met between the plan and the moment that settles what goes, by many threads."""
    ids = [commit(store, {"n": noise(4000, number)}, time_ns=number).id for number in range(30)]
    made = plan(store)
    taken: list[Address] = []

    def take(part: list[Address]) -> None:
        for snapshot_id in part:
            store.refs[f"t/{snapshot_id.hex()[:20]}x"] = store.resolve(snapshot_id)
            taken.append(snapshot_id)

    threads = [threading.Thread(target=take, args=(ids[start:15:5],)) for start in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.execute()
    assert len(taken) == 15
    for snapshot_id in taken:
        assert len(store.resolve(snapshot_id).files["n"]) == 4000
    assert all(snapshot_id not in store for snapshot_id in ids[15:])
    assert store.verify()


# -- a sweep that ends in the middle


def test_after_a_crash_in_a_sweep_no_list_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    content = noise(9000, 1)
    with open_backend("segments", path, sync="full") as store:
        address = store.put(content)
        store.sync()

        def stop(self: Sweep, *arguments: Any) -> Any:
            """As far as the pieces, but not the list: as an unsynced batch may be lost."""
            found = store.storage.chunk_list(address)
            assert found is not None
            store.storage.backend.delete([piece for piece, _ in found.pieces])
            raise KeyboardInterrupt

        monkeypatch.setattr(Sweep, "_delete_all", stop)
        with pytest.raises(KeyboardInterrupt):
            collect(store)
        monkeypatch.undo()
        assert store.storage.backend.doubtful
        assert not store.storage.backend.collecting
    with open_backend("segments", path, sync="full") as store:
        assert store.storage.backend.fact(SWEEPING) is not None
        assert store.storage.backend.doubtful
        assert store.put(content) == address
        assert store.get(address) == content
        collect(store)
        assert not store.storage.backend.doubtful
    with open_backend("segments", path, sync="full") as store:
        assert store.storage.backend.fact(SWEEPING) is None
        assert not store.storage.backend.doubtful


def test_one_collection_at_a_time_until_its_space_is_back(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, {"a": noise(9000, 1)})
    second = plan(store)
    backend: Any = store.storage.backend
    compact = backend.compact
    seen: list[str] = []

    def beside(segments: Any) -> None:
        with pytest.raises(casstore.ConflictError, match="another collection"):
            second.execute()
        seen.append("refused")
        compact(segments)

    monkeypatch.setattr(backend, "compact", beside)
    collect(store)
    assert seen == ["refused"]
    monkeypatch.undo()
    assert collect(store).deleted_objects == 0


def test_the_process_that_marks_leaves_no_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path) as store:
        commit(store, {"a": noise(9000, 1)}, ref="main")
        monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
        collect(store)
        assert os.listdir(path / "readers") == []
