# SPDX-License-Identifier: MIT
"""Stores of small chunks and small segments, opened below the façade, for the tests of this folder."""

from __future__ import annotations

import os
import random

from casstore.address import Address
from casstore.config import Config
from casstore.osfile import OsFiles
from casstore.storage.opening import OpenStorage, is_store, make_store, open_storage

SMALL_CHUNKS = {"chunk_min_bytes": 64, "chunk_avg_bytes": 256, "chunk_max_bytes": 1024}


def open_small(
    path: str, *, files: OsFiles | None = None, read_only: bool = False, timeout: float = 0.0, **fields: object
) -> OpenStorage:
    """The store at ``path``, made with small chunks if there is none; ``fields`` are those of ``Config``."""
    files = files or OsFiles()
    config = Config(**{"threads": 2, "segment_bytes": 4096, "cache_bytes": 0, **fields})  # type: ignore[arg-type]
    if not is_store(path):
        making = Config(backend=config.backend, **SMALL_CHUNKS)  # type: ignore[arg-type]
        make_store(path, making, OsFiles())
    return open_storage(path, read_only=read_only, timeout=timeout, config=config, files=files)


def abandon(opened: OpenStorage) -> None:
    """Lets go of a store like a killed process: nothing is synced, nothing is closed in order."""
    backend = opened.storage.backend
    backend._index.close(clean=False)  # type: ignore[attr-defined]
    if getattr(backend, "_fd", -1) >= 0:
        os.close(backend._fd)  # type: ignore[attr-defined]
        backend._fd = -1  # type: ignore[attr-defined]
    backend._closed = "abandoned"  # type: ignore[attr-defined]
    if opened.lock is not None:
        opened.lock.release()


def noise(seed: int, size: int) -> bytes:
    """``size`` bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def record_place(opened: OpenStorage, address: Address) -> tuple[str, int, int]:
    """File, offset and length of an object's record in its segment."""
    entry = opened.storage.backend.find(address)
    assert entry is not None
    return os.path.join(opened.path, "segments", f"{entry.segment:08d}.seg"), entry.offset, entry.record_bytes


def flip(path: str, offset: int, mask: int = 1) -> None:
    """Flips bits of one byte in a file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))
