# SPDX-License-Identifier: MIT
"""Child processes of ``recovery``: one that fills a store, one that is killed while it writes, one that opens it."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator

import casstore
from casstore.osfile import OsFiles

CONTENT_BYTES = 64 * 1024
POOL_BYTES = 64 * 1024 * 1024
SYNC_BYTES = 256 * 1024 * 1024


def contents(seed: int, total_bytes: int) -> Iterator[bytes]:
    """Contents that do not compress, no two alike."""
    pool = random.Random(seed).randbytes(min(POOL_BYTES, total_bytes + CONTENT_BYTES))
    slots = (len(pool) - CONTENT_BYTES) // 8
    for number in range(total_bytes // CONTENT_BYTES):
        start = number * 7919 % slots * 8
        # A number every 2 KiB: no chunk is like one of another content.
        mark = b"%08d%08d" % (seed, number)
        parts = [mark + pool[at : at + 2032] for at in range(start, start + CONTENT_BYTES - 16, 2048)]
        yield b"".join(parts)


def fill(path: str, seed: int, total_bytes: int) -> None:
    """Puts that much into the store."""
    with casstore.open(path, config=casstore.Config(compression_level=1)) as store:
        waiting = 0
        with store.storage.ingest() as ingest:
            for data in contents(seed, total_bytes):
                ingest.add(data)
                waiting += len(data)
                if waiting >= SYNC_BYTES:
                    ingest.flush()
                    store.sync()
                    waiting = 0
        store.sync()
        branch = store.branch()
        branch.files["filled"] = b"%d" % total_bytes
        store.refs["main"] = branch.commit("filled")


def write_until_killed(path: str, seed: int, unsynced_bytes: int) -> None:
    """Commits, then leaves that much unsynced, says so, and waits for the end."""
    store = casstore.open(path, create=False)
    branch = store.branch("main")
    for number in range(20):
        branch.files[f"round/{seed}/{number}"] = b"%d" % number * 100
        store.refs["main"] = branch.commit("a commit")
    for data in contents(seed, unsynced_bytes):
        store.put(data)
    print("ready", flush=True)
    time.sleep(600)


def open_again(path: str, seed: int) -> None:
    """Opens the store, and looks whether the last commit is there."""
    started = time.perf_counter()
    store = casstore.open(path, create=False)
    opened = time.perf_counter() - started
    found = store.snapshot("main").files[f"round/{seed}/19"] == b"19" * 100 if seed else bool(store.refs["main"])
    store.close()
    print(json.dumps({"seconds": opened, "found": found}))


def repair(path: str, stop_after: int) -> None:
    """Repairs the store; dies as from kill -9 before the ``stop_after``-th sync or rename, unless that is 0."""

    class Dying(OsFiles):
        calls = 0

        def _count(self) -> None:
            Dying.calls += 1
            if Dying.calls == stop_after:
                os.kill(os.getpid(), 9)

        def rename(self, source: str, target: str) -> None:
            self._count()
            super().rename(source, target)

        def sync(self, fd: int) -> None:
            self._count()
            super().sync(fd)

        def sync_folder(self, path: str) -> None:
            self._count()
            super().sync_folder(path)

    started = time.perf_counter()
    report = casstore.repair(path, files=Dying())
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "damaged": len(report.damaged), "calls": Dying.calls}))


ACTIONS: dict[str, Callable[..., None]] = {
    "fill": fill,
    "write": write_until_killed,
    "open": open_again,
    "repair": repair,
}

if __name__ == "__main__":
    action, store_path, *numbers = sys.argv[1:]
    ACTIONS[action](store_path, *map(int, numbers))
