# SPDX-License-Identifier: MIT
"""What stops a collection, so that nothing is deleted, and what does not: the table in docs/durability.md."""

from __future__ import annotations

from pathlib import Path

import pytest

import casstore
from casstore.address import Address
from casstore.format.kinds import CHUNK
from casstore.format.record import HEADER_BYTES
from casstore.testing.model import noise
from tests.snapshots.driving import commit, open_backend

GARBAGE = noise(900, 99)
CONTENT = noise(9000, 1)


def made(path: Path) -> dict[str, Address]:
    """A store with one state of every kind of record, and garbage; the addresses by kind."""
    with open_backend("segments", path) as store:
        snapshot = commit(store, {"big": CONTENT, "small": noise(200, 2)}, ref="main")
        content = snapshot.files.entry("big").address
        small = snapshot.files.entry("small").address
        assert content is not None
        assert small is not None
        pieces = store.storage.chunk_list(content)
        assert pieces is not None
        return {
            "snapshot": snapshot.id,
            "node": snapshot.roots["files"],
            "list": content,
            "piece": pieces.pieces[0][0],
            "content": small,
            "garbage": store.put(GARBAGE),
        }


def flip(path: Path, address: Address) -> None:
    with casstore.open(path, read_only=True) as store:
        info = store.storage.locate(address)
    file = path / "segments" / f"{info.segment:08d}.seg"
    data = bytearray(file.read_bytes())
    data[info.offset + HEADER_BYTES + 3] ^= 1
    file.write_bytes(data)


def collects(path: Path, garbage: Address) -> bool:
    """Whether a collection takes the garbage; where it raises, it must not."""
    with casstore.open(path) as store:
        try:
            with store.plan_gc(grace_seconds=0, undo_keep_seconds=0) as plan:
                plan.execute()
        except casstore.CorruptionError as caught:
            error: casstore.CorruptionError | None = caught
        else:
            error = None
        assert error is None or "casstore repair" in str(error)
        assert (store.storage.backend.find(garbage) is None) is (error is None)
        return error is None


@pytest.mark.parametrize("kind", ["snapshot", "node", "list", "piece", "content"])
def test_what_is_missing_stops_it(kind: str, tmp_path: Path) -> None:
    addresses = made(tmp_path / "store")
    with casstore.open(tmp_path / "store") as store:
        store.storage.backend.delete([addresses[kind]])
    assert not collects(tmp_path / "store", addresses["garbage"])


@pytest.mark.parametrize(
    ("kind", "goes_on"), [("snapshot", False), ("node", False), ("list", False), ("piece", True), ("content", True)]
)
def test_damage_stops_it_where_it_leads_on(kind: str, goes_on: bool, tmp_path: Path) -> None:
    addresses = made(tmp_path / "store")
    flip(tmp_path / "store", addresses[kind])
    assert collects(tmp_path / "store", addresses["garbage"]) is goes_on
    with casstore.open(tmp_path / "store", read_only=True) as store, pytest.raises(casstore.CorruptionError):
        store.verify()


def test_damage_that_is_known_stops_nothing_and_stays_known(tmp_path: Path) -> None:
    addresses = made(tmp_path / "store")
    flip(tmp_path / "store", addresses["piece"])
    with casstore.open(tmp_path / "store") as store, pytest.raises(casstore.CorruptionError):
        store.get(addresses["list"])
    assert collects(tmp_path / "store", addresses["garbage"])
    with casstore.open(tmp_path / "store") as store:
        assert store.put(CONTENT) == addresses["list"]
        store.verify()


def test_a_content_that_a_repair_noted_as_lost_stops_nothing(tmp_path: Path) -> None:
    addresses = made(tmp_path / "store")
    flip(tmp_path / "store", addresses["piece"])
    assert casstore.repair(tmp_path / "store").hurt
    with casstore.open(tmp_path / "store") as store:
        # It lies nowhere, and says so.
        entry = store.storage.backend.find(addresses["piece"])
        assert entry is not None
        assert entry.kind == CHUNK
        with pytest.raises(casstore.CorruptionError, match="is lost; run `casstore repair`") as caught:
            store.get(addresses["list"])
        assert (caught.value.segment, caught.value.offset) == (None, None)
        damage = store_damage(store)
        assert {(one.segment, one.record) for one in damage if one.address == addresses["piece"]} == {
            (None, addresses["piece"])
        }
    with casstore.open(tmp_path / "store") as store:
        plan = store.plan_gc(grace_seconds=0, undo_keep_seconds=0, accept_refs=True)
        plan.execute()
        assert store.storage.backend.find(addresses["garbage"]) is None
        assert store.storage.backend.find(addresses["piece"]) == entry
        store.put(CONTENT)
        store.verify()


def store_damage(store: casstore.Store) -> list[casstore.Damage]:
    with pytest.raises(casstore.CorruptionError) as caught:
        store.verify()
    report = caught.value.report
    assert isinstance(report, casstore.VerifyReport)
    return report.damage
