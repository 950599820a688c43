# SPDX-License-Identifier: MIT
"""The hot cache: verified contents and nodes, least recently used first to go, bounded in bytes."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from typing import Any, Final

from cachetools import LRUCache

ENTRY_OVERHEAD_BYTES: Final = 512
"""What an entry takes beside its value: key, dict slots, order links (tracemalloc: 310 while it fills, 560 full)."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Figures of a cache since it was made; ``bytes`` is what it holds now, overhead counted."""

    hits: int
    misses: int
    evictions: int
    entries: int
    bytes: int
    max_bytes: int


class _Lru(LRUCache[bytes, Any]):
    evictions = 0

    def popitem(self) -> tuple[bytes, Any]:
        self.evictions += 1
        return super().popitem()


class HotCache:
    """Address → value. Thread-safe.

    Cost: a hit is about a microsecond. A value of more than an eighth of the bound is not kept.
    """

    __slots__ = ("__weakref__", "_largest", "_lock", "_lru", "hits", "misses")

    def __init__(self, max_bytes: int) -> None:
        self._lru = _Lru(max(1, max_bytes), getsizeof=_size_of)
        self._largest = max_bytes // 8
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0
        _caches.add(self)

    def get(self, address: bytes) -> Any | None:
        """The value, or None where it is not cached."""
        with self._lock:
            try:
                value = self._lru[address]
            except KeyError:
                self.misses += 1
                return None
            self.hits += 1
            return value[0]

    def put(self, address: bytes, value: object, size: int) -> None:
        """Keeps ``value``, which takes ``size`` bytes."""
        size += ENTRY_OVERHEAD_BYTES
        if size <= self._largest:
            with self._lock:
                self._lru[address] = (value, size)

    def drop(self, address: bytes) -> None:
        """Forgets an address, if it is there."""
        with self._lock:
            self._lru.pop(address, None)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._lru.clear()

    def resize(self, max_bytes: int) -> None:
        """Changes the bound; what no longer fits goes."""
        with self._lock:
            values = list(self._lru.items())
            evictions = self._lru.evictions
            self._lru = _Lru(max(1, max_bytes), getsizeof=_size_of)
            self._lru.evictions = evictions
            self._largest = max_bytes // 8
            for address, value in values:
                if value[1] <= self._largest:
                    self._lru[address] = value

    def stats(self) -> CacheStats:
        """Figures since the cache was made."""
        with self._lock:
            lru = self._lru
            used, most = int(lru.currsize), int(lru.maxsize)
            return CacheStats(self.hits, self.misses, lru.evictions, len(lru), used, most)


_caches: weakref.WeakSet[HotCache] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held the lock; and nothing of the parent's store is served in the child.
    for cache in list(_caches):
        cache._lock = threading.Lock()
        cache._lru = _Lru(cache._lru.maxsize, getsizeof=_size_of)


os.register_at_fork(after_in_child=_after_fork_in_child)


def _size_of(value: tuple[object, int]) -> int:
    return value[1]
