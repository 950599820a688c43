# SPDX-License-Identifier: MIT
"""What a power loss leaves of one file, and the ways to lose power. The model as a whole is described in disk.py."""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

LOGS_OF_LEVELDB: Final = ("LOG", "LOG.old")
"""Texts for people, written through streams, whose content is not recorded and which no program reads."""


class Rule(IntEnum):
    """How changes of names reach the disk."""

    JOURNAL = 0
    LOOSE = 1
    POSIX = 2


class Choice(NamedTuple):
    """What a power loss takes: the rule, and how much of what is not durable is there all the same."""

    rule: Rule
    names: float
    data: str
    block: int


class Bytes:
    """A file: bytes as of now, bytes as of the last sync, and what happened between."""

    __slots__ = ("data", "pending", "synced")

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.synced = bytes(data)
        # (offset, bytes) of a write; (length, None) of a truncation, with the number of its call.
        self.pending: list[tuple[int, bytes | None, int]] = []

    def write(self, offset: int, data: bytes, call: int) -> None:
        """Writes, over what is there or behind it."""
        _put(self.data, offset, data)
        self.pending.append((offset, data, call))

    def truncate(self, length: int, call: int) -> None:
        """Cuts or extends."""
        _resize(self.data, length)
        self.pending.append((length, None, call))

    def sync(self) -> None:
        """All of it is durable."""
        if self.pending:
            self.synced = bytes(self.data)
            self.pending = []


def torn(file: Bytes, choice: Choice, random: Random, journal: int | None) -> bytes:
    """What is left of a file; ``journal`` is the last call whose change of names is there, where they are ordered."""
    if not file.pending:
        return file.synced
    how = choice.data if choice.data != "any" else random.choice(("none", "all", "cut", "blocks", "blocks", "zeros"))
    if how == "none":
        return file.synced
    whole = bytearray(file.synced)
    pending = file.pending
    for place, (_, data, call) in enumerate(pending):
        if data is None and how != "all" and (random.random() < 0.5 if journal is None else call > journal):
            pending = pending[:place]
            break
    if how == "cut" and pending:
        pending = pending[: random.randrange(len(pending) + 1)]
        if pending and (data := pending[-1][1]) is not None:
            offset, size = pending[-1][0], len(data)
            bounds = [end for end in range(0, offset + size, choice.block) if end > offset]
            end = random.choice([*bounds, offset + size])
            pending = [*pending[:-1], (offset, data[: end - offset], 0)]
    old = bytearray(file.synced)
    for place, data, _ in pending:
        if data is None:
            _resize(whole, place)
            _resize(old, place)
        else:
            _put(whole, place, data)
    if how in ("all", "cut"):
        return bytes(whole)
    # The size is there; of the blocks, some are.
    part = random.choice((0.2, 0.5, 0.8)) if how == "blocks" else 0.0
    if len(old) < len(whole):
        old.extend(bytes(len(whole) - len(old)))
    for start in range(0, len(whole), choice.block):
        if random.random() >= part:
            whole[start : start + choice.block] = old[start : start + choice.block]
    if how == "blocks" and len(whole) > len(file.synced) and random.random() < 0.5:
        ends = [end for end in range(0, len(whole), choice.block) if end >= len(file.synced)]
        del whole[random.choice([*ends, len(whole)]) :]
    return bytes(whole)


def _put(data: bytearray, offset: int, new: bytes) -> None:
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(new)] = new


def _resize(data: bytearray, length: int) -> None:
    if length < len(data):
        del data[length:]
    else:
        data.extend(bytes(length - len(data)))


def choose(random: Random, rules: tuple[Rule, ...]) -> Choice:
    """A way to lose power: four plain extremes, and mixtures."""
    rule = random.choice(rules)
    block = random.choice((512, 4096))
    plain = random.random()
    if plain < 0.1:
        return Choice(rule, 0.0, "none", block)
    if plain < 0.2:
        return Choice(rule, 1.0, "all", block)
    if plain < 0.3:
        return Choice(rule, 1.0, "none", block)
    if plain < 0.4:
        return Choice(rule, 0.0, "all", block)
    return Choice(rule, random.choice((0.2, 0.5, 0.9)), "any", block)


def write_out(files: dict[str, bytes | None], target: Path) -> None:
    """Makes a folder that holds ``files``."""
    target.mkdir()
    for path, data in files.items():
        place = f"{target}/{path}"
        if data is None:
            os.mkdir(place, 0o700)
            continue
        fd = os.open(place, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
