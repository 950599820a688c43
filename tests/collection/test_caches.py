# SPDX-License-Identifier: MIT
"""Stat caches go with the snapshots that they are about, and with nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.address import Address
from casstore.collection.caches import drop_stale_caches
from casstore.format.stat_cache import CacheHead, cache_key, encode_head, folder_key, head_key
from casstore.workspace import Workspace, import_directory

NOWHERE = Address(b"\x07" * 32)


def keys_of(store: casstore.Store) -> set[bytes]:
    return {key for key, _ in store.storage.backend.cache(b"")}


def note(store: casstore.Store, number: int, snapshot: Address, folders: int = 3) -> set[bytes]:
    """A cache as a directory's capture leaves it."""
    identity = cache_key(1, number)
    changes: dict[bytes, bytes | None] = {folder_key(identity, b"%d/" % at): b"?" for at in range(folders)}
    changes[head_key(identity)] = encode_head(CacheHead(snapshot, bytes(16), bytes(16), False))
    store.storage.backend.put_cache(changes)
    return set(changes)


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[casstore.Store]:
    with casstore.open(":memory:" if request.param == "memory" else str(tmp_path / "store")) as opened:
        yield opened


def test_only_those_of_lost_snapshots_go(store: casstore.Store) -> None:
    here = store.add_snapshot(roots={}, message="here").id
    kept = note(store, 1, here) | note(store, 3, here, folders=0)
    # Neighbours in the order of the keys, and one whose number begins like another's.
    note(store, 0, NOWHERE)
    note(store, 2, NOWHERE, folders=200)
    note(store, 256, NOWHERE)
    note(store, 2**64 - 1, NOWHERE, folders=0)
    assert drop_stale_caches(store.storage) == 4
    assert keys_of(store) == kept
    assert drop_stale_caches(store.storage) == 0
    assert keys_of(store) == kept


def test_a_head_that_cannot_be_read_goes_with_its_folders(store: casstore.Store) -> None:
    kept = note(store, 1, store.add_snapshot(roots={}).id)
    for number, head in enumerate((b"", b"\xff" * 40, b"\x01"), start=5):
        note(store, number, NOWHERE)
        store.storage.backend.put_cache({head_key(cache_key(1, number)): head})
    assert drop_stale_caches(store.storage) == 3
    assert keys_of(store) == kept


def test_what_an_overlay_keeps_is_no_head(store: casstore.Store) -> None:
    """Its keys have no directory's identity and no head; they are the overlay's to delete."""
    key = cache_key(0, 0x1234ABCD) + b"u" + b"some/path"
    store.storage.backend.put_cache({key: b"whatever"})
    assert drop_stale_caches(store.storage) == 0
    assert keys_of(store) == {key}


def test_a_collection_drops_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(name.encode() * 100)
    with casstore.open(str(tmp_path / "store")) as store:
        import_directory(store, tmp_path / "one", ref="one")
        with Workspace(store, tmp_path / "two") as workspace:
            workspace.snapshot(ref="two")
        both = keys_of(store)
        assert len(both) == 4
        store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        assert keys_of(store) == both
        store.refs.delete("one")
        store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        left = keys_of(store)
        assert len(left) == 2
        assert left < both
        # The directory is as good as new, and its contents are stored again.
        report = import_directory(store, tmp_path / "one", ref="one")
        assert report.new_bytes == 300
        store.verify()
    with casstore.open(str(tmp_path / "store")) as store:
        assert len(keys_of(store)) == 4
