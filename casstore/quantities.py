# SPDX-License-Identifier: MIT
"""Counts, sizes and times in the words of reports and messages."""

from __future__ import annotations

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def count(number: int, noun: str) -> str:
    """``1 ref``, ``2,000 refs``, ``3 histories``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"


def duration(seconds: int) -> str:
    """``7d`` for 604800, ``1h30m`` for 5400; parts that are zero are left out."""
    parts = []
    for unit, length in _UNITS:
        whole, seconds = divmod(seconds, length)
        if whole:
            parts.append(f"{whole}{unit}")
    return "".join(parts) or "0s"


def size(number: int) -> str:
    """``1.5 MiB`` for 1572864, ``1 GiB`` for 2**30; below 1 KiB the exact number."""
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"
