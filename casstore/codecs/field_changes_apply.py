# SPDX-License-Identifier: MIT
"""Applies field changes to a plain value; see ``field_changes``. Nothing recurses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from casstore.codecs.field_changes import ADDED, CHANGED, REMOVED, RETYPED, FieldChange, Index, Key, Member, has_fields
from casstore.codecs.field_changes_digest import Codes
from casstore.codecs.unknown import Unknown
from casstore.errors import InvalidInputError

_NO_BOUND: Final = 2**62


class _Part:
    """What is to happen at one path, and below it."""

    __slots__ = ("added", "below", "change", "removed", "version")

    def __init__(self) -> None:
        self.change: FieldChange | None = None
        self.version: int | None = None
        # By the token of the step; of lists by place in the new list, but `removed` by place in the old one.
        self.below: dict[Any, _Part] = {}
        self.added: dict[Any, tuple[Any, Any]] = {}
        self.removed: set[Any] = set()


def _token(step: Key | Index | Member) -> Any:
    if isinstance(step, Index):
        return step.place
    # Codes of its own for each step: they go by identity, and steps come and go.
    return Codes(_NO_BOUND).code(step.name if isinstance(step, Key) else step.value)


def _plan(changes: Iterable[FieldChange]) -> _Part:
    root = _Part()
    for change in changes:
        whole = change.kind in (CHANGED, RETYPED)
        part = root
        for step in change.path if whole else change.path[:-1]:
            part = part.below.setdefault(_token(step), _Part())
        if change.kind == RETYPED:
            part.version = change.new
        elif whole:
            part.change = change
        elif not change.path:
            raise InvalidInputError("a change that adds or removes needs a path; give what field_changes listed.")
        elif change.kind == ADDED:
            step = change.path[-1]
            part.added[_token(step)] = (getattr(step, "name", None), change.new)
        elif change.kind == REMOVED:
            part.removed.add(_token(change.path[-1]))
    return root


class _Frame:
    """A value that is being made anew: what is done of it, and what waits for its parts."""

    __slots__ = ("part", "results", "value", "waiting")

    def __init__(self, part: _Part, value: Any) -> None:
        self.part = part
        self.value = value
        self.results: dict[Any, Any] = {}
        plain = value.plain if has_fields(value) else value
        found: dict[Any, Any]
        if type(plain) is list or type(plain) is tuple:
            found = _kept(plain, part)
        else:
            found = {token: item for token, (_, item) in _items(plain).items()} if part.below else {}
        self.waiting: Iterator[tuple[Any, Any]] = iter(
            [(token, found[token]) for token in part.below if token in found]
        )


def _items(value: Any) -> dict[Any, tuple[Any, Any]]:
    """The items of a dict, by the codes of their keys."""
    if type(value) is not dict:
        return {}
    codes = Codes(_NO_BOUND)
    return {codes.code(key): (key, item) for key, item in value.items()}


def _kept(value: Any, part: _Part) -> dict[int, Any]:
    """The items of a list that stay, by their places in the new one."""
    kept = iter([item for place, item in enumerate(value) if place not in part.removed])
    length = len(value) - len(part.removed) + len(part.added)
    try:
        return {place: next(kept) for place in range(length) if place not in part.added}
    except StopIteration:
        raise InvalidInputError("a change names a place that the list does not have.") from None


def apply(old: Any, changes: Iterable[FieldChange]) -> Any:
    """As ``field_changes.apply_changes``."""
    root = _plan(changes)
    if root.change is not None:
        return root.change.new
    frames = [_Frame(root, old)]
    while True:
        frame = frames[-1]
        for token, value in frame.waiting:
            part = frame.part.below[token]
            if part.change is not None:
                frame.results[token] = part.change.new
                continue
            frames.append(_Frame(part, value))
            frame.results[token] = None
            break
        else:
            frames.pop()
            made = _made(frame)
            if not frames:
                return made
            above = frames[-1]
            # The one that waits is the last that was begun.
            above.results[next(reversed(above.results))] = made


def _made(frame: _Frame) -> Any:
    value, part = frame.value, frame.part
    if len(frame.results) != len(part.below):
        raise InvalidInputError("a change names a field that the value does not have.")
    if has_fields(value):
        version = value.version if part.version is None else part.version
        return Unknown(value.type_id, version, b"", _container(value.plain, part, frame.results))
    return _container(value, part, frame.results)


def _container(value: Any, part: _Part, results: dict[Any, Any]) -> Any:
    kind = type(value)
    if kind is dict:
        items = {
            token: (key, results.get(token, item))
            for token, (key, item) in _items(value).items()
            if token not in part.removed
        }
        items.update(part.added)
        return dict(items.values())
    if kind is list or kind is tuple:
        kept = _kept(value, part)
        kept.update(results)
        kept.update({place: item for place, (_, item) in part.added.items()})
        return kind(kept[place] for place in range(len(kept)))
    if kind is set or kind is frozenset:
        codes = Codes(_NO_BOUND)
        left = {codes.code(item): item for item in value}
        for token in part.removed:
            left.pop(token, None)
        left.update({token: item for token, (_, item) in part.added.items()})
        return kind(left.values())
    return value
