# SPDX-License-Identifier: MIT
"""What a tracked state promises, one promise a test."""

from __future__ import annotations

import copy
import datetime
import types
from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import numpy
import pytest

from casstore.errors import InvalidInputError, NotFoundError
from casstore.objects.tracking import MISSING, FieldChange, StateTracker, TrackedDict
from tests.objects.samples import sample

Point = namedtuple("Point", "x y")


# -- changes


def test_changes_name_the_innermost_places(tracker: StateTracker) -> None:
    assert not tracker.is_modified
    assert tracker.get_changes() == {}
    tracker["step"] = 2
    tracker["memory"]["facts"].append("c")
    tracker["log"][1]["n"] = 7
    del tracker["memory"]["score"]
    assert tracker.is_modified
    assert tracker.modified_fields == ("step", "memory", "log")
    assert tracker.get_changes() == {
        ("step",): FieldChange(1, 2),
        ("memory", "facts", 2): FieldChange(MISSING, "c"),
        ("memory", "score"): FieldChange(0.5, MISSING),
        ("log", 1, "n"): FieldChange(1, 7),
    }
    assert repr(tracker.get_changes()[("memory", "score")]) == "FieldChange(old=0.5, new=MISSING)"


def test_the_original_stays_and_what_was_not_written_is_not_copied(tracker: StateTracker) -> None:
    original = sample()
    tracker = StateTracker(original)
    tracker["log"][0]["n"] = 9
    tracker["memory"] = {}
    tracker["log"].reverse()
    assert original == sample()
    tracker.reset()
    assert tracker._under["log"][0] is original["log"][2]
    assert tracker._under["log"][2] is not original["log"][0]


def test_writing_back_what_was_there_is_no_change(tracker: StateTracker) -> None:
    tracker["memory"] = {"score": 0.5, "facts": ["a"]}
    assert tracker.is_modified
    tracker["memory"]["facts"].append("b")
    assert not tracker.is_modified
    assert list(tracker["memory"]) == ["score", "facts"]
    del tracker["step"]
    tracker["step"] = 1
    assert not tracker.is_modified
    assert list(tracker) == ["memory", "log", "step"]
    tracker["log"][0], tracker["log"][1] = tracker["log"][1], tracker["log"][0]
    assert tracker["log"] == [{"n": 1}, {"n": 0}, {"n": 2}]
    assert tracker.is_modified
    tracker["log"].sort(key=lambda entry: entry["n"])
    assert not tracker.is_modified


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (0, None),
        ("a", b"a"),
        ([], {}),
        ([], ()),
        ([1], [1.0]),
        ({"a": 1}, {"a": True}),
    ],
)
def test_values_of_different_types_differ(old: Any, new: Any) -> None:
    tracker = StateTracker({"a": old, "b": (old,) if not isinstance(old, (list, dict)) else 0})
    tracker["a"] = new
    assert tracker.is_modified
    tracker["a"] = copy.deepcopy(old)
    assert not tracker.is_modified


def test_tuples_are_compared_by_their_parts() -> None:
    tracker = StateTracker({"t": (1, ("x", 2.0)), "p": Point(1, 2), "f": frozenset({1})})
    tracker["t"] = (1, ("x", 2.0))
    tracker["p"] = Point(1, 2)
    tracker["f"] = frozenset({1})
    assert not tracker.is_modified
    tracker["t"] = (1, ("x", 2))
    assert tracker.modified_fields == ("t",)
    tracker["t"] = (1,)
    tracker["p"] = (1, 2)
    assert tracker.modified_fields == ("t", "p")


def test_nan_is_itself() -> None:
    tracker = StateTracker({"x": float("nan"), "deep": [[float("nan")], 1j]})
    tracker["x"] = float("nan")
    tracker["deep"] = [[float("nan")], 1j]
    assert not tracker.is_modified
    tracker["deep"][1] = -1j
    assert tracker.is_modified


