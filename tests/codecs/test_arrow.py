# SPDX-License-Identifier: MIT
"""Arrow tables: equal tables have equal bytes, however they lie in memory; what is read is checked first."""

from __future__ import annotations

import datetime
import decimal
import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.codecs import default_registry
from casstore.codecs.arrow import is_compressed
from casstore.codecs.arrow_layout import _bits, canonical_batch
from casstore.errors import CasstoreError, CorruptionError, FactoryError, InvalidInputError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install casstore[arrow]")


def encode(table: Any) -> bytes:
    return default_registry().encode(table).data


def decode(data: bytes) -> Any:
    return default_registry().decode("arrow", 1, data)


COLUMNS = {
    "null": ([None, None, None, None], pa.null()),
    "bool": ([True, None, False, True], pa.bool_()),
    "int8": ([1, None, -3, 4], pa.int8()),
    "int64": ([1, None, 2**62, 4], pa.int64()),
    "half": ([1.0, None, 2.0, 0.5], pa.float16()),
    "double": ([1.5, None, float("inf"), 0.0], pa.float64()),
    "decimal": ([decimal.Decimal("1.10"), None, decimal.Decimal("2.20"), None], pa.decimal128(5, 2)),
    "wide decimal": ([decimal.Decimal("1.10"), None, None, decimal.Decimal(3)], pa.decimal256(50, 2)),
    "date": ([datetime.date(2020, 1, 1), None, datetime.date(1, 1, 1), None], pa.date32()),
    "time": ([1, None, 2, 3], pa.time64("ns")),
    "stamp": ([1, None, 3, 4], pa.timestamp("ns", "UTC")),
    "fixed": ([b"ab", None, b"cd", b"ef"], pa.binary(2)),
    "text": (["a", None, "", "ccc"], pa.string()),
    "large text": (["é", None, "", "ccc"], pa.large_string()),
    "bytes": ([b"a", None, b"", b"\xff"], pa.binary()),
    "large bytes": ([b"a", None, b"", b"\xff"], pa.large_binary()),
    "list": ([[1, 2], None, [], [None]], pa.list_(pa.int64())),
    "large list": ([["x"], None, [], ["y", None]], pa.large_list(pa.string())),
    "fixed list": ([[1, 2], None, [3, None], [5, 6]], pa.list_(pa.int16(), 2)),
    "struct": ([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 4, "b": None}], None),
    "nested": ([[{"a": [1]}], None, [], [{"a": None}, None]], None),
    "interval": ([None, (1, 2, 3), None, (4, 5, 6)], pa.month_day_nano_interval()),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("nulls", [True, False])
def test_equal_columns_have_equal_bytes_however_they_lie(name: str, nulls: bool) -> None:
    items, kind = COLUMNS[name]
    if not nulls:
        items = [item for item in items if item is not None]
    column = pa.array(items, kind)
    number = len(column)
    table = pa.table({"x": column})
    data = encode(table)
    assert decode(data).equals(table)
    assert encode(decode(data)) == data
    around = pa.concat_arrays([column.slice(1), column, column.slice(0, 1)])
    for other in (
        pa.table({"x": around}).slice(max(number - 1, 0), number),
        pa.table({"x": pa.chunked_array([column.slice(0, 1), column.slice(1, 0), column.slice(1)], column.type)}),
    ):
        assert other.equals(table)
        assert encode(other) == data
    empty = encode(table.slice(0, 0))
    assert empty == encode(pa.table({"x": pa.chunked_array([], column.type)}))
    assert decode(empty).equals(table.slice(0, 0))
    if number > 1 and name != "null":
        assert len({data, empty, encode(table.slice(1)), encode(table.slice(0, number - 1))}) == 4


@given(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=70), st.data())
def test_cuts_do_not_show(items: list[int | None], data: st.DataObject) -> None:
    column = pa.array(items, pa.int32())
    at = data.draw(st.integers(0, len(items)))
    cut = pa.chunked_array([column.slice(0, at), column.slice(at)])
    assert encode(pa.table({"x": cut})) == encode(pa.table({"x": column}))
    assert decode(encode(pa.table({"x": cut}))).column("x").to_pylist() == items
    before = data.draw(st.integers(0, 9))
    for kind in (pa.int32(), pa.string(), pa.bool_()):
        whole = pa.array([5] * before + items + [None, 5], pa.int32()).cast(kind)
        part = pa.table({"x": whole}).slice(before, len(items))
        assert encode(part) == encode(pa.table({"x": pa.array(items, pa.int32()).cast(kind)}))


def test_what_lies_below_a_null_does_not_show() -> None:
    bitmap = pa.py_buffer(b"\xfd")  # bits behind the end are set too

    def ints(*items: int) -> Any:
        return pa.py_buffer(b"".join(item.to_bytes(4, "little", signed=True) for item in items))

    numbers = pa.Array.from_buffers(pa.int32(), 3, [bitmap, ints(1, 99, 3)])
    assert encode(pa.table({"x": numbers})) == encode(pa.table({"x": pa.array([1, None, 3], pa.int32())}))
    texts = pa.Array.from_buffers(pa.string(), 3, [bitmap, ints(0, 1, 3, 4), pa.py_buffer(b"aXXb...")])
    assert encode(pa.table({"x": texts})) == encode(pa.table({"x": ["a", None, "b"]}))
    items = pa.array([1, 7, 7, 2], pa.int32())
    lists = pa.ListArray.from_buffers(pa.list_(pa.int32()), 3, [bitmap, ints(0, 1, 3, 4)], 1, 0, [items])
    plain = pa.array([[1], None, [2]], pa.list_(pa.int32()))
    assert lists.equals(plain)
    assert encode(pa.table({"x": lists})) == encode(pa.table({"x": plain}))
    # A bitmap that says of all that they are there.
    whole = pa.Array.from_buffers(pa.int32(), 3, [pa.py_buffer(b"\x07"), ints(1, 2, 3)])
    assert encode(pa.table({"x": whole})) == encode(pa.table({"x": pa.array([1, 2, 3], pa.int32())}))


