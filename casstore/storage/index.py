# SPDX-License-Identifier: MIT
"""The index: an ordered map of byte keys in LevelDB, or in memory.

Every batch is written with ``sync=True`` and leaves its consecutive number under a key of its own. LevelDB may drop
synced batches in silence when its log is damaged; a gap in the numbers shows it, and the index is then rebuilt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import plyvel

from casstore.errors import CasstoreError, ClosedError, CorruptionError, LockedError, StorageError
from casstore.format.index_entry import BATCH, CLEAN, batch_key, decode_number, encode_number
from casstore.osfile import FOLDER_MODE

KEPT_BATCHES: Final = 131_072
"""More numbers than two write buffers of LevelDB can hold."""

WRITE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Replaying LevelDB's log costs 13 to 30 ms a MB at open, so the buffer is kept small."""

TABLE_BYTES: Final = 8 * 1024 * 1024
"""Large tables: fewer files to link, a shorter MANIFEST to parse; 13 tables for a million entries."""

MAX_OPEN_TABLES: Final = 1000
"""Never fewer than there are tables: with 64 the p99 of a get rose from 3 to 46 µs."""

BLOCK_CACHE_BYTES: Final = 8 * 1024 * 1024
"""Hardly used: LevelDB maps the first 1,000 tables, and mapped blocks that are not compressed bypass it."""

QUICK_BYTES: Final = 16 * 1024 * 1024
"""An index of up to this size is compacted whole after a collection: some 100 ms."""

_AFTER_ALL_KEYS: Final = b"\xff\xff"
_BATCH_END: Final = bytes([BATCH[0] + 1])


