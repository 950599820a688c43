# SPDX-License-Identifier: MIT
"""Bulk writing: what comes out is what single puts make, in order, and no failure passes in silence."""

from __future__ import annotations

import io
import random
import threading
import tracemalloc
from pathlib import Path

import pytest

from casstore.address import Address, content_address
from casstore.chunking import Chunker
from casstore.config import Config
from casstore.errors import ClosedError, StorageError
from casstore.format.kinds import CHUNK_LIST
from casstore.storage import ingest as ingest_module
from casstore.storage.storage import Storage
from casstore.testing.faults import FaultyFiles
from tests.storage.stores import noise, open_small


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "_BATCH_BYTES", 4000)
    monkeypatch.setattr(ingest_module, "_BATCH_ITEMS", 8)


def contents(seed: int, count: int) -> list[bytes]:
    draw = random.Random(seed)
    datas: list[bytes] = []
    for number in range(count):
        kind = draw.randrange(4)
        if kind == 0 and datas:
            datas.append(draw.choice(datas))
        elif kind == 1 and datas:
            datas.append(draw.choice(datas)[:1500] + noise(number, 300))
        else:
            datas.append(noise(number, draw.choice([0, 3, 200, 900, 5000])))
    return datas


@pytest.mark.parametrize("seed", range(4))
def test_the_same_as_one_by_one(scratch: Path, seed: int) -> None:
    datas = contents(seed, 80)
    plain, bulk = open_small(str(scratch / "plain")), open_small(str(scratch / "bulk"))
    expected = [plain.storage.put(data) for data in datas]
    with bulk.storage.ingest() as ingest:
        found = [
            ingest.add(data) if number % 3 else ingest.add_stream(io.BytesIO(data)) for number, data in enumerate(datas)
        ]
    assert found == expected
    assert list(bulk.storage.get_many(expected)) == datas
    kinds = [{a: e.kind for a, e in opened.storage.backend.scan()} for opened in (plain, bulk)]
    assert kinds[0] == kinds[1]
    plain.close()
    bulk.close()


def test_pieces_come_before_their_lists(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    backend = opened.storage.backend
    order: list[Address] = []
    put = backend.put_prepared

    def noted(prepared: list) -> None:  # type: ignore[type-arg]
        order.extend(record.address for record, _ in prepared)
        put(prepared)

    backend.put_prepared = noted  # type: ignore[method-assign, assignment]
    with opened.storage.ingest() as ingest:
        for data in contents(9, 40):
            ingest.add(data)
        ingest.add_stream(io.BytesIO(noise(77, 60_000)))
    places: dict[Address, int] = {}
    for place, address in enumerate(order):
        places.setdefault(address, place)
    lists = [address for address, entry in backend.scan() if entry.kind == CHUNK_LIST]
    assert len(lists) > 5
    for address in lists:
        found = opened.storage.chunk_list(address)
        assert found is not None
        assert all(places[piece] < places[address] for piece, _ in found.pieces)
    opened.close()


def test_new_bytes_counts_what_was_not_there(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    with opened.storage.ingest() as ingest:
        ingest.add(noise(1, 300))
        ingest.add(noise(1, 300))
        ingest.flush()
        assert ingest.new_bytes == 300
    with opened.storage.ingest() as ingest:
        ingest.add(noise(1, 300))
        ingest.add(noise(2, 100))
        ingest.flush()
        assert ingest.new_bytes == 100
        ingest.add_stream(io.BytesIO(noise(3, 20_000)))
        assert ingest.new_bytes == 20_100
        ingest.add_stream(io.BytesIO(noise(3, 20_000)))
        assert ingest.new_bytes == 20_100
    opened.close()


def test_what_is_waiting_is_readable_when_the_context_ends(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    with opened.storage.ingest() as ingest:
        address = ingest.add(b"waiting")
        assert not opened.storage.contains(address)
    assert opened.storage.get(address) == b"waiting"
    for call in (lambda: ingest.add(b"late"), lambda: ingest.add_stream(io.BytesIO(noise(1, 2000)))):
        with pytest.raises(ClosedError):
            call()
    unopened = opened.storage.ingest()
    with pytest.raises(ClosedError):
        unopened.add(b"early")
    opened.close()


def test_an_error_in_the_background_is_raised(scratch: Path) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened = open_small(path, files=files)
    files.fail("append", nth=2)

    def run() -> None:
        with opened.storage.ingest() as ingest:
            for seed in range(50):
                ingest.add(noise(seed, 900))

    with pytest.raises(StorageError):
        run()
    assert threading.active_count() == 1
    assert opened.storage.backend.watches() == []
    opened.close()


def test_an_error_that_was_swallowed_is_raised_at_the_end(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_small(str(scratch / "store"))
    backend = opened.storage.backend
    put = backend.put_prepared
    calls: list[int] = []

    def flaky(records: list) -> None:  # type: ignore[type-arg]
        calls.append(len(records))
        if len(calls) == 2:
            raise StorageError("once")
        put(records)

    monkeypatch.setattr(backend, "put_prepared", flaky)
    swallowed = 0

    def run() -> None:
        nonlocal swallowed
        with opened.storage.ingest() as ingest:
            for seed in range(60):
                try:
                    ingest.add(noise(seed, 900))
                except StorageError:
                    swallowed += 1

    with pytest.raises(StorageError, match="once"):
        run()
    assert swallowed == 1
    opened.close()


def test_an_error_in_the_callers_block_wins(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))

    def run() -> None:
        with opened.storage.ingest() as ingest:
            for seed in range(30):
                ingest.add(noise(seed, 900))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run()
    assert threading.active_count() == 1
    opened.close()


def test_a_source_that_fails_leaves_a_store_that_works(scratch: Path) -> None:
    class Failing(io.RawIOBase):
        calls = 0

        def read(self, size: int = -1) -> bytes:
            self.calls += 1
            if self.calls == 3:
                raise OSError("unreadable")
            return noise(self.calls, 30_000)

    opened = open_small(str(scratch / "store"))
    with pytest.raises(OSError, match="unreadable"):
        opened.storage.put(Failing())  # type: ignore[arg-type]
    data = noise(1, 30_000) + noise(2, 30_000)
    address = opened.storage.put(data)
    assert opened.storage.get(address) == data == b"".join(opened.storage.get_many([address]))
    opened.close()


def test_memory_is_bounded(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "_BATCH_BYTES", 256 * 1024)
    opened = open_small(str(scratch / "store"), segment_bytes=64 << 20)
    storage = Storage(opened.storage.backend, Chunker(2048, 8192, 32768), Config(cache_bytes=0, threads=2))
    block = noise(1, 100_000)
    tracemalloc.start()
    try:
        with storage.ingest() as ingest:
            for seed in range(300):
                ingest.add(b"%d" % seed * 20 + block[seed:])
        with storage.ingest() as ingest:
            for seed in range(100):
                ingest.add(bytes([seed + 1]) + noise(seed, 60_000))
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
    assert opened.storage.backend.used_bytes() > 6_000_000
    opened.close()


def test_what_an_ingest_meets_is_watched(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    known = opened.storage.put(noise(1, 300))
    listed = opened.storage.put(noise(2, 3000))
    with opened.storage.ingest() as ingest:
        (watch,) = opened.storage.backend.watches()
        ingest.add(noise(1, 300))
        ingest.add(noise(2, 3000))
        entry = opened.storage.backend.find(known)
        assert entry is not None
        assert (entry.segment, entry.ordinal) in watch.chunks
        assert watch.parents == {listed}
    assert content_address(noise(1, 300)) == known
    opened.close()
