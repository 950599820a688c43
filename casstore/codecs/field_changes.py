# SPDX-License-Identifier: MIT
"""What differs between two plain values, field by field, as data: applied to the old value, it gives the new one.

A change stands at a path. Dicts go by key, lists and tuples by aligned items (``field_changes_align``), sets by member,
classes (``Unknown`` with fields) by field. Places in a list are those of the new list, but for removed items, which are
named by their place in the old one; so the changes of a list may be applied in any order.

Invariant: nothing recurses, and work is bounded by ``Limits`` whatever the values are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from casstore.codecs.field_changes_align import Steps, matching_pairs
from casstore.codecs.field_changes_digest import Codes
from casstore.codecs.unknown import Unknown

ADDED: Final = "added"
REMOVED: Final = "removed"
CHANGED: Final = "changed"
RETYPED: Final = "retyped"
"""A class whose version alone is another one; its fields follow."""

Kind = Literal["added", "removed", "changed", "retyped"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a dict, or a field of a class."""

    name: Any


@dataclass(frozen=True, slots=True)
class Index:
    """A place in a list or a tuple."""

    place: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a set."""

    value: Any


Path = tuple[Key | Index | Member, ...]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs.

    Attributes:
        path: Where; empty for the value itself.
        kind: ``"added"``, ``"removed"``, ``"changed"``, or ``"retyped"``.
        old: What was there; None where it was added, the old version where it was retyped.
        new: What is there; None where it was removed, the new version where it was retyped.
    """

    path: Path
    kind: Kind
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a comparison may take.

    Attributes:
        max_depth: Fields are looked for down to so many levels; what lies deeper changes as a whole.
        max_values: Two values that have more parts together are refused.
        max_steps: Steps for aligning lists, about 0.4 µs each; with too few, lists change item by item.
    """

    max_depth: int = 1000
    max_values: int = 4_000_000
    max_steps: int = 4_000_000


def field_changes(old: Any, new: Any, limits: Limits | None = None) -> Iterator[FieldChange]:
    """The changes that lead from ``old`` to ``new``, in the order of the fields; none for equal values of equal type.

    Args:
        old: Plain data, as ``describe_values.decode_content`` gives it.
        new: The same. Neither may change meanwhile.
        limits: Bounds; None: the defaults.

    Raises:
        InvalidInputError: They have too many parts, hold themselves, or are no plain data.

    *Cost*: one pass over both values, about a microsecond a part, and the steps of aligning lists.
    """
    return _Comparison(limits or Limits()).run(old, new)


class _Way:
    """A path as it is walked: the last step, and the way to it."""

    __slots__ = ("above", "depth", "step")

    def __init__(self, above: _Way | None, step: Key | Index | Member) -> None:
        self.above = above
        self.step = step
        self.depth: int = 1 if above is None else above.depth + 1


def _path(way: _Way | None) -> Path:
    steps = []
    while way is not None:
        steps.append(way.step)
        way = way.above
    return tuple(reversed(steps))


_Pair = tuple[_Way | None, Any, Any]
_Item = FieldChange | _Pair


class _Comparison:
    """One run of ``field_changes``."""

    __slots__ = ("_codes", "_limits", "_steps")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._codes = Codes(limits.max_values)
        self._steps = Steps(limits.max_steps)

    def run(self, old: Any, new: Any) -> Iterator[FieldChange]:
        if self._codes.code(old) == self._codes.code(new):
            return
        stack: list[Iterator[_Item]] = [iter([(None, old, new)])]
        while stack:
            for item in stack[-1]:
                if isinstance(item, FieldChange):
                    yield item
                    continue
                stack.append(self._within(*item))
                break
            else:
                stack.pop()

    def _within(self, way: _Way | None, old: Any, new: Any) -> Iterator[_Item]:
        """The changes of two values that differ, and the pairs below them that do."""
        kind = type(old)
        if kind is not type(new) or (way is not None and way.depth >= self._limits.max_depth):
            return iter([FieldChange(_path(way), CHANGED, old, new)])
        if kind is Unknown and has_fields(old) and has_fields(new) and old.type_id == new.type_id:
            if type(old.plain) is type(new.plain):
                return self._of_class(way, old, new)
        elif kind is dict:
            return self._of_dict(way, old, new)
        elif kind is list or kind is tuple:
            return self._of_list(way, old, new)
        elif kind is set or kind is frozenset:
            return self._of_set(way, old, new)
        return iter([FieldChange(_path(way), CHANGED, old, new)])

    def _of_class(self, way: _Way | None, old: Unknown, new: Unknown) -> Iterator[_Item]:
        if old.version != new.version:
            yield FieldChange(_path(way), RETYPED, old.version, new.version)
        if not self._same(old.plain, new.plain):
            yield from self._within(way, old.plain, new.plain)

    def _of_dict(self, way: _Way | None, old: dict[Any, Any], new: dict[Any, Any]) -> Iterator[_Item]:
        # By code, as 1, 1.0 and True are one key for Python.
        code = self._codes.code
        others = {code(key): (key, value) for key, value in new.items()}
        for key, value in old.items():
            found = others.pop(code(key), None)
            if found is None:
                yield FieldChange(_path(_Way(way, Key(key))), REMOVED, value, None)
            elif not self._same(value, found[1]):
                yield _Way(way, Key(key)), value, found[1]
        for key, value in others.values():
            yield FieldChange(_path(_Way(way, Key(key))), ADDED, None, value)

    def _of_list(self, way: _Way | None, old: Any, new: Any) -> Iterator[_Item]:
        code = self._codes.code
        pairs = matching_pairs(list(map(code, old)), list(map(code, new)), self._steps)
        pairs.append((len(old), len(new)))
        start_old = start_new = 0
        for at_old, at_new in pairs:
            both = min(at_old - start_old, at_new - start_new)
            for number in range(both):
                # Not aligned, so they may still be equal where the steps ran out.
                a, b = old[start_old + number], new[start_new + number]
                if not self._same(a, b):
                    yield _Way(way, Index(start_new + number)), a, b
            for place in range(start_old + both, at_old):
                yield FieldChange(_path(_Way(way, Index(place))), REMOVED, old[place], None)
            for place in range(start_new + both, at_new):
                yield FieldChange(_path(_Way(way, Index(place))), ADDED, None, new[place])
            start_old, start_new = at_old + 1, at_new + 1

    def _of_set(self, way: _Way | None, old: Any, new: Any) -> Iterator[_Item]:
        code = self._codes.code
        left = {code(value): value for value in old}
        right = {code(value): value for value in new}
        for mark in sorted(left.keys() - right.keys()):
            yield FieldChange(_path(_Way(way, Member(left[mark]))), REMOVED, left[mark], None)
        for mark in sorted(right.keys() - left.keys()):
            yield FieldChange(_path(_Way(way, Member(right[mark]))), ADDED, None, right[mark])

    def _same(self, old: Any, new: Any) -> bool:
        return self._codes.code(old) == self._codes.code(new)


def has_fields(value: Any) -> bool:
    """Whether a value is a class whose fields can be told apart."""
    return type(value) is Unknown and type(value.plain) in (dict, list, tuple, set, frozenset)


def apply_changes(old: Any, changes: Iterable[FieldChange]) -> Any:
    """What ``old`` becomes by the changes that ``field_changes`` listed, all of them; ``old`` itself stays as it is.

    Raises:
        InvalidInputError: A change names what is not there.

    *Cost*: the containers on the ways to the changes are made anew, the rest is shared.
    """
    from casstore.codecs.field_changes_apply import apply

    return apply(old, changes)
