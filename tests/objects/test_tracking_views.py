# SPDX-License-Identifier: MIT
"""Tracked dicts, lists and arrays have what plain ones have."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref

import numpy
import pytest

from casstore.errors import InvalidInputError, NotFoundError
from casstore.objects.tracking import StateTracker, TrackedDict, TrackedList
from tests.objects.samples import sample

# -- arrays


def test_arrays_are_read_only_and_copied() -> None:
    array = numpy.arange(4)
    tracker = StateTracker({"a": array, "list": [array]})
    with pytest.raises(ValueError, match="read-only"):
        tracker["a"][0] = 9
    with pytest.raises(ValueError, match="read-only"):
        tracker["list"][0][0] = 9
    tracker["a"] = numpy.arange(4)
    assert not tracker.is_modified
    tracker["a"] = numpy.arange(4.0)
    assert tracker.is_modified
    given = numpy.ones(4, dtype=array.dtype)
    tracker["b"] = [given]
    given[0] = 7
    assert tracker["b"][0].tolist() == [1, 1, 1, 1]
    assert tracker["b"][0] is tracker["b"][0]
    array.flags.writeable = False
    tracker["c"] = array
    assert tracker["c"] is array


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    marker = object()
    tracker = StateTracker({"a": (1,), "b": marker})
    assert tracker["b"] is marker
    tracker["b"] = object()
    tracker["a"] = (1,)
    assert tracker.modified_fields == ("b",)


# -- dicts


def test_dict_reading(tracker: StateTracker) -> None:
    assert isinstance(tracker["memory"], TrackedDict)
    assert isinstance(tracker["log"], TrackedList)
    assert tracker["memory"] is tracker["memory"]
    assert tracker.get("no") is None
    assert tracker.get("step") == 1
    assert len(tracker) == 3
    assert list(reversed(tracker)) == ["log", "memory", "step"]
    assert dict(tracker.items()) == sample()
    assert list(tracker.keys()) == list(sample())
    assert sample() == tracker
    assert tracker != {**sample(), "step": 2}
    assert tracker != {**sample(), "other": 1}
    assert tracker != {"step": 1, "memory": {}, "other": 1}
    assert tracker != {"other": 1, "another": 1, "third": 1}
    assert tracker != [1]
    assert repr(tracker["memory"]) == "TrackedDict({'facts': ['a', 'b'], 'score': 0.5})"
    with pytest.raises(NotFoundError, match="'no'"):
        tracker["no"]
    with pytest.raises(KeyError):
        del tracker["no"]
    with pytest.raises(TypeError):
        hash(tracker)


def test_dict_writing(tracker: StateTracker) -> None:
    memory = tracker["memory"]
    assert memory.setdefault("score", 9) == 0.5
    new = memory.setdefault("new", [])
    new.append(1)
    assert memory["new"] == [1]
    memory |= {"x": 1}
    memory |= [("y", 2)]
    memory.update(z=3)
    assert memory.pop("x") == 1
    assert memory.pop("x", None) is None
    assert memory.popitem() == ("z", 3)
    facts = memory["facts"]
    assert memory.popitem() == ("y", 2)
    facts.append("c")
    assert memory["facts"] is facts
    assert memory.popitem() == ("new", [1])
    assert memory.popitem() == ("score", 0.5)
    assert memory.popitem() == ("facts", ["a", "b", "c"])
    with pytest.raises(NotFoundError):
        memory.popitem()
    assert memory == {}
    assert len(memory) == 0


def test_union_gives_plain_dicts(tracker: StateTracker) -> None:
    memory = tracker["memory"]
    both = memory | {"score": 1}
    assert type(both) is dict
    assert both == {"facts": ["a", "b"], "score": 1}
    assert {"score": 1, "z": 2} | memory == {"score": 0.5, "z": 2, "facts": ["a", "b"]}
    both["facts"].append("x")
    assert memory["facts"] == ["a", "b"]
    for wrong in (lambda: memory | 1, lambda: 1 | memory):
        with pytest.raises(TypeError):
            wrong()


def test_iteration_shows_the_keys_as_they_were(tracker: StateTracker) -> None:
    seen = []
    for key in tracker:
        seen.append(key)
        tracker[f"new {key}"] = 1
        del tracker[key]
    assert seen == ["step", "memory", "log"]
    seen = []
    for key, value in tracker.items():
        seen.append((key, value))
        tracker[key] = 2
        tracker[f"more {key}"] = 1
    assert len(seen) == 3
    for entry in StateTracker(sample())["log"]:
        entry["n"] += 1


def test_writing_a_view_back_where_it_is_changes_nothing(tracker: StateTracker) -> None:
    memory = tracker["memory"]
    tracker["memory"] = memory
    tracker["log"][0] = tracker["log"][0]
    tracker["log"][0] |= {}
    assert not tracker.is_modified
    tracker["memory"]["facts"] += ["c"]
    tracker["log"][0] |= {"n": 5}
    assert tracker["memory"] is memory
    assert len(tracker.get_changes()) == 2


def test_copies_and_pickles_are_plain(tracker: StateTracker) -> None:
    tracker["log"][0]["n"] = 4
    for made in (tracker.plain(), tracker.copy(), copy.copy(tracker), copy.deepcopy(tracker)):
        assert type(made) is dict
        assert type(made["log"][0]) is dict
        made["log"][0]["n"] = 8
    assert tracker["log"][0] == {"n": 4}
    assert pickle.loads(pickle.dumps(tracker["log"])) == [{"n": 4}, {"n": 1}, {"n": 2}]
    assert type(copy.copy(tracker["log"])) is list


def test_reading_keeps_nothing_alive(tracker: StateTracker) -> None:
    view = weakref.ref(tracker["log"][0])
    for entry in tracker["log"]:
        entry["n"]
    del entry
    gc.collect()
    assert view() is None
    assert not tracker._is_written()


# -- lists


def test_list_reading(tracker: StateTracker) -> None:
    log = tracker["log"]
    assert log[-1] is log[2]
    assert [entry["n"] for entry in log[::2]] == [0, 2]
    assert log[1:] == [{"n": 1}, {"n": 2}]
    assert log[0:1][0] is log[0]
    assert {"n": 1} in log
    assert log.index({"n": 1}) == 1
    assert log.count({"n": 9}) == 0
    assert next(reversed(log)) is log[2]
    assert log == sample()["log"]
    assert log != sample()["log"][:2]
    assert log != (1,)
    assert repr(log) == "TrackedList([{'n': 0}, {'n': 1}, {'n': 2}])"
    for wrong in (3, -4):
        with pytest.raises(IndexError, match="3 elements"):
            log[wrong]
    with pytest.raises(TypeError):
        log["n"]
    with pytest.raises(TypeError):
        hash(log)


def test_list_writing(tracker: StateTracker) -> None:
    log = tracker["log"]
    one = log[1]
    log.insert(0, "first")
    log.insert(99, "last")
    log.insert(-1, "before")
    assert log == ["first", {"n": 0}, {"n": 1}, {"n": 2}, "before", "last"]
    assert log[2] is one
    log[1:3] = [one, 5]
    assert log[1] is not one
    with pytest.raises(ValueError, match="size"):
        log[::2] = [1]
    assert log == ["first", {"n": 1}, 5, {"n": 2}, "before", "last"]
    del log[::2]
    assert log == [{"n": 1}, {"n": 2}, "last"]
    log.remove("last")
    assert log.pop(0) == {"n": 1}
    assert log.pop() == {"n": 2}
    with pytest.raises(IndexError):
        log.pop()
    log.append([])
    log[0].append(1)
    assert tracker["log"] == [[1]]


def test_an_extend_takes_all_or_nothing(tracker: StateTracker) -> None:
    with pytest.raises(InvalidInputError):
        tracker["log"].extend([1, {2}])
    assert not tracker.is_modified
    tracker["log"].extend(tracker["log"])
    assert len(tracker["log"]) == 6


def test_list_arithmetic(tracker: StateTracker) -> None:
    facts = tracker["memory"]["facts"]
    made = facts.__add__(["c"])
    assert made == ["a", "b", "c"]
    assert facts.__radd__(["c"]) == ["c", "a", "b"]
    assert facts + facts == facts * 2 == 2 * facts == ["a", "b", "a", "b"]
    assert type(made) is type(facts.__radd__([])) is type(facts * 2) is list
    facts *= 2
    assert tracker["memory"]["facts"] == ["a", "b", "a", "b"]
    facts *= 1
    facts *= 0
    assert tracker["memory"]["facts"] == []
    for wrong in (lambda: facts + 1, lambda: 1 + facts, lambda: facts * "x", lambda: facts < 1):
        with pytest.raises(TypeError):
            wrong()


def test_lists_are_ordered_like_lists() -> None:
    tracker = StateTracker({"rows": [[3], [1], [2]], "other": [[3]]})
    rows = tracker["rows"]
    assert rows > [[2]]
    assert rows >= tracker["other"]
    assert tracker["other"] < rows
    assert tracker["other"] <= [[3]]
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(rows, compare)(1) is NotImplemented
    one = rows[1]
    one.append(0)
    rows.sort()
    assert rows == [[1, 0], [2], [3]]
    assert rows[0] is one
    rows.sort(reverse=True)
    assert rows == [[3], [2], [1, 0]]
    with pytest.raises(ZeroDivisionError):
        rows.sort(key=lambda row: row[0] // 0)
    assert rows == [[3], [2], [1, 0]]


def test_a_moved_view_is_compared_with_its_new_place() -> None:
    tracker = StateTracker({"log": [{"n": {"x": 0}}, {"n": {"x": 1}}, 7]})
    log = tracker["log"]
    inner = log[0]["n"]
    log.insert(0, {"n": {"x": 0}})
    # The view has become the second element, whose baseline has 1.
    inner["x"] = 1
    assert set(tracker.get_changes()) == {("log", 2), ("log", 3)}
    log.insert(0, 0)
    inner["x"] = 5
    del log[0], log[1], log[2]
    inner["x"] = 6
    assert tracker["log"] == [{"n": {"x": 0}}, {"n": {"x": 1}}]
    log.append(7)
    assert not tracker.is_modified
