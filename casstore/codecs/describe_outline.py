# SPDX-License-Identifier: MIT
"""A plain value as indented lines, one for each field; what fits on one line stays on one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from casstore.codecs.describe_text import (
    CUT,
    MIN_WIDTH,
    count_text,
    escaped,
    fitting_text,
    quoted,
    short_text,
    type_text,
)
from casstore.codecs.field_changes import has_fields
from casstore.codecs.unknown import Unknown

_INDENT: Final = "  "
_MAX_INDENT: Final = 24
"""Deeper levels are not moved further to the right."""

Field = tuple[str, Any]


def outline(value: Any, *, width: int, most: int | None = None, name: str = "") -> Iterator[str]:
    """Lines that show a value: a field with its value where that fits, else its fields below it, indented.

    Args:
        value: Plain data.
        width: Characters that a line may take, about.
        most: Fields that are shown of one container, and levels; the rest is counted. None: all.
        name: What stands before the value; empty for the fields of the value alone.

    *Cost*: O(width) for each line. Nothing recurses.
    """
    fields = _fields(value)
    if name or fields is None:
        stack: list[Iterator[Field | str]] = [iter([(name, value)])]
        level = 0
    else:
        stack = [_bounded(fields, _length(value), most)]
        level = 0
    while stack:
        field = next(stack[-1], None)
        indent = _INDENT * min(level + len(stack) - 1, _MAX_INDENT)
        if field is None:
            stack.pop()
            continue
        if isinstance(field, str):
            yield indent + field
            continue
        label, item = field
        start = f"{indent}{label}: " if label else indent
        text, whole = fitting_text(item, max(width - len(start), MIN_WIDTH))
        below = None if whole else _fields(item)
        if whole:
            yield start + text
        elif below is None:
            yield start + (short_text(item, None) if most is None else f"{text}{_size(item)}")
        elif most is not None and len(stack) > most:
            yield start + text
        else:
            yield start + _head(item)
            stack.append(_bounded(below, _length(item), most))


def _fields(value: Any) -> Iterator[Field] | None:
    """The fields of a container, by the names that are shown; None where it has none, or is none."""
    if has_fields(value):
        value = value.plain
    kind = type(value)
    if kind is dict and value:
        return ((_label(key), item) for key, item in value.items())
    if kind in (list, tuple) and value:
        return ((f"[{place}]", item) for place, item in enumerate(value))
    if kind in (set, frozenset) and value:
        return (("-", item) for item in value)
    return None


def _label(key: Any) -> str:
    if type(key) is str:
        return key if key.isidentifier() else quoted(key[:200])
    return f"{{{short_text(key, 60)}}}"


def _bounded(fields: Iterator[Field], number: int, most: int | None) -> Iterator[Field | str]:
    for place, field in enumerate(fields):
        # One that is left over takes no more room than the line that says so.
        if most is not None and place == most and number > most + 1:
            yield f"{CUT} and {number - most:,} more"
            return
        yield field


def _length(value: Any) -> int:
    return len(value.plain) if has_fields(value) else len(value)


def _head(value: Any) -> str:
    """``200 items``, for a container whose fields stand below."""
    kind = type(value)
    if kind is Unknown:
        return f"{type_text(value.type_id, value.version)}, {_head(value.plain)}"
    noun = "field" if kind is dict else "member" if kind in (set, frozenset) else "item"
    return count_text(len(value), noun)


def _size(value: Any) -> str:
    return f" ({count_text(len(value), 'character')})" if type(value) is str else ""


def text_lines(text: str, most: int | None) -> Iterator[str]:
    """The lines of a text, escaped, the first ``most`` of them."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    shown = lines if most is None else lines[:most]
    yield from map(escaped, shown)
    if len(lines) > len(shown):
        yield f"{CUT} and {count_text(len(lines) - len(shown), 'more line')}"


def byte_lines(data: bytes, size: int, most: int | None) -> Iterator[str]:
    """Bytes as hex, 16 a line, with the letters that they are in ASCII.

    Args:
        data: The first bytes.
        size: How many there are in all.
        most: Lines; None: as many as ``data`` fills.
    """
    end = len(data) if most is None else min(len(data), 16 * most)
    for start in range(0, end, 16):
        row = data[start : start + 16]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<47}  {letters}"
    if size > end:
        yield f"{CUT} and {count_text(size - end, 'more byte')}"
