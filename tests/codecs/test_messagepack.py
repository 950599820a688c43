# SPDX-License-Identifier: MIT
"""MessagePack: one value, one encoding; sets, tuples, long integers and any keys come back as they were."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.codecs import Members, MessagePackFactory, Packed, Registry, default_registry
from casstore.codecs.equality import same_value
from casstore.codecs.messagepack import MAX_TYPED_DEPTH
from casstore.errors import CasstoreError, CorruptionError, FactoryError, InvalidInputError
from casstore.format.entry import object_entry

hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    hashable | st.just(math.nan),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=12,
)


def encode(value: object) -> bytes:
    return default_registry().encode(Packed(value)).data


def decode(data: bytes) -> Any:
    return default_registry().decode("msgpack", 1, data).value


@given(values)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    data = encode(value)
    back = decode(data)
    assert same_value(back, value)
    assert encode(back) == data


@given(values, values)
def test_equal_bytes_mean_equal_values(a: object, b: object) -> None:
    if encode(a) == encode(b):
        assert same_value(a, b)
    else:
        assert not same_value(a, b)


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_our_errors_or_are_canonical(data: bytes) -> None:
    try:
        found = decode(data)
    except CasstoreError:
        return
    assert encode(found) == data


@given(values, st.data())
def test_a_changed_byte_is_refused_or_another_value(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(encoded))
    except CasstoreError:
        return
    assert encode(found) == bytes(encoded)


def test_the_bytes_are_these() -> None:
    assert encode({"b": [1, None], "a": b"x"}) == b"\x82\xa1a\xc4\x01x\xa1b\x92\x01\xc0"
    assert encode((1, 2)) == b"\xc7\x03\x02\x92\x01\x02"
    assert encode({3, 1, 2}) == b"\xd6\x03\x93\x01\x02\x03"
    assert encode(frozenset()) == b"\xd4\x04\x90"
    assert encode(2**64) == b"\xc7\x09\x05\x01" + bytes(8)
    assert encode(-(2**63) - 1) == b"\xc7\x09\x05\xff\x7f" + b"\xff" * 7
    assert encode({2: "b", 1: "a"}) == b"\xc7\x09\x06\x92\x92\x01\xa1a\x92\x02\xa1b"
    assert encode({}) == b"\x80"


def test_plain_values_are_read_by_any_messagepack_library() -> None:
    value = {"step": 3, "scores": [0.5, -1], "raw": b"\0", "name": "é", "none": None}
    assert msgspec.msgpack.decode(encode(value)) == value


def test_a_value_on_a_branch_stays_packed() -> None:
    registry = default_registry()
    packed = Packed({"a": (1, {2})})
    assert registry.decode(*registry.encode(packed)) == packed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",  # unused
        b"\x01\x01",  # something behind
        b"\xcc\x01",  # a number that is longer than it need be
        b"\xca\x3f\x80\x00\x00",  # a float of 4 bytes
        b"\xcb\x7f\xf8\0\0\0\0\0\x01",  # another NaN
        b"\x82\xa1b\x01\xa1a\x02",  # keys out of order
        b"\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x81\x01\x01",  # a map with a key that is no str
        b"\x81\x91\x01\x01",
        b"\xd6\xff\0\0\0\0",  # MessagePack's own time stamp
        b"\xd4\x00\x90",  # extensions that are none of ours
        b"\xd4\x07\x90",
        b"\xd4\x02\x01",  # a tuple of no list
        b"\xd6\x03\x93\x02\x01\x03",  # a set out of order
        b"\xd6\x03\x93\x01\x01\x02",  # a member twice
        b"\xc7\x0b\x03\x92\x01\xcb\x3f\xf0\0\0\0\0\0\0",  # members that are equal: 1 and 1.0
        b"\xd5\x03\x91\x90",  # a member that cannot be one
        b"\xd4\x05\x01",  # a short integer as a long one
        b"\xc7\x0a\x05\x00\x01" + bytes(8),  # a byte too many
        b"\xc7\x13\x03\x92" + b"\xcb\x7f\xf8\0\0\0\0\0\0" * 2,  # NaN twice
        b"\xc7\x07\x06\x92\x92\x02\x01\x92\x01\x01",  # a dict out of order
        b"\xd4\x06\x90",  # a dict of no pairs is a map
        b"\xc7\x05\x06\x91\x92\xa1a\x01",  # keys that are all str make a map
        b"\xc7\x03\x06\x91\x91\x01",
        b"\xc7\x04\x01\x93\x01\x01\x01",
        b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff",  # says it is 4 billion long
        b"\x91" * 100_000,
    ],
)
def test_what_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode(data)


def test_there_is_one_nan() -> None:
    import struct

    other = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0001))[0]
    assert encode(other) == encode(math.nan) == encode(-math.nan)
    assert math.isnan(decode(encode(other)))


def test_values_that_hold_themselves_or_nest_deep_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInputError, match="nests"):
        encode(loop)
    deep: Any = 1
    for _ in range(100_000):
        deep = (deep,)
    with pytest.raises(InvalidInputError, match="nests"):
        encode(deep)
    typed: Any = 1
    for _ in range(MAX_TYPED_DEPTH):
        typed = Packed(typed)
    assert decode(encode(typed)) == typed
    with pytest.raises(InvalidInputError, match="nest"):
        encode(Packed(typed))


def test_hostile_nesting_of_types_is_refused() -> None:
    for levels, match in ((MAX_TYPED_DEPTH + 2, "the nesting of values"), (300, "nest")):
        data = b"\x01"
        for _ in range(levels):
            inner = msgspec.msgpack.encode(["msgpack", 1, data])
            data = msgspec.msgpack.encode(msgspec.msgpack.Ext(1, inner))
        with pytest.raises(CorruptionError, match=match):
            decode(data)
    assert decode(encode(Packed(1))) == Packed(1), "the count of levels is back at none"


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, ("\ud800",), {math.nan, float("nan")}])
def test_what_has_no_encoding_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        encode(value)


def test_a_type_that_nobody_registered_is_named() -> None:
    with pytest.raises(FactoryError, match="complex"):
        encode([1j])
    with pytest.raises(FactoryError, match="Members"):
        encode([Members(a=1)])


def test_arrays_lie_within() -> None:
    numpy = pytest.importorskip("numpy")
    value = {(0, "left"): numpy.arange(3), "all": [numpy.zeros((2, 0))]}
    back = decode(encode(value))
    assert same_value(back, value)
    assert default_registry().encode(Packed([numpy.arange(3)])) != default_registry().encode(Packed([[0, 1, 2]]))


def test_the_factory_by_itself() -> None:
    factory = MessagePackFactory()
    assert factory.decode(factory.encode(Packed((1, {2})))) == Packed((1, {2}))
    assert factory.estimate_size(object_entry("msgpack", 1, 1000)) == 10_000


def test_a_version_that_never_was_is_refused() -> None:
    with pytest.raises(CasstoreError):
        default_registry().decode("msgpack", 0, b"\x01")
    registry = Registry(default_registry())
    with pytest.raises(FactoryError, match="no later one than 1"):
        registry.decode("msgpack", 2, b"\x01")
