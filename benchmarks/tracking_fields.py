# SPDX-License-Identifier: MIT
"""A state of 1,000 fields: asking whether it was modified, and finding the one field that changed."""

from __future__ import annotations

import copy
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from benchmarks.options import Options
from benchmarks.parts import Measured, Peer
from benchmarks.table import Goal
from benchmarks.timing import best, spread
from benchmarks.units import fine_microseconds, times
from casstore.objects.tracking import StateTracker

FIELDS = 1_000


def workload(options: Options) -> str:
    return (
        f"dicts of {FIELDS:,} fields: plain, a third each integers, texts of 20 letters and floats; and nested, where "
        "every fourth field is a dict of two values and a list of three. Asked is a tracker in which one field was "
        f"changed, {sizes(options)[0]:,} times. Changed: one field in the middle (in the nested state one inside a "
        "field's dict), from the plain state to the names of what differs: a new tracker, the write and "
        "`get_changes()`; against `copy.deepcopy` before the write and a comparison of the fields of both after it; "
        f"{sizes(options)[1]:,} times, medians. Memory: what is allocated beyond the state while both are alive, the "
        "tracker's changes included."
    )


def sizes(options: Options) -> tuple[int, int]:
    """Questions, and changes."""
    return options.pick(100_000, 1_000), options.pick(300, 10)


def plain_state() -> dict[str, Any]:
    return {
        f"field_{number}": (number, f"text of field {number:06d}", number / 7)[number % 3] for number in range(FIELDS)
    }


def nested_state() -> dict[str, Any]:
    state = plain_state()
    for number in range(0, FIELDS, 4):
        state[f"field_{number}"] = {"value": number, "name": f"name {number}", "list": [number, number + 1, number + 2]}
    return state


def by_copy(state: dict[str, Any], write: Callable[[Any, int], None], number: int) -> list[str]:
    before = copy.deepcopy(state)
    write(state, number)
    found = [key for key, value in state.items() if before[key] != value]
    # Kept until the memory is measured, as a caller keeps it until it is compared.
    assert len(before) == len(state)
    return found


def by_tracker(state: dict[str, Any], write: Callable[[Any, int], None], number: int) -> list[str]:
    tracker = StateTracker(state)
    write(tracker, number)
    return [path[0] for path in tracker.get_changes()]


def write_plain(state: Any, number: int) -> None:
    state["field_501"] = -1 - number


def write_nested(state: Any, number: int) -> None:
    state["field_500"]["value"] = -1 - number


Find = Callable[[dict[str, Any], Callable[[Any, int], None], int], list[str]]


def median(find: Find, make: Callable[[], dict[str, Any]], write: Callable[[Any, int], None], rounds: int) -> float:
    """Seconds of one change."""
    state = make()
    samples = []
    gc.collect()
    for number in range(rounds):
        start = time.perf_counter_ns()
        found = find(state, write, number)
        samples.append((time.perf_counter_ns() - start) / 1e9)
        assert len(found) == 1, found
    return spread(samples)["p50"]


def memory(find: Find, make: Callable[[], dict[str, Any]], write: Callable[[Any, int], None]) -> int:
    """The most that was allocated at once."""
    state = make()
    find(make(), write, 0)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    find(state, write, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def ask_times(questions: int) -> list[float]:
    """Seconds of each question."""
    tracker = StateTracker(nested_state())
    write_nested(tracker, 1)
    samples = [0] * questions
    clock = time.perf_counter_ns
    for number in range(questions):
        start = clock()
        found = tracker.is_modified
        samples[number] = clock() - start
    assert found
    return [sample / 1e9 for sample in samples]


def measure(options: Options) -> Measured:
    questions, rounds = sizes(options)
    runs = [spread(ask_times(questions)) for _ in range(options.repeat)]
    least = best(runs)
    note = f"p50 {fine_microseconds(least['p50'])}, p99 {fine_microseconds(least['p99'])}"
    what = f"is_modified on {FIELDS:,} fields, p95"
    found = Measured([Goal(what, least["p95"], fine_microseconds, 100e-6, 1e-6, detail={"runs": runs}, note=note)])
    for name, make, write in (("plain", plain_state, write_plain), ("nested", nested_state, write_nested)):
        copied = min(median(by_copy, make, write, rounds) for _ in range(options.repeat))
        tracked = min(median(by_tracker, make, write, rounds) for _ in range(options.repeat))
        copied_bytes, tracked_bytes = memory(by_copy, make, write), memory(by_tracker, make, write)
        what = f"one of {FIELDS:,} {name} fields changed"
        note = f"{fine_microseconds(copied)} against {fine_microseconds(tracked)}"
        found.goals.append(Goal(f"{what}, faster than deepcopy", copied / tracked, times, 10, 100, True, note=note))
        note = f"{copied_bytes:,} against {tracked_bytes:,} bytes"
        share = tracked_bytes / copied_bytes
        found.goals.append(Goal(f"{what}, memory against deepcopy", share, times, 0.5, 0.1, note=note))
        found.peers.append(Peer(what, "copy.deepcopy and compare", copied, tracked, fine_microseconds))
    return found