def test_known_values_are_equal_by_value_and_objects_by_identity() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("no code of a class runs")

        __hash__ = None  # type: ignore[assignment]

    odd = Odd()
    tracker = StateTracker({"day": datetime.date(2026, 1, 1), "odd": odd, "number": numpy.float64(2)})
    tracker["day"] = datetime.date(2026, 1, 1)
    tracker["number"] = numpy.float64(2)
    tracker["odd"] = odd
    assert not tracker.is_modified
    tracker["odd"] = Odd()
    assert tracker.modified_fields == ("odd",)


def test_a_list_knows_its_length(tracker: StateTracker) -> None:
    facts = tracker["memory"]["facts"]
    facts.pop()
    assert tracker.get_changes() == {("memory", "facts", 1): FieldChange("b", MISSING)}
    facts.append("b")
    assert not tracker.is_modified
    facts += ["c", "d"]
    facts[2] = "e"
    assert len(tracker.get_changes()) == 2
    del facts[2:]
    assert not tracker.is_modified
    facts.pop()
    facts.append("x")
    assert tracker.get_changes() == {("memory", "facts", 1): FieldChange("b", "x")}
    facts.pop()
    facts.extend([])
    assert tracker.get_changes() == {("memory", "facts", 1): FieldChange("b", MISSING)}


def test_a_container_of_another_kind_is_one_change() -> None:
    tracker = StateTracker({"a": [1], "b": {"x": 1}, "c": 5, "d": [{"y": 1}, [0]]})
    tracker["a"] = {"k": [1]}
    tracker["b"] = ["x"]
    tracker["c"] = {"z": 1}
    tracker["d"][0] = [1]
    for path in (("a",), ("b",), ("c",), ("d", 0)):
        place: Any = tracker
        for step in path:
            place = place[step]
        if isinstance(place, TrackedDict):
            place["more"] = 1
        else:
            place.append(1)
            place[0] = 3
            place.extend([1])
            place.pop()
            place.reverse()
    changes = tracker.get_changes()
    assert set(changes) == {("a",), ("b",), ("c",), ("d", 0)}
    assert changes["a",].new == {"k": [1], "more": 1}
    assert changes["d", 0] == FieldChange({"y": 1}, [1, 3])


def test_changes_are_copies(tracker: StateTracker) -> None:
    original = sample()
    tracker = StateTracker(original)
    tracker["memory"] = 1
    tracker["log"].append({"n": [3]})
    changes = tracker.get_changes()
    changes["memory",].old["facts"].append("x")
    changes["log", 3].new["n"].append(4)
    assert original == sample()
    assert tracker["log"][3] == {"n": [3]}


# -- baselines


def test_reset_makes_the_baseline_and_views_go_on(tracker: StateTracker) -> None:
    memory, log = tracker["memory"], tracker["log"]
    entry = log[2]
    memory["score"] = 1.0
    tracker["new"] = {"deep": {}}
    deep = tracker["new"]["deep"]
    log.insert(0, {"n": -1})
    tracker.reset()
    assert not tracker.is_modified
    assert tracker["memory"] is memory
    assert tracker["log"][3] is entry
    memory["score"] = 2.0
    entry["n"] = 5
    deep["x"] = 1
    assert tracker.get_changes() == {
        ("memory", "score"): FieldChange(1.0, 2.0),
        ("log", 3, "n"): FieldChange(2, 5),
        ("new", "deep", "x"): FieldChange(MISSING, 1),
    }
    tracker.revert()
    assert tracker["log"] == [{"n": -1}, {"n": 0}, {"n": 1}, {"n": 2}]


def test_reset_of_an_untouched_state_keeps_it_as_it_is() -> None:
    state = sample()
    tracker = StateTracker(state)
    view = tracker["memory"]
    tracker.reset()
    assert tracker._under is state
    assert tracker["memory"] is view


