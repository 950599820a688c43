# SPDX-License-Identifier: MIT
"""Contents: every size, lists of lists, lists among chunks, and seekable files that read only what they need."""

from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casstore.address import Address, content_address
from casstore.chunking import Chunker
from casstore.config import Config
from casstore.errors import ClosedError, CorruptionError, InvalidInputError, NotFoundError
from casstore.format.chunk_list import MAX_DEPTH, encode_chunk_list
from casstore.format.kinds import CHUNK, CHUNK_LIST, NODE, RAW
from casstore.format.record import Record
from casstore.storage import content
from casstore.storage.content import ListBuilder
from casstore.storage.memory_backend import MemoryBackend
from casstore.storage.storage import Storage
from tests.storage.stores import noise, open_small


def memory(min_bytes: int = 64, avg_bytes: int = 256, max_bytes: int = 1024, backend: object = None) -> Storage:
    config = Config(cache_bytes=0, threads=2)
    return Storage(backend or MemoryBackend(), Chunker(min_bytes, avg_bytes, max_bytes), config)  # type: ignore[arg-type]


class Counting(MemoryBackend):
    """Counts the records that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Address] = []

    def get(self, address: Address) -> Record:
        self.reads.append(address)
        return super().get(address)


SIZES = [0, 1, 47, 63, 64, 65, 255, 256, 511, 512, 513, 1023, 1024, 1025, 5000, 100_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("zeros", [False, True])
def test_contents_of_every_size(size: int, zeros: bool) -> None:
    data = bytes(size) if zeros else noise(size, size)
    for way in ("bytes", "stream", "ingest", "ingest stream"):
        storage = memory()
        if way == "bytes":
            address = storage.put(data)
        elif way == "stream":
            address = storage.put(io.BytesIO(data))
        else:
            with storage.ingest() as ingest:
                address = ingest.add(data) if way == "ingest" else ingest.add_stream(io.BytesIO(data))
        assert address == content_address(data)
        assert storage.get(address) == data
        assert list(storage.get_many([address, address])) == [data, data]
        assert storage.content_size(address) == size
        storage.check_content(address)
        assert storage.open_content(address).read() == data
        kinds = {entry.kind for _, entry in storage.backend.scan()}
        assert kinds == ({CHUNK} if len(storage.chunker.lengths(data)) <= 1 else {CHUNK, CHUNK_LIST})
        # However it came, the records are the same.
        records = {address: entry.kind for address, entry in storage.backend.scan()}
        reference = memory()
        reference.put(data)
        assert records == {address: entry.kind for address, entry in reference.backend.scan()}


def test_every_buffer_is_taken_and_nothing_else() -> None:
    storage = memory()
    data = noise(1, 3000)
    wanted = content_address(data)
    assert storage.put(bytearray(data)) == storage.put(memoryview(data)) == wanted
    assert storage.put(memoryview(data)[::2]) == content_address(data[::2])
    for wrong in ("text", 5, None, [b"a"], io.StringIO("text")):
        with pytest.raises(InvalidInputError):
            storage.put(wrong)  # type: ignore[arg-type]
    changing = bytearray(b"a" * 30)
    address = storage.put(changing)
    changing[0] = 0
    assert storage.get(address) == b"a" * 30


def test_repeated_chunks_are_kept_once() -> None:
    block = noise(2, 3000)
    for source in (block * 20, io.BytesIO(block * 20)):
        storage = memory()
        storage.put(source)
        assert storage.backend.used_bytes() < 15_000
    storage = memory()
    with storage.ingest() as ingest:
        for number in range(20):
            ingest.add(block + b"%d" % number * 20)
    assert storage.backend.used_bytes() < 3 * len(block) + 20 * 2000


def test_a_chunk_is_compressed_once_however_often_it_occurs() -> None:
    data = noise(2, 3000) * 20
    items = content.cut_content(content_address(data), data, memory().chunker.lengths(data), lambda _: False)
    assert len({address for _, address, _, _ in items}) == len(items) > 2
    assert [kind for kind, _, _, _ in items].count(CHUNK_LIST) == 1
    assert items[-1][0] == CHUNK_LIST


@pytest.fixture(params=[2, 3, 4])
def few_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Lists of a few pieces, so that small contents have lists of lists of lists."""
    pieces: int = request.param
    monkeypatch.setattr(content, "MAX_PIECES", pieces)
    return pieces


def depth_of(storage: Storage, address: Address) -> int:
    found = storage.chunk_list(address)
    return 0 if found is None else 1 + max(depth_of(storage, piece) for piece, _ in found.pieces)


