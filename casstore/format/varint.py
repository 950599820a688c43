# SPDX-License-Identifier: MIT
"""Unsigned numbers of variable length: seven bits per byte, lowest first, the high bit set on all but the last.

A number has one encoding: the shortest. Values stay below 2**63, so an encoding has at most nine bytes.
"""

from __future__ import annotations

from typing import Final

from casstore.errors import CorruptionError, InvalidInputError

MAX_VARINT: Final = (1 << 63) - 1
"""Largest number that is written or read. On disk for ever."""

_MAX_SHIFT: Final = 56


def encode_varint(number: int) -> bytes:
    """The bytes of ``number``.

    Raises:
        InvalidInputError: It is negative or above ``MAX_VARINT``.
    """
    if 0 <= number < 128:
        return bytes((number,))
    if not 0 <= number <= MAX_VARINT:
        raise InvalidInputError(f"{number} does not fit in format 1; numbers there are 0 to 2**63 - 1.")
    encoded = bytearray()
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at ``data[at]``, and the position after it.

    Raises:
        CorruptionError: The bytes end inside it, it is not the shortest form, or it is above ``MAX_VARINT``.
    """
    number = shift = 0
    try:
        byte = data[at]
        while byte > 127:
            number |= (byte & 127) << shift
            shift += 7
            at += 1
            byte = data[at]
            if shift > _MAX_SHIFT:
                raise CorruptionError("a number is too large; run `casstore verify`.")
    except IndexError:
        raise CorruptionError("a number is cut short; run `casstore verify`.") from None
    if byte == 0 and shift:
        raise CorruptionError("a number is not in its shortest form; run `casstore verify`.")
    return number | byte << shift, at + 1