class Index(Protocol):
    """An ordered map of keys to values, written in atomic, durable batches."""

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or None."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All pairs whose key begins with ``prefix``, in key order, as of now."""

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Writes all changes at once; ``None`` removes a key. Durable on return, unless opened without ``sync``."""

    def write_unsynced(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Writes all changes at once, in order with all others; durable when the next ``write`` is."""

    def write_cache(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Writes what can be computed anew: all at once, but neither durable nor counted among the batches."""

    def closed_cleanly(self) -> bool:
        """Whether the last close was an orderly one, with nothing written since."""

    def batches_complete(self) -> bool:
        """Whether no batch is missing among those whose numbers are kept."""

    def tidy(self) -> None:
        """Gives back the space of what was deleted, as far as that is quick."""

    def close(self, *, clean: bool) -> None:
        """Ends the use of the index; ``clean`` says that all that was written is durable."""


class LevelIndex:
    """The index in a LevelDB folder. Thread-safe; one writer (the caller's lock) and any number of readers."""

    __slots__ = ("_db", "_db_get", "_number", "_origin", "_path", "_sync")

    def __init__(
        self,
        path: str,
        *,
        create: bool = False,
        sync: bool = True,
        paranoid: bool = False,
        origin: str | None = None,
    ) -> None:
        """Opens the folder ``path``; ``paranoid`` refuses a damaged log instead of dropping records in silence.

        ``origin`` is the folder that this one is a copy of, for what errors say.
        """
        self._sync = sync
        self._path = path
        self._origin = origin or path
        _check_process()
        if create:
            # LevelDB's files are open to everybody as far as the umask lets them be; so the folder is not.
            with suppress(FileExistsError):
                os.mkdir(path, FOLDER_MODE)
        try:
            self._db = plyvel.DB(
                path,
                create_if_missing=create,
                error_if_exists=create,
                write_buffer_size=WRITE_BUFFER_BYTES,
                max_file_size=TABLE_BYTES,
                max_open_files=MAX_OPEN_TABLES,
                lru_cache_size=BLOCK_CACHE_BYTES,
                bloom_filter_bits=10,
                compression=None,
                paranoid_checks=paranoid,
            )
        except plyvel.Error as error:
            raise _opening_error(error, path, self._origin) from None
        self._db_get = self._db.get
        try:
            self._number = self._last_number()
        except CasstoreError:
            self._db.close()
            raise

    def _last_number(self) -> int:
        with (
            self._reading(),
            self._sought(_BATCH_END, back=True),
            self._db.iterator(prefix=BATCH, include_value=False, reverse=True, verify_checksums=True) as keys,
        ):
            for key in keys:
                return decode_number(key[1:])
        return 0

    def get(self, key: bytes) -> bytes | None:
        # Unless it is told to, LevelDB compares no checksum, and a flipped bit makes an entry or a ref vanish: 2 µs.
        try:
            return self._db_get(key, verify_checksums=True)  # type: ignore[no-any-return]
        except (plyvel.Error, RuntimeError) as error:
            raise self._reading_error(error) from None

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        with (
            self._reading(),
            self._sought(prefix),
            self._db.iterator(prefix=prefix, verify_checksums=True) as pairs,
        ):
            yield from pairs

    @contextmanager
    def _sought(self, start: bytes, *, back: bool = False) -> Iterator[None]:
        """Raises where the first step of an iterator meets damage; with ``back`` that of one that goes backwards.

        LevelDB passes over what it cannot read, and plyvel's iterators ask whether it did after each step but the first
        one: a scan would end in silence, with nothing, before it began.
        """
        with self._db.raw_iterator(verify_checksums=True) as probe:
            probe.seek(start)
            if back:
                if probe.valid():
                    probe.prev()
                else:
                    probe.seek_to_last()
        yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (plyvel.Error, RuntimeError) as error:
            raise self._reading_error(error) from None

    def _reading_error(self, error: Exception) -> Exception:
        if isinstance(error, RuntimeError):
            return ClosedError("the store is closed; open it again.") if self._db.closed else error
        if not _is_damage(error):
            return StorageError(f"the index cannot be read ({_text(error)}).", path=self._path)
        return _damage(error, self._origin)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._write(changes, self._sync)

    def write_unsynced(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._write(changes, False)

    def write_cache(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._write_batch(changes, False)

    def _write(self, changes: Mapping[bytes, bytes | None], sync: bool) -> None:
        number = self._number + 1
        self._write_batch(changes, sync, number)
        self._number = number

    def _write_batch(self, changes: Mapping[bytes, bytes | None], sync: bool, number: int = 0) -> None:
        try:
            with self._db.write_batch(sync=sync) as batch:
                put, delete = batch.put, batch.delete
                for key, value in changes.items():
                    if value is None:
                        delete(key)
                    else:
                        put(key, value)
                if number:
                    put(batch_key(number), b"")
                if number > KEPT_BATCHES:
                    delete(batch_key(number - KEPT_BATCHES))
        except (plyvel.Error, RuntimeError) as error:
            if isinstance(error, RuntimeError):
                raise self._reading_error(error) from None
            raise StorageError(
                f"the index cannot be written ({_text(error)}); free space and open the store again.", path=self._path
            ) from None

    def closed_cleanly(self) -> bool:
        return bool(self.get(CLEAN) == encode_number(self._number))

    def batches_complete(self) -> bool:
        expected: int | None = None
        with (
            self._reading(),
            self._sought(BATCH),
            self._db.iterator(prefix=BATCH, include_value=False, verify_checksums=True) as keys,
        ):
            for key in keys:
                number = decode_number(key[1:])
                if number != (expected if expected is not None else max(1, self._number - KEPT_BATCHES + 1)):
                    return False
                expected = number + 1
        return True

    def tidy(self) -> None:
        try:
            self._flush()
            size = self._db.approximate_size(b"", _AFTER_ALL_KEYS)
            # The new tables lie beside the old ones for a while; where that does not fit, nothing more is written at
            # all until the store is opened again.
            if size <= QUICK_BYTES and _free_bytes(self._path) >= size + WRITE_BUFFER_BYTES:
                # With bounds: plyvel passes absent ones as two empty keys, between which there is nothing to compact.
                self._db.compact_range(start=b"\0", stop=_AFTER_ALL_KEYS)
        except (plyvel.Error, RuntimeError) as error:
            raise self._reading_error(error) from None

    def _flush(self) -> None:
        # Compacting a range without keys only turns the write buffer into a table and begins a new log.
        self._db.compact_range(start=_AFTER_ALL_KEYS, stop=_AFTER_ALL_KEYS + b"\0")

    def close(self, *, clean: bool) -> None:
        try:
            if clean:
                # The flush is synced, so the mark need not be: without it the close was no clean one, and that is true.
                self._write({CLEAN: encode_number(self._number + 1)}, False)
                # The next open replays no log.
                self._flush()
        finally:
            self._db.close()


def _free_bytes(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


_user_pid: int | None = None


def _check_process() -> None:
    """LevelDB has one thread for all its work, which a fork leaves behind: a flush in the child would wait for ever."""
    global _user_pid
    pid = os.getpid()
    if _user_pid is None:
        _user_pid = pid
    elif _user_pid != pid:
        raise StorageError(
            "this process was forked from one that had used a store, and LevelDB does not survive that; start it with "
            'multiprocessing\'s "spawn" or "forkserver".'
        )


def _opening_error(error: plyvel.Error, path: str, origin: str) -> CasstoreError:
    text = _text(error)
    if text.startswith("IO error: lock "):
        return LockedError("the index is in use by another process; open read-only.", path=path)
    if not _is_damage(error):
        return StorageError(f"the index cannot be opened ({text}).", path=path)
    return _damage(error, origin)


def _damage(error: Exception, folder: str) -> CorruptionError:
    return CorruptionError(
        f"the index is damaged ({_text(error)}); close the store everywhere and run `casstore repair`. Without it: "
        f"delete the folder {folder}, and the next opening for writing makes it anew.",
        path=folder,
    )


def _is_damage(error: Exception) -> bool:
    """Whether the folder is damaged; else the system refused something that it may allow the next time."""
    text = _text(error)
    # LevelDB says "IO error" also where a file is missing, and where a table says that it is longer than its file.
    missing = text.endswith((": No such file or directory", ": Invalid argument"))
    return missing or not isinstance(error, plyvel.IOError)


def _text(error: Exception) -> str:
    """LevelDB's words, which plyvel hands over as bytes."""
    first = error.args[0] if error.args else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(error)


class MemoryIndex:
    """The index of a store in memory; nothing in it outlives the process."""

    __slots__ = ("_pairs", "get")

    def __init__(self) -> None:
        self._pairs: dict[bytes, bytes] = {}
        self.get = self._pairs.get

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        pairs = self._pairs
        for key in sorted(key for key in list(pairs) if key.startswith(prefix)):
            value = pairs.get(key)
            if value is not None:
                yield key, value

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._pairs.pop(key, None)
            else:
                self._pairs[key] = value

    def write_unsynced(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.write(changes)

    def write_cache(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.write(changes)

    def closed_cleanly(self) -> bool:
        return True

    def batches_complete(self) -> bool:
        return True

    def tidy(self) -> None:
        pass

    def close(self, *, clean: bool) -> None:
        self._pairs.clear()
