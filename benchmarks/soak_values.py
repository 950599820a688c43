# SPDX-License-Identifier: MIT
"""Values of the soak: made from three numbers, so that its model holds numbers and no bytes.

Versions of one seed differ in some of their lines, as versions of a file do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

_PERIODS = (1, 2, 3, 5, 8, 13, 21, 34)
"""How many versions a line lasts."""


class Spec(NamedTuple):
    """What a value is made from."""

    seed: int
    version: int
    lines: int


class State(NamedTuple):
    """A state as the model knows it; its dicts are never changed, only replaced."""

    files: Mapping[str, Spec]
    objects: Mapping[str, int]


EMPTY = State({}, {})


@lru_cache(maxsize=4096)
def value(spec: Spec) -> bytes:
    """The bytes of a file."""
    lines = []
    for number in range(spec.lines):
        age = spec.version // _PERIODS[number % len(_PERIODS)]
        lines.append(blake2b(b"%d %d %d" % (spec.seed, number, age), digest_size=24).hexdigest())
    return "\n".join(lines).encode()


def memory(number: int) -> dict[str, Any]:
    """The value of an object."""
    return {"step": number, "notes": [f"note {note} of {number // 7}" for note in range(number % 23)]}


def digest_of(files: Mapping[str, bytes], objects: Mapping[str, Any]) -> str:
    """A digest of all that a state holds, without the store's help."""
    hasher = blake2b(digest_size=16)
    for name in sorted(files):
        hasher.update(b"%s\0%d\0" % (name.encode(), len(files[name])))
        hasher.update(files[name])
    for name in sorted(objects):
        hasher.update(json.dumps([name, objects[name]], sort_keys=True).encode())
    return hasher.hexdigest()


def expected_digest(state: State) -> str:
    """The digest that a state must have."""
    files = {name: value(spec) for name, spec in state.files.items()}
    return digest_of(files, {name: memory(number) for name, number in state.objects.items()})


def merged(base: State, ours: State, theirs: State, side: str) -> State:
    """What a three-way merge must give, where ``side`` decides conflicts."""
    parts: list[dict[str, Any]] = []
    for old, left, right in zip(base, ours, theirs):
        found = {}
        for name in {*left, *right}:
            mine, other = left.get(name), right.get(name)
            chosen = mine
            differs = other not in (old.get(name), mine)
            if mine == old.get(name) or (differs and side == "theirs"):
                chosen = other
            if chosen is not None:
                found[name] = chosen
        parts.append(found)
    return State(parts[0], parts[1])


class Edit(NamedTuple):
    """What an operation does to a state."""

    put: dict[str, Spec]
    gone: list[str]
    number: int | None

    def of(self, state: State) -> State:
        """The state after it."""
        files = {**state.files, **self.put}
        for name in self.gone:
            files.pop(name, None)
        objects = dict(state.objects) if self.number is None else {**state.objects, "memory": self.number}
        return State(files, objects)

    def to(self, branch: Any) -> None:
        """Does it to a branch of the store."""
        for name in self.gone:
            if name in branch.files:
                del branch.files[name]
        for name, spec in self.put.items():
            branch.files[name] = value(spec)
        if self.number is not None:
            branch.objects["memory"] = memory(self.number)


def edit_from(words: Any) -> Edit:
    """An edit as it came through a pipe."""
    put, gone, number = words
    return Edit({name: Spec(*spec) for name, spec in put.items()}, gone, number)
