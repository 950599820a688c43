# SPDX-License-Identifier: MIT
"""Factories: one value, one encoding; what is read is fresh or immutable."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.codecs import ArrayFactory, Registry, default_registry
from casstore.codecs.arrays import read_header
from casstore.errors import CasstoreError, CorruptionError, FactoryError, InvalidInputError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: object, b: object) -> bool:
    """Equality that tells 1, 1.0 and True apart, as the encoding does."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b


@given(json_values)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    registry = default_registry()
    encoded = registry.encode(value)
    assert same(registry.decode(*encoded), value)


@given(json_values, json_values)
def test_equal_bytes_mean_equal_values(a: object, b: object) -> None:
    registry = default_registry()
    assert (registry.encode(a) == registry.encode(b)) == same(a, b)


def test_the_order_in_which_a_dict_was_filled_does_not_show() -> None:
    encode = default_registry().encode
    assert encode({"b": 1, "a": [2, {"d": 3, "c": 4}]}) == encode({"a": [2, {"c": 4, "d": 3}], "b": 1})
    assert encode({"b": 1, "a": 2}).data == b'{"a":2,"b":1}'


def test_one_and_one_point_zero_and_true_differ() -> None:
    encode = default_registry().encode
    assert len({encode(1), encode(1.0), encode(True), encode("1"), encode(b"1")}) == 5


@pytest.mark.parametrize("value", [math.nan, math.inf, {1: 2}, [object()], {"a": (1, 2)}, {"a": b"x"}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        default_registry().encode(value)


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInputError, match="nests"):
        default_registry().encode(value)
    with pytest.raises(CorruptionError):
        default_registry().decode("json", 1, b"[" * 100_000 + b"]" * 100_000)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        default_registry().encode("\ud800")
    with pytest.raises(InvalidInputError):
        default_registry().encode(["\ud800"])


def test_an_unknown_type_is_named_with_the_way_to_register_it() -> None:
    class Thing:
        pass

    with pytest.raises(FactoryError, match=r"Thing.*casstore\.codecs\.register"):
        default_registry().encode(Thing())
    with pytest.raises(FactoryError, match=r"'nothing' version 3"):
        default_registry().decode("nothing", 3, b"")


def test_a_factory_of_ones_own() -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    class PointFactory:
        type_id = "point"
        version = 2

        def encode(self, value: Point) -> bytes:
            return value.x.to_bytes(4, "big")

        def decode(self, data: bytes) -> Point:
            return Point(int.from_bytes(data, "big"))

    registry = Registry(default_registry())
    registry.register(PointFactory(), [Point])
    assert registry.encode(Point(7)) == ("point", 2, b"\0\0\0\7")
    assert registry.decode("point", 2, b"\0\0\0\7").x == 7
    assert registry.decode("text", 1, b"still there") == "still there"
    with pytest.raises(FactoryError):
        default_registry().decode("point", 2, b"\0\0\0\7")


@pytest.mark.parametrize("type_id", ["", "ä", "a\n", "x" * 256])
def test_a_type_id_is_printable_ascii(type_id: str) -> None:
    class Bad:
        version = 1

        def encode(self, value: object) -> bytes:
            return b""

        def decode(self, data: bytes) -> object:
            return None

    bad = Bad()
    bad.type_id = type_id  # type: ignore[attr-defined]
    with pytest.raises(FactoryError, match="type id"):
        Registry().register(bad)  # type: ignore[arg-type]


def test_a_factory_that_fails_is_named() -> None:
    class Broken:
        type_id = "broken"
        version = 1

        def encode(self, value: object) -> bytes:
            raise ZeroDivisionError("no")

        def decode(self, data: bytes) -> object:
            raise ZeroDivisionError("no")

    class Wrong(Broken):
        def encode(self, value: object) -> bytes:
            return "text"  # type: ignore[return-value]

    registry = Registry()
    registry.register(Broken(), [set])
    with pytest.raises(FactoryError, match="broken"):
        registry.encode(set())
    with pytest.raises(FactoryError, match="broken"):
        registry.decode("broken", 1, b"")
    registry.register(Wrong(), [set])
    with pytest.raises(FactoryError, match="instead of bytes"):
        registry.encode(set())


@given(st.sampled_from(["json", "text", "bytes", "ndarray"]), st.binary(max_size=64))
def test_arbitrary_bytes_raise_only_our_errors(type_id: str, data: bytes) -> None:
    pytest.importorskip("numpy")
    try:
        default_registry().decode(type_id, 1, data)
    except CasstoreError:
        pass


def test_arrays_are_canonical_and_read_only() -> None:
    numpy = pytest.importorskip("numpy")
    registry = default_registry()
    array = numpy.arange(24, dtype="<i4").reshape(2, 3, 4)
    encoded = registry.encode(array)
    assert encoded.type_id == "ndarray"
    assert encoded == registry.encode(numpy.asfortranarray(array))
    assert encoded == registry.encode(array.astype(">i4"))
    back = registry.decode(*encoded)
    assert (back == array).all()
    assert back.dtype == array.dtype
    assert not back.flags.writeable
    assert registry.encode(numpy.array(1, dtype="f4")).data[:4] == b"\x01f\x04\x00"
    assert read_header(encoded.data) == ("i", 4, (2, 3, 4), 28)


def test_arrays_of_objects_are_refused() -> None:
    numpy = pytest.importorskip("numpy")
    for array in (numpy.array([object()]), numpy.array(["text"]), numpy.zeros(2, dtype="f4,i4")):
        with pytest.raises(InvalidInputError, match="cannot be stored"):
            ArrayFactory().encode(array)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01i\x04",
        b"\x02i\x04\x00\0\0\0\0",
        b"\x01i\x03\x00\0\0\0",
        b"\x01i\x04\x21",
        b"\x01i\x04\x01\0\0",
        b"\x01i\x04\x01" + (2**63).to_bytes(8, "little"),
        b"\x01i\x04\x00\0\0\0\0\0",
    ],
)
def test_a_malformed_array_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        read_header(data)
