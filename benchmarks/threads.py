# SPDX-License-Identifier: MIT
"""Many threads on one store: nine gets for each put."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable

from benchmarks.options import Options
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.table import Goal, per_second
from casstore.address import Address

THREADS = 100
VALUES = 10_000
VALUE_BYTES = 4096
SECONDS = 3.0


def workload(options: Options) -> str:
    return (
        f"{THREADS} threads for {SECONDS:.0f} s on one store of {VALUES:,} contents of 4 KiB of random bytes, default "
        "configuration; each operation is a get of one of them (90 %) or a put of a new one (10 %), chosen at random. "
        "Making the new bytes counts. Afterwards every thread's last put is read back."
    )


def measure(options: Options) -> list[Goal]:
    import casstore

    rates = []
    with scratch(options.work, "threads") as work:
        for number in range(options.repeat):
            with casstore.open(str(work / str(number))) as store:
                generator = random.Random(2)
                addresses = [store.put(generator.randbytes(VALUE_BYTES)) for _ in range(VALUES)]
                rates.append(run_threads(store.get, store.put, addresses))
    return [
        Goal(
            f"{THREADS} threads, 90 % get 10 % put",
            statistics.median(rates),
            per_second,
            bar=10_000,
            aim=50_000,
            higher=True,
            detail={"samples": rates},
            note="operations per second",
        )
    ]


def run_threads(get: Callable[[Address], bytes], put: Callable[[bytes], Address], addresses: list[Address]) -> float:
    """Operations per second, over all threads."""
    counts = [0] * THREADS
    last: list[tuple[Address, bytes] | None] = [None] * THREADS
    errors: list[BaseException] = []
    ready = threading.Barrier(THREADS + 1)
    stop = False

    def work(number: int) -> None:
        generator = random.Random(number)
        choose, dice, fresh = generator.choice, generator.random, generator.randbytes
        done = 0
        ready.wait()
        try:
            while not stop:
                if dice() < 0.1:
                    value = fresh(VALUE_BYTES)
                    last[number] = (put(value), value)
                else:
                    get(choose(addresses))
                done += 1
        except Exception as error:
            errors.append(error)
            raise
        finally:
            counts[number] = done

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    time.sleep(SECONDS)
    stop = True
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if errors:
        raise BenchmarkError(f"a thread failed: {errors[0]!r}")
    for item in last:
        if item is not None and get(item[0]) != item[1]:
            raise BenchmarkError("a get returned other bytes than were put.")
    return sum(counts) / seconds
