# SPDX-License-Identifier: MIT
"""Changes of a directory: a letter and a path each, their totals, and JSON of the form that ``diff`` has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from casstore.format.entry import EXECUTABLE, FILE

from .entries import entry_json
from .names import json_name, key_text

if TYPE_CHECKING:
    from casstore.format.entry import Entry
    from casstore.tree import Change

    from .session import Call

_WORDS: Final = {"A": "added", "M": "modified", "T": "of another type", "D": "deleted"}
_SORTS: Final = {FILE: FILE, EXECUTABLE: FILE}  # a file that may be run is still a file


def letter_of(change: Change) -> str:
    """``A`` added, ``M`` modified, ``T`` of another type (file, symlink, directory), ``D`` deleted."""
    if change.old is None:
        return "A"
    if change.new is None:
        return "D"
    return "M" if _sort(change.old) == _sort(change.new) else "T"


def _sort(entry: Entry) -> int:
    return _SORTS.get(entry.kind, entry.kind)


def change_line(change: Change) -> str:
    """``M src/a.py``."""
    return f"{letter_of(change)} {key_text(change.key)}"


def listed_json(change: Change) -> dict[str, Any]:
    """A change as ``diff --json`` shows it."""
    return {
        "letter": letter_of(change),
        **json_name("key", f"files/{key_text(change.key)}"),
        "old": entry_json(change.old),
        "new": entry_json(change.new),
    }


def totals(changes: Iterable[Change]) -> str:
    """``2 added, 1 deleted``; ``nothing changed`` for none."""
    counts = dict.fromkeys(_WORDS, 0)
    for change in changes:
        counts[letter_of(change)] += 1
    return ", ".join(f"{count:,} {_WORDS[letter]}" for letter, count in counts.items() if count) or "nothing changed"


def print_changes(call: Call, changes: Sequence[Change], *, most: int) -> None:
    """A line for each of the first ``most`` changes, and how many more there are."""
    for change in changes[:most]:
        call.out.line(change_line(change))
    if len(changes) > most:
        call.out.line(f"... and {len(changes) - most:,} more (all of them with --json)")
