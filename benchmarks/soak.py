# SPDX-License-Identifier: MIT
"""``soak``: hours of everything at once, with kills; nothing may be lost, and nothing may grow."""

from __future__ import annotations

import shutil
import time

from benchmarks import environment, plots
from benchmarks.options import Options
from benchmarks.scratch import scratch
from benchmarks.soak_child import Fault
from benchmarks.soak_plot import draw
from benchmarks.soak_run import LONG_LIFE, READERS, Soak
from benchmarks.soak_samples import PARTS, most, slope
from benchmarks.table import Result, Table, megabytes

BRANCHES = 850
MOST_BYTES = 4 * 2**30
WARM_UP = 0.1
"""Share of the run that slopes leave out."""


def run(options: Options) -> Result:
    """Runs for ``options.hours``, or an hour; a quick run takes some seconds.

    Raises:
        Fault: Something was lost, wrong, or grew without bound. The store is left as it is for whoever looks.
    """
    if options.plots:
        plots.check()
    hours = options.hours or (10 / 3600 if options.quick else 1.0)
    with scratch(options.work, "soak") as folder:
        soak = Soak(options, folder, hours * 3600, branches=options.pick(BRANCHES, 30), most_bytes=MOST_BYTES)
        try:
            soak.run()
        except Fault as error:
            soak.stop()
            kept = options.cache / f"soak-fault-{time.strftime('%Y%m%dT%H%M%S')}"
            shutil.copytree(folder, kept, symlinks=True)
            raise Fault(f"{error}\nafter {soak.now:.0f} s and {dict(soak.counts)}; it lies in {kept}") from error
        finally:
            soak.stop()
        if options.plots:
            draw(soak.samples, hours, options.plots)
        return _result(soak, options, hours)


def _result(soak: Soak, options: Options, hours: float) -> Result:
    workload = [
        f"{len(soak.model.agents)} live branches over one store for {hours:g} h: commits, forks, merges, reads, moves "
        "and deletions of refs with undo, searches that grow, are pruned and saved, imports of a small folder that "
        "changes; collections without and with grace beside them, retention before every other one.",
        f"{READERS} readers in processes of their own open, look at the same view over and over, and go or are killed. "
        "The writer is a process of its own too, killed with SIGKILL in the middle of operations and collections every "
        f"10 to 60 s, but for {LONG_LIFE[0]:.0%} to {LONG_LIFE[1]:.0%} of the run, in which one lives, so that growth "
        "shows.",
        "The parent holds what every ref must name, as numbers from which contents are made; after each kill all refs "
        "are compared by state id and some to the last byte, at the end all. One operation at a time, at most 250 /s. "
        "Percentiles from histograms with buckets 4 % wide; sampled every 5 s.",
    ]
    if options.quick:
        workload.insert(0, "A quick run: it shows that the soak works, its figures mean nothing.")
    tables = [_growth(soak, hours), _times(soak), _drift(soak), _counts(soak)]
    figures = {
        "growth": {name: value for name, value, _ in growth(soak, hours)},
        "times": {
            name: {"count": times.count, "p50": times.at(0.5), "p95": times.at(0.95), "p99.9": times.at(0.999),
                   "longest": times.longest}
            for name, times in soak.times.items()
        },
        "quarters": [{name: times.at(0.5) for name, times in quarter.items()} for quarter in soak.quarters],
        "counts": dict(soak.counts),
        "samples": soak.samples.kept,
    }  # fmt: skip
    return Result("soak", workload, environment.describe(options.work), tables, figures)


def duration(value: float) -> str:
    """Seconds, in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


def growth(soak: Soak, hours: float) -> list[tuple[str, float, str]]:
    """What must not grow: what, figure, and how it reads."""
    samples = soak.samples
    start, end = (share * hours for share in LONG_LIFE)
    start += 0.2 * (end - start)
    found: list[tuple[str, float, str]] = []
    for name, title in (
        ("rss", "memory of the writer"),
        ("anon", "of it anonymous, without mapped files"),
        ("own_rss", "memory of the soak itself"),
    ):
        points = samples.line(name)
        long = [point for point in points if (point[0] >= start if name == "own_rss" else start <= point[0] <= end)]
        per_hour = slope(long)
        found.append((f"{title}, growth per hour", per_hour, megabytes(per_hour)))
        largest = most(samples.kept, name)
        found.append((f"{title}, most", largest, megabytes(largest)))
    helpers = most(samples.kept, "helpers_rss")
    found.append(("memory of processes that the writer starts, most", helpers, megabytes(helpers)))
    for name, title in (("fds", "file descriptors of the writer"), ("threads", "threads of the writer")):
        largest = most(samples.kept, name)
        found.append((f"{title}, most", largest, f"{largest:.0f}"))
    for name, title in (
        ("store", "store"),
        ("live", "of it records that collections found live"),
        ("index", "of it the index"),
    ):
        warm = [point for point in samples.line(name) if point[0] >= WARM_UP * hours]
        found.append((f"{title}, growth per hour", slope(warm), megabytes(slope(warm))))
    largest, last = most(samples.kept, "events"), samples.kept[-1].get("events", 0.0)
    found.append(("events that collections keep: most", largest, f"{largest:,.0f}"))
    found.append(("events that collections keep: at the end", last, f"{last:,.0f}"))
    for name in ("store", *PARTS):
        largest, last = most(samples.kept, name), samples.kept[-1].get(name, 0.0)
        found.append((f"{name}: most", largest, megabytes(largest)))
        found.append((f"{name}: at the end, collected", last, megabytes(last)))
    found.append(("segments, most", most(samples.kept, "segment_files"), f"{most(samples.kept, 'segment_files'):.0f}"))
    return found


def _growth(soak: Soak, hours: float) -> Table:
    rows = [(what, text) for what, _, text in growth(soak, hours)]
    return Table("What must not grow", ("what", "measured"), list(rows))


def _times(soak: Soak) -> Table:
    table = Table("Times", ("operation", "count", "p50", "p95", "p99.9", "longest"))
    for name, times in sorted(soak.times.items()):
        cells = [duration(times.at(share)) for share in (0.5, 0.95, 0.999)]
        table.rows.append((name, f"{times.count:,}", *cells, duration(times.longest)))
    return table


def _drift(soak: Soak) -> Table:
    table = Table("Medians by quarters of the run", ("operation", "first", "second", "third", "last"))
    for name in sorted(soak.times):
        found = [quarter.get(name) for quarter in soak.quarters]
        if sum(times.count for times in found if times is not None) >= 40:
            table.rows.append((name, *("–" if times is None else duration(times.at(0.5)) for times in found)))
    return table


def _counts(soak: Soak) -> Table:
    rows = [(name, f"{count:,}") for name, count in sorted(soak.counts.items())]
    rows.append(("lost, wrong, or left behind", "none"))
    return Table("What was done", ("what", "count"), list(rows))
