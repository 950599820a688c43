# SPDX-License-Identifier: MIT
"""Members in merges, where a key is a Members on one side only; and what is known of markers without looking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casstore
from casstore.branches import Branch
from casstore.codecs import Members
from casstore.format.entry import object_entry
from casstore.tree import scan


def plain(value: Any) -> Any:
    return {name: plain(value[name]) for name in value} if isinstance(value, Members) else value


def sides(store: casstore.Store, ours: dict[str, Any], theirs: dict[str, Any], **base: Any) -> tuple[Branch, Branch]:
    """Two branches of one state; None deletes a key."""
    start = store.branch()
    start.objects.update(base)
    snapshot = start.commit()
    found = []
    for changes in (ours, theirs):
        one = store.branch(snapshot)
        for key, value in changes.items():
            if value is None:
                del one.objects[key]
            else:
                one.objects[key] = value
        found.append(one)
    return found[0], found[1]


def shown(branch: Branch) -> dict[str, Any]:
    return {key: plain(value) for key, value in branch.objects.items()}


M = Members(a=1, b=2)
CLASHES = {
    "a value here, a member more there": ({"m": 5}, {"m/c": 3}, {"m": M}),
    "a value here, a member changed there": ({"m": 5}, {"m/a": 3}, {"m": M}),
    "gone here, a member more there": ({"m": None}, {"m/c": 3}, {"m": M}),
    "a value here, Members there, nothing before": ({"m": 5}, {"m": M}, {}),
    "a plain key below here, Members there": ({"m/x": 5}, {"m": M}, {}),
    "nested: gone here, a member more there": ({"m/d": None}, {"m/d/y": 1}, {"m": Members(d=Members(x=1))}),
    "nested: all gone here, one deep down more there": ({"m": None}, {"m/d/y": 1}, {"m": Members(d=Members(x=1))}),
    "nested: a value here, Members there": ({"m/d": 5}, {"m/d": Members(y=1)}, {"m": Members(d=1)}),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", CLASHES)
def test_a_members_and_what_took_its_place_are_one_conflict(store: casstore.Store, case: str, turned: bool) -> None:
    left, right, base = CLASHES[case]
    ours, theirs = sides(store, *((right, left) if turned else (left, right)), **base)
    before, other = shown(ours), shown(theirs)
    report = ours.merge(theirs)
    assert [conflict.kind for conflict in report.conflicts] == ["members"]
    conflict = report.conflicts[0]
    assert conflict.key == ("objects/m/d" if "m/d" in left and "nested" in case else "objects/m")
    assert conflict.below
    assert all(key.startswith(conflict.key + "/") for key in conflict.below)
    assert shown(ours) == before, "nothing is half merged"
    for resolve, expected in (("ours", before), ("theirs", other)):
        one = ours.fork()
        assert not one.merge(theirs, resolve=resolve).conflicts  # type: ignore[arg-type]
        assert shown(one) == expected
    key = conflict.key.removeprefix("objects/")
    gone = ours.fork()
    assert not gone.merge(theirs, resolve=lambda conflict: None).conflicts
    assert not [name for name in gone.objects if name == key or name.startswith(key + "/")]
    own = ours.fork()
    assert not own.merge(theirs, resolve=lambda conflict: object_entry("json", 1, 1, None, b"7")).conflicts
    assert [name for name in own.objects if name == key or name.startswith(key + "/")] == [key]
    assert own.objects[key] == 7
    marked = ours.fork()
    assert not marked.merge(theirs, resolve=lambda conflict: object_entry("members", 1, 0, None, b"")).conflicts
    assert shown(marked) == (before if isinstance(ours.objects.get(key), Members) else other)


@pytest.mark.parametrize("change", [{"m": 5}, {"m": None}, {"m": Members(z=1)}, {"m/a": 9, "m/b": None}])
@pytest.mark.parametrize("base", [{"m": M, "m-": M}, {"m": Members(a=M, b=1), "m-": 1}])
def test_what_one_side_did_to_a_members_stands(
    store: casstore.Store, change: dict[str, Any], base: dict[str, Any]
) -> None:
    for turned in (False, True):
        changes = ({"other": 1}, change) if turned else (change, {"other": 1})
        ours, theirs = sides(store, *changes, **base)
        expected = {**shown(theirs if turned else ours), "other": 1}
        assert not ours.merge(theirs).conflicts
        assert shown(ours) == expected
    ours, theirs = sides(store, change, change, **base)
    assert not ours.merge(theirs).conflicts
    assert shown(ours) == shown(theirs)


def test_keys_that_sort_between_a_members_and_its_members(store: casstore.Store) -> None:
    deep = Members(d=Members(x=1))
    ours, theirs = sides(store, {"m": None, "m-": None}, {"other": 1}, **{"m": deep, "m-": deep})
    assert not ours.merge(theirs).conflicts
    assert shown(ours) == {"other": 1}
    ours, theirs = sides(store, {"other": 1}, {"m": None, "m-": None}, **{"m": deep, "m-": deep})
    assert not ours.merge(theirs).conflicts
    assert shown(ours) == {"other": 1}
    ours, theirs = sides(store, {"m": None, "m-": None}, {"m/d/y": 2}, **{"m": deep, "m-": deep})
    report = ours.merge(theirs)
    assert [conflict.key for conflict in report.conflicts] == ["objects/m"]


def test_what_both_sides_have_below_does_not_outlive_the_members(store: casstore.Store) -> None:
    ours, theirs = sides(store, {"m": M, "m/same": 1, "m/c": 1}, {"m": 5, "m/same": 1}, m=0)
    report = ours.merge(theirs, resolve=lambda conflict: object_entry("json", 1, 1, None, b"7"))
    assert not report.conflicts
    assert shown(ours) == {"m": 7}


CHANGES = st.lists(
    st.sampled_from(
        [
            ("m", 1),
            ("m", 2),
            ("m", None),
            ("m", M),
            ("m", Members(d=M)),
            ("m", Members()),
            ("m/a", 7),
            ("m/a", None),
            ("m/d", M),
            ("m/d", 3),
            ("m/d", None),
            ("m/d/a", 8),
            ("m/d/a", None),
            ("m-", M),
            ("m-", 1),
            ("m-", None),
        ]
    ),
    max_size=3,
)


@settings(max_examples=150)
@given(CHANGES, CHANGES, CHANGES, st.sampled_from(["ours", "theirs"]))
def test_no_merge_leaves_a_part_of_a_members(
    base: list[tuple[str, Any]], left: list[tuple[str, Any]], right: list[tuple[str, Any]], resolve: Any
) -> None:
    with casstore.open(":memory:") as store:
        start = store.branch()

        def change(branch: Branch, changes: list[tuple[str, Any]]) -> Branch:
            for key, value in changes:
                if value is not None:
                    branch.objects[key] = value
                elif key in branch.objects:
                    del branch.objects[key]
            return branch

        snapshot = change(start, base).commit()
        ours, theirs = change(store.branch(snapshot), left), change(store.branch(snapshot), right)
        both = [dict(one.objects.entries()) for one in (ours, theirs)]
        was = dict(start.objects.entries())
        assert not ours.merge(theirs, resolve=resolve).conflicts
        merged = dict(ours.objects.entries())
        for key in ("m", "m-", "m/d"):
            marked = [key in side and side[key].type_id == "members" for side in both]
            whole = [below(side, key) for side in both]
            if marked[0] != marked[1]:
                # One side's, whole; where one side alone changed it, that side's.
                assert below(merged, key) in whole
                if key != "m/d":
                    changed = [part != below(was, key) for part in whole]
                    wanted = changed.index(True) if sum(changed) == 1 else int(resolve == "theirs")
                    assert below(merged, key) == whole[wanted]


def below(entries: dict[str, Any], key: str) -> dict[str, Any]:
    """What stands at a key and below it."""
    return {name: entry for name, entry in entries.items() if name == key or name.startswith(key + "/")}


# -- what is known of markers, against what the trees say


@given(st.lists(st.tuples(st.integers(0, 5), CHANGES), max_size=12), st.booleans())
def test_what_is_known_of_markers_is_what_the_trees_say(steps: list[tuple[int, Any]], reopened: bool) -> None:
    with casstore.open(":memory:") as store:
        markers = store.branches.markers
        branches = [store.branch()]
        for what, changes in steps:
            branch = branches[-1]
            for key, value in changes:
                if value is not None:
                    branch.objects[key] = value
                elif key in branch.objects:
                    del branch.objects[key]
            if what == 0:
                branch.fold()
            elif what == 1:
                branches.append(store.branch(branch.commit()))
            elif what == 2:
                branches.append(branch.fork())
            elif what == 3 and len(branches) > 1:
                branch.merge(branches[-2], base=branches[0], resolve="theirs")
            elif what == 4:
                branch.objects.delete_prefix("m/")
            if reopened and what == 1:
                # As if the store had been opened anew: nothing is known.
                markers._known, markers._before = {}, {}
            for one in branches:
                root = one._state[1].objects  # type: ignore[index]
                known = markers.of(store.nodes, root)
                listed = {decode(key) for key, entry in scan(store.nodes, root) if entry.type_id == "members"}
                assert known is None or known == listed
                for key in ("m", "m/d", "m-", "m/a"):
                    found = dict(one.objects.entries()).get(key)
                    assert one.objects._holds_members(one._current(), key) == (
                        found is not None and found.type_id == "members"
                    )


def decode(key: bytes) -> str:
    return key.decode()


@pytest.mark.parametrize("prefix", ["", "m/"])
def test_markers_that_went_by_a_prefix_are_none(store: casstore.Store, prefix: str) -> None:
    branch = store.branch()
    branch.objects["m"] = Members(d=Members(x=1))
    branch.fold()
    markers = store.branches.markers
    assert markers.of(store.nodes, branch._state[1].objects) == {"m", "m/d"}  # type: ignore[index]
    branch.objects.delete_prefix(prefix)
    assert not branch.objects._holds_members(branch._current(), "m/d")
    branch.objects["other"] = 1
    branch.fold()
    assert markers.of(store.nodes, branch._state[1].objects) == ({"m"} if prefix else set())  # type: ignore[index]


def test_markers_of_a_tree_that_was_met_first_are_looked_up_until_that_costs_more(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "s.cas") as store:
        branch = store.branch()
        branch.objects.update({f"k/{number}": number for number in range(400)})
        branch.objects["m"] = Members(a=1)
        branch.commit(ref="main")
    with casstore.open(tmp_path / "s.cas") as store:
        branch = store.branch("main")
        root = branch._state[1].objects  # type: ignore[index]
        markers = store.branches.markers
        known = [markers.of(store.nodes, root) for _ in range(40)]
        assert known[0] is None
        assert known[-1] == {"m"}
        branch.objects["m"] = 5
        assert "m/a" not in branch.objects
        branch.fold()
        assert markers.of(store.nodes, branch._state[1].objects) == frozenset()  # type: ignore[index]


def test_what_is_remembered_of_markers_is_bounded(monkeypatch: pytest.MonkeyPatch, store: casstore.Store) -> None:
    monkeypatch.setattr("casstore.branches.markers.MAX_TREES", 10)
    monkeypatch.setattr("casstore.branches.markers.MAX_MARKERS", 5)
    markers = store.branches.markers
    branch = store.branch()
    for number in range(100):
        branch.objects["n"] = number
        branch.fold()
        assert len(markers._known) + len(markers._before) <= 20
        assert len(markers._asked) <= 10
    for number in range(6):
        branch.objects[f"m{number}"] = Members(a=1)
    branch.fold()
    for _ in range(5):
        assert markers.of(store.nodes, branch._state[1].objects) is None  # type: ignore[index]
    branch.objects["m3"] = 1
    assert "m3/a" not in branch.objects
