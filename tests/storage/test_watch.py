# SPDX-License-Identifier: MIT
"""Watches, bitmaps and pins: what keeps an object before any ref leads to it."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from casstore.address import content_address
from casstore.storage.pins import PinHandle, PinTable
from casstore.storage.watch import Bitmap
from tests.storage.stores import noise, open_small

records = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3000)), max_size=60)


@given(records, records)
def test_a_bitmap_is_a_set(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    bitmap, other = Bitmap(), Bitmap()
    model: set[tuple[int, int]] = set()
    for record in first:
        assert bitmap.add(*record) is (record not in model)
        model.add(record)
    for record in second:
        other.add(*record)
    assert len(bitmap) == len(model)
    bitmap.update(other)
    model |= set(second)
    assert len(bitmap) == len(model)
    assert len(other) == len(set(second))
    for record in [*model, (1, 3001), (2, 10_000), (9, 0)]:
        assert (record in bitmap) is (record in model)
    assert bitmap.memory_bytes <= 3 * 512
    assert (bitmap.memory_bytes > 0) is bool(model)


def test_an_operation_sees_every_hit_and_every_new_record(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    storage = opened.storage
    old = storage.put(noise(1, 100))
    untouched = storage.put(noise(2, 100))
    storage.sync()
    with storage.operation() as watch:
        storage.put(noise(1, 100))
        fresh = storage.put(noise(3, 100))
        listed = storage.put(noise(4, 3000))
        places = {address: (entry.segment, entry.ordinal) for address, entry in storage.backend.scan()}
        assert places[old] in watch.chunks
        assert places[untouched] not in watch.chunks
        assert watch.is_new(*places[fresh])
        assert watch.is_new(*places[listed])
        assert not watch.is_new(*places[old])
        storage.put(noise(4, 3000))
        assert watch.parents == {listed}
    storage.put(noise(2, 100))
    assert places[untouched] not in watch.chunks
    opened.close()


def test_new_records_are_new_across_segments_and_openings(scratch: Path) -> None:
    path = str(scratch / "store")
    for _ in range(2):
        opened = open_small(path)
        storage = opened.storage
        before = {(entry.segment, entry.ordinal) for _, entry in storage.backend.scan()}
        with storage.operation() as watch:
            for seed in range(20):
                storage.put(noise(seed + 100 * len(before), 900))
            for _, entry in storage.backend.scan():
                place = (entry.segment, entry.ordinal)
                assert watch.is_new(*place) is (place not in before)
        opened.close()


def test_a_hit_renews_an_old_stamp_only(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    storage = opened.storage
    storage.renew_after_seconds = 100
    address = storage.put(b"content")
    now = int(time.time())

    def stamp() -> int:
        entry = storage.backend.find(address)
        assert entry is not None
        return entry.stamp

    made = stamp()
    assert abs(made - now) <= 2
    storage.put(b"content")
    assert stamp() == made
    storage.backend._pending[address] = storage.backend.find(address)._replace(stamp=now - 101)  # type: ignore[attr-defined, union-attr]
    storage.put(b"content")
    assert stamp() >= now
    storage.sync()
    assert stamp() >= now
    opened.close()


def test_handles_count() -> None:
    table = PinTable()
    address = content_address(b"x")
    handles = [PinHandle(table, "root", address) for _ in range(3)]
    other = PinHandle(table, "snapshot", address)
    assert sorted((pin.what, pin.count, pin.owner) for pin in table.all()) == [
        ("root", 3, "this process"),
        ("snapshot", 1, "this process"),
    ]
    del handles[0]
    assert sorted(pin.count for pin in table.all()) == [1, 2]
    del handles, other
    assert table.all() == []


def test_handles_may_be_dropped_anywhere() -> None:
    """By the garbage collector, in any thread, while another one looks at the table."""
    table = PinTable()
    stop = threading.Event()
    errors: list[BaseException] = []

    def churn(seed: int) -> None:
        try:
            while not stop.is_set():
                loop: list[object] = [PinHandle(table, "root", content_address(bytes([seed]))) for _ in range(5)]
                loop.append(loop)
                del loop
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        table.all()
        gc.collect(0)
    stop.set()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not errors
    assert table.all() == []
