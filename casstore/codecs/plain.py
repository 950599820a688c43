# SPDX-License-Identifier: MIT
"""Factories of the plain types: bytes, text, JSON values."""

from __future__ import annotations

from typing import Final

from casstore.errors import InvalidInputError
from casstore.format.canonical import JsonValue, canonical_json, parse_canonical_json


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
        return data.decode()


class JsonFactory:
    """dict, list, int, float, bool and None as canonical JSON; each reading gives a fresh value."""

    type_id: Final = "json"
    version: Final = 1

    def encode(self, value: object) -> bytes:
        return canonical_json(value)

    def decode(self, data: bytes) -> JsonValue:
        return parse_canonical_json(data)
