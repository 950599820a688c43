# SPDX-License-Identifier: MIT
"""Which files of a LevelDB folder are in use, according to its MANIFEST.

A MANIFEST is a log of *version edits*. An edit is a row of fields, each a tag and its values, numbers as LEB128
varints and strings behind their length::

    1 comparator name     | 2 log number        | 3 next file number | 4 last sequence number
    5 compaction pointer: level, key            | 6 table removed: level, number
    7 table added: level, number, size, smallest key, largest key    | 9 previous log number

The edits, applied in order, give the version: the tables per level, and the number of the oldest log still needed.
Invariant: arbitrary bytes give a ``LiveFiles`` or a ``CorruptionError``, in time linear in their length.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from casstore.errors import CorruptionError
from casstore.storage.leveldb_log import records

MAX_TABLES: Final = 1 << 18
"""Half a terabyte of index in LevelDB's tables of 2 MiB; a MANIFEST that names more is damaged or hostile."""

_LEVELS: Final = 7


@dataclasses.dataclass(frozen=True, slots=True)
class LiveFiles:
    """What a MANIFEST says is in use.

    Attributes:
        tables: Numbers of the tables of the current version.
        log_number: Logs with this number or a later one hold what is in no table yet.
        previous_log_number: One more log that is needed where it exists; 0 means none.
        next_file_number: Above the number of every live table.
        last_sequence: Sequence number that the newest table reaches.
    """

    tables: frozenset[int]
    log_number: int
    previous_log_number: int
    next_file_number: int
    last_sequence: int


def parse_manifest(data: bytes) -> LiveFiles:
    """The files that a MANIFEST names as in use; an edit at its end that is cut short does not count.

    Raises:
        CorruptionError: The bytes are no MANIFEST, or one that must not be acted on.
    """
    state = _State()
    for record in records(data):
        state.apply(record)
    return state.live_files()


class _State:
    """The version that the edits so far add up to."""

    __slots__ = ("_numbers", "_tables")

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._tables: set[tuple[int, int]] = set()

    def apply(self, edit: bytes) -> None:
        """Takes in one edit. Its removals come first, whatever their order: a table may move between levels."""
        end = len(edit)
        position = 0
        removed: list[tuple[int, int]] = []
        added: list[tuple[int, int]] = []
        while position < end:
            tag, position = _number(edit, position)
            if tag in (2, 3, 4, 9):
                self._numbers[tag], position = _number(edit, position)
            elif tag == 1:
                position = _skip_string(edit, position)
            elif tag == 5:
                _, position = _level(edit, position)
                position = _skip_string(edit, position)
            elif tag == 6:
                level, position = _level(edit, position)
                number, position = _number(edit, position)
                removed.append((level, number))
            elif tag == 7:
                level, position = _level(edit, position)
                number, position = _number(edit, position)
                _, position = _number(edit, position)
                position = _skip_string(edit, _skip_string(edit, position))
                added.append((level, number))
            else:
                raise CorruptionError(f"unknown field {tag} in an edit of the MANIFEST")
            if len(added) > MAX_TABLES or len(removed) > MAX_TABLES:
                raise CorruptionError(f"an edit of the MANIFEST names more than {MAX_TABLES} tables")
        self._tables.difference_update(removed)
        self._tables.update(added)
        if len(self._tables) > MAX_TABLES:
            raise CorruptionError(f"the MANIFEST names more than {MAX_TABLES} tables")

    def live_files(self) -> LiveFiles:
        """The version now."""
        numbers = self._numbers
        for tag, name in ((2, "log number"), (3, "next file number"), (4, "last sequence number")):
            if tag not in numbers:
                raise CorruptionError(f"the MANIFEST states no {name}")
        tables = frozenset(number for _, number in self._tables)
        # Whoever opens a copy writes its first table under a number from here on. Were a live table's among them, it
        # would be cut to nothing through the hard link, in the writer's folder.
        if tables and max(tables) >= numbers[3]:
            raise CorruptionError(f"the MANIFEST names table {max(tables)}, but {numbers[3]} is its next file number")
        return LiveFiles(tables, numbers[2], numbers.get(9, 0), numbers[3], numbers[4])


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A varint of at most 64 bits, and where it ends."""
    value = shift = 0
    for byte in data[position : position + 10]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
        shift += 7
    raise CorruptionError("a number in an edit of the MANIFEST is cut short or too large")


def _level(data: bytes, position: int) -> tuple[int, int]:
    level, position = _number(data, position)
    if level >= _LEVELS:
        raise CorruptionError(f"level {level} in an edit of the MANIFEST; LevelDB has {_LEVELS}")
    return level, position


def _skip_string(data: bytes, position: int) -> int:
    length, position = _number(data, position)
    if length > len(data) - position:
        raise CorruptionError("a string in an edit of the MANIFEST is cut short")
    return position + length
