# SPDX-License-Identifier: MIT
"""zstandard frames, bounded before anything is unpacked.

Contexts are reused, one per thread. Every frame states its size; a reader compares that with the record's raw length
*before* decompressing, because the package ignores ``max_output_size`` when a frame states one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import zstandard

from casstore.errors import CorruptionError, FormatVersionError
from casstore.format.kinds import ENCODING_NAMES, MAX_RAW_BYTES, RAW, ZSTD, ZSTD_BASE

MIN_COMPRESS_BYTES: Final = 48
"""Shorter data never gets smaller by a frame of its own."""

DELTA_LEVEL: Final = 1
"""zstandard's level for deltas: what a base explains is found at any level; others take up to ten times longer."""

_contexts = threading.local()
_frame_size = zstandard.frame_content_size


def _decompressor() -> zstandard.ZstdDecompressor:
    try:
        context: zstandard.ZstdDecompressor = _contexts.decompressor
    except AttributeError:
        context = _contexts.decompressor = zstandard.ZstdDecompressor()
    return context


def _compressor(level: int) -> zstandard.ZstdCompressor:
    try:
        if _contexts.level == level:
            context: zstandard.ZstdCompressor = _contexts.compressor
            return context
    except AttributeError:
        pass
    context = _contexts.compressor = zstandard.ZstdCompressor(level=level, write_content_size=True)
    _contexts.level = level
    return context


def compress(raw: bytes, level: int) -> tuple[int, bytes]:
    """Encoding and stored bytes of ``raw``: a frame where that saves at least a sixteenth, else ``raw`` itself."""
    size = len(raw)
    if size >= MIN_COMPRESS_BYTES:
        frame = _compressor(level).compress(raw)
        if len(frame) < size - (size >> 4):
            return ZSTD, frame
    return RAW, raw


class Prefixed:
    """Frames that all share a prefix: for many short texts that are much alike. Thread-safe."""

    __slots__ = ("_contexts", "_level", "_prefix")

    def __init__(self, prefix: bytes, level: int) -> None:
        self._prefix = prefix
        self._level = level
        self._contexts = threading.local()

    def _context(self) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
        try:
            contexts: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] = self._contexts.both
        except AttributeError:
            prefix = zstandard.ZstdCompressionDict(self._prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            prefix.precompute_compress(level=self._level)
            contexts = self._contexts.both = (
                zstandard.ZstdCompressor(level=self._level, dict_data=prefix, write_content_size=True),
                zstandard.ZstdDecompressor(dict_data=prefix),
            )
        return contexts

    def compress(self, raw: bytes) -> bytes:
        """A frame that holds ``raw``. Cost: some 2 µs."""
        frame: bytes = self._context()[0].compress(raw)
        return frame

    def decompress(self, frame: bytes, raw_bytes: int) -> bytes:
        """The ``raw_bytes`` bytes that ``frame`` holds.

        Raises:
            CorruptionError: Not a frame, or one of another size.
        """
        return _unpack(self._context()[1], frame, raw_bytes)


def compress_batch(items: Sequence[bytes], level: int) -> list[tuple[int, bytes]]:
    """``compress`` of each item, without the interpreter lock where that pays (one native call for all of them)."""
    if len(items) < 4 or any(not item for item in items):
        return [compress(item, level) for item in items]
    frames = _compressor(level).multi_compress_to_buffer(list(items), threads=1)
    result: list[tuple[int, bytes]] = []
    for place, raw in enumerate(items):
        frame = frames[place]
        size = len(raw)
        if size >= MIN_COMPRESS_BYTES and len(frame) < size - (size >> 4):
            result.append((ZSTD, frame.tobytes()))
        else:
            result.append((RAW, raw))
    return result


def compress_delta(raw: bytes, base: bytes) -> bytes:
    """A frame that holds ``raw`` for whoever has ``base``. Cost: about 10 µs, and 1.5 µs per KiB of both."""
    prefix = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame: bytes = zstandard.ZstdCompressor(level=DELTA_LEVEL, dict_data=prefix, write_content_size=True).compress(raw)
    return frame


def decompress_delta(frame: bytes, raw_bytes: int, base: bytes) -> bytes:
    """The ``raw_bytes`` bytes that ``frame`` holds for whoever has ``base``; nonsense where that is another base.

    Raises:
        CorruptionError: Not a frame, or one of another size.
    """
    prefix = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return _unpack(zstandard.ZstdDecompressor(dict_data=prefix), frame, raw_bytes)


def decompress(encoding: int, stored: bytes, raw_bytes: int) -> bytes:
    """The ``raw_bytes`` bytes that ``stored`` holds.

    Raises:
        CorruptionError: Not a frame, or one of another size; or a delta, which cannot be read without its base.
        FormatVersionError: An encoding of a later version.
    """
    if encoding == RAW:
        if len(stored) == raw_bytes:
            return stored
        raise CorruptionError(f"a record holds {len(stored)} bytes instead of {raw_bytes}; run `casstore verify`.")
    if encoding == ZSTD:
        return _unpack(_decompressor(), stored, raw_bytes)
    if encoding == ZSTD_BASE:
        raise CorruptionError("a record is stored against another one where none may be; run `casstore verify`.")
    name = ENCODING_NAMES.get(encoding, str(encoding))
    raise FormatVersionError(f"a record is encoded as {name}, which this casstore cannot read; install a later one.")


def _unpack(context: zstandard.ZstdDecompressor, frame: bytes, raw_bytes: int) -> bytes:
    try:
        if _frame_size(frame) != raw_bytes or raw_bytes > MAX_RAW_BYTES:
            raise CorruptionError("a compressed record claims another size than its header; run `casstore verify`.")
        raw: bytes = context.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptionError(f"a compressed record is damaged ({error}); run `casstore verify`.") from None
    if len(raw) != raw_bytes:
        raise CorruptionError("a compressed record unpacks to another size than its header; run `casstore verify`.")
    return raw
