# SPDX-License-Identifier: MIT
"""``python -m benchmarks NAME``: runs one benchmark, prints its tables, and writes JSON on request."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from benchmarks.options import Options
from benchmarks.process import BenchmarkError
from benchmarks.table import Result

BENCHMARKS = {
    "series": "ten releases of a project stored one after another, against restic, borg, git and casync",
    "store": "chunking, reading, many threads, opening, memory (parts: hash get threads open memory)",
    "branches": "forks, reads, commits, diffs, merges, memory of many agents, against copies and persistent maps",
    "tree": "a search tree: going back, hit rate of the hot cache, 100,000 rounds of create and prune",
    "workspace": "directories: snapshots, switches, forks, restores, status, against git (parts: scan switch watch …)",
    "tracking": "what changed in a nested state, and storing only that, against deepcopy and pickles",
    "objects": "objects on demand: loading, memory, what it costs (parts: lookup load refs large costs prefetch)",
    "costs": "bytes and times of single things: forks, values, caches, readers (parts: states caches growing)",
    "collection": "a large collection, and writers beside one (parts: sweep writers)",
    "recovery": "after kill -9, an index made anew, repair, verification (parts: kill rebuild verification)",
    "soak": "hours of everything at once, with kills, sampled; ends in a comparison of everything (--hours)",
    "chunks": "the series with average chunks of 4, 8, 16 and 32 KiB",
}


def parse(words: list[str] | None) -> tuple[argparse.Namespace, Options]:
    listing = "\n".join(f"  {name:9} {text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHMARKS, metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--results", type=Path, metavar="FILE", help="replace this benchmark's part of a Markdown file")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="medians of N runs (default 3)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="measure this tool or part only")
    parser.add_argument("--releases", type=Path, metavar="DIR", help="unpacked releases, DIR/VERSION, instead of pip")
    parser.add_argument(
        "--large-mib", type=int, default=1024, metavar="N", help="size of the large file (default 1024)"
    )
    parser.add_argument("--objects", type=int, default=1_000_000, metavar="N", help="objects in the store to open")
    parser.add_argument("--hours", type=float, metavar="H", help="how long the soak runs (default 1)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs (not series, store, chunks)"
    )
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="draw plots into DIR (default: plots/ beside the file of --results)"
    )
    default = os.environ.get("CASSTORE_BENCHMARK_CACHE") or Path(__file__).parent / ".cache"
    parser.add_argument(
        "--cache",
        type=Path,
        default=default,
        metavar="DIR",
        help="folder for downloads, work and built stores (default $CASSTORE_BENCHMARK_CACHE or benchmarks/.cache)",
    )
    found = parser.parse_args(words)
    if found.repeat < 1 or found.large_mib < 1 or found.objects < 1 or (found.hours or 1) <= 0:
        parser.error("numbers are 1 or more, and hours more than 0")
    cache = found.cache.resolve()
    work = cache / "work"
    work.mkdir(parents=True, exist_ok=True)
    large = found.large_mib * 2**20
    plots = found.plots
    if plots is None and found.results is not None:
        if importlib.util.find_spec("matplotlib"):
            plots = found.results.parent / "plots"
        else:
            print("matplotlib is not installed, so no plots are drawn", file=sys.stderr)
    return found, Options(
        cache,
        work,
        found.repeat,
        found.releases,
        tuple(found.only),
        large,
        found.objects,
        quick=found.quick,
        plots=plots,
        hours=found.hours,
    )


def main(words: list[str] | None = None) -> int:
    arguments, options = parse(words)
    try:
        result: Result = importlib.import_module(f"benchmarks.{arguments.name}").run(options)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(f"# {result.name}\n")
    print(result.render())
    if arguments.json:
        result.save_json(arguments.json)
    if arguments.results:
        result.save_markdown(arguments.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
