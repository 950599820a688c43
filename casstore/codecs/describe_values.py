# SPDX-License-Identifier: MIT
"""Stored values as plain data, without the classes that wrote them and without NumPy or pyarrow.

Plain data is None, bool, int, float, str, bytes, list, tuple, dict, set and frozenset, nested, and three kinds beside:
``Unknown`` (a class as its fields, or a type that nobody knows here), ``StoredArray`` and ``StoredTable`` (as they are
stored). Nothing of a user's runs: only built-in factories decode, never those that a program registered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

from casstore.codecs.arrays import HEADER_BYTES, parse_header
from casstore.codecs.messagepack import unpack
from casstore.codecs.plain import BytesFactory, JsonFactory, TextFactory
from casstore.codecs.registry import Registry
from casstore.codecs.unknown import STRUCT_PREFIX, Unknown
from casstore.errors import FactoryError

ARRAY_TYPE: Final = "ndarray"
TABLE_TYPE: Final = "arrow"
PACKED_TYPE: Final = "msgpack"

JSON_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""JSON of so many bytes takes up to 200 MB with ``MAX_PARTS`` (texts, and a million empty dicts)."""
PACKED_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""MessagePack of so many bytes takes up to 200 MB with ``MAX_PARTS``, while it is decoded."""
TABLE_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""A table lies over its bytes; comparing two takes about as much again."""

MAX_PARTS: Final = 1_000_000
"""Contents that may hold more values are refused, unless a limit was given."""
_PACKED_CONTAINERS: Final = bytes(range(0x80, 0xA0))
"""Short maps and arrays of MessagePack."""

_NAMES: Final = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


class ArrayHeader(NamedTuple):
    """What an array is, without its items.

    Attributes:
        kind: NumPy's letter: b, i, u, f or c.
        item_bytes: Bytes of an item.
        shape: Length of each dimension.
        start: Bytes before the first item.
    """

    kind: str
    item_bytes: int
    shape: tuple[int, ...]
    start: int

    @property
    def dtype(self) -> str:
        """NumPy's name: ``float32``, ``bool``."""
        return _NAMES[self.kind] + ("" if self.kind == "b" else str(8 * self.item_bytes))

    @property
    def items(self) -> int:
        """Number of items."""
        number = 1
        for length in self.shape:
            number *= length
        return number


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array as it is stored; ``data`` is None where it was too large to keep in memory."""

    header: ArrayHeader
    data: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredTable:
    """An Arrow table as it is stored; ``data`` is None where it was too large to keep in memory."""

    size: int
    data: bytes | None = field(repr=False)


def read_array_header(file: BinaryIO, size: int) -> ArrayHeader:
    """What the array in a file of ``size`` bytes is.

    Raises:
        CorruptionError: It is no array.
    """
    return ArrayHeader(*parse_header(file.read(min(size, HEADER_BYTES)), size))


def limit_of(type_id: str, max_bytes: int | None = None) -> int:
    """Contents of a type that have more bytes are not decoded; ``max_bytes`` replaces the default of every type."""
    if max_bytes is not None:
        return max_bytes
    if type_id == "json":
        return JSON_LIMIT_BYTES
    return TABLE_LIMIT_BYTES if type_id == TABLE_TYPE else PACKED_LIMIT_BYTES


def decode_content(
    type_id: str, version: int, data: bytes, max_bytes: int | None = None, *, typed: bool = False
) -> Any:  # fmt: skip
    """What a content holds, as plain data; the fields alone of a class, whose type the caller knows.

    Args:
        type_id: The type's name on disk.
        version: The encoding's version.
        data: The content.
        max_bytes: Contents of more bytes are refused; None: what ``limit_of`` says.
        typed: Give a class as ``Unknown``, with its type.

    Raises:
        CorruptionError: The content is not what the type's factory writes.
        FactoryError: It is larger than the bound.

    *Cost*: a few hundred MB at the worst with the default limits; see ``describe_values.MAX_PARTS``. With a limit of
    one's own, up to 24 times (JSON) or 150 times (MessagePack) the content, both for empty dicts alone.
    """
    check_limit(type_id, len(data), max_bytes)
    if max_bytes is None and (type_id in ("json", PACKED_TYPE) or type_id.startswith(STRUCT_PREFIX)):
        _check_parts(type_id, data)
    found = _REGISTRY.decode(type_id, version, data)
    if type(found) is Unknown and (type_id == PACKED_TYPE or (found.plain is not None and not typed)):
        return found.plain
    return found


def _check_parts(type_id: str, data: bytes) -> None:
    """Refuses a content that may have too many parts, before they are made.

    Counted are the bytes that begin a container or part two values, wherever they stand: more than there are parts
    that take much memory, and of texts far fewer than their letters.
    """
    if type_id == "json":
        parts = data.count(b",") + data.count(b"[") + data.count(b"{")
    elif len(data) > MAX_PARTS:
        parts = len(data) - len(data.translate(None, _PACKED_CONTAINERS))
    else:
        parts = 0
    if parts > MAX_PARTS:
        raise FactoryError(
            f"a content of type {type_id!r} may have {parts:,} parts, more than {MAX_PARTS:,} take too much memory; "
            "show it nevertheless with --limit SIZE (max_bytes)."
        )


def check_limit(type_id: str, size: int, max_bytes: int | None = None) -> None:
    """Refuses a content that is too large to decode, before it is read.

    Raises:
        FactoryError: It is.
    """
    bound = limit_of(type_id, max_bytes)
    if size > bound:
        raise FactoryError(
            f"a content of type {type_id!r} has {size:,} bytes, too many to decode below the limit of {bound:,}; "
            "raise it with --limit SIZE (max_bytes)."
        )


class _ArrayInspector:
    """Arrays as they are stored."""

    type_id: Final = ARRAY_TYPE
    version: Final = 1

    def encode(self, value: object) -> NoReturn:
        raise _read_only()

    def decode(self, data: bytes) -> StoredArray:
        return StoredArray(ArrayHeader(*parse_header(data, len(data))), data)


class _TableInspector:
    """Tables as they are stored."""

    type_id: Final = TABLE_TYPE
    version: Final = 1

    def encode(self, value: object) -> NoReturn:
        raise _read_only()

    def decode(self, data: bytes) -> StoredTable:
        return StoredTable(len(data), data)


class _PackedInspector:
    """MessagePack, marked as such where it lies within another value."""

    type_id: Final = PACKED_TYPE
    version: Final = 1

    def encode(self, value: object) -> NoReturn:
        raise _read_only()

    def decode(self, data: bytes) -> Unknown:
        return self.decode_within(data, self.version, _REGISTRY)

    def decode_within(self, data: bytes, version: int, registry: Registry) -> Unknown:
        return Unknown(self.type_id, version, data, unpack(data, registry))


def _read_only() -> FactoryError:
    return FactoryError("this registry only reads; store values through branch.objects.")


def _make_registry() -> Registry:
    registry = Registry(unknown=True)
    for factory in (
        BytesFactory(),
        TextFactory(),
        JsonFactory(),
        _ArrayInspector(),
        _TableInspector(),
        _PackedInspector(),
    ):
        registry.register(factory)
    return registry


_REGISTRY: Final = _make_registry()


def is_decodable(type_id: str, version: int) -> bool:
    """Whether the type's values can be shown by field here; of others only type, version and size are known."""
    return type_id.startswith(STRUCT_PREFIX) or _REGISTRY.factory_for(type_id, version) is not None
