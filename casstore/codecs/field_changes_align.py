# SPDX-License-Identifier: MIT
"""Which items of two sequences are the same ones, in bounded time.

The common beginning and end come first, as most lists grow at their end or change in one place. What lies between is
aligned by its longest common subsequence while that takes few steps; where it would take more, by the items that occur
once on both sides, and the gaps between those are tried again. What even that leaves open stays unaligned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import Final

MOST_AT_ONCE: Final = 500_000
"""Steps for one try, about a fifth of a second; memory grows with their number, at 8 bytes each."""

Pair = tuple[int, int]


class Steps:
    """How many steps are left: shared by all lists of one comparison."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def matching_pairs(a: Sequence[Hashable], b: Sequence[Hashable], steps: Steps) -> list[Pair]:
    """Places of equal items in ``a`` and in ``b``, both rising: a longest such list where the steps suffice.

    *Cost*: O(n log n) beside the steps.
    *Source*: E. Myers, An O(ND) Difference Algorithm and Its Variations (1986), section 2; B. Cohen's patience diff for
    the anchors.
    """
    shorter = min(len(a), len(b))
    head = 0
    while head < shorter and a[head] == b[head]:
        head += 1
    tail = 0
    while tail < shorter - head and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    pairs = [(place, place) for place in range(head)]
    pairs += _between(a, b, (head, len(a) - tail, head, len(b) - tail), steps)
    pairs += [(len(a) - left, len(b) - left) for left in range(tail, 0, -1)]
    return pairs


Box = tuple[int, int, int, int]
"""A part of each sequence: start and end in ``a``, start and end in ``b``."""


def _between(a: Sequence[Hashable], b: Sequence[Hashable], box: Box, steps: Steps) -> list[Pair]:
    found = _shortest(a, b, box, steps)
    if found is not None:
        return found
    start_a, end_a, start_b, end_b = box
    pairs: list[Pair] = []
    for at_a, at_b in [*_anchors(a, b, box), (end_a, end_b)]:
        pairs += _shortest(a, b, (start_a, at_a, start_b, at_b), steps) or ()
        if at_a < end_a:
            pairs.append((at_a, at_b))
        start_a, start_b = at_a + 1, at_b + 1
    return pairs


def _shortest(a: Sequence[Hashable], b: Sequence[Hashable], box: Box, steps: Steps) -> list[Pair] | None:
    """The pairs of a longest common subsequence; None where that takes too many steps."""
    start_a, end_a, start_b, end_b = box
    size_a, size_b = end_a - start_a, end_b - start_b
    if size_a <= 0 or size_b <= 0:
        return []
    left = most = min(steps.left, MOST_AT_ONCE)
    # reach[k] is how far along `a` the paths come that took k more items of `a` alone than of `b` alone.
    reach: dict[int, int] = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(size_a + size_b + 1):
        trace.append(dict(reach))
        left -= edits
        for k in range(-edits, edits + 1, 2):
            if k == -edits or (k != edits and reach[k - 1] < reach[k + 1]):
                x = reach[k + 1]
            else:
                x = reach[k - 1] + 1
            start = x
            while x < size_a and x - k < size_b and a[start_a + x] == b[start_b + x - k]:
                x += 1
            left -= 1 + x - start
            reach[k] = x
            if x >= size_a and x - k >= size_b:
                steps.left -= most - max(left, 0)
                return _way_back(trace, size_a, size_b, start_a, start_b)
        if left < 0:
            steps.left -= most
            return None
    return []


def _way_back(trace: list[dict[int, int]], x: int, y: int, start_a: int, start_b: int) -> list[Pair]:
    pairs: list[Pair] = []
    for edits in range(len(trace) - 1, -1, -1):
        reach, k = trace[edits], x - y
        above = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
        before = k + 1 if above else k - 1
        before_x = reach[before] if edits else 0
        before_y = before_x - before if edits else 0
        while x > before_x and y > before_y:
            x, y = x - 1, y - 1
            pairs.append((start_a + x, start_b + y))
        x, y = before_x, before_y
    pairs.reverse()
    return pairs


def _anchors(a: Sequence[Hashable], b: Sequence[Hashable], box: Box) -> list[Pair]:
    """Items that occur once in each part, as many as rise in both."""
    start_a, end_a, start_b, end_b = box
    in_a, in_b = _once(a, start_a, end_a), _once(b, start_b, end_b)
    common = [(place, in_b[item]) for item, place in in_a.items() if item in in_b]
    # The longest rising run of places in `b`: ends[n] is the least end of a run of n + 1.
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(common):
        length = bisect_left(ends, place)
        before.append(last[length - 1] if length else -1)
        if length == len(ends):
            ends.append(place)
            last.append(number)
        else:
            ends[length], last[length] = place, number
    found: list[Pair] = []
    number = last[-1] if last else -1
    while number >= 0:
        found.append(common[number])
        number = before[number]
    found.reverse()
    return found


def _once(items: Sequence[Hashable], start: int, end: int) -> dict[Hashable, int]:
    places: dict[Hashable, int] = {}
    for place in range(start, end):
        item = items[place]
        places[item] = -1 if item in places else place
    return {item: place for item, place in places.items() if place >= 0}
