# SPDX-License-Identifier: MIT
"""zstandard frames: smaller or raw, one size stated once, and no bomb is ever unpacked."""

from __future__ import annotations

import random
import threading
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from casstore.compression import MIN_COMPRESS_BYTES, compress, compress_batch, decompress
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError
from casstore.format.kinds import MAX_RAW_BYTES, RAW, ZSTD, ZSTD_DICTIONARY

NOISE = random.Random(1).randbytes(100_000)
datas = st.one_of(st.binary(max_size=300), st.builds(lambda a, n: a * n, st.binary(max_size=20), st.integers(0, 500)))


@given(datas, st.sampled_from([1, 3, 6, 19]))
def test_round_trip(raw: bytes, level: int) -> None:
    encoding, stored = compress(raw, level)
    assert decompress(encoding, stored, len(raw)) == raw
    assert len(stored) <= len(raw)
    if encoding == ZSTD:
        assert len(stored) < len(raw) - len(raw) // 16
        assert zstandard.frame_content_size(stored) == len(raw)


@given(st.lists(datas, max_size=12), st.sampled_from([1, 6]))
def test_a_batch_is_what_its_items_are_one_by_one(items: list[bytes], level: int) -> None:
    assert compress_batch(items, level) == [compress(item, level) for item in items]


def test_incompressible_data_is_kept_raw() -> None:
    assert compress(NOISE, 3) == (RAW, NOISE)
    assert compress_batch([NOISE] * 5, 3) == [(RAW, NOISE)] * 5


def test_short_data_is_kept_raw() -> None:
    assert compress(bytes(MIN_COMPRESS_BYTES - 1), 3)[0] == RAW
    assert compress(bytes(MIN_COMPRESS_BYTES), 3)[0] == ZSTD
    assert compress(b"", 3) == (RAW, b"")


def test_threads_have_contexts_of_their_own() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in range(50):
            raw = random.Random(seed * 100 + number).randbytes(200) * 20
            encoding, stored = compress(raw, 1 + seed)
            if encoding != ZSTD or decompress(encoding, stored, len(raw)) != raw:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_stated_size_is_compared_before_anything_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(314 * 1024 * 1024))
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        for claimed in (10, MAX_RAW_BYTES, 314 * 1024 * 1024, 2**40):
            with pytest.raises(CorruptionError):
                decompress(ZSTD, bomb, claimed)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def frame_that_states(size: int, body: bytes) -> bytes:
    """A frame header written by hand (RFC 8878): single segment, 8-byte content size, then one raw block."""
    header = bytes.fromhex("28b52ffd") + bytes([0b11100000]) + size.to_bytes(8, "little")
    block = (len(body) << 3 | 1).to_bytes(3, "little") + body
    return header + block


def test_a_frame_that_states_more_or_less_than_it_holds() -> None:
    assert decompress(ZSTD, frame_that_states(5, b"hello"), 5) == b"hello"
    tracemalloc.start()
    try:
        for size in (4, 6, 2**40, 2**63):
            for claimed in (5, size):
                with pytest.raises(CorruptionError):
                    decompress(ZSTD, frame_that_states(size, b"hello"), claimed)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_frames_that_are_no_whole_frame_or_more_than_one() -> None:
    raw = b"abc" * 100
    frame = zstandard.ZstdCompressor().compress(raw)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    skippable = bytes.fromhex("502a4d18") + (4).to_bytes(4, "little") + b"skip"
    for stored in (b"", frame[:-1], frame + b"x", frame + frame, unsized, skippable + frame, frame + skippable):
        with pytest.raises(CorruptionError):
            decompress(ZSTD, stored, len(raw))


def test_raw_bytes_must_have_their_length() -> None:
    assert decompress(RAW, b"abc", 3) == b"abc"
    with pytest.raises(CorruptionError):
        decompress(RAW, b"abc", 4)


@pytest.mark.parametrize(("encoding", "name"), [(ZSTD_DICTIONARY, "zstd+dictionary"), (9, "9")])
def test_later_encodings_are_refused_by_name(encoding: int, name: str) -> None:
    with pytest.raises(FormatVersionError) as caught:
        decompress(encoding, b"", 0)
    assert name in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 4), st.integers(0, 1000))
def test_arbitrary_bytes(stored: bytes, encoding: int, raw_bytes: int) -> None:
    try:
        assert len(decompress(encoding, stored, raw_bytes)) == raw_bytes
    except CasstoreError:
        pass


@given(st.binary(min_size=60, max_size=400), st.data())
def test_mutated_frames(seed: bytes, data: st.DataObject) -> None:
    raw = seed * 3
    stored = bytearray(zstandard.ZstdCompressor().compress(raw))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert len(decompress(ZSTD, bytes(stored), len(raw))) == len(raw)
    except CorruptionError:
        pass
