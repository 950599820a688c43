# SPDX-License-Identifier: MIT
"""What tracked dicts and lists have in common: their place in the state, and how word of a change gets to the root.

A node shows one container. ``_under`` is what it reads through to where nothing was written, and is never changed: a
part of the caller's original, or of a value that was handed in. ``_baseline`` is the container that stood at the node's
place at the last reset, or MISSING where there was none of its kind. Both are one object until the container is
replaced as a whole. ``_differs`` are the keys at which node and baseline differ now, so that the root knows at once
whether anything does.

A parent holds children that were written, and knows those that are merely looked at by weak references: reading keeps
nothing alive. All walks are loops, so that no depth of nesting meets Python's limit of recursion.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final
from weakref import WeakValueDictionary


class Missing(enum.Enum):
    """Says that there is no value, where None would be one."""

    MISSING = "missing"
    GONE = "gone"

    def __repr__(self) -> str:
        return self.name


MISSING: Final = Missing.MISSING
"""No value: the old one of a field that is new, the new one of a field that was deleted."""
GONE: Final = Missing.GONE
"""An overlay's mark that a key of what lies under it was deleted."""

KINDS: Final[dict[type, type[Node]]] = {}
"""dict and list → the class that tracks it. Exactly these two: a subclass may do what its copy would not."""


class Node:
    """A container at its place in a state. Not thread-safe."""

    __slots__ = ("__weakref__", "_baseline", "_differs", "_held", "_key", "_parent", "_told", "_under", "_views")

    plain_type: ClassVar[type]

    def __init__(self, under: Any, baseline: Any, parent: Node | None, key: Any) -> None:
        self._under = under
        self._baseline = baseline
        self._parent: Any = parent
        self._key = key
        # The root, and what belongs to no state any more, need nobody to hold them.
        self._held = parent is None
        self._views: WeakValueDictionary[Any, Node] | None = None
        known = under is baseline
        self._differs: dict[Any, None] | None = {} if known else None
        self._told: bool | None = False if known else None

    # -- what a kind of container has to say

    def _raw(self) -> Iterator[tuple[Any, Any]]:
        """Keys with what is kept there: a value, a container that nobody looked at, or a node."""
        raise NotImplementedError

    def _raw_at(self, key: Any) -> Any:
        """What is kept at a key, or MISSING."""
        raise NotImplementedError

    def _base_at(self, key: Any) -> Any:
        """What the baseline has at a key, or MISSING."""
        raise NotImplementedError

    def _compare(self) -> dict[Any, None]:
        """The keys that baseline and node both could have and that differ, by looking at all."""
        raise NotImplementedError

    def _differing(self) -> list[Any]:
        """All keys that differ, those too that only one of the two has; the differences are known."""
        raise NotImplementedError

    def _owned_children(self) -> Iterable[Node]:
        """The children that this node holds."""
        raise NotImplementedError

    def _assemble(self, done: dict[int, Any]) -> Any:
        """The content as a plain container, given the children's by their ids; ``_under`` if nothing was written."""
        raise NotImplementedError

    def _keep(self, child: Node) -> None:
        """Holds a child from now on, because it is being written."""
        raise NotImplementedError

    def _drop_overlay(self) -> None:
        raise NotImplementedError

    def _stay(self, children: list[Node]) -> list[Node]:
        """The children that have a place in the baseline to go back to; their keys and baselines are those of it."""
        raise NotImplementedError

    # -- places

    def _child(self, kind: type[Node], key: Any, raw: Any, *, owned: bool) -> Node:
        """A node for a container of this one; the one that is there, if somebody looks at it."""
        views = self._views
        if not owned and views is not None:
            found = views.get(key)
            if found is not None:
                return found
        child = kind(raw, baseline_for(kind, self, key), self, key)
        if owned:
            child._held = True
        else:
            if views is None:
                views = self._views = WeakValueDictionary()
            views[key] = child
        return child

    def _live(self) -> list[Node]:
        """Children that are held or looked at."""
        held = list(self._owned_children())
        return held if self._views is None else [*held, *self._views.values()]

    def _is_child_at(self, key: Any, value: Any) -> bool:
        """Whether ``value`` is the view of what stands at ``key``: ``state["list"] += […]`` writes it back."""
        return isinstance(value, Node) and value._parent is self and bool(value._key == key)

    def _let_go(self, key: Any, raw: Any) -> None:
        """Tells the node at a key, if there is one, that its container no longer belongs to the state."""
        child = raw if isinstance(raw, Node) else None if self._views is None else self._views.pop(key, None)
        if child is not None and child._parent is self:
            child._detach()

    def _detach(self) -> None:
        self._parent = None
        self._held = True
        # Nothing is compared any more.
        self._baseline = MISSING

    def _hold(self) -> None:
        """Makes the way from the root to this node one of strong references, before it is written."""
        node = self
        while not node._held:
            node._held = True
            node._parent._keep(node)
            node = node._parent

    # -- differences

    def _modified(self) -> bool:
        if self._differs is None:
            self._differs = self._compare()
        return bool(self._differs)

    def _report(self) -> None:
        """Lets those above know whether this node differs from its baseline, as far up as that is news."""
        node = self
        while node._baseline is not MISSING:
            modified = node._modified()
            if modified is node._told:
                return
            node._told = modified
            parent = node._parent
            if parent is None:
                return
            differs = parent._differs
            if differs is not None:
                if modified:
                    differs[node._key] = None
                else:
                    differs.pop(node._key, None)
            node = parent

    def _restart(self, plain: Any, children: list[Node]) -> None:
        """Begins anew over ``plain`` as the baseline; ``children`` are views of it."""
        self._drop_overlay()
        self._under = self._baseline = plain
        self._differs, self._told, self._held = {}, False, self._parent is None
        self._views = WeakValueDictionary({child._key: child for child in children}) if children else None


