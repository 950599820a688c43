# SPDX-License-Identifier: MIT
"""Crashes at every call to the operating system, with what was not synced lost, torn or zeroed.

After each: everything durable is there, nothing is half there, and what is put again sticks and survives the next.
"""

from __future__ import annotations

import io
import os
import random
import shutil
from pathlib import Path

import pytest

from casstore.address import Address, content_address
from casstore.errors import NotFoundError
from casstore.storage.opening import OpenStorage
from casstore.storage.storage import Storage
from casstore.testing.faults import Call, FaultyFiles
from tests.storage.stores import abandon, noise, open_small


class Run:
    """Random puts and syncs; knows what was put and what must survive."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.all: dict[Address, bytes] = {}
        self.durable: set[Address] = set()
        self.marks = 0

    def content(self) -> bytes:
        draw = self.random
        kind = draw.randrange(5)
        if kind == 0 and self.all:
            return draw.choice(list(self.all.values()))
        if kind == 1 and self.all:
            # Shares chunks with what is there.
            return draw.choice(list(self.all.values()))[: draw.randrange(3000)] + noise(draw.randrange(99), 600)
        if kind == 2:
            return b"%d" % draw.randrange(50) * draw.randrange(1, 900)
        return noise(draw.randrange(1000), draw.choice([0, 5, 300, 1500, 6000]))

    def step(self, storage: Storage) -> None:
        kind = self.random.randrange(10)
        if kind < 5:
            data = self.content()
            self.note(storage.put(data), data)
        elif kind < 7:
            data = self.content()
            self.note(storage.put(io.BytesIO(data)), data)
        elif kind < 8:
            datas = [self.content() for _ in range(4)]
            with storage.ingest() as ingest:
                addresses = [ingest.add(data) for data in datas]
            for address, data in zip(addresses, datas, strict=True):
                self.note(address, data)
        else:
            self.marks += 1
            storage.backend.sync({b"xtest": b"%d" % self.marks})
            self.durable = set(self.all)

    def note(self, address: Address, data: bytes) -> None:
        assert address == content_address(data)
        self.all[address] = data


def check_after_crash(folder: str, everything: dict[Address, bytes], durable: set[Address], marks: int) -> None:
    files = FaultyFiles(folder)
    opened = open_small(folder, files=files)
    storage = opened.storage
    found = set()
    for address, data in everything.items():
        try:
            assert storage.get(address) == data
            found.add(address)
        except NotFoundError:
            # Nothing of it may be taken for the content.
            assert not storage.contains(address)
    assert durable <= found, "durable content is lost"
    mark = storage.backend.fact(b"xtest")
    assert int(mark or b"0") >= marks
    assert list(storage.backend.check_segments()) == []
    # A put of the same content sticks, also when another crash follows the next sync point.
    for address, data in everything.items():
        assert storage.put(data) == address
        assert storage.get(address) == data
    storage.sync()
    again = f"{folder}.again"
    files.crash_copy(again)
    abandon(opened)
    opened = open_small(again)
    for address, data in everything.items():
        assert opened.storage.get(address) == data
    opened.close()
    shutil.rmtree(folder)
    shutil.rmtree(again)


def run_with_crashes(scratch: Path, seed: int, steps: int, points: int) -> int:
    """Crashes at about ``points`` of the calls of a run; returns at how many it did."""
    path = str(scratch / "store")
    run = Run(seed)
    open_small(path).close()
    taken: list[tuple[str, set[Address], int]] = []
    chance = random.Random(seed)
    rate = min(1.0, points / (steps * 4))
    synced_marks = [0]

    def before(call: Call) -> None:
        if chance.random() < rate:
            target = str(scratch / f"crash{len(taken)}")
            files.crash_copy(
                target,
                keep_bytes=chance.choice([0, 0, 1, 40, 56, 57, 400, 100_000]),
                zeros=chance.random() < 0.3,
                keep_names=chance.random() < 0.5,
            )
            taken.append((target, set(run.durable), synced_marks[0]))

    files = FaultyFiles(path, before)
    opened = open_small(path, files=files)
    for _ in range(steps):
        run.step(opened.storage)
        synced_marks[0] = run.marks
        if run.random.random() < 0.05:
            opened.close()
            run.durable = set(run.all)
            opened = open_small(path, files=files)
    # The contents of steps that a crash interrupted may be there in part; they count too.
    for target, durable, marks in taken:
        check_after_crash(target, run.all, durable, marks)
    opened.close()
    return len(taken)


@pytest.mark.parametrize("seed", range(6))
def test_crashes_in_random_runs(seed: int, scratch: Path) -> None:
    assert run_with_crashes(scratch, seed, steps=40, points=80) > 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_crashes_in_many_random_runs(seed: int, scratch: Path) -> None:
    assert run_with_crashes(scratch, seed, steps=80, points=1000) > 100


def durable_and_waiting(path: str, files: FaultyFiles) -> tuple[OpenStorage, list[bytes], list[bytes]]:
    opened = open_small(path, files=files)
    durable, waiting = [noise(1, 90), noise(2, 900)], [noise(3, 30), noise(4, 700)]
    for data in durable:
        opened.storage.put(data)
    opened.storage.sync()
    for data in waiting:
        opened.storage.put(data)
    return opened, durable, waiting


@pytest.mark.parametrize("zeros", [False, True])
def test_a_tail_torn_at_every_offset(scratch: Path, zeros: bool) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened, durable, waiting = durable_and_waiting(path, files)
    everything = {content_address(data): data for data in durable + waiting}
    needed = {content_address(data) for data in durable}
    segment = os.path.join(path, "segments", "00000001.seg")
    tail = files.unsynced_bytes(segment)
    # All of the small record and of the next one's header; then each seventh byte.
    offsets = [*range(56 + 30 + 56 + 2), *range(150, tail, 97), tail]
    assert len(offsets) > 140
    for keep in offsets:
        target = str(scratch / f"torn{keep}")
        files.crash_copy(target, keep_bytes=keep, zeros=zeros)
        whole = keep >= 56 + 30
        check_after_crash(target, everything, needed | ({content_address(waiting[0])} if whole else set()), 0)
    abandon(opened)


def test_garbage_behind_the_tail_is_cut_before_it_is_adopted(scratch: Path) -> None:
    path = str(scratch / "store")
    files = FaultyFiles(path)
    opened, durable, waiting = durable_and_waiting(path, files)
    abandon(opened)
    segment = os.path.join(path, "segments", "00000001.seg")
    intact = os.path.getsize(segment)
    with open(segment, "ab") as file:
        file.write(b"CASr" + noise(9, 200))
    state: list[tuple[str, int]] = []

    def before(call: Call) -> None:
        state.append((call.name, os.path.getsize(segment)))

    opened = open_small(path, files=FaultyFiles(path, before))
    assert ("truncate", intact + 204) in state
    assert os.path.getsize(segment) == intact
    for data in durable + waiting:
        assert opened.storage.get(content_address(data)) == data
    # What is put now goes into a segment of its own.
    opened.storage.put(noise(10, 50))
    assert os.path.getsize(segment) == intact
    opened.close()


def test_a_crash_before_the_adopting_batch_loses_nothing(scratch: Path) -> None:
    path = str(scratch / "store")
    opened, durable, waiting = durable_and_waiting(path, FaultyFiles(path))
    abandon(opened)
    everything = {content_address(data): data for data in durable + waiting}
    images: list[str] = []

    def before(call: Call) -> None:
        images.append(str(scratch / f"adopting{len(images)}"))
        files.crash_copy(images[-1])

    files = FaultyFiles(path, before)
    opened = open_small(path, files=files)
    abandon(opened)
    assert len(images) >= 2
    for image in images:
        check_after_crash(image, everything, set(everything), 0)
    check_after_crash(path, everything, set(everything), 0)


def test_an_index_that_points_beyond_the_segment(scratch: Path) -> None:
    """A disk that lied about fsync: the segment is shorter than its durable mark."""
    path = str(scratch / "store")
    opened = open_small(path, segment_bytes=1 << 20)
    datas = [noise(seed, size) for seed, size in enumerate([100, 3000, 100, 3000])]
    addresses = [opened.storage.put(data) for data in datas]
    opened.close()
    segment = os.path.join(path, "segments", "00000001.seg")
    os.truncate(segment, 3500)
    opened = open_small(path, segment_bytes=1 << 20)
    storage = opened.storage
    storage.put(b"something else")
    storage.sync()
    assert storage.backend.doubtful
    assert storage.get(addresses[0]) == datas[0]
    missing = 0
    for address, data in zip(addresses, datas, strict=True):
        try:
            assert storage.get(address) == data
        except NotFoundError:
            missing += 1
    assert missing >= 2
    assert next((error.segment, error.offset) for error in storage.backend.check_segments()) == (1, 3500)
    assert [storage.put(data) for data in datas] == addresses
    assert [storage.get(address) for address in addresses] == datas
    opened.close()
    opened = open_small(path)
    assert [opened.storage.get(address) for address in addresses] == datas
    opened.close()


def test_a_damaged_segment_before_the_newest_makes_a_rebuild(scratch: Path) -> None:
    """Bit rot in one unsynced segment, while a list that needs it lies intact in the next."""
    path = str(scratch / "store")
    opened = open_small(path, sync="off")
    data = noise(5, 7000)
    address = opened.storage.put(data)
    abandon(opened)
    segments = sorted(os.listdir(os.path.join(path, "segments")))
    assert len(segments) >= 2
    first = os.path.join(path, "segments", segments[0])
    with open(first, "r+b") as file:
        file.seek(500)
        file.write(bytes(100))
    opened = open_small(path)
    assert not opened.storage.contains(address)
    assert opened.storage.put(data) == address
    assert opened.storage.get(address) == data
    opened.close()
