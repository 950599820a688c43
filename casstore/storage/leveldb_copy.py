# SPDX-License-Identifier: MIT
"""A LevelDB folder of one's own, from one that another process may be writing.

LevelDB belongs to one process, readers included; so a reader opens a copy. Nobody is asked for help:

1. read CURRENT and the MANIFEST, whose edits tell the live tables and the oldest log needed;
2. list the folder; hard-link the live tables, copy those logs in ascending order;
3. look again: if CURRENT or the MANIFEST changed, start over;
4. write the MANIFEST *as it was parsed*, then CURRENT, which makes the folder a database.

Invariant: the copy holds everything written before ``copy_index`` was called, and of what was written meanwhile a
prefix. Why that holds:

- LevelDB removes a file only after the edit that makes it needless is in the MANIFEST, so while that does not grow,
  all that it names is there. Tables never change. An edit cut short at the end is one that nobody acted on yet.
- Logs are appended to, by whole ``write`` calls, and the next log is created after the last append to the one before.
  The folder is listed *before* the first log is copied: a log that has a successor in the list is complete, and the
  last in the list is cut anywhere. LevelDB drops a record that is cut short at the end of a log. A list made later
  could hold a successor to a log that was cut, and records would be missing in the middle.
- Only live tables are linked. The folder also holds tables that the writer is writing now; the copy's recovery would
  give their numbers to tables of its own, and truncate the writer's through the link.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Final, NamedTuple

from casstore.errors import CorruptionError, InvalidInputError, LockedError, StorageError
from casstore.osfile import OsFiles
from casstore.storage.leveldb_manifest import LiveFiles, parse_manifest

MAX_MANIFEST_BYTES: Final = 64 << 20
"""LevelDB starts a new MANIFEST whenever it is opened; an edit is some hundred bytes per megabyte written."""

_TRIES: Final = 100
_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.02
_COPY_BYTES: Final = 1 << 20
_CURRENT: Final = "CURRENT"
_MANIFEST_NAME = re.compile(rb"(MANIFEST-[0-9]{6,20})\n")
_NUMBERED_NAME = re.compile(r"([0-9]{6,20})\.(ldb|sst|log)", re.ASCII)
_FILES = OsFiles()


class _Manifest(NamedTuple):
    """A MANIFEST as it was read."""

    current: bytes
    name: str
    file: tuple[int, int]
    data: bytes


def live_files(source: str) -> LiveFiles:
    """The files of the LevelDB folder ``source`` that were in use at some moment during the call.

    Raises:
        CorruptionError: There is no sound CURRENT or MANIFEST.
        LockedError: The writer was faster every time.
        StorageError: The operating system refused a read.
    """
    try:
        return parse_manifest(_read_manifest(source).data)
    except OSError as error:
        raise _refused(source, error) from error


def copy_index(source: str, target: str) -> None:
    """Makes ``target`` a LevelDB folder with what ``source`` held when the call was made, or some later state of it.

    Open the copy with ``paranoid_checks=True``: then a damaged log is an error, not a gap.

    Args:
        source: A LevelDB folder. Another process may have it open and write to it; nothing in it is changed.
        target: A folder that does not exist yet, or is empty. On the same file system, tables cost no space.

    Raises:
        CorruptionError: ``source`` is no LevelDB folder, or is damaged.
        InvalidInputError: ``target`` has something in it.
        LockedError: The writer was faster every time.
        StorageError: The operating system refused a read or a write.

    *Durability*: none; the copy is for its process. After an error ``target`` is as it was before.

    *Cost*: one link per live table, and the bytes of the MANIFEST and of the logs (at most two write buffers).
    """
    try:
        made = _make_target(target)
        try:
            _copy(source, target)
        except BaseException:
            _remove(target, os.listdir(target))
            if made:
                os.rmdir(target)
            raise
    except OSError as error:
        raise _refused(source, error) from error


def _make_target(target: str) -> bool:
    try:
        _FILES.make_folder(target)
    except FileExistsError:
        if not os.path.isdir(target) or os.listdir(target):
            message = f"{target} is not an empty folder; name one that does not exist yet"
            raise InvalidInputError(message, path=target) from None
        return False
    return True


def _copy(source: str, target: str) -> None:
    tables: set[str] = set()
    of: _Manifest | None = None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(min(_PAUSE_SECONDS * attempt, _LONGEST_PAUSE_SECONDS))
        manifest = _read_manifest(source)
        # What an earlier try linked is kept, or a large index beside a busy writer would never be done. Another
        # MANIFEST may be that of a rebuilt index, which uses the same numbers for other tables.
        if of is not None and (manifest.current, manifest.file) != (of.current, of.file):
            _remove(target, tables)
            tables.clear()
        of = manifest
        problem: CorruptionError | FileNotFoundError | None = None
        logs: list[str] = []
        try:
            _take_files(source, target, parse_manifest(manifest.data), tables, logs)
        except (CorruptionError, FileNotFoundError) as error:
            problem = error
        if _is_unchanged(source, manifest):
            if isinstance(problem, CorruptionError):
                raise _damaged(source, problem.message) from problem
            if problem is not None:
                raise problem
            _write(os.path.join(target, manifest.name), manifest.data)
            _write(os.path.join(target, _CURRENT), manifest.current)
            return
        _remove(target, logs)
    raise _busy(source)


def _read_manifest(source: str) -> _Manifest:
    """CURRENT and the MANIFEST it names."""
    current = _read_current(source)
    for _ in range(_TRIES):
        match = _MANIFEST_NAME.fullmatch(current)
        if match is None:
            raise _damaged(source, "its CURRENT names no MANIFEST")
        name = match[1].decode("ascii")
        try:
            with open(os.path.join(source, name), "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size > MAX_MANIFEST_BYTES:
                    raise _damaged(source, f"{name} is longer than {MAX_MANIFEST_BYTES} bytes")
                return _Manifest(current, name, (status.st_dev, status.st_ino), file.read(status.st_size))
        except FileNotFoundError:
            before, current = current, _read_current(source)
            if current == before:
                raise _damaged(source, f"{name} is missing") from None
    raise _busy(source)


def _read_current(source: str) -> bytes:
    try:
        with open(os.path.join(source, _CURRENT), "rb") as file:
            return file.read(64)
    except FileNotFoundError:
        raise _damaged(source, "it has no CURRENT") from None


def _is_unchanged(source: str, manifest: _Manifest) -> bool:
    if _read_current(source) != manifest.current:
        return False
    try:
        status = os.stat(os.path.join(source, manifest.name))
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == manifest.file and status.st_size == len(manifest.data)


def _take_files(source: str, target: str, live: LiveFiles, tables: set[str], logs: list[str]) -> None:
    """Links and copies into ``target``; ``tables`` and ``logs`` tell at any time what is there."""
    wanted: dict[int, str] = {}
    needed: list[tuple[int, str]] = []
    for name in os.listdir(source):
        match = _NUMBERED_NAME.fullmatch(name)
        if match is None:
            continue
        number = int(match[1])
        if match[2] != "log":
            # LevelDB, too, takes the old ending only where there is no table with the new one.
            if number in live.tables and (match[2] == "ldb" or number not in wanted):
                wanted[number] = name
        elif number >= live.log_number or number == live.previous_log_number:
            needed.append((number, name))
    missing = live.tables - wanted.keys()
    if missing:
        raise CorruptionError(f"table {min(missing)} is missing, and {len(missing) - 1} more")
    # The writer creates a log before it names it; without its log, records would be missing in silence.
    if live.log_number and all(number != live.log_number for number, _ in needed):
        raise CorruptionError(f"log {live.log_number} is missing")
    names = set(wanted.values())
    stale = tables - names
    _remove(target, stale)
    tables -= stale
    for name in names - tables:
        _link(os.path.join(source, name), os.path.join(target, name))
        tables.add(name)
    for _, name in sorted(needed):
        logs.append(name)
        _copy_file(os.path.join(source, name), os.path.join(target, name))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        # Another device, no links on this file system, too many of them, a file of another user: a copy serves as
        # well, and if that is refused, too, its error says why.
        try:
            _copy_file(source, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                _FILES.unlink(target)
            raise


def _copy_file(source: str, target: str) -> None:
    """Copies what the file holds now; what is appended meanwhile does not count, so that this ends."""
    with open(source, "rb", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        fd = _FILES.create(target)
        try:
            while left:
                data = file.read(min(left, _COPY_BYTES))
                if not data:
                    break
                _FILES.append(fd, [data])
                left -= len(data)
        finally:
            os.close(fd)


def _write(path: str, data: bytes) -> None:
    fd = _FILES.create(path)
    try:
        _FILES.append(fd, [data])
    finally:
        os.close(fd)


def _remove(folder: str, names: set[str] | list[str]) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            _FILES.unlink(os.path.join(folder, name))


def _damaged(source: str, what: str) -> CorruptionError:
    return CorruptionError(
        f"the index {source} is damaged: {what}; run `casstore repair`, or open the store for writing, which rebuilds "
        "its index",
        path=source,
    )


def _busy(source: str) -> LockedError:
    return LockedError(
        f"the index {source} changed during each of {_TRIES} tries to copy it; try again when its writer is less busy",
        path=source,
    )


def _refused(source: str, error: OSError) -> StorageError:
    return StorageError(
        f"the index {source} cannot be copied: {error}; see to its permissions and to free space, then try again",
        path=source,
    )
