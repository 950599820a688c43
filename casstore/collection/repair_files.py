# SPDX-License-Identifier: MIT
"""Mending the small files of a store: superblock, settings, registrations of workspaces."""

from __future__ import annotations

import contextlib
import os
from typing import Final

import casstore.layout as layout
from casstore.errors import CorruptionError, FormatVersionError, NotFoundError
from casstore.format.settings import decode_settings
from casstore.format.slots import newest_slot
from casstore.format.superblock import (
    FILES_BACKEND,
    SEGMENTS_BACKEND,
    SUPERBLOCK_BYTES,
    Superblock,
    decode_superblock,
    encode_superblock,
)
from casstore.format.workspace_files import Info, decode_state, is_workspace_id
from casstore.osfile import OsFiles
from casstore.storage.opening import holds_objects, lacks_superblock, new_superblock
from casstore.storage.quarantine import Quarantine

SOUND: Final = "sound"
MENDED: Final = "mended"
MADE_ANEW: Final = "made anew"
ABSENT: Final = "absent"
SET_ASIDE: Final = "set aside"
_MAX_BYTES: Final = 1024 * 1024


def mend_superblock(
    path: str, files: OsFiles, quarantine: Quarantine, *, dry_run: bool, anew: bool
) -> tuple[Superblock, str]:
    """What the superblock says, and whether it was sound, mended or made anew.

    A single wrong byte is found by trying: the digest tells the right one. Beyond that nothing else in a store says
    which features it uses, so a new one is made only on demand.

    Args:
        path: The store's folder.
        files: The way to the file system.
        quarantine: Where the damaged file goes.
        dry_run: Change nothing.
        anew: Make a new one where the old one is lost.

    Raises:
        NotFoundError: The folder is no store.
        CorruptionError: It is lost, and ``anew`` is off.
        FormatVersionError: A store of a later format.
    """
    place = os.path.join(path, layout.SUPERBLOCK)
    data: bytes | None = None
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(place, "rb") as file:
        data = file.read(4096)
    if data is None and not lacks_superblock(path):
        raise NotFoundError(f"{path} is not a store, so there is nothing to repair.", path=path)
    if data is not None:
        with contextlib.suppress(CorruptionError):
            return decode_superblock(data), SOUND
    found = None if data is None else _one_byte_wrong(data)
    state = MENDED
    if found is None:
        if not anew:
            raise CorruptionError(
                f"the superblock of {path} is lost, and nothing else says which format and features the store uses. "
                "Copy the file `superblock` from a backup of this store. If this version of casstore and no later one "
                "wrote the store, `casstore repair --new-superblock` makes a new one.",
                path=place,
            )
        files_only = holds_objects(path) and not os.path.isdir(os.path.join(path, layout.SEGMENTS))
        found = encode_superblock(new_superblock(FILES_BACKEND if files_only else SEGMENTS_BACKEND))
        state = MADE_ANEW
    if not dry_run:
        if data is not None:
            quarantine.keep(layout.SUPERBLOCK, place, 0, len(data))
        files.replace_file(place, found)
    return decode_superblock(found), state


def _one_byte_wrong(data: bytes) -> bytes | None:
    """The superblock of which one byte is wrong in ``data``, if any."""
    if len(data) != SUPERBLOCK_BYTES:
        return None
    trial = bytearray(data)
    for place, wrong in enumerate(data):
        for byte in range(256):
            trial[place] = byte
            if byte != wrong:
                with contextlib.suppress(CorruptionError):
                    # One of a later format is found, too: its digest is right, and that is refused.
                    decode_superblock(bytes(trial))
                    return bytes(trial)
        trial[place] = wrong
    return None


def mend_config(path: str, quarantine: Quarantine, *, dry_run: bool) -> str:
    """``"sound"``, ``"absent"``, or ``"set aside"`` where it is damaged: the defaults hold then."""
    place = os.path.join(path, layout.CONFIG)
    try:
        with open(place, "rb") as file:
            decode_settings(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return ABSENT
    except CorruptionError:
        if not dry_run:
            quarantine.move(layout.CONFIG, place)
        return SET_ASIDE
    return SOUND


def read_workspaces(path: str) -> tuple[list[Info], list[str]]:
    """What is known of registered directories, and the ids of those whose registration is damaged.

    A damaged one stays in place: beside it may lie what an overlay changed, and `workspace prune` keeps that only as
    long as it sees that something was there.
    """
    folder = os.path.join(path, layout.WORKSPACES)
    good: list[Info] = []
    bad: list[str] = []
    names = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(name for name in os.listdir(folder) if is_workspace_id(name))
    for name in names:
        try:
            with open(os.path.join(folder, name, layout.WORKSPACE_INFO), "rb") as file:
                slot = newest_slot(file.read(_MAX_BYTES))
            info, _ = decode_state(b"" if slot is None else slot.payload)
            if info.id == name:
                good.append(info)
            else:
                bad.append(name)
        except FileNotFoundError:
            continue
        except FormatVersionError:
            # A later casstore knows it.
            continue
        except CorruptionError:
            bad.append(name)
    return good, bad
