# SPDX-License-Identifier: MIT
"""Changes field by field: applied to the old value they give the new one, and a plain recursive diff agrees."""

from __future__ import annotations

import math
import random
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casstore.codecs.describe_values import ArrayHeader, StoredArray, StoredTable
from casstore.codecs.field_changes import (
    FieldChange,
    Index,
    Key,
    Limits,
    Member,
    Path,
    apply_changes,
    field_changes,
)
from casstore.codecs.field_changes_align import Steps, matching_pairs
from casstore.codecs.field_changes_digest import Codes
from casstore.codecs.unknown import Unknown
from casstore.errors import InvalidInputError

NAN = math.nan
LEAVES = [
    *(None, True, False, 0, 1, 2, 1.0, 0.0, -0.0, NAN, math.inf, "", "a", "b", "a" * 40, b"", b"a", b"a" * 40),
    *(2**70, -(2**70), Unknown("app.x", 1, b"x"), Unknown("app.x", 1, b"y"), Unknown("app.x", 2, b"x")),
    *(StoredArray(ArrayHeader("f", 4, (1,), 12), b"12"), StoredTable(3, b"abc"), StoredTable(3, b"abd")),
]
scalars = st.sampled_from(LEAVES)
KEYS = [0, 1, 1.0, True, "a", "b", (1, 2), (True, 2), None, frozenset({1}), NAN, 0.0, -0.0]
keys = st.sampled_from(KEYS)


def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=3)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
        | st.builds(
            lambda version, fields: Unknown("struct:x", version, b"", fields),
            st.integers(1, 2),
            st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        )
    )


values = st.recursive(scalars, nest, max_leaves=12)
without_lists = st.recursive(
    scalars,
    lambda inner: (
        st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
        | st.sets(keys, max_size=4)
    ),
    max_leaves=16,
)


def freeze(value: Any) -> Any:
    """A value as something hashable that is equal for equal values of equal type: plain, slow, and with recursion."""
    kind = type(value)
    if kind is dict:
        return "dict", frozenset((freeze(key), freeze(item)) for key, item in value.items())
    if kind in (set, frozenset):
        return kind.__name__, frozenset(map(freeze, value))
    if kind in (list, tuple):
        return kind.__name__, tuple(map(freeze, value))
    if kind is float:
        return "float", "nan" if value != value else struct.pack("<d", value)
    if kind is Unknown and value.plain is not None:
        return "class", value.type_id, value.version, freeze(value.plain)
    return kind.__name__, value


def reference(old: Any, new: Any, path: Path = ()) -> list[FieldChange]:
    """The same changes by plain recursion, for values without lists."""
    if freeze(old) == freeze(new):
        return []
    if type(old) is dict and type(new) is dict:
        left = {freeze(key): (key, item) for key, item in old.items()}
        right = {freeze(key): (key, item) for key, item in new.items()}
        found = []
        for mark, (key, item) in left.items():
            if mark not in right:
                found.append(FieldChange((*path, Key(key)), "removed", item, None))
            else:
                found += reference(item, right[mark][1], (*path, Key(key)))
        return found + [
            FieldChange((*path, Key(key)), "added", None, item)
            for mark, (key, item) in right.items()
            if mark not in left
        ]
    if type(old) is set and type(new) is set:
        gone = {freeze(item): item for item in old}
        come = {freeze(item): item for item in new}
        return [
            *(FieldChange((*path, Member(gone[mark])), "removed", gone[mark], None) for mark in gone.keys() - come),
            *(FieldChange((*path, Member(come[mark])), "added", None, come[mark]) for mark in come.keys() - gone),
        ]
    return [FieldChange(path, "changed", old, new)]


def as_items(changes: list[FieldChange]) -> set[Any]:
    return {
        (tuple(freeze(getattr(step, step.__slots__[0])) for step in change.path), change.kind, freeze(change.old),
         freeze(change.new))
        for change in changes
    }  # fmt: skip


limits = st.sampled_from([None, Limits(max_depth=0), Limits(max_depth=1), Limits(max_steps=0), Limits(max_steps=5)])


