# SPDX-License-Identifier: MIT
"""Processor time of collectors and bookkeeping: the same search with all of them on, and with all of them off."""

from __future__ import annotations

from typing import Any

from benchmarks.objects_large import finished, made
from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.table import Goal, seconds
from benchmarks.units import percent

BAR, AIM = 0.10, 0.03
SIZES = (2**20, 2**16)
SAVE_EVERY = 500

OFF: dict[str, Any] = {"way": "plain", "python_gc": False, "store_gc": False}
ON: dict[str, Any] = {"way": "lazy", "python_gc": True, "store_gc": False, "monitor": True, "prefetch": True}
WHOLE = {
    "Python's collector and bookkeeping": ON,
    "both collectors and bookkeeping": {**ON, "store_gc": True},
}
"""What has a bar."""
PARTS: dict[str, dict[str, Any]] = {
    "Python's collector": {**OFF, "python_gc": True},
    "one collection of the store": {**OFF, "store_gc": True},
    "the materializer": {**OFF, "way": "lazy", "monitor": False, "prefetch": False},
    "materializer and monitor": {**OFF, "way": "lazy", "monitor": True, "prefetch": False},
    "materializer and prefetcher": {**OFF, "way": "lazy", "monitor": False, "prefetch": True},
}
"""What is on besides nothing, one after the other, to see who takes how much."""


def pages_of(options: Options, size: int) -> int:
    """Pages of that size that the search reads: enough for some seconds, so that what is done once hardly counts."""
    return options.pick(1_500 if size > 2**18 else 4_000, 60)


def workload(options: Options) -> str:
    each = " and over ".join(f"{pages_of(options, size):,} pages of {size // 1024:,} KiB" for size in sizes(options))
    return (
        f"the search of `large` over {each}; nothing is short of memory, so both ways load the same. *On*: Python's "
        "collector; a `MemoryMonitor` with its thread, which the hot cache follows; a `Materializer`; a `Prefetcher`; "
        "where both collectors are named, also one collection of the whole store when the search has ended "
        "(`grace_seconds=0`; its time grows with the records of the store, not with the search). *Off*: none of it, "
        "pages in a dict, `gc.disable()`. All save the "
        f"tree every {SAVE_EVERY} evaluations. Processor time of the process, its threads and its children, from the "
        "opened store to the end of the search; each run is a process of its own, the ways take turns in "
        f"{repetitions(options)} rounds, the order reversed in every other. Shown is the least of *on* against the "
        "least of *off*, as other load only ever adds; the notes have the ratio of each round. Also each part alone "
        "against *off*, with the smaller pages, in the same rounds."
    )


def sizes(options: Options) -> tuple[int, ...]:
    """Bytes of a page."""
    return (2**11,) if options.quick else SIZES


def repetitions(options: Options) -> int:
    return options.pick(2 * options.repeat - 1, 1)


def measure(options: Options) -> Measured:
    goals: list[Goal] = []
    for size in sizes(options):
        # Parts where they show: a large page hides them.
        ways = {"off": OFF, **WHOLE, **(PARTS if size == sizes(options)[-1] else {})}
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        with scratch(options.work, "costs") as work:
            wanted = pages_of(options, size)
            pages = wanted + wanted // 10
            path = made(work, pages, size)
            common = {"store": path, "pages": pages, "wanted": wanted, "max_bytes": 4 * pages * (size + 4096)}
            common["save_every"] = options.pick(SAVE_EVERY, 20)
            for turn in range(repetitions(options)):
                options.progress(f"objects: costs with pages of {size // 1024} KiB, round {turn + 1}")
                names = list(ways) if turn % 2 else list(ways)[::-1]
                for name in names:
                    runs[name].append(finished({**common, **ways[name]}))
        goals += report(runs, size)
    return Measured(goals)


def report(runs: dict[str, list[dict[str, Any]]], size: int) -> list[Goal]:
    digests = {run["digest"] for one in runs.values() for run in one}
    if len(digests) != 1:
        raise BenchmarkError(f"the searches did not find the same: {digests}")
    off = [run["cpu"] for run in runs["off"]]
    goals = []
    for name, found in runs.items():
        if name == "off":
            continue
        on = [run["cpu"] for run in found]
        shares = [one / base - 1 for one, base in zip(on, off)]
        note = "each " + ", ".join(f"{share:.1%}" for share in sorted(shares))
        if name in WHOLE:
            last = found[-1]
            apart = min(run["children_cpu"] for run in found)
            alone = min(run["cpu"] - run["children_cpu"] for run in found)
            if apart:
                note += (
                    f"; of this process alone {alone / min(off) - 1:.1%}, as {seconds(apart)} were of the process that "
                    "surveys the store"
                )
            note += (
                f"; {seconds(min(on))} against {seconds(min(off))}; {last['reads']:,} reads, {last['loads']:,} loads, "
                f"{last['issued']:,} ahead, {last['samples']} samples"
            )
        goals.append(
            Goal(
                f"CPU of {name}, pages of {size // 1024} KiB" if name in WHOLE else f"of which {name}",
                min(on) / min(off) - 1,
                percent,
                BAR if name in WHOLE else None,
                AIM if name in WHOLE else None,
                detail={"shares": shares, "runs": found},
                note=note,
            )
        )
    return goals
