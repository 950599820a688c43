# SPDX-License-Identifier: MIT
"""FastCDC: pinned cut points, the same cuts however the bytes arrive, and never without the compiled kernel."""

from __future__ import annotations

import builtins
import hashlib
import io
import random
import sys
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casstore import chunking
from casstore.chunking import READ_BYTES, Chunker, load_kernel
from casstore.config import DEFAULT_CHUNK_BYTES
from casstore.errors import InvalidInputError, StorageError

SMALL = Chunker(64, 256, 1024)
DEFAULT = Chunker(*DEFAULT_CHUNK_BYTES)
MEGABYTE = random.Random(20240501).randbytes(1_000_000)


class Dribble(io.RawIOBase):
    """A file that gives as much as its script says, whatever is asked for."""

    def __init__(self, data: bytes, sizes: Iterator[int]) -> None:
        super().__init__()
        self._data = data
        self._place = 0
        self._sizes = sizes

    def read(self, size: int = -1) -> bytes:
        part = self._data[self._place : self._place + max(1, min(size, next(self._sizes)))]
        self._place += len(part)
        return part


def forever(sizes: list[int]) -> Iterator[int]:
    while True:
        yield from sizes


def test_zeros_are_cut_at_the_maximum() -> None:
    assert SMALL.lengths(bytes(10_240)) == [1024] * 10


def test_cut_points_of_a_pseudo_random_megabyte() -> None:
    assert hashlib.sha256(MEGABYTE).hexdigest().startswith("eb2cc4e3e488e838")
    lengths = DEFAULT.lengths(MEGABYTE)
    assert DEFAULT_CHUNK_BYTES == (2048, 8192, 32768)
    assert len(lengths) == 131
    assert lengths[:12] == [6655, 14503, 9489, 2882, 6513, 7203, 14566, 9187, 2924, 3890, 6940, 10826]
    assert hashlib.sha256(repr(lengths).encode()).hexdigest()[:16] == "c6e085cfb1a253a0"
    small = SMALL.lengths(MEGABYTE)
    assert (len(small), small[:8]) == (3888, [170, 278, 93, 114, 209, 134, 168, 152])


def test_chunks_join_to_the_input_within_their_bounds() -> None:
    for chunker in (SMALL, DEFAULT):
        lengths = chunker.lengths(MEGABYTE)
        assert sum(lengths) == len(MEGABYTE)
        assert all(chunker.min_bytes <= length <= chunker.max_bytes for length in lengths[:-1])
        assert 0 < lengths[-1] <= chunker.max_bytes
        assert 0.5 < len(MEGABYTE) / len(lengths) / chunker.avg_bytes < 2


def test_lengths_about_the_limits() -> None:
    assert SMALL.lengths(b"") == []
    assert SMALL.whole_bytes == 512
    for size in (1, 63, 64, 65, 255, 256, 257, 511, 512):
        assert SMALL.lengths(MEGABYTE[:size]) == [size]
    # One byte more, and FastCDC decides.
    assert SMALL.lengths(MEGABYTE[:513]) == SMALL.lengths(memoryview(MEGABYTE)[:513])
    assert sum(SMALL.lengths(MEGABYTE[:513])) == 513
    assert SMALL.lengths(bytes(1024)) == [1024]
    assert SMALL.lengths(bytes(1025)) == [1024, 1]


def test_content_that_no_one_chunk_may_hold_is_cut_both_ways() -> None:
    chunker = Chunker(1000, 1024, 1025)
    for size in (1024, 1025, 1026, 1500, 2048):
        streamed = [len(chunk) for chunk in chunker.stream(io.BytesIO(MEGABYTE[:size]))]
        assert streamed == chunker.lengths(MEGABYTE[:size])
        assert max(streamed) <= 1025


def test_an_edit_moves_only_the_cuts_near_it() -> None:
    def cuts(data: bytes) -> set[bytes]:
        place = 0
        found = set()
        for length in SMALL.lengths(data):
            found.add(data[place : place + length])
            place += length
        return found

    before = cuts(MEGABYTE[:200_000])
    after = cuts(MEGABYTE[:100_000] + b"inserted" + MEGABYTE[100_000:200_000])
    assert len(after - before) < 10


