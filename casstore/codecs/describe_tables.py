# SPDX-License-Identifier: MIT
"""What an Arrow table is and how two differ: columns, rows, values. pyarrow is imported on use only.

Without pyarrow a table is a number of bytes.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from casstore.codecs.arrow import ArrowFactory
from casstore.errors import CorruptionError


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table without its values: number of rows, and name and type of each column."""

    rows: int
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDifference:
    """A column that both tables have.

    Attributes:
        name: Of the column.
        old_type: Its type in the old table.
        new_type: Its type in the new one.
        compared: Rows that were compared, from the first one on; 0 where the types differ.
        differing: Of these, how many differ; None where values of this type are only known to differ.
    """

    name: str
    old_type: str
    new_type: str
    compared: int
    differing: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDifference:
    """How two tables differ.

    Attributes:
        old: What the old one is.
        new: What the new one is.
        added: Columns that only the new one has, with their types.
        removed: Columns that only the old one has, with their types.
        columns: Columns of both that differ.
        metadata: Whether the schemas' metadata or the order of the columns differ.
    """

    old: TableShape
    new: TableShape
    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]
    columns: tuple[ColumnDifference, ...]
    metadata: bool


def has_pyarrow() -> bool:
    """Whether tables can be looked into."""
    return importlib.util.find_spec("pyarrow") is not None


def _shape(table: Any) -> TableShape:
    return TableShape(table.num_rows, tuple((field.name, str(field.type)) for field in table.schema))


def compare_tables(old_data: bytes, new_data: bytes) -> TableDifference | None:
    """How two tables differ, from their contents; None without pyarrow.

    Columns go by name and by their number among those of one name; rows by their place.

    Raises:
        CorruptionError: One is no table.
    """
    if not has_pyarrow():
        return None
    old, new = ArrowFactory().decode(old_data), ArrowFactory().decode(new_data)
    left, right = _named(old), _named(new)
    rows = min(old.num_rows, new.num_rows)
    columns = []
    for name, place in left.items():
        if name in right:
            found = _column(name[0], old.column(place).slice(0, rows), new.column(right[name]).slice(0, rows))
            if found is not None:
                columns.append(found)
    return TableDifference(
        old=_shape(old),
        new=_shape(new),
        added=tuple(_typed(new, place) for name, place in right.items() if name not in left),
        removed=tuple(_typed(old, place) for name, place in left.items() if name not in right),
        columns=tuple(columns),
        metadata=left.keys() == right.keys() and _beside_types(old.schema) != _beside_types(new.schema),
    )


def _named(table: Any) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    numbers: dict[str, int] = {}
    for place, name in enumerate(table.column_names):
        number = numbers[name] = numbers.get(name, -1) + 1
        found[name, number] = place
    return found


def _beside_types(schema: Any) -> Any:
    """What a schema says beside the columns' types: order, whether null is allowed, metadata."""
    return schema.metadata, [(field.name, field.nullable, field.metadata) for field in schema]


def _typed(table: Any, place: int) -> tuple[str, str]:
    field = table.schema.field(place)
    return field.name, str(field.type)


def _column(name: str, old: Any, new: Any) -> ColumnDifference | None:
    """How two columns of equal length differ; None where they do not."""
    types = {"name": name, "old_type": str(old.type), "new_type": str(new.type)}
    if old.type != new.type:
        return ColumnDifference(**types, compared=0, differing=None)
    if old.equals(new):
        return None
    differing = _count(old, new)
    return None if differing == 0 else ColumnDifference(**types, compared=len(old), differing=differing)


def _count(old: Any, new: Any) -> int | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        differ = pc.fill_null(pc.not_equal(old, new), False)
        if pa.types.is_floating(old.type):
            both_nan = pc.fill_null(pc.and_(pc.is_nan(old), pc.is_nan(new)), False)
            differ = pc.and_not(differ, both_nan)
        one_null = pc.xor(pc.is_null(old), pc.is_null(new))
        found = pc.sum(pc.cast(pc.or_(differ, one_null), pa.int64())).as_py()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        # Nested values: that the columns differ is all that is known.
        return None
    except pa.ArrowException as error:
        raise CorruptionError(f"a table cannot be compared: {error}; run `casstore verify`.") from None
    return int(found or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFigures:
    """A column in short: its name, its type, how many values are null, and the first ones as text."""

    name: str
    type: str
    nulls: int
    first: tuple[str, ...]


def table_figures(data: bytes, *, first: int = 8) -> tuple[TableShape, tuple[ColumnFigures, ...]] | None:
    """What a table holds; None without pyarrow.

    Raises:
        CorruptionError: It is no table.
    """
    if not has_pyarrow():
        return None
    table = ArrowFactory().decode(data)
    columns = tuple(
        ColumnFigures(
            name=field.name,
            type=str(field.type),
            nulls=column.null_count,
            first=tuple(_scalar(scalar) for scalar in column.slice(0, first)),
        )
        for field, column in zip(table.schema, table.columns, strict=True)
    )
    return _shape(table), columns


def _scalar(scalar: Any) -> str:
    if not scalar.is_valid:
        return "null"
    # A nested one may hold any number of values; its length is told by what is cut off.
    try:
        return str(scalar.as_py())[:200]
    except (ValueError, OverflowError):
        # A time stamp that Python has no value for.
        return str(scalar)[:200]
