# SPDX-License-Identifier: MIT
"""Changes of a directory as everybody sees them: with keys as ``store.diff`` has, and a letter each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from casstore.format.entry import EXECUTABLE, FILE
from casstore.snapshots import Change, decode_key
from casstore.workspace.part import FILES

if TYPE_CHECKING:
    from casstore import tree
    from casstore.format.entry import Entry

_PREFIX: Final = f"{FILES}/"
_SORTS: Final = {EXECUTABLE: FILE}
"""A file that may be run is still a file."""
MAX_LISTED: Final = 20
"""How many changes, or workspaces, a plan lists as text."""


def shown_changes(changes: Iterable[tree.Change]) -> tuple[Change, ...]:
    """Changes of a tree of files, as ``store.diff`` gives them: ``files/src/a.py``."""
    return tuple([Change(_PREFIX + decode_key(key), old, new) for key, old, new in changes])


def letter_of(change: Change) -> str:
    """``A`` added, ``M`` modified, ``T`` of another type (file, symlink, directory), ``D`` deleted.

    ``Change.letter`` has ``M`` for the third.
    """
    letter = change.letter
    return "T" if letter == "M" and _sort(change.old) != _sort(change.new) else letter


def change_lines(changes: Sequence[Change]) -> Iterator[str]:
    """``M src/a.py`` for each of the first 20 changes, and how many more there are."""
    for change in changes[:MAX_LISTED]:
        yield f"{letter_of(change)} {shown_path(change.key.removeprefix(_PREFIX))}"
    if len(changes) > MAX_LISTED:
        yield f"... and {len(changes) - MAX_LISTED:,} more"


def shown_path(path: str) -> str:
    """The path on one line; one that a terminal would not show as it is, quoted."""
    return path if path.isprintable() else repr(path)


def _sort(entry: Entry | None) -> int | None:
    return None if entry is None else _SORTS.get(entry.kind, entry.kind)