def baseline_for(kind: type[Node], parent: Node, key: Any) -> Any:
    """The baseline of a node at ``key`` of ``parent``: a container of its kind, or MISSING."""
    found = MISSING if parent._baseline is MISSING else parent._base_at(key)
    return found if type(found) is kind.plain_type else MISSING


def rebase(node: Node, baseline: Any) -> None:
    """Compares a node, and those below it, with another baseline from now on: it was moved in a list."""
    node._baseline = baseline if type(baseline) is node.plain_type else MISSING
    order = [node]
    for place in order:
        place._differs = place._told = None
        for child in place._live():
            child._baseline = baseline_for(type(child), place, child._key)
            order.append(child)


def settle(node: Node) -> Any:
    """The content as a plain container that must not be changed: what was not written is shared, not copied.

    *Cost*: the widths of the containers that were written.
    """
    order = [node]
    for place in order:
        order.extend(place._owned_children())
    found = _assembled(order)[id(node)]
    # The outermost mapping may be one of any class.
    return found if type(found) is node.plain_type else node.plain_type(found)


def _assembled(order: list[Node]) -> dict[int, Any]:
    done: dict[int, Any] = {}
    for place in reversed(order):
        done[id(place)] = place._assemble(done)
    return done


def reset(root: Node) -> None:
    """Makes what was written the baseline. Views stay valid."""
    order = [root]
    for place in order:
        order.extend(place._live())
    done = _assembled(order)
    for place in order:
        place._restart(done[id(place)], place._live())


def revert(root: Node) -> None:
    """Drops what was written. Views of what the baseline has stay valid, others belong to no state any more."""
    order = [root]
    for place in order:
        live = place._live()
        kept = place._stay(live)
        staying = set(map(id, kept))
        for child in live:
            if id(child) not in staying:
                child._detach()
        place._restart(place._baseline, kept)
        order.extend(kept)
