# SPDX-License-Identifier: MIT
"""Members: a mapping whose members are entries of their own, set and deleted with it, and loaded one by one."""

from __future__ import annotations

from typing import Any

import pytest

import casstore
from casstore.branches import Branch
from casstore.codecs import BytesFactory, Members, default_registry
from casstore.errors import FactoryError, InvalidInputError, NotFoundError
from casstore.format.entry import object_entry


@pytest.fixture
def branch(store: casstore.Store) -> Branch:
    return store.branch()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every content of type bytes that is decoded."""
    found: list[bytes] = []
    monkeypatch.setattr(BytesFactory, "decode", lambda self, data: found.append(data) or data)
    return found


TREE = {"a": b"1", "b": {"x": 2}, "deep": Members(c=b"3", deeper=Members(d=4), none=Members())}


def plain(value: Any) -> Any:
    return {name: plain(value[name]) for name in value} if isinstance(value, Members) else value


@pytest.mark.parametrize("committed", [False, True])
def test_members_are_entries_of_their_own(branch: Branch, committed: bool) -> None:
    branch.objects["m"] = Members(TREE)
    if committed:
        branch.commit()
    assert [key for key, _ in branch.objects.entries()] == [
        "m", "m/a", "m/b", "m/deep", "m/deep/c", "m/deep/deeper", "m/deep/deeper/d", "m/deep/none",
    ]  # fmt: skip
    assert branch.objects["m/b"] == {"x": 2}
    found = branch.objects["m"]
    assert isinstance(found, Members)
    assert list(found) == ["a", "b", "deep"]
    assert len(found) == 3
    assert "a" in found
    assert not {"c", "deep/c", "", 1} & {name for name in ("c", "deep/c", "", 1) if name in found}
    assert plain(found) == {"a": b"1", "b": {"x": 2}, "deep": {"c": b"3", "deeper": {"d": 4}, "none": {}}}
    assert found == Members(TREE)
    for name in ("c", "deep/c", "", "..", 1):
        with pytest.raises(NotFoundError):
            found[name]
    assert branch.objects.entry("m") == object_entry("members", 1, 0, None, b"")
    assert dict(branch.objects.items())["m/deep"] == Members(TREE["deep"])


def test_a_plain_dict_stays_one_content(branch: Branch) -> None:
    branch.objects["m"] = {"a": 1}
    assert list(branch.objects) == ["m"]
    assert type(branch.objects["m"]) is dict


def test_members_load_one_by_one(branch: Branch, decoded: list[bytes]) -> None:
    branch.objects["m"] = Members(a=b"A" * 200, b=b"B" * 200)
    branch.commit()
    found = branch.objects["m"]
    assert "b" in found
    assert list(found) == ["a", "b"]
    assert not decoded
    assert found["b"] == b"B" * 200
    assert decoded == [b"B" * 200]


@pytest.mark.parametrize("committed", [False, True])
def test_members_show_the_state_they_were_read_from(store: casstore.Store, branch: Branch, committed: bool) -> None:
    branch.objects["m"] = Members(a=1, b=2, long=b"x" * 1000)
    if committed:
        branch.commit()
    found = branch.objects["m"]
    branch.objects["m/a"] = 9
    del branch.objects["m/b"]
    branch.objects["m/c"] = 3
    assert plain(found) == {"a": 1, "b": 2, "long": b"x" * 1000}
    assert plain(branch.objects["m"]) == {"a": 9, "c": 3, "long": b"x" * 1000}
    del branch.objects["m"]
    branch.commit()
    branch.discard()
    store.plan_gc(grace_seconds=0).execute()
    assert plain(found) == {"a": 1, "b": 2, "long": b"x" * 1000}


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("value", [{"now": "plain"}, b"x" * 1000, Members(z=1), Members()])
def test_setting_the_key_takes_the_members_with_it(branch: Branch, committed: bool, value: Any) -> None:
    branch.objects["m"] = Members(TREE)
    branch.objects["m2"] = 0
    branch.objects["m-"] = 0
    if committed:
        branch.commit()
    branch.objects["m"] = value
    fresh = branch._context and type(branch)(branch._context, None)
    fresh.objects.update({"m2": 0, "m-": 0, "m": value})
    assert branch.state_id() == fresh.state_id()
    assert list(branch.objects) == list(fresh.objects)
    assert len(branch.objects) == len(fresh.objects)


@pytest.mark.parametrize("committed", [False, True])
def test_deleting_the_key_takes_the_members_with_it(branch: Branch, committed: bool) -> None:
    empty = branch.state_id()
    branch.objects["m"] = Members(TREE)
    if committed:
        branch.commit()
        assert branch.objects["m"]["a"] == b"1"
    before = branch.objects.pop("m")
    assert list(branch.objects) == []
    assert "m" not in branch.objects
    assert "m/a" not in branch.objects
    assert branch.state_id() == empty
    assert before["a"] == b"1"
    with pytest.raises(NotFoundError):
        del branch.objects["m"]
    # And again above the mark.
    branch.objects["m"] = Members(a=5)
    assert plain(branch.objects["m"]) == {"a": 5}
    branch.objects["m"] = 1
    assert list(branch.objects) == ["m"]


def test_keys_below_another_value_are_left_alone(branch: Branch) -> None:
    branch.objects["m/a"] = 1
    branch.objects["m"] = {"plain": 1}
    branch.objects["m"] = {"plain": 2}
    assert list(branch.objects) == ["m", "m/a"]
    del branch.objects["m"]
    assert list(branch.objects) == ["m/a"]


def test_the_order_of_setting_does_not_show(store: casstore.Store) -> None:
    first, second = store.branch(), store.branch()
    first.objects["m"] = Members(a=1, b=2)
    second.objects["m"] = Members(b=0)
    second.commit()
    second.objects["m/a"] = 1
    second.objects["m/b"] = 2
    assert first.state_id() == second.state_id()
    second.objects["m"] = Members(b=2, a=1)
    assert not list(second.diff(first))


def test_only_changed_members_are_changes(branch: Branch) -> None:
    branch.objects["m"] = Members(a=1, b=2)
    branch.commit()
    branch.objects["m"] = Members(a=1, b=3)
    assert [change.key for change in branch.changes()] == ["objects/m/b"]


def test_members_of_another_branch_are_taken_over_without_loading(
    store: casstore.Store, branch: Branch, decoded: list[bytes]
) -> None:
    branch.objects["m"] = Members(old=b"o" * 300, deep=Members(c=b"c"))
    branch.commit()
    branch.objects["m/new"] = b"n" * 300
    other = store.branch()
    other.objects["copy"] = branch.objects["m"]
    branch.discard()
    assert not decoded
    other.commit(ref="kept")
    store.plan_gc(grace_seconds=0).execute()
    assert plain(other.objects["copy"]) == {"deep": {"c": b"c"}, "new": b"n" * 300, "old": b"o" * 300}
    # A key may also be set to what it holds, or to a part of it.
    before = other.state_id()
    other.objects["copy"] = other.objects["copy"]
    assert other.state_id() == before
    other.objects["copy"] = other.objects["copy"]["deep"]
    assert plain(other.objects["copy"]) == {"c": b"c"}
    other.objects["copy"] = Members(c=b"c" * 1000)
    other.commit()
    with casstore.open(":memory:") as elsewhere:
        far = elsewhere.branch()
        far.objects["m"] = other.objects["copy"]
        assert plain(far.objects["m"]) == {"c": b"c" * 1000}


def test_an_iteration_shows_members_as_they_were_when_it_began(branch: Branch) -> None:
    branch.objects["a"] = 0
    branch.objects["m"] = Members(a=1)
    pairs = iter(branch.objects.items())
    assert next(pairs) == ("a", 0)
    branch.objects["m/a"] = 2
    key, found = next(pairs)
    assert (key, plain(found)) == ("m", {"a": 1})


def test_merges_go_member_by_member(store: casstore.Store, branch: Branch) -> None:
    branch.objects["m"] = Members(a=1, b=2)
    start = branch.commit()
    ours, theirs = store.branch(start), store.branch(start)
    ours.objects["m/a"] = 10
    theirs.objects["m/b"] = 20
    assert not ours.merge(theirs).conflicts
    assert plain(ours.objects["m"]) == {"a": 10, "b": 20}


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\0", 1, None, "x" * 5000])
def test_a_name_that_is_no_component_of_a_key_is_refused(branch: Branch, name: Any) -> None:
    branch.objects["m"] = Members(a=1)
    before = branch.state_id()
    with pytest.raises(InvalidInputError):
        branch.objects["m"] = Members({"b": 2, name: 1})
    assert branch.state_id() == before


def test_nothing_changes_where_a_member_cannot_be_encoded(branch: Branch) -> None:
    branch.objects["m"] = Members(a=1)
    for wrong in (object(), {"in a dict": Members()}, [Members()]):
        with pytest.raises((FactoryError, InvalidInputError)):
            branch.objects["m"] = Members(a=2, b=wrong)
    assert plain(branch.objects["m"]) == {"a": 1}


def test_a_marker_set_as_an_entry_keeps_what_is_below(branch: Branch) -> None:
    branch.objects["m"] = Members(a=1)
    for _ in range(2):
        branch.objects.set_entry("m", object_entry("members", 1, 0, None, b""))
        assert plain(branch.objects["m"]) == {"a": 1}
        branch.commit()


def test_a_marker_says_where_its_members_are() -> None:
    with pytest.raises(FactoryError, match="keys below it"):
        default_registry().decode("members", 1, b"")
    with pytest.raises(FactoryError, match="not within another value"):
        default_registry().encode(Members(a=1))
    assert default_registry().estimate_size(object_entry("members", 1, 0, None, b"")) == 0


def test_members_are_mappings() -> None:
    members = Members({"b": 1}, a=2)
    assert dict(members) == {"b": 1, "a": 2}
    assert members.get("c") is None
    assert repr(members) == "Members of b, a"
    assert repr(Members()) == "Members of nothing"
    with pytest.raises(TypeError):
        members["a"] = 3  # type: ignore[index]
