# SPDX-License-Identifier: MIT
"""Random histories of a whole store against a dict model: commits, refs, undo, collections, crashes, readers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import casstore
from casstore.address import Address
from casstore.testing.model import Files, StoreModel, contents, ref_names, states
from casstore.testing.model import paths as any_path
from tests.snapshots.driving import backend_config, commit, copy_open_store, edited

GRACE = st.sampled_from([0, 0, 0, 3600])
UNDO_KEEP = st.sampled_from([0, 10**6])


class StoreMachine(RuleBasedStateMachine):
    """One store; ``model`` is what it should hold, ``durable`` what a crash must leave of it."""

    backend: Literal["segments", "files", "memory"] = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="casstore-machine-"))
        self.number = 0
        self.model = StoreModel()
        self.history_cut = False
        self.puts: dict[Address, bytes] = {}
        self.reader: casstore.Store | None = None
        self.seen: dict[str, Files] = {}
        self.store = self.open()

    @property
    def path(self) -> Path:
        return self.folder / f"store{self.number}"

    def open(self) -> casstore.Store:
        if self.backend == "memory":
            return casstore.open(":memory:", config=casstore.Config(chunk_avg_bytes=1024))
        return casstore.open(self.path, config=backend_config(self.backend, "off"))

    def teardown(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.store.close()
        shutil.rmtree(self.folder)

    # -- writing

    @initialize(files=states(6, 9000))
    def first(self, files: Files) -> None:
        self.add(files, [], "main")

    def add(self, files: Files, parents: list[bytes], name: str | None, root: Address | None = None) -> None:
        origins = [Address(parent) for parent in parents]
        if root is None:
            snapshot = commit(self.store, files, parents=origins)
        else:
            snapshot = self.store.add_snapshot(roots={"files": root}, parents=origins)
        self.model.add(snapshot.id, files, parents)
        if name is not None:
            self.store.refs.compare_and_set(
                name, Address(old) if (old := self.model.refs.get(name)) else None, snapshot
            )
            self.model.move(name, snapshot.id)

    @rule(files=states(6, 9000), name=ref_names())
    def replace(self, files: Files, name: str) -> None:
        old = self.model.refs.get(name)
        self.add(files, [] if old is None else [old], name)

    @precondition(lambda self: self.model.refs)
    @rule(
        data=st.data(),
        changes=st.dictionaries(any_path(), st.none() | contents(9000), min_size=1, max_size=4),
        name=ref_names(),
    )
    def edit(self, data: st.DataObject, changes: dict[str, bytes | None], name: str) -> None:
        start = data.draw(st.sampled_from(sorted(self.model.refs)))
        files = dict(self.model.snapshots[self.model.refs[start]].files)
        clean: dict[str, bytes | None] = {}
        for path, value in changes.items():
            if value is None:
                if path in files:
                    del files[path]
                    clean[path] = None
                continue
            others = [key for key in files if key != path]
            if not any(key.startswith(f"{path}/") or path.startswith(f"{key}/") for key in others):
                files[path] = value
                clean[path] = value
        with self.store.storage.operation():
            root = edited(self.store, self.store.refs[start], clean)
            parents = [self.model.refs[start]]
            if root is None:
                assert files == {}
                self.add({}, parents, name)
            else:
                self.add(files, parents, name, root)

    @rule(data=contents(20_000))
    def put(self, data: bytes) -> None:
        address = self.store.put(data)
        self.puts[address] = data
        assert self.store.get(address) == data
        assert self.store.open_content(address).read() == data

    # -- refs

    @precondition(lambda self: self.model.refs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.refs)))
        del self.store.refs[name]
        self.model.move(name, None)

    @rule(name=ref_names())
    def undo(self, name: str) -> None:
        moves = self.model.moves.get(name)
        if not moves:
            try:
                self.store.refs.undo(name)
            except casstore.NotFoundError:
                return
            raise AssertionError("there was nothing to undo")
        wanted = moves[-1][0]
        try:
            self.store.refs.undo(name)
        except casstore.NotFoundError:
            # Only history that a collection cut may be gone.
            assert self.history_cut
            assert wanted is not None
            return
        self.model.undo(name)

    @rule(name=ref_names(), wrong=st.binary(min_size=32, max_size=32))
    def conflict(self, name: str, wrong: bytes) -> None:
        try:
            self.store.refs.compare_and_set(name, Address(wrong), None)
        except casstore.ConflictError:
            return
        raise AssertionError("a move from a state that never was")

    # -- upkeep

    @rule(grace=GRACE, undo_keep=UNDO_KEEP)
    def collect(self, grace: int, undo_keep: int) -> None:
        self.store.plan_gc(grace_seconds=grace, undo_keep_seconds=undo_keep).execute()
        self.history_cut = self.history_cut or not undo_keep
        if not grace:
            self.puts = {}

    @precondition(lambda self: self.backend != "memory")
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()

    @precondition(lambda self: self.backend != "memory")
    @rule()
    def crash(self) -> None:
        """Ends without a close: the folder as it is, opened somewhere else."""
        old, before = self.store, self.path
        self.number += 1
        if self.backend == "files":
            # Nothing was synced, so these may be lost; segments find them at their ends.
            self.puts = {}
        copy_open_store(before, self.path)
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        old.close()
        shutil.rmtree(before)
        self.store = self.open()

    @precondition(lambda self: self.backend != "memory")
    @rule()
    def lose_the_index(self) -> None:
        self.store.close()
        shutil.rmtree(self.path / "index")
        self.store = self.open()

    @precondition(lambda self: self.backend != "memory")
    @rule()
    def read_beside(self) -> None:
        """A reader keeps the view that it was opened with, whatever is written and collected after."""
        if self.reader is not None:
            self.reader.close()
        self.store.sync()
        self.reader = casstore.open(self.path, read_only=True, config=casstore.Config(cache_bytes=0))
        self.seen = {name: dict(self.model.snapshots[one].files) for name, one in self.model.refs.items()}

    # -- what must always hold

    @invariant()
    def the_store_is_sound(self) -> None:
        self.store.verify()

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        assert dict(self.store.refs.ids()) == self.model.refs
        for snapshot in self.store.refs.values():
            assert dict(snapshot.files) == self.model.snapshots[snapshot.id].files
        for name in self.model.refs:
            assert {one.id for one in self.store.log(name)} <= self.model.reachable()
        for address, data in self.puts.items():
            assert self.store.get(address) == data

    @invariant()
    def the_reader_sees_what_it_saw(self) -> None:
        if self.reader is not None:
            assert {name: dict(snapshot.files) for name, snapshot in self.reader.refs.items()} == self.seen


def machine(name: Literal["segments", "files", "memory"]) -> type[StoreMachine]:
    return type(f"{name.title()}Machine", (StoreMachine,), {"backend": name})


@pytest.mark.parametrize(("backend", "examples"), [("segments", 8), ("files", 3), ("memory", 10)])
def test_a_store_behaves_like_its_model(backend: Literal["segments", "files", "memory"], examples: int) -> None:
    run_state_machine_as_test(machine(backend), settings=settings(max_examples=examples, stateful_step_count=20))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["segments", "files", "memory"])
def test_a_store_behaves_like_its_model_thoroughly(backend: Literal["segments", "files", "memory"]) -> None:
    run_state_machine_as_test(machine(backend), settings=settings(max_examples=150, stateful_step_count=50))
