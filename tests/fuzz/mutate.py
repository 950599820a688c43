# SPDX-License-Identifier: MIT
"""Random changes to inputs, and which lines of the library a run reaches: fuzzing without a package for it."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

MAX_BYTES: Final = 4096
WORDS: Final = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xff" * 8 + b"\x7f",
    b"null", b"true", b'"', b"{}", b"[]", b"1e400", b"-0.0", b"\\ud800", b"..", b"/", b"casstore", b"CASr",
    b"(\xb5\x2f\xfd",
)  # fmt: skip


def mutated(inputs: Sequence[bytes], draw: random.Random) -> bytes:
    """A new input made of one of ``inputs``, or two."""
    data = bytearray(draw.choice(inputs))
    for _ in range(1 << draw.randrange(4)):
        at = draw.randrange(len(data) + 1)
        way = draw.randrange(8)
        if way == 0 and data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
        elif way == 1 and data:
            data[at % len(data)] = draw.randrange(256)
        elif way == 2:
            word = draw.choice(WORDS)
            data[at : at + (len(word) if draw.randrange(2) else 0)] = word
        elif way == 3:
            del data[at : at + draw.randrange(1, 9)]
        elif way == 4:
            other = draw.choice(inputs)
            start = draw.randrange(len(other) + 1)
            data[at:] = other[start:]
        elif way == 5:
            piece = data[at : at + draw.randrange(1, 33)]
            data[at:at] = piece * draw.choice((1, 2, 8))
        elif way == 6 and data:
            place = at % len(data)
            data[place] = (data[place] + draw.choice((-1, 1))) % 256
        else:
            data[at:at] = draw.randbytes(draw.randrange(1, 9))
    return bytes(data[:MAX_BYTES])


class Coverage:
    """Lines of the library that were reached while it was entered; ``grew`` says whether the last time added any."""

    def __init__(self) -> None:
        self._seen: set[tuple[Any, int]] = set()
        self.grew = False

    def __enter__(self) -> None:
        self._before = len(self._seen)
        # Somebody may measure the coverage of the tests, who would see nothing of what comes later.
        self._other = sys.gettrace()
        sys.settrace(self._called)

    def __exit__(self, *failure: object) -> None:
        sys.settrace(self._other)
        self.grew = len(self._seen) > self._before

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if "casstore" in frame.f_code.co_filename else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._seen.add((frame.f_code, frame.f_lineno))
        return self._line
