# SPDX-License-Identifier: MIT
"""Making the index anew from 1 GB of segments, and repairing it with damage, killed in the middle too."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from pathlib import Path

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.recovery_kill import CHILD, ask, fill
from benchmarks.scratch import scratch
from benchmarks.table import Goal, seconds

PLACES = 3


def total_bytes(options: Options) -> int:
    """Bytes in the store."""
    return options.pick(10**9, 20 * 2**20)


def workload(options: Options) -> str:
    return (
        f"a store of {total_bytes(options) / 1e9:.2f} GB whose folder `index` is gone, opened for writing; medians of "
        f"{options.repeat}. Repair: the same store with a flipped bit in {PLACES} segments and no index; undisturbed, "
        "and killed before the last third of its syncs and renames and run again (time of the second run)."
    )


def damage(path: Path) -> None:
    """A flipped bit in the middle of some segments, and no index."""
    shutil.rmtree(path / "index")
    for segment in sorted((path / "segments").iterdir())[:PLACES]:
        with segment.open("r+b") as file:
            file.seek(segment.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 8]))


def measure(options: Options) -> Measured:
    total = total_bytes(options)
    with scratch(options.work, "rebuild") as work:
        path = work / "store"
        options.progress(f"recovery: writing {total / 1e9:.2f} GB")
        fill(path, total)
        samples = []
        for _ in range(options.repeat):
            shutil.rmtree(path / "index")
            found = ask("open", str(path), "0")
            if not found["found"]:
                raise BenchmarkError("the ref is gone after the rebuild")
            samples.append(found["seconds"])
        options.progress("recovery: repairing")
        again = work / "again"
        shutil.copytree(path, again)
        damage(path)
        whole = ask("repair", str(path), "0")
        damage(again)
        stop = max(2, int(whole["calls"] * 2 / 3))
        killed = subprocess.run([*CHILD, "repair", str(again), str(stop)], capture_output=True, check=False)
        if killed.returncode != -9:
            raise BenchmarkError("the repair was not killed")
        second = ask("repair", str(again), "0")
    goals = [
        Goal("index anew from 1 GB of segments", statistics.median(samples), seconds, 20.0, 5.0),
        Goal("repair of 1 GB, index gone and 3 segments damaged", whole["seconds"], seconds),
        Goal("the same again after a kill", second["seconds"], seconds),
    ]
    goals[0].detail = {"samples": samples, "bytes": total}
    return Measured(goals)
