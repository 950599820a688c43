# SPDX-License-Identifier: MIT
"""Documents: attributes on a branch, field by field."""

from __future__ import annotations

import copy
from typing import Any

import numpy
import pytest

import casstore
from casstore.branches import Branch
from casstore.errors import (
    ConflictError,
    FactoryError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
)
from casstore.objects.document import Document, SaveReport, UnsetFieldError, growing
from casstore.objects.tracking import MISSING, FieldChange
from tests.objects.samples import Memory, saved

# -- attributes


def test_attributes_are_fields(branch: Branch) -> None:
    memory = Memory(goal="win")
    assert (memory.step, memory.goal, memory.notes, memory.messages) == (0, "win", {}, [])
    assert (Memory.shared, Memory.other, memory._cache) == (3, 4, 5)
    memory._cache = 6
    memory.notes["a"] = [1]
    assert Memory().notes == {}
    assert memory.plain() == {"step": 0, "notes": {"a": [1]}, "messages": [], "goal": "win"}
    assert Memory().plain() == {"step": 0, "notes": {}, "messages": []}
    assert Memory.step.name == "step"  # type: ignore[attr-defined]
    assert not hasattr(Memory(), "goal")
    with pytest.raises(UnsetFieldError, match="goal"):
        _ = Memory().goal
    with pytest.raises(InvalidInputError, match="no field 'stepp'"):
        memory.stepp = 1  # type: ignore[attr-defined]
    with pytest.raises(InvalidInputError, match="no field 'x'; its fields: step, notes"):
        Memory(x=1)
    with pytest.raises(InvalidInputError, match="cannot be tracked"):
        Memory(notes={1})


def test_a_default_is_never_changed() -> None:
    default = {"a": [1]}

    class Other(Document):
        field: dict[str, Any] = default

    other = Other()
    other.field["a"].append(2)
    assert default == {"a": [1]}
    assert Other().field == {"a": [1]}
    del other.field
    assert other.field == {"a": [1]}
    other.field["a"].append(3)
    assert other.get_changes() == {("field", "a", 1): FieldChange(MISSING, 3)}


def test_classes_inherit_fields() -> None:
    class More(Memory, type_id="more"):
        extra: int = 1

    class Most(More):
        step: int = 7

    assert list(More._fields) == ["step", "notes", "messages", "goal", "extra"]
    assert (Most().step, Most().extra, More().step) == (7, 1, 0)
    assert (More._type_id, Most._type_id) == ("more", "Most")


def test_a_class_that_cannot_be() -> None:
    with pytest.raises(InvalidInputError, match="would hide"):
        type("Bad", (Document,), {"__annotations__": {"save": int}})
    for version in (0, True, "1"):
        with pytest.raises(InvalidInputError, match="no version"):
            type("Bad", (Document,), {}, version=version)


def test_documents_are_not_copied() -> None:
    with pytest.raises(InvalidInputError, match="fork its branch"):
        copy.deepcopy(Memory())


# -- saving


def test_only_changed_fields_are_written(branch: Branch) -> None:
    memory = Memory(goal="win", notes={"a": 1})
    assert memory.is_modified
    report = memory.save(branch, "agent")
    assert report.written == ("goal", "messages", "notes", "step")
    assert branch.objects["agent/notes"] == {"a": 1}
    assert branch.objects["agent/@document"] == {"type": "Memory", "version": 1}
    assert not memory.is_modified
    assert memory.save() == SaveReport("agent", (), (), 0)
    memory.notes["a"] = 2
    memory.step = 0
    assert repr(memory) == "<Memory at 'agent', notes changed>"
    assert memory.get_changes() == {("notes", "a"): FieldChange(1, 2)}
    before = branch.objects.entry("agent/goal")
    assert memory.save() == SaveReport("agent", ("notes",), (), 7)
    assert branch.objects.entry("agent/goal") is before or branch.objects.entry("agent/goal") == before
    assert Memory.load(branch, "agent").plain() == memory.plain()
    assert repr(memory) == "<Memory at 'agent', nothing changed>"
    assert repr(Memory()) == "<Memory at no place, nothing changed>"


def test_views_go_on_after_a_save(branch: Branch) -> None:
    memory = saved(branch)
    notes = memory.notes
    notes["x"] = 1
    memory.save()
    notes["y"] = 2
    assert memory.is_modified
    memory.save()
    assert branch.objects["agent/notes"] == {"x": 1, "y": 2}


def test_a_place_is_needed(branch: Branch) -> None:
    memory = Memory()
    for call in (memory.save, memory.delete, lambda: memory.save(branch), lambda: memory.save(key="a")):
        with pytest.raises(InvalidInputError, match="no place"):
            call()
    with pytest.raises(InvalidInputError):
        memory.save(branch, "a/../b")
    with pytest.raises(ConflictError):
        memory.refresh()


