# SPDX-License-Identifier: MIT
"""Ranges: pairs of whole numbers, both ends included; normalized, they are sorted and neither overlap nor touch."""

from __future__ import annotations

from bisect import bisect_right

Range = tuple[int, int]


def parse(given: str) -> list[Range]:
    """The ranges that a text such as ``"1-3,7"`` names, normalized."""
    found = []
    for part in given.split(","):
        if not part.strip():
            continue
        first, dash, last = part.partition("-")
        start = int(first)
        end = int(last) if dash else start
        if end < start:
            raise ValueError(f"{part} ends before it begins")
        found.append((start, end))
    return normalize(found)


def text(ranges: list[Range]) -> str:
    """What ``parse`` reads."""
    return ",".join(f"{start}" if start == end else f"{start}-{end}" for start, end in ranges)


def normalize(ranges: list[Range]) -> list[Range]:
    """The same numbers in as few ranges as possible, in order."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start < found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def size(ranges: list[Range]) -> int:
    """How many numbers there are."""
    return sum(end - start + 1 for start, end in ranges)


def contains(ranges: list[Range], number: int) -> bool:
    """Whether a number is in one of the ranges, which are normalized."""
    place = bisect_right(ranges, number, key=lambda item: item[0]) - 1
    return place >= 0 and number <= ranges[place][1]


def overlap(left: list[Range], right: list[Range]) -> list[Range]:
    """The numbers that both have."""
    found = []
    for start, end in left:
        for low, high in right:
            if low <= end and start <= high:
                found.append((max(start, low), min(end, high)))
    return normalize(found)


def subtract(left: list[Range], right: list[Range]) -> list[Range]:
    """The numbers of ``left`` that ``right`` does not have; both are normalized."""
    found = []
    for start, end in left:
        at = start
        for low, high in right:
            if high < at or low > end:
                continue
            if low > at:
                found.append((at, low + 1))
            at = high + 1
        if at <= end:
            found.append((at, end))
    return found
