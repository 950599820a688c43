# SPDX-License-Identifier: MIT
"""Get: the time from an address to its verified content, and what other stores take for the same bytes."""

from __future__ import annotations

import os
import random
import sqlite3
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.environment import package_version
from benchmarks.options import Options
from benchmarks.scratch import scratch
from benchmarks.table import Goal, microseconds, percentiles

VALUE_BYTES = 16 * 1024
VALUES = 10_000
HOT_VALUES = 1_000
GETS = 20_000


def workload(options: Options) -> str:
    return (
        f"{VALUES:,} contents of 16 KiB, random bytes, and as many of Python source (the standard library, numbered so "
        f"that no two are equal); {GETS:,} gets in random order, one thread, timed one by one. Hot: {HOT_VALUES:,} of "
        "them in the hot cache (verified when they were read into it). Cold: the hot cache is off, every get reads the "
        "segment through the page cache and verifies the content's address. Peers get the same random bytes by the "
        "same 32-byte keys, and verify nothing."
    )


def measure(options: Options) -> list[Goal]:
    import casstore

    generator = random.Random(1)
    values = [generator.randbytes(VALUE_BYTES) for _ in range(VALUES)]
    goals: list[Goal] = []
    with scratch(options.work, "get") as work:
        path = str(work / "store")
        with casstore.open(path) as store:
            addresses = [store.put(value) for value in values]
            sources = [store.put(value) for value in source_texts(VALUES)]
        with casstore.open(path, create=False) as store:
            hot = addresses[:HOT_VALUES]
            for address in hot:
                store.get(address)
            found = percentiles(timed(store.get, choose(generator, hot)))
            goals.append(goal("get 16 KiB, hot, p95", found, bar=10e-6, aim=2e-6))
        with casstore.open(path, create=False, config=casstore.Config(cache_bytes=0)) as store:
            for what, keys in (("random bytes", addresses), ("source text", sources)):
                warm(store.get, keys)
                found = percentiles(timed(store.get, choose(generator, keys)))
                goals.append(goal(f"get 16 KiB, cold, {what}, p95", found, bar=50e-6, aim=25e-6))
        for name, get in peers(work, addresses, values):
            warm(get, addresses)
            found = percentiles(timed(get, choose(generator, addresses)))
            goals.append(goal(f"peer: {name}, p95", found, bar=None, aim=None))
    return goals


def goal(what: str, found: dict[str, float], *, bar: float | None, aim: float | None) -> Goal:
    note = f"p50 {microseconds(found['p50'])}, p99 {microseconds(found['p99'])}"
    return Goal(what, found["p95"], microseconds, bar=bar, aim=aim, detail=dict(found), note=note)


def choose(generator: random.Random, keys: Sequence[bytes]) -> list[bytes]:
    return generator.choices(keys, k=GETS)


def warm(get: Callable[..., object], keys: Sequence[bytes]) -> None:
    for key in keys:
        get(key)


def timed(get: Callable[..., object], keys: Sequence[bytes]) -> list[float]:
    """Seconds of each get. The clock itself takes about 0.05 µs of each."""
    clock = time.perf_counter_ns
    samples = []
    for key in keys:
        start = clock()
        get(key)
        samples.append((clock() - start) / 1e9)
    return samples


def source_texts(count: int) -> Iterator[bytes]:
    """``count`` different contents of 16 KiB of Python source."""
    text = b"".join(path.read_bytes() for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))
    size = VALUE_BYTES - 8
    for number in range(count):
        start = number * size % (len(text) - size)
        yield b"%07d\n" % number + text[start : start + size]


def peers(
    work: Path, addresses: Sequence[bytes], values: Sequence[bytes]
) -> Iterator[tuple[str, Callable[[bytes], object]]]:
    """Name and get of each other store that is installed, filled."""
    import plyvel

    database = plyvel.DB(str(work / "leveldb"), create_if_missing=True)
    for address, value in zip(addresses, values):
        database.put(address, value)
    yield f"LevelDB (plyvel {package_version('plyvel')})", database.get
    database.close()

    connection = sqlite3.connect(os.fspath(work / "sqlite"), isolation_level=None)
    connection.execute("CREATE TABLE content (address BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    connection.execute("BEGIN")
    connection.executemany("INSERT OR IGNORE INTO content VALUES (?, ?)", zip(addresses, values))
    connection.execute("COMMIT")
    query = "SELECT value FROM content WHERE address = ?"
    yield f"SQLite {sqlite3.sqlite_version}", lambda key: connection.execute(query, (key,)).fetchone()
    connection.close()

    if version := package_version("diskcache"):
        import diskcache

        cache = diskcache.Cache(str(work / "diskcache"))
        with cache.transact():
            for address, value in zip(addresses, values):
                cache.set(address, value)
        yield f"diskcache {version}", cache.get
        cache.close()
