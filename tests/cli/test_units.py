# SPDX-License-Identifier: MIT
"""Sizes and durations, as typed and as shown."""

from __future__ import annotations

import pytest
from casstore_cli.units import (
    format_count,
    format_duration,
    format_size,
    format_time,
    format_wait,
    json_time,
    parse_duration,
    parse_seconds,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500", 500),
        ("1k", 1024),
        ("1kB", 1000),
        ("20GiB", 20 * 2**30),
        ("1.5 MiB", 1572864),
        ("2TB", 2 * 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1e9", "ten", "1 XB", "1.5.5", "0x10"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604800), ("2W", 1209600), ("1.5h", 5400)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "h", "1y", "1h 30m", "soon"])
def test_not_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_seconds_keep_fractions() -> None:
    assert parse_seconds("0.25") == 0.25
    assert parse_seconds("2m") == 120.0


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1572864, "1.5 MiB"), (5 * 2**40, "5.0 TiB")]
)
def test_shown_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (5400, "1h30m"), (604800, "7d"), (61, "1m1s")])
def test_shown_durations(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text
    assert parse_duration(text) == seconds


def test_times_that_no_calendar_has_do_not_crash() -> None:
    assert json_time(0) == "1970-01-01T00:00:00Z"
    assert json_time(2**200) is None
    assert format_time(2**200).endswith(" ns")


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "file", "0 files"),
        (1, "directory", "1 directory"),
        (2, "directory", "2 directories"),
        (2000, "key", "2,000 keys"),
    ],
)
def test_counts(count: int, noun: str, text: str) -> None:
    assert format_count(count, noun) == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (59, "59s"),
        (61, "1m"),
        (599, "9m59s"),
        (601, "10m"),
        (3596, "1h"),
        (3600, "1h"),
        (3601, "1h"),
        (3606, "1h1m"),
        (86401, "1d"),
        (604795, "7d"),
        (604801, "7d"),
    ],
)
def test_waits_are_rounded_up(seconds: int, shown: str) -> None:
    assert format_wait(seconds) == shown