def test_lists_of_lists(few_pieces: int) -> None:
    depths = set()
    for size in (*range(600, 9000, 411), 20_000):
        data = noise(size, size)
        storage = memory()
        address = storage.put(data)
        streamed = memory()
        assert streamed.put(io.BytesIO(data)) == address == content_address(data)
        assert [piece for piece, _ in streamed.backend.scan()] == [piece for piece, _ in storage.backend.scan()]
        for each in (storage, streamed):
            if depth_of(each, address) <= MAX_DEPTH:
                assert each.get(address) == data
                assert each.open_content(address).read() == data
            for piece, entry in each.backend.scan():
                if entry.kind == CHUNK_LIST:
                    found = each.chunk_list(piece)
                    assert found is not None
                    assert 2 <= len(found.pieces) <= few_pieces
                    assert piece == address or each.get(piece) in data
        depths.add(depth_of(storage, address))
    assert len(depths) > 2


@given(st.integers(1, 130), st.integers(2, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_builder_never_overfills_a_list(monkeypatch: pytest.MonkeyPatch, chunks: int, most: int) -> None:
    monkeypatch.setattr(content, "MAX_PIECES", most)
    lists: dict[Address, list[tuple[Address, int]]] = {}
    builder = ListBuilder(lambda address, pieces: lists.__setitem__(address, list(pieces)))
    parts = [b"%d," % number for number in range(chunks)]
    known = {}
    for part in parts:
        known[content_address(part)] = part
        builder.add(part, content_address(part))
    whole = builder.finish()

    def expand(address: Address) -> bytes:
        if address in known:
            return known[address]
        joined = b""
        for piece, length in lists[address]:
            data = expand(piece)
            assert len(data) == length
            joined += data
        assert content_address(joined) == address
        return joined

    assert expand(whole) == b"".join(parts)
    assert all(2 <= len(pieces) <= most for pieces in lists.values())


def test_a_chunk_of_one_content_may_be_a_list_of_another_time() -> None:
    """The same bytes stored with other chunk sizes: an address is a chunk or a list, and nobody assumes which."""
    data = noise(3, 60_000)
    backend = MemoryBackend()
    small, large = memory(backend=backend), memory(1024, 4096, 16384, backend=backend)
    place = 0
    for length in large.chunker.lengths(data)[::2]:
        small.put(data[place : place + length])
        place += length
    address = large.put(data)
    found = large.chunk_list(address)
    assert found is not None
    kinds = {entry.kind for piece, _ in found.pieces if (entry := backend.find(piece)) is not None}
    assert kinds == {CHUNK, CHUNK_LIST}
    for storage in (small, large):
        assert storage.get(address) == data
        assert storage.content_size(address) == len(data)
        storage.check_content(address)
        file = storage.open_content(address)
        for start in range(0, 60_000, 7_001):
            file.seek(start)
            assert file.read(3000) == data[start : start + 3000]
    # And the other way round: what is a chunk already needs no list.
    whole = large.put(noise(4, 4000))
    before = backend.used_bytes()
    assert small.put(noise(4, 4000)) == whole
    assert backend.used_bytes() == before


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, 40_000), st.just(0)),
        st.tuples(st.just("seek"), st.integers(-500, 500), st.just(1)),
        st.tuples(st.just("seek"), st.integers(-30_000, 100), st.just(2)),
        st.tuples(st.just("read"), st.integers(-1, 9_000), st.none()),
        st.tuples(st.just("read1"), st.integers(1, 300), st.none()),
        st.tuples(st.just("readinto"), st.integers(0, 3_000), st.none()),
        st.tuples(st.just("readline"), st.integers(-1, 300), st.none()),
        st.tuples(st.just("peek"), st.integers(0, 10), st.none()),
    ),
    max_size=15,
)


@pytest.fixture(scope="module")
def nested() -> tuple[bytes, Storage, Address]:
    """Content whose lists nest three deep, with lists and chunks side by side."""
    patch = pytest.MonkeyPatch()
    patch.setattr(content, "MAX_PIECES", 6)
    data = noise(5, 15_000) + bytes(5000) + noise(6, 12_000)
    backend = MemoryBackend()
    memory(backend=backend).put(data[3_000:9_000])
    storage = memory(backend=backend)
    address = storage.put(data)
    patch.undo()
    assert 3 <= depth_of(storage, address) <= MAX_DEPTH
    return data, storage, address


