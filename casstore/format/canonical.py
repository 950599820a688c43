# SPDX-License-Identifier: MIT
"""Canonical JSON: one value, one encoding.

UTF-8, object keys sorted by code point, no spaces, no escapes but those JSON requires, shortest round-trip floats
(Python's ``repr``), no NaN and no infinities. Exactly dict with str keys, list, str, int, finite float, bool and None.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from casstore.errors import CorruptionError, InvalidInputError

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

MAX_DEPTH: Final = 200

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def canonical_json(value: object) -> bytes:
    """The one encoding of ``value``.

    Raises:
        InvalidInputError: ``value`` holds something that is no JSON value, or nests deeper than 200.
    """
    try:
        _check(value, MAX_DEPTH)
        return _encode(value).encode()
    except (ValueError, TypeError) as error:
        problem = json_problem(value) or f"not a JSON value: {error}"
        raise InvalidInputError(f"{problem}; use dict, list, str, int, float, bool and None.") from None


def json_problem(value: object) -> str | None:
    """The first part of a value that is no JSON, with its path: ``deep.list[1].k: a set is no JSON value``."""
    return _problem(value, "", MAX_DEPTH)


def _problem(value: Any, path: str, depth: int) -> str | None:
    """Walks as ``_check`` does, but keeps the way; only for values that were refused."""
    kind = type(value)
    where = f"{path}: " if path else ""
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"{where}the text holds a lone surrogate, which UTF-8 cannot"
        return None
    if kind in (int, bool, type(None)):
        return None
    if kind is float:
        return None if math.isfinite(value) else f"{where}{value!r} is no JSON value"
    if not depth:
        return f"{_cut(path)}: the value nests deeper than {MAX_DEPTH}"
    if kind is list:
        parts = [(f"{path}[{place}]", item) for place, item in enumerate(value)]
    elif kind is dict:
        for key in value:
            if type(key) is not str:
                return f"{where}the key {key!r} is no str, as those of JSON objects are"
            if _problem(key, "", depth):
                return f"{where}the key {key!r} holds a lone surrogate, which UTF-8 cannot"
        parts = [(_step(path, key), item) for key, item in value.items()]
    else:
        article = "an" if kind.__name__[0] in "aeiouAEIOU" or kind.__name__ == "ndarray" else "a"
        return f"{where}{article} {kind.__name__} is no JSON value"
    for below, item in parts:
        found = _problem(item, below, depth - 1)
        if found is not None:
            return found
    return None


def _step(path: str, key: str) -> str:
    if not key.isidentifier():
        return f"{path}[{_cut(repr(key))}]"
    return f"{path}.{key}" if path else key


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}…{text[-19:]}"


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
