# SPDX-License-Identifier: MIT
"""Config: what may be said when a store is made or opened.

Format fields (backend and chunking) are fixed at ``init`` and live in the superblock; ``None`` means "as the store
says", or the default for a new one. The other fields hold for one opening only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

from casstore.errors import InvalidInputError

MIB: Final = 1024 * 1024
DEFAULT_CHUNK_BYTES: Final = (2048, 8192, 32768)
"""Minimum, average and maximum; docs/design/004-chunk-size.md has the measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How to make or open a store.

    Attributes:
        backend: ``"segments"`` or ``"files"`` (a file per object, slow and plain). Fixed at init.
        chunk_min_bytes: Smallest chunk that FastCDC cuts. Fixed at init.
        chunk_avg_bytes: Average chunk, a power of two. Fixed at init.
        chunk_max_bytes: Largest chunk. Fixed at init.
        deltas: Whether contents may be stored against the version before them. Fixed at init; on for new stores.
        cache_bytes: Bound of the hot cache; decoded tree nodes get a quarter of it.
        pending_bytes: Bound of values that branches hold in memory before they are spilled.
        threads: Threads that compress and read ahead; ``None`` is one less than there are processors, 1 to 4.
        sync: ``"full"`` keeps every promise of durability; ``"off"`` waives them all (for tests).
        segment_bytes: Size at which a new segment is begun.
        compression_level: zstandard level, 1 to 19; a bulk import whose reader would have to wait takes level 1.
        max_bytes: Quota of this opening; where the store's own is stricter, that one holds.
        actor: Who is named in the history of refs; ``None`` is the operating system's user.
    """

    backend: Literal["segments", "files"] | None = None
    chunk_min_bytes: int | None = None
    chunk_avg_bytes: int | None = None
    chunk_max_bytes: int | None = None
    deltas: bool | None = None
    cache_bytes: int = 64 * MIB
    pending_bytes: int = 64 * MIB
    threads: int | None = None
    sync: Literal["full", "off"] = "full"
    segment_bytes: int = 32 * MIB
    compression_level: int = 6
    max_bytes: int | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        _check(self.backend in (None, "segments", "files"), "backend", self.backend, "'segments' or 'files'")
        _check(self.deltas is None or type(self.deltas) is bool, "deltas", self.deltas, "True or False")
        _check(self.sync in ("full", "off"), "sync", self.sync, "'full' or 'off'")
        for name in ("chunk_min_bytes", "chunk_avg_bytes", "chunk_max_bytes"):
            value = getattr(self, name)
            _check(value is None or _within(value, 64, 8 * MIB), name, value, "64 bytes to 8 MiB")
        _check(self.actor is None or type(self.actor) is str, "actor", self.actor, "a name")
        _check(_within(self.cache_bytes, 0, 2**50), "cache_bytes", self.cache_bytes, "0 bytes or more")
        _check(_within(self.pending_bytes, 0, 2**50), "pending_bytes", self.pending_bytes, "0 bytes or more")
        _check(self.threads is None or _within(self.threads, 1, 256), "threads", self.threads, "1 to 256")
        _check(_within(self.segment_bytes, 4096, 2**31), "segment_bytes", self.segment_bytes, "4 KiB to 2 GiB")
        quota = self.max_bytes
        _check(quota is None or _within(quota, 0, 2**62 - 1), "max_bytes", quota, "0 bytes or more, or None")
        _check(_within(self.compression_level, 1, 19), "compression_level", self.compression_level, "1 to 19")

    @property
    def thread_count(self) -> int:
        """Threads to use beside the caller's: ``threads``, or one less than there are processors, up to 4."""
        return self.threads or max(1, min(4, (os.cpu_count() or 1) - 1))


def _within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _check(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise InvalidInputError(f"{name} is {value!r}; give {wanted}.")
