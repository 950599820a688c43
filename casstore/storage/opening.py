# SPDX-License-Identifier: MIT
"""Making and opening a store's folder: superblock, lock, recovery, and the right backend."""

from __future__ import annotations

import contextlib
import os
import sys
import time
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
from casstore.storage.readers import ReaderCopy
from casstore.storage.recovery import open_index
from casstore.storage.segment_backend import SegmentBackend
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

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked child, which owns nothing."""
        return bool((self.lock and self.lock.forked) or (self.copy and self.copy.forked))

    def save_settings(self, settings: Settings) -> None:
        """Makes ``settings`` those of the store, durably."""
        if self.path != MEMORY:
            self.files.replace_file(os.path.join(self.path, layout.CONFIG), encode_settings(settings))
        self.settings = settings

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
    """Whether a folder holds a store."""
    return os.path.isfile(os.path.join(path, layout.SUPERBLOCK))


def make_store(path: str, config: Config, files: OsFiles) -> None:
    """Makes an empty store in a new or empty folder.

    The superblock is written last: a folder without one is no store, so a crash before leaves nothing half-made.

    Raises:
        InvalidInputError: The folder holds something else.
        StorageError: It could not be made.
    """
    block = _new_superblock(config)
    # Fails loudly now rather than at the first large file: a store is no use without the compiled chunker.
    load_kernel()
    try:
        if os.path.isdir(path):
            foreign = [name for name in os.listdir(path) if name not in _MAKING]
            if foreign:
                raise InvalidInputError(
                    f"{path} is not a store and not empty (it holds {foreign[0]!r}); name an empty or a new folder.",
                    path=path,
                )
        else:
            files.make_folder(path)
        names = [layout.READERS, layout.WORKSPACES]
        names += [layout.SEGMENTS] if block.backend == SEGMENTS_BACKEND else [layout.OBJECTS, layout.REFS]
        for name in names:
            with contextlib.suppress(FileExistsError):
                files.make_folder(os.path.join(path, name))
        files.replace_file(os.path.join(path, layout.SUPERBLOCK), encode_superblock(block))
        parent = os.path.dirname(os.path.abspath(path))
        files.sync_folder(parent)
    except OSError as error:
        raise StorageError(f"the store {path} cannot be made ({error.strerror}).", path=path) from error


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
    )
    Chunker(block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
    return block


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
        raise NotFoundError(f"{path} is not a store; make one with `casstore init`.", path=path) from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}).", path=path) from None
    try:
        return decode_superblock(data)
    except CorruptionError as error:
        error.path = os.path.join(path, layout.SUPERBLOCK)
        raise


def _check_format(config: Config, block: Superblock) -> None:
    for name, wanted, is_so in (
        ("backend", config.backend, BACKEND_NAMES[block.backend]),
        ("chunk_min_bytes", config.chunk_min_bytes, block.chunk_min_bytes),
        ("chunk_avg_bytes", config.chunk_avg_bytes, block.chunk_avg_bytes),
        ("chunk_max_bytes", config.chunk_max_bytes, block.chunk_max_bytes),
    ):
        if wanted is not None and wanted != is_so:
            raise InvalidInputError(f"{name} of this store is {is_so!r}, fixed when it was made; leave it out.")


def _read_settings(path: str) -> Settings:
    try:
        with open(os.path.join(path, layout.CONFIG), "rb") as file:
            return decode_settings(file.read(1024 * 1024))
    except FileNotFoundError:
        return Settings()


def open_memory(config: Config) -> OpenStorage:
    """A store without a disk."""
    from casstore.storage.memory_backend import MemoryBackend

    block = _new_superblock(config)
    chunker = Chunker(block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
    return OpenStorage(Storage(MemoryBackend(), chunker, config), block, Settings(), MEMORY, OsFiles())


def open_storage(path: str, *, read_only: bool, timeout: float, config: Config, files: OsFiles) -> OpenStorage:
    """Opens an existing store.

    Raises:
        NotFoundError: ``path`` is not a store.
        LockedError: Another process writes it (not for ``read_only``).
        CorruptionError, FormatVersionError: It cannot be read by this version.
    """
    if sys.platform == "win32":
        raise StorageError("casstore runs on Linux and macOS; it needs flock and pread.")
    block = read_superblock(path)
    _check_format(config, block)
    if block.write_features and not read_only:
        raise FormatVersionError(
            f"writers of this store need features {block.write_features:#x} that this casstore lacks; "
            "open it read-only, or install a later one.",
            path=path,
        )
    chunker = Chunker(block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
    lock: FileLock | None = None
    copy: ReaderCopy | None = None
    index: LevelIndex | None = None
    try:
        settings = _read_settings(path)
        if read_only:
            copy = ReaderCopy(path)
            index = LevelIndex(copy.index_path, paranoid=True)
        else:
            lock = FileLock(os.path.join(path, layout.LOCK), timeout)
            sync = config.sync == "full"
            if block.backend == SEGMENTS_BACKEND:
                index = open_index(path, files, decompress, sync=sync)
            else:
                from casstore.storage.file_backend import open_file_index

                index = open_file_index(path, decompress, sync=sync)
        backend = _backend(path, block, index, files, config, read_only)
    except BaseException as error:
        if index is not None:
            index.close(clean=False)
        if copy is not None:
            copy.release()
        if lock is not None:
            lock.release()
        if isinstance(error, OSError) and not isinstance(error, CasstoreError):
            raise StorageError(f"the store {path} cannot be opened ({error}).", path=path) from error
        raise
    return OpenStorage(Storage(backend, chunker, config), block, settings, path, files, lock, copy)


def _backend(
    path: str, block: Superblock, index: LevelIndex, files: OsFiles, config: Config, read_only: bool
) -> IndexedBackend:
    sync = config.sync == "full"
    if block.backend == FILES_BACKEND:
        from casstore.storage.file_backend import FileBackend

        return FileBackend(path, index, files, decompress, read_only=read_only, sync=sync)
    return SegmentBackend(path, index, files, segment_bytes=config.segment_bytes, read_only=read_only, sync=sync)