def test_revert_gives_back_what_was_and_views_go_back_to_their_places(tracker: StateTracker) -> None:
    memory, log = tracker["memory"], tracker["log"]
    first, last = log[0], log[2]
    memory["facts"].clear()
    log.reverse()
    log.insert(1, {"n": 9})
    added = log[1]
    tracker["extra"] = {}
    extra = tracker["extra"]
    tracker.revert()
    assert tracker == sample()
    assert repr(tracker.plain()) == repr(sample())
    assert not tracker.is_modified
    assert tracker["memory"] is memory
    assert log[0] is first
    assert log[2] is last
    first["n"] = 3
    last["n"] = 4
    # A new element takes the place that it had, if nobody goes back there.
    assert added == {"n": 1}
    extra["lost"] = 1
    assert tracker.get_changes() == {("log", 0, "n"): FieldChange(0, 3), ("log", 2, "n"): FieldChange(2, 4)}


def test_revert_where_places_are_taken_or_gone() -> None:
    shared = {"n": 0}
    tracker = StateTracker({"log": [shared, shared, 5]})
    first, second = tracker["log"][0], tracker["log"][1]
    tracker["log"].insert(0, {"new": 1})
    new = tracker["log"][0]
    tracker["log"].append({"end": 1})
    end = tracker["log"][4]
    tracker["log"][3] = {"five": 1}
    five = tracker["log"][3]
    tracker.revert()
    assert {id(tracker["log"][0]), id(tracker["log"][1])} == {id(first), id(second)}
    new["lost"] = end["lost"] = five["lost"] = 1
    assert not tracker.is_modified
    first["n"] = 1
    assert len(tracker.get_changes()) == 1


def test_a_replaced_view_belongs_to_nothing(tracker: StateTracker) -> None:
    memory = tracker["memory"]
    facts = memory["facts"]
    tracker["memory"] = {"score": 1}
    memory["score"] = 99
    facts.append("c")
    assert memory == {"facts": ["a", "b", "c"], "score": 99}
    assert tracker["memory"] == {"score": 1}
    removed = tracker["log"].pop(0)
    removed["n"] = 50
    assert tracker["log"] == [{"n": 1}, {"n": 2}]
    entry = tracker["log"][0]
    tracker["log"][0] = 5
    entry["n"] = 1
    tracker["log"][:] = [1]
    tracker.clear()
    assert tracker == {}
    assert set(tracker.modified_fields) == {"step", "memory", "log"}
    tracker.revert()
    assert tracker == sample()


def test_a_view_that_was_replaced_says_nothing_any_more(tracker: StateTracker) -> None:
    entry, memory = tracker["log"][0], tracker["memory"]
    entry["n"] = 9
    memory["score"] = 9
    tracker["log"][0] = 5
    tracker["memory"] = 5
    entry["n"] = 0
    memory["score"] = 0.5
    assert set(tracker.get_changes()) == {("log", 0), ("memory",)}


def test_a_cleared_dict_below_another(tracker: StateTracker) -> None:
    tracker["fresh"] = {"x": {}}
    inner = tracker["fresh"]["x"]
    tracker["fresh"].clear()
    inner["lost"] = 1
    tracker["memory"].clear()
    assert tracker["fresh"] == {}
    assert tracker.get_changes()[("memory", "score")] == FieldChange(0.5, MISSING)


# -- ownership


def test_what_is_handed_in_is_copied(tracker: StateTracker) -> None:
    given: dict[str, Any] = {"x": [1], "t": (1, 2)}
    tracker["given"] = given
    given["x"].append(2)
    assert tracker["given"] == {"x": [1], "t": (1, 2)}


def test_an_alias_is_two_places(tracker: StateTracker) -> None:
    row = [0, 0]
    tracker = StateTracker({"rows": [row, row]})
    tracker["rows"][0][0] = 1
    assert tracker["rows"] == [[1, 0], [0, 0]]
    tracker["again"] = tracker["rows"]
    tracker["again"][1][1] = 5
    assert tracker["rows"] == [[1, 0], [0, 0]]
    tracker["pair"] = [row, row, {"row": row}]
    tracker["pair"][0].append(1)
    assert tracker["pair"] == [[0, 0, 1], [0, 0], {"row": [0, 0]}]
    assert row == [0, 0]


