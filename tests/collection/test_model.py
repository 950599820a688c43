# SPDX-License-Identifier: MIT
"""The collector keeps exactly what is reachable or pinned: random histories against a plain walk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casstore
from casstore.address import Address, content_address
from casstore.format.entry import INLINE_BYTES, snapshot_entry
from casstore.format.kinds import CHUNK, CHUNK_LIST, SNAPSHOT
from casstore.snapshots import Snapshot
from casstore.testing.model import StoreModel, contents, ref_names
from tests.snapshots.driving import SMALL, Value, backend_config, commit

# A state: its files, which earlier states it came from, which it links, the ref that it gets.
SHAPES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["a", "b", "c/d", "e"]), contents(9000), max_size=3),
        st.lists(st.integers(0, 50), max_size=2),
        st.lists(st.integers(0, 50), max_size=1),
        st.none() | ref_names(),
    ),
    min_size=1,
    max_size=10,
)


def build_up(store: casstore.Store, model: StoreModel, shapes: list[Any]) -> list[Snapshot]:
    made: list[Snapshot] = []
    for number, (files, parents, links, name) in enumerate(shapes):
        origins = list({made[place % number].id for place in parents}) if number else []
        linked = list({made[place % number].id for place in links}) if number else []
        values: dict[str, Value] = dict(files)
        values.update({f"links/{place}": snapshot_entry(one) for place, one in enumerate(linked)})
        snapshot = commit(store, values, parents=origins, ref=name, time_ns=number)
        model.add(snapshot.id, files, origins, linked)
        if name is not None:
            model.move(name, snapshot.id)
        made.append(snapshot)
    return made


def check(store: casstore.Store, model: StoreModel, kept: set[bytes]) -> None:
    """The store holds the states ``kept`` whole, and beside them nothing of a state."""
    store.verify()
    present = {address for address, entry in store.storage.backend.scan() if entry.kind == SNAPSHOT}
    assert present == kept
    for snapshot_id in kept:
        snapshot = store.resolve(Address(snapshot_id))
        assert dict(snapshot.files) == model.snapshots[snapshot_id].files
        assert set(snapshot.parents) == set(model.snapshots[snapshot_id].parents)
    wanted = {content_address(data) for data in model.contents(kept) if len(data) > INLINE_BYTES}
    pieces: set[Address] = set()
    for address in wanted:
        found = store.storage.chunk_list(address)
        pieces.update([address] if found is None else [address, *(piece for piece, _ in found.pieces)])
    kinds = {CHUNK, CHUNK_LIST}
    assert {address for address, entry in store.storage.backend.scan() if entry.kind in kinds} == pieces
    assert {name: store.refs.id_of(name) for name in store.refs} == model.refs


def scenario(
    store: casstore.Store, shapes: list[Any], deleted: list[str], pinned: list[int], keep_history: bool
) -> None:
    model = StoreModel()
    made = build_up(store, model, shapes)
    for name in deleted:
        if name in model.refs:
            del store.refs[name]
            model.move(name, None)
    handles = [made[place % len(made)] for place in pinned]
    pins = {handle.id for handle in handles}
    made.clear()
    undo_keep = 10**6 if keep_history else 0
    store.plan_gc(grace_seconds=0, undo_keep_seconds=undo_keep).execute()
    check(store, model, model.reachable(pins, history=keep_history))
    assert store.plan_gc(grace_seconds=0, undo_keep_seconds=undo_keep).execute().deleted_objects == 0
    handles.clear()
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
    check(store, model, model.reachable())


ARGUMENTS = (SHAPES, st.lists(ref_names(), max_size=4), st.lists(st.integers(0, 50), max_size=2), st.booleans())


@given(*ARGUMENTS)
def test_exactly_what_is_reachable_stays(
    shapes: list[Any], deleted: list[str], pinned: list[int], keep_history: bool
) -> None:
    with casstore.open(":memory:", config=SMALL) as store:
        scenario(store, shapes, deleted, pinned, keep_history)


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_exactly_what_is_reachable_stays_on_disk(backend: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=12)
    @given(*ARGUMENTS)
    def run(shapes: list[Any], deleted: list[str], pinned: list[int], keep_history: bool) -> None:
        path: Path = tmp_path_factory.mktemp("store")
        with casstore.open(path, config=backend_config(backend, "off")) as store:
            scenario(store, shapes, deleted, pinned, keep_history)
            refs = dict(store.refs.ids())
        with casstore.open(path) as store:
            assert dict(store.refs.ids()) == refs
            store.verify()

    run()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["segments", "files"])
def test_exactly_what_is_reachable_stays_thoroughly(backend: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=300)
    @given(*ARGUMENTS)
    def run(shapes: list[Any], deleted: list[str], pinned: list[int], keep_history: bool) -> None:
        with casstore.open(tmp_path_factory.mktemp("store"), config=backend_config(backend, "off")) as store:
            scenario(store, shapes, deleted, pinned, keep_history)

    run()
