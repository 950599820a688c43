# SPDX-License-Identifier: MIT
"""Documents and what else may stand at their keys: plain values, Members, other documents; also in merges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casstore
from casstore.branches import Branch
from casstore.codecs import Members
from casstore.codecs.documents import is_part
from casstore.errors import ConflictError, InvalidInputError, NotFoundError
from casstore.objects import Materializer
from casstore.objects.document import Document, growing


class Agent(Document):
    step: int = 0
    log: list[Any] = growing()
    goal: str


# -- a document where something else stands

TAKEN = {
    "a value": {"a": 5},
    "Members": {"a": Members(step=1, other=Members(x=1))},
    "Members without members": {"a": Members()},
    "a key below": {"a/step": 1},
    "a key of a block": {"a/log/@0000000000": [2]},
    "a key further down": {"a/x/y": 1},
}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("case", TAKEN)
def test_a_document_is_not_saved_over_something_else(branch: Branch, case: str, folded: bool) -> None:
    branch.objects.update(TAKEN[case])
    branch.objects["ab"] = branch.objects["a-"] = 1
    if folded:
        branch.fold()
    before = list(branch.objects.entries())
    for overwrite in (False, case == "a value"):
        with pytest.raises(ConflictError, match=r"'a[^']*' .*delete that first.*replace=True") as raised:
            Agent(log=[1]).save(branch, "a", overwrite=overwrite)
        assert str(raised.value.path).startswith("a")
    assert list(branch.objects.entries()) == before
    report = Agent(log=[1]).save(branch, "a", replace=True)
    assert report.written == ("log", "step")
    assert list(branch.objects) == ["a-", "a/@document", "a/log/@0000000000", "a/step", "ab"]
    assert Agent.load(branch, "a").plain() == {"step": 0, "log": [1]}


def test_documents_lie_below_each_other_in_any_order(branch: Branch) -> None:
    Agent(step=1).save(branch, "a/b/c")
    Agent(step=2).save(branch, "a/b")
    Agent(step=3).save(branch, "a")
    assert [Agent.load(branch, key).step for key in ("a", "a/b", "a/b/c")] == [3, 2, 1]
    Agent(step=4).save(branch, "a/step/x")


def test_a_field_does_not_take_the_place_of_a_document(branch: Branch) -> None:
    Agent(step=1).save(branch, "a/step")
    with pytest.raises(ConflictError, match="'a/step' holds a document, and would be a field of 'a'"):
        Agent().save(branch, "a")
    Agent().save(branch, "a", replace=True)
    with pytest.raises(ConflictError, match="'a/step' holds a value that is no document"):
        Agent().save(branch, "a/step")


def test_replace_writes_all_and_leaves_nothing_else(branch: Branch) -> None:
    agent = Agent(goal="win", log=[1])
    agent.save(branch, "a")
    branch.objects["a/unknown"] = branch.objects["a/x/y"] = 1
    agent = Agent.load(branch, "a")
    agent.log.append(2)
    agent.step = 7
    report = agent.save(replace=True)
    assert (report.written, report.deleted) == (("log", "step"), ())
    assert Agent.load(branch, "a").plain() == {"goal": "win", "log": [1, 2], "step": 7}
    assert "a/x/y" not in branch.objects
    assert branch.objects["a/unknown"] == 1, "a field that the document was loaded with"
    Agent(step=1).save(branch, "a", replace=True)
    assert list(branch.objects) == ["a/@document", "a/log/@0000000000", "a/step"]
    agent.step = 8
    with pytest.raises(ConflictError):
        agent.save()


def test_a_replacing_save_that_fails_changes_nothing(branch: Branch) -> None:
    branch.objects["a"] = 5
    branch.objects["a/b"] = 6
    words = r"the field 'log' cannot be saved \(its elements from 0 on\): \[0\]\.k: nan is no JSON value"
    with pytest.raises(InvalidInputError, match=words):
        Agent(log=[{"k": float("nan")}]).save(branch, "a", replace=True)
    assert dict(branch.objects) == {"a": 5, "a/b": 6}


# -- something else where a document stands


@pytest.mark.parametrize("value", [5, None, "text", b"b" * 1000, Members(), Members(x=1)])
@pytest.mark.parametrize("how", ["here", "folded", "committed", "fork", "anew"])
def test_nothing_is_left_below_what_is_set_over_a_document(store: casstore.Store, how: str, value: Any) -> None:
    branch = store.branch()
    Agent(goal="win", log=[1]).save(branch, "a")
    Agent().save(branch, "a/child")
    Agent().save(branch, "ab")
    branch.objects["a-"] = 1
    if how == "folded":
        branch.fold()
    elif how in ("committed", "anew"):
        branch = store.branch(branch.commit())
    elif how == "fork":
        branch = branch.fork()
    if how == "anew":
        markers = store.branches.markers
        markers._known, markers._before = {}, {}
    branch.objects["a"] = value
    members = list(value) if isinstance(value, Members) else []
    wanted = ["a", "a-", *(f"a/{name}" for name in members), "ab/@document", "ab/log/@0000000000", "ab/step"]
    assert list(branch.objects) == wanted
    branch.objects["a"] = 6
    branch.objects["a/plain"] = 7
    branch.objects["a"] = 8
    assert branch.objects["a/plain"] == 7, "a plain key below a plain one is a key of its own"


@pytest.mark.parametrize("folded", [False, True])
def test_a_document_is_deleted_whole(branch: Branch, folded: bool) -> None:
    agent = Agent(goal="win", log=[1])
    agent.save(branch, "a")
    if folded:
        branch.fold()
    del branch.objects["a"]
    assert not list(branch.objects)
    with pytest.raises(NotFoundError):
        del branch.objects["a"]
    agent.save()
    agent.step = 1
    for overwrite in (False, True):
        if overwrite:
            assert agent.save(overwrite=True).written == ("goal", "log", "step")
            assert Agent.load(branch, "a").plain() == {"goal": "win", "log": [1], "step": 1}
        else:
            with pytest.raises(ConflictError, match="was deleted from the branch"):
                agent.save()


# -- merges


def sides(store: casstore.Store, base: Agent | None = None) -> tuple[Branch, Branch]:
    start = store.branch()
    if base is not None:
        base.save(start, "a")
    snapshot = start.commit()
    return store.branch(snapshot), store.branch(snapshot)


def changed(branch: Branch, **values: Any) -> None:
    agent = Agent.load(branch, "a")
    for name, value in values.items():
        setattr(agent, name, value)
    agent.save()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("end", [5, Members(x=1), None])
@pytest.mark.parametrize("change", [{"goal": "win"}, {"log": [1, 2]}, {"step": 4}])
def test_a_document_and_what_took_its_place_are_one_conflict(
    store: casstore.Store, turned: bool, end: Any, change: dict[str, Any]
) -> None:
    ours, theirs = sides(store, Agent(log=[1] * 3))
    one, other = (theirs, ours) if turned else (ours, theirs)
    if end is None:
        del one.objects["a"]
    else:
        one.objects["a"] = end
    changed(other, **change)
    before, there = dict(ours.objects.entries()), dict(theirs.objects.entries())
    report = ours.merge(theirs)
    assert [(conflict.kind, conflict.key) for conflict in report.conflicts] == [("members", "objects/a")]
    assert dict(ours.objects.entries()) == before
    for resolve, wanted in (("ours", before), ("theirs", there)):
        fork = ours.fork()
        assert not fork.merge(theirs, resolve=resolve).conflicts  # type: ignore[arg-type]
        assert dict(fork.objects.entries()) == wanted
    fork = ours.fork()
    assert not fork.merge(theirs, resolve=lambda conflict: None).conflicts
    assert not list(fork.objects)


@pytest.mark.parametrize("end", [5, Members(x=1), None])
def test_what_one_side_did_to_a_document_stands(store: casstore.Store, end: Any) -> None:
    for turned in (False, True):
        ours, theirs = sides(store, Agent(log=[1]))
        one, other = (theirs, ours) if turned else (ours, theirs)
        if end is None:
            del one.objects["a"]
        else:
            one.objects["a"] = end
        Agent(step=1).save(other, "b")
        assert not ours.merge(theirs).conflicts
        expected = {**dict(one.objects.entries()), **dict(other.objects.entries("b"))}
        assert dict(ours.objects.entries()) == expected


def test_a_document_and_a_value_that_are_new_are_one_conflict(store: casstore.Store) -> None:
    ours, theirs = sides(store)
    Agent().save(ours, "a")
    theirs.objects["a"] = 5
    report = ours.merge(theirs)
    assert [(conflict.kind, conflict.key) for conflict in report.conflicts] == [("members", "objects/a")]
    assert not ours.merge(theirs, resolve="theirs").conflicts
    assert dict(ours.objects) == {"a": 5}


def test_fields_of_one_document_merge_one_by_one(store: casstore.Store) -> None:
    ours, theirs = sides(store, Agent())
    changed(ours, step=1)
    changed(theirs, goal="win")
    assert not ours.merge(theirs).conflicts
    assert Agent.load(ours, "a").plain() == {"step": 1, "log": [], "goal": "win"}


def test_a_document_below_is_no_part_of_that_above(store: casstore.Store) -> None:
    ours, theirs = sides(store, Agent())
    Agent.load(ours, "a").delete()
    Agent(step=5).save(theirs, "a/child")
    assert not ours.merge(theirs).conflicts
    assert list(ours.objects) == ["a/child/@document", "a/child/log/@0000000000", "a/child/step"]
    ours, theirs = sides(store)
    Agent().save(ours, "a")
    Agent().save(theirs, "a/child")
    assert not ours.merge(theirs).conflicts


# -- what is no branch


def test_closing_names_the_way_for_what_came_from_a_snapshot(store: casstore.Store, branch: Branch) -> None:
    branch.objects["x"] = {"a": 1}
    snapshot = branch.commit()
    home = Materializer(store)
    try:
        ref = home.register(snapshot, "x")
        ref.get()["a"] = 2
        ref.mark_dirty()
        with pytest.raises(InvalidInputError, match=r"ref\.save\(branch\)"):
            home.close()
        ref.save(branch)
        assert branch.objects["x"] == {"a": 2}
    finally:
        home.close(discard=True)


def test_what_is_no_branch_is_refused_with_the_way_out(store: casstore.Store, branch: Branch) -> None:
    agent = Agent()
    agent.save(branch, "a")
    snapshot = branch.commit(ref="main")
    for state in ("main", snapshot.id, snapshot, store, 5, ""):
        for call in (Agent.load, agent.save):
            with pytest.raises(InvalidInputError, match=r"is no branch.*store\.branch\("):
                call(state, "a")  # type: ignore[operator]


def test_a_branch_merges_what_a_name_says(store: casstore.Store) -> None:
    start = store.branch().commit(ref="start")
    branch, other = store.branch(start), store.branch(start)
    other.objects["x"] = 1
    found = other.commit(ref="other")
    for state in ("other", found.id, found.id.hex(), found, other):
        for base in (None, "start", start.id, start):
            one = branch.fork()
            assert one.merge(state, base=base).changed == 1
            assert dict(one.objects) == {"x": 1}
    with pytest.raises(NotFoundError, match="none"):
        branch.merge("none")
    with pytest.raises(InvalidInputError, match="names no state"):
        branch.merge(b"short")
    with pytest.raises(InvalidInputError, match="is no state"):
        branch.merge(5)  # type: ignore[arg-type]


KEYS = ("a", "a/b")
CHANGES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(["value", "members", "gone", "document", "step", "goal", "log"])),
    max_size=3,
)


def change(branch: Branch, changes: list[tuple[str, str]]) -> Branch:
    for key, what in changes:
        is_document = f"{key}/@document" in branch.objects
        if what == "value":
            branch.objects[key] = 5
        elif what == "members":
            branch.objects[key] = Members(step=1)
        elif what == "document":
            Agent(log=[1] * 3).save(branch, key, replace=True)
        elif what == "gone" and (is_document or key in branch.objects):
            del branch.objects[key]
        elif is_document and what in Agent._fields:
            agent = Agent.load(branch, key)
            agent.step, agent.goal = agent.step + (what == "step"), "x" * 3000
            if what == "log":
                agent.log.append("y" * 3000)
            agent.save()
    return branch


@settings(max_examples=150)
@given(CHANGES, CHANGES, CHANGES, st.sampled_from(["ours", "theirs"]))
def test_no_merge_leaves_a_part_of_a_document(
    base: list[tuple[str, str]], left: list[tuple[str, str]], right: list[tuple[str, str]], resolve: Any
) -> None:
    with casstore.open(":memory:") as store:
        snapshot = change(store.branch(), base).commit()
        ours, theirs = change(store.branch(snapshot), left), change(store.branch(snapshot), right)
        both = [dict(one.objects.entries()) for one in (ours, theirs)]
        assert not ours.merge(theirs, resolve=resolve).conflicts
        merged = dict(ours.objects.entries())
        for key in KEYS:
            headed = f"{key}/@document" in merged
            assert not (headed and key in merged), "a value and a document at one key"
            parts = {name for name in merged if name.startswith(f"{key}/") and is_part(name[len(key) + 1 :])}
            was = [f"{key}/@document" in side for side in both]
            if any(was) and not headed and key not in merged:
                assert parts <= {"a/b"}, "parts without their header"
            if headed:
                Agent.load(ours, key).plain()
