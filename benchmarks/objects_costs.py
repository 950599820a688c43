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
WHOLE = {"Python's collector and bookkeeping": ON}
"""What has a bar, with pages of each size."""
LONG: dict[str, dict[str, Any]] = {
    "the store's collector": {**OFF, "auto_collect": {"dead_share": 0.05, "interval_seconds": 0.5}}
}
"""The same in long searches."""
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


def long_of(options: Options) -> tuple[int, int]:
    """Pages of a long search, and how often it is made again."""
    return options.pick(1_000, 60), options.pick(60, 2)


def workload(options: Options) -> str:
    each = " and over ".join(f"{pages_of(options, size):,} pages of {size // 1024:,} KiB" for size in sizes(options))
    return (
        f"the search of `large` over {each}; nothing is short of memory, so both ways load the same. *On*: Python's "
        "collector; a `MemoryMonitor` with its thread, which the hot cache follows; a `Materializer`; a `Prefetcher`. "
        "*Off*: none of it, pages in a dict, `gc.disable()`. All save the "
        f"tree every {SAVE_EVERY} evaluations. Processor time of the process, its threads and its children, from the "
        "opened store to the end of the search; each run is a process of its own, the ways take turns in "
        f"{repetitions(options)} rounds, the order reversed in every other. Shown is the least of *on* against the "
        "least of *off*, as other load only ever adds; the notes have the ratio of each round. Also each part alone "
        "against *off*, with the smaller pages, in the same rounds, and one collection of the whole store (its time "
        "grows with the records of the store, not with the search, so it has no bar). *Collecting by itself*: "
        f"{long_of(options)[1]} such searches over {long_of(options)[0]:,} of the smaller pages one after the other, "
        "each in the place of the one before, which is then dead (`grace_seconds` and `undo_keep_seconds` 0); only "
        "the store's collector is on, `store.auto_collect(dead_share=0.05, interval_seconds=0.5)`, all else by "
        "default, so it rests for 19 times as long as it worked."
    )


def sizes(options: Options) -> tuple[int, ...]:
    """Bytes of a page."""
    return (2**11,) if options.quick else SIZES


def repetitions(options: Options) -> int:
    return options.pick(2 * options.repeat + 1, 1)


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
            common = search_of(options, path, pages, wanted, size)
            for turn in range(repetitions(options)):
                options.progress(f"objects: costs with pages of {size // 1024} KiB, round {turn + 1}")
                names = list(ways) if turn % 2 else list(ways)[::-1]
                for name in names:
                    runs[name].append(finished({**common, **ways[name]}))
        goals += report(runs, size)
    return Measured(goals + collecting(options))


def search_of(options: Options, path: str, pages: int, wanted: int, size: int) -> dict[str, Any]:
    """What is asked of a process, whatever the way."""
    return {
        "store": path,
        "pages": pages,
        "wanted": wanted,
        "max_bytes": 4 * pages * (size + 4096),
        "save_every": min(options.pick(SAVE_EVERY, 20), wanted // 4),
    }


def collecting(options: Options) -> list[Goal]:
    """Long searches beside which the store is collected, again and again."""
    size = sizes(options)[-1]
    wanted, rounds = long_of(options)
    pages = wanted + wanted // 10
    ways = {"off": OFF, **LONG}
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for turn in range(options.pick(options.repeat, 1)):
        options.progress(f"objects: searches that collect, round {turn + 1}")
        for name in list(ways) if turn % 2 else list(ways)[::-1]:
            # A store of its own for each, as what one leaves uncollected would be the next one's.
            with scratch(options.work, "collecting") as work:
                common = search_of(options, made(work, pages, size), pages, wanted, size)
                runs[name].append(finished({**common, **ways[name], "rounds": rounds, "grace_seconds": 0}))
    off = min(run["cpu"] for run in runs["off"])
    goals = []
    for name in LONG:
        found = runs[name]
        shares = [run["cpu"] / base["cpu"] - 1 for run, base in zip(found, runs["off"])]
        last = found[-1]
        goals.append(
            Goal(
                f"CPU of {name}, collecting by itself",
                min(run["cpu"] for run in found) / off - 1,
                percent,
                BAR,
                AIM,
                detail={"shares": shares, "runs": runs},
                note="each "
                + ", ".join(f"{share:.1%}" for share in sorted(shares))
                + f"; {last['collections']} collections, {last['deleted_bytes'] / 1e6:.0f} MB deleted; "
                f"{seconds(min(run['children_cpu'] for run in found))} in processes that survey",
            )
        )
    return goals


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
