# SPDX-License-Identifier: MIT
"""Factories and environments for test_checker.py: in a module of their own, so that another process can import them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from casstore.codecs import struct


@struct("tests.codecs.Bag")
@dataclass
class Bag:
    """Holds what has no order of its own."""

    words: set[str] = field(default_factory=set)


class Words:
    """A set of words, without ``==``'s help from its factory."""

    def __init__(self, words: set[str]) -> None:
        self.words = words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and self.words == other.words

    __hash__ = None  # type: ignore[assignment]


class SortedWords:
    type_id = "tests.codecs.sorted-words"
    version = 1

    def encode(self, value: Words) -> bytes:
        return " ".join(sorted(value.words)).encode()

    def decode(self, data: bytes) -> Words:
        return Words(set(data.decode().split()))


class UnsortedWords(SortedWords):
    """Right in one process, wrong across processes."""

    type_id = "tests.codecs.unsorted-words"

    def encode(self, value: Words) -> bytes:
        return " ".join(sorted(value.words, key=hash)).encode()


class Chatty(SortedWords):
    """Prints while it is at work."""

    type_id = "tests.codecs.chatty"

    def decode(self, data: bytes) -> Words:
        print("decoding")
        return super().decode(data)


class NeedsArguments(SortedWords):
    type_id = "tests.codecs.needs-arguments"

    def __init__(self, _given: object) -> None:
        pass


class FailsElsewhere(SortedWords):
    """Works where somebody has set it up."""

    type_id = "tests.codecs.fails-elsewhere"
    ready = False

    def decode(self, data: bytes) -> Words:
        if not self.ready:
            raise RuntimeError("nobody set me up")
        return super().decode(data)


class Agent:
    """For pickle, which finds classes by their module."""

    def __init__(self, step: object) -> None:
        self.step = step


@struct("tests.codecs.Walk")
@dataclass
class Walk:
    """An environment that draws random numbers, and saves where it is in them."""

    seed: int
    place: float = 0.0
    state: Any = None

    def step(self, action: int) -> tuple[float, bool]:
        drawing = random.Random(self.seed)
        if self.state is not None:
            drawing.setstate(self.state)
        self.place += action * drawing.random()
        self.state = drawing.getstate()
        return self.place, self.place > 10
