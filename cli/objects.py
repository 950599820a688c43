# SPDX-License-Identifier: MIT
"""One object of a state, shown by field: for ``cat``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .entries import entry_json, root_of
from .fields import Failures, content_of, entry_text, is_object, line_width, shown_errors
from .names import json_name, key_bytes, key_text
from .places import Place
from .session import Call
from .units import format_count
from .views import MAX_LISTED

if TYPE_CHECKING:
    from casstore import Store
    from casstore.codecs.describe import Content
    from casstore.format.entry import Entry

MAX_JSON_VALUE_BYTES: Final = 16 * 1024 * 1024
"""Of one object, without ``--all``."""
_FIRST: Final = 8
"""Items of an array, and of a table's column, that are shown."""
_TEXT_LINES: Final = 200
_BYTE_LINES: Final = 16


def print_object(call: Call, store: Store, place: Place, entry: Entry, *, limit: int | None, show_all: bool) -> None:
    """Prints what an object is and its fields, or its members.

    Raises:
        casstore.CorruptionError: It is damaged.
        casstore.FactoryError: It is larger than the limit.
        click.exceptions.Exit: Some members could not be shown; the others were.
    """
    from casstore.codecs.members import is_members

    failures = Failures()
    if is_members(entry):
        _print_members(call, store, place, entry, failures, limit=limit, show_all=show_all)
    elif call.out.as_json:
        shown = {**json_name("key", place.key), "entry": entry_json(entry)}
        call.out.json(**shown, **_value_json(store, entry, limit, show_all=show_all))
    else:
        lines = _value_lines(store, entry, limit, line_width(False) or 0, show_all=show_all)
        first = next(lines, None)  # what cannot be shown leaves stdout empty
        call.out.line(f"{place.key}: {entry_text(entry)}")
        if first is not None:
            call.out.line(first)
            for line in lines:
                call.out.line(line)
    failures.exit()


def _members(store: Store, place: Place) -> Iterator[tuple[str, Entry]]:
    """What stands below the marker of ``Members``: key and entry."""
    from casstore.tree import scan

    prefix = key_bytes(place.path) + b"/"
    for key, entry in scan(store.nodes, root_of(store.resolve(place.state), place), prefix=prefix):
        yield key_text(key[len(prefix) :]), entry


def _print_members(
    call: Call, store: Store, place: Place, entry: Entry, failures: Failures, *, limit: int | None, show_all: bool
) -> None:
    found = _members(store, place)
    if call.out.as_json:
        head = {**json_name("key", place.key), "entry": entry_json(entry)}
        items = (_member_json(store, name, below, failures, limit, show_all=show_all) for name, below in found)
        call.out.json_stream(head, "members", items)
        return
    call.out.line(f"{place.key}: members")
    more = 0
    for number, (name, below) in enumerate(found):
        if number < MAX_LISTED or show_all:
            for line in _member_lines(store, name, below, failures, limit, show_all=show_all):
                call.out.line(line)
        else:
            more += 1
    if more:
        call.out.line(f"… and {format_count(more, 'more member')} (all of them with --all)")


def _member_json(
    store: Store, name: str, entry: Entry, failures: Failures, limit: int | None, *, show_all: bool
) -> dict[str, Any]:
    shown = {**json_name("name", name), "entry": entry_json(entry)}
    try:
        return {**shown, **_value_json(store, entry, limit, show_all=show_all)}
    except shown_errors() as error:
        return {**shown, "error": failures.add(error)}


def _member_lines(
    store: Store, name: str, entry: Entry, failures: Failures, limit: int | None, *, show_all: bool
) -> Iterator[str]:
    from casstore.codecs.describe import read_content
    from casstore.codecs.describe_outline import outline

    if not is_object(entry):
        yield f"{name}: {entry_text(entry)}"
        return
    try:
        value = read_content(content_of(store, entry), max_bytes=limit)
    except shown_errors() as error:
        failures.add(error)
        yield f"{name}: {entry_text(entry)}: cannot be shown: {error}"
        return
    yield from outline(value, width=line_width(False) or 0, most=None if show_all else MAX_LISTED, name=name)


