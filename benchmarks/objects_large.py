# SPDX-License-Identifier: MIT
"""A search over far more objects than memory holds, in a process that the system refuses more."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.objects_site import LINKS, USED
from benchmarks.options import Options
from benchmarks.parts import Measured, Peer
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.table import Goal, megabytes, seconds
from benchmarks.timing import spread
from benchmarks.units import percent, times

PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); import benchmarks.objects_child as child; child.main(sys.argv[2:])"
)
READ_BYTES = 4_000_000_000
LIMIT_BYTES = 512_000_000
ROOM_BYTES = 40_000_000
"""Of a quick run: what a process may take beyond what it takes with the store open."""
AIM = 1.5


def page_bytes(options: Options) -> int:
    return options.pick(2**20, 2**18)


def pages_of(options: Options) -> tuple[int, int]:
    """Pages of the site, and those that are read."""
    wanted = options.pick(-(-READ_BYTES // 2**20), 220)
    return wanted + wanted // 10, wanted


def workload(options: Options) -> str:
    pages, wanted = pages_of(options)
    size = page_bytes(options)
    return (
        f"a site of {pages:,} pages in a store on disk, each an array of {size // 1024:,} KiB of 32-bit numbers, "
        f"{USED:.0%} of them random and the others 0, so that no two are alike and zstandard makes each a fifth as "
        f"large; {LINKS} links from each. `casstore.mcts.search` (batches of 4, one thread) goes "
        "through it from page 0; an evaluation correlates a page with the two on the way to it, an expansion reads the "
        f"page once more; it ends when {wanted:,} different pages, {wanted * size / 1e9:.1f} GB, were read. Each run "
        "is a process of its own, the runs in turns. *Without a limit*: a `Materializer` that may hold all. *With*: "
        f"`RLIMIT_DATA` of {LIMIT_BYTES / 1e6:.0f} MB ({ROOM_BYTES / 1e6:.0f} MB beyond the empty process in a quick "
        "run; it counts heap, stacks and whatever else is the process's own, not the page cache, where the store's "
        "files are in all runs), the same program with `max_bytes` of twice the limit, which alone would let it pass; "
        "a `MemoryMonitor` bounds Materializer and hot cache, priorities are the tree's weights, all else by default, "
        "no loading ahead. *Plain*: a dict of what `branch.objects` gave. All that finish must have read the same "
        "pages in the same order, and found the same values."
    )


def child(asked: dict[str, Any]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what a process printed, and the last line of its errors."""
    root = str(Path(__file__).resolve().parent.parent)
    words = [sys.executable, "-c", PROGRAM, root, json.dumps(asked)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines() or [""]
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], lines[-1]


def finished(asked: dict[str, Any]) -> dict[str, Any]:
    """What a search found.

    Raises:
        BenchmarkError: It did not finish.
    """
    code, lines, error = child(asked)
    if code:
        raise BenchmarkError(f"the search {asked} ended with exit code {code}: {error}")
    return lines[-1]


def made(folder: Path, pages: int, size: int) -> str:
    """A new store with a site in it."""
    path = str(folder / "store")
    finished({"way": "fill", "store": path, "pages": pages, "page_bytes": size})
    return path


def measure(options: Options) -> Measured:
    pages, wanted = pages_of(options)
    size = page_bytes(options)
    runs: dict[str, list[dict[str, Any]]] = {"plain": [], "free": [], "limited": []}
    with scratch(options.work, "large") as work:
        options.progress(f"objects: a store of {pages * size / 1e9:.1f} GB")
        path = made(work, pages, size)
        common = {"store": path, "pages": pages, "wanted": wanted, "prefetch": False}
        bound = {"room_bytes": ROOM_BYTES} if options.quick else {"limit_bytes": LIMIT_BYTES}
        ways = {
            "plain": {**common, "way": "plain"},
            "free": {**common, "way": "lazy", "max_bytes": 2 * pages * size},
            "limited": {**common, "way": "lazy", "max_bytes": 2 * max(bound.values()), **bound},
        }
        for number in range(options.repeat):
            # The order turns, so that none always comes after the same one.
            for way in (*ways, *ways)[number % 3 :][:3]:
                options.progress(f"objects: the search, {way}, {number + 1} of {options.repeat}")
                runs[way].append(finished(ways[way]))
        code, lines, error = child({**ways["plain"], **bound, "tell": True})
    return report(runs, size, code, lines, error)


def cpu(runs: dict[str, list[dict[str, Any]]], way: str) -> float:
    """Seconds of the processor that the least run took."""
    return min(float(run["cpu"]) for run in runs[way])


def report(
    runs: dict[str, list[dict[str, Any]]], size: int, code: int, lines: list[dict[str, Any]], error: str
) -> Measured:
    digests = {run["digest"] for one in runs.values() for run in one}
    if len(digests) != 1:
        raise BenchmarkError(f"the searches did not find the same: {digests}")
    if code == 0:
        raise BenchmarkError("the plain search finished within the limit, so the limit shows nothing.")
    took = {way: spread([run["seconds"] for run in one]) for way, one in runs.items()}
    ratios = [limited["seconds"] / free["seconds"] for limited, free in zip(runs["limited"], runs["free"])]
    last, free = runs["limited"][-1], runs["free"][-1]
    reached = lines[-1]["reached"] if lines else 0
    note = (
        f"{last['evaluations']:,} evaluations, {last['reads']:,} reads, {last['loads']:,} loads (without a limit "
        f"{free['loads']:,}), {last['unloads']:,} left; pressure at most {last['pressure']:.2f}"
    )
    goals = [
        Goal("search inside 512 MB: objects read", last["distinct"] * size, megabytes, note=note),
        Goal(
            "search inside 512 MB: time against no limit, median",
            statistics.median(ratios),
            times,
            # The bar is that it finishes, which it did.
            aim=AIM,
            detail={"ratios": ratios, "runs": runs},
            note=f"{seconds(took['limited']['p50'])} against {seconds(took['free']['p50'])}; each time "
            + ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
            + f"; processor time, the least of each, {cpu(runs, 'limited') / cpu(runs, 'free'):.2f}",
        ),
        # One that did not would have ended the benchmark.
        Goal("search inside 512 MB: finished, share of the runs", 1.0, percent, 1, 1, True),
        Goal(
            "search inside 512 MB: resident memory, the most",
            max(run["peak_bytes"] for run in runs["limited"]),
            megabytes,
            LIMIT_BYTES,
            note=f"without a limit {megabytes(max(run['peak_bytes'] for run in runs['free']))}",
        ),
        Goal(
            "plain search inside 512 MB: objects read when it died",
            reached * size,
            megabytes,
            note=f"exit code {code}: {error[:120]}",
        ),
    ]
    what = "the search with the limit, median"
    return Measured(
        goals,
        [
            Peer(what, "without a limit", took["free"]["p50"], took["limited"]["p50"], seconds),
            Peer(what, "plain, without a limit", took["plain"]["p50"], took["limited"]["p50"], seconds),
        ],
    )
