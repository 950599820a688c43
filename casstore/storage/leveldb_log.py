# SPDX-License-Identifier: MIT
"""Records of LevelDB's log format, which its MANIFEST is written in.

The file is a row of blocks; a record never starts in the last six bytes of one and is split where a block ends::

    block     32,768 bytes: fragments, then up to 6 bytes of filler (the last block of the file is shorter)
    fragment  crc32c, masked (4, LE) | length (2, LE) | type (1) | data (length)
    type      1 whole record | 2 its first, 3 a middle, 4 its last fragment | 0 with length 0: rest of the block empty

Invariant: what LevelDB reads without complaint is read the same way here, and everything else raises. The checksums
are *not* checked: LevelDB itself checks every one of them when it opens the bytes that were parsed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from casstore.errors import CorruptionError

BLOCK_BYTES: Final = 32_768
HEADER_BYTES: Final = 7

_EMPTY: Final = 0
_WHOLE: Final = 1
_FIRST: Final = 2
_MIDDLE: Final = 3
_LAST: Final = 4


def records(data: bytes) -> Iterator[bytes]:
    """The records in order. A last one that is cut short is left out, as a writer may be appending it just now.

    Args:
        data: The file from its first byte, up to where it ended when it was read.

    Raises:
        CorruptionError: A fragment runs over its block, is of no known type, or lacks its other parts.
    """
    parts: list[bytes] | None = None
    for kind, fragment, offset in _fragments(data):
        if kind in (_WHOLE, _FIRST):
            # Old versions of LevelDB left an empty first fragment at the end of a block; nothing is lost with it.
            if parts is not None and any(parts):
                raise CorruptionError(f"a record of the log ends before offset {offset} without its last part")
            parts = [fragment]
        elif kind in (_MIDDLE, _LAST):
            if parts is None:
                raise CorruptionError(f"a record of the log lacks its first part at offset {offset}")
            parts.append(fragment)
        elif kind == _EMPTY and not fragment:
            if parts is not None:
                raise CorruptionError(f"a record of the log is broken off by empty space at offset {offset}")
        else:
            raise CorruptionError(f"unknown type {kind} of a log record at offset {offset}")
        if parts is not None and kind in (_WHOLE, _LAST):
            yield b"".join(parts)
            parts = None


def _fragments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Type, data and offset of each fragment that is there in full."""
    total = len(data)
    for block in range(0, total, BLOCK_BYTES):
        end = min(block + BLOCK_BYTES, total)
        offset = block
        while end - offset >= HEADER_BYTES:
            start = offset + HEADER_BYTES
            stop = start + int.from_bytes(data[offset + 4 : offset + 6], "little")
            if stop > end:
                if end - block == BLOCK_BYTES:
                    raise CorruptionError(f"a log record runs over the end of its block at offset {offset}")
                return
            kind = data[offset + 6]
            yield kind, data[start:stop], offset
            if kind == _EMPTY and start == stop:
                break
            offset = stop