def edited(rng: random.Random, value: Any) -> Any:
    """A value like this one: some parts are others, more, or gone."""
    kind = type(value)
    if rng.random() < 0.15:
        return rng.choice([*LEAVES, [], {}, (), set(), [value], {"a": value}])
    if kind in (list, tuple):
        items = [edited(rng, item) if rng.random() < 0.3 else item for item in value if rng.random() < 0.8]
        for _ in range(rng.randrange(3)):
            items.insert(rng.randrange(len(items) + 1), rng.choice(LEAVES))
        return kind(items)
    if kind is dict:
        made = {key: edited(rng, item) for key, item in value.items() if rng.random() < 0.8}
        return {**made, rng.choice(KEYS): rng.choice(LEAVES)} if rng.random() < 0.4 else made
    if kind in (set, frozenset):
        return kind([item for item in value if rng.random() < 0.6] + rng.sample(KEYS, rng.randrange(3)))
    if kind is Unknown and value.plain is not None:
        return Unknown(value.type_id, rng.choice([1, 2, value.version]), b"", edited(rng, value.plain))
    return value


@settings(max_examples=300)
@given(values, st.none() | values, limits, st.randoms(use_true_random=False))
def test_applied_changes_give_the_new_value(old: Any, other: Any, bounds: Limits | None, rng: random.Random) -> None:
    new = edited(rng, old) if other is None else other
    before = freeze(old)
    changes = list(field_changes(old, new, bounds))
    assert bool(changes) == (before != freeze(new))
    assert freeze(apply_changes(old, changes)) == freeze(new)
    rng.shuffle(changes)
    assert freeze(apply_changes(old, changes)) == freeze(new)
    assert freeze(old) == before


def test_edits_of_large_values_are_found_and_undone() -> None:
    for seed in range(150):
        rng = random.Random(seed)
        old: Any = [rng.choice(LEAVES) for _ in range(6)]
        for _ in range(3):
            members = set(rng.sample(KEYS, 3))
            old = [{"a": old, (1, 2): members}, (old, 2), Unknown("struct:x", 1, b"", {"a": old, "b": members})]
        new = edited(rng, old)
        assert freeze(apply_changes(old, field_changes(old, new))) == freeze(new)
        assert freeze(apply_changes(new, field_changes(new, old))) == freeze(old)


@settings(max_examples=150)
@given(without_lists, st.randoms(use_true_random=False))
def test_a_plain_recursive_diff_agrees(old: Any, rng: random.Random) -> None:
    new = edited(rng, old)
    assert as_items(list(field_changes(old, new))) == as_items(reference(old, new))


@given(values, values)
def test_codes_are_equal_for_equal_values_only(a: Any, b: Any) -> None:
    assert (Codes(10**6).code(a) == Codes(10**6).code(b)) == (freeze(a) == freeze(b))
    both = Codes(10**6)
    assert both.code([a, b]) != both.code([b, a]) or freeze(a) == freeze(b)


def test_what_is_one_value_and_what_is_not() -> None:
    apart = [1, 1.0, True, "1", b"1", 0.0, -0.0, False, None, NAN, [], (), {}, set(), frozenset(), [1], (1,)]
    for place, a in enumerate(apart):
        assert [list(field_changes(a, b)) == [] for b in apart] == [other == place for other in range(len(apart))]
    assert list({0, 8}) != list({8, 0})  # else the next line shows nothing
    assert Codes(9).code([{0, 8}, {"a": 1, "b": 2}]) == Codes(9).code([{8, 0}, {"b": 2, "a": 1}])
    assert list(field_changes(float("nan"), -float("nan"))) == []


def longest(a: list[int], b: list[int]) -> int:
    """Length of a longest common subsequence, by the table."""
    row = [0] * (len(b) + 1)
    for item in a:
        last = row
        row = [0]
        for place, other in enumerate(b):
            row.append(last[place] + 1 if item == other else max(row[place], last[place + 1]))
    return row[-1]


@given(
    st.lists(st.integers(0, 4), max_size=14), st.lists(st.integers(0, 4), max_size=14), st.sampled_from([0, 9, 10**6])
)
def test_lists_are_aligned_as_far_as_can_be(a: list[int], b: list[int], steps: int) -> None:
    pairs = matching_pairs(a, b, Steps(steps))
    assert all(a[x] == b[y] for x, y in pairs)
    assert all(p[0] < q[0] and p[1] < q[1] for p, q in pairwise(pairs))
    if steps == 10**6:
        assert len(pairs) == longest(a, b)


