# SPDX-License-Identifier: MIT
"""Counts, sizes and times in reports and messages."""

from __future__ import annotations

import pytest

from casstore.quantities import count, duration, size


def test_counts() -> None:
    assert [count(number, "ref") for number in (0, 1, 2, 2000)] == ["0 refs", "1 ref", "2 refs", "2,000 refs"]
    assert count(2, "history") == "2 histories"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (7200, "2h"), (5400, "1h30m"), (604800, "7d"), (90061, "1d1h1m1s")]
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1572864, "1.5 MiB"), (2**30, "1 GiB"), (2**51, "2048 TiB")],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text
