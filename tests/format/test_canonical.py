# SPDX-License-Identifier: MIT
"""Canonical JSON: one value, one encoding; anything else is refused on both sides."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.errors import CasstoreError, CorruptionError, InvalidInputError
from casstore.format.canonical import MAX_DEPTH, canonical_json, parse_canonical_json

texts = st.text(st.characters(codec="utf-8"), max_size=10)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


@given(values)
def test_round_trip(value: object) -> None:
    encoded = canonical_json(value)
    assert canonical_json(parse_canonical_json(encoded)) == encoded
    assert parse_canonical_json(encoded) == value
    assert json.loads(encoded) == value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, b"null"),
        (True, b"true"),
        (1, b"1"),
        (1.0, b"1.0"),
        (-0.0, b"-0.0"),
        (1e22, b"1e+22"),
        (0.1, b"0.1"),
        ('é\n"\\/\x7f', b'"\xc3\xa9\\n\\"\\\\/\x7f"'),
        (
            {"b": [1, {}], "a": "", "\U0001f600": 1, "\uffff": 2},
            b'{"a":"","b":[1,{}],"\xef\xbf\xbf":2,"\xf0\x9f\x98\x80":1}',
        ),
    ],
)
def test_pinned(value: object, encoded: bytes) -> None:
    assert canonical_json(value) == encoded
    assert parse_canonical_json(encoded) == value


class _Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        (1, 2),
        b"bytes",
        {1: 2},
        {None: 1},
        {"a": {2: 3}},
        {"a"},
        object(),
        _Text("a"),
        "\ud800",
        {"\udfff": 1},
        [10**5000],
    ],
)
def test_what_is_no_json_value(value: object) -> None:
    with pytest.raises(InvalidInputError):
        canonical_json(value)


def test_depth_is_bounded() -> None:
    def nest(depth: int) -> object:
        value: object = 1
        for _ in range(depth):
            value = [value]
        return value

    encoded = canonical_json(nest(MAX_DEPTH))
    assert parse_canonical_json(encoded) == nest(MAX_DEPTH)
    with pytest.raises(InvalidInputError, match="deeper"):
        canonical_json(nest(MAX_DEPTH + 1))
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidInputError, match="deeper"):
        canonical_json(loop)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(CorruptionError):
            parse_canonical_json(b"[" * depth + b"]" * depth)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b"01",
        b"1.",
        b"1.00",
        b"1e2",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a": 1}',
        b'"\\u00e9"',
        b'"\\ud800"',
        b'"\\/"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"\xff\xfe1\0",
        b"nul",
        b"'a'",
        b"9" * 5000,
    ],
)
def test_what_is_not_canonical(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        parse_canonical_json(data)


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:0123456789.eE-+\\untrfals ', max_size=40).map(str.encode))
def test_arbitrary_bytes(data: bytes) -> None:
    try:
        assert canonical_json(parse_canonical_json(data)) == data
    except CasstoreError:
        pass
