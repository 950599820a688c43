# SPDX-License-Identifier: MIT
"""From shares to a pressure of 0 to 1, and from that to a level that does not flutter.

One scale for everything: pressure 1/3 is where ``medium`` begins, 2/3 ``high``, 1 ``critical``; between the points it
is linear. A level rises at once, and falls when the pressure stayed clearly below it for a while.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final, Literal

from casstore.errors import InvalidInputError
from casstore.objects.reading import Bound

Level = Literal["low", "medium", "high", "critical"]
LEVELS: Final[tuple[Level, ...]] = ("low", "medium", "high", "critical")
LEVEL_STARTS: Final = (0.0, 1 / 3, 2 / 3, 1.0)
"""Pressure at which each level begins."""
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Thresholds of a monitor; ``docs/tuning.md`` says how to see that one is wrong.

    Attributes:
        max_bytes: A limit of one's own on the resident size of the process; None: only those of the system.
        start_share: Share of a limit at which pressure begins to rise from 0.
        medium_share: Share of a limit at which ``medium`` begins; caches shrink so as to stay below it.
        high_share: Share of a limit at which ``high`` begins.
        critical_share: Share of a limit at which ``critical`` begins.
        medium_stall: Share of the time waited for memory (PSI) at which ``medium`` begins.
        high_stall: The same for ``high``.
        critical_stall: The same for ``critical``.
        span_bytes: Of a larger limit only the last so many bytes are looked at: 5 % of 1 TiB is no shortage.
        horizon_seconds: How far ahead the trend is drawn out; it alone never makes more than ``medium``.
        window_seconds: The time through which the trend is fitted, and stalls are averaged.
        hysteresis: How far below its threshold pressure must be for a level to fall.
        hold_seconds: And for how long.
    """

    max_bytes: int | None = None
    start_share: float = 0.50
    medium_share: float = 0.70
    high_share: float = 0.85
    critical_share: float = 0.95
    medium_stall: float = 0.10
    high_stall: float = 0.25
    critical_stall: float = 0.50
    span_bytes: int = 32 * GIB
    horizon_seconds: float = 1.0
    window_seconds: float = 5.0
    hysteresis: float = 0.05
    hold_seconds: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "max_bytes" and value is None:
                continue
            if field.name.endswith("_bytes"):
                if type(value) is not int or value < 1:
                    raise InvalidInputError(f"{field.name} is {value!r}; give a number of bytes, 1 or more.")
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise InvalidInputError(f"{field.name} is {value!r}; give a finite number of 0 or more.")
        for names in (
            ("start_share", "medium_share", "high_share", "critical_share"),
            ("medium_stall", "high_stall", "critical_stall"),
        ):
            values = [getattr(self, name) for name in names]
            if any(low >= high for low, high in zip([-1.0, *values], [*values, 1.0 + 1e-9])):
                raise InvalidInputError(f"{', '.join(names)} are {values}; give shares that rise, 1 at most.")
        if self.window_seconds <= 0:
            raise InvalidInputError("window_seconds is 0; give the seconds through which a trend is fitted.")
        if self.hysteresis >= LEVEL_STARTS[1]:
            raise InvalidInputError(f"hysteresis is {self.hysteresis}; give less than a third, or no level ever falls.")

    def share_of(self, bound: Bound, used_bytes: float | None = None) -> float:
        """How full ``bound`` is, beyond 1 where it is passed; with ``used_bytes`` instead of what is used."""
        used = bound.used_bytes if used_bytes is None else used_bytes
        return max(0.0, 1.0 - (bound.limit_bytes - used) / min(bound.limit_bytes, self.span_bytes))

    def room_below(self, share: float, bound: Bound) -> int:
        """Bytes that may still be taken until ``bound`` is as full as ``share``; negative beyond."""
        spared = (1.0 - share) * min(bound.limit_bytes, self.span_bytes)
        return bound.limit_bytes - bound.used_bytes - round(spared)

    def pressure_of_share(self, share: float) -> float:
        """The pressure where a limit is so full, 0 to 1."""
        return _interpolate(share, (self.start_share, self.medium_share, self.high_share, self.critical_share))

    def pressure_of_stall(self, stall: float) -> float:
        """The pressure where so much of the time is waited for memory, 0 to 1."""
        return _interpolate(stall, (0.0, self.medium_stall, self.high_stall, self.critical_stall))


def _interpolate(value: float, points: tuple[float, ...]) -> float:
    if value >= points[-1]:
        return 1.0
    for i in range(len(points) - 1, 0, -1):
        low, high = points[i - 1], points[i]
        if value >= low:
            return LEVEL_STARTS[i - 1] + (LEVEL_STARTS[i] - LEVEL_STARTS[i - 1]) * (value - low) / (high - low)
    return 0.0


def level_of(pressure: float) -> int:
    """The number of the level that ``pressure`` alone would give, as an index of ``LEVELS``."""
    # Two ways to compute a third may differ in the last bit.
    return sum(pressure >= start - 1e-9 for start in LEVEL_STARTS[1:])


class Steadier:
    """A level with hysteresis.

    *Thread safety*: for one thread at a time.

    Args:
        hysteresis: How far below its threshold pressure must be for a level to fall.
        hold_seconds: And for how long.
    """

    __slots__ = ("_below_since", "_hold_seconds", "_hysteresis", "_level", "_worst")

    def __init__(self, hysteresis: float, hold_seconds: float) -> None:
        self._hysteresis = hysteresis
        self._hold_seconds = hold_seconds
        self._level = 0
        self._below_since: float | None = None
        self._worst = 0.0

    def update(self, time_seconds: float, pressure: float) -> Level:
        """The level after a sample; it rises at once, and falls to the worst of what held meanwhile."""
        now = level_of(pressure)
        if now >= self._level or pressure > LEVEL_STARTS[self._level] - self._hysteresis:
            self._level = max(self._level, now)
            self._below_since = None
        else:
            if self._below_since is None or time_seconds < self._below_since:
                self._below_since, self._worst = time_seconds, pressure
            self._worst = max(self._worst, pressure)
            if time_seconds - self._below_since >= self._hold_seconds:
                self._level = min(self._level - 1, level_of(self._worst + self._hysteresis))
                self._below_since = None
        return LEVELS[self._level]
