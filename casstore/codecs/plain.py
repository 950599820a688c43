# SPDX-License-Identifier: MIT
"""Factories of the plain types: bytes, text, JSON values."""

from __future__ import annotations

from typing import Final

from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.canonical import JsonValue, canonical_json, json_problem, parse_canonical_json
from casstore.format.entry import Entry

_HEADER_BYTES: Final = 64
"""What a Python object takes beside its content, about."""

_JSON_DECODED_BYTES: Final = 6
"""Memory for each encoded byte: measured 1 for long texts, 6 for records of numbers, 24 for empty dicts."""

_WAY_OUT: Final = (
    "wrap the whole value in codecs.Packed, which takes tuples, sets, bytes, NaN and int keys too; an array, or an "
    "object of a class, wants a key of its own."
)


class BytesFactory:
    """``bytes``, as they are."""

    type_id: Final = "bytes"
    version: Final = 1

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, data: bytes) -> bytes:
        return data


class TextFactory:
    """``str``, as UTF-8."""

    type_id: Final = "text"
    version: Final = 1

    def encode(self, value: str) -> bytes:
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise InvalidInputError("the text holds a lone surrogate, which UTF-8 cannot; store it as bytes.") from None

    def decode(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise CorruptionError(f"a text is no UTF-8: {error}; run `casstore verify`.") from None

    def estimate_size(self, entry: Entry) -> int:
        # One letter beyond U+FFFF makes Python keep four bytes for each; most texts are ASCII.
        return _HEADER_BYTES + entry.size


class JsonFactory:
    """dict, list, int, float, bool and None as canonical JSON; each reading gives a fresh value."""

    type_id: Final = "json"
    version: Final = 1

    def encode(self, value: object) -> bytes:
        try:
            return canonical_json(value)
        except InvalidInputError as error:
            problem = json_problem(value)
            if problem is None:
                raise
            raise InvalidInputError(f"{problem}; {_WAY_OUT}") from error

    def decode(self, data: bytes) -> JsonValue:
        return parse_canonical_json(data)

    def estimate_size(self, entry: Entry) -> int:
        return _HEADER_BYTES + _JSON_DECODED_BYTES * entry.size
