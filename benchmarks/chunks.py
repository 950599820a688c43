# SPDX-License-Identifier: MIT
"""``chunks``: what the average chunk size does to size and speed, on the releases of ``series``."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from benchmarks import environment, releases
from benchmarks.options import Options
from benchmarks.process import casstore_command
from benchmarks.process import run as run_process
from benchmarks.scratch import scratch
from benchmarks.table import Result, Table, megabytes, microseconds, percentiles, seconds

AVERAGES = (4096, 8192, 16384, 32768)


def run(options: Options) -> Result:
    """Runs the series once per repeat and chunk size, in turns."""
    import casstore

    folders = releases.releases(options.cache, options.releases)
    files, size = releases.warm(folders)
    samples: dict[int, dict[str, list[float]]] = {average: {} for average in AVERAGES}
    with scratch(options.work, "chunks") as work:
        for number in range(options.repeat):
            for average in AVERAGES:
                options.progress(f"chunks: {average // 1024} KiB, {number + 1} of {options.repeat}")
                folder = work / f"{number}-{average}"
                folder.mkdir()
                config = casstore.Config(
                    chunk_min_bytes=average // 4, chunk_avg_bytes=average, chunk_max_bytes=average * 4
                )
                casstore.open(str(folder / "store"), config=config).close()
                for key, value in measure(folder, folders).items():
                    samples[average].setdefault(key, []).append(value)
    table = Table(
        "By average chunk",
        ["average", "first import", "nine further", "restore of the last", "stored", "objects", "slice p95"],
    )
    medians = {
        average: {key: statistics.median(values) for key, values in found.items()} for average, found in samples.items()
    }
    for average, found in medians.items():
        times = [seconds(found[key]) for key in ("first", "further", "restore")]
        row = [f"{average // 1024} KiB", *times, megabytes(found["stored"]), f"{found['objects']:,.0f}"]
        table.rows.append([*row, microseconds(found["slice"])])
    workload = [
        f"Ten releases of Django, {files:,} files, {size / 1e6:.0f} MB, as in `series`; minimum a quarter of the "
        f"average, maximum four times it. Medians of {options.repeat}.",
        "Slice: 4 KiB at a random place of the largest file, `open_content`, seek and read, hot cache off.",
    ]
    figures = {str(average): {"median": medians[average], "samples": samples[average]} for average in AVERAGES}
    return Result("chunks", workload, environment.describe(options.work), [table], figures)


def measure(folder: Path, folders: list[Path]) -> dict[str, float]:
    """One series with the store that ``folder`` holds."""
    import casstore

    command = [*casstore_command(), "--store", str(folder / "store")]
    times = []
    for source in folders:
        os.sync()
        times.append(run_process([*command, "import", str(source), "--ref", "main"]).seconds)
    os.sync()
    restore = run_process([*command, "checkout", "main", str(folder / "restored")]).seconds
    stored = sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())
    largest = max((path for path in folders[-1].rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with casstore.open(str(folder / "store"), create=False, config=casstore.Config(cache_bytes=0)) as store:
        objects = sum(kind.objects for kind in store.stats().kinds.values())
        address = store.put(largest.read_bytes())
        samples = []
        for number in range(500):
            start = time.perf_counter()
            with store.open_content(address) as file:
                file.seek(number * 7919 % (largest.stat().st_size - 4096))
                file.read(4096)
            samples.append(time.perf_counter() - start)
    return {
        "first": times[0],
        "further": sum(times[1:]),
        "restore": restore,
        "stored": stored,
        "objects": objects,
        "slice": percentiles(samples)["p95"],
    }
