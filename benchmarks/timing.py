# SPDX-License-Identifier: MIT
"""Times of single operations: percentiles of a repetition, and the best of several repetitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.table import percentiles


def each(operation: Callable[[Any], object], arguments: Iterable[Any]) -> list[float]:
    """Seconds of ``operation(argument)`` for every argument."""
    clock = time.perf_counter_ns
    samples = []
    for argument in arguments:
        start = clock()
        operation(argument)
        samples.append((clock() - start) / 1e9)
    return samples


def once(operation: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def spread(samples: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and count; with few samples, percentiles lie between the nearest ones."""
    if len(samples) == 1:
        return {"p50": samples[0], "p95": samples[0], "p99": samples[0], "count": 1}
    return {**percentiles(samples), "count": len(samples)}


def best(repetitions: Sequence[dict[str, float]], by: str = "p95") -> dict[str, float]:
    """The repetition that the machine disturbed least."""
    return min(repetitions, key=lambda found: found[by])
