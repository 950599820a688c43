# SPDX-License-Identifier: MIT
"""``python -m tests.full_disk.measure [FOLDER]``: what quota and reserve cost, and how much room a collection needs."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import casstore
from casstore.storage.reserve import Reserve
from casstore.testing.model import noise

MIB = 1024 * 1024


def puts_per_second(folder: Path, quota: int | None, size: int, count: int) -> float:
    data = [os.urandom(size) for _ in range(count)]
    path = folder / "puts"
    with casstore.open(path, config=casstore.Config(max_bytes=quota)) as store:
        store.put(b"first")
        # Processor time: other work of the machine does not count.
        started = time.process_time()
        for content in data:
            store.put(content)
        seconds = time.process_time() - started
    shutil.rmtree(path)
    return count / seconds


def opening_ms(path: Path) -> float:
    times = []
    for _ in range(30):
        started = time.process_time()
        store = casstore.open(path)
        times.append(time.process_time() - started)
        store.close()
    return statistics.median(times) * 1000


def blocks(path: Path, part: str) -> int:
    total = 0
    for folder, _, names in os.walk(path / part):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def collection_room(folder: Path, scattered: bool) -> tuple[int, int, int, int, int]:
    """Records before, after, and at most; the most that the index took beyond what it had; bytes freed."""
    path = folder / "collection"
    with casstore.open(path, config=replace(casstore.Config(), threads=1)) as store:
        store.configure(undo_keep_seconds=0)
        kept, dead = store.branch(), store.branch()
        for number in range(10_000):
            is_kept = number % 2 == 0 if scattered else number < 5000
            (kept if is_kept else dead).files[f"{number}"] = noise(20_000, number)
            if number % 500 == 499:
                kept.fold()
                dead.fold()
        kept.commit("kept", ref="kept")
        dead.commit("dead", ref="gone")
        del kept, dead
        store.refs.delete("gone")
        plan = store.plan_gc(grace_seconds=0)
        before, index = blocks(path, "segments"), blocks(path, "index")
        most, most_index, done = before, index, threading.Event()

        def sample() -> None:
            nonlocal most, most_index
            while not done.is_set():
                most = max(most, blocks(path, "segments"))
                most_index = max(most_index, blocks(path, "index"))
                time.sleep(0.001)

        watcher = threading.Thread(target=sample)
        watcher.start()
        report = plan.execute()
        done.set()
        watcher.join()
        result = (before, blocks(path, "segments"), most, most_index - index, report.freed_bytes)
    shutil.rmtree(path)
    return result


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        for size, count in ((200, 20_000), (4096, 10_000)):
            rates: dict[int | None, list[float]] = {None: [], 2**40: []}
            for _ in range(7):
                for quota, found in rates.items():
                    found.append(puts_per_second(folder, quota, size, count))
            without, with_quota = (statistics.median(found) for found in rates.values())
            print(
                f"puts of {size} bytes, by processor time: {without:,.0f}/s without a quota, {with_quota:,.0f}/s with"
            )
        for size in (100, 10_000, 1 * MIB, 40 * MIB):
            path = folder / f"store{size}"
            with casstore.open(path) as store:
                store.put(os.urandom(size))
                store.sync()
                held = store.stats().reserve_bytes
            with_reserve = opening_ms(path)
            kept = Reserve.has_room, Reserve.settle
            Reserve.has_room = lambda self: True  # type: ignore[method-assign]
            Reserve.settle = lambda self, largest: sys.maxsize  # type: ignore[method-assign]
            without_it = opening_ms(path)
            Reserve.has_room, Reserve.settle = kept  # type: ignore[method-assign]
            print(
                f"store of {size:,} bytes: reserve {held:,}, opening {with_reserve:.2f} ms of processor time, "
                f"{without_it:.2f} ms without"
            )
        for scattered in (True, False):
            before, after, most, index, freed = collection_room(folder, scattered)
            how = "everywhere" if scattered else "in whole segments"
            print(
                f"half dead, {how}: {before / MIB:.1f} MiB before, {after / MIB:.1f} after, {most / MIB:.1f} at most "
                f"({(most - before) / MIB:.1f} more); index {index / MIB:.1f} more; freed {freed / MIB:.1f}"
            )


if __name__ == "__main__":
    main()
