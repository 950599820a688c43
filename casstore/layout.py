# SPDX-License-Identifier: MIT
"""File names inside a store. No other module makes or parses one."""

from __future__ import annotations

import os
import re
from typing import Final, NewType

SegmentId = NewType("SegmentId", int)
"""Number of a segment file, from 1."""

SUPERBLOCK: Final = "superblock"
CONFIG: Final = "config"
LOCK: Final = "lock"
INDEX: Final = "index"
NEW_INDEX: Final = "index.new"
OLD_INDEX: Final = "index.old"
SEGMENTS: Final = "segments"
OBJECTS: Final = "objects"
REFS: Final = "refs"
RESERVE: Final = "reserve"
QUARANTINE: Final = "quarantine"
READERS: Final = "readers"
WORKSPACES: Final = "workspaces"
BASES: Final = "bases"
WORKSPACE_INFO: Final = "info"
UPPER: Final = "upper"
WORK: Final = "work"

_SEGMENT_NAME = re.compile(r"([0-9]{8,10})\.seg")
_EVENT_NAME = re.compile(r"[0-9]{16}")
_OBJECT_NAME = re.compile(r"[0-9a-f]{64}")
_OBJECT_FOLDER = re.compile(r"[0-9a-f]{2}")
_STRETCH_NAME = re.compile(r"(?:segment|object)-.*")
_PIN_NAME = re.compile(r"([0-9a-f]{32})\.pin")


def segment_name(segment: int) -> str:
    """``00000001.seg`` for segment 1."""
    return f"{segment:08d}.seg"


def parse_segment_name(name: str) -> SegmentId | None:
    """The segment's number, or None where the name is not a segment's."""
    match = _SEGMENT_NAME.fullmatch(name)
    return SegmentId(int(match[1])) if match else None


def object_folders(address: bytes) -> tuple[str, str]:
    """The two folder levels of an object's file: ``("ab", "cd")``."""
    text = address[:2].hex()
    return text[:2], text[2:]


def object_path(address: bytes) -> str:
    """``objects/ab/cd/<60 hex digits>`` for an object of the file-per-object backend."""
    text = address.hex()
    return os.path.join(OBJECTS, text[:2], text[2:4], text[4:])


def parse_object_path(first: str, second: str, name: str) -> bytes | None:
    """The address that a file under ``objects/`` stands for, or None where it is none."""
    if len(first) == len(second) == 2 and _OBJECT_NAME.fullmatch(first + second + name):
        return bytes.fromhex(first + second + name)
    return None


def is_object_folder(name: str) -> bool:
    """Whether a name below ``objects/`` is the first level of objects' files."""
    return _OBJECT_FOLDER.fullmatch(name) is not None


def event_name(number: int) -> str:
    """File name of event ``number`` in ``refs/`` (file-per-object backend)."""
    return f"{number:016d}"


def parse_event_name(name: str) -> int | None:
    """The event's number, or None where the name is not an event's."""
    return int(name) if _EVENT_NAME.fullmatch(name) else None


def pin_name(pin: str) -> str:
    """File name of a reader's pin: 32 hex digits and ``.pin``; its index copy is the folder of the digits alone."""
    return f"{pin}.pin"


def parse_pin_name(name: str) -> str | None:
    """The pin's 32 hex digits, or None where the name is not a pin's."""
    match = _PIN_NAME.fullmatch(name)
    return match[1] if match else None


def stretch_name(segment: int, start: int, end: int) -> str:
    """File name in ``quarantine/`` of what lay damaged in a segment, from offset ``start`` to ``end``."""
    return f"segment-{segment:08d}-{start}-{end}"


def object_name(address: bytes) -> str:
    """File name in ``quarantine/`` of a damaged object's file (file-per-object backend)."""
    return f"object-{address.hex()}"


def holds_records(name: str) -> bool:
    """Whether a file of that name in ``quarantine/`` may have been records of the store, events among them."""
    return _STRETCH_NAME.fullmatch(name) is not None
