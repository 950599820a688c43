# SPDX-License-Identifier: MIT
"""Units that small figures need."""

from __future__ import annotations


def fine_microseconds(value: float) -> str:
    """Seconds, shown to ten nanoseconds."""
    return f"{value * 1e6:.2f} µs"


def fine_milliseconds(value: float) -> str:
    """Seconds, shown to ten microseconds."""
    return f"{value * 1e3:.2f} ms"


def percent(value: float) -> str:
    """A share of one."""
    return f"{value * 100:.1f} %"


def plain_bytes(value: float) -> str:
    return f"{value:.1f} bytes"


def four_digits(value: float) -> str:
    return f"{value:.4f}"


def times(value: float) -> str:
    """A ratio."""
    return f"{value:,.0f} ×" if value >= 100 else f"{value:.1f} ×" if value >= 1 else f"{value:.2f} ×"
