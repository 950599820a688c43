# SPDX-License-Identifier: MIT
"""Objects by field: what ``cat`` and ``diff`` need of the library's descriptions, with failures kept to one object.

An object that cannot be shown is reported where it stands, the others follow, and the exit code says so at the end.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from casstore.errors import CorruptionError, FactoryError, InvalidInputError, NotFoundError
from casstore.format.entry import OBJECT, SNAPSHOT

from .documents import DocumentChange, document_fields
from .errors import EXIT_CODES
from .names import display_key
from .views import MAX_LISTED, SHORT_DIGITS

if TYPE_CHECKING:
    from casstore import Change, Store
    from casstore.codecs.describe import Content, DescribedChange
    from casstore.codecs.field_changes import Limits
    from casstore.format.entry import Entry

MAX_JSON_FIELDS: Final = 1000
"""Changes of one object that JSON has without ``--all``."""
MAX_COUNTED: Final = 10_000
"""Changes of one object that are counted without ``--all``."""
MAX_JSON_BYTES: Final = 64 * 1024
"""Of the values of one object's changes, without ``--all``."""
PIPE_WIDTH: Final = 200
"""Characters of a line where no terminal says how many it has."""
_SHOWN: Final = (CorruptionError, FactoryError, InvalidInputError, NotFoundError)


class Failures:
    """What could not be shown. The exit code is that of damage, else that of the first failure."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: list[str] = []

    def add(self, error: Exception) -> dict[str, Any]:
        """Remembers a failure; as JSON says it."""
        kind: str = getattr(error, "kind", "error")
        self._kinds.append(kind)
        return {"kind": kind, "message": str(error)}

    def exit(self) -> None:
        """Ends the command with an exit code where something failed."""
        if not self._kinds:
            return
        import click

        kind = "corruption" if "corruption" in self._kinds else self._kinds[0]
        raise click.exceptions.Exit(EXIT_CODES.get(kind, 1))


def shown_errors() -> tuple[type[Exception], ...]:
    """Errors that concern one object; all others end the command."""
    return _SHOWN


def line_width(show_all: bool) -> int | None:
    """Characters that a line may take; None: any number."""
    if show_all:
        return None
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else PIPE_WIDTH


def is_object(entry: Entry | None) -> bool:
    """Whether an entry is a Python value whose bytes can be looked into."""
    from casstore.codecs.members import is_members

    return entry is not None and entry.kind == OBJECT and not is_members(entry)


def content_of(store: Store, entry: Entry) -> Content:
    """The content of an object, to be opened when it is read."""
    from casstore.codecs.describe import Content

    def opened() -> BinaryIO:
        if entry.address is None:
            return io.BytesIO(entry.inline or b"")
        return store.open_content(entry.address)

    return Content(entry.type_id, entry.type_version, entry.size, opened)


def entry_text(entry: Entry) -> str:
    """``json version 1, 54 B``; the short id of a snapshot."""
    from casstore.codecs.describe_text import type_text
    from casstore.codecs.members import is_members

    from .units import format_size

    if entry.kind == SNAPSHOT and entry.address is not None:
        return f"snapshot {entry.address.hex()[:SHORT_DIGITS]}"
    if is_members(entry):
        return "members"
    return f"{type_text(entry.type_id, entry.type_version)}, {format_size(entry.size)}"


def changed_fields(store: Store, change: Change | DocumentChange, limit: int | None) -> Iterator[DescribedChange]:
    """What differs between the two values of an object that is in both states."""
    from casstore.codecs.describe import content_changes

    if isinstance(change, DocumentChange):
        return document_fields(store, change, limit)
    old, new = change.old, change.new
    if not (old is not None and new is not None and is_object(old) and is_object(new)):
        return iter(())
    return content_changes(content_of(store, old), content_of(store, new), limits_for(limit), max_bytes=limit)


def limits_for(limit: int | None) -> Limits:
    """Bounds for comparing contents of up to so many bytes; None: the defaults."""
    from casstore.codecs.field_changes import Limits

    # Whoever raises the limit for bytes means the values, too; there are no more values than bytes.
    return Limits() if limit is None else Limits(max_values=max(Limits().max_values, 2 * limit + 2))


def _type_lines(change: Change) -> Iterator[str]:
    """How the types of the two values differ, or what they are where one has no fields."""
    from casstore.codecs.describe_text import ARROW, escaped

    old, new = change.old, change.new
    if old is None or new is None:
        return
    if not (is_object(old) and is_object(new)):
        yield f"{entry_text(old)} {ARROW} {entry_text(new)}"
        return
    if old.type_id != new.type_id:
        yield f"type {escaped(old.type_id)} {ARROW} {escaped(new.type_id)}"
    elif old.type_version != new.type_version and not old.type_id.startswith("struct:"):
        yield f"version {old.type_version} {ARROW} {new.type_version}"


def change_lines(
    store: Store, change: Change | DocumentChange, failures: Failures, *, limit: int | None, show_all: bool
) -> Iterator[str]:  # fmt: skip
    """``step 3 → 4`` and so on, for an object or a document that is in both states, without its key."""
    from casstore.codecs import describe_text

    old, new = change.old, change.new
    if old is None or new is None:
        return
    if not isinstance(change, DocumentChange):
        yield from _type_lines(change)
        if not (is_object(change.old) and is_object(change.new)):
            return
    prefix = len(display_key(change.key)) + 4
    width = line_width(show_all)
    left = None if width is None else width - prefix
    shown = more = 0
    most = ""
    try:
        for described in changed_fields(store, change, limit):
            if show_all or shown < MAX_LISTED:
                yield from describe_text.change_lines(described, left)
                shown += 1
            elif shown + more < MAX_COUNTED:
                more += 1
            else:
                most = "more than "
                break
    except _SHOWN as error:
        failures.add(error)
        yield f"cannot be shown: {error}"
    if more:
        yield f"… and {most}{more:,} more (all of them with --all)"


def changes_json(
    store: Store, change: Change | DocumentChange, failures: Failures, *, limit: int | None, show_all: bool
) -> dict[str, Any]:  # fmt: skip
    """``fields``, how many there are, whether they are cut; ``error`` where they cannot be told."""
    from casstore.codecs.describe import difference_of
    from casstore.codecs.describe_json import JsonValues

    values = JsonValues(None if show_all else MAX_JSON_BYTES)
    fields: list[dict[str, Any]] = []
    total = 0
    made: dict[str, Any] = {}
    try:
        for described in changed_fields(store, change, limit):
            if total == MAX_COUNTED and not show_all:
                values.truncated = True
                break
            total += 1
            if show_all or len(fields) < MAX_JSON_FIELDS:
                fields.append(values.change(described, difference_of(described)))
    except _SHOWN as error:
        made["error"] = failures.add(error)
    truncated = values.truncated or total > len(fields)
    return {"fields": fields, "fields_total": total, "truncated": truncated, **made}
