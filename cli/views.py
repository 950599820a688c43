# SPDX-License-Identifier: MIT
"""Snapshots, ref moves and reports as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from .names import json_name
from .output import is_report, report_items
from .units import exact_size, format_count, format_duration, format_time, json_time

if TYPE_CHECKING:
    from casstore import RefMove, Snapshot, Store
    from casstore.address import Address
    from casstore.workspace import CheckoutReport, ImportReport, LeftOut
    from casstore.workspace.scanning.preflight import Survey, Suspect

SHORT_DIGITS: Final = 12
MAX_LISTED: Final = 20
"""Members of a list that text output shows; JSON has them all."""
NOTHING: Final = "-" * SHORT_DIGITS


def short_id(identity: bytes | None) -> str:
    """The first digits of an id, enough to name the snapshot; dashes for none."""
    return NOTHING if identity is None else identity.hex()[:SHORT_DIGITS]


def refs_by_id(store: Store) -> dict[Address, list[str]]:
    """Snapshot id → names of the refs that point at it."""
    names: dict[Address, list[str]] = {}
    for name, identity in store.refs.ids():
        names.setdefault(identity, []).append(name)
    return names


def first_line(message: str) -> str:
    """What a list shows of a message."""
    return message.strip().partition("\n")[0]


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """Everything a snapshot says about itself."""
    return {
        "id": snapshot.id,
        "state_id": snapshot.state_id,
        "parents": list(snapshot.parents),
        "roots": dict(snapshot.roots),
        "message": snapshot.message,
        "meta": dict(snapshot.meta),
        "time_ns": snapshot.time_ns,
        "time": json_time(snapshot.time_ns),
    }


def move_json(move: RefMove) -> dict[str, Any]:
    """One line of a ref's history."""
    return {
        "number": move.number,
        "name": move.name,
        "old": move.old,
        "new": move.new,
        "time_ns": move.time_ns,
        "time": json_time(move.time_ns),
        "actor": move.actor,
        "reason": move.reason,
    }


def move_row(move: RefMove) -> tuple[str, ...]:
    """One line of a ref's history, as cells."""
    return (
        str(move.number),
        format_time(move.time_ns),
        short_id(move.old),
        short_id(move.new),
        move.actor,
        move.reason,
    )


def left_out_json(items: Iterable[LeftOut | Suspect]) -> list[dict[str, Any]]:
    """Paths with reasons: what an import or a checkout did not keep, what looks like a secret."""
    return [{**json_name("path", item.path), "why": item.why} for item in items]


def kept_counts(report: ImportReport | CheckoutReport | Survey) -> str:
    """How many files, directories and symlinks an import or a checkout handled, or would."""
    counts = ((report.files, "file"), (report.directories, "directory"), (report.symlinks, "symlink"))
    return ", ".join(format_count(count, noun) for count, noun in counts)


def facts_of(report: object) -> Iterator[tuple[str, str]]:
    """The fields of a report as names and values: sizes in units people read, a line for each member of a list."""
    for name, item in report_items(report):
        label = name.replace("_", " ")
        if isinstance(item, Mapping):
            for key, member in item.items():
                yield f"{label} {key}", one_line(member, name)
        elif isinstance(item, list | tuple) and not is_report(item):
            yield label, f"{len(item):,}"
            yield from (("", one_line(member)) for member in item[:MAX_LISTED])
            if len(item) > MAX_LISTED:
                yield "", f"... and {len(item) - MAX_LISTED:,} more (all of them with --json)"
        else:
            yield label, one_line(item, name)


def one_line(value: object, name: str = "") -> str:
    """A value on one line; ``name`` says what it is, so that bytes and seconds get their units."""
    if is_report(value):
        items = ((field, item) for field, item in report_items(value) if item is not None and item != ())
        return ", ".join(f"{field.replace('_', ' ')} {one_line(item, field)}" for field, item in items)
    if isinstance(value, list | tuple):
        return " ".join(one_line(member) for member in value)
    return _fact(name, value)


def _fact(name: str, value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and name.endswith("bytes"):
        return exact_size(value)
    if isinstance(value, int | float) and name.endswith("seconds"):
        return format_duration(value)
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
