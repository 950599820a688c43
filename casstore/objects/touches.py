# SPDX-License-Identifier: MIT
"""Touches, and what is remembered of them: what readers leave for a prefetcher, what it makes of that, and guesses."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from casstore.objects.accounts import Account
from casstore.objects.paying import Payoff
from casstore.objects.places import StatePlace
from casstore.objects.successors import Successors

if TYPE_CHECKING:
    from casstore.format.entry import Entry

RECENT_KEYS: Final = 32
"""Keys asked for last, which are loaded ahead in the states that a search says come next."""
SAME_OBJECT: Final = 2
"""Touches after which a key is taken to have the same object in all states, so that it need not be looked up."""


class Touch(NamedTuple):
    """What a reader leaves behind: of which state he asked for which key, after which, and whether it was loaded."""

    place: StatePlace
    key: str
    before: str | None
    loaded: bool
    entry: Entry | None
    account: Account


class Guess(NamedTuple):
    """Who guessed an object, who is charged for it, and what is known of the loads of its kind."""

    source: Payoff
    account: Account
    kind: Account


class Ahead(NamedTuple):
    """What waits to be asked for: bytes, when it was guessed last, seconds that loading took."""

    size: int
    touches: int
    seconds: float
    guess: Guess


class Memory:
    """What was learned of touches, in bounded tables. Not thread-safe.

    Args:
        max_keys: Keys that are remembered.
        max_shapes: Shapes of keys that are remembered.

    Attributes:
        recent: Keys that were asked for last, the newest at the end.
        successors: Which key comes after which.
    """

    __slots__ = ("_entries", "recent", "successors")

    def __init__(self, max_keys: int, max_shapes: int) -> None:
        self.successors = Successors(max_keys, max_shapes)
        self.recent: OrderedDict[str, None] = OrderedDict()
        self._entries: dict[str, tuple[Entry | None, int]] = {}

    def learn(self, touch: Touch) -> None:
        """Takes a touch in."""
        key = touch.key
        self.recent[key] = None
        self.recent.move_to_end(key)
        if len(self.recent) > RECENT_KEYS:
            self.recent.popitem(last=False)
        entry, times = self._entries.get(key, (None, 0))
        self._entries[key] = (touch.entry, times + 1 if entry == touch.entry else 0)
        if len(self._entries) > self.successors.keys.max_length:
            del self._entries[next(iter(self._entries))]
        if touch.before is not None and touch.before != key:
            self.successors.learn(touch.before, key)

    def same(self, key: str) -> Entry | None:
        """What a key maps to in every state, as far as was seen; None where that differs, or was not seen enough."""
        entry, times = self._entries.get(key, (None, 0))
        return entry if times >= SAME_OBJECT else None


def is_at_hand(place: StatePlace, entry: Entry) -> bool:
    """Whether an object is so small that its entry has it, or its content is in the hot cache."""
    return entry.address is None or entry.address in place.store.storage.cache
