# SPDX-License-Identifier: MIT
"""Codes of plain values: equal values of equal type have equal codes, and only those.

A code is short bytes: of a short scalar the value itself, of all else a digest of 16 bytes, over the codes of what lies
within. So two values of any size are compared by comparing two codes, and a whole value is read once. 1, 1.0 and True
differ, 0.0 and -0.0 too; all NaN are one; the order of a dict or a set does not count.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import chain
from typing import Any, Final

from casstore.codecs.describe_values import StoredArray, StoredTable
from casstore.codecs.unknown import Unknown
from casstore.errors import InvalidInputError

_DIGEST_BYTES: Final = 16
_SHORT: Final = 15
_LENGTHS: Final = tuple(bytes((length,)) for length in range(_SHORT + 1))
_CONTAINERS: Final[dict[type, bytes]] = {list: b"l", tuple: b"u", dict: b"m", set: b"e", frozenset: b"z"}
_double = struct.Struct("<d").pack


class Codes:
    """The codes of values and of everything within them.

    Args:
        max_values: Containers with more parts, together, are refused.

    The values must live, unchanged, as long as this object is used: containers are known by their identity.

    *Cost*: about a microsecond for each part; memory: about 150 bytes for each container. Nothing recurses.
    """

    __slots__ = ("_known", "_left")

    def __init__(self, max_values: int) -> None:
        self._left = max_values
        self._known: dict[int, bytes] = {}

    def code(self, value: Any) -> bytes:
        """The code of a value.

        Raises:
            InvalidInputError: It has too many parts, holds itself, or is no plain data.
        """
        kind = type(value)
        make = _SCALARS.get(kind)
        if make is not None:
            return make(value)
        if not _is_container(kind, value):
            return _leaf_code(value)
        known = self._known
        found = known.get(id(value))
        if found:
            return found
        frames = [self._frame(value)]
        while True:
            frame = frames[-1]
            codes = frame.codes
            for child in frame.children:
                kind = type(child)
                make = _SCALARS.get(kind)
                if make is not None:
                    codes.append(make(child))
                    continue
                if not _is_container(kind, child):
                    codes.append(_leaf_code(child))
                    continue
                found = known.get(id(child))
                if not found:
                    frames.append(self._frame(child))
                    break
                codes.append(found)
            else:
                frames.pop()
                found = known[id(frame.value)] = frame.finish()
                if not frames:
                    return found
                frames[-1].codes.append(found)

    def _frame(self, value: Any) -> _Frame:
        if id(value) in self._known:
            raise InvalidInputError("the value holds itself; compare values that end.")
        # Empty until it is done: what meets it before lies within it.
        self._known[id(value)] = b""
        self._left -= 1 if type(value) is Unknown else len(value)
        if self._left < 0:
            raise InvalidInputError(
                "the values have too many parts to compare them by field; raise max_values (--limit SIZE)."
            )
        return _Frame(value)


class _Frame:
    """A container whose parts are being coded."""

    __slots__ = ("children", "codes", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.codes: list[bytes] = []
        self.children: Iterator[Any]
        if type(value) is dict:
            self.children = chain.from_iterable(value.items())
        elif type(value) is Unknown:
            self.children = iter((value.plain,))
        else:
            self.children = iter(value)

    def finish(self) -> bytes:
        value, codes = self.value, self.codes
        kind = type(value)
        if kind is Unknown:
            return _digest(b"c" + _type_name(value) + codes[0])
        if kind is dict:
            if len(set(codes[::2])) != len(value):
                raise InvalidInputError("two keys of a dict are one (two NaN?); drop one.")
            codes = sorted(key + item for key, item in zip(codes[::2], codes[1::2], strict=True))
        elif kind is set or kind is frozenset:
            codes = sorted(codes)
        # A code says where it ends, so codes side by side are unambiguous.
        return _digest(_CONTAINERS[kind] + b"".join(codes))


def _is_container(kind: type, value: Any) -> bool:
    return kind in _CONTAINERS or (kind is Unknown and value.plain is not None)


def _text_code(value: str) -> bytes:
    return _short(b"s" + value.encode("utf-8", "surrogatepass"))


def _integer_code(value: int) -> bytes:
    return _short(b"i" + value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _float_code(value: float) -> bytes:
    return _short(b"d" + _double(value) if value == value else b"d")


_NONE: Final = b"\1n"
_TRUE: Final = b"\1t"
_FALSE: Final = b"\1f"
_SCALARS: Final[dict[type, Callable[[Any], bytes]]] = {
    str: _text_code,
    int: _integer_code,
    float: _float_code,
    bool: lambda value: _TRUE if value else _FALSE,
    type(None): lambda value: _NONE,
    bytes: lambda value: _short(b"b" + value),
}


def _leaf_code(value: Any) -> bytes:
    kind = type(value)
    if kind is Unknown:
        return _digest(b"o" + _type_name(value) + value.data)
    if kind is StoredArray and value.data is not None:
        return _digest(b"a" + value.data)
    if kind is StoredTable and value.data is not None:
        return _digest(b"w" + value.data)
    raise InvalidInputError(f"{kind.__qualname__} is no plain data; compare what decode_content gives.")


def _short(token: bytes) -> bytes:
    """The token itself with its length, or its digest."""
    return _LENGTHS[len(token)] + token if len(token) <= _SHORT else _digest(token)


def _type_name(value: Unknown) -> bytes:
    name = f"{value.type_id}\0{value.version}".encode("utf-8", "surrogatepass")
    return len(name).to_bytes(4, "big") + name


def _digest(data: bytes) -> bytes:
    return b"\xff" + blake2b(data, digest_size=_DIGEST_BYTES).digest()
