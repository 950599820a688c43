# SPDX-License-Identifier: MIT
"""One layout in memory for equal Arrow columns; see ``arrow``."""

from __future__ import annotations

import importlib
from typing import Any, Final

from casstore.errors import InvalidInputError

_INTEGERS: Final = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}
"""Arrow's integers by their bytes."""


class _OnUse:
    """A module that is imported when something of it is first asked for."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


pa: Final[Any] = _OnUse("pyarrow")
pc: Final[Any] = _OnUse("pyarrow.compute")


def canonical_batch(table: Any) -> Any:
    """All of a table as one record batch, whose buffers depend on its schema and values only.

    Raises:
        InvalidInputError: A column is of a type that has no such layout yet (unions, views, extensions …).
    """
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        # An array of no chunks has none to combine.
        array = column.combine_chunks() if column.num_chunks else pa.array([], column.type)
        if isinstance(array, pa.ChunkedArray):
            # More than 2 GiB of short strings do not fit one array.
            if array.num_chunks > 1:
                raise InvalidInputError(f"the column {name!r} does not fit one Arrow array; cast it to a large_ type.")
            array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
        try:
            columns.append(_laid_out(array))
        except pa.ArrowNotImplementedError as error:
            raise InvalidInputError(f"the column {name!r} is {column.type}, which cannot be stored: {error}.") from None
    fields = [_field(field) for field in table.schema]
    schema = pa.schema(fields, metadata=_sorted(table.schema.metadata))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def types_within(kind: Any) -> list[Any] | None:
    """The fields of a type that has a canonical layout; None for any other type (unions, views, maps, extensions …)."""
    types = pa.types
    if types.is_dictionary(kind):
        return [pa.field("values", kind.value_type)]
    if types.is_struct(kind):
        return [kind.field(place) for place in range(kind.num_fields)]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [kind.value_field]
    if types.is_null(kind) or types.is_string(kind) or types.is_binary(kind):
        return []
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return []
    # Two old intervals have a width and no class in pyarrow.
    named = str(kind) not in ("month_interval", "day_time_interval")
    return [] if named and _has_width(kind) else None


def _has_width(kind: Any) -> bool:
    """Whether all items of a type have one width, and it is neither a union nor an extension."""
    if pa.types.is_union(kind) or isinstance(kind, pa.BaseExtensionType):
        return False
    try:
        return int(kind.bit_width) >= 0
    except ValueError:
        return False


def _sorted(metadata: Any) -> Any:
    return None if not metadata else dict(sorted(metadata.items()))


def _field(field: Any) -> Any:
    """The field with its metadata, and that of the fields within, sorted by key."""
    return pa.field(field.name, _type(field.type), field.nullable, _sorted(field.metadata))


def _type(kind: Any) -> Any:
    if pa.types.is_struct(kind):
        return pa.struct([_field(kind.field(place)) for place in range(kind.num_fields)])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_field(kind.value_field))
    if pa.types.is_list(kind):
        return pa.list_(_field(kind.value_field))
    return kind


def _laid_out(array: Any) -> Any:
    """An equal array without offset, without a needless bitmap, and with zeros below its nulls."""
    kind, types = array.type, pa.types
    if types.is_null(kind):
        return pa.nulls(len(array))
    if types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(
            _laid_out(array.indices), _laid_out(array.dictionary), ordered=kind.ordered, safe=False
        )
    if types.is_struct(kind):
        # `flatten` makes a child null where its parent is.
        children = [_laid_out(child) for child in array.flatten()]
        return pa.StructArray.from_buffers(_type(kind), len(array), [_bitmap(array)], array.null_count, 0, children)
    if types.is_fixed_size_list(kind):
        child = _laid_out(_items(array, kind.list_size))
        return pa.FixedSizeListArray.from_buffers(
            _type(kind), len(array), [_bitmap(array)], array.null_count, 0, [child]
        )
    if types.is_list(kind) or types.is_large_list(kind):
        wide = types.is_large_list(kind)
        offsets = _offsets(pc.list_value_length(array), wide)
        return type(array).from_buffers(
            _type(kind), len(array), [_bitmap(array), offsets], array.null_count, 0, [_laid_out(array.flatten())]
        )
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        return _texts(array)
    if types.is_boolean(kind):
        filled = array.fill_null(False) if array.null_count else array
        bits = _bits(filled.buffers()[1], filled.offset, len(filled))
        return pa.Array.from_buffers(kind, len(array), [_bitmap(array), bits], array.null_count)
    return _numbers(array)


def _numbers(array: Any) -> Any:
    """Of a type whose items all have one width."""
    try:
        width = array.type.bit_width // 8
    except ValueError:
        raise pa.ArrowNotImplementedError("no canonical layout is known; cast it to another type") from None
    if pa.types.is_union(array.type) or isinstance(array.type, pa.BaseExtensionType):
        raise pa.ArrowNotImplementedError("no canonical layout is known; cast it to another type")
    integer = _INTEGERS.get(width)
    data: Any
    if array.null_count and integer is not None:
        filled = array.view(getattr(pa, integer)()).fill_null(0)
        data = filled.buffers()[1].slice(filled.offset * width, len(array) * width)
    else:
        data = array.buffers()[1].slice(array.offset * width, len(array) * width) if len(array) else pa.py_buffer(b"")
        if array.null_count:
            zeroed = bytearray(data)
            for place, valid in enumerate(array.is_valid().to_pylist()):
                if not valid:
                    zeroed[place * width : (place + 1) * width] = bytes(width)
            data = pa.py_buffer(bytes(zeroed))
    return pa.Array.from_buffers(array.type, len(array), [_bitmap(array), data], array.null_count)


def _texts(array: Any) -> Any:
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    # Filled, an array is built anew, so nothing lies between its items; without nulls nothing ever does.
    filled = array.fill_null("" if text else b"") if array.null_count else array
    offsets = _offsets(pc.binary_length(filled), wide)
    data = pa.py_buffer(b"")
    if len(filled):
        width = 8 if wide else 4
        old = filled.buffers()[1].to_pybytes()
        first, last = (
            int.from_bytes(old[at * width : (at + 1) * width], "little")
            for at in (filled.offset, filled.offset + len(filled))
        )
        if last > first:
            data = filled.buffers()[2].slice(first, last - first)
    return pa.Array.from_buffers(array.type, len(array), [_bitmap(array), offsets, data], array.null_count)


def _offsets(lengths: Any, wide: bool) -> Any:
    """The buffer of offsets, from 0, of items with these lengths; null counts as 0."""
    kind = pa.int64() if wide else pa.int32()
    ends = pc.cumulative_sum(lengths.cast(kind).fill_null(0))
    return pa.concat_arrays([pa.array([0], kind), ends]).buffers()[1]


def _items(array: Any, size: int) -> Any:
    """The items of a list of fixed size, null where the list is."""
    items = array.values.slice(array.offset * size, len(array) * size)
    if not array.null_count:
        return items
    rows = pa.array([place // size for place in range(len(items))], pa.int64())
    return pc.if_else(array.is_valid().take(rows), items, pa.scalar(None, items.type))


def _bitmap(array: Any) -> Any:
    return _bits(array.buffers()[0], array.offset, len(array)) if array.null_count else None


def _bits(buffer: Any, offset: int, number: int) -> Any:
    """``number`` bits from ``offset`` on, moved to the front, the last byte filled with zeros."""
    if not number:
        return pa.py_buffer(b"")
    part = buffer.slice(offset // 8, (offset % 8 + number + 7) // 8).to_pybytes()
    bits = int.from_bytes(part, "little") >> offset % 8 & ((1 << number) - 1)
    return pa.py_buffer(bits.to_bytes((number + 7) // 8, "little"))
