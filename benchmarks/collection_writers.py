# SPDX-License-Identifier: MIT
"""Writers beside a collection: how long they wait, and how much less they get done."""

from __future__ import annotations

import threading
import time
from itertools import count as numbers
from pathlib import Path

import casstore
from benchmarks.collection_site import CONTENT_BYTES, count, fill
from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.scratch import scratch
from benchmarks.table import Goal, milliseconds
from benchmarks.units import percent

THREADS = 2


def objects_of(options: Options) -> int:
    return options.pick(300_000, 3_000)


def workload(options: Options) -> str:
    return (
        f"a store of {objects_of(options):,} contents of {CONTENT_BYTES} bytes, half of them dead. {THREADS} threads "
        "fork the branch of the kept state, set a key of 300 bytes and commit, again and again: first "
        f"{options.pick(20, 1)} s alone, then until a collection (plan and execution) in a third thread has ended. "
        "Wait: the time of one commit. Compared are commits a second of the same threads in the same run."
    )


class Writers:
    """Threads that commit until they are stopped."""

    def __init__(self, store: casstore.Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(THREADS)]
        self.samples: list[list[tuple[float, float]]] = [[] for _ in range(THREADS)]
        """Of each thread, when each of its commits began, and how long it took, in seconds."""

    def _write(self, thread: int) -> None:
        branch, samples = self._store.branch("kept"), self.samples[thread]
        for number in numbers():
            if self._stop.is_set():
                return
            fork = branch.fork()
            fork.files[f"new/{thread}"] = b"%d of %d " % (number, thread) * 30
            began = time.perf_counter()
            fork.commit()
            samples.append((began, time.perf_counter() - began))

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def between(self, start: float, end: float) -> list[float]:
        """Times of the commits that began between two moments, sorted."""
        return sorted(took for samples in self.samples for began, took in samples if start <= began < end)


def run(path: Path, options: Options) -> tuple[list[float], float, list[float], float, int]:
    """Times of commits alone and how long that was, the same beside a collection, and objects in the store."""
    with fill(path, objects_of(options)) as store:
        objects = count(store)
        with Writers(store) as writers:
            time.sleep(options.pick(3, 1))
            start = time.perf_counter()
            time.sleep(options.pick(20, 1))
            middle = time.perf_counter()
            store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
            end = time.perf_counter()
        store.verify(read_data=False)
        return writers.between(start, middle), middle - start, writers.between(middle, end), end - middle, objects


def at(samples: list[float], share: float) -> float:
    return samples[min(len(samples) - 1, int(len(samples) * share))]


def measure(options: Options) -> Measured:
    with scratch(options.work, "collection") as work:
        alone, alone_seconds, beside, seconds, objects = run(work / "store", options)
    rates = len(alone) / alone_seconds, len(beside) / seconds
    note = f"{objects:,} objects; {rates[1]:,.0f} against {rates[0]:,.0f} commits/s; collection {seconds:.1f} s"
    detail = {"alone_per_s": rates[0], "beside_per_s": rates[1], "seconds": seconds, "p50": at(beside, 0.5)}
    waits = f"alone {at(alone, 0.999) * 1e3:.1f} ms; longest {beside[-1] * 1e3:.1f} ms"
    return Measured(
        [
            Goal("wait of a writer, p99.9", at(beside, 0.999), milliseconds, 0.050, 0.005, note=waits),
            Goal("commits beside a collection", rates[1] / rates[0], percent, 0.5, 0.7, True, detail, note),
        ]
    )
