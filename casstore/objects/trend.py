# SPDX-License-Identifier: MIT
"""How fast something grows: a line fitted to a window of samples so that single outliers do not turn it.

*Source*: P. J. Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist. 35 (1964); iteratively
reweighted least squares after P. W. Holland and R. E. Welsch, "Robust Regression Using Iteratively Reweighted
Least-Squares", Comm. Statist. A 6 (1977). The scale of the residuals is their median absolute value. We stop after a
fixed number of rounds: the samples are few and evenly spread, so that no point has leverage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

MAX_POINTS: Final = 64
MIN_POINTS: Final = 4
"""A line through fewer says more about noise than about growth."""
TUNING: Final = 1.345
"""Residuals beyond this many standard deviations lose weight: 95 % of the efficiency of plain least squares."""
NORMAL: Final = 1.4826
"""Standard deviation per median absolute residual, where the residuals are normally distributed."""
ROUNDS: Final = 8


def fit_slope(points: Sequence[tuple[float, float]], *, scale: float = 1.0) -> float:
    """The slope of the line through ``points`` (x, y), in units of y per unit of x; 0.0 where no line can be fitted.

    *Cost*: O(points), about 3 µs each.

    Args:
        points: Any number, in any order.
        scale: Residuals of less than this are not told apart.
    """
    if len(points) < MIN_POINTS:
        return 0.0
    origin_x, origin_y = points[0]
    xs = [x - origin_x for x, _ in points]
    ys = [y - origin_y for _, y in points]
    weights = [1.0] * len(points)
    slope = 0.0
    for _ in range(ROUNDS):
        total = sum(weights)
        mean_x = sum(w * x for w, x in zip(weights, xs)) / total
        mean_y = sum(w * y for w, y in zip(weights, ys)) / total
        spread = sum(w * (x - mean_x) * (x - mean_x) for w, x in zip(weights, xs))
        if spread <= 0.0:
            return 0.0
        before, slope = slope, sum(w * (x - mean_x) * (y - mean_y) for w, x, y in zip(weights, xs, ys)) / spread
        residuals = [abs(y - mean_y - slope * (x - mean_x)) for x, y in zip(xs, ys)]
        bound = TUNING * max(scale, NORMAL * sorted(residuals)[len(residuals) // 2])
        if max(residuals) <= bound or abs(slope - before) <= 1e-6 * abs(slope):
            break
        weights = [1.0 if residual <= bound else bound / residual for residual in residuals]
    return slope


class Trend:
    """The growth of one quantity over the last seconds.

    *Thread safety*: for one thread at a time.

    Args:
        window_seconds: How far back samples count.
    """

    __slots__ = ("_points", "_window_seconds")

    def __init__(self, window_seconds: float) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=MAX_POINTS)
        self._window_seconds = window_seconds

    def add(self, time_seconds: float, value: float) -> None:
        """Takes a sample in; one of the same moment, or of before the last, replaces what came later."""
        points = self._points
        while points and points[-1][0] >= time_seconds:
            points.pop()
        points.append((time_seconds, value))
        while points[0][0] < time_seconds - self._window_seconds:
            points.popleft()

    def slope(self, *, scale: float = 1.0) -> float:
        """Units per second; 0.0 while there are too few samples. See ``fit_slope``."""
        return fit_slope(self._points, scale=scale)
