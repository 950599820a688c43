# SPDX-License-Identifier: MIT
"""What a store must hold after a power loss, from the notes that stand before it in the trace.

The notes are made by the program under test: what it is about to do, and what is durable because a call returned.
Contents and states have numbers and names, from which both sides make the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, Final

from blake3 import blake3

CONTENTS: Final = 90
VERSIONED: Final = 54
"""From here on contents come as versions of one another, six of each."""
_VERSIONS: Final = 6
_SIZES: Final = (0, 1, 127, 128, 129, 400, 900, 2000, 2500, 5000)


@cache
def content(number: int) -> bytes:
    """Content ``number``: of all sizes, some of it compressible, some with a beginning that others have too."""
    random = Random(number)
    if number >= VERSIONED:
        data = bytearray(Random(f"versions of {number // _VERSIONS}").randbytes(2600))
        for _ in range(3):
            place = random.randrange(len(data))
            data[place : place + 8] = random.randbytes(8)
        return bytes(data)
    size = random.choice(_SIZES)
    if number % 3 == 0:
        return (b"all work and no play %d " % (number % 8) * (size // 20 + 1))[:size] + b"%d" % number
    shared = Random(number % 4).randbytes(1500) if number % 3 == 1 else b""
    return (shared + random.randbytes(size))[: max(size, 200)]


def next_version(number: int, random: Random) -> int:
    """Another version of content ``number``, or another content where it has none."""
    if number < VERSIONED or random.random() < 0.3:
        return random.randrange(CONTENTS)
    return number - number % _VERSIONS + random.randrange(_VERSIONS)


@cache
def address(number: int) -> bytes:
    """The address of content ``number``."""
    return blake3(content(number)).digest()


@dataclass(slots=True)
class Expected:
    """What must be there, and what may be.

    Attributes:
        made: Whether the store must be there at all.
        states: Name of a state (its message) → path → number of the content.
        refs: What the refs may be now, each a map of ref → name of a state; more than one while a move is under way.
        settings: What the settings may be.
        loose: Contents that no ref leads to, but that a sync made durable.
        known: Contents that were ever put: there or not, but never wrong.
        moves: Ref → the ids it was moved to, oldest first, since history was last cut.
    """

    made: bool = False
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    refs: list[dict[str, str]] = field(default_factory=lambda: [{}])
    settings: list[dict[str, int | None]] = field(default_factory=list)
    loose: set[int] = field(default_factory=set)
    known: set[int] = field(default_factory=set)
    moves: dict[str, list[str]] = field(default_factory=dict)

    def take(self, note: Mapping[str, Any]) -> None:
        """Takes one note in."""
        kind = note["note"]
        if kind == "put":
            self.known |= set(note["contents"])
        elif kind == "state":
            self.states[note["name"]] = dict(note["files"])
            self.known |= set(note["files"].values())
        elif kind == "moving":
            self.refs += note["refs"]
        elif kind == "moved":
            self.refs = [note["refs"]]
            for ref, new in note.get("moves", ()):
                self.moves.setdefault(ref, []).append(new)
        elif kind == "configuring":
            self.settings.append(note["settings"])
        elif kind == "configured":
            self.settings = [note["settings"]]
        elif kind == "synced":
            self.made = True
            self.loose |= set(note["contents"])
        elif kind == "collecting":
            self.loose.clear()
            self.moves.clear()

    def copy(self) -> Expected:
        """The same again, to go on with."""
        return Expected(
            self.made,
            self.states,
            list(self.refs),
            list(self.settings),
            set(self.loose),
            set(self.known),
            {ref: list(moves) for ref, moves in self.moves.items()},
        )
