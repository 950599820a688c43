# SPDX-License-Identifier: MIT
"""Canonical JSON: one value, one encoding.

UTF-8, object keys sorted by code point, no spaces, no escapes but those JSON requires, shortest round-trip floats
(Python's ``repr``), no NaN and no infinities. Exactly dict with str keys, list, str, int, finite float, bool and None.
"""

from __future__ import annotations

import json
from typing import Final

from casstore.errors import CorruptionError, InvalidInputError

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

MAX_DEPTH: Final = 200

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def canonical_json(value: object) -> bytes:
    """The one encoding of ``value``.

    Raises:
        InvalidInputError: ``value`` holds something that is no JSON value, or nests deeper than 200.
    """
    _check(value, MAX_DEPTH)
    try:
        return _encode(value).encode()
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"not a JSON value: {error}; use dict, list, str, int, float, bool and None.") from None


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return
    if not depth:
        raise InvalidInputError(f"the value nests deeper than {MAX_DEPTH}; flatten it.")
    if kind is list:
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth - 1)
    elif kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str:
                raise InvalidInputError(f"the key {key!r} is no str; JSON objects have str keys only.")
            _check(item, depth - 1)
    else:
        raise InvalidInputError(f"{kind.__name__} is no JSON value; use dict, list, str, int, float, bool and None.")


def parse_canonical_json(data: bytes) -> JsonValue:
    """The value that ``data`` is the one encoding of.

    Raises:
        CorruptionError: ``data`` is no JSON, or not in its canonical form.
    """
    try:
        value: JsonValue = json.loads(data.decode())
        if canonical_json(value) == data:
            return value
    except (ValueError, RecursionError) as error:
        raise CorruptionError(f"not canonical JSON: {error}.") from None
    raise CorruptionError("JSON that is not in its canonical form.")
