# SPDX-License-Identifier: MIT
"""Documents: versions, growing lists, and random histories."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casstore
from casstore.branches import Branch
from casstore.errors import (
    FactoryError,
    FormatVersionError,
    InvalidInputError,
)
from casstore.objects.document import Document, growing
from casstore.objects.document_saving import blocks
from casstore.objects.tracking import TrackedDict
from tests.objects.samples import Memory, saved

# -- versions


class First(Document, type_id="doc"):
    name: str
    count: int = 0
    log: list[int] = growing()


class Second(Document, type_id="doc", version=2):
    title: str
    count: float = 0.0
    log: list[int] = growing()

    @classmethod
    def migrate(cls, version: int, fields: Any) -> None:
        assert version == 1
        assert "none" not in fields
        assert len(fields) == 3
        fields["title"] = fields["name"].upper()
        del fields["name"]
        fields["log"].insert(0, 0)


def test_migration(branch: Branch) -> None:
    log = list(range(2000))
    first = First(name="x", count=2, log=log)
    first.save(branch, "d")
    first.log.append(2000)
    first.save()
    assert len(list(branch.objects.list("d/log/"))) == 2
    second = Second.load(branch, "d")
    assert second.is_modified
    assert second.get_changes() == {}
    assert second.plain() == {"title": "X", "count": 2, "log": [0, *log, 2000]}
    second.revert()
    report = second.save()
    assert report.written == ("log", "title")
    assert report.deleted == ("log", "name")
    assert not second.is_modified
    assert branch.objects["d/@document"] == {"type": "doc", "version": 2}
    assert list(branch.objects) == ["d/@document", "d/count", "d/log/@0000000000", "d/title"]
    assert Second.load(branch, "d").plain() == second.plain()
    with pytest.raises(FormatVersionError, match="update the program"):
        First.load(branch, "d")


def test_a_field_that_a_migration_deleted_can_be_set_again(branch: Branch) -> None:
    class Emptied(Document, type_id="doc", version=2):
        log: list[int] = growing()
        name: str

        @classmethod
        def migrate(cls, version: int, fields: Any) -> None:
            fields.clear()

    First(name="x", count=2, log=[1]).save(branch, "d")
    emptied = Emptied.load(branch, "d")
    assert emptied.unknown_fields() == {}
    assert emptied.plain() == {"log": []}
    emptied.log = [5] * 2000
    assert emptied.save().deleted == ("count", "name")
    emptied.log.append(6)
    emptied.save()
    assert list(branch.objects) == ["d/@document", "d/log/@0000000000", "d/log/@0000002000"]
    assert Emptied.load(branch, "d").plain() == {"log": [5] * 2000 + [6]}


def test_migration_saved_on_a_fork(branch: Branch) -> None:
    First(name="x").save(branch, "d")
    second = Second.load(branch, "d")
    fork = branch.fork()
    second.save(fork)
    assert "d/name" not in fork.objects
    assert Second.load(fork, "d").title == "X"


def test_a_migration_that_needs_nothing(branch: Branch) -> None:
    class Newer(Document, type_id="doc", version=3):
        name: str

    First(name="x").save(branch, "d")
    newer = Newer.load(branch, "d")
    assert newer.is_modified
    assert newer.save().written == ()
    assert not Newer.load(branch, "d").is_modified


@pytest.mark.parametrize("error", [ZeroDivisionError, InvalidInputError])
def test_a_migration_that_fails(branch: Branch, error: type[Exception]) -> None:
    class Broken(Document, type_id="doc", version=2):
        @classmethod
        def migrate(cls, version: int, fields: Any) -> None:
            raise error("no")

    First(name="x").save(branch, "d")
    with pytest.raises(InvalidInputError if error is InvalidInputError else FactoryError):
        Broken.load(branch, "d")


@pytest.mark.parametrize("header", [{"type": "other", "version": 1}, {"type": "Memory"}, 5, {"version": True}])
def test_other_types(branch: Branch, header: Any) -> None:
    branch.objects["agent/@document"] = header
    with pytest.raises(InvalidInputError, match="not 'Memory'"):
        Memory.load(branch, "agent")
    with pytest.raises(InvalidInputError):
        Memory.load(branch, "")


# -- growing lists


def test_a_growing_list_stores_what_was_appended(branch: Branch) -> None:
    memory = saved(branch)
    sizes = []
    for step in range(20):
        memory.messages.append({"step": step, "text": "t" * 3000})
        sizes.append(memory.save().written_bytes)
    assert max(sizes) < 3060
    keys = list(branch.objects.list("agent/messages/"))
    assert keys == [f"agent/messages/@{start:010d}" for start in range(20)]
    again = Memory.load(branch, "agent")
    assert again.messages == memory.messages
    again.messages[3]["step"] = 99
    assert again.save().written_bytes < 3060
    del again.messages[15:]
    again.messages.append("end")
    report = again.save()
    assert (report.written, report.deleted) == (("messages",), ("messages",))
    assert len(list(branch.objects.list("agent/messages/"))) == 16
    again.messages.insert(0, "start")
    again.save()
    assert Memory.load(branch, "agent").messages == again.messages
    again.messages.clear()
    again.save()
    assert list(branch.objects.list("agent/messages/")) == ["agent/messages/@0000000000"]
    again.messages.append(1)
    again.save()
    again.messages = [5, 6]
    again.save()
    assert Memory.load(branch, "agent").messages == [5, 6]


def test_short_blocks_are_joined(branch: Branch) -> None:
    memory = saved(branch)
    for step in range(30):
        memory.messages.append("m" * 300)
        memory.messages.append(step)
        assert memory.save().written_bytes < 2500
    starts = [int(key[-10:]) for key in branch.objects.list("agent/messages/")]
    assert starts == [0, 14, 28, 42, 56]
    assert Memory.load(branch, "agent").messages == memory.messages


def test_a_growing_list_replaced_before_it_was_read(branch: Branch) -> None:
    memory = saved(branch, messages=[1])
    memory.messages.append("2" * 3000)
    memory.save()
    memory.messages.append(3)
    memory.save()
    assert len(list(branch.objects.list("agent/messages/"))) == 2
    again = Memory.load(branch, "agent")
    again.messages = [7]
    again.save()
    assert list(branch.objects.list("agent/messages/")) == ["agent/messages/@0000000000"]
    again.messages = None  # type: ignore[assignment]
    again.save()
    assert list(branch.objects.list("agent/messages")) == ["agent/messages"]
    again.messages = [3]
    again.save()
    assert Memory.load(branch, "agent").messages == [3]


def test_a_field_that_became_growing_and_back(branch: Branch) -> None:
    class Plain(Document, type_id="doc"):
        log: list[int] = []  # noqa: RUF012

    class Grown(Document, type_id="doc"):
        log: list[int] = growing(0)

    assert Grown().log == [0]
    Plain(log=[1, 2]).save(branch, "d")
    grown = Grown.load(branch, "d")
    grown.log.append(3)
    grown.save()
    assert list(branch.objects.list("d/log")) == ["d/log/@0000000000"]
    grown.log.append(4)
    grown.save()
    plain = Plain.load(branch, "d")
    plain.log.append(5)
    plain.save()
    assert list(branch.objects.list("d/log")) == ["d/log"]
    assert Grown.load(branch, "d").log == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("length", [0, 1, 4, 7, 10, 13])
@pytest.mark.parametrize("changed", [[], [0], [3, 9], [2, 3, 6], None])
def test_blocks_that_are_not_written_are_as_they_were(length: int, changed: list[int] | None, join: bool) -> None:
    old = list(range(10))
    starts = [0, 3, 7]
    new = old[:length] + [100] * (length - 10)
    for place in changed if changed is not None else range(length):
        if place < length:
            new[place] = -1
    stored = {f"f/@{start:010d}": old[start:end] for start, end in zip(starts, [3, 7, 10])}
    written, after = blocks("f", new, starts, 10, changed, join=join)
    assert len(after) <= 3 + (length > 10 and not join)
    stored.update(written)
    assert [item for start in after for item in stored[f"f/@{start:010d}"]] == new


# -- random histories

ITEMS = st.sampled_from([0, 1, True, "short", "long" * 600, {"a": [1]}])
EDITS = st.tuples(
    st.sampled_from(["append", "insert", "set", "pop", "slice", "replace", "nested", "step", "goal", "no goal"]),
    st.integers(0, 8),
    ITEMS,
)
ACTIONS = st.sampled_from(["save", "revert", "load", "fork", "move"])


def edit(document: Any, model: dict[str, Any], what: str, place: int, item: Any) -> None:
    """The same change of a document and of the plain dict that it should show."""
    for messages in (document.messages, model["messages"]):
        value = copy.deepcopy(item)
        if what == "append":
            messages.append(value)
        elif what == "insert":
            messages.insert(place, value)
        elif what == "set" and place < len(messages):
            messages[place] = value
        elif what == "pop" and place < len(messages):
            messages.pop(place)
        elif what == "slice":
            messages[place : place + 2] = [value, value]
        elif what == "nested" and place < len(messages) and isinstance(messages[place], (dict, TrackedDict)):
            messages[place]["x"] = value
    if what == "replace":
        document.messages = [item]
        model["messages"] = [copy.deepcopy(item)]
    elif what == "step":
        document.step = model["step"] = place
    elif what == "goal":
        document.goal = model["goal"] = item
    elif what == "no goal" and "goal" in model:
        del document.goal
        del model["goal"]


@settings(max_examples=150, deadline=None)
@given(st.lists(EDITS | ACTIONS, min_size=5, max_size=40))
def test_what_was_saved_is_what_is_loaded(history: list[Any]) -> None:
    with casstore.open(":memory:") as store:
        branch, key = store.branch(), "doc"
        model: dict[str, Any] = {"step": 0, "notes": {}, "messages": []}
        document = Memory()
        document.save(branch, key)
        stored = copy.deepcopy(model)
        for action in history:
            if not isinstance(action, str):
                edit(document, model, *action)
                continue
            if action == "revert":
                document.revert()
                model = copy.deepcopy(stored)
            else:
                if action == "fork":
                    branch = branch.fork()
                elif action == "move":
                    key = f"{key[:20]}x"
                document.save(branch, key, overwrite=action == "move")
                stored = copy.deepcopy(model)
                if action == "load":
                    document = Memory.load(branch, key)
                assert Memory.load(branch, key).plain() == model
                assert not document.is_modified
            assert document.plain() == model