def test_anchors_align_what_takes_too_many_steps() -> None:
    rng = random.Random(7)
    noise = [rng.randrange(5) for _ in range(400)]
    a = [1000 + place if place % 4 == 0 else item for place, item in enumerate(noise)]
    b = [item if item >= 1000 else rng.randrange(5) for item in a]
    pairs = matching_pairs(a, b, Steps(0))
    assert {x for x, y in pairs if a[x] >= 1000} == {place for place, item in enumerate(a) if item >= 1000}


def shown(old: Any, new: Any) -> list[tuple[str, Path]]:
    return [(change.kind, change.path) for change in field_changes(old, new)]


def test_what_is_appended_is_added_and_the_rest_is_not_changed() -> None:
    old = {"messages": [{"text": str(number)} for number in range(200)], "step": 3}
    new = {"messages": [*old["messages"], {"text": "new"}], "step": 4}  # type: ignore[misc]
    assert shown(old, new) == [("added", (Key("messages"), Index(200))), ("changed", (Key("step"),))]
    assert shown(new, old) == [("removed", (Key("messages"), Index(200))), ("changed", (Key("step"),))]


def test_what_changed_within_an_item_is_told_at_its_new_place() -> None:
    old = [{"n": number} for number in range(6)]
    new = [{"n": "first"}, *old[:3], {"n": 3, "extra": 1}, *old[4:]]
    assert shown(old, new) == [("added", (Index(0),)), ("added", (Index(4), Key("extra")))]
    assert shown([1, 2, 3, 4], [2, 3, 4, 5]) == [("removed", (Index(0),)), ("added", (Index(3),))]


def test_a_class_of_another_version_shows_both_version_and_fields() -> None:
    old, new = Unknown("struct:x", 1, b"", {"a": 1}), Unknown("struct:x", 2, b"", {"a": 1, "b": 2})
    assert list(field_changes([old], [new])) == [
        FieldChange((Index(0),), "retyped", 1, 2),
        FieldChange((Index(0), Key("b")), "added", None, 2),
    ]
    other = Unknown("struct:y", 1, b"", {"a": 1})
    assert shown([old], [other]) == [("changed", (Index(0),))]


def test_a_deep_value_takes_no_recursion() -> None:
    def deep(leaf: Any) -> Any:
        for _ in range(20_000):
            leaf = [leaf]
        return leaf

    old, new = deep(1), deep(2)
    (change,) = field_changes(old, new)
    assert len(change.path) == Limits().max_depth
    (change,) = field_changes(old, new, Limits(max_depth=10**6))
    assert (len(change.path), change.old, change.new) == (20_000, 1, 2)
    made = apply_changes(old, [change])
    assert list(field_changes(made, new)) == []
    assert list(field_changes(made, old, Limits(max_depth=10**6))) != []
    while made or old:  # taken apart by hand: freeing 20,000 levels at once is Python's business
        made, old = (made[0] if type(made) is list else None), (old[0] if type(old) is list else None)


def test_what_holds_itself_or_is_too_much_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInputError, match="holds itself"):
        list(field_changes(loop, [1]))
    with pytest.raises(InvalidInputError, match="too many parts"):
        list(field_changes([0] * 60, [1] * 60, Limits(max_values=100)))
    with pytest.raises(InvalidInputError, match="no plain data"):
        list(field_changes([object()], []))
    with pytest.raises(InvalidInputError, match="two NaN"):
        list(field_changes({float("nan"): 1, float("nan"): 2}, {}))


def test_one_part_in_many_places_is_read_once() -> None:
    old: Any = [1]
    for _ in range(60):
        old = [old, old]
    assert list(field_changes(old, old, Limits(max_values=1000))) == []


def test_long_lists_of_noise_end_soon() -> None:
    rng = random.Random(1)
    old, new = ([rng.randrange(3) for _ in range(20_000)] for _ in range(2))
    changes = list(field_changes(old, new, Limits(max_steps=20_000)))
    assert apply_changes(old, changes) == new


@pytest.mark.parametrize(
    "change",
    [
        FieldChange((Key("none"), Key("b")), "changed", 1, 2),
        FieldChange((Key("list"), Index(9)), "changed", 1, 2),
        FieldChange((Key("list"), Index(9)), "added", None, 2),
        FieldChange((), "added", None, 2),
    ],
    ids=repr,
)
def test_a_change_of_what_is_not_there_is_refused(change: FieldChange) -> None:
    with pytest.raises(InvalidInputError):
        apply_changes({"list": [1]}, [change])
