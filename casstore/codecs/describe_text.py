# SPDX-License-Identifier: MIT
"""Plain values, paths and changes as short lines of text that no terminal obeys.

Texts stand in quotes, as in JSON, with everything that does not print escaped; what is too long ends in ``…``. Work is
bounded by what is shown, not by the value, and nothing recurses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from casstore.codecs.describe import DescribedChange, SizeDifference, StoredContent, difference_of
from casstore.codecs.describe_arrays import ArrayDifference
from casstore.codecs.describe_tables import TableDifference
from casstore.codecs.describe_values import StoredArray, StoredTable
from casstore.codecs.field_changes import ADDED, REMOVED, RETYPED, FieldChange, Index, Key, Member, Path
from casstore.codecs.unknown import Unknown

CUT: Final = "…"
ARROW: Final = "→"
MIN_WIDTH: Final = 12
_LONG_TEXT: Final = 60
"""From so many characters on, a changed text is told by its lengths and where it first differs."""
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BRACKETS: Final[dict[type, str]] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}
_INTEGER_BITS: Final = 4096
"""Longer integers are named, not written out: that takes time that grows with the square of their length."""


def short_text(value: Any, width: int | None) -> str:
    """A value on one line of at most ``width`` characters; None: all of it."""
    return fitting_text(value, width)[0]


def fitting_text(value: Any, width: int | None) -> tuple[str, bool]:
    """A value on one line of at most ``width`` characters, and whether that is all of it."""
    out: list[str] = []
    used = 0
    for piece in _pieces(value, width):
        out.append(piece)
        used += len(piece)
        if width is not None and used > width:
            return "".join(out)[: max(width - 1, 0)] + CUT, False
    return "".join(out), True


_Parts = Iterator[str | tuple[Any]]


def _pieces(value: Any, width: int | None) -> Iterator[str]:
    stack: list[_Parts] = [iter([(value,)])]
    while stack:
        part = next(stack[-1], None)
        if part is None:
            stack.pop()
        elif isinstance(part, str):
            yield part
        else:
            within = _parts(part[0])
            if within is None:
                yield scalar_text(part[0], width)
            else:
                stack.append(within)


def _parts(value: Any) -> _Parts | None:
    """The pieces of a container, values that stand within in a tuple each; None for anything else."""
    kind = type(value)
    if kind is dict:
        return _dict_parts(value)
    if kind in _BRACKETS:
        return _sequence_parts(value, _BRACKETS[kind])
    if kind is Unknown and value.plain is not None:
        return iter((f"{type_text(value.type_id, value.version)} ", (value.plain,)))
    return None


def _dict_parts(value: dict[Any, Any]) -> _Parts:
    separator = "{"
    for key, item in value.items():
        yield separator
        yield (key,)
        yield ": "
        yield (item,)
        separator = ", "
    yield "}" if value else "{}"


def _sequence_parts(value: Any, brackets: str) -> _Parts:
    yield brackets[0]
    for number, item in enumerate(value):
        if number:
            yield ", "
        yield (item,)
    # As Python writes it, so that it is seen to be no value in brackets.
    yield f",{brackets[1]}" if type(value) is tuple and len(value) == 1 else brackets[1]


def scalar_text(value: Any, width: int | None) -> str:
    """What holds no other values, as text, which may be longer than ``width``, but not by much."""
    kind = type(value)
    if kind is str:
        return quoted(value if width is None else value[: width + 1])
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if kind is int:
        return str(value) if value.bit_length() <= _INTEGER_BITS else f"an integer of {value.bit_length():,} bits"
    if kind is bytes:
        shown = value if width is None else value[: width + 1]
        return f"{count_text(len(value), 'byte')} {shown.hex()}" if value else "0 bytes"
    if kind is Unknown:
        return f"{type_text(value.type_id, value.version)}, {count_text(len(value.data), 'byte')}"
    if kind is StoredContent:
        return f"{type_text(value.type_id, value.version)}, {count_text(value.size, 'byte')}"
    if kind is StoredArray:
        return f"{value.header.dtype} {shape_text(value.header.shape)}"
    if kind is StoredTable:
        return f"a table of {count_text(value.size, 'byte')}"
    return escaped(repr(value) if kind is float else str(value)[: 200 if width is None else width + 1])


def quoted(text: str) -> str:
    """A text as JSON writes it, with everything escaped that does not print."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(_ESCAPES.get(letter) or _escape(letter) for letter in text)}"'


def escaped(text: str) -> str:
    """A text without quotes, with everything escaped that does not print."""
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(letter: str) -> str:
    if letter.isprintable():
        return letter
    code = ord(letter)
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def count_text(number: int, noun: str) -> str:
    """``1 byte``, ``2,000 bytes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def type_text(type_id: str, version: int) -> str:
    """``struct:agent.memory version 2``."""
    return f"{escaped(type_id)} version {version}"


def shape_text(shape: tuple[int, ...]) -> str:
    """``(100, 100)``."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def path_text(path: Path, width: int = 200) -> str:
    """``plan.goal``, ``messages[200]``, ``scores["odd key"]``; empty for the value itself. Long ones are cut."""
    text = ""
    # Of a path of thousands of steps only the ends can be seen.
    steps = path if len(path) <= 2 * width else (*path[:width], *path[-width:])
    for step in steps:
        if isinstance(step, Index):
            text += f"[{step.place}]"
        elif isinstance(step, Key) and type(step.name) is str and step.name.isidentifier():
            text += f".{step.name}" if text else step.name
        elif isinstance(step, Key) and type(step.name) is str:
            text += f"[{short_text(step.name, width)}]"
        else:
            text += f"{{{short_text(step.value if isinstance(step, Member) else step.name, width)}}}"
    if len(text) > width:
        half = (width - 1) // 2
        text = f"{text[: width - 1 - half]}{CUT}{text[-half:]}"
    return text


