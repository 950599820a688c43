# SPDX-License-Identifier: MIT
"""Peak memory of imports and checkouts, of a large file and of many small ones, and of a slice of a large file."""

from __future__ import annotations

import filecmp
import json
import random
from pathlib import Path

from benchmarks.options import Options
from benchmarks.process import BenchmarkError, casstore_command, python, run
from benchmarks.scratch import scratch
from benchmarks.table import Goal, megabytes, milliseconds, seconds

BAR_BYTES, AIM_BYTES = 150e6, 100e6
SMALL_FILES = 20_000
BLOCK_BYTES = 2**20

# The slice is read by a program of its own, through the library.
SLICE = """
import sys, time, json, resource
import casstore
path, address, start, length = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with casstore.open(path, create=False, read_only=True) as store:
    begin = time.perf_counter()
    with store.open_content(address) as file:
        file.seek(start)
        data = file.read(length)
    took = time.perf_counter() - begin
with open(sys.argv[5], "rb") as file:
    file.seek(start)
    assert data == file.read(length), "the slice differs"
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({"seconds": took, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}))
"""


def workload(options: Options) -> str:
    return (
        f"a file of {options.large_bytes // 2**20:,} MiB of random bytes, and {SMALL_FILES:,} files of 1 to 4 KiB of "
        "text in 200 folders; each imported and checked out by the `casstore` command, and compared. Peak resident "
        "memory of the process. The slice: 1 MiB from the middle of the large file, by `open_content`."
    )


def make_large(path: Path, size: int) -> str:
    """Writes the file; its address in hex."""
    from blake3 import blake3

    generator = random.Random(3)
    hasher = blake3()
    with path.open("wb") as file:
        while size:
            block = generator.randbytes(min(size, BLOCK_BYTES))
            hasher.update(block)
            file.write(block)
            size -= len(block)
    return hasher.hexdigest()


def make_small(folder: Path) -> None:
    generator = random.Random(4)
    for number in range(SMALL_FILES):
        if number % (SMALL_FILES // 200) == 0:
            here = folder / f"folder-{number}"
            here.mkdir()
        text = b"".join(b"line %d of file %d\n" % (generator.getrandbits(20), number) for _ in range(50 + number % 100))
        (here / f"file-{number}.txt").write_bytes(text)


def measure(options: Options) -> list[Goal]:
    goals: list[Goal] = []
    with scratch(options.work, "memory") as work:
        large, small = work / "large", work / "small"
        large.mkdir()
        small.mkdir()
        address = make_large(large / "file", options.large_bytes)
        make_small(small)
        for name, folder in (("large file", large), ("many small files", small)):
            store = work / f"store-{folder.name}"
            target = work / f"restored-{folder.name}"
            for what, words in (
                ("import", ["import", str(folder), "--ref", "main"]),
                ("checkout", ["checkout", "main", str(target)]),
            ):
                done = run([*casstore_command(), "--store", str(store), *words])
                goals.append(goal(f"peak memory, {what} of {name}", done.peak_bytes, done.seconds))
            compare(folder, target)
        length = 2**20
        start = max(0, options.large_bytes // 2 - 12345)
        words = [str(work / "store-large"), address, str(start), str(length), str(large / "file")]
        found = json.loads(python(SLICE, *words))
        goals.append(goal("peak memory, slice from the middle", found["peak"], found["seconds"]))
    return goals


def goal(what: str, peak: float, took: float) -> Goal:
    return Goal(
        what,
        peak,
        megabytes,
        BAR_BYTES,
        AIM_BYTES,
        detail={"seconds": took},
        note=f"took {milliseconds(took) if took < 0.1 else seconds(took)}",
    )


def compare(expected: Path, found: Path) -> None:
    for path in expected.rglob("*"):
        if path.is_file() and not filecmp.cmp(path, found / path.relative_to(expected), shallow=False):
            raise BenchmarkError(f"{path} was not restored as it was.")
