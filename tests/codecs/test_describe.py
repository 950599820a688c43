# SPDX-License-Identifier: MIT
"""Stored contents described and compared without their classes, in bounded memory, whatever their bytes are."""

from __future__ import annotations

import importlib.util
import io
import math
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.codecs import Packed, default_registry
from casstore.codecs import describe as describing
from casstore.codecs.describe import (
    Content,
    DescribedChange,
    SizeDifference,
    StoredContent,
    content_changes,
    difference_of,
    first_difference,
    read_content,
)
from casstore.codecs.describe_arrays import ArrayDifference, array_figures
from casstore.codecs.describe_json import JsonValues
from casstore.codecs.describe_outline import byte_lines, outline, text_lines
from casstore.codecs.describe_tables import TableDifference
from casstore.codecs.describe_text import change_lines, fitting_text, path_text, short_text
from casstore.codecs.describe_values import StoredArray, StoredTable, read_array_header
from casstore.codecs.field_changes import FieldChange, Index, Key, Member
from casstore.codecs.unknown import Unknown
from casstore.errors import CasstoreError, CorruptionError, FactoryError, InvalidInputError
from tests.codecs.test_describe_fields import freeze, values

numpy = pytest.importorskip("numpy")


def content(value: Any) -> Content:
    return Content.of(*default_registry().encode(value))


def lines(old: Any, new: Any, width: int | None = 200) -> list[str]:
    pair = [one if isinstance(one, Content) else content(one) for one in (old, new)]
    return [line for change in content_changes(*pair) for line in change_lines(change, width)]


# -- reading


def test_what_is_built_in_reads_as_plain_data() -> None:
    for value in (b"\0", "text", {"a": [1, None, 1.5]}, 3, None):
        assert read_content(content(value)) == value
    packed = {(0, 1): b"x", "s": {1}, "t": (1, 2**70)}
    assert read_content(content(Packed(packed))) == packed
    array = read_content(content(numpy.zeros((2, 3), numpy.float32)))
    assert (array.header.dtype, array.header.shape, array.data) == ("float32", (2, 3), None)
    within = read_content(content(Packed([numpy.arange(3)])))
    assert (within[0].header.shape, type(within[0].data)) == ((3,), bytes)


def test_a_class_reads_as_its_fields_even_where_it_is_registered() -> None:
    data = default_registry().encode(Packed({"goal": "win"})).data
    assert read_content(Content.of("struct:any.Plan", 7, data)) == {"goal": "win"}


def test_what_nobody_knows_reads_as_its_size() -> None:
    for type_id, version in (("app.blob", 3), ("json", 9), ("members", 1), ("pickle", 1), ("ndarray", 2)):
        assert read_content(Content.of(type_id, version, b"\x80\x04.")) == StoredContent(
            type_id, version, 3, b"\x80\x04."
        )


def test_what_is_too_large_is_not_opened() -> None:
    def refuse() -> BinaryIO:
        raise AssertionError("it was opened")

    for type_id in ("json", "struct:x", "msgpack"):
        with pytest.raises(FactoryError, match="--limit"):
            read_content(Content(type_id, 1, 2**40, refuse))
        small = Content(type_id, 1, 11, refuse)
        with pytest.raises(FactoryError, match="11 bytes"):
            list(content_changes(small, small, max_bytes=10))


