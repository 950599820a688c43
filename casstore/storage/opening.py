# SPDX-License-Identifier: MIT
"""Making and opening a store's folder: superblock, lock, recovery, and the right backend."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import casstore.layout as layout
from casstore.chunking import Chunker, load_kernel
from casstore.compression import decompress
from casstore.config import DEFAULT_CHUNK_BYTES, Config
from casstore.errors import (
    CasstoreError,
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from casstore.format.settings import Settings, decode_settings, encode_settings
from casstore.format.superblock import (
    BACKEND_NAMES,
    DELTAS,
    FILES_BACKEND,
    SEGMENTS_BACKEND,
    Superblock,
    decode_superblock,
    encode_superblock,
)
from casstore.osfile import OsFiles
from casstore.storage.index import LevelIndex
from casstore.storage.indexed import IndexedBackend
from casstore.storage.lock import FileLock
from casstore.storage.quota import effective
from casstore.storage.readers import ReaderCopy
from casstore.storage.recovery import Recovered, open_index
from casstore.storage.reserve import Reserve, is_full
from casstore.storage.segment_backend import SegmentBackend
from casstore.storage.segment_files import SegmentFiles
from casstore.storage.storage import Storage

MEMORY = ":memory:"


@dataclass(slots=True)
class OpenStorage:
    """An opened store below its façade; ``close`` gives everything back in order."""

    storage: Storage
    superblock: Superblock
    settings: Settings
    path: str
    files: OsFiles
    lock: FileLock | None = None
    copy: ReaderCopy | None = None
    recovered: Recovered | None = None
    """What this opening had to make anew; None where it found everything in order."""

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked child, which owns nothing."""
        return bool((self.lock and self.lock.forked) or (self.copy and self.copy.forked))

    def save_settings(self, settings: Settings) -> None:
        """Makes ``settings`` those of the store, durably.

        Raises:
            StorageError: They could not be written; those from before hold.
        """
        if self.path != MEMORY:
            path = os.path.join(self.path, layout.CONFIG)
            try:
                # On a full disk, too: a setting may be what lets a collection free anything.
                with self.storage.backend.freeing():
                    self.files.replace_file(path, encode_settings(settings))
            except OSError as error:
                raise StorageError(f"the settings could not be saved ({error}); free space.", path=path) from error
        self.settings = settings
        self.storage.backend.max_bytes = effective(settings.max_bytes, self.storage.config.max_bytes)

    def close(self) -> None:
        """Syncs and closes; the lock goes last."""
        try:
            self.storage.close()
        finally:
            if self.copy is not None:
                self.copy.release()
            if self.lock is not None:
                self.lock.release()


def is_store(path: str) -> bool:
    """Whether a folder holds a store, be it one that lost its superblock."""
    return os.path.isfile(os.path.join(path, layout.SUPERBLOCK)) or lacks_superblock(path)


def lacks_superblock(path: str) -> bool:
    """Whether a folder holds what a store keeps, and no superblock: none must be made over it as if it were new."""
    if os.path.lexists(os.path.join(path, layout.SUPERBLOCK)):
        return False
    return bool(SegmentFiles(path).on_disk()) or holds_objects(path)


def holds_objects(path: str) -> bool:
    """Whether a folder holds objects of a store with a file per object."""
    objects = os.path.join(path, layout.OBJECTS)
    try:
        return any(layout.is_object_folder(name) for name in os.listdir(objects))
    except (FileNotFoundError, NotADirectoryError):
        return False


def make_store(path: str, config: Config, files: OsFiles, timeout: float = 0.0) -> None:
    """Makes an empty store in a new or empty folder; where another process is quicker, its store is left as it is.

    The superblock is written last: a folder without one is no store, so a crash before leaves nothing half-made.

    Raises:
        InvalidInputError: The folder holds something else.
        LockedError: Another process is making it, for longer than ``timeout`` seconds.
        StorageError: It could not be made.
    """
    block = _new_superblock(config)
    # Fails loudly now rather than at the first large file: a store is no use without the compiled chunker.
    load_kernel()
    superblock = os.path.join(path, layout.SUPERBLOCK)
    try:
        if not os.path.isdir(path):
            with contextlib.suppress(FileExistsError):
                files.make_folder(path)
        foreign = [name for name in os.listdir(path) if name not in _MAKING]
        if foreign and not os.path.lexists(superblock):
            raise InvalidInputError(
                f"{path} is not a store and not empty (it holds {foreign[0]!r}); name an empty or a new folder.",
                path=path,
            )
        # Or two processes that make it at once would replace each other's superblock, even under a writer.
        lock = FileLock(os.path.join(path, layout.LOCK), timeout)
        try:
            if not os.path.lexists(superblock):
                _make_parts(path, block, files)
        finally:
            lock.release()
    except OSError as error:
        raise StorageError(f"the store {path} cannot be made ({error.strerror}).", path=path) from error


