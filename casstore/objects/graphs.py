# SPDX-License-Identifier: MIT
"""Graphs of objects: what needs to be loaded first, and what a value leads to. No recursion: graphs are as deep as
they like, and may go in circles.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from casstore.objects.admission import check_seconds
from casstore.objects.held import PLAIN_TYPES
from casstore.objects.ref import Ref

if TYPE_CHECKING:
    from casstore.objects.materializer import Materializer

_SETS: Final = (list, tuple, set, frozenset)


def needs_first(ref: Ref[Any]) -> list[Ref[Any]]:
    """``ref`` and all that it needs, each once, what is needed before what needs it; circles are cut somewhere."""
    order: list[Ref[Any]] = []
    seen = {ref}
    waiting: list[tuple[Ref[Any], Iterator[Ref[Any]]]] = [(ref, iter(ref.needs))]
    while waiting:
        here, rest = waiting[-1]
        for other in rest:
            if other not in seen:
                seen.add(other)
                waiting.append((other, iter(other.needs)))
                break
        else:
            waiting.pop()
            order.append(here)
    return order


def refs_in(value: object) -> list[Ref[Any]]:
    """The Refs inside a value: in its containers, its dataclass fields and its attributes; not behind other Refs."""
    found: dict[Ref[Any], None] = {}
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind in PLAIN_TYPES or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Ref):
            found[one] = None
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, _SETS):
            waiting += one
        elif is_dataclass(one) and not isinstance(one, type):
            waiting += [getattr(one, field.name, None) for field in fields(one)]
        elif not isinstance(one, type) and hasattr(one, "__dict__") and not kind.__module__.startswith("casstore."):
            waiting += vars(one).values()
    return list(found)


def load_graph(home: Materializer, ref: Ref[Any], timeout: float | None) -> Any:
    """Loads ``ref`` and all that the Refs in values lead to from there; returns its value."""
    end = None if timeout is None else time.monotonic() + (check_seconds(timeout) or 0.0)
    top: Any = None
    seen: dict[Ref[Any], None] = {ref: None}
    waiting = [ref]
    while waiting:
        one = waiting.pop()
        value = home.materialize(one, timeout=None if end is None else max(0.0, end - time.monotonic()))
        if one is ref:
            top = value
        for other in refs_in(value):
            if other not in seen:
                seen[other] = None
                waiting.append(other)
    return top


def loaded_graph(ref: Ref[Any]) -> list[Ref[Any]]:
    """``ref`` and the Refs that loaded values lead to from it, each once; loads nothing."""
    found = {ref: None}
    waiting = [ref]
    while waiting:
        held = waiting.pop()._held
        if held is None:
            continue
        for other in refs_in(held.value):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return list(found)
