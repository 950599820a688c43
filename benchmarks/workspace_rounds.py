# SPDX-License-Identifier: MIT
"""Several sides doing the same in turns, and the rows that come of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from benchmarks.parts import Measured, Peer
from benchmarks.table import Goal, milliseconds
from benchmarks.timing import spread
from benchmarks.units import fine_milliseconds

PAUSE_SECONDS = 0.06
"""Longer than what counts as too new to trust a file's times."""
WARM_UP = 2
OURS = "casstore"

Samples = dict[str, list[float]]


def rounds_of(options: Options, per_repeat: int = 10) -> int:
    """Rounds that count: 30 unless ``--repeat`` says otherwise."""
    return options.pick(per_repeat * options.repeat, 3)


def alternate(rounds: int, sides: Mapping[str, Callable[[int], float]], warm_up: int = WARM_UP) -> Samples:
    """Seconds of every side in every round.

    Args:
        rounds: How many count.
        sides: Name → operation; it gets the number of the round (from 0, rounds to warm up included), and returns the
            seconds that count of what it did.
        warm_up: Rounds before those that count.
    """
    samples: Samples = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            took = sides[name](number)
            if number >= warm_up:
                samples[name].append(took)
    return samples


def pause() -> None:
    """Lets what was just changed become old enough to be trusted."""
    time.sleep(PAUSE_SECONDS)


def timed(operation: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call after a pause, and what it returned."""
    pause()
    start = time.perf_counter()
    result = operation()
    return time.perf_counter() - start, result


def ratio(value: float) -> str:
    """A ratio of two times, fine enough to see on which side of 1 it is."""
    return f"{value:.2f} ×" if value >= 0.1 else f"{value:.4f} ×"


def against(
    found: Measured, what: str, samples: Samples, peer: str, bar: float | None, aim: float | None, note: str = ""
) -> None:
    """A row: our p95 over the peer's, against bar and aim; and the times themselves among the peers."""
    ours, theirs = spread(samples[OURS]), spread(samples[peer])
    notes = [_times(OURS, ours), _times(peer, theirs), f"{len(samples[OURS])} rounds"]
    if len(samples[peer]) != len(samples[OURS]):
        notes[-1] += f" ({len(samples[peer])} of {peer})"
    if note:
        notes.append(note)
    detail = {OURS: ours, peer: theirs, "samples": {OURS: samples[OURS], peer: samples[peer]}}
    found.goals.append(
        Goal(
            f"{what}, p95 against {peer}",
            ours["p95"] / theirs["p95"],
            ratio,
            bar,
            aim,
            detail=detail,
            note="; ".join(notes),
        )
    )
    found.peers.append(Peer(f"{what}, median", peer, theirs["p50"], ours["p50"], fine_milliseconds))


def alone(
    found: Measured,
    what: str,
    samples: Sequence[float],
    bar: float | None = None,
    aim: float | None = None,
    note: str = "",
) -> None:
    """A row: our p95 in milliseconds."""
    ours = spread(samples)
    notes = [f"p50 {fine_milliseconds(ours['p50'])}, {len(samples)} rounds"]
    if note:
        notes.append(note)
    detail = {OURS: ours, "samples": list(samples)}
    found.goals.append(Goal(f"{what}, p95", ours["p95"], milliseconds, bar, aim, detail=detail, note="; ".join(notes)))


def syncs(found: Measured, part: str, rounds: int, work: Path) -> None:
    """A row: what one sync takes here, as context for operations that must sync."""
    with open(work / "synced", "ab", buffering=0) as file:

        def sync(_: int) -> float:
            file.write(bytes(4096))
            return timed(lambda: os.fdatasync(file.fileno()))[0]

        samples = alternate(rounds, {"sync": sync})
    alone(found, f"{part}: one fdatasync of 4 KiB appended to a file", samples["sync"])


def _times(name: str, found: Mapping[str, float]) -> str:
    return f"{name} p50 {fine_milliseconds(found['p50'])} p95 {fine_milliseconds(found['p95'])}"