def _make_parts(path: str, block: Superblock, files: OsFiles) -> None:
    names = [layout.READERS, layout.WORKSPACES]
    names += [layout.SEGMENTS] if block.backend == SEGMENTS_BACKEND else [layout.OBJECTS, layout.REFS]
    for name in names:
        with contextlib.suppress(FileExistsError):
            files.make_folder(os.path.join(path, name))
    files.replace_file(os.path.join(path, layout.SUPERBLOCK), encode_superblock(block))
    files.sync_folder(os.path.dirname(os.path.abspath(path)))


_MAKING = {
    layout.READERS,
    layout.WORKSPACES,
    layout.SEGMENTS,
    layout.OBJECTS,
    layout.REFS,
    layout.CONFIG,
    layout.LOCK,
    f"{layout.CONFIG}.tmp",
    f"{layout.SUPERBLOCK}.tmp",
}


@contextlib.contextmanager
def _closed_unless_done(index: LevelIndex) -> Iterator[None]:
    """Closes the index where the block raises; LevelDB would keep it locked for the next try."""
    try:
        yield
    except BaseException:
        index.close(clean=False)
        raise


def _new_superblock(config: Config) -> Superblock:
    low, average, high = DEFAULT_CHUNK_BYTES
    if config.chunk_avg_bytes is not None:
        low, average, high = config.chunk_avg_bytes // 4, config.chunk_avg_bytes, config.chunk_avg_bytes * 4
    block = Superblock(
        store_id=os.urandom(16),
        created_ns=time.time_ns(),
        backend=FILES_BACKEND if config.backend == "files" else SEGMENTS_BACKEND,
        chunk_min_bytes=config.chunk_min_bytes or low,
        chunk_avg_bytes=average,
        chunk_max_bytes=config.chunk_max_bytes or high,
        features=0 if config.deltas is False else DELTAS,
    )
    Chunker(block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
    return block


def new_superblock(backend: int) -> Superblock:
    """A superblock for a store whose own is lost: how contents were cut so far plays no part in reading them."""
    low, average, high = DEFAULT_CHUNK_BYTES
    return Superblock(
        store_id=os.urandom(16),
        created_ns=time.time_ns(),
        backend=backend,
        chunk_min_bytes=low,
        chunk_avg_bytes=average,
        chunk_max_bytes=high,
        features=DELTAS,
    )


def read_superblock(path: str) -> Superblock:
    """What the folder's superblock says.

    Raises:
        NotFoundError: The folder is not a store.
        CorruptionError: It is one, and its superblock is damaged.
        FormatVersionError: A store of a later format.
    """
    try:
        with open(os.path.join(path, layout.SUPERBLOCK), "rb") as file:
            data = file.read(4096)
    except (FileNotFoundError, NotADirectoryError):
        if lacks_superblock(path):
            raise CorruptionError(
                f"the store {path} has no superblock any more; run `casstore repair`, which says what can be done.",
                path=os.path.join(path, layout.SUPERBLOCK),
            ) from None
        raise NotFoundError(f"{path} is not a store; make one with `casstore init`.", path=path) from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}).", path=path) from None
    try:
        return decode_superblock(data)
    except CorruptionError:
        raise CorruptionError(
            f"the superblock of {path} is damaged; run `casstore repair`, or bring the file `superblock` back from a "
            "copy of this store.",
            path=os.path.join(path, layout.SUPERBLOCK),
        ) from None


def _check_format(config: Config, block: Superblock) -> None:
    for name, wanted, is_so in (
        ("backend", config.backend, BACKEND_NAMES[block.backend]),
        ("chunk_min_bytes", config.chunk_min_bytes, block.chunk_min_bytes),
        ("chunk_avg_bytes", config.chunk_avg_bytes, block.chunk_avg_bytes),
        ("chunk_max_bytes", config.chunk_max_bytes, block.chunk_max_bytes),
        ("deltas", config.deltas, bool(block.features & DELTAS)),
    ):
        if wanted is not None and wanted != is_so:
            raise InvalidInputError(f"{name} of this store is {is_so!r}, fixed when it was made; leave it out.")


def _read_settings(path: str) -> Settings:
    try:
        with open(os.path.join(path, layout.CONFIG), "rb") as file:
            return decode_settings(file.read(1024 * 1024))
    except FileNotFoundError:
        return Settings()
    except CorruptionError as error:
        raise CorruptionError(
            f"{error} Or run `casstore repair`, which sets it aside.", path=os.path.join(path, layout.CONFIG)
        ) from None


