# SPDX-License-Identifier: MIT
"""A document as plain data, put together from what stands at its keys, without its class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from casstore.codecs.describe import Content, DescribedChange, content_changes, read_content
from casstore.codecs.documents import HEADER, document_type, is_part
from casstore.codecs.field_changes import (
    ADDED,
    CHANGED,
    REMOVED,
    RETYPED,
    FieldChange,
    Key,
    Limits,
    field_changes,
)
from casstore.codecs.unknown import Unknown
from casstore.errors import CorruptionError
from casstore.format.entry import OBJECT, Entry

DOCUMENT_PREFIX: Final = "document:"
"""What a document is called in place of a type id: ``document:Agent``."""

Parts = Mapping[str, Entry]
"""What follows ``KEY/`` → entry, in key order; the header is among them."""

Opener = Callable[[Entry], Content]
"""The content of an entry, to be opened when it is read."""


def parts_of(below: Iterable[tuple[str, Entry]]) -> dict[str, Entry]:
    """The parts of a document among all that lies below its key."""
    return {rest: entry for rest, entry in below if is_part(rest)}


def type_name(parts: Parts) -> tuple[str, int]:
    """``("document:Agent", 2)``; ``("document", 0)`` where the header says nothing."""
    name, version = document_type(parts[HEADER])
    return (f"{DOCUMENT_PREFIX}{name}", version) if name else (DOCUMENT_PREFIX[:-1], 0)


def assemble(parts: Parts, content_of: Opener, *, max_bytes: int | None = None) -> Unknown:
    """A document as a class of fields: growing lists are joined from their blocks.

    Args:
        parts: Its parts, see ``parts_of``.
        content_of: Gives the content of an entry.
        max_bytes: Structured contents of more bytes are refused; None: a default for each type.

    Raises:
        CorruptionError: A part is damaged, or a block is no list.
        FactoryError: A part is larger than the limit.

    *Cost*: all contents are decoded; see ``read_content``.
    """
    fields = {name: _value(name, keys, parts, content_of, max_bytes) for name, keys in _fields(parts).items()}
    type_id, version = type_name(parts)
    return Unknown(type_id, version, b"", fields)


def document_changes(
    old: Parts, new: Parts, content_of: Opener, limits: Limits | None = None, *, max_bytes: int | None = None
) -> Iterator[DescribedChange]:
    """What differs between two states of a document, by field; indices are those of whole lists.

    Only fields of which a part differs are read.

    Raises:
        CorruptionError: A part is damaged, or a block is no list.
        FactoryError: A part is larger than the limit.
        InvalidInputError: Two values have more parts than ``limits`` allow.
    """
    before, after = type_name(old), type_name(new)
    if before[0] != after[0]:
        yield DescribedChange(FieldChange((Key(HEADER),), CHANGED, before[0], after[0]), None)
    elif before != after:
        yield DescribedChange(FieldChange((), RETYPED, before[1], after[1]), None)
    old_fields, new_fields = _fields(old), _fields(new)
    for name in sorted(old_fields.keys() | new_fields.keys()):
        path = (Key(name),)
        was, now = old_fields.get(name), new_fields.get(name)
        if was is None:
            value = _value(name, now or [], new, content_of, max_bytes)
            yield DescribedChange(FieldChange(path, ADDED, None, value), None)
            continue
        if now is None:
            value = _value(name, was, old, content_of, max_bytes)
            yield DescribedChange(FieldChange(path, REMOVED, value, None), None)
            continue
        if {key: old[key] for key in was} == {key: new[key] for key in now}:
            continue
        if was == now == [name] and old[name].kind == new[name].kind == OBJECT:
            found = content_changes(content_of(old[name]), content_of(new[name]), limits, max_bytes=max_bytes)
        else:
            values = (_value(name, was, old, content_of, max_bytes), _value(name, now, new, content_of, max_bytes))
            found = (DescribedChange(change, None) for change in field_changes(*values, limits))
        for change, difference in found:
            moved = FieldChange(path + change.path, change.kind, change.old, change.new)
            yield DescribedChange(moved, difference)


def _fields(parts: Parts) -> dict[str, list[str]]:
    """Field → the parts that hold it: one of its name, or the blocks of a growing one."""
    found: dict[str, list[str]] = {}
    for part in parts:
        name = part.partition("/")[0]
        if name != HEADER:
            found.setdefault(name, []).append(part)
    return {name: [name] if name in keys else keys for name, keys in found.items()}


def _value(name: str, keys: list[str], parts: Parts, content_of: Opener, max_bytes: int | None) -> Any:
    if keys == [name]:
        entry = parts[name]
        return None if entry.kind != OBJECT else read_content(content_of(entry), max_bytes=max_bytes)
    found: list[Any] = []
    for key in keys:
        block = read_content(content_of(parts[key]), max_bytes=max_bytes)
        if type(block) is not list:
            raise CorruptionError(f"{key!r} is a block of a growing list, but holds no list; run `casstore verify`.")
        found += block
    return found
