# SPDX-License-Identifier: MIT
"""The hot cache: bounded in bytes that it really takes, and honest figures."""

from __future__ import annotations

import os
import threading
import tracemalloc

import casstore
from casstore.storage.hot_cache import ENTRY_OVERHEAD_BYTES, HotCache
from tests.storage.stores import noise


def test_hits_misses_and_evictions() -> None:
    size = 100 + ENTRY_OVERHEAD_BYTES
    cache = HotCache(size * 10)
    keys = [os.urandom(32) for _ in range(12)]
    for key in keys[:10]:
        assert cache.get(key) is None
        cache.put(key, key, 100)
    assert cache.get(keys[0]) == keys[0]
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.entries) == (1, 10, 0, 10)
    assert stats.bytes == stats.max_bytes == size * 10
    # The least recently used goes first: not the one that was just read.
    cache.put(keys[10], keys[10], 100)
    assert cache.get(keys[0]) == keys[0]
    assert cache.get(keys[1]) is None
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.entries) == (2, 11, 1, 10)
    cache.drop(keys[0])
    cache.drop(keys[0])
    assert cache.get(keys[0]) is None
    assert cache.stats().evictions == 1
    cache.put(keys[2], b"new", 50)
    assert cache.get(keys[2]) == b"new"
    assert cache.stats().bytes < size * 9
    cache.clear()
    assert cache.stats().entries == cache.stats().bytes == 0


def test_a_large_value_is_not_kept() -> None:
    cache = HotCache(8000)
    cache.put(b"a" * 32, "value", 1000 - ENTRY_OVERHEAD_BYTES)
    cache.put(b"b" * 32, "value", 1001 - ENTRY_OVERHEAD_BYTES)
    assert cache.get(b"a" * 32) == "value"
    assert cache.get(b"b" * 32) is None
    nothing = HotCache(0)
    nothing.put(b"a" * 32, "value", 0)
    assert nothing.get(b"a" * 32) is None


def test_resize() -> None:
    size = 100 + ENTRY_OVERHEAD_BYTES
    cache = HotCache(size * 100)
    keys = [os.urandom(32) for _ in range(50)]
    for key in keys:
        cache.put(key, key, 100)
    assert cache.resize(size * 10) == size * 40
    assert [cache.get(key) is not None for key in keys] == [False] * 40 + [True] * 10
    assert cache.stats().evictions == 40
    cache.resize(100)
    assert cache.stats().entries == 0


def test_what_was_read_last_survives_a_resize() -> None:
    size = 100 + ENTRY_OVERHEAD_BYTES
    cache = HotCache(size * 100)
    keys = [os.urandom(32) for _ in range(50)]
    for key in keys:
        cache.put(key, key, 100)
    for key in keys[:10]:
        cache.get(key)
    cache.put(keys[10], keys[10], 100)
    cache.resize(size * 11)
    assert [cache.get(key) is not None for key in keys] == [True] * 11 + [False] * 39


def test_a_bound_that_grew_is_used() -> None:
    size = 100 + ENTRY_OVERHEAD_BYTES
    cache = HotCache(size * 10)
    assert cache.resize(size * 20) == 0
    for number in range(30):
        cache.put(number.to_bytes(32, "big"), number, 100)
    stats = cache.stats()
    assert (stats.entries, stats.bytes, stats.max_bytes) == (20, size * 20, size * 20)
    # The largest value that is kept grows with it, and shrinks with it.
    cache.resize(size * 80)
    cache.put(b"a" * 32, "value", size * 10 - ENTRY_OVERHEAD_BYTES)
    assert cache.get(b"a" * 32) == "value"
    cache.resize(size * 8)
    cache.put(b"b" * 32, "value", 101)  # a byte more than an eighth
    assert cache.get(b"b" * 32) is None
    cache.resize(-1)
    assert cache.stats().max_bytes == 0


def test_others_go_on_while_a_large_cache_shrinks() -> None:
    size = 100 + ENTRY_OVERHEAD_BYTES
    count = 20_000
    cache = HotCache(size * count)
    keys = [number.to_bytes(32, "big") for number in range(count)]
    for key in keys:
        cache.put(key, key, 100)
    taken: list[int] = []

    class Counted:
        def __enter__(self) -> None:
            self.before = len(cache._entries)
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()
            taken.append(self.before - len(cache._entries))

    lock = cache._lock
    cache._lock = Counted()  # type: ignore[assignment]
    assert cache.resize(size * 100) == size * (count - 100)
    assert sum(taken) == count - 100
    assert max(taken) <= 64


def test_what_is_accounted_is_what_is_taken() -> None:
    limit = 4 * 1024 * 1024
    for size in (10, 300, 5000):
        tracemalloc.start()
        try:
            cache = HotCache(limit)
            for number in range(2 * limit // (size + ENTRY_OVERHEAD_BYTES)):
                cache.put(number.to_bytes(32, "big"), bytes([number % 256]) * size, size)
            taken = tracemalloc.get_traced_memory()[0]
            accounted = cache.stats().bytes
            assert limit * 0.9 < accounted <= limit
            assert 0.6 * accounted < taken < 1.25 * accounted, size
        finally:
            tracemalloc.stop()


def test_threads() -> None:
    cache = HotCache(100_000)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in range(3000):
            key = bytes([(seed * number) % 251]) * 32
            found = cache.get(key)
            if found is None:
                cache.put(key, key[0], 1000)
            elif found != key[0]:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    stats = cache.stats()
    assert stats.hits + stats.misses == 12_000
    assert stats.bytes <= 100_000


def test_a_store_serves_hot_contents_from_memory() -> None:
    with casstore.open(":memory:", config=casstore.Config(cache_bytes=1 << 20)) as store:
        address = store.put(noise(1, 1000))
        assert store.get(address) is store.get(address)
        assert store.storage.cache.stats().hits >= 1
        large = store.put(noise(2, 400_000))
        assert store.get(large) is not store.get(large)
    with casstore.open(":memory:", config=casstore.Config(cache_bytes=0)) as store:
        address = store.put(noise(1, 1000))
        store.get(address)
        store.get(address)
        assert store.storage.cache.stats().entries == 0
