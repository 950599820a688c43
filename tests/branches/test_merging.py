# SPDX-License-Identifier: MIT
"""Merging branches: both sides' changes, conflicts as values, a base that is found and never guessed."""

from __future__ import annotations

import pytest

import casstore
from casstore.branches import Branch, Conflict
from casstore.errors import ConflictError, InvalidInputError
from casstore.format.entry import Entry, file_entry


@pytest.fixture
def sides(store: casstore.Store) -> tuple[Branch, Branch]:
    ours = store.branch()
    ours.files.update({"same": b"0", "both": b"0", "left": b"0", "right": b"0", "gone": b"0"})
    ours.objects["memory"] = {"step": 0}
    ours.commit("base", ref="main")
    theirs = ours.fork()
    ours.files["left"] = b"ours" * 100
    ours.files["new/ours"] = b"1"
    theirs.files["right"] = b"theirs" * 100
    theirs.files["new/theirs"] = b"2"
    theirs.objects["memory"] = {"step": 1}
    del theirs.files["gone"]
    return ours, theirs


def test_both_sides_changes_are_taken(store: casstore.Store, sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    before = theirs.state_id()
    report = ours.merge(theirs)
    assert report.conflicts == ()
    assert report.changed == 4
    assert report.base == (store.refs["main"].id,)
    assert dict(ours.files) == {
        "same": b"0",
        "both": b"0",
        "left": b"ours" * 100,
        "right": b"theirs" * 100,
        "new/ours": b"1",
        "new/theirs": b"2",
    }
    assert ours.objects["memory"] == {"step": 1}
    assert theirs.state_id() == before
    theirs.discard()
    assert ours.files["right"] == b"theirs" * 100


def test_the_same_result_from_either_side(sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    other, another = ours.fork(), theirs.fork()
    ours.merge(theirs)
    another.merge(other)
    assert ours.state_id() == another.state_id()


def test_a_conflict_leaves_the_branch_as_it_was(sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    ours.files["both"] = b"1"
    theirs.files["both"] = b"2"
    before = ours.state_id()
    report = ours.merge(theirs)
    (conflict,) = report.conflicts
    assert (conflict.key, conflict.kind) == ("files/both", "content")
    assert conflict.base is not None
    assert conflict.base.inline == b"0"
    assert conflict.ours is not None
    assert conflict.ours.inline == b"1"
    assert conflict.theirs is not None
    assert conflict.theirs.inline == b"2"
    assert report.changed == 0
    assert ours.state_id() == before


@pytest.mark.parametrize(("side", "wanted"), [("ours", b"1"), ("theirs", b"2" * 300)])
def test_a_side_for_all_conflicts(sides: tuple[Branch, Branch], side: str, wanted: bytes) -> None:
    ours, theirs = sides
    ours.files["both"] = b"1"
    theirs.files["both"] = b"2" * 300
    assert ours.merge(theirs, resolve=side).conflicts == ()  # type: ignore[arg-type]
    assert ours.files["both"] == wanted
    assert ours.files["right"] == b"theirs" * 100


def test_a_function_decides_each_conflict(sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    for number, key in enumerate(("both", "same", "left")):
        ours.files[key] = b"o%d" % number
        theirs.files[key] = b"t%d" % number

    def resolve(conflict: Conflict) -> Entry | Conflict | None:
        if conflict.key == "files/both":
            return file_entry(6, None, b"merged")
        if conflict.key == "files/same":
            return None
        return conflict.theirs

    assert ours.merge(theirs, resolve=resolve).conflicts == ()
    assert ours.files["both"] == b"merged"
    assert "same" not in ours.files
    assert ours.files["left"] == b"t2"


def test_a_function_may_leave_a_conflict_open(sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    ours.files["both"] = b"1"
    theirs.files["both"] = b"2"
    report = ours.merge(theirs, resolve=lambda conflict: conflict)
    assert [conflict.key for conflict in report.conflicts] == ["files/both"]
    with pytest.raises(InvalidInputError, match="resolve"):
        ours.merge(theirs, resolve="mine")  # type: ignore[arg-type]


def test_a_file_in_the_place_of_a_directory_is_a_conflict(sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    ours.files["place"] = b"a file"
    theirs.files["place/below"] = b"a directory"
    report = ours.merge(theirs)
    (conflict,) = report.conflicts
    assert (conflict.key, conflict.kind, conflict.below) == ("files/place", "path", ("files/place/below",))
    assert ours.merge(theirs, resolve="theirs").conflicts == ()
    assert ours.files["place/below"] == b"a directory"
    assert "place" not in ours.files
    assert "place/below" in ours.fork().commit().files


def test_a_merge_is_remembered_as_parents(store: casstore.Store, sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    left, right = ours.commit("left"), theirs.commit("right")
    ours.merge(right)
    merged = ours.commit("merged")
    assert merged.parents == (left.id, right.id)
    theirs.files["right"] = b"later"
    later = theirs.commit("later")
    report = ours.merge(later)
    assert report.base == (right.id,)
    assert report.changed == 1
    assert ours.files["right"] == b"later"
    assert store.branch(ours.commit()).files == ours.files


def test_several_best_ancestors_are_named_and_never_guessed(sides: tuple[Branch, Branch]) -> None:
    ours, theirs = sides
    left, right = ours.commit("left"), theirs.commit("right")
    ours.merge(right)
    theirs.merge(left)
    ours.files["ours"] = b"1"
    theirs.files["theirs"] = b"2"
    ours.commit()
    theirs.commit()
    with pytest.raises(ConflictError) as caught:
        ours.merge(theirs)
    assert left.id.hex()[:12] in str(caught.value)
    assert right.id.hex()[:12] in str(caught.value)
    report = ours.merge(theirs, base=left)
    assert report.conflicts == ()
    assert ours.files["theirs"] == b"2"


def test_without_a_common_ancestor_the_base_must_be_named(store: casstore.Store) -> None:
    ours, theirs = store.branch(), store.branch()
    ours.files["a"] = b"1"
    theirs.files["b"] = b"2"
    with pytest.raises(ConflictError, match="no common ancestor"):
        ours.merge(theirs)
    ours.merge(theirs, base=store.branch())
    assert dict(ours.files) == {"a": b"1", "b": b"2"}


def test_merging_what_one_has_changes_nothing(store: casstore.Store, sides: tuple[Branch, Branch]) -> None:
    ours, _ = sides
    before = ours.state_id()
    assert ours.merge(store.refs["main"]).changed == 0
    assert ours.merge(ours.fork()).changed == 0
    assert ours.state_id() == before
