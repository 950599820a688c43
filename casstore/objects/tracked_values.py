# SPDX-License-Identifier: MIT
"""What a tracked state may hold, when two values are the same, and how a value that is handed in becomes the tracker's.

Containers are exactly dict and list. Everything else is one value, replaced and never changed in place: numbers, text,
bytes, tuples of such, NumPy arrays (handed out read-only), and objects of other classes, which are taken as immutable.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from casstore.errors import InvalidInputError
from casstore.objects.tracked_node import MISSING, Missing, Node, settle

ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_BY_REPR: Final = frozenset({float, complex})
"""NaN is itself, and 0.0 is not -0.0: ``repr`` tells all floats apart that differ in bits, but NaNs."""
_BY_VALUE: Final = frozenset({"builtins", "datetime", "decimal", "fractions", "numpy", "pathlib", "uuid"})
"""Modules whose values are compared by ``==``; no other class's code is run."""
_CHANGEABLE: Final = (dict, list, set, bytearray, deque, Node)
_INSTEAD: Final = "use dict, list, tuple, frozenset or bytes; `plain()` turns a view into such"


def leaf(value: Any) -> Any:
    """A value that is no container, as it may be handed out.

    Raises:
        InvalidInputError: It could be changed in place, unseen.
    """
    return value if type(value) in ATOMS else _unchangeable(value, copied=False)


def _unchangeable(value: Any, *, copied: bool) -> Any:
    """The value; of an array that can be written, a read-only view, or a copy that nobody else writes."""
    array = _array_type()
    if array is not None and isinstance(value, array):
        if value.flags.writeable:
            value = value.copy() if copied else value.view()
            value.flags.writeable = False
        return value
    _check_leaf(value)
    return value


def _check_leaf(value: Any) -> None:
    parts = [value]
    for part in parts:
        if isinstance(part, _CHANGEABLE):
            where = "" if part is value else f" inside a {type(value).__name__}"
            raise InvalidInputError(
                f"a {type(part).__name__}{where} cannot be tracked, as it could be changed unseen; {_INSTEAD}."
            )
        if isinstance(part, (tuple, frozenset)):
            parts.extend(part)


def _array_type() -> Any:
    """``numpy.ndarray`` where somebody imported it; else no value can be one."""
    numpy = sys.modules.get("numpy")
    return None if numpy is None else numpy.ndarray


def own(value: Any) -> Any:
    """A copy of ``value`` that nobody else can change: its containers and writable arrays; the rest is shared.

    A container that stands at several places is copied once. A view becomes what it shows, without a copy.

    Raises:
        InvalidInputError: It holds itself, or something that could be changed in place, unseen.

    *Cost*: the containers in it, and their widths.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if isinstance(value, Node):
        return settle(value)
    if kind is not dict and kind is not list:
        return _unchangeable(value, copied=True)
    copy: Any = kind()
    done = {id(value): copy}
    stack: list[tuple[int, Any, Iterator[tuple[Any, Any]]]] = [(id(value), copy, _pairs(value))]
    on_path = {id(value)}
    while stack:
        number, target, items = stack[-1]
        put = target.append if type(target) is list else None
        for key, item in items:
            kind = type(item)
            made: Any
            nested = False
            if kind in ATOMS:
                made = item
            elif kind is dict or kind is list:
                if id(item) in on_path:
                    raise InvalidInputError(f"the {kind.__name__} holds itself; a state is a tree, so leave that out.")
                made = done.get(id(item), MISSING)
                if made is MISSING:
                    nested = True
                    made = done[id(item)] = kind()
            else:
                made = settle(item) if isinstance(item, Node) else _unchangeable(item, copied=True)
            if put is None:
                target[key] = made
            else:
                put(made)
            if nested:
                on_path.add(id(item))
                stack.append((id(item), made, _pairs(item)))
                break
        else:
            stack.pop()
            on_path.discard(number)
    return copy


def _pairs(container: Any) -> Iterator[tuple[Any, Any]]:
    return iter(container.items()) if type(container) is dict else enumerate(container)


def fresh(value: Any) -> Any:
    """A plain copy of what a state holds somewhere, for the caller to keep and change."""
    if isinstance(value, Node):
        value = settle(value)
    if type(value) is dict or type(value) is list:
        return own(value)
    return value if isinstance(value, Missing) else leaf(value)


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal and of equal types, all the way down; nodes count as what they show.

    Objects of classes that are not Python's own or NumPy's are the same only where they are one.

    *Cost*: what both have in common up to the first difference; one step where they are one object.
    """
    if first is second:
        return True
    if type(first) in ATOMS:
        return _same_atoms(first, second)
    pairs = [(first, second)]
    seen: set[tuple[int, int]] = set()
    while pairs:
        a, b = pairs.pop()
        kind: Any = _kind(a)
        if kind is not _kind(b):
            return False
        more: Iterable[tuple[Any, Any]]
        if kind is dict or kind is list or issubclass(kind, tuple):
            # Seen once is enough; this also ends where both hold themselves.
            pair = (id(a), id(b))
            if pair in seen:
                continue
            seen.add(pair)
            if len(a) != len(b):
                return False
            if kind is dict:
                more = [(item, _at(b, key)) for key, item in _raw(a)]
            else:
                more = zip(_values(a), _values(b))
            for x, y in more:
                if x is not y:
                    if type(x) not in ATOMS:
                        pairs.append((x, y))
                    elif not _same_atoms(x, y):
                        return False
        elif not _equal(a, b):
            return False
    return True


def _same_atoms(a: Any, b: Any) -> bool:
    kind = type(a)
    return type(b) is kind and bool(a == b if kind not in _BY_REPR else repr(a) == repr(b))


def _kind(value: Any) -> type:
    return value.plain_type if isinstance(value, Node) else type(value)


def _raw(container: Any) -> Iterator[tuple[Any, Any]]:
    return container._raw() if isinstance(container, Node) else iter(container.items())


def _at(container: Any, key: Any) -> Any:
    return container._raw_at(key) if isinstance(container, Node) else container.get(key, MISSING)


def _values(container: Any) -> Iterable[Any]:
    return (item for _, item in container._raw()) if isinstance(container, Node) else container


def _equal(a: Any, b: Any) -> bool:
    array = _array_type()
    if array is not None and isinstance(a, array):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    return type(a).__module__ in _BY_VALUE and bool(a == b)