@given(actions=ACTIONS)
def test_a_content_file_is_like_any_file(
    nested: tuple[bytes, Storage, Address], actions: list[tuple[str, int, int | None]]
) -> None:
    data, storage, address = nested
    file, plain = storage.open_content(address), io.BytesIO(data)
    for name, number, whence in actions:
        if name == "seek":
            results = []
            for each in (file, plain):
                try:
                    results.append(each.seek(number, whence or 0))
                except ValueError:
                    results.append("refused")
            # BytesIO stays at 0 where a file refuses to go before its beginning.
            if results[0] == "refused":
                plain.seek(file.tell())
            else:
                assert results[0] == results[1]
        elif name == "readinto":
            buffers = bytearray(number), bytearray(number)
            assert file.readinto(buffers[0]) == plain.readinto(buffers[1])
            assert buffers[0] == buffers[1]
        elif name == "read1":
            part = file.read1(number)
            assert part == plain.read(len(part))
            assert part or plain.tell() >= len(data)
        elif name == "peek":
            part = file.peek(number)
            assert data[plain.tell() :].startswith(part)
        else:
            assert getattr(file, name)(number) == getattr(plain, name)(number)
        assert file.tell() == plain.tell()


def test_a_slice_reads_only_the_chunks_it_needs() -> None:
    backend = Counting()
    storage = memory(backend=backend)
    data = noise(7, 200_000)
    address = storage.put(data)
    lists = sum(entry.kind == CHUNK_LIST for _, entry in backend.scan())
    assert lists == 1
    backend.reads.clear()
    file = storage.open_content(address)
    assert backend.reads == [address]
    file.seek(100_000)
    assert backend.reads == [address]
    assert file.read(10) == data[100_000:100_010]
    assert 2 <= len(backend.reads) <= 3
    file.seek(0)
    before = len(backend.reads)
    assert file.read(5000) == data[:5000]
    chunks = 0
    place = 0
    for length in storage.chunker.lengths(data):
        chunks += 1
        place += length
        if place >= 5000:
            break
    assert len(backend.reads) - before <= chunks + 1


def test_a_content_file_is_read_only_and_closes() -> None:
    storage = memory()
    address = storage.put(noise(8, 5000))
    file = storage.open_content(address)
    assert file.readable()
    assert file.seekable()
    assert not file.writable()
    for action in (lambda: file.write(b"x"), file.truncate, file.fileno):
        with pytest.raises(OSError):
            action()
    with pytest.raises(ValueError, match="whence"):
        file.raw.seek(0, 7)
    with pytest.raises(ValueError, match="before"):
        file.raw.seek(-1)
    assert file.raw.readinto(bytearray()) == 0
    assert [pin.what for pin in storage.pins.all()] == ["content"]
    raw = file.raw
    file.close()
    assert storage.pins.all() == []
    for call in (raw.readable, raw.seekable, raw.tell, lambda: raw.seek(0), lambda: raw.readinto(bytearray(1))):
        with pytest.raises(ClosedError):
            call()


def test_a_dropped_content_file_drops_its_pin() -> None:
    storage = memory()
    address = storage.put(b"pinned")
    first, second = storage.open_content(address), storage.open_content(address)
    assert [(pin.address, pin.count) for pin in storage.pins.all()] == [(address, 2)]
    del first
    assert [pin.count for pin in storage.pins.all()] == [1]
    assert second.read() == b"pinned"
    del second
    assert storage.pins.all() == []


