# SPDX-License-Identifier: MIT
"""Whether loading ahead pays: by the share of guesses that came true, with a rest after each time that it did not.

Each source of guesses is judged by itself, so that what a search foretells goes on where what was learned misleads, and
the other way round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

OUTCOMES: Final = 1 / 32
"""Weight of the newest outcome in the share of hits."""
EVEN: Final = 0.5
MARGIN: Final = 0.15
"""A wasted load costs what a hit saves, at the most; so far above, it is switched on again."""
PATIENCE: Final = 32
MAX_PATIENCE: Final = 4096
"""Outcomes that it watches before it switches itself on again, at the least; twice as many each time it was wrong."""
MAX_SHADOW: Final = 256


class Payoff:
    """One source of guesses. Not thread-safe.

    Attributes:
        active: Whether its guesses are loaded; else they are only watched.
        even: Share of hits at which loading them neither costs nor saves; below, it switches itself off.
        share: Share of the last guesses that came true, 0 to 1.
        switches: How often it was switched off or on.
    """

    __slots__ = ("_patience", "_shadow", "_since", "active", "even", "share", "switches")

    def __init__(self) -> None:
        self.active = True
        self.even = EVEN
        self.share = EVEN + MARGIN
        self.switches = 0
        self._patience = PATIENCE
        self._since = 0
        # While it is off: what it would have loaded, to see whether that would pay again.
        self._shadow: OrderedDict[Hashable, None] = OrderedDict()

    def judge(self, hit: bool) -> None:
        """Notes that a guess came true, or did not; switches where that is enough to tell."""
        self.share += (hit - self.share) * OUTCOMES
        self._since += 1
        if self.active:
            if self._since >= MAX_PATIENCE:
                self._patience = PATIENCE
            if self.share < self.even:
                self._switch(False)
                self._patience = min(MAX_PATIENCE, 2 * self._patience)
        elif self.share > self.even + MARGIN and self._since >= self._patience:
            self._switch(True)

    def _switch(self, active: bool) -> None:
        self.active = active
        self.switches += 1
        self._since = 0
        self._shadow.clear()

    def watch(self, guess: Hashable, most: int) -> None:
        """Notes what would have been loaded; ``most`` is how much of that the budget would have held."""
        shadow = self._shadow
        shadow[guess] = None
        shadow.move_to_end(guess)
        while len(shadow) > min(most, MAX_SHADOW):
            # Guessed, and not asked for since: it would have been wasted.
            shadow.popitem(last=False)
            self.judge(False)

    def asked(self, thing: Hashable, loaded: bool) -> None:
        """Notes that something was asked for while this was off."""
        if thing in self._shadow:
            del self._shadow[thing]
            # What was there anyway would not have been loaded.
            if not loaded:
                self.judge(True)