def test_a_tracker_inside_another_is_copied() -> None:
    inner = StateTracker(types.MappingProxyType({"x": 1}))
    outer = StateTracker({})
    outer["list"] = [inner]
    outer["inner"] = inner
    inner["x"] = 2
    assert outer == {"list": [{"x": 1}], "inner": {"x": 1}}
    other = StateTracker(inner)
    other["x"] = 3
    assert inner == {"x": 2}
    assert other.get_changes() == {("x",): FieldChange(2, 3)}


def test_views_in_the_original_are_refused() -> None:
    view = StateTracker({"x": {}})["x"]
    tracker = StateTracker({"view": view, "list": [view]})
    with pytest.raises(InvalidInputError, match=r"plain\(\)"):
        tracker["view"]
    with pytest.raises(InvalidInputError):
        tracker["list"][0]


def test_cycles_are_refused() -> None:
    loop: dict[str, Any] = {"x": []}
    loop["x"].append(loop)
    tracker = StateTracker({"a": 1})
    with pytest.raises(InvalidInputError, match="holds itself"):
        tracker["a"] = loop
    assert not tracker.is_modified
    # A view that is written below itself is a copy of what it showed.
    tracker["a"] = {"b": 1}
    tracker["a"]["self"] = tracker["a"]
    assert tracker == {"a": {"b": 1, "self": {"b": 1}}}
    looped = StateTracker(loop)
    assert looped["x"][0]["x"][0]["x"][0] is not looped
    with pytest.raises(InvalidInputError, match="holds itself"):
        looped.plain()


def test_cycles_on_both_sides_can_be_compared() -> None:
    one: list[Any] = []
    one.append(one)
    other: list[Any] = []
    other.append(other)
    tracker = StateTracker({"l": [one, other]})
    tracker["l"].reverse()
    assert not tracker.is_modified


def test_sharing_is_not_multiplied() -> None:
    value: list[Any] = ["end"]
    for _ in range(60):
        value = [value, value]
    tracker = StateTracker({"a": value})
    tracker["a"] = copy.deepcopy(value)
    assert not tracker.is_modified


def test_any_depth() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"in": [deep]}
    tracker = StateTracker({"deep": deep})
    place = tracker["deep"]
    for _ in range(5000):
        place = place["in"][0]
    place["bottom"] = 1
    assert tracker.is_modified
    assert [len(path) for path in tracker.get_changes()] == [10002]
    tracker["copy"] = tracker["deep"]
    del place["bottom"]
    assert tracker.modified_fields == ("copy",)
    tracker.reset()
    place["bottom"] = 2
    tracker.revert()
    assert not tracker.is_modified


@pytest.mark.parametrize(
    "value",
    [{1}, bytearray(b"x"), deque(), OrderedDict(), defaultdict(int), ([1],), (1, ({},)), Point([], 1)],
    ids=lambda value: repr(value),
)
def test_what_could_change_unseen_is_refused(value: Any) -> None:
    tracker = StateTracker({"there": value, "a": 1})
    with pytest.raises(InvalidInputError, match="cannot be tracked"):
        tracker["there"]
    with pytest.raises(InvalidInputError, match="cannot be tracked"):
        tracker["a"] = value
    with pytest.raises(InvalidInputError):
        tracker["a"] = [{"x": value}]
    assert not tracker.is_modified
    del tracker["there"]
    assert tracker.modified_fields == ("there",)


@pytest.mark.parametrize("state", [[1], None, "text"])
def test_only_mappings_can_be_tracked(state: Any) -> None:
    with pytest.raises(InvalidInputError, match="no mapping"):
        StateTracker(state)


def test_any_mapping_can_be_tracked() -> None:
    counts: defaultdict[str, int] = defaultdict(int, a=1)
    tracker = StateTracker(counts)
    assert "b" not in tracker
    with pytest.raises(NotFoundError):
        tracker["b"]
    tracker["a"] = 2
    assert dict(counts) == {"a": 1}
    assert tracker.plain() == {"a": 2}
