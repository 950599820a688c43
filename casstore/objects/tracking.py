# SPDX-License-Identifier: MIT
"""StateTracker: what changed in a nested state since it was last looked at, without a copy of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from casstore.errors import InvalidInputError
from casstore.objects.tracked_dict import TrackedDict
from casstore.objects.tracked_list import TrackedList
from casstore.objects.tracked_node import KINDS, MISSING, Missing, Node, reset, revert, settle
from casstore.objects.tracked_values import fresh

__all__ = ["MISSING", "FieldChange", "Missing", "StateTracker", "TrackedDict", "TrackedList"]

Path = tuple[Any, ...]
"""Keys and indexes that lead from the root to a value."""


class FieldChange(NamedTuple):
    """What a place held at the baseline and what it holds now; MISSING where it held nothing."""

    old: Any
    new: Any


class StateTracker(TrackedDict):
    """A nested mapping that remembers what was written to it. Use it as the dict it stands for.

    The original is never changed, and must not be changed by others while it is tracked: what was not written is read
    from it. It is a tree: a dict or list that stands at two places is two from the first write on, as it would be once
    stored. What is written is copied (its dicts and lists; the rest is shared), so that changing it later changes
    nothing here. Writing a value back to what it was makes it unmodified again; ``1``, ``1.0`` and ``True`` are three
    values, and the order of a dict's keys is no difference.

    Args:
        state: A mapping of dicts and lists, nested to any depth, and of values that are not changed in place: numbers,
            text, bytes, tuples, NumPy arrays (handed out read-only), objects of other classes.

    Raises:
        InvalidInputError: ``state`` is no mapping. Later, where it holds a set, a bytearray or a subclass of dict or
            list (when that is read), or is given one, or is given a value that holds itself.

    *Cost*: O(1), whatever the state's size; each write is compared with the baseline, as far as they are equal.
    *Thread safety*: none; one thread at a time.
    """

    __slots__ = ()

    def __init__(self, state: Mapping[Any, Any]) -> None:
        if type(state) is not dict:
            if not isinstance(state, Mapping):
                raise InvalidInputError(f"{type(state).__name__} is no mapping; give a dict.")
            if isinstance(state, Node):
                state = settle(state)
        super().__init__(state, state, None, None)

    @property
    def is_modified(self) -> bool:
        """Whether the state differs from the baseline. *Cost*: O(1)."""
        return bool(self._differs)

    @property
    def modified_fields(self) -> tuple[Any, ...]:
        """The keys of the outermost mapping below which something differs. *Cost*: their number."""
        return tuple(self._differing())

    def get_changes(self) -> dict[Path, FieldChange]:
        """What differs from the baseline: path → old and new value, as far down as dicts and lists correspond.

        Elements of lists correspond by index. The values are copies.

        *Cost*: what was changed; containers that were replaced as a whole are compared with those they replaced.
        """
        return changes_below(self)

    def reset(self) -> None:
        """Makes what was written the baseline; views stay valid.

        *Cost*: as many references as the written dicts and lists are wide, and the views that somebody holds.
        """
        reset(self)

    def revert(self) -> None:
        """Drops what was written since the baseline.

        Views of what the baseline has show that again; views of what was new belong to no state any more.
        """
        revert(self)

    def _supply(self, key: Any, value: Any) -> None:
        """Adds a value to the baseline, which is the caller's own dict: a field that was loaded on demand."""
        self._under[key] = value


def changes_below(node: Node) -> dict[Path, FieldChange]:
    """See ``StateTracker.get_changes``."""
    found: dict[Path, FieldChange] = {}
    stack: list[tuple[Path, Node]] = [((), node)]
    while stack:
        path, place = stack.pop()
        for key in place._differing():
            old, new = place._base_at(key), place._raw_at(key)
            below = new if isinstance(new, Node) else compared(old, new)
            if below is not None and below._baseline is not MISSING:
                stack.append(((*path, key), below))
            else:
                found[(*path, key)] = FieldChange(fresh(old), fresh(new))
    return found


def compared(old: Any, new: Any) -> Node | None:
    """A node of its own over two containers of one kind; None where they are not."""
    kind = KINDS.get(type(new))
    return None if kind is None or type(old) is not type(new) else kind(new, old, None, None)
