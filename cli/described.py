# SPDX-License-Identifier: MIT
"""Entries, changes and conflicts in few words, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casstore.address import content_address
from casstore.format.entry import DIRECTORY, KIND_NAMES, SNAPSHOT

from .entries import entry_json
from .names import display_key, json_name
from .units import format_count, format_size

if TYPE_CHECKING:
    from casstore import Change
    from casstore.address import Address
    from casstore.branches import Conflict
    from casstore.format.entry import Entry


def entry_words(entry: Entry | None) -> str:
    """``file, 12 B``; a dash for nothing."""
    if entry is None:
        return "-"
    kind = KIND_NAMES[entry.kind]
    if entry.type_id:
        kind = f"{kind} {entry.type_id}"
    return kind if entry.kind in (DIRECTORY, SNAPSHOT) else f"{kind}, {format_size(entry.size)}"


def content_address_of(entry: Entry | None) -> Address | None:
    """The address of the content, as ``b3sum`` prints it, also where it is inline; None for what has no bytes."""
    if entry is None or entry.kind in (DIRECTORY, SNAPSHOT):
        return None
    return entry.address if entry.inline is None else content_address(entry.inline)


def change_json(change: Change) -> dict[str, Any]:
    """A change as ``diff --json`` shows it."""
    return {
        "letter": change.letter,
        **json_name("key", change.key),
        "old": entry_json(change.old),
        "new": entry_json(change.new),
    }


def conflict_row(conflict: Conflict) -> tuple[str, ...]:
    """Kind, key, and what the base and each side have there, as cells."""
    sides = (_side_words(conflict, side) for side in (conflict.ours, conflict.theirs))
    return (conflict.kind, display_key(conflict.key), entry_words(conflict.base), *sides)


def _side_words(conflict: Conflict, entry: Entry | None) -> str:
    if entry is None and conflict.kind == "path":
        return f"directory of {format_count(len(conflict.below), 'key')}"
    return "deleted" if entry is None and conflict.base is not None else entry_words(entry)


def conflict_json(conflict: Conflict) -> dict[str, Any]:
    """A conflict with what the base and each side have; ``below`` are the keys of a directory in a file's place."""
    return {
        "kind": conflict.kind,
        **json_name("key", conflict.key),
        "base": entry_json(conflict.base),
        "ours": entry_json(conflict.ours),
        "theirs": entry_json(conflict.theirs),
        "below": [json_name("key", key) for key in conflict.below],
    }