def test_fields_load_when_they_are_read(branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(branch, goal="win", notes={"a": [1]})
    memory = Memory.load(branch, "agent")
    assert memory._unloaded == {"step", "notes", "messages", "goal"}
    assert memory.notes["a"] == [1]
    assert memory._unloaded == {"step", "messages", "goal"}
    memory.notes["a"].append(2)
    branch.objects["agent/goal"] = "lose"
    assert memory.save().written == ("notes",)
    # What is read is what was there when it was loaded.
    assert memory.goal == "win"
    memory.refresh()
    assert memory.goal == "lose"


def test_a_field_written_before_it_was_read(branch: Branch) -> None:
    saved(branch, goal="win", notes={"a": 1, "b": 2}, step=5)
    memory = Memory.load(branch, "agent")
    memory.goal = "draw"
    memory.notes = {"a": 1, "b": 3}
    memory.step = 5
    assert memory.is_modified
    assert memory.get_changes() == {("goal",): FieldChange("win", "draw"), ("notes", "b"): FieldChange(2, 3)}
    memory.revert()
    assert not memory.is_modified
    assert memory.plain() == {"step": 5, "notes": {"a": 1, "b": 2}, "messages": [], "goal": "win"}
    memory = Memory.load(branch, "agent")
    memory.step = 5
    memory.goal = "draw"
    assert memory.save().written == ("goal",)
    assert memory._unloaded == {"notes", "messages"}
    assert memory.messages == []
    assert memory.notes["a"] == 1
    memory.save()
    assert memory._source is None
    assert memory.plain()["notes"] == {"a": 1, "b": 2}


def test_deleting_fields(branch: Branch) -> None:
    memory = saved(branch, goal="win", step=3)
    del memory.goal
    del memory.step
    assert memory.step == 0
    assert memory.is_modified
    assert memory.get_changes() == {("goal",): FieldChange("win", MISSING), ("step",): FieldChange(3, 0)}
    assert repr(memory) == "<Memory at 'agent', goal, step changed>"
    with pytest.raises(UnsetFieldError):
        del memory.goal
    memory.revert()
    assert memory.goal == "win"
    del memory.goal
    report = memory.save()
    assert (report.written, report.deleted) == ((), ("goal",))
    assert "agent/goal" not in branch.objects
    assert not hasattr(Memory.load(branch, "agent"), "goal")
    memory.goal = "new"
    del memory.goal
    assert not memory.is_modified


def test_a_deleted_field_set_again_is_not_deleted(branch: Branch) -> None:
    memory = saved(branch, goal="win")
    del memory.goal
    memory.goal = "win"
    assert not memory.is_modified
    assert memory.save() == SaveReport("agent", (), (), 0)
    assert branch.objects["agent/goal"] == "win"


def test_deleting_a_field_that_was_not_loaded(branch: Branch) -> None:
    saved(branch, goal="win")
    memory = Memory.load(branch, "agent")
    del memory.goal
    with pytest.raises(UnsetFieldError):
        _ = memory.goal
    with pytest.raises(UnsetFieldError):
        del memory.goal
    assert memory.get_changes() == {("goal",): FieldChange("win", MISSING)}
    memory.revert()
    assert memory.goal == "win"
    memory = Memory.load(branch, "agent")
    del memory.goal
    elsewhere = branch.fork()
    assert memory.save(elsewhere).deleted == ("goal",)
    assert list(elsewhere.objects.list("agent/goal")) == []
    assert branch.objects["agent/goal"] == "win"


def test_a_document_is_deleted_but_not_those_below(branch: Branch) -> None:
    memory = saved(branch, goal="win", messages=[1])
    branch.objects["agent/unknown"] = 1
    branch.objects["agent/child/step"] = 1
    branch.objects["agents"] = 1
    again = Memory.load(branch, "agent")
    again.delete()
    assert list(branch.objects) == ["agent/child/step", "agents"]
    with pytest.raises(NotFoundError, match="no document"):
        Memory.load(branch, "agent")
    # Its values can be saved again, those too that were never read.
    assert again.is_modified
    again.save(branch, "back")
    assert Memory.load(branch, "back").plain() == memory.plain()
    memory.step = 1
    with pytest.raises(ConflictError):
        memory.save()
    # Whole again, with its header, beside what was never a part of it.
    assert memory.save(overwrite=True).written == ("goal", "messages", "notes", "step")
    assert Memory.load(branch, "agent").plain() == memory.plain()
    assert branch.objects["agent/child/step"] == 1


def test_unknown_fields_stay(branch: Branch) -> None:
    class Later(Document, type_id="Memory"):
        step: int = 0
        added: dict[str, Any] = {}  # noqa: RUF012
        log: list[int] = growing()

    Later(added={"x": 1}, log=[1, 2]).save(branch, "agent")
    memory = Memory.load(branch, "agent")
    assert memory.unknown_fields() == {"added": {"x": 1}, "log": [1, 2]}
    memory.step = 4
    assert memory.save().written == ("step",)
    memory = Memory.load(branch, "agent")
    memory.save(branch, "copy")
    assert list(branch.objects.list("copy/log")) == ["copy/log/@0000000000"]
    assert branch.objects["copy/log/@0000000000"] == [1, 2]
    again = Later.load(branch, "copy")
    assert again.plain() == {"step": 4, "added": {"x": 1}, "log": [1, 2]}


def test_values_that_cannot_be_saved(branch: Branch) -> None:
    memory = saved(branch, goal="win")
    memory.step = 9
    memory.notes["bad"] = object()
    state = branch.state_id()
    with pytest.raises(InvalidInputError, match="the field 'notes' cannot be saved"):
        memory.save()
    memory.notes = (1,)  # type: ignore[assignment]
    with pytest.raises(FactoryError, match="the field 'notes' cannot be saved"):
        memory.save()
    assert branch.state_id() == state
    memory.notes = {}
    assert memory.save().written == ("step",)


def test_a_save_is_all_or_nothing(tmp_path: Any) -> None:
    path = tmp_path / "store"
    config = casstore.Config(pending_bytes=1000)
    with casstore.open(path, config=config) as store:
        branch = store.branch()
        saved(branch, goal="win")
        branch.commit(ref="main")
    with casstore.open(path, read_only=True, config=config) as store:
        branch = store.branch("main")
        memory = Memory.load(branch, "agent")
        memory.step = 1
        memory.goal = "g" * 600
        memory.notes["long"] = "n" * 600
        state = branch.state_id()
        with pytest.raises(QuotaExceededError):
            memory.save()
        assert branch.state_id() == state
        assert memory.is_modified
        memory.notes = {}
        assert memory.save().written == ("goal", "step")


def test_arrays_and_bytes(branch: Branch) -> None:
    class Model(Document):
        weights: Any
        raw: bytes = b""

    model = Model(weights=numpy.arange(100), raw=b"x" * 500)
    model.save(branch, "m")
    again = Model.load(branch, "m")
    assert again.weights.tolist() == list(range(100))
    again.weights = numpy.arange(100)
    assert not again.is_modified
    changed = again.weights.copy()
    changed[0] = 7
    again.weights = changed
    assert again.save().written == ("weights",)


# -- branches


def test_forks_have_their_own(branch: Branch) -> None:
    memory = saved(branch, goal="win")
    fork = branch.fork()
    theirs = Memory.load(fork, "agent")
    theirs.step = 5
    memory.step = 6
    theirs.save()
    memory.save()
    assert (branch.objects["agent/step"], fork.objects["agent/step"]) == (6, 5)
    with pytest.raises(ConflictError, match="step of 'agent' changed"):
        memory.save(fork)
    assert memory.save(fork, overwrite=True).written == ("step",)
    assert memory.save(fork) == SaveReport("agent", (), (), 0)
    memory.step = 7
    memory.save()
    assert (branch.objects["agent/step"], fork.objects["agent/step"]) == (6, 7)
    assert memory.save(key="two").written == ("goal", "messages", "notes", "step")


def test_a_fork_that_has_the_same_takes_only_the_difference(branch: Branch) -> None:
    memory = saved(branch, goal="win", messages=["m" * 200])
    memory.messages.append("n" * 200)
    memory.save()
    memory = Memory.load(branch, "agent")
    fork = branch.fork()
    memory.step = 3
    assert memory.save(fork, "agent").written == ("step",)
    assert list(fork.objects) == list(branch.objects)


def test_two_documents_on_one_branch(branch: Branch) -> None:
    saved(branch, goal="win")
    one, two = Memory.load(branch, "agent"), Memory.load(branch, "agent")
    one.step, two.goal = 1, "draw"
    one.save()
    two.save()
    one.goal = "lose"
    with pytest.raises(ConflictError, match="goal"):
        one.save()
    with pytest.raises(ConflictError, match="save or revert"):
        one.refresh()
    one.revert()
    one.refresh()
    assert (one.goal, one.step) == ("draw", 1)
    one.goal = "draw again"
    two.goal = "draw again"
    one.save()
    # The same change is no conflict.
    assert two.save().written == ()


def test_a_new_document_does_not_hide_an_old_one(branch: Branch) -> None:
    saved(branch, goal="win", messages=[1])
    with pytest.raises(ConflictError, match="overwrite"):
        Memory(step=3).save(branch, "agent")
    report = Memory(step=3).save(branch, "agent", overwrite=True)
    assert report.deleted == ("goal",)
    assert Memory.load(branch, "agent").plain() == {"step": 3, "notes": {}, "messages": []}
