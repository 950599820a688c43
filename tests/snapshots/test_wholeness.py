# SPDX-License-Identifier: MIT
"""A ref is set to a state that nothing kept only where all of it is there, and can be read as far as is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import casstore
from casstore.address import Address
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.entry import file_entry
from casstore.format.index_entry import DAMAGED_FLAG, is_lost
from casstore.format.kinds import CHUNK, CHUNK_LIST
from casstore.testing.model import noise
from casstore.tree import build
from tests.snapshots.driving import commit, open_backend

WORDS = noise(750, 3).hex().encode()
BEFORE, AFTER, LARGE = WORDS, WORDS[:200] + b"changed" + WORDS[200:], noise(6000, 7)


class Parts:
    """Contents of one state: a chunk that another one is stored against, that one, and a list."""

    def __init__(self, store: casstore.Store) -> None:
        self.base = store.storage.put(BEFORE)
        self.delta = store.storage.put(AFTER, self.base)
        self.list = store.put(LARGE)
        find = store.storage.backend.find
        entries = [find(address) for address in (self.base, self.delta, self.list)]
        assert [entry and entry.kind for entry in entries] == [CHUNK, CHUNK, CHUNK_LIST]
        assert entries[1] is not None
        assert entries[1].base == self.base
        listed = store.storage.chunk_list(self.list)
        assert listed is not None
        self.piece = listed.pieces[0][0]


def lose(store: casstore.Store, address: Address, kind: int = CHUNK) -> None:
    """Makes it something that is known to be lost, as a repair does where a ref needs it."""
    backend = store.storage.backend
    backend.delete([address])
    backend.mark_damaged(address, kind)
    store.sync()
    entry = backend.find(address)
    assert entry is not None
    assert is_lost(entry)


def spoil(store: casstore.Store, address: Address) -> None:
    """Marks it damaged, as whoever read it does."""
    store.storage.backend.mark_damaged(address)
    store.sync()
    entry = store.storage.backend.find(address)
    assert entry is not None
    assert entry.flags & DAMAGED_FLAG


def as_list(store: casstore.Store, address: Address) -> None:
    """Heals a base with pieces that another store cut: it can be read, and what is stored against it cannot."""
    spoil(store, address)
    finer = casstore.Config(chunk_min_bytes=64, chunk_avg_bytes=256, chunk_max_bytes=1024)
    with casstore.open(":memory:", config=finer) as other:
        other.refs["base"] = commit(other, {"base": BEFORE})
        other.export_bundle(Path(store.path).parent / "bundle", ["base"])
    store.adopt_bundle(Path(store.path).parent / "bundle")
    entry = store.storage.backend.find(address)
    assert entry is not None
    assert entry.kind == CHUNK_LIST
    assert store.get(address) == BEFORE


CASES: dict[str, Callable[[casstore.Store, Parts], None]] = {
    "a lost chunk": lambda store, parts: lose(store, parts.delta),
    "a lost base": lambda store, parts: lose(store, parts.base),
    "a lost piece": lambda store, parts: lose(store, parts.piece),
    "a lost list": lambda store, parts: lose(store, parts.list, CHUNK_LIST),
    "a damaged chunk": lambda store, parts: spoil(store, parts.delta),
    "a damaged base": lambda store, parts: spoil(store, parts.base),
    "a damaged piece": lambda store, parts: spoil(store, parts.piece),
    "a base that is a list": lambda store, parts: as_list(store, parts.base),
}


def state_of(store: casstore.Store, parts: Parts, name: bytes = b"f") -> Address:
    """A snapshot with the delta and the list, that no ref names."""
    entries = [
        (name + b"/delta", file_entry(len(AFTER), parts.delta)),
        (name + b"/list", file_entry(len(LARGE), parts.list)),
    ]
    return store.add_snapshot(roots={"files": build(store.nodes, entries)}).id


def reopened(path: Path) -> casstore.Store:
    """The store with an index that was made anew: what was collected may be back in part."""
    shutil.rmtree(path / "index")
    store = open_backend("segments", path)
    assert store.storage.backend.interrupted
    return store


@pytest.mark.parametrize("name", CASES)
def test_no_ref_is_set_to_a_state_that_is_known_to_lack_something(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path) as store:
        parts = Parts(store)
        state = state_of(store, parts)
    with reopened(path) as store:
        CASES[name](store, parts)
        store.storage.cache.clear()
        if "damaged" not in name:  # those are only marked here
            with pytest.raises(CorruptionError):
                dict(store.snapshot(state.hex()).files)
        with pytest.raises(NotFoundError, match="only in part"):
            store.refs["s"] = store.snapshot(state.hex())
        assert "s" not in store.refs


@pytest.mark.parametrize("name", CASES)
def test_what_is_built_on_a_state_that_a_ref_keeps_is_not_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path) as store:
        parts = Parts(store)
        store.refs["main"] = store.snapshot(state_of(store, parts).hex())
        later = state_of(store, parts, b"g")
    with reopened(path) as store:
        CASES[name](store, parts)
        store.refs["later"] = store.snapshot(later.hex())


def test_a_whole_state_passes(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_backend("segments", path) as store:
        parts = Parts(store)
        state = state_of(store, parts)
    with reopened(path) as store:
        store.refs["s"] = store.snapshot(state.hex())
        assert store.refs["s"].files == {"f/delta": AFTER, "f/list": LARGE}
