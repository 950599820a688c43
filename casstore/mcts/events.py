# SPDX-License-Identifier: MIT
"""Events in the life of a tree's nodes, and the functions that are called at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from casstore.errors import InvalidInputError

if TYPE_CHECKING:
    from casstore.mcts.node import Node

Event = Literal["forked", "created", "visited", "evaluated", "pruned", "collapsed"]
Hook = Callable[["Node", Any], object]
"""Called with a node, and a branch where the event has one, else None."""

EVENTS: Final = ("forked", "created", "visited", "evaluated", "pruned", "collapsed")


class Hooks:
    """Functions by event, in the order in which they were added."""

    __slots__ = ("collapsed", "created", "evaluated", "forked", "pruned", "visited")

    def __init__(self) -> None:
        self.forked: tuple[Hook, ...] = ()
        self.created: tuple[Hook, ...] = ()
        self.visited: tuple[Hook, ...] = ()
        self.evaluated: tuple[Hook, ...] = ()
        self.pruned: tuple[Hook, ...] = ()
        self.collapsed: tuple[Hook, ...] = ()

    def add(self, event: str, hook: Hook) -> Callable[[], None]:
        """Adds a function; returns one that removes it.

        Raises:
            InvalidInputError: There is no such event.
        """
        if event not in EVENTS:
            raise InvalidInputError(f"there is no event {event!r}; use {', '.join(EVENTS)}.")
        # Tuples are replaced whole, so a hook may add or remove hooks while it runs.
        setattr(self, event, (*getattr(self, event), hook))
        active = True

        def remove() -> None:
            nonlocal active
            if active:
                active = False
                left = list(getattr(self, event))
                left.remove(hook)
                setattr(self, event, tuple(left))

        return remove