def open_memory(config: Config) -> OpenStorage:
    """A store without a disk."""
    from casstore.storage.memory_backend import MemoryBackend

    block = _new_superblock(config)
    chunker = Chunker(block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
    backend = MemoryBackend()
    backend.max_bytes = config.max_bytes
    storage = Storage(backend, chunker, config, deltas=bool(block.features & DELTAS))
    return OpenStorage(storage, block, Settings(), MEMORY, OsFiles())


def _read_to_read(path: str, config: Config) -> Superblock:
    block = read_superblock(path)
    _check_format(config, block)
    return block


def _read_to_write(path: str, config: Config) -> Superblock:
    block = _read_to_read(path, config)
    if block.write_features:
        raise FormatVersionError(
            f"writers of this store need features {block.write_features:#x} that this casstore lacks; "
            "open it read-only, or install a later one.",
            path=path,
        )
    return block


def open_storage(
    path: str, *, read_only: bool, timeout: float, config: Config, files: OsFiles, lock: FileLock | None = None
) -> OpenStorage:
    """Opens an existing store; ``lock`` is the writer's, where the caller holds it: the opening owns it from then on.

    Raises:
        NotFoundError: ``path`` is not a store.
        LockedError: Another process writes it (not for ``read_only``).
        CorruptionError, FormatVersionError: It cannot be read by this version.
    """
    if sys.platform == "win32":
        raise StorageError("casstore runs on Linux and macOS; it needs flock and pread.")
    block = _read_to_read(path, config) if read_only else _read_to_write(path, config)
    chunker = Chunker(block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
    copy: ReaderCopy | None = None
    recovered: list[Recovered] = []
    try:
        settings = _read_settings(path)
        if read_only:
            copy = ReaderCopy(path)
            backend = _reading_backend(path, block, files, config, copy)
        else:
            lock = lock or FileLock(os.path.join(path, layout.LOCK), timeout)
            if config.sync == "full":
                # Who made or migrated the store may have been killed between the superblock's rename and this.
                files.sync_folder(path)
            # Who had the lock before may have migrated the store, or configured it.
            block, settings = _read_to_write(path, config), _read_settings(path)
            backend = _writing_backend(path, block, files, config, recovered)
    except BaseException as error:
        if copy is not None:
            copy.release()
        if lock is not None:
            lock.release()
        if isinstance(error, OSError) and not isinstance(error, CasstoreError):
            raise StorageError(f"the store {path} cannot be opened ({error}).", path=path) from error
        raise
    backend.max_bytes = effective(settings.max_bytes, config.max_bytes)
    storage = Storage(backend, chunker, config, deltas=bool(block.features & DELTAS))
    return OpenStorage(storage, block, settings, path, files, lock, copy, recovered[0] if recovered else None)


def _reading_backend(path: str, block: Superblock, files: OsFiles, config: Config, copy: ReaderCopy) -> IndexedBackend:
    try:
        index = LevelIndex(copy.index_path, paranoid=True, origin=os.path.join(path, layout.INDEX))
    except StorageError as error:
        if not is_full(error):
            raise
        copy.move_elsewhere()
        index = LevelIndex(copy.index_path, paranoid=True, origin=os.path.join(path, layout.INDEX))
    with _closed_unless_done(index):
        return _backend(path, block, index, files, config, None, read_only=True)


def _writing_backend(
    path: str, block: Superblock, files: OsFiles, config: Config, recovered: list[Recovered]
) -> IndexedBackend:
    """The backend, recovered; with what is held back for it where the disk is full. The lock is held.

    ``recovered`` gets what was made anew.
    """
    sync = config.sync == "full"
    if block.backend == FILES_BACKEND:
        from casstore.storage.file_backend import open_file_index

        index = open_file_index(path, decompress, sync=sync, files=files, tell=recovered.append)
        with _closed_unless_done(index):
            return _backend(path, block, index, files, config, None)
    reserve = Reserve(path, files)
    if reserve.held_bytes and not reserve.has_room():
        # Before LevelDB is opened: it begins to compact at once, and one refusal ends all its writing.
        reserve.release()
    while True:
        try:
            index = open_index(path, files, decompress, sync=sync, tell=recovered.append)
            with _closed_unless_done(index):
                return _backend(path, block, index, files, config, reserve)
        except (CasstoreError, OSError) as error:
            # LevelDB's recovery turns its logs into tables; all that it left half-made, it removes the next time.
            if not is_full(error) or not reserve.release():
                raise


def _backend(
    path: str,
    block: Superblock,
    index: LevelIndex,
    files: OsFiles,
    config: Config,
    reserve: Reserve | None,
    *,
    read_only: bool = False,
) -> IndexedBackend:
    sync = config.sync == "full"
    if block.backend == FILES_BACKEND:
        from casstore.storage.file_backend import FileBackend

        return FileBackend(path, index, files, decompress, read_only=read_only, sync=sync)
    size = config.segment_bytes
    return SegmentBackend(path, index, files, segment_bytes=size, read_only=read_only, sync=sync, reserve=reserve)