def test_what_is_no_content() -> None:
    storage = memory()
    absent = content_address(b"absent")
    storage.put_record(NODE, absent, b"a node")
    for action in (storage.get, storage.open_content, storage.content_size, storage.check_content):
        with pytest.raises(NotFoundError, match="is a node"):
            action(absent)
        with pytest.raises(NotFoundError, match="nothing has"):
            action(content_address(b"other"))
        with pytest.raises(InvalidInputError):
            action("ab" * 32)
    assert storage.pins.all() == []
    for wrong in (bytearray(32), [1], None, b"short"):
        with pytest.raises(InvalidInputError):
            storage.get(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            list(storage.get_many([wrong]))  # type: ignore[list-item]
        with pytest.raises(InvalidInputError):
            storage.get_record(CHUNK, wrong)  # type: ignore[arg-type]


# -- lists that no put writes: the pieces verify, the list is signed, and yet it lies


def plant(storage: Storage, address: Address, pieces: list[tuple[Address, int]]) -> None:
    raw = encode_chunk_list(address, pieces)
    storage.backend.put([Record(CHUNK_LIST, RAW, address, len(raw), raw)])


def all_readers(storage: Storage, address: Address) -> list[object]:
    return [
        lambda: storage.get(address),
        lambda: list(storage.get_many([address])),
        lambda: storage.open_content(address).read(),
        lambda: storage.check_content(address),
    ]


def test_a_list_of_another_content() -> None:
    storage = memory()
    piece = storage.put(b"12345")
    address = content_address(b"something else")
    plant(storage, address, [(piece, 5), (piece, 5)])
    for reader in (storage.get, storage.check_content, lambda address: list(storage.get_many([address]))):
        with pytest.raises(CorruptionError, match="another content"):
            reader(address)


@pytest.mark.parametrize("length", [4, 6, 2**40])
def test_a_list_that_lies_about_lengths(length: int) -> None:
    storage = memory()
    piece = storage.put(b"12345")
    address = content_address(b"lies")
    plant(storage, address, [(piece, length), (piece, 5)])
    for reader in all_readers(storage, address):
        with pytest.raises(CorruptionError, match="not as long"):
            reader()  # type: ignore[operator]


def test_a_list_that_claims_a_terabyte_takes_no_memory() -> None:
    storage = memory()
    piece = storage.put(bytes(500))
    address = content_address(b"terabyte")
    plant(storage, address, [(piece, 2**40)])
    tracemalloc.start()
    try:
        assert storage.content_size(address) == 2**40
        for reader in all_readers(storage, address):
            with pytest.raises(CorruptionError):
                reader()  # type: ignore[operator]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_piece_that_is_far_too_long_is_not_read_to_its_end() -> None:
    backend = Counting()
    storage = memory(backend=backend)
    piece = storage.put(b"12345")
    inner, outer = content_address(b"inner"), content_address(b"outer")
    plant(storage, inner, [(piece, 5)] * 1000)
    plant(storage, outer, [(inner, 5)])
    for reader in all_readers(storage, outer):
        backend.reads.clear()
        with pytest.raises(CorruptionError, match="not as long"):
            reader()  # type: ignore[operator]
        # Of 1000; in bulk it is looked at again chunk by chunk, to name what is wrong.
        assert len(backend.reads) <= 12


def test_lists_that_nest_too_deep_or_for_ever() -> None:
    storage = memory()
    piece = storage.put(b"12345")
    address = piece
    for level in range(MAX_DEPTH + 1):
        if level == MAX_DEPTH:
            assert storage.open_content(address).read() == b"12345"
        upper = content_address(b"level %d" % level)
        plant(storage, upper, [(address, 5)])
        address = upper
    loop = content_address(b"loop")
    plant(storage, loop, [(loop, 5)])
    for wrong in (address, loop):
        for reader in all_readers(storage, wrong):
            with pytest.raises(CorruptionError, match="too deep"):
                reader()  # type: ignore[operator]


def test_a_list_whose_piece_is_gone() -> None:
    storage = memory()
    data = noise(9, 5000)
    address = storage.put(data)
    found = storage.chunk_list(address)
    assert found is not None
    storage.backend.delete([found.pieces[2][0]])
    for reader in all_readers(storage, address):
        with pytest.raises(NotFoundError):
            reader()  # type: ignore[operator]


def test_a_large_stream_goes_in_and_out_with_bounded_memory(scratch: Path) -> None:
    size = 24 * 1024 * 1024
    block = noise(10, 1024 * 1024)

    class Source(io.RawIOBase):
        place = 0

        def read(self, wanted: int = -1) -> bytes:
            part = block[: min(wanted, size - self.place)]
            self.place += len(part)
            return part

    opened = open_small(str(scratch / "store"), segment_bytes=32 << 20)
    storage = Storage(opened.storage.backend, Chunker(2048, 8192, 32768), Config(cache_bytes=0, threads=2))
    tracemalloc.start()
    try:
        address = storage.put(Source())  # type: ignore[arg-type]
        file = storage.open_content(address)
        read = sum(len(part) for part in iter(lambda: file.read(1 << 20), b""))
        assert read == size
        file.seek(size // 2)
        assert file.read(100) == (block * 2)[(size // 2) % len(block) :][:100]
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()
        opened.close()


def test_random_slices_of_a_content_on_disk(scratch: Path) -> None:
    opened = open_small(str(scratch / "store"))
    data = noise(11, 50_000)
    address = opened.storage.put(data)
    draw = random.Random(1)
    with opened.storage.open_content(address) as file:
        for _ in range(100):
            start, size = draw.randrange(51_000), draw.randrange(2_000)
            file.seek(start)
            assert file.read(size) == data[start : start + size]
    opened.close()
