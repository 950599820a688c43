# SPDX-License-Identifier: MIT
"""Random histories of a tracked state against plain Python: real dicts and lists, and a deep copy as the baseline.

Each view that was taken is kept beside the plain object that it stands for, also after that was moved or taken out, so
that views must behave as references to objects do. Values are compared with their types and dicts with their order.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from casstore.objects.tracking import MISSING, FieldChange, StateTracker, TrackedDict, TrackedList

SCALARS = st.sampled_from([None, 0, 1, True, 1.0, 0.0, -0.0, "a", "b", b"a", (1, "x")])
KEYS = st.sampled_from(["a", "b", "c", 1])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
STATES = st.dictionaries(KEYS, VALUES, max_size=4)
PLACES = st.integers(-5, 5)


def exact(value: Any) -> Any:
    """Equal for values that are the same for a tracker, and for no others."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value).__name__, repr(value))


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


def applied(state: Any, changes: dict[tuple[Any, ...], FieldChange]) -> Any:
    """``state`` with changes applied, which must say truly what was there before."""
    state = copy.deepcopy(state)
    removals = []
    for path, change in changes.items():
        place = state
        for step in path[:-1]:
            place = place[step]
        last = path[-1]
        if isinstance(place, list) and last == len(place):
            assert change.old is MISSING
            place.append(change.new)
            continue
        before = place.get(last, MISSING) if isinstance(place, dict) else place[last]
        assert exact(before) == exact(change.old)
        if change.new is MISSING:
            removals.append((place, last))
        else:
            place[last] = change.new
    for place, last in reversed(removals):
        del place[last]
    return state


def outcome(action: Any) -> Any:
    """What a call gives, or which sort of error it raises."""
    try:
        return action()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return next(kind for kind in (KeyError, IndexError, TypeError, ValueError) if isinstance(error, kind))


class TrackingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Any, Any]] = []
        self.old_views: list[Any] = []

    @initialize(state=STATES, elements=st.lists(VALUES, min_size=1, max_size=4), inner=STATES)
    def begin(self, state: dict[Any, Any], elements: list[Any], inner: dict[Any, Any]) -> None:
        state = {**state, "b": elements, "c": [inner, [inner], *elements]}
        # Hypothesis may use one object twice in a value; here a state is a tree.
        self.original = eval(repr(state))
        self.untouched = eval(repr(state))
        self.tracker = StateTracker(self.original)
        self.model = eval(repr(state))
        self.baseline = eval(repr(state))
        self.pairs = [(self.tracker, self.model)]
        for key in ("b", "c"):
            self.pairs.append((self.tracker[key], self.model[key]))

    def pick(self, data: st.DataObject, kind: type) -> tuple[Any, Any]:
        """A view and the object that it stands for."""
        known = [pair for pair in self.pairs if isinstance(pair[1], kind)]
        return data.draw(st.sampled_from(known), label="pair")

    def has(self, kind: type) -> bool:
        return any(isinstance(real, kind) for _, real in self.pairs)

    # -- looking

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """Takes a view of something nested."""
        view, real = data.draw(st.sampled_from(self.pairs), label="pair")
        keys = [key for key in (real if isinstance(real, dict) else range(len(real))) if containers_at(real, key)]
        if keys:
            key = data.draw(st.sampled_from(keys), label="key")
            found = view[key]
            assert found is view[key]
            self.pairs.append((found, real[key]))

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if len(self.pairs) > 1:
            del self.pairs[data.draw(st.integers(1, len(self.pairs) - 1))]

    # -- dicts

    @rule(data=st.data(), key=KEYS, value=VALUES)
    def set_key(self, data: st.DataObject, key: Any, value: Any) -> None:
        view, real = self.pick(data, dict)
        view[key] = value
        real[key] = eval(repr(value))

    @rule(data=st.data(), key=KEYS, value=VALUES)
    def set_default(self, data: st.DataObject, key: Any, value: Any) -> None:
        view, real = self.pick(data, dict)
        assert view.setdefault(key, value) == real.setdefault(key, eval(repr(value)))

    @rule(data=st.data(), key=KEYS)
    def delete_key(self, data: st.DataObject, key: Any) -> None:
        view, real = self.pick(data, dict)
        assert outcome(lambda: view.pop(key)) == outcome(lambda: real.pop(key))

    @rule(data=st.data())
    def pop_item(self, data: st.DataObject) -> None:
        view, real = self.pick(data, dict)
        assert outcome(view.popitem) == outcome(real.popitem)

    @rule(data=st.data(), values=STATES)
    def update(self, data: st.DataObject, values: dict[Any, Any]) -> None:
        view, real = self.pick(data, dict)
        view |= values
        real |= eval(repr(values))

    # -- lists

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), place=PLACES, value=VALUES)
    def set_element(self, data: st.DataObject, place: int, value: Any) -> None:
        view, real = self.pick(data, list)
        theirs = eval(repr(value))
        assert outcome(lambda: view.__setitem__(place, value)) == outcome(lambda: real.__setitem__(place, theirs))

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), place=PLACES, value=VALUES)
    def insert(self, data: st.DataObject, place: int, value: Any) -> None:
        view, real = self.pick(data, list)
        view.insert(place, value)
        real.insert(place, eval(repr(value)))

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), values=st.lists(VALUES, max_size=3))
    def extend(self, data: st.DataObject, values: list[Any]) -> None:
        view, real = self.pick(data, list)
        view += values
        real += eval(repr(values))

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), place=PLACES)
    def pop(self, data: st.DataObject, place: int) -> None:
        view, real = self.pick(data, list)
        assert outcome(lambda: view.pop(place)) == outcome(lambda: real.pop(place))

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), part=st.slices(4), values=st.lists(VALUES, max_size=3))
    def set_slice(self, data: st.DataObject, part: slice, values: list[Any]) -> None:
        view, real = self.pick(data, list)
        theirs = eval(repr(values))
        assert outcome(lambda: view.__setitem__(part, values)) == outcome(lambda: real.__setitem__(part, theirs))

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), part=st.slices(4))
    def delete_slice(self, data: st.DataObject, part: slice) -> None:
        view, real = self.pick(data, list)
        assert view[part] == real[part]
        del view[part]
        del real[part]

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), backwards=st.booleans())
    def sort(self, data: st.DataObject, backwards: bool) -> None:
        view, real = self.pick(data, list)
        view.sort(key=repr_of, reverse=backwards)
        real.sort(key=repr_of, reverse=backwards)

    @precondition(lambda self: self.has(list))
    @rule(data=st.data(), how=st.sampled_from(["reverse", "clear", "double", "none"]))
    def whole_list(self, data: st.DataObject, how: str) -> None:
        view, real = self.pick(data, list)
        if how in ("reverse", "clear"):
            getattr(view, how)()
            getattr(real, how)()
        else:
            view *= 2 if how == "double" else 0
            real *= 2 if how == "double" else 0
            half = len(real) // 2
            real[half:] = eval(repr(real[half:]))

    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        view, real = self.pick(data, dict)
        view.clear()
        real.clear()

    # -- moving

    @rule(data=st.data(), key=KEYS)
    def write_a_view(self, data: st.DataObject, key: Any) -> None:
        """What is written is a copy, unless it is what stands there."""
        source, shown = data.draw(st.sampled_from(self.pairs), label="source")
        view, real = self.pick(data, dict)
        if len(repr(shown)) < 300:
            copied = shown if real.get(key) is shown else eval(repr(shown))
            view[key] = source
            real[key] = copied

    # -- baselines

    @rule()
    def reset(self) -> None:
        self.tracker.reset()
        self.baseline = eval(repr(self.model))
        assert not self.tracker.is_modified

    @rule()
    def revert(self) -> None:
        # Which views go on is the subject of other tests; here they are merely alive.
        self.tracker.revert()
        self.old_views = [view for view, _ in self.pairs[1:]]
        self.model = eval(repr(self.baseline))
        self.pairs = [(self.tracker, self.model)]
        assert not self.tracker.is_modified

    @rule(data=st.data(), path=st.lists(st.one_of(KEYS, st.integers(0, 2)), max_size=3))
    def restore(self, data: st.DataObject, path: list[Any]) -> None:
        """Writes a value of the baseline back to its place."""
        found, view, real = self.baseline, self.tracker, self.model
        for step in path[:-1]:
            if not (containers_at(found, step) and containers_at(real, step)):
                return
            found, view, real = found[step], view[step], real[step]
        if path and has_at(found, path[-1]) and (isinstance(real, dict) or has_at(real, path[-1])):
            view[path[-1]] = found[path[-1]]
            real[path[-1]] = eval(repr(found[path[-1]]))

    # -- what must hold

    @invariant()
    def same_content(self) -> None:
        for view, real in self.pairs:
            assert repr(view.plain()) == repr(real)
            assert len(view) == len(real)
            assert view == real
            assert real == view
            assert list(view) == list(real)

    @invariant()
    def knows_what_differs(self) -> None:
        modified = exact(self.model) != exact(self.baseline)
        assert self.tracker.is_modified is modified
        changes = self.tracker.get_changes()
        assert bool(changes) is modified
        assert {path[0] for path in changes} == set(self.tracker.modified_fields)
        assert exact(applied(self.baseline, changes)) == exact(self.model)

    @invariant()
    def original_is_untouched(self) -> None:
        assert repr(self.original) == repr(self.untouched)


def has_at(value: Any, key: Any) -> bool:
    if isinstance(value, dict):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def containers_at(value: Any, key: Any) -> bool:
    return has_at(value, key) and isinstance(value[key], (dict, list))


def repr_of(value: Any) -> str:
    return repr(value.plain() if isinstance(value, (TrackedDict, TrackedList)) else value)


@pytest.mark.parametrize(
    "examples", [pytest.param(120, id="some"), pytest.param(4000, id="many", marks=pytest.mark.slow)]
)
def test_tracker_behaves_like_plain_objects(examples: int) -> None:
    run_state_machine_as_test(
        TrackingMachine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
