# SPDX-License-Identifier: MIT
"""A list of a tracked state: its references are copied at the first write, its elements only where they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSequence
from operator import index as as_index
from typing import Any, ClassVar

from casstore.objects.tracked_node import KINDS, MISSING, Node, rebase, settle
from casstore.objects.tracked_values import ATOMS, fresh, leaf, own, same


class TrackedList(Node, MutableSequence[Any]):
    """A list at its place in a state: all that a list has.

    Reading gives views of nested dicts and lists; a slice is a plain list of them. Writing takes a copy. A view follows
    its element when others are inserted or the list is sorted. What was replaced or removed belongs to no state any
    more, but can still be read and written. ``+`` and ``*`` give plain lists.

    *Cost*: the first write copies 8 bytes an element. Setting one, and adding and removing at the end, 1 µs and the
    value's containers; what moves elements (insert, remove, slices, sort, reverse) compares all with the baseline.
    *Thread safety*: none, like a list that is being changed.
    """

    __slots__ = ("_now",)
    plain_type: ClassVar[type] = list

    def __init__(self, under: Any, baseline: Any, parent: Node | None, key: Any) -> None:
        super().__init__(under, baseline, parent, key)
        self._now: list[Any] | None = None

    # -- for Node

    def _items(self) -> list[Any]:
        now = self._now
        if now is None:
            now = self._under
        return now

    def _raw(self) -> Iterator[tuple[Any, Any]]:
        return enumerate(self._items())

    def _raw_at(self, key: Any) -> Any:
        items = self._items()
        return items[key] if key < len(items) else MISSING

    def _base_at(self, key: Any) -> Any:
        return self._baseline[key] if key < len(self._baseline) else MISSING

    def _compare(self) -> dict[Any, None]:
        pairs = enumerate(zip(self._baseline, self._items()))
        return {key: None for key, (base, value) in pairs if not same(base, value)}

    def _modified(self) -> bool:
        # Keys that only one of both has are not noted one by one; their number says enough.
        return super()._modified() or len(self._items()) != len(self._baseline)

    def _differing(self) -> list[Any]:
        self._modified()
        lengths = sorted((len(self._baseline), len(self._items())))
        return [*sorted(self._differs or ()), *range(*lengths)]

    def _owned_children(self) -> Iterable[Node]:
        return () if self._now is None else [value for value in self._now if isinstance(value, Node)]

    def _assemble(self, done: dict[int, Any]) -> Any:
        now = self._now
        return self._under if now is None else [done.get(id(value), value) for value in now]

    def _keep(self, child: Node) -> None:
        self._copy_references()

    def _drop_overlay(self) -> None:
        self._now = None

    def _stay(self, children: list[Node]) -> list[Node]:
        """Each child goes back to where its element was; one that shows a new element stays where it is, if free."""
        base = self._baseline
        places: dict[int, list[int]] = {}
        for place, element in enumerate(base):
            places.setdefault(id(element), []).append(place)
        taken: dict[int, Node] = {}
        rest = []
        for child in children:
            origins = places.get(id(child._under), [])
            free = [place for place in (child._key, *origins) if place in origins and place not in taken]
            if free:
                taken[free[0]] = child
            else:
                rest.append(child)
        for child in rest:
            if child._baseline is not MISSING:
                taken.setdefault(child._key, child)
        for place, child in taken.items():
            child._key = place
            if child._baseline is not base[place]:
                rebase(child, base[place])
        return list(taken.values())

    # -- reading

    def __len__(self) -> int:
        return len(self._items())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._shown(place) for place in range(*index.indices(len(self)))]
        return self._shown(self._place(index))

    def _place(self, index: Any) -> int:
        """An index from the start.

        Raises:
            IndexError: The list has no such element.
        """
        place = as_index(index)
        length = len(self._items())
        if place < 0:
            place += length
        if not 0 <= place < length:
            raise IndexError(f"the list has {length} elements, so none has the index {index}.")
        return place

    def _shown(self, place: int) -> Any:
        value = self._items()[place]
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind is not dict and kind is not list:
            return value if isinstance(value, Node) and value._parent is self else leaf(value)
        if self._now is None:
            return self._child(KINDS[kind], place, value, owned=False)
        child = self._now[place] = self._child(KINDS[kind], place, value, owned=True)
        return child

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while place < len(self._items()):
            yield self._shown(place)
            place += 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, TrackedList)):
            return NotImplemented
        theirs = other._items() if isinstance(other, TrackedList) else other
        mine = self._items()
        return len(mine) == len(theirs) and all(a is b or a == b for a, b in zip(mine, theirs))

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> bool:
        return list(self) < list(other) if isinstance(other, (list, TrackedList)) else NotImplemented

    def __le__(self, other: Any) -> bool:
        return list(self) <= list(other) if isinstance(other, (list, TrackedList)) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return list(self) > list(other) if isinstance(other, (list, TrackedList)) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return list(self) >= list(other) if isinstance(other, (list, TrackedList)) else NotImplemented

    def plain(self) -> list[Any]:
        """The content as a plain list of the caller's own, with all that is nested in it.

        Raises:
            InvalidInputError: It holds itself.
        """
        found: list[Any] = fresh(self)
        return found

    copy = plain

    def __reduce__(self) -> Any:
        return list, (self.plain(),)

    def __add__(self, other: Any) -> Any:
        return [*self.plain(), *own(list(other))] if isinstance(other, (list, TrackedList)) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return [*own(list(other)), *self.plain()] if isinstance(other, list) else NotImplemented

    def __mul__(self, number: Any) -> list[Any]:
        return self.plain() * as_index(number)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({settle(self)!r})"

    # -- writing

    def _open(self) -> list[Any]:
        """The list that may be changed."""
        now = self._copy_references()
        self._hold()
        return now

    def _copy_references(self) -> list[Any]:
        """Makes that list at the first write, with the views that somebody holds in their places."""
        now = self._now
        if now is None:
            now = self._now = list(self._under)
            for place, child in list((self._views or {}).items()):
                now[place] = child
                child._held = True
            self._views = None
        return now

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            values = [own(item) for item in value]
            self._rearrange(lambda now: now.__setitem__(index, values))
            return
        place = self._place(index)
        if value is self._items()[place] or self._is_child_at(place, value):
            return
        value = own(value)
        now = self._open()
        self._let_go(place, now[place])
        now[place] = value
        if self._differs is not None and self._baseline is not MISSING:
            if same(self._base_at(place), value):
                self._differs.pop(place, None)
            elif place < len(self._baseline):
                self._differs[place] = None
        self._report()

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, slice):
            self._rearrange(lambda now: now.__delitem__(index))
            return
        place = self._place(index)
        if place != len(self._items()) - 1:
            self._rearrange(lambda now: now.__delitem__(place))
            return
        now = self._open()
        self._let_go(place, now.pop())
        if self._differs is not None:
            self._differs.pop(place, None)
        self._report()

    def pop(self, index: Any = -1) -> Any:
        """Removes an element, the last one by default, and returns it."""
        value = self[index]
        del self[index]
        return value

    def insert(self, index: Any, value: Any) -> None:
        """Puts a value before an element."""
        if as_index(index) >= len(self):
            self.extend((value,))
            return
        value = own(value)
        self._rearrange(lambda now: now.insert(index, value))

    def append(self, value: Any) -> None:
        """Puts a value at the end."""
        self.extend((value,))

    def extend(self, values: Iterable[Any]) -> None:
        """Puts values at the end; all of them, or none where one cannot be tracked."""
        more = [own(value) for value in values]
        if not more:
            return
        now = self._open()
        start = len(now)
        now += more
        if self._differs is not None and self._baseline is not MISSING:
            for place in range(start, min(len(now), len(self._baseline))):
                if not same(self._baseline[place], now[place]):
                    self._differs[place] = None
        self._report()

    def clear(self) -> None:
        """Removes everything."""
        self._rearrange(lambda now: now.clear())

    def reverse(self) -> None:
        """Turns the order round; views follow their elements."""
        self._rearrange(lambda now: now.reverse())

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sorts the list, stably; ``key`` gets what reading would give. Where it raises, the list is as it was."""
        now = self._open()
        ordered = sorted(now if key is None else self, key=key, reverse=reverse)
        self._rearrange(lambda now: now.__setitem__(slice(None), ordered))

    def __imul__(self, number: Any) -> TrackedList:
        times = as_index(number)
        if times <= 0:
            self.clear()
        else:
            self.extend(settle(self) * (times - 1))
        return self

    def _rearrange(self, change: Callable[[list[Any]], object]) -> None:
        """Changes the list in a way that may move elements."""
        now = self._open()
        before = self._owned_children()
        change(now)
        base = self._baseline
        present = set()
        for place, value in enumerate(now):
            if isinstance(value, Node):
                present.add(id(value))
                value._key = place
                if base is not MISSING and value._baseline is not self._base_at(place):
                    rebase(value, self._base_at(place))
        for child in before:
            if id(child) not in present:
                child._detach()
        self._differs = None
        self._report()


KINDS[list] = TrackedList