@given(
    st.integers(0, 6000),
    st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([SMALL, Chunker(64, 512, 1024), Chunker(1000, 1024, 1025)]),
)
@settings(max_examples=150)
def test_a_stream_is_cut_like_the_whole_whatever_the_reads(
    size: int, reads: list[int], zeros: bool, chunker: Chunker
) -> None:
    data = bytes(size) if zeros else MEGABYTE[:size]
    chunks = list(chunker.stream(Dribble(data, forever(reads))))  # type: ignore[arg-type]
    assert b"".join(chunks) == data
    assert [len(chunk) for chunk in chunks] == chunker.lengths(data)


@pytest.mark.parametrize("size", [0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 2 * READ_BYTES + 12_345])
def test_a_long_stream_is_cut_like_the_whole(size: int) -> None:
    data = (MEGABYTE * 3)[:size]
    for source in (io.BytesIO(data), Dribble(data, forever([70_001, 1, 300_000]))):
        chunks = list(DEFAULT.stream(source))  # type: ignore[arg-type]
        assert [len(chunk) for chunk in chunks] == DEFAULT.lengths(data)
        assert b"".join(chunks) == data


@given(st.integers(0, 900_000), st.integers(513, 20_000))
def test_a_chunk_is_never_cut_again_in_place(start: int, size: int) -> None:
    data = MEGABYTE[start : start + size]
    place = 0
    lengths = SMALL.lengths(data)
    for length in lengths[:5]:
        assert SMALL._cut(data[place : place + length]) == [length]
        place += length


def test_the_largest_chunks_fit_the_buffer() -> None:
    chunker = Chunker(1024 * 1024, 2 * 1024 * 1024, 8 * 1024 * 1024)
    data = bytes(20 * 1024 * 1024)
    assert [len(chunk) for chunk in chunker.stream(io.BytesIO(data))] == chunker.lengths(data)


def test_a_stream_takes_bounded_memory() -> None:
    class Zeros(io.RawIOBase):
        left = 48 * 1024 * 1024

        def read(self, size: int = -1) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    tracemalloc.start()
    try:
        assert sum(map(len, DEFAULT.stream(Zeros()))) == 48 * 1024 * 1024  # type: ignore[arg-type]
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("given_up", ["text", None])
def test_a_file_that_gives_no_bytes(given_up: str | None) -> None:
    class Odd:
        def read(self, size: int) -> str | None:
            return given_up

    with pytest.raises(InvalidInputError, match="binary"):
        list(SMALL.stream(Odd()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sizes",
    [
        (63, 256, 1024),
        (64, 255, 1024),
        (64, 300, 1024),
        (256, 256, 1024),
        (64, 256, 256),
        (64, 256, 1023),
        (64, 128, 1024),
        (64, 256, 8 * 1024 * 1024 + 1),
        (0, 0, 0),
        (-1, -2, -3),
    ],
)
def test_sizes_that_do_not_fit(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInputError, match="chunk sizes"):
        Chunker(*sizes)


def test_without_the_compiled_kernel_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def without_kernel(name: str, *args: object, **kwargs: object) -> object:
        if name == "fastcdc.fastcdc_cy":
            raise ImportError(name)
        return true_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(chunking, "_kernel", None)
    monkeypatch.delitem(sys.modules, "fastcdc.fastcdc_cy", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_kernel)
    for action in (
        load_kernel,
        lambda: SMALL.lengths(bytes(2000)),
        lambda: list(SMALL.stream(io.BytesIO(b"x"))),
    ):
        with pytest.raises(StorageError, match="compiled kernel"):
            action()


def test_the_kernel_is_the_compiled_one() -> None:
    assert load_kernel().__module__ == "fastcdc.fastcdc_cy"
    assert load_kernel() is load_kernel()
