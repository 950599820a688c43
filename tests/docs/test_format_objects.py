# SPDX-License-Identifier: MIT
"""What ``docs/format.md`` shows of objects is what the library reads: its hex is decoded, not only written again."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy
import pytest

import casstore
from casstore.codecs import Members, Packed, default
from casstore.codecs.array_view import ArrayView
from casstore.codecs.arrays import MAX_ARRAY_BYTES
from casstore.codecs.messagepack import FROZENSET, INTEGER, PAIRS, SET, TUPLE, TYPED
from casstore.errors import CorruptionError, FactoryError
from casstore.format.entry import decode_entry
from casstore.format.node import check_node, decode_node
from tests.docs import object_examples
from tests.docs.object_examples import PLAN, REGISTRY, VALUES, Plan
from tests.docs.test_format import BLOCKS, parse_hex, rows, section


def shown(name: str) -> bytes:
    """The bytes of a block of the page."""
    return parse_hex(BLOCKS[name][1])


def array_of(kind: str, item_bytes: int, shape: tuple[int, ...], items: bytes) -> bytes:
    """A content as the table of "Arrays" says."""
    head = struct.pack(f"<BcBB{len(shape)}Q", 1, kind.encode(), item_bytes, len(shape), *shape)
    return head + items


def same(a: Any, b: Any) -> bool:
    if isinstance(a, numpy.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if type(a) is not type(b):
        return False
    return same(a.value, b.value) if isinstance(a, Packed) else repr(a) == repr(b)


@pytest.mark.parametrize("name", VALUES)
def test_a_shown_content_reads_as_its_value(name: str) -> None:
    type_id, version, value = VALUES[name]
    found = REGISTRY.decode(type_id, version, shown(name))
    assert same(value, found), found


def test_the_comparison_sees_differences() -> None:
    assert same(Packed((1, "a")), Packed((1, "a")))
    for other in (Packed([1, "a"]), Packed((1.0, "a")), (1, "a")):
        assert not same(Packed((1, "a")), other)
    assert not same(numpy.zeros(2, "<i2"), numpy.zeros(2, "<i4"))


def test_an_older_class_is_migrated() -> None:
    assert REGISTRY.decode("struct:agent.plan", 1, shown("object-struct-old")) == Plan(["read"], 0.0)
    with pytest.raises(FactoryError, match="version 3"):
        REGISTRY.decode("struct:agent.plan", 3, shown("object-struct"))


def test_a_class_is_read_without_it() -> None:
    found = casstore.codecs.Registry().inspecting().decode("struct:agent.plan", 2, shown("object-struct"))
    assert found.plain == {"steps": PLAN.steps, "score": PLAN.score}


def test_the_arrow_table() -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install casstore[arrow]")
    table = arrow.table({"n": arrow.array([1, 2], arrow.int16())})
    found = REGISTRY.decode("arrow", 1, shown("object-arrow"))
    assert found.equals(table, check_metadata=True)
    assert REGISTRY.encode(found).data == REGISTRY.encode(table).data


def test_members() -> None:
    marker = decode_entry(shown("members-marker"))
    leaf = decode_node(shown("members-leaf"))
    check_node(leaf)
    assert leaf.keys == [key for key, _ in object_examples.MEMBERS]
    assert leaf.entry(0) == marker == object_examples.MEMBERS_ENTRY
    with casstore.open(":memory:") as store:
        root = store.nodes.put(shown("members-leaf"))
        read = store.branch(store.add_snapshot(roots={"objects": root}))
        assert dict(read.objects["agent"]) == {"step": 3}
        assert list(read.objects) == ["agent", "agent/step"]
        branch = store.branch()
        branch.objects["agent"] = Members(step=3)
        assert branch.commit().roots["objects"] == root


def test_booleans_are_stored_as_0_and_1() -> None:
    for stored in ([0, 1, 2, 255], [[7]], 3, 0, []):
        array = numpy.array(stored, "u1").view("?")
        encoded = REGISTRY.encode(array).data
        assert encoded == array_of("b", 1, array.shape, bytes(min(item, 1) for item in array.view("u1").flat))
        assert same(REGISTRY.decode("ndarray", 1, encoded), array)
    stored = numpy.array([[0, 3, 1], [2, 0, 0]], "u1").view("?")
    assert REGISTRY.encode(stored.T).data == array_of("b", 1, (3, 2), bytes((0, 1, 1, 0, 1, 0)))


def test_the_booleans_of_a_slice_are_those_that_it_read() -> None:
    with ArrayView(io.BytesIO(array_of("b", 1, (4, 1), bytes((0, 1, 2, 1))))) as view:
        assert view[:2].tolist() == [[False], [True]]
        with pytest.raises(CorruptionError):
            view[2:]


def test_the_bound_of_a_shape() -> None:
    # NumPy makes none beyond it either, so whatever can be put can be read.
    for dtype, shape in (("u1", (0, MAX_ARRAY_BYTES)), ("f8", (MAX_ARRAY_BYTES // 8, 0)), ("c16", (2**29, 0, 2**29))):
        assert REGISTRY.decode("ndarray", 1, array_of(dtype[0], int(dtype[1:]), shape, b"")).shape == shape
        assert REGISTRY.encode(numpy.empty(shape, dtype)).data == array_of(dtype[0], int(dtype[1:]), shape, b"")
    with pytest.raises(ValueError, match=r"Maximum|too"):
        numpy.empty((0, MAX_ARRAY_BYTES + 1), "u1")


def test_the_extension_codes() -> None:
    stated = [row[2] for row in rows(section("MessagePack")) if row[0].isdigit()]
    numbers = [int(row[0]) for row in rows(section("MessagePack")) if row[0].isdigit()]
    assert numbers == [TYPED, TUPLE, SET, FROZENSET, INTEGER, PAIRS] == list(range(1, 7))
    for words, name in zip(stated, ("registered", "tuple", "set", "frozenset", "integer", "dict")):
        assert name in words


def test_the_types_of_the_table() -> None:
    stated = {row[0]: row[1] for row in rows(section("Objects of a state")) if row[0] != "type"}
    assert stated.pop("struct:NAME") == "of the class"
    # The source, as other tests register types of their own.
    names = re.findall(r"^_DEFAULT\.register\((\w+)\(\)", Path(default.__file__).read_text("utf-8"), re.MULTILINE)
    factories = [getattr(default, name) for name in names]
    assert stated == {factory.type_id: str(factory.version) for factory in factories}


@pytest.mark.parametrize(
    ("type_id", "wrong"),
    [
        ("json", b'{"step": 3}'),
        ("text", b"\xff"),
        ("ndarray", b"\x02" + object_examples.EXAMPLES["object-array"][1:]),
        ("ndarray", object_examples.EXAMPLES["object-array"] + b"\0"),
        ("ndarray", object_examples.EXAMPLES["object-array"].replace(b"i", b"x")),
        ("ndarray", array_of("b", 1, (2,), b"\x01\x02")),  # a boolean that is neither
        ("ndarray", array_of("b", 1, (), b"\xff")),
        ("ndarray", array_of("u", 1, (0, 2**63), b"")),  # shapes beyond the bound
        ("ndarray", array_of("f", 8, (2**30, 0, 2**30), b"")),
        ("msgpack", bytes.fromhex("cc 01")),  # 1 in two bytes
        ("msgpack", bytes.fromhex("c7 03 03 92 02 01")),  # a set out of order
        ("msgpack", bytes.fromhex("c7 03 03 92 01 01")),  # and with one item twice
        ("msgpack", bytes.fromhex("d4 05 01")),  # a small integer as a large one
        ("msgpack", bytes.fromhex("d7 06 91 92 a1 61 01 00 00 00")),
        ("msgpack", bytes.fromhex("d6 06 91 92 a1 61")),
        ("msgpack", bytes.fromhex("c7 05 06 91 92 a1 61 01")),  # pairs with text keys alone
        ("msgpack", bytes.fromhex("d4 07 01")),  # a code that nobody gave
        ("msgpack", bytes.fromhex("d6 ff 00 00 00 01")),  # MessagePack's own time stamp
    ],
)
def test_another_form_is_corrupt(type_id: str, wrong: bytes) -> None:
    with pytest.raises(CorruptionError):
        REGISTRY.decode(type_id, 1, wrong)
