# SPDX-License-Identifier: MIT
"""Admission: which requests that nobody waits for are worth their memory, so that a storm degrades in order.

Pressure and its trend raise the threshold: less where loading takes long, as there is more to gain, and where touches
mostly find what they look for, as what is loaded is used. A caller that waits is never refused: it would load by
itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from casstore.errors import InvalidInputError


class Pressure(Protocol):
    """What is needed of a memory monitor; ``MemoryMonitor`` is one.

    It may have more: ``foresees``, true where ``pressure`` has the trend in it already, so that it is not added; and
    ``level``, one of ``low``, ``medium``, ``high`` and ``critical``, which falls late and holds pressure up until then.
    ``casstore.objects.pressing`` says what is done with all of it.
    """

    @property
    def pressure(self) -> float:
        """How short memory is, 0 to 1."""

    @property
    def trend(self) -> float:
        """How fast what is used grows, bytes per second; negative where it shrinks."""

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Has ``callback`` called with every sample; returns a function that ends it."""


SLOW_LOAD_SECONDS: Final = 0.01
"""A load that takes this long halves what pressure adds to the threshold."""


def check_priority(value: object) -> float:
    """``value`` as a priority.

    Raises:
        InvalidInputError: It is no finite number of 0 or more.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise InvalidInputError(f"{value!r} is no priority; give a finite number, 0 or more.")


def check_count(name: str, value: object) -> None:
    """Raises ``InvalidInputError`` where ``value`` is no whole number of 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError(f"{name} is {value!r}; give a whole number, 1 or more.")


def check_seconds(value: object) -> float | None:
    """``value`` as a time to wait; None is for ever.

    Raises:
        InvalidInputError: It is no number of 0 or more.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value) if math.isfinite(value) else None
    raise InvalidInputError(f"{value!r} is no time; give seconds, 0 or more, or None.")


@dataclass(frozen=True, slots=True)
class Admission:
    """The rule of admission; every method is a pure function.

    Attributes:
        base: Threshold without any pressure, 0 or more.
        easy: Pressure up to which ``base`` holds, 0 to 1; a ``MemoryMonitor`` says ``medium`` from 1/3 on.
        full: Pressure from which on nothing is admitted; above ``easy``. A ``MemoryMonitor`` says ``critical`` at 1.
        ahead_seconds: How far ahead the trend counts, of a monitor that does not foresee by itself.
        top: What pressure adds at the most, for loads that take no time and are hits half the time. Priorities of a
            search are probabilities, so with 1.0 only its root gets through just below ``full``.
        smallest_share: Share of the bound that loaded objects may take at ``full``.

    Raises:
        InvalidInputError: A field is out of its range.
    """

    base: float = 0.0
    easy: float = 1 / 3
    full: float = 1.0
    ahead_seconds: float = 1.0
    top: float = 1.0
    smallest_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("base", "easy", "full", "ahead_seconds", "top", "smallest_share"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise InvalidInputError(f"{name} is {value!r}; give a finite number, 0 or more.")
        if not self.easy < self.full <= 1:
            raise InvalidInputError(f"easy is {self.easy} and full is {self.full}; give 0 ≤ easy < full ≤ 1.")
        if self.smallest_share > 1:
            raise InvalidInputError(f"smallest_share is {self.smallest_share}; give a share, 0 to 1.")

    def expected(self, pressure: float, trend: float, limit_bytes: int) -> float:
        """The pressure to reckon with: that of now, or of a little later where memory grows.

        Args:
            pressure: How short memory is, 0 to 1; what is no number counts as 1.
            trend: Growth, bytes per second; 0.0 where the monitor has it in its pressure already.
            limit_bytes: What growth is measured against.
        """
        if not 0 <= pressure <= 1:
            return 0.0 if pressure < 0 else 1.0
        growth = max(0.0, trend) * self.ahead_seconds / max(1, limit_bytes) if math.isfinite(trend) else 0.0
        # Growth alone closes nothing: half of the way to the end is as far as it counts.
        return pressure + min(growth, (1.0 - pressure) / 2)

    def threshold(self, pressure: float, load_seconds: float, hit_rate: float) -> float:
        """The least priority that is admitted: ``base`` and what pressure adds; infinite from ``full`` on.

        It never falls with ``pressure``, and never rises with ``load_seconds`` or ``hit_rate``.

        Args:
            pressure: As ``expected`` gives it.
            load_seconds: Mean time of a load.
            hit_rate: Share of touches that found their object loaded, 0 to 1.
        """
        if pressure >= self.full:
            return math.inf
        steep = max(0.0, (pressure - self.easy) / (self.full - self.easy))
        worth = 1 + max(0.0, load_seconds) / SLOW_LOAD_SECONDS
        return self.base + self.top * steep * steep * (1.5 - min(1.0, max(0.0, hit_rate))) / worth

    def allowed_bytes(self, pressure: float, max_bytes: int) -> int:
        """What loaded objects may take: all of ``max_bytes`` up to ``easy``, then less and less."""
        if pressure <= self.easy:
            return max_bytes
        steep = min(1.0, (pressure - self.easy) / (self.full - self.easy))
        return round(max_bytes * (1 - steep * (1 - self.smallest_share)))
