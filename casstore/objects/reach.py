# SPDX-License-Identifier: MIT
"""What this layer needs of a search: how much the nodes weigh that reach an object, and where it may go next.

The layer of the search is above this one, so it is known by what it does; ``casstore.mcts.StateTree`` does it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from casstore.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.branches import Branch
    from casstore.branches.objects import Objects
    from casstore.format.entry import Entry

RESTS: Final = 20
"""After weights were taken over, for how many times as long it is not done again by itself: 5 % of the time at most."""
LEAST_REST_SECONDS: Final = 0.05
LONG_SECONDS: Final = 0.02
"""What takes longer is done by who asks for it or tells of pressure, not by who merely waits for an object."""
NEW_NODES: Final = 256
"""Nodes that are looked into at a time, unless somebody asked for it: at most some tens of milliseconds."""


class Reach(Protocol):
    """The weights of a search's nodes, summed over those that reach an object, as of the last ``refresh``."""

    def weight(self, key: str, entry: Entry) -> float:
        """The sum of the weights of the nodes in whose state ``key`` maps to ``entry``; 0.0 where none does."""

    def refresh(self, most: int | None = None) -> bool:
        """Takes the weights of now over; whether anything may have changed.

        Args:
            most: New nodes to look into at the most; others count as their parents until the next time.
        """


class SearchTree(Protocol):
    """A search that loads and keeps by priority; ``StateTree`` is one."""

    def reach(self) -> Reach:
        """Weights by object; it does not keep the tree alive."""

    def on_visit(self, callback: Callable[[Iterable[tuple[Branch | Address, float]]], Any]) -> Callable[[], None]:
        """Has ``callback`` called when a node is visited, with its children's states and their shares of the visits.

        Returns:
            A function that ends it.
        """


def check_search(tree: object, method: str) -> None:
    """Raises ``InvalidInputError`` where ``tree`` cannot do what a search does."""
    if not callable(getattr(tree, method, None)):
        raise InvalidInputError(f"{tree!r} is no search, as it has no `{method}`; give a casstore.mcts.StateTree.")


class SearchWeights:
    """The searches that a materializer follows, and when their weights are taken over.

    Not with each visit: when ``reprioritize`` asks for it, and now and then where it matters, for at most a twentieth
    of the time.

    *Thread safety*: any number of threads.

    Args:
        clock: Seconds.

    Attributes:
        reaches: One for each search.
    """

    __slots__ = ("_clock", "_cost_seconds", "_not_before", "reaches")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.reaches: tuple[Reach, ...] = ()
        self._not_before = -float("inf")
        self._cost_seconds = 0.0

    def add(self, tree: SearchTree) -> Callable[[], None]:
        """Follows a search; returns a function that ends it. Several searches add up.

        Raises:
            InvalidInputError: It is no search.
        """
        check_search(tree, "reach")
        reach = tree.reach()
        self.reaches = (*self.reaches, reach)

        def end() -> None:
            self.reaches = tuple(one for one in self.reaches if one is not reach)

        return end

    def weight(self, objects: Objects, key: str) -> float:
        """The sum of the weights of the nodes that have what a state has under ``key``; 0.0 where it has nothing."""
        reaches = self.reaches
        try:
            entry = objects.entry(key)
        except NotFoundError:
            return 0.0
        return sum(reach.weight(key, entry) for reach in reaches)

    def refresh(self) -> None:
        """Takes all weights over, however long that takes."""
        self._timed(None)

    def refresh_if_due(self, *, in_haste: bool) -> bool:
        """Takes weights over if that was not done of late; whether it was done.

        Args:
            in_haste: Whether somebody waits for an object meanwhile; then only what is done quickly is done.
        """
        if not self.reaches or self._clock() < self._not_before:
            return False
        if in_haste and self._cost_seconds > LONG_SECONDS:
            return False
        self._timed(NEW_NODES)
        return True

    def _timed(self, most: int | None) -> None:
        started = self._clock()
        # Others that come meanwhile need not do it too.
        self._not_before = started + LEAST_REST_SECONDS
        for reach in self.reaches:
            reach.refresh(most)
        ended = self._clock()
        self._cost_seconds = ended - started
        self._not_before = ended + max(LEAST_REST_SECONDS, RESTS * self._cost_seconds)
