# SPDX-License-Identifier: MIT
"""Stored contents described and compared by field, for tools that have neither the classes nor pickle.

What is structured (JSON, MessagePack, classes) is decoded below a limit of bytes; bytes, text, arrays and types that
nobody knows here are read through, a few MiB at a time, whatever their size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NamedTuple

from casstore.codecs.describe_arrays import ArrayDifference, compare_arrays
from casstore.codecs.describe_tables import TableDifference, compare_tables, has_pyarrow
from casstore.codecs.describe_values import (
    ARRAY_TYPE,
    TABLE_TYPE,
    StoredArray,
    StoredTable,
    check_limit,
    decode_content,
    is_decodable,
    limit_of,
    read_array_header,
)
from casstore.codecs.field_changes import CHANGED, FieldChange, Limits, field_changes
from casstore.codecs.unknown import Unknown
from casstore.errors import CorruptionError

SMALL_BYTES: Final = 64 * 1024
"""Bytes and texts of up to so many bytes are read whole."""
_BLOCK_BYTES: Final = 1024 * 1024
_STREAMED: Final = ("bytes", "text")


class Content(NamedTuple):
    """A stored value that was not read yet.

    Attributes:
        type_id: The type's name on disk.
        version: The encoding's version.
        size: Bytes of the content.
        open: Gives it as a binary file, which whoever asked closes.
    """

    type_id: str
    version: int
    size: int
    open: Callable[[], BinaryIO]

    @classmethod
    def of(cls, type_id: str, version: int, data: bytes) -> Content:
        """One whose bytes are at hand."""
        return cls(type_id, version, len(data), lambda: io.BytesIO(data))


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A value that was not read whole: too large a text, or of an unknown type; ``start`` is its beginning."""

    type_id: str
    version: int
    size: int
    start: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeDifference:
    """How two texts, or two strings of bytes, differ.

    Attributes:
        unit: ``"bytes"`` or ``"characters"``.
        old: How many the old one has.
        new: How many the new one has.
        first: Where the first one lies that differs, from 0; the end of the shorter one counts.
    """

    unit: str
    old: int
    new: int
    first: int


Difference = ArrayDifference | TableDifference | SizeDifference | None


_UNREAD: Final = (StoredContent, StoredArray, StoredTable)
"""What has no fields, and may not be in memory."""


class DescribedChange(NamedTuple):
    """A changed field, and how much its old and its new value differ, where they are of one kind that can tell."""

    change: FieldChange
    difference: Difference


def read_content(content: Content, *, max_bytes: int | None = None) -> Any:
    """What a content holds, as plain data; ``StoredContent`` and the like where it is not decoded.

    Args:
        content: What to read.
        max_bytes: Structured contents of more bytes are refused; None: a default for each type.

    Raises:
        CorruptionError: It is not what its type's factory writes, or it is damaged.
        FactoryError: It is larger than the limit.
    """
    type_id, version, size, _ = content
    if type_id == ARRAY_TYPE and version == 1:
        with content.open() as file:
            return StoredArray(read_array_header(file, size), None)
    if not is_decodable(type_id, version) or (type_id in _STREAMED and size > SMALL_BYTES):
        with content.open() as file:
            return StoredContent(type_id, version, size, file.read(min(size, SMALL_BYTES)))
    if type_id == TABLE_TYPE and not has_pyarrow():
        return StoredTable(size, None)
    check_limit(type_id, size, max_bytes)
    with content.open() as file:
        return decode_content(type_id, version, _whole(file, size), max_bytes)


