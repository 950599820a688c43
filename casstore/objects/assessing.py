# SPDX-License-Identifier: MIT
"""From readings to samples: rates, trends, the tightest limit, pressure, level.

Invariant: a pure function of the readings and their times; no clock, no files, no threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casstore.objects.memory_levels import Level, Limits, Steadier
from casstore.objects.reading import NOT_WATCHED, Bound, CollectorFigures, Reading
from casstore.objects.trend import Trend

NOISE_BYTES: Final = 1 << 16
"""Steps of so little are not told from none: usage is counted in batches of pages."""
FORESEEN_PRESSURE: Final = 0.6
"""What the trend alone can make of the pressure, below ``high``: what grows may be a cache that knows its bound."""
OWN_LIMIT: Final = "Limits.max_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a monitor knows at one moment.

    Attributes:
        time_seconds: When, by the monitor's clock.
        level: ``low``, ``medium``, ``high`` or ``critical``; it rises at once and falls late.
        pressure: 0 to 1; 1/3 is where ``medium`` begins, 2/3 ``high``, 1 ``critical``. It does not wait.
        rss_bytes: Resident size of the process.
        limit_name: What states the tightest limit, ``""`` where there is none.
        limit_bytes: The tightest limit, the one of which the largest share is taken; None: there is none.
        used_bytes: What is taken of it; without a limit, the resident size.
        share: How full it is; for limits beyond ``span_bytes``, how full their last part is.
        room_bytes: What may be taken until the first limit reaches ``medium``; negative beyond; None: no limit.
        free_bytes: What may be taken until the first limit is reached; None: no limit.
        trend: Growth of ``used_bytes``, fitted, bytes per second; negative where it shrinks.
        seconds_to_limit: When the first limit is reached if everything goes on so; None: not in sight.
        stall_share: Share of the time in which a task waited for memory; None: not known.
        allocation_rate: Bytes per second that the process was given, of which it may have given back any part.
        collector_share: Share of the time in which Python's collector ran, since the sample before.
        collector_rate: Collections per second, since the sample before.
        collector: All that Python's collector did since it is watched.
        problems: What could not be read, and why.
    """

    time_seconds: float
    level: Level
    pressure: float
    rss_bytes: int
    limit_name: str = ""
    limit_bytes: int | None = None
    used_bytes: int = 0
    share: float = 0.0
    room_bytes: int | None = None
    free_bytes: int | None = None
    trend: float = 0.0
    seconds_to_limit: float | None = None
    stall_share: float | None = None
    allocation_rate: float = 0.0
    collector_share: float = 0.0
    collector_rate: float = 0.0
    collector: CollectorFigures = NOT_WATCHED
    problems: tuple[str, ...] = ()


class Assessor:
    """Turns readings into samples, one after the other.

    *Thread safety*: for one thread at a time.
    *Cost*: a line fitted per limit, some 0.1 ms each.

    Args:
        limits: The thresholds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._steadier = Steadier(limits.hysteresis, limits.hold_seconds)
        self._trends: dict[str, Trend] = {}
        self._stalls: list[tuple[float, int]] = []
        self._last: tuple[float, Reading, Sample] | None = None

    def assess(self, now: float, reading: Reading) -> Sample:
        """The sample of ``reading``, taken at ``now`` seconds."""
        limits = self._limits
        bounds = [*reading.bounds]
        if limits.max_bytes is not None:
            bounds.append(Bound(OWN_LIMIT, reading.rss_bytes, limits.max_bytes))
        slopes = self._fit(now, bounds or [Bound("", reading.rss_bytes, 1)])
        stall = self._stall_share(now, reading)
        pressure = 0.0 if stall is None else limits.pressure_of_stall(stall)
        tightest: Bound | None = None
        share = 0.0
        seconds: float | None = None
        for bound in bounds:
            full = limits.share_of(bound)
            if tightest is None or full > share:
                tightest, share = bound, full
            slope = max(0.0, slopes[bound.name])
            ahead = limits.pressure_of_share(limits.share_of(bound, bound.used_bytes + slope * limits.horizon_seconds))
            pressure = max(pressure, limits.pressure_of_share(full), min(ahead, FORESEEN_PRESSURE))
            if slope > 0:
                left = max(0.0, (bound.limit_bytes - bound.used_bytes) / slope)
                seconds = left if seconds is None else min(seconds, left)
        allocation_rate, collector_share, collector_rate = self._rates(now, reading)
        sample = Sample(
            time_seconds=now,
            level=self._steadier.update(now, pressure),
            pressure=pressure,
            rss_bytes=reading.rss_bytes,
            limit_name=tightest.name if tightest else "",
            limit_bytes=tightest.limit_bytes if tightest else None,
            used_bytes=tightest.used_bytes if tightest else reading.rss_bytes,
            share=share,
            room_bytes=min((limits.room_below(limits.medium_share, bound) for bound in bounds), default=None),
            free_bytes=min((max(0, bound.limit_bytes - bound.used_bytes) for bound in bounds), default=None),
            trend=slopes[tightest.name if tightest else ""],
            seconds_to_limit=seconds,
            stall_share=stall,
            allocation_rate=allocation_rate,
            collector_share=collector_share,
            collector_rate=collector_rate,
            collector=reading.collector,
            problems=reading.problems,
        )
        self._last = (now, reading, sample)
        return sample

    def _fit(self, now: float, bounds: list[Bound]) -> dict[str, float]:
        """Growth by name; limits that are gone are forgotten."""
        self._trends = {
            bound.name: self._trends.get(bound.name) or Trend(self._limits.window_seconds) for bound in bounds
        }
        for bound in bounds:
            self._trends[bound.name].add(now, float(bound.used_bytes))
        return {name: trend.slope(scale=NOISE_BYTES) for name, trend in self._trends.items()}

    def _stall_share(self, now: float, reading: Reading) -> float | None:
        """Waiting per time through the window; at first, and where only that is stated, the system's own average."""
        stalls = self._stalls
        total = reading.stalled_us
        if total is None or (stalls and (total < stalls[-1][1] or now < stalls[-1][0])):
            # Another file than before, or another clock.
            stalls.clear()
        if total is None:
            return reading.stalled_share
        stalls.append((now, total))
        while len(stalls) > 2 and stalls[1][0] <= now - self._limits.window_seconds:
            del stalls[0]
        (before, from_us), (after, to_us) = stalls[0], stalls[-1]
        if after - before <= 0:
            return reading.stalled_share
        return min(1.0, (to_us - from_us) / 1e6 / (after - before))

    def _rates(self, now: float, reading: Reading) -> tuple[float, float, float]:
        """Bytes allocated per second, share of the collector, collections per second, since the reading before."""
        if self._last is None:
            return 0.0, 0.0, 0.0
        then, before, sample = self._last
        elapsed = now - then
        if elapsed <= 0:
            return sample.allocation_rate, sample.collector_share, sample.collector_rate
        grown = reading.rss_bytes - before.rss_bytes
        if reading.faulted_bytes is not None and before.faulted_bytes is not None:
            # A huge page is one fault, however many pages it holds.
            grown = max(grown, reading.faulted_bytes - before.faulted_bytes)
        runs = sum(reading.collector.collections) - sum(before.collector.collections)
        busy = reading.collector.seconds - before.collector.seconds
        return max(0, grown) / elapsed, min(1.0, max(0.0, busy) / elapsed), max(0, runs) / elapsed