@pytest.mark.parametrize("type_id", ["json", "msgpack"])
def test_what_may_have_too_many_parts_is_not_decoded(type_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casstore.codecs.describe_values.MAX_PARTS", 1000)
    hostile = content([{}] * 700) if type_id == "json" else content(Packed([{}] * 1100))
    with pytest.raises(FactoryError, match="parts"):
        read_content(hostile)
    assert len(read_content(hostile, max_bytes=10**6)) >= 700


@pytest.mark.parametrize(
    ("type_id", "data"),
    [
        ("json", b"[" * 100_000),
        ("json", b"[" * 5000 + b"]" * 5000),
        ("json", b'{"b":1,"a":2}'),
        ("msgpack", b"\x91" * 100_000 + b"\xc0"),
        ("msgpack", b"\xdd\xff\xff\xff\xff"),
        ("struct:x", b"not msgpack"),
        ("text", b"\xff"),
        ("ndarray", b"\x01f\x04\x01" + b"\xff" * 8),
        ("ndarray", b""),
    ],
)
def test_malformed_contents_are_named(type_id: str, data: bytes) -> None:
    with pytest.raises(CorruptionError):
        read_content(Content.of(type_id, 1, data))


type_ids = st.sampled_from(["json", "msgpack", "struct:x", "text", "bytes", "ndarray", "arrow", "app.x"])


@given(type_ids, st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_give_lines_or_a_named_error(type_id: str, old: bytes, new: bytes) -> None:
    try:
        pair = Content.of(type_id, 1, old), Content.of(type_id, 1, new)
        for change in content_changes(*pair):
            assert all(line.isprintable() for line in change_lines(change, 80))
            JsonValues(1000).change(change, difference_of(change))
    except CasstoreError:
        pass


def test_a_content_of_another_length_than_its_entry_says_is_damaged() -> None:
    with pytest.raises(CorruptionError, match="not as long"):
        read_content(Content("json", 1, 5, lambda: io.BytesIO(b"null")))
    with pytest.raises(CorruptionError, match="not as long"):
        read_content(Content("json", 1, 3, lambda: io.BytesIO(b"null")))


# -- comparing


def test_fields_of_every_structured_type() -> None:
    old = {"step": 3, "messages": ["a"], "plan": {"goal": "x", "depth": 1}}
    new = {"step": 4, "messages": ["a", {"b": 1}], "plan": {"depth": 1}}
    expected = ['messages[1] added {"b": 1}', "plan.goal removed", "step 3 → 4"]
    assert sorted(lines(old, new)) == expected
    assert sorted(lines(Packed(old), Packed(new))) == expected
    packed = [default_registry().encode(Packed(value)).data for value in (old, new)]
    first, second = Content.of("struct:P", 1, packed[0]), Content.of("struct:P", 2, packed[1])
    assert sorted(lines(first, second)) == sorted([*expected, "version 1 → 2"])
    assert lines({"a": 1}, "text") == ['{"a": 1} → "text"']
    assert lines(old, old) == []


def test_texts_and_bytes_by_size_and_first_difference() -> None:
    assert lines("a" * 70, "a" * 69 + "bc") == ["70 → 71 bytes, first difference at 69"]
    assert lines(b"\0" * 70, b"\0" * 70 + b"x") == ["70 → 71 bytes, first difference at 70"]
    assert lines(Packed({"t": "é" * 70}), Packed({"t": "é" * 69 + "e"})) == ["t: 70 characters, first difference at 69"]
    assert lines("short", "shorter") == ['"short" → "shorter"']
    assert lines(Content.of("app.x", 1, b"abc"), Content.of("app.x", 1, b"abd")) == ["3 bytes, first difference at 2"]
    assert lines(Content.of("app.x", 1, b"abc"), Content.of("app.x", 2, b"abc")) == ["3 bytes, all equal"]
    assert lines({"a": 1}, numpy.zeros(3)) == ['{"a": 1} → float64 (3,)']


@pytest.mark.parametrize("size", [10, 100, 300])
def test_large_texts_are_compared_in_pieces(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(describing, "SMALL_BYTES", 8)
    for at in (0, 63, 64, 65, size - 1):
        if at < size:
            old, new = bytes(size), bytes(at) + b"\1" + bytes(size - at - 1)
            (change,) = content_changes(content(old), content(new))
            assert change.difference == SizeDifference(unit="bytes", old=size, new=size, first=at)
            assert change.change.old == StoredContent("bytes", 1, size, bytes(8))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_the_first_difference(a: bytes, b: bytes) -> None:
    plain = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    assert first_difference(a, b) == plain


def array_difference(old: Any, new: Any) -> ArrayDifference:
    (described,) = content_changes(content(old), content(new))
    assert isinstance(described.difference, ArrayDifference)
    return described.difference


def test_arrays_by_shape_dtype_and_how_much_differs() -> None:
    old = numpy.zeros((100, 100), numpy.float32)
    new = old.copy()
    new[5, :12] = 0.5
    assert lines(old, new) == ["float32 (100, 100): 12 of 10,000 values differ, largest difference 0.5"]
    assert lines(old, old.astype("f8")) == ["float32 → float64 (100, 100)"]
    assert lines(old, old.reshape(10, 1000)) == ["float32 (100, 100) → (10, 1000)"]
    assert lines(old, old.reshape(-1)) == ["float32 (100, 100) → (10000,)"]
    assert lines(old, old[:90]) == ["float32 (100, 100) → (90, 100): the first 9,000 values are equal"]
    assert lines(Packed([old]), Packed([new])) == [
        "[0]: float32 (100, 100): 12 of 10,000 values differ, largest difference 0.5"
    ]


def test_nan_and_infinity() -> None:
    nan, inf = math.nan, math.inf
    found = array_difference(numpy.array([nan, nan, 1.0, inf, 2.0]), numpy.array([nan, 1.0, nan, -inf, 2.0]))
    assert (found.compared, found.differing, found.nan, found.largest) == (5, 3, 2, inf)
    assert lines(numpy.array([nan]), numpy.array([0.0])) == ["float64 (1,): 1 of 1 values differ, 1 to or from NaN"]
    assert lines(numpy.array([0.0]), numpy.array([-0.0])) == [
        "float64 (1,): equal values in other bytes (signs of zeros, or NaN)"
    ]
    found = array_difference(numpy.array([1 + 1j, complex(nan, 0)]), numpy.array([4 + 5j, complex(nan, 1)]))
    assert (found.differing, found.largest, found.nan) == (1, 5.0, 0)


def test_whole_numbers_differ_exactly() -> None:
    old, new = numpy.array([-(2**63), 5, 0]), numpy.array([2**63 - 1, 5, 1])
    found = array_difference(old, new)
    assert (found.differing, found.largest) == (2, 2**64 - 1)
    found = array_difference(new.astype("u8"), numpy.array([0, 5, 1], "u8"))
    assert (found.differing, found.largest) == (1, 2**63 - 1)
    assert array_difference(numpy.array([True, False]), numpy.array([True, True])).largest is None
    assert array_difference(numpy.array([-128], "i1"), numpy.array([127], "i1")).largest == 255


@given(st.lists(st.sampled_from([0.0, 1.0, -2.5, math.nan, math.inf]), min_size=1, max_size=9), st.data())
def test_a_plain_comparison_of_arrays_agrees(left: list[float], data: st.DataObject) -> None:
    right = data.draw(st.lists(st.sampled_from(left), min_size=len(left), max_size=len(left)))
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a != b and not (a != a and b != b)]
    if [str(x) for x in left] == [str(x) for x in right]:
        return
    found = array_difference(numpy.array(left), numpy.array(right))
    numbers = [abs(a - b) for a, b in pairs if a == a and b == b]
    assert (found.differing, found.largest) == (len(pairs), max(numbers, default=None))
    assert found.nan == len(pairs) - len(numbers)


def test_arrays_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casstore.codecs.describe_arrays._BLOCK_BYTES", 64)
    old, new = numpy.arange(1000), numpy.arange(1000)
    new[[3, 500, 999]] += 7
    found = array_difference(old, new)
    assert (found.compared, found.differing, found.largest) == (1000, 3, 7)
    file = content(numpy.array([math.nan, 3.0, -1.0] * 50)).open()
    figures = array_figures(read_array_header(file, 1212), file, first=2)
    assert figures is not None
    assert (str(figures.first), figures.minimum, figures.maximum, figures.nan) == ("(nan, 3.0)", -1.0, 3.0, 50)


def test_without_numpy_or_pyarrow_shapes_and_sizes_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [Content.of("arrow", 1, b"A" * 9), Content.of("arrow", 1, b"A" * 8 + b"B")]
    arrays = numpy.zeros(3), numpy.ones(3)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert lines(*arrays) == ["float64 (3,): values differ (install casstore[numpy] to see how much)"]
    assert lines(*tables) == ["9 bytes, first difference at 8"]
    assert read_content(tables[0]) == StoredTable(9, None)
    assert lines(tables[0], {"a": 1}) == ['a table of 9 bytes → {"a": 1}']
    file = content(arrays[0]).open()
    assert array_figures(read_array_header(file, 36), file) is None


def test_tables_by_rows_and_columns() -> None:
    arrow = pytest.importorskip("pyarrow")
    old = arrow.table({"x": [1, 2, None], "f": [math.nan, 1.0, 2.0], "gone": ["a", "b", "c"], "deep": [[1], [2], [3]]})
    new = arrow.table(
        {"x": [1, None, None, 7], "f": [math.nan, 1.5, 2.0, 3.0], "deep": [[1], [2], [4], []], "new": [1, 2, 3, 4]}
    )
    assert lines(old, new) == [
        "rows 3 → 4",
        'column "x": 1 of 3 values differ',
        'column "f": 1 of 3 values differ',
        'column "deep": values differ',
        'column "new" added (int64)',
        'column "gone" removed',
    ]
    assert lines(old, old.cast(old.schema.set(0, arrow.field("x", arrow.int32())))) == ['column "x": int64 → int32']
    assert lines(old, old.replace_schema_metadata({"a": "b"})) == ["metadata or order of the columns differ"]
    assert lines(old, old.select([1, 0, 2, 3])) == ["metadata or order of the columns differ"]
    (described,) = content_changes(content(old), content(new))
    assert isinstance(difference_of(described), TableDifference)


# -- text


@given(values, st.integers(1, 60))
def test_short_text_fits_and_prints(value: Any, width: int) -> None:
    text, whole = fitting_text(value, width)
    assert len(text) <= max(width, 1)
    assert text.isprintable()
    assert whole == (text == short_text(value, None))
    assert whole or text.endswith("…")


def test_texts_cannot_steer_a_terminal() -> None:
    text = short_text({"a\x1b[2J": '\x9b1m\u202e\n"\\'}, None)
    assert text == '{"a\\u001b[2J": "\\u009b1m\\u202e\\n\\"\\\\"}'
    assert path_text((Key("a\x1b"), Index(3), Key("b"), Key((1, 2)), Member("m"))) == '["a\\u001b"][3].b{(1, 2)}{"m"}'
    assert list(text_lines("a\x1b[2J\nb\n", None)) == ["a\\u001b[2J", "b"]


def test_scalars_as_text() -> None:
    shown = {short_text(value, None) for value in (None, True, 1, 1.0, math.nan, b"", b"\1", (1,), set(), {}, [])}
    assert shown == {"null", "true", "1", "1.0", "nan", "0 bytes", "1 byte 01", "(1,)", "{}", "[]"}
    assert short_text(10**5000, None) == "an integer of 16,610 bits"
    assert short_text(Unknown("struct:x", 2, b"", {"a": 1}), None) == 'struct:x version 2 {"a": 1}'
    assert short_text(Unknown("x", 2, b"abc"), None) == "x version 2, 3 bytes"


def test_long_changes_are_cut_to_the_width() -> None:
    for old, new in ((["x"], ["y" * 500]), ([1], [list(range(1000))]), ({}, {"k" * 300: 1}), ([1], [{"a": "b" * 500}])):
        (line,) = lines(old, new, 80)
        assert len(line) <= 84, line
    change = FieldChange((Key("a"),), "changed", "x" * 50, "y" * 50)
    (line,) = change_lines(DescribedChange(change, None), 60)
    assert line.count("…") == 2


def test_a_work_of_any_depth_is_shown() -> None:
    value: Any = 1
    for _ in range(50_000):
        value = [value]
    assert short_text(value, 20) == "[" * 19 + "…"
    assert len(list(outline(value, width=40, most=20))) < 30
    made = JsonValues(None)
    made.value(value)
    assert made.truncated
    while type(value) is list:
        value = value[0]


def test_an_outline() -> None:
    value = {
        "step": 3,
        "messages": [{"role": "user", "n": number} for number in range(6)],
        "text": "x" * 200,
        "odd key": {},
    }
    assert list(outline(value, width=40, most=3)) == [
        "step: 3",
        "messages: 6 items",
        '  [0]: {"role": "user", "n": 0}',
        '  [1]: {"role": "user", "n": 1}',
        '  [2]: {"role": "user", "n": 2}',
        "  … and 3 more",
        # a fourth field takes no more room than the line that would say so
        f'text: "{"x" * 32}… (200 characters)',
        '"odd key": {}',
    ]
    assert list(outline(5, width=40)) == ["5"]
    assert next(outline({"a": "y" * 60}, width=20)).count("y") == 60
    assert list(outline([1], width=40, name="m")) == ["m: [1]"]
    assert list(byte_lines(b"ab\0", 30, 1)) == [f"00000000  {'61 62 00':<47}  ab.", "… and 27 more bytes"]


# -- JSON


@given(values)
def test_json_tells_values_apart(value: Any) -> None:
    import json

    made = JsonValues(None)
    text = json.dumps(made.value(value), allow_nan=False)
    assert not made.truncated
    assert len(text) < 10_000


@given(values, values)
def test_two_values_of_one_json_are_one_value(a: Any, b: Any) -> None:
    import json

    first, second = (json.dumps(JsonValues(None).value(value), sort_keys=True) for value in (a, b))
    if freeze(a) != freeze(b):
        # Sets have no order of their own, so only this direction can be told; arrays and tables stand without data.
        assert first != second or "$array" in first or "$table" in first


def test_json_is_cut_where_it_is_told() -> None:
    made = JsonValues(100)
    assert made.value({"a": "x" * 500, "b": 1}) == {
        "$truncated": "dict",
        "size": 2,
        "start": {"a": {"$truncated": "str", "size": 500, "start": "x" * 83}},
    }
    assert made.truncated
    assert JsonValues(None).value({"$a": 1, 2: math.inf}) == {"$dict": [["$a", 1], [2, {"$float": "inf"}]]}
    assert JsonValues(None).value((b"\0", frozenset({1}))) == {
        "$tuple": [{"$bytes": "AA==", "size": 1}, {"$frozenset": [1]}]
    }


def test_too_many_values_to_compare_are_named() -> None:
    from casstore.codecs.field_changes import Limits

    with pytest.raises(InvalidInputError, match="too many parts"):
        list(content_changes(content([0] * 100), content([1] * 100), Limits(max_values=50)))


def test_arrays_within_keep_their_bytes() -> None:
    (change,) = content_changes(content(Packed([numpy.zeros(2)])), content(Packed([numpy.ones(2)])))
    assert isinstance(change.change.new, StoredArray)
    assert change.difference is None
    assert isinstance(difference_of(change), ArrayDifference)