def content_changes(
    old: Content, new: Content, limits: Limits | None = None, *, max_bytes: int | None = None
) -> Iterator[DescribedChange]:
    """What differs between two contents, field by field; one change of the whole where they have no fields.

    Args:
        old: What was there.
        new: What is there.
        limits: Bounds for comparing fields; None: the defaults.
        max_bytes: Structured contents of more bytes are refused; None: a default for each type.

    Raises:
        CorruptionError: One is not what its type's factory writes, or it is damaged.
        FactoryError: One is larger than the limit.
        InvalidInputError: They have more parts than ``limits`` allow.

    *Cost*: the contents are read once; see ``field_changes`` for what is decoded.
    """
    if old.type_id == new.type_id and _is_read_through(old) and _is_read_through(new):
        difference: Difference
        if old.type_id == ARRAY_TYPE and old.version == new.version == 1:
            difference, before, after = _arrays(old, new)
        else:
            difference = _streams(old, new)
            before, after = read_content(old), read_content(new)
        yield DescribedChange(FieldChange((), CHANGED, before, after), difference)
        return
    before = _comparable(old, max_bytes)
    after = _comparable(new, max_bytes)
    if isinstance(before, _UNREAD) or isinstance(after, _UNREAD):
        yield DescribedChange(FieldChange((), CHANGED, before, after), None)
        return
    for change in field_changes(before, after, limits):
        yield DescribedChange(change, None)


def difference_of(described: DescribedChange) -> Difference:
    """How much the old and the new value of a changed field differ, computed now where it was not yet.

    Raises:
        CorruptionError: An array or a table within a value is damaged.
    """
    change, known = described
    if known is not None or change.kind != CHANGED:
        return known
    old, new = change.old, change.new
    if type(old) is not type(new):
        return None
    if type(old) is str:
        return _sizes("characters", old, new)
    if type(old) is bytes:
        return _sizes("bytes", old, new)
    if type(old) is StoredArray and old.data is not None and new.data is not None:
        return compare_arrays(old.header, io.BytesIO(old.data), new.header, io.BytesIO(new.data))
    if type(old) is StoredTable and old.data is not None and new.data is not None:
        return compare_tables(old.data, new.data) or _sizes("bytes", old.data, new.data)
    if type(old) is Unknown and (old.type_id, old.version) == (new.type_id, new.version) and old.plain is None:
        return _sizes("bytes", old.data, new.data)
    return None


def _is_read_through(content: Content) -> bool:
    """Whether two such contents are compared without reading them into memory."""
    if content.type_id == TABLE_TYPE and content.version == 1:
        return not has_pyarrow()
    known = is_decodable(content.type_id, content.version)
    return not known or content.type_id in _STREAMED or content.type_id == ARRAY_TYPE


def _comparable(content: Content, max_bytes: int | None) -> Any:
    """As ``read_content``, but a class keeps its type and version, so that a new version is seen."""
    if _is_read_through(content):
        return read_content(content)
    check_limit(content.type_id, content.size, max_bytes)
    with content.open() as file:
        data = _whole(file, content.size)
    return decode_content(content.type_id, content.version, data, max_bytes, typed=True)


def _arrays(old: Content, new: Content) -> tuple[ArrayDifference, StoredArray, StoredArray]:
    with old.open() as old_file, new.open() as new_file:
        first, second = read_array_header(old_file, old.size), read_array_header(new_file, new.size)
        difference = compare_arrays(first, old_file, second, new_file)
    return difference, StoredArray(first, None), StoredArray(second, None)


def _streams(old: Content, new: Content) -> SizeDifference:
    """Where two contents first differ, read a block at a time."""
    at = 0
    with old.open() as old_file, new.open() as new_file:
        while True:
            a, b = old_file.read(_BLOCK_BYTES), new_file.read(_BLOCK_BYTES)
            if a != b or not a:
                break
            at += len(a)
    return SizeDifference(unit="bytes", old=old.size, new=new.size, first=at + first_difference(a, b))


def _sizes(unit: str, old: str | bytes, new: str | bytes) -> SizeDifference:
    return SizeDifference(unit=unit, old=len(old), new=len(new), first=first_difference(old, new))


def first_difference(a: Any, b: Any) -> int:
    """Where two texts, or two strings of bytes, first differ; the length of the shorter one where it starts the other.

    *Cost*: O(first difference), by halves.
    """
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _whole(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size or file.read(1):
        raise CorruptionError("a content is not as long as its entry says; run `casstore verify`.")
    return data


__all__ = [
    "Content",
    "DescribedChange",
    "Difference",
    "SizeDifference",
    "StoredContent",
    "content_changes",
    "difference_of",
    "first_difference",
    "limit_of",
    "read_content",
]
