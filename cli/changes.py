# SPDX-License-Identifier: MIT
"""Changes of a directory: a letter and a path each, their totals, and JSON of the form that ``diff`` has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .entries import entry_json
from .names import json_name

if TYPE_CHECKING:
    from casstore import Change

    from .session import Call

_WORDS: Final = {"A": "added", "M": "modified", "T": "of another type", "D": "deleted"}


def change_line(change: Change) -> str:
    """``M src/a.py``."""
    return f"{_letter(change)} {change.key.removeprefix('files/')}"


def listed_json(change: Change) -> dict[str, Any]:
    """A change as ``diff --json`` shows it."""
    return {
        "letter": _letter(change),
        **json_name("key", change.key),
        "old": entry_json(change.old),
        "new": entry_json(change.new),
    }


def totals(changes: Iterable[Change], metadata: int = 0) -> str:
    """``2 added, 1 deleted``; ``nothing changed`` for none. ``metadata`` counts paths of which that alone changed."""
    counts = dict.fromkeys(_WORDS, 0)
    for change in changes:
        counts[_letter(change)] += 1
    words = [f"{count:,} {_WORDS[letter]}" for letter, count in counts.items() if count]
    if metadata:
        words.append(f"{metadata:,} with other metadata")
    return ", ".join(words) or "nothing changed"


def metadata_line(path: str) -> str:
    """``m src/a.py``: of a path whose metadata alone changed."""
    return f"m {path}"


def metadata_json(paths: Iterable[str]) -> list[dict[str, Any]]:
    """Paths whose metadata alone changed."""
    return [json_name("path", path) for path in paths]


def print_changes(call: Call, changes: Sequence[Change], metadata: Sequence[str] = (), *, most: int) -> None:
    """A line for each of the first ``most`` changes, those of metadata last, and how many more there are."""
    for change in changes[:most]:
        call.out.line(change_line(change))
    left = max(most - len(changes), 0)
    for path in metadata[:left]:
        call.out.line(metadata_line(path))
    more = len(changes) + len(metadata) - most
    if more > 0:
        call.out.line(f"... and {more:,} more (all of them with --json)")


def _letter(change: Change) -> str:
    from casstore.workspace.shown import letter_of

    return letter_of(change)
