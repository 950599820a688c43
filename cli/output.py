# SPDX-License-Identifier: MIT
"""How a command prints: one JSON object, plain text in a pipe, a rich table on a terminal.

Invariant: without a terminal nothing is coloured, and rich is not even imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from .names import json_name, printable

JSON_VERSION: Final = 1


class Output:
    """The output of one run of one command."""

    __slots__ = ("_command", "as_json", "recovered")

    def __init__(self, command: str, *, as_json: bool) -> None:
        self._command = command
        self.as_json = as_json
        self.recovered: object = None
        """What opening the store had to make anew, for the JSON object; None where nothing was."""

    @property
    def terminal(self) -> bool:
        """Whether a person looks at stdout."""
        return not self.as_json and sys.stdout.isatty()

    def json(self, **fields: Any) -> None:
        """Prints the command's one JSON object."""
        import json

        click.echo(json.dumps(self._head(fields)))

    def _head(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": JSON_VERSION,
            "command": self._command,
            **plain_value(fields),
            **recovered_fields(self.recovered),
        }

    def json_stream(self, fields: Mapping[str, Any], name: str, items: Iterable[Mapping[str, Any]]) -> None:
        """Prints the command's one JSON object with a list of any length, an item per line, in bounded memory.

        The first item is fetched before anything is printed, so that most errors leave stdout empty.
        """
        import json

        iterator = iter(items)
        first = next(iterator, None)
        head = json.dumps(self._head(fields))
        write = sys.stdout.write
        write(f'{head[:-1]}, "{name}": [')
        if first is not None:
            write(f"\n{json.dumps(plain_value(first))}")
            for item in iterator:
                write(f",\n{json.dumps(plain_value(item))}")
            write("\n")
        write("]}\n")

    def line(self, text: str) -> None:
        """Prints one line of text; nothing with ``--json``."""
        if not self.as_json:
            sys.stdout.write(f"{printable(text)}\n")

    def note(self, text: str) -> None:
        """Says something to the person, on stderr; nothing with ``--json``."""
        if not self.as_json:
            click.echo(printable(text), err=True)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Prints names and values, aligned."""
        rows = list(facts)
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            self.line(f"{name + ':' if name else '':<{width + 1}} {value}".rstrip())

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Prints rows: a table on a terminal, otherwise one line per row with tabs between the cells.

        Args:
            columns: Headings; one that starts with ``>`` is aligned to the right. Shown on a terminal only.
            rows: Cells, as text.
        """
        if self.terminal:
            _rich_table(columns, rows)
            return
        for row in rows:
            sys.stdout.write("\t".join(map(printable, row)) + "\n")


def _rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False).print(table)


def recovered_fields(recovered: object) -> dict[str, Any]:
    """What a JSON object says of an opening that made something anew; nothing of one that found all in order."""
    return {} if recovered is None else {"recovered": {**plain_value(recovered), "message": str(recovered)}}


def plain_value(value: Any) -> Any:
    """``value`` as JSON can say it: bytes as hex, a dataclass as its fields, text always valid Unicode."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if value.isascii() else json_name("text", value)["text"]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(plain_value(name)): plain_value(item) for name, item in value.items()}
    if not is_report(value) and isinstance(value, list | tuple | set | frozenset | Iterator):
        return [plain_value(item) for item in value]
    if is_report(value):
        return {name: plain_value(item) for name, item in report_items(value)}
    return plain_value(str(value))


def is_report(value: object) -> bool:
    """Whether ``value`` is a dataclass or a named tuple of the library."""
    return hasattr(type(value), "__dataclass_fields__") or hasattr(type(value), "_fields")


def report_items(value: object) -> Iterator[tuple[str, Any]]:
    """Public fields of a report, then the figures that it derives from them (its properties)."""
    kind = type(value)
    for name in getattr(kind, "__dataclass_fields__", getattr(kind, "_fields", ())):
        if not name.startswith("_"):
            yield name, getattr(value, name)
    for name, member in vars(kind).items():
        if isinstance(member, property) and not name.startswith("_"):
            yield name, getattr(value, name)
