# SPDX-License-Identifier: MIT
"""Opening a store of 10 GB after its writer was killed."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.process import run as run_process
from benchmarks.scratch import scratch
from benchmarks.table import Goal, milliseconds

CHILD = [sys.executable, "-m", "benchmarks.recovery_child"]
ROUNDS = 5


def sizes(options: Options) -> tuple[int, int]:
    """Bytes in the store, and bytes that are not synced when the writer is killed."""
    return options.pick(10 * 10**9, 20 * 2**20), options.pick(16 * 2**20, 2**20)


def workload(options: Options) -> str:
    total, unsynced = sizes(options)
    return (
        f"a store of {total / 1e9:.1f} GB. Another process makes 20 commits, then puts {unsynced / 2**20:.0f} MiB that "
        f"it does not sync, and is killed; a fresh process opens the store for writing. {ROUNDS} rounds, median; the "
        "commits are there each time."
    )


def fill(path: Path, total: int) -> None:
    """A store of that many bytes."""
    run_process([*CHILD, "fill", str(path), "1", str(total)])


def ask(*words: str) -> dict[str, float]:
    """What a child prints."""
    done = subprocess.run([*CHILD, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{words[0]}: exit code {done.returncode}\n{done.stderr}")
    return dict(json.loads(done.stdout))


def kill_a_writer(path: Path, seed: int, unsynced: int) -> None:
    """Lets a process write to the store, and kills it."""
    with subprocess.Popen(
        [*CHILD, "write", str(path), str(seed), str(unsynced)], stdout=subprocess.PIPE, text=True
    ) as child:
        ready = child.stdout.readline() if child.stdout is not None else ""
        child.send_signal(signal.SIGKILL)
    if ready != "ready\n":
        raise BenchmarkError("the writer ended before it was killed")


def measure(options: Options) -> Measured:
    total, unsynced = sizes(options)
    with scratch(options.work, "kill") as work:
        path = work / "store"
        options.progress(f"recovery: writing {total / 1e9:.1f} GB")
        fill(path, total)
        samples = []
        for number in range(2, 2 + ROUNDS):
            kill_a_writer(path, number, unsynced)
            found = ask("open", str(path), str(number))
            if not found["found"]:
                raise BenchmarkError("a commit is gone after the kill")
            samples.append(found["seconds"])
    value = statistics.median(samples)
    note = f"slowest {milliseconds(max(samples))}"
    goal = Goal("opening after kill -9, store of 10 GB", value, milliseconds, 1.0, 0.1, note=note)
    goal.detail = {"samples": samples, "bytes": total}
    return Measured([goal])
