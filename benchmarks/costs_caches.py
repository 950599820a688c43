# SPDX-License-Identifier: MIT
"""Cached nodes, the hot cache, remembered keys, a mark, and a reader in the same process."""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.costs_states import taken
from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.scratch import scratch
from benchmarks.table import Goal, megabytes, milliseconds
from benchmarks.timing import best, each, spread
from benchmarks.units import fine_microseconds, plain_bytes

if TYPE_CHECKING:
    from casstore import Store
    from casstore.address import Address

CONTENT_BYTES = 200


def files_of(options: Options) -> int:
    return options.pick(50_000, 500)


def workload(options: Options) -> str:
    return (
        f"a snapshot of {files_of(options):,} files of {CONTENT_BYTES} bytes in a store on disk. Nodes: the leaves and "
        "inner nodes of its tree, decoded, with the bytes they were decoded from. Hot cache: what an entry takes "
        "beside its value, its key counted. A remembered key: looked up on a branch a second time. The mark: the "
        "plan of a collection, its bits and its time for each record of the store. A reader: opened beside the "
        "writer, until its first file is read; bytes of its index copy that are not hard links, and what the "
        "process's resident memory grows by."
    )


def cold_and_warm(store: Store, addresses: list[Address], options: Options) -> list[Goal]:
    """A content of the store: read and verified, and from the hot cache."""
    found = []
    for what, warm in (("content from the store", False), ("content from the hot cache", True)):
        samples = []
        for _ in range(options.repeat):
            if not warm:
                store.storage.cache.clear()
            samples.append(spread(each(store.get, addresses)))
        found.append(Goal(f"{what}: time", best(samples, "p50")["p50"], fine_microseconds))
    return found


def bits(value: float) -> str:
    return f"{value:.3f} bytes"


def resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def own_bytes(folder: Path) -> int:
    """Bytes of the files that are nobody else's too."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1)


def readers(path: Path, options: Options) -> list[Goal]:
    import casstore

    seconds, grown = [], []
    on_disk = 0
    for _ in range(options.repeat):
        gc.collect()
        before = resident_bytes()
        start = time.perf_counter()
        with casstore.open(str(path), read_only=True) as store:
            assert store.snapshot("main").files["src/00/0000000"]
            seconds.append(time.perf_counter() - start)
            grown.append(max(0, resident_bytes() - before))
            on_disk = own_bytes(path / "readers")
    return [
        Goal("reader: time", min(seconds), milliseconds),
        Goal("reader: bytes on disk", on_disk, megabytes),
        Goal("reader: resident bytes", sorted(grown)[len(grown) // 2], megabytes),
    ]


def measure(options: Options) -> Measured:
    import casstore
    from casstore.storage import HotCache
    from casstore.tree import Nodes, lookup

    number = files_of(options)
    found: list[Goal] = []
    with scratch(options.work, "costs") as work:
        path = work / "store"
        with casstore.open(str(path), config=casstore.Config(cache_bytes=2**30)) as store:
            branch = store.branch()
            for place in range(number):
                branch.files[f"src/{place % 100:02d}/{place:07d}"] = place.to_bytes(8, "big") * (CONTENT_BYTES // 8)
            snapshot = branch.commit("all", ref="main")
            del branch
            keys = [key for key, _ in zip(snapshot.files, range(5000))]
            addresses = [address for key in keys if (address := snapshot.files.entry(key).address) is not None]

            nodes = Nodes(store.storage, 2**30)
            gc.collect()
            tracemalloc.start()
            for key in snapshot.files:
                lookup(nodes, snapshot.roots["files"], key.encode())
            gc.collect()
            traced = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            kept = len(nodes._cache)
            found.append(Goal("cached node: bytes", traced / kept, plain_bytes))
            found.append(Goal("cached node: entries", number / kept, lambda value: f"{value:.1f}"))
            some = list(nodes._cache)
            times = best([spread(each(nodes.get, some)) for _ in range(options.repeat)], "p50")
            found.append(Goal("cached node: time", times["p50"], fine_microseconds))

            caches = [HotCache(2**40)]
            size, _ = taken(len(addresses) - 1, lambda place: caches[0].put(bytes(bytearray(addresses[place])), b"", 0))
            found.append(Goal("entry of the hot cache, beside its value: bytes", size, plain_bytes))
            found += cold_and_warm(store, addresses, options)

            files = store.branch(snapshot).files
            for key in keys:
                lookup(store.nodes, snapshot.roots["files"], key.encode())
            size, _ = taken(len(keys) - 1, lambda place: files.entry(keys[place]))
            found.append(Goal("remembered key of a base: bytes", size, plain_bytes))
            times = best([spread(each(files.entry, keys)) for _ in range(options.repeat)], "p50")
            found.append(Goal("remembered key of a base: time", times["p50"], fine_microseconds))

            start = time.perf_counter()
            with store.plan_gc() as plan:
                seconds = time.perf_counter() - start
                records = sum(tally.objects for tally in (*plan.live.values(), *plan.young.values()))
                found.append(Goal("record of a mark: bytes", plan.mark_bytes / records, bits))
                found.append(Goal("record of a mark: time", seconds / records, fine_microseconds))
            store.sync()
            found += readers(path, options)
    return Measured(found)
