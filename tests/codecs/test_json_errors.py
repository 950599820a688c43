# SPDX-License-Identifier: MIT
"""What is no JSON is named with its path within the value, and with what takes it."""

from __future__ import annotations

import re
from typing import Any

import pytest

import casstore
from casstore.codecs import Packed
from casstore.errors import InvalidInputError
from casstore.format.canonical import canonical_json, json_problem

DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]

CASES = [
    ({"deep": {"list": [0, {"k": {1}}]}}, "deep.list[1].k: a set is no JSON value"),
    ({"a b": [(1, 2)]}, "['a b'][0]: a tuple is no JSON value"),
    ({"x" * 300: (1,)}, f"{'x' * 300}: a tuple is no JSON value"),
    ([float("nan")], "[0]: nan is no JSON value"),
    ({"x": -float("inf")}, "x: -inf is no JSON value"),
    ({"x": {1: 2}}, "x: the key 1 is no str"),
    ({1: 2}, "the key 1 is no str"),
    ([b"x"], "[0]: a bytes is no JSON value"),
    (["\ud800"], "[0]: the text holds a lone surrogate"),
    ({"x": {"\ud800": 1}}, "x: the key '\\ud800' holds a lone surrogate"),
    ([Packed({1})], "[0]: a Packed is no JSON value"),
    (DEEP, "the value nests deeper than 200"),
]


@pytest.mark.parametrize(("value", "words"), CASES)
def test_the_path_and_the_way_out_are_named(value: Any, words: str) -> None:
    assert words in str(json_problem(value))
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        canonical_json(value)
    with casstore.open(":memory:") as store:
        branch = store.branch()
        with pytest.raises(InvalidInputError, match=re.escape(words)) as raised:
            branch.objects["x"] = value
        for way in ("codecs.Packed", "tuples, sets", "NaN", "int keys", "a key of its own"):
            assert way in raised.value.message
        assert len(raised.value.message) < 800
        assert not branch.objects


def test_an_array_within_a_value_wants_a_key_of_its_own() -> None:
    numpy = pytest.importorskip("numpy")
    words = r"^grids\[0\]: an ndarray is no JSON value; .* an array,.* own"
    with casstore.open(":memory:") as store, pytest.raises(InvalidInputError, match=words):
        store.branch().objects["x"] = {"grids": [numpy.zeros(3)]}


def test_what_is_json_has_no_problem() -> None:
    for value in (None, True, 1, 1.5, "ä", [], {}, {"a": [{"b": None}]}):
        assert json_problem(value) is None


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidInputError, match="nests deeper"):
        canonical_json(value)