def test_dictionaries_come_back() -> None:
    column = pa.array(["a", "b", None, "a"]).dictionary_encode()
    table = pa.table({"x": column})
    assert decode(encode(table)).equals(table)
    cut = pa.table({"x": pa.chunked_array([column.slice(0, 1), column.slice(1)])})
    assert encode(cut) == encode(table)


def test_metadata_is_kept_and_its_order_does_not_show() -> None:
    inner = pa.field("a", pa.int8(), metadata={"q": "1", "p": "2"})
    other = pa.field("a", pa.int8(), metadata={"p": "2", "q": "1"})
    tables = [
        pa.table({"x": pa.array([{"a": 1}], pa.struct([one]))}).replace_schema_metadata(metadata)
        for one, metadata in ((inner, {"k": "1", "b": "2"}), (other, {"b": "2", "k": "1"}))
    ]
    assert encode(tables[0]) == encode(tables[1])
    back = decode(encode(tables[0]))
    assert back.schema.equals(tables[0].schema, check_metadata=True)
    assert encode(tables[0]) != encode(tables[0].replace_schema_metadata(None))


@pytest.mark.parametrize("name", ["map", "view", "union", "run"])
def test_types_without_a_canonical_layout_are_refused(name: str) -> None:
    column = {
        "map": lambda: pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
        "view": lambda: pa.array(["a"], pa.string_view()),
        "union": lambda: pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]),
        "run": lambda: pa.RunEndEncodedArray.from_arrays([2], [5]),
    }[name]()
    with pytest.raises(InvalidInputError, match=r"'x' is .* cannot be stored"):
        encode(pa.table({"x": column}))


def stream(table: Any, compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_content_that_would_grow_when_it_is_read_is_refused(compression: str | None, dictionary: bool) -> None:
    column = pa.array(["a" * 1000] * 10_000)
    table = pa.table({"x": column.dictionary_encode() if dictionary else column})
    data = stream(table, compression)
    if compression is None:
        assert decode(data).equals(table)
    else:
        with pytest.raises(CorruptionError, match="compressed within"):
            decode(data)
    kinds = {message.type for message in pa.ipc.MessageReader.open_stream(data)}
    assert ("dictionary" in kinds) == dictionary
    for message in pa.ipc.MessageReader.open_stream(data):
        found = is_compressed(message.metadata.to_pybytes(), message.type)
        assert found == (compression is not None and message.type != "schema")


DATA = encode(pa.table({"x": [1, 2, None], "y": ["a", None, "c"]}))


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255), st.booleans())
def test_damage_raises_only_our_errors(place: int, flip: int, cut: bool) -> None:
    data = DATA[:place] if cut else DATA[:place] + bytes([DATA[place] ^ flip]) + DATA[place + 1 :]
    try:
        decode(data).to_pylist()
    except CasstoreError:
        pass


def test_bits_behind_the_end_are_cleared() -> None:
    # pyarrow 26 gives no such buffer to a single column; others may.
    assert _bits(pa.py_buffer(b"\xff\xff"), 3, 6).to_pybytes() == b"\x3f"
    assert _bits(pa.py_buffer(b"\xff\xfd\xff"), 7, 10).to_pybytes() == b"\xfb\x03"
    assert _bits(pa.py_buffer(b"\xff"), 0, 0).to_pybytes() == b""


def test_offsets_that_lead_elsewhere_are_damage() -> None:
    data = encode(pa.table({"x": ["aaaa", "bbbb"]}))
    offsets, wrong = (b"".join(at.to_bytes(4, "little") for at in places) for places in ((0, 4, 8), (0, 2**30, 8)))
    assert data.count(offsets) == 1
    with pytest.raises(CorruptionError, match="not an Arrow content"):
        decode(data.replace(offsets, wrong))


@given(st.binary(max_size=40), st.sampled_from(["record batch", "dictionary"]))
def test_odd_messages_raise_only_what_is_caught(metadata: bytes, kind: str) -> None:
    try:
        is_compressed(metadata, kind)
    except struct.error:
        pass


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FactoryError, match=r"install casstore\[arrow\]"):
        decode(DATA)


def test_columns_too_long_for_one_array_are_refused() -> None:
    class Table:
        column_names = ("x",)

        def __init__(self) -> None:
            # What pyarrow gives where texts take more than 2 GiB.
            self.columns = (self,)
            self.num_chunks = 2

        def combine_chunks(self) -> Any:
            return pa.chunked_array([["a"], ["b"]])

    with pytest.raises(InvalidInputError, match="large_"):
        canonical_batch(Table())


def test_tables_on_a_branch() -> None:
    table = pa.table({"x": list(range(1000))})
    with casstore.open(":memory:") as store:
        branch = store.branch()
        branch.objects["t"] = table
        branch.commit()
        found = branch.objects["t"]
        assert found.equals(table)
        entry = branch.objects.entry("t")
        assert entry.type_id == "arrow"
        assert default_registry().estimate_size(entry) >= table.nbytes
