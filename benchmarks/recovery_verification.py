# SPDX-License-Identifier: MIT
"""What comparing everything that is read with its address costs a checkout."""

from __future__ import annotations

import random
import shutil
import statistics
from pathlib import Path

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import python
from benchmarks.scratch import scratch
from benchmarks.table import Goal, seconds
from benchmarks.units import percent

ROUNDS = 15

PROGRAM = """
import sys, time
import casstore
from casstore.storage import content, deltas, storage
from casstore.workspace import checkout
path, target, verify = sys.argv[1:]
if verify == "no":
    class Nothing:
        # Equal to every address: nothing is hashed, everything else stays.
        def __eq__(self, other): return True
        def __ne__(self, other): return False
    nothing = Nothing()
    for kind in storage._ADDRESS_OF:
        storage._ADDRESS_OF[kind] = lambda raw: nothing
    deltas.content_address = lambda raw: nothing
    class Hasher:
        def __init__(self, data=b""): pass
        def update(self, data): pass
        def digest(self): return nothing
    content.blake3 = storage.blake3 = Hasher
with casstore.open(path, create=False, read_only=True) as store:
    start = time.perf_counter()
    cpu = time.process_time()
    checkout(store, "main", target)
    print(time.perf_counter() - start, time.process_time() - cpu)
"""


def sizes(options: Options) -> tuple[int, int]:
    """Number of files, and the most that one has in bytes."""
    return options.pick(4000, 40), 200_000


def workload(options: Options) -> str:
    files, largest = sizes(options)
    return (
        f"{files:,} files of 200 bytes to {largest // 1000} kB, text of random words (compresses to a third), checked "
        "out into a new directory by a fresh process; and the same with BLAKE3 patched out of reading (nodes, chunks, "
        f"lists, deltas, whole contents). In turns, {ROUNDS} each; the least of each, as the system takes up to "
        "twice as long to take the files in whenever it likes: the difference as a share of the one without."
    )


def write_files(folder: Path, count: int, largest: int) -> int:
    """Makes the files; their bytes."""
    draw = random.Random(7)
    words = [draw.randbytes(draw.randrange(2, 6)).hex().encode() for _ in range(4000)]
    total = 0
    for number in range(count):
        size = int(200 * (largest / 200) ** draw.random())
        data = b" ".join(draw.choices(words, k=size // 9 + 1))
        place = folder / f"{number % 50:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_bytes(data)
        total += len(data)
    return total


def measure(options: Options) -> Measured:
    import casstore
    from casstore.workspace import import_directory

    count, largest = sizes(options)
    times: dict[str, list[tuple[float, float]]] = {"yes": [], "no": []}
    with scratch(options.work, "verification") as work:
        total = write_files(work / "files", count, largest)
        with casstore.open(str(work / "store")) as store:
            import_directory(store, str(work / "files"), ref="main")
        for number in range(options.pick(ROUNDS, 2) + 1):
            for verify, samples in times.items():
                target = work / f"{verify}-{number}"
                wall, cpu = map(float, python(PROGRAM, str(work / "store"), str(target), verify).split())
                if number:
                    # The first round fills the page cache.
                    samples.append((wall, cpu))
                shutil.rmtree(target)
    walls = {verify: min(sample[0] for sample in samples) for verify, samples in times.items()}
    cpus = {verify: min(sample[1] for sample in samples) for verify, samples in times.items()}
    medians = {verify: statistics.median(sample[0] for sample in samples) for verify, samples in times.items()}
    share = max(0.0, walls["yes"] / walls["no"] - 1)
    goals = [
        Goal(
            "a checkout's overhead for verification",
            share,
            percent,
            0.15,
            0.10,
            note=f"by the medians {medians['yes'] / medians['no'] - 1:.1%}",
        ),
        Goal("the same, of processor time", max(0.0, cpus["yes"] / cpus["no"] - 1), percent),
        Goal("that checkout", walls["yes"], seconds, note=f"{total / 1e6:.0f} MB"),
    ]
    goals[0].detail = {"samples": times, "bytes": total}
    return Measured(goals)