def change_lines(described: DescribedChange, width: int | None) -> Iterator[str]:
    """A change on a line: ``step 3 → 4``, ``messages[200] added {…}``; that of a table on one for each column.

    Args:
        described: The change.
        width: Characters that a line may take, about; None: any number.

    Raises:
        CorruptionError: An array or a table within the value is damaged.
    """
    change = described.change
    path = path_text(change.path, 200 if width is None else max(width // 2, MIN_WIDTH))
    named = f"{path}: " if path else ""
    difference = difference_of(described)
    if change.kind == RETYPED:
        yield f"{named}version {change.old} {ARROW} {change.new}"
    elif isinstance(difference, TableDifference):
        for part in table_parts(difference):
            yield named + part
    elif isinstance(difference, ArrayDifference):
        yield named + array_text(difference)
    elif isinstance(difference, SizeDifference) and not _is_short(change.old, change.new):
        yield named + size_text(difference)
    else:
        yield _values_text(change, path, width)


def _values_text(change: FieldChange, path: str, width: int | None) -> str:
    """A change by its values."""
    start = f"{path} " if path else ""
    left = None if width is None else max(width - len(start), 2 * MIN_WIDTH)
    if change.kind == REMOVED:
        return f"{start}removed"
    if change.kind == ADDED:
        if isinstance(change.path[-1], Member):
            return f"{start}added"
        return f"{start}added {short_text(change.new, None if left is None else max(left - 6, MIN_WIDTH))}"
    if left is None:
        return f"{start}{short_text(change.old, None)} {ARROW} {short_text(change.new, None)}"
    left -= 3
    # What one side does not need, the other gets.
    needs = len(short_text(change.new, left))
    old = short_text(change.old, max(left - needs, left // 2, MIN_WIDTH))
    return f"{start}{old} {ARROW} {short_text(change.new, max(left - len(old), MIN_WIDTH))}"


def _is_short(old: Any, new: Any) -> bool:
    """Whether two texts are shown whole; bytes have two digits each."""
    if type(old) not in (str, bytes):
        return False
    most = _LONG_TEXT if type(old) is str else _LONG_TEXT // 4
    return len(old) <= most and len(new) <= most


def size_text(difference: SizeDifference) -> str:
    """``1,200 → 1,250 characters, first difference at 1,180``."""
    unit = difference.unit
    if difference.old == difference.new:
        sizes = f"{difference.old:,} {unit}"
    else:
        sizes = f"{difference.old:,} {ARROW} {difference.new:,} {unit}"
    if difference.first == difference.old == difference.new:
        return f"{sizes}, all equal"
    return f"{sizes}, first difference at {difference.first:,}"


def array_text(difference: ArrayDifference) -> str:
    """``float32 (100, 100): 12 of 10,000 values differ, largest difference 0.5``."""
    old, new = difference.old, difference.new
    dtype = old.dtype if old.dtype == new.dtype else f"{old.dtype} {ARROW} {new.dtype}"
    shape = shape_text(old.shape)
    if old.shape != new.shape:
        shape += f" {ARROW} {shape_text(new.shape)}"
    text = f"{dtype} {shape}"
    if not difference.numpy:
        return f"{text}: values differ (install casstore[numpy] to see how much)"
    if not difference.compared:
        return text
    if not difference.differing:
        if old.shape == new.shape:
            return f"{text}: equal values in other bytes (signs of zeros, or NaN)"
        return f"{text}: the first {difference.compared:,} values are equal"
    text += f": {difference.differing:,} of {difference.compared:,} values differ"
    if difference.largest is not None:
        text += f", largest difference {_number(difference.largest)}"
    if difference.nan:
        text += f", {difference.nan:,} to or from NaN"
    return text


def _number(number: float | int) -> str:
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:.6g}" if math.isfinite(number) else "infinite"


def table_parts(difference: TableDifference) -> Iterator[str]:
    """``rows 100 → 120``, ``column "x": 3 of 100 values differ``, ``column "y" added (int64)``."""
    told = False
    for part in _table_parts(difference):
        told = True
        yield part
    if not told:
        yield "equal values in other bytes"


def _table_parts(difference: TableDifference) -> Iterator[str]:
    if difference.old.rows != difference.new.rows:
        yield f"rows {difference.old.rows:,} {ARROW} {difference.new.rows:,}"
    for column in difference.columns:
        name = f"column {short_text(column.name, 40)}"
        if column.old_type != column.new_type:
            yield f"{name}: {escaped(column.old_type)} {ARROW} {escaped(column.new_type)}"
        elif column.differing is None:
            yield f"{name}: values differ"
        else:
            yield f"{name}: {column.differing:,} of {column.compared:,} values differ"
    for added, kind in difference.added:
        yield f"column {short_text(added, 40)} added ({escaped(kind)})"
    for removed, _ in difference.removed:
        yield f"column {short_text(removed, 40)} removed"
    if difference.metadata:
        yield "metadata or order of the columns differ"