def _value_lines(store: Store, entry: Entry, limit: int | None, width: int, *, show_all: bool) -> Iterator[str]:
    from casstore.codecs.describe import StoredContent, read_content
    from casstore.codecs.describe_outline import byte_lines, outline, text_lines
    from casstore.codecs.describe_values import StoredArray, StoredTable

    if not is_object(entry):
        return
    content = content_of(store, entry)
    value = read_content(content, max_bytes=limit)
    most = None if show_all else MAX_LISTED
    if isinstance(value, StoredArray):
        yield from _array_lines(content, value, width)
    elif isinstance(value, StoredTable):
        yield from _table_lines(value, width)
    elif isinstance(value, StoredContent) and content.type_id == "text":
        yield from _streamed_text(content, most, show_all=show_all)
    elif isinstance(value, StoredContent):
        yield f"address {_address(entry)}"
        if content.type_id == "bytes" or entry.size:
            yield from byte_lines(value.start, content.size, _BYTE_LINES)
    elif isinstance(value, str) and content.type_id == "text":
        yield from text_lines(value, None if show_all else _TEXT_LINES)
    elif isinstance(value, bytes) and content.type_id == "bytes":
        yield from byte_lines(value, len(value), None if show_all else _BYTE_LINES)
    else:
        yield from outline(value, width=width, most=most)


def _address(entry: Entry) -> str:
    from .described import content_address_of

    address = content_address_of(entry)
    return "" if address is None else address.hex()


def _streamed_text(content: Content, most: int | None, *, show_all: bool) -> Iterator[str]:
    """The lines of a text that is not read whole."""
    from casstore.codecs.describe_text import escaped

    with content.open() as file:
        for number, line in enumerate(file):
            if number >= _TEXT_LINES and not show_all:
                yield "… and more lines (all of them with --all, or --raw)"
                return
            yield escaped(line.decode("utf-8", "backslashreplace").rstrip("\n"))


def _array_lines(content: Content, value: Any, width: int) -> Iterator[str]:
    from casstore.codecs.describe_arrays import array_figures
    from casstore.codecs.describe_text import scalar_text, short_text

    header = value.header
    yield scalar_text(value, None)
    with content.open() as file:
        figures = array_figures(header, file, first=_FIRST)
    if figures is None:
        yield "install casstore[numpy] to see what it holds"
        return
    if figures.minimum is not None:
        yield f"from {short_text(figures.minimum, width)} to {short_text(figures.maximum, width)}"
    if figures.nan:
        yield f"{figures.nan:,} of {header.items:,} are NaN"
    if figures.first:
        more = ", …" if header.items > len(figures.first) else ""
        yield f"items {', '.join(short_text(item, 40) for item in figures.first)}{more}"


def _table_lines(value: Any, width: int) -> Iterator[str]:
    from casstore.codecs.describe_tables import table_figures
    from casstore.codecs.describe_text import CUT, escaped

    found = None if value.data is None else table_figures(value.data, first=_FIRST)
    if found is None:
        yield "install casstore[arrow] to see its columns"
        return
    shape, columns = found
    yield f"{format_count(shape.rows, 'row')}, {format_count(len(columns), 'column')}"
    for column in columns:
        nulls = f", {column.nulls:,} null" if column.nulls else ""
        more = ", …" if shape.rows > len(column.first) else ""
        line = f"{column.name} ({column.type}{nulls}): {', '.join(column.first)}{more}"
        line = escaped(line)
        yield line if len(line) <= width else f"{line[: width - 1]}{CUT}"


def _value_json(store: Store, entry: Entry, limit: int | None, *, show_all: bool) -> dict[str, Any]:
    """``value`` and ``truncated``, and the figures of an array or a table."""
    from casstore.codecs.describe import read_content
    from casstore.codecs.describe_arrays import array_figures
    from casstore.codecs.describe_json import JsonValues
    from casstore.codecs.describe_tables import table_figures
    from casstore.codecs.describe_values import StoredArray, StoredTable

    if not is_object(entry):
        return {}
    content = content_of(store, entry)
    value = read_content(content, max_bytes=limit)
    values = JsonValues(None if show_all else MAX_JSON_VALUE_BYTES)
    shown: dict[str, Any] = {"value": values.value(value)}
    if isinstance(value, StoredArray):
        with content.open() as file:
            figures = array_figures(value.header, file, first=_FIRST)
        shown["figures"] = None if figures is None else values.figures(figures)
    elif isinstance(value, StoredTable):
        found = None if value.data is None else table_figures(value.data, first=_FIRST)
        shown["figures"] = None if found is None else {"rows": found[0].rows, "columns": found[1]}
    return {**shown, "truncated": values.truncated}
