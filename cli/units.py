# SPDX-License-Identifier: MIT
"""Sizes, durations and times: from what people type, to what people read."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import click

_SIZES: Final = {
    "": 1,
    "b": 1,
    "k": 2**10,
    "kib": 2**10,
    "kb": 10**3,
    "m": 2**20,
    "mib": 2**20,
    "mb": 10**6,
    "g": 2**30,
    "gib": 2**30,
    "gb": 10**9,
    "t": 2**40,
    "tib": 2**40,
    "tb": 10**12,
}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_NUMBER: Final = r"([0-9]{1,18}(?:\.[0-9]{1,9})?)"
_SIZE: Final = re.compile(_NUMBER + r" ?([a-z]*)", re.IGNORECASE)
_DURATION: Final = re.compile(rf"(?:{_NUMBER}([smhdw]))+")
_PART: Final = re.compile(_NUMBER + r"([smhdw])")


def parse_size(text: str) -> int:
    """Bytes that ``1048576``, ``1MiB``, ``1M`` (both 2**20) or ``1MB`` (10**6) stand for.

    Raises:
        ValueError: ``text`` is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _SIZES.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not a size; write 500000, 64KiB, 20GB ...")
    return int(match[1]) * factor if match[1].isdigit() else round(float(match[1]) * factor)


def parse_duration(text: str) -> int:
    """Whole seconds that ``90``, ``90s``, ``15m``, ``1h30m``, ``7d`` or ``2w`` stand for.

    Raises:
        ValueError: ``text`` is no duration.
    """
    text = text.strip().lower()
    if re.fullmatch(_NUMBER, text):
        return round(float(text))
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write seconds, or 15m, 1h, 7d ...")
    return round(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def parse_seconds(text: str) -> float:
    """Seconds, fractions included: ``0.5``, or a duration.

    Raises:
        ValueError: ``text`` is neither.
    """
    return float(text) if re.fullmatch(_NUMBER, text) else float(parse_duration(text))


def format_size(count: float) -> str:
    """``1.5 MiB`` for 1572864; below 1 KiB the exact number."""
    if abs(count) < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if abs(count) < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def exact_size(count: int) -> str:
    """``1.5 MiB (1,572,864 bytes)``."""
    return f"{format_size(count)} ({count:,} bytes)"


def format_count(count: int, noun: str) -> str:
    """``1 file``, ``2,000 files``, ``3 directories``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") and noun != "key" else f"{count:,} {noun}s"


def format_duration(seconds: float) -> str:
    """``1h30m`` for 5400; parts that are zero are left out."""
    rest, parts = int(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_wait(seconds: float) -> str:
    """A time until something ends, rounded up to what people set: ``1h`` for 3601, ``7d`` for 604795."""
    whole = int(seconds)
    if whole % 60 == 1:
        # What is kept for an hour goes in the second after it.
        whole -= 1
    step = 3600 if whole > 86400 else 60 if whole > 600 else 1
    return format_duration(-(-whole // step) * step)


def format_time(time_ns: int) -> str:
    """Local time, ``2024-05-01 13:00:00``."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns // 10**9))
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"


def json_time(time_ns: int) -> str | None:
    """UTC, ``2024-05-01T11:00:00Z``; None for a time that no calendar has."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 10**9))
    except (OverflowError, ValueError, OSError):
        return None


if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only in later releases of click


class _Parsed(_ParamType):
    """A command-line value that one of the functions above reads."""

    def __init__(self, name: str, parse: Any) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; a usage error where it cannot be read."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE: Final = _Parsed("size", parse_size)
DURATION: Final = _Parsed("duration", parse_duration)
SECONDS: Final = _Parsed("seconds", parse_seconds)
