# SPDX-License-Identifier: MIT
"""Loading ahead on recorded traces: what was learned from one run helps another, against none and against siblings."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.objects_replay import LONGEST_US, Played, Siblings, build, forget_pages, play, states_of
from benchmarks.objects_traces import EXAMPLES, Trace, file_of, load
from benchmarks.options import Options
from benchmarks.parts import Measured, Peer
from benchmarks.scratch import scratch
from benchmarks.table import Goal, seconds
from benchmarks.units import percent, times

SIBLINGS = 2
WAYS = ("none", "siblings", "learned")
CACHE_BYTES = 2**20


def workload(options: Options) -> str:
    return (
        "reads recorded from the examples by `python -m benchmarks.objects_record` (`benchmarks/traces/`, of each "
        "example the first 1,500 reads of two different tasks), played on a store on disk: the same keys, sizes and "
        "compressibility (as bytes, so without decoding), a snapshot for each state. Before each read the agent "
        "computes and waits as long as it did when it was recorded, "
        f"thoughts beyond {LONGEST_US / 1e3:.0f} ms cut to that. The store was just opened, its files dropped from "
        f"the system's cache, its hot cache has {CACHE_BYTES // 2**20} MiB; the materializer holds a quarter of what "
        "the trace reads. *Learned*: a `Prefetcher` that saw the other task's trace played first, which is not "
        f"measured. *Siblings*: the {SIBLINGS} keys that come next in order, always. *None*: neither. Waiting is the "
        "time of the reads, with all that loading ahead does in the reader's thread; hits are the loads of *none* that "
        f"came from ahead. Medians of {repetitions(options)} rounds, in which all ways take turns."
    )


def repetitions(options: Options) -> int:
    return options.pick(2 * options.repeat - 1, 1)


@dataclass(slots=True)
class Found:
    """What the rounds of one trace gave."""

    waited: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    whole: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    cpu: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    loads: dict[str, int] = field(default_factory=dict)
    hits: list[int] = field(default_factory=list)
    issued: int = 0
    wasted: int = 0
    switches: int = 0
    active: bool = True

    def ratios(self, of: dict[str, list[float]], way: str) -> list[float]:
        """Round by round, a way against none."""
        return [one / none for one, none in zip(of[way], of["none"])]


def play_way(path: Path, way: str, learn: Trace, trace: Trace, found: Found) -> None:
    """Plays a trace once."""
    import casstore
    from casstore.objects import Materializer, Prefetcher

    forget_pages(path)
    bound = max(4096, trace.raw_bytes // 4)
    most = max(bound, *(raw for raw, _ in (*learn.contents, *trace.contents))) + 4096
    with casstore.open(str(path), config=casstore.Config(cache_bytes=CACHE_BYTES)) as store:
        states = states_of(store, trace)
        with Materializer(store, max_bytes=max(bound, 2 * most), max_object_bytes=most) as home:
            played: Played
            ahead = Prefetcher(home) if way == "learned" else None
            # In every way, so that caches, heap and allocator are as warm.
            play(home, states_of(store, learn), learn)
            if ahead is not None:
                before = ahead.status()
                played = play(home, states, trace)
                status = ahead.status()
                found.hits.append(status.hits - before.hits)
                found.issued = status.issued - before.issued
                found.wasted = status.wasted - before.wasted
                found.switches, found.active = status.switches, status.active and not status.resting
                ahead.close()
            elif way == "siblings":
                siblings = Siblings(home, trace, SIBLINGS)
                played = play(home, states, trace, siblings, siblings.refs)
            else:
                played = play(home, states, trace)
    found.waited[way].append(played.waited)
    found.whole[way].append(played.whole)
    found.cpu[way].append(played.cpu)
    found.loads[way] = played.loads


def shortened(trace: Trace, options: Options) -> Trace:
    """A trace cut down for a quick run."""
    if options.quick:
        trace.reads = trace.reads[:60]
    return trace


def measure(options: Options) -> Measured:
    import casstore

    measured = Measured([])
    together: list[Found] = []
    for example in EXAMPLES:
        options.progress(f"objects: loading ahead, {example}")
        learn, trace = (shortened(load(file_of(example, run)), options) for run in ("learn", "measure"))
        found = Found()
        with scratch(options.work, "prefetch") as work:
            path = work / "store"
            with casstore.open(str(path)) as store:
                build(store, learn)
                build(store, trace)
            for number in range(repetitions(options)):
                for way in (*WAYS, *WAYS)[number % 3 :][:3]:
                    play_way(path, way, learn, trace, found)
        report(measured, example, trace, found)
        together.append(found)
    total(measured, together)
    return measured


def total(measured: Measured, together: list[Found]) -> None:
    """All traces, as if one agent had read one after the other: a trace weighs as much as it waits."""
    waits = {way: [sum(round_) for round_ in zip(*(found.waited[way] for found in together))] for way in WAYS}
    ratios = {way: statistics.median(one / none for one, none in zip(waits[way], waits["none"])) for way in WAYS}
    hits = sum(statistics.median(found.hits) for found in together)
    loads = sum(found.loads["none"] for found in together)
    measured.goals.insert(
        0,
        Goal(
            "waiting for objects against none, all traces",
            ratios["learned"],
            times,
            0.9,
            0.7,
            detail={"waited": waits},
            note=f"siblings {ratios['siblings']:.2f} times; a trace weighs as much as it waits",
        ),
    )
    measured.goals.insert(
        1,
        Goal("loads that came from ahead, all traces", min(1.0, hits / max(1, loads)), percent, None, 0.8, True),
    )


def report(measured: Measured, example: str, trace: Trace, found: Found) -> None:
    waiting = statistics.median(found.ratios(found.waited, "learned"))
    whole = statistics.median(found.ratios(found.whole, "learned"))
    none = statistics.median(found.waited["none"])
    loads = found.loads["none"]
    mean = none / len(trace.reads)
    sizes = sorted(trace.contents[read.content][0] for read in trace.reads)
    detail: dict[str, Any] = {"waited": found.waited, "whole": found.whole}
    pays = "" if waiting <= 0.9 else "does not pay here; "
    note = (
        f"{pays}{len(trace.reads):,} reads, {loads:,} loads; of {sizes[len(sizes) // 2]:,} bytes (median), a "
        f"read {mean * 1e6:.0f} µs; {found.issued} loads ahead, {found.wasted} wasted, {found.switches} switches, "
        f"{'on' if found.active else 'off'} at the end"
    )
    measured.goals.append(
        Goal(f"waiting for objects against none, {example}", waiting, times, detail=detail, note=note)
    )
    share = min(1.0, statistics.median(found.hits) / max(1, loads))
    measured.goals.append(Goal(f"loads that came from ahead, {example}", share, percent))
    measured.goals.append(
        Goal(
            f"whole time against none, {example}",
            whole,
            times,
            note=f"thoughts take {1 - none / statistics.median(found.whole['none']):.0%} of it",
        )
    )
    measured.goals.append(
        Goal(
            f"processor time of all threads against none, {example}",
            statistics.median(found.ratios(found.cpu, "learned")),
            times,
            note="without thoughts",
        )
    )
    learned = statistics.median(found.waited["learned"])
    for way in ("none", "siblings"):
        value = statistics.median(found.waited[way])
        measured.peers.append(Peer(f"waiting for objects, {example}", way, value, learned, seconds))
