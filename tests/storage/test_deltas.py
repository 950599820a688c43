# SPDX-License-Identifier: MIT
"""Deltas: contents stored against the version before them, read, damaged, healed and rebuilt."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.address import Address, content_address
from casstore.compression import compress_delta, decompress, decompress_delta
from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.index_entry import BASE_FLAG, IndexEntry
from casstore.format.kinds import CHUNK, CHUNK_LIST, RAW, ZSTD, ZSTD_BASE
from casstore.format.record import Record
from casstore.format.superblock import DELTAS
from casstore.storage.deltas import delta_of
from casstore.storage.indexed import MAX_BASES
from casstore.storage.opening import read_superblock
from casstore.storage.storage import Storage
from tests.storage.stores import abandon, flip, noise, open_small, record_place

Open = Callable[..., casstore.Store]


@pytest.fixture(params=["segments", "files", "memory"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    def opened(**fields: Any) -> casstore.Store:
        fields.setdefault("cache_bytes", 0)
        if request.param == "memory":
            return casstore.open(":memory:", config=casstore.Config(**fields))
        path = tmp_path / "store"
        fields.setdefault("backend", request.param)
        return casstore.open(path, config=casstore.Config(**fields))

    return opened


@pytest.fixture
def store(open_store: Open) -> Iterator[casstore.Store]:
    with open_store() as opened:
        yield opened


def words(seed: int, size: int) -> bytes:
    """Text that compresses to about a third, like no other seed's."""
    chance = random.Random(seed)
    return b" ".join(b"%x" % chance.getrandbits(20) for _ in range(size // 5))[:size]


def entry_of(store: casstore.Store, address: Address) -> IndexEntry:
    entry = store.storage.backend.find(address)
    assert entry is not None
    return entry


def edited(data: bytes, seed: int) -> bytes:
    place = random.Random(seed).randrange(len(data))
    return data[:place] + b"<%d>" % seed + data[place:]


def test_a_new_version_is_stored_against_the_one_before(store: casstore.Store) -> None:
    first, second = words(1, 9000), edited(words(1, 9000), 7)
    before = store.storage.put(first)
    after = store.storage.put(second, before)
    assert after == content_address(second)
    entry = entry_of(store, after)
    assert (entry.kind, entry.encoding, entry.base, entry.flags) == (CHUNK, ZSTD_BASE, before, BASE_FLAG)
    assert entry.stored_bytes < 120
    assert store.get(after) == second
    assert store.get(before) == first
    assert store.storage.get_record(CHUNK, after) == second
    with store.open_content(after) as file:
        assert file.read() == second
    assert entry_of(store, before).base is None
    assert store.verify().records == 2


def test_a_base_is_never_a_delta(store: casstore.Store) -> None:
    data = words(1, 9000)
    versions = [data]
    addresses = [store.storage.put(data)]
    for seed in range(12):
        versions.append(edited(versions[-1], seed))
        addresses.append(store.storage.put(versions[-1], addresses[-1]))
    assert {entry_of(store, address).base for address in addresses[1:]} == {addresses[0]}
    assert [store.get(address) for address in addresses] == versions


def test_what_drifts_away_becomes_a_base(store: casstore.Store) -> None:
    data = words(0, 8000)
    like = store.storage.put(data)
    bases = set()
    for seed in range(1, 17):
        data = data[500:] + words(seed, 500)
        like = store.storage.put(data, like)
        assert store.get(like) == data
        bases.add(entry_of(store, like).base)
    assert 2 < len(bases) < 10
    assert None in bases


@pytest.mark.parametrize(
    "data", [b"x" * 255, noise(5, 4000), words(2, 9000)], ids=["too short", "incompressible", "unlike"]
)
def test_what_saves_nothing_is_stored_in_full(store: casstore.Store, data: bytes) -> None:
    like = store.storage.put(words(1, 9000))
    assert entry_of(store, store.storage.put(data, like)).encoding in (RAW, ZSTD)


def test_incompressible_contents_have_deltas_too(store: casstore.Store) -> None:
    first = noise(1, 9000)
    like = store.storage.put(first)
    assert entry_of(store, like).encoding == RAW
    assert entry_of(store, store.storage.put(first + b"more", like)).base == like


def test_a_hint_that_leads_nowhere_is_no_error(store: casstore.Store) -> None:
    data = words(1, 3000)
    branch = store.branch()
    branch.files["a"] = words(3, 3000)
    snapshot = branch.commit("a")
    root = snapshot.roots["files"]
    for seed, like in enumerate((content_address(b"nothing"), snapshot.id, root)):
        address = store.storage.put(edited(data, seed), like)
        assert entry_of(store, address).base is None
    # Its own address: a damaged base that is put again.
    address = content_address(data)
    assert entry_of(store, store.storage.put(data, address)).base is None


def test_contents_of_many_chunks(store: casstore.Store) -> None:
    data = b"".join(words(seed, 30_000) for seed in range(8))
    like = store.storage.put(data)
    for seed in range(5):
        changed = edited(data, seed)
        address = store.storage.put(changed, like)
        assert entry_of(store, address).kind == CHUNK_LIST
        assert store.get(address) == changed
    found = [entry for _, entry in store.storage.backend.scan() if entry.base is not None]
    assert 5 <= len(found) <= 15
    assert store.verify()


def test_ingest_and_put_store_the_same(open_store: Open) -> None:
    versions = [words(1, 40_000)]
    for seed in range(6):
        versions.append(edited(versions[-1], seed))
    found = []
    for bulk in (False, True):
        store = casstore.open(":memory:", config=casstore.Config(threads=2))
        like: Address | None = None
        for data in versions:
            if bulk:
                with store.storage.ingest({b"key": like}.get) as ingest:
                    like = ingest.add(data, b"key")
            else:
                like = store.storage.put(data, like)
        found.append({address: (entry.encoding, entry.base) for address, entry in store.storage.backend.scan()})
        assert like is not None
        assert store.get(like) == versions[-1]
    assert found[0] == found[1]
    assert any(base is not None for _, base in found[0].values())


def test_without_the_feature_there_are_none(open_store: Open) -> None:
    with open_store(deltas=False) as store:
        like = store.storage.put(words(1, 9000))
        with store.storage.ingest(lambda key: like) as ingest:
            address = ingest.add(edited(words(1, 9000), 1), b"key")
        for found in (address, store.storage.put(edited(words(1, 9000), 2), like)):
            assert entry_of(store, found).base is None


def test_the_feature_is_fixed_when_the_store_is_made(tmp_path: Path) -> None:
    path = str(tmp_path / "with")
    casstore.open(path).close()
    assert read_superblock(path).features == DELTAS
    with pytest.raises(InvalidInputError, match="deltas of this store is True"):
        casstore.open(path, config=casstore.Config(deltas=False))
    path = str(tmp_path / "without")
    casstore.open(path, config=casstore.Config(deltas=False)).close()
    assert read_superblock(path).features == 0
    with pytest.raises(InvalidInputError, match="deltas of this store is False"):
        casstore.open(path, config=casstore.Config(deltas=True))
    with pytest.raises(InvalidInputError, match="deltas is 1"):
        casstore.Config(deltas=1)  # type: ignore[arg-type]


# -- damage


def damage(store: casstore.Store, address: Address) -> None:
    """Flips the last byte of an object's record."""
    entry = entry_of(store, address)
    if os.path.isdir(os.path.join(store.path, "segments")):
        path = os.path.join(store.path, "segments", f"{entry.segment:08d}.seg")
        flip(path, entry.offset + entry.record_bytes - 1)
        return
    backend: Any = store.storage.backend
    if store.path == ":memory:":
        record = backend._records[address]
        stored = record.stored[:-1] + bytes([record.stored[-1] ^ 1])
        backend._records[address] = record._replace(stored=stored)
    else:
        flip(backend._path(address), entry.record_bytes - 1)


@pytest.mark.parametrize("first", [words(1, 9000), noise(1, 9000)], ids=["text", "noise"])
@pytest.mark.parametrize("hurt", [0, 1], ids=["base", "delta"])
def test_damage_is_named_and_healed(store: casstore.Store, hurt: int, first: bytes) -> None:
    data = [first, edited(first, 1), edited(first, 2)]
    base = store.storage.put(data[0])
    addresses = [base, store.storage.put(data[1], base), store.storage.put(data[2], base)]
    store.sync()
    damage(store, addresses[hurt])
    with pytest.raises(CorruptionError) as caught:
        store.get(addresses[1])
    assert caught.value.address == addresses[hurt]
    with pytest.raises(CorruptionError) as named:
        store.verify()
    assert addresses[hurt] in {damage.address for damage in named.value.report.damage}  # type: ignore[attr-defined]
    # The delta is put again: it needs no base, whatever is hurt.
    store.put(data[1])
    assert entry_of(store, addresses[1]).base is None
    assert store.get(addresses[1]) == data[1]
    if hurt == 0:
        with pytest.raises(CorruptionError):
            store.get(addresses[2])
        # The base is put again, as it was: whatever is stored against it is healed with it.
        store.storage.put(data[0], addresses[1])
        assert entry_of(store, base).base is None
    assert [store.get(address) for address in addresses] == data
    assert store.verify()


def test_a_list_in_place_does_not_prove_that_the_bases_of_its_chunks_are(store: casstore.Store) -> None:
    data = b"".join(words(seed, 30_000) for seed in range(3))
    changed = edited(data, 1)
    address = store.storage.put(changed, store.put(data))
    base = next(entry.base for _, entry in store.storage.backend.scan() if entry.base is not None)
    assert base is not None
    store.sync()
    damage(store, base)
    with pytest.raises(CorruptionError):
        store.get(base)
    assert store.put(changed) == address
    assert store.get(address) == changed


def test_verify_without_reading_sees_that_a_base_is_gone(store: casstore.Store) -> None:
    branch = store.branch()
    branch.files["a"] = words(1, 9000)
    branch.files["large"] = b"".join(words(seed, 30_000) for seed in range(3))
    branch.commit("one")
    branch.files["a"] = edited(words(1, 9000), 1)
    branch.files["large"] = edited(branch.files["large"], 2)
    store.refs["main"] = branch.commit("two")
    assert store.verify(read_data=False)
    for address, entry in list(store.storage.backend.scan()):
        if entry.base is not None:
            store.storage.backend.delete([entry.base])
            with pytest.raises(CorruptionError) as caught:
                store.verify(read_data=False)
            found = [damage.message for damage in caught.value.report.damage]  # type: ignore[attr-defined]
            assert any("is missing" in message for message in found)
            with pytest.raises(CorruptionError, match=r"missing|damaged"):
                store.get(address)


def test_a_delta_that_waits_is_written_again_when_its_base_turns_out_damaged(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "store", config=casstore.Config(cache_bytes=0)) as store:
        base = store.storage.put(words(1, 9000))
        store.sync()
        data = edited(words(1, 9000), 1)
        address = store.storage.put(data, base)
        damage(store, base)
        with pytest.raises(CorruptionError):
            store.get(base)
        store.put(data)
        assert store.get(address) == data


def test_steps_are_bounded_and_cycles_end(store: casstore.Store) -> None:
    """A healed base may be a delta itself; hostile indexes may hold anything."""
    backend = store.storage.backend
    data = [edited(words(1, 3000), seed) for seed in range(MAX_BASES + 4)]
    addresses = [content_address(item) for item in data]
    records = [store.storage.record(CHUNK, addresses[0], data[0])]
    for place in range(1, len(data)):
        stored = addresses[place - 1] + compress_delta(data[place], data[place - 1])
        records.append(Record(CHUNK, ZSTD_BASE, addresses[place], len(data[place]), stored))
    backend.put(records)
    assert store.get(addresses[MAX_BASES]) == data[MAX_BASES]
    with pytest.raises(CorruptionError):
        store.get(addresses[-1])
    assert not store.storage.known(addresses[-1])
    one, two = content_address(b"one"), content_address(b"two")
    for address, base in ((one, two), (two, one)):
        backend.put([Record(CHUNK, ZSTD_BASE, address, 300, base + compress_delta(data[0][:300], b"abc"))])
    assert not store.storage.known(one)
    with pytest.raises(CorruptionError):
        store.get(one)


def test_a_base_of_another_kind_is_damage(store: casstore.Store) -> None:
    large = b"".join(words(seed, 30_000) for seed in range(3))
    like = store.put(large)
    assert entry_of(store, like).kind == CHUNK_LIST
    address = content_address(b"x")
    store.storage.backend.put([Record(CHUNK, ZSTD_BASE, address, 400, like + compress_delta(bytes(400), b"abc"))])
    with pytest.raises(CorruptionError):
        store.get(address)
    assert not store.storage.known(address)


def test_a_base_that_is_made_unreadable_between_look_and_read(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = store.put(words(1, 9000))
    monkeypatch.setattr(Storage, "known", lambda self, address: False)
    assert delta_of(store.storage, content_address(b"new"), edited(words(1, 9000), 1), base) is None


# -- openings


def put_versions(storage: Storage, count: int = 10) -> tuple[list[bytes], list[Address]]:
    """Versions of one chunk: the first in full, the others against it."""
    first = words(1, 500)
    data = [first] + [edited(first, seed) for seed in range(1, count)]
    like = storage.put(first)
    return data, [like] + [storage.put(item, like) for item in data[1:]]


def test_the_index_is_made_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    opened = open_small(path)
    data, addresses = put_versions(opened.storage)
    before = dict(opened.storage.backend.scan())
    opened.close()
    assert any(entry.base is not None for entry in before.values())
    os.rename(os.path.join(path, "index"), os.path.join(path, "index-gone"))
    opened = open_small(path)
    after = dict(opened.storage.backend.scan())
    assert {a: (e.encoding, e.base, e.flags, e.offset) for a, e in after.items()} == {
        a: (e.encoding, e.base, e.flags, e.offset) for a, e in before.items()
    }
    assert [opened.storage.get(address) for address in addresses] == data
    opened.close()


def test_what_was_appended_before_a_crash_is_adopted(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    opened = open_small(path)
    data, addresses = put_versions(opened.storage)
    before = dict(opened.storage.backend.scan())
    abandon(opened)
    opened = open_small(path)
    after = dict(opened.storage.backend.scan())
    assert {a: (e.encoding, e.base, e.flags) for a, e in after.items()} == {
        a: (e.encoding, e.base, e.flags) for a, e in before.items()
    }
    assert [opened.storage.get(address) for address in addresses] == data
    opened.close()


def test_a_delta_without_its_base_is_forgotten_with_the_index(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    opened = open_small(path)
    data, addresses = put_versions(opened.storage, 3)
    opened.storage.put(noise(1, 5000))
    more = edited(data[0], 77)
    in_next_segment = opened.storage.put(more, addresses[0])
    large = [noise(seed, 300) for seed in range(3)]
    whole = opened.storage.put(b"".join(large) + more)
    segment, offset, _ = record_place(opened, addresses[0])
    assert record_place(opened, in_next_segment)[0] != segment
    opened.close()
    flip(segment, offset + 200)
    os.rename(os.path.join(path, "index"), os.path.join(path, "index-gone"))
    opened = open_small(path)
    assert not opened.storage.contains(addresses[0])
    assert not opened.storage.contains(in_next_segment)
    # What comes again is written, whatever the segments still hold.
    assert opened.storage.get(opened.storage.put(more)) == more
    assert opened.storage.get(opened.storage.put(data[1], in_next_segment)) == data[1]
    assert opened.storage.get(whole) == b"".join(large) + more or not opened.storage.contains(whole)
    opened.close()


def test_readers_see_deltas(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    opened = open_small(path)
    data, addresses = put_versions(opened.storage)
    opened.storage.sync()
    reader = open_small(path, read_only=True)
    assert [reader.storage.get(address) for address in addresses] == data
    reader.close()
    opened.close()


# -- frames


@given(st.binary(min_size=1, max_size=3000), st.binary(min_size=8, max_size=3000))
def test_round_trip(raw: bytes, base: bytes) -> None:
    assert decompress_delta(compress_delta(raw, base), len(raw), base) == raw


@given(st.binary(max_size=300), st.integers(0, 5000), st.binary(max_size=100))
def test_arbitrary_frames(frame: bytes, raw_bytes: int, base: bytes) -> None:
    try:
        assert len(decompress_delta(frame, raw_bytes, base)) == raw_bytes
    except CorruptionError:
        pass


def test_a_frame_that_claims_more_is_not_unpacked() -> None:
    base = words(1, 500)
    bomb = compress_delta(bytes(50_000_000), base)
    for raw_bytes in (500, len(bomb), 50_000_000):
        with pytest.raises(CorruptionError, match="claims another size"):
            decompress_delta(bomb, raw_bytes, base)


def test_a_delta_cannot_be_read_alone() -> None:
    with pytest.raises(CorruptionError, match="stored against another"):
        decompress(ZSTD_BASE, bytes(40), 400)
