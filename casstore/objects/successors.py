# SPDX-License-Identifier: MIT
"""Successors: which key is asked for after which, learned from what was asked for, in bounded tables.

Two tables. One knows keys: after this very key came that one. The other knows their shapes, the keys with their numbers
taken out, and what became of the numbers: after ``step/#/plan`` comes ``step/#/result`` of the same step, after
``step/#`` the step that is one further. So what was learned on one branch of a search serves all of them.

Source: first-order Markov prefetching (Joseph & Grunwald, "Prefetching using Markov predictors", ISCA 1997), with the
delta of numbers in place of addresses. Where we differ: counts are halved when they grow, so that what is no more true
is forgotten.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache
from typing import Final, Generic, TypeVar

FOLLOWERS: Final = 4
"""Successors that are kept for one key or shape: a guess below a quarter is not worth a load."""
HALVE_AT: Final = 32
"""Counts are halved when they add up to this: the last few dozen transitions decide."""
MAX_DELTA: Final = 64
"""Numbers that lie further apart have nothing to do with each other."""

_NUMBER: Final = re.compile(r"\d+")

Change = tuple[str, int, int] | tuple[str, str]
"""What becomes of a number: ``("+", delta, least digits)`` of the one at the same place, or ``("=", text)``."""

Step = tuple[str, tuple[Change, ...]]
"""The shape that comes next, and what becomes of its numbers."""

K = TypeVar("K", bound=Hashable)
F = TypeVar("F", bound=Hashable)


@lru_cache(maxsize=4096)
def shape_of(key: str) -> tuple[str, tuple[str, ...]]:
    """A key with its numbers replaced by ``#``, and the numbers."""
    numbers = tuple(_NUMBER.findall(key))
    return (_NUMBER.sub("#", key) if numbers else key), numbers


def step_between(before: str, after: str) -> Step:
    """What leads from one key to the other."""
    _, old = shape_of(before)
    shape, new = shape_of(after)
    return shape, tuple(_change(old[place] if place < len(old) else None, text) for place, text in enumerate(new))


def _change(old: str | None, new: str) -> Change:
    if old is not None and len(new) <= 18 and len(old) <= 18:
        delta = int(new) - int(old)
        if -MAX_DELTA <= delta <= MAX_DELTA:
            # A number with leading zeros keeps its width; another one has no width to keep.
            return ("+", delta, len(new) if new[0] == "0" or (len(old) == len(new) and old[0] == "0") else 0)
    return ("=", new)


def take_step(before: str, step: Step) -> str | None:
    """The key that a step leads to; None where it leads nowhere."""
    _, old = shape_of(before)
    shape, changes = step
    numbers = []
    for place, change in enumerate(changes):
        if len(change) == 2:
            numbers.append(change[1])
            continue
        if place >= len(old):
            return None
        value = int(old[place]) + change[1]
        if value < 0:
            return None
        numbers.append(str(value).zfill(change[2]))
    parts = shape.split("#")
    # A shape may have a "#" of its own, which then stands for itself.
    numbers += ["#"] * (len(parts) - 1 - len(numbers))
    return parts[0] + "".join([number + part for number, part in zip(numbers, parts[1:])])


class Followers(Generic[F]):
    """What came after one thing, and how often; the rarest gives way."""

    __slots__ = ("_likely", "counts", "total")

    def __init__(self) -> None:
        self.counts: dict[F, int] = {}
        self.total = 0
        self._likely: list[tuple[F, float]] | None = None

    def add(self, follower: F) -> None:
        """Counts one more."""
        self._likely = None
        counts = self.counts
        if follower not in counts and len(counts) >= FOLLOWERS:
            rarest = min(counts, key=counts.__getitem__)
            del counts[rarest]
        counts[follower] = counts.get(follower, 0) + 1
        self.total += 1
        if self.total >= HALVE_AT:
            self.counts = {one: number // 2 for one, number in counts.items() if number > 1}
            self.total //= 2

    def likely(self) -> list[tuple[F, float]]:
        """Followers and their shares, the most frequent first; the share of what was seen once is a half at most."""
        shares = self._likely
        if shares is None:
            shares = [(one, number / max(self.total, 2)) for one, number in self.counts.items()]
            shares.sort(key=lambda pair: -pair[1])
            self._likely = shares
        return shares


class Table(Generic[K, F]):
    """Followers of the things that were met last.

    Args:
        max_length: Bound of the things; about 500 bytes each.
    """

    __slots__ = ("_known", "max_length")

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._known: OrderedDict[K, Followers[F]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, before: K, after: F) -> None:
        """Notes that ``after`` came after ``before``."""
        found = self._known.get(before)
        if found is None:
            found = self._known[before] = Followers()
            if len(self._known) > self.max_length:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(before)
        found.add(after)

    def likely(self, before: K) -> list[tuple[F, float]]:
        """See ``Followers.likely``."""
        found = self._known.get(before)
        return [] if found is None else found.likely()


class Successors:
    """What was learned of the order in which keys are asked for. Not thread-safe.

    Args:
        max_keys: Bound of the keys that are known by themselves.
        max_shapes: Bound of the shapes.
    """

    __slots__ = ("keys", "shapes")

    def __init__(self, max_keys: int, max_shapes: int) -> None:
        self.keys: Table[str, str] = Table(max_keys)
        self.shapes: Table[str, Step] = Table(max_shapes)

    def learn(self, before: str, after: str) -> None:
        """Notes that one key was asked for after another."""
        self.keys.add(before, after)
        self.shapes.add(shape_of(before)[0], step_between(before, after))

    def guess(self, key: str, least: float = 0.0) -> list[tuple[str, float]]:
        """Keys that may be next, with their probabilities of ``least`` and more, the likeliest first."""
        found = {after: share for after, share in self.keys.likely(key) if share >= least}
        for step, share in self.shapes.likely(shape_of(key)[0]):
            if share < least:
                break
            after = take_step(key, step)
            # A step that changes nothing leads to the key itself.
            if after is not None and after != key and share > found.get(after, 0.0):
                found[after] = share
        return sorted(found.items(), key=lambda pair: -pair[1])

    def chain(self, key: str, length: int, least: float) -> list[tuple[str, float]]:
        """Keys that may be asked for in the next ``length`` steps, with the probability of the way to each.

        Args:
            key: What was asked for now.
            length: Steps to look ahead.
            least: Probability below which a way is not followed.
        """
        found: dict[str, float] = {}
        here = [(key, 1.0)]
        for _ in range(length):
            following: list[tuple[str, float]] = []
            for one, so_far in here:
                for after, share in self.guess(one, least / so_far):
                    probability = so_far * share
                    if probability >= least and after != key and probability > found.get(after, 0.0):
                        found[after] = probability
                        following.append((after, probability))
            here = following
        return sorted(found.items(), key=lambda pair: -pair[1])
