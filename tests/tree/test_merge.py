# SPDX-License-Identifier: MIT
"""``merge``: the three-way merge of three dicts, conflicts included, reading only what differs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.entry import Entry, directory_entry, file_entry, value_entry
from casstore.tree import Conflict, Merge, Nodes, Root, Sides, apply, build, check_tree, merge, scan
from casstore.tree.merge import Choice
from tests.tree.plain import POOL, Content, MemoryRecords, any_file, edited, memory_nodes, states

EMPTY = directory_entry()
A, B, C = (file_entry(1, inline=letter) for letter in (b"a", b"b", b"c"))

# --- the plain merge ------------------------------------------------------------------------------------------------

Plain = tuple[Content, dict[bytes, tuple[str, tuple[bytes, ...]]]]
"""The merged content, with conflicts as our side has them, and kind and keys below of each conflict."""


def is_below(key: bytes, path: bytes) -> bool:
    return key[: len(path) + 1] == path + b"/"


def plain_merge(base: Content, ours: Content, theirs: Content, tree: bool, side: str = "ours") -> Plain:
    """By the definition, over all keys and all pairs of keys; conflicts end as ``side`` has them."""
    sides = {"ours": ours, "theirs": theirs}
    merged: Content = {}
    conflicts: dict[bytes, tuple[str, tuple[bytes, ...]]] = {}
    for key in {*base, *ours, *theirs}:
        old, our, their = base.get(key), ours.get(key), theirs.get(key)
        if our == their or old == their:
            result = our
        elif old == our:
            result = their
        elif tree and EMPTY in (old, our, their) and None in (our, their):
            result = our or their
        else:
            conflicts[key] = ("content", ())
            result = None
        if result is not None:
            merged[key] = result
    if tree:
        # A file on one side with anything on the other side below it, where both can be in the merged tree.
        possible = {*merged, *conflicts}
        for path, key in product(sorted(possible), repeat=2):
            for one, other in ((ours, theirs), (theirs, ours)):
                if is_below(key, path) and path in one and key in other and one[path] != EMPTY:
                    below = tuple(sorted(found for found in other if is_below(found, path)))
                    conflicts[path] = ("path", below)
        for path, (kind, _) in list(conflicts.items()):
            if kind == "path":
                conflicts = {key: found for key, found in conflicts.items() if not is_below(key, path)}
                merged = {key: found for key, found in merged.items() if key != path and not is_below(key, path)}
    for path, (_, below) in conflicts.items():
        merged |= {key: sides[side][key] for key in (path, *below) if key in sides[side]}
    if tree:
        merged = {
            path: entry
            for path, entry in merged.items()
            if entry != EMPTY or not any(is_below(key, path) for key in merged)
        }
    return merged, conflicts


def content_of(nodes: Nodes, root: Root) -> Content:
    return dict(scan(nodes, root))


class Three:
    """Three trees of one record store."""

    def __init__(self, base: Content, ours: Content, theirs: Content, tree: bool) -> None:
        self.nodes, self.records = memory_nodes()
        self.contents = base, ours, theirs
        self.tree = tree
        self.base, self.ours, self.theirs = (
            build(self.nodes, sorted(content.items()), tree=tree) for content in self.contents
        )

    def merge(self) -> Merge:
        return merge(self.nodes, self.base, self.ours, self.theirs, tree=self.tree)

    def mirrored(self) -> Merge:
        return merge(self.nodes, self.base, self.theirs, self.ours, tree=self.tree)

    def merged(self, choose: Callable[[Conflict], Choice] | None = None) -> Content:
        found = self.merge()
        return self.applied(self.ours, found.edits if choose is None else found.resolve(choose))

    def applied(self, root: Root, edits: list[tuple[bytes, Entry | None]]) -> Content:
        """Applies edits, none of which may be in vain."""
        content = content_of(self.nodes, root)
        assert [key for key, _ in edits] == sorted({key for key, _ in edits})
        for key, entry in edits:
            assert content.get(key) != entry
        return content_of(self.nodes, apply(self.nodes, root, edits, tree=self.tree))


def check_against_plain(three: Three) -> None:
    base, ours, theirs = three.contents
    expected, conflicts = plain_merge(base, ours, theirs, three.tree)
    found = three.merge()
    assert three.applied(three.ours, found.edits) == expected
    assert found.resolve(lambda _: "ours") == found.edits
    assert [conflict.key for conflict in found.conflicts] == sorted(conflicts)
    for conflict in found.conflicts:
        kind, below = conflicts[conflict.key]
        assert (conflict.kind, tuple(row.key for row in conflict.below)) == (kind, below)
        assert conflict.other_key == (below[0] if kind == "path" else None)
        for row in (Sides(*conflict[:4]), *conflict.below):
            assert (row.base, row.ours, row.theirs) == (base.get(row.key), ours.get(row.key), theirs.get(row.key))
    # The other side's choice, and the same merge seen from the other side.
    taken = plain_merge(base, ours, theirs, three.tree, "theirs")[0]
    before = found.edits
    assert three.applied(three.ours, found.resolve(lambda _: "theirs")) == taken
    assert found.edits == before
    mirror = three.mirrored()
    assert three.applied(three.theirs, mirror.edits) == taken
    assert three.applied(three.theirs, mirror.resolve(lambda _: "theirs")) == expected
    assert [swapped(conflict) for conflict in mirror.conflicts] == list(found.conflicts)


def swapped(conflict: Conflict) -> Conflict:
    below = tuple(Sides(key, base, theirs, ours) for key, base, ours, theirs in conflict.below)
    return conflict._replace(ours=conflict.theirs, theirs=conflict.ours, below=below)


# --- any keys -------------------------------------------------------------------------------------------------------

some_edits = st.dictionaries(st.sampled_from(POOL), st.one_of(st.none(), st.sampled_from([A, B, EMPTY])), max_size=30)


@given(states, some_edits, some_edits)
def test_merge_is_that_of_three_dicts(base: Content, ours: dict[bytes, Entry | None], theirs: Content) -> None:
    check_against_plain(Three(base, edited(base, ours), edited(base, theirs), False))


@given(states, states, states)
def test_states_with_little_in_common(base: Content, ours: Content, theirs: Content) -> None:
    check_against_plain(Three(base, ours, theirs, False))


@given(states, states)
def test_a_side_that_did_not_change_takes_the_other(base: Content, other: Content) -> None:
    for one, two in ((base, other), (other, base), (other, other)):
        three = Three(base, one, two, False)
        assert three.merge().conflicts == ()
        assert three.merged() == other


# --- directory trees ------------------------------------------------------------------------------------------------

PATHS = [b"a", b"a-b", b"a/b", b"a/b/c", b"a/b/d", b"a/c", b"a0", b"d", b"d/e", b"d/e/f", b"d/g"]


def without_clashes(content: Content) -> Content:
    """Keys that have others below them go, as in every directory tree."""
    return {key: entry for key, entry in content.items() if not any(is_below(other, key) for other in content)}


tree_states = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([A, B, C, EMPTY]), max_size=8).map(
    without_clashes
)


@settings(max_examples=300)
@given(tree_states, tree_states, tree_states)
@example({b"d": EMPTY}, {b"d/g": A}, {b"d": EMPTY})
@example({}, {b"d/g": A}, {b"d": EMPTY})
@example({b"d/g": A}, {b"d": EMPTY}, {b"d/g": B})
@example({b"d/g": A}, {b"d": EMPTY}, {b"d/g": A, b"d/e": B})
@example({b"d": A}, {b"d": EMPTY}, {b"d/g": A})
@example({b"d": A}, {b"d": EMPTY}, {})
@example({b"d": EMPTY}, {b"d": A}, {})
@example({}, {b"d": EMPTY}, {b"d": A})
@example({b"a/b": A}, {b"a": B}, {b"a/b": A, b"a/c": C})
@example({b"a": A}, {b"a": B}, {b"a/b": C})
@example({}, {b"a": A, b"a-b": A}, {b"a/b/c": EMPTY, b"a-b": B})
def test_merge_of_directory_trees(base: Content, ours: Content, theirs: Content) -> None:
    three = Three(base, ours, theirs, True)
    check_against_plain(three)
    choices: tuple[Choice, ...] = (None, C, "theirs")
    for side, choice in product((0, 1), choices):

        def choose(conflict: Conflict, side: int = side, choice: Choice = choice) -> Choice:
            return choice if sum(conflict.key) % 2 == side else "ours"

        merged = three.merged(choose)
        for conflict in three.merge().conflicts:
            chosen = choose(conflict)
            if chosen in ("ours", "theirs"):
                chosen = conflict.ours if chosen == "ours" else conflict.theirs
            assert merged.get(conflict.key) == chosen


@given(tree_states, tree_states)
def test_a_directory_tree_that_did_not_change_takes_the_other(base: Content, other: Content) -> None:
    for one, two in ((base, other), (other, base), (other, other)):
        three = Three(base, one, two, True)
        assert three.merge().conflicts == ()
        assert three.merged() == other


def only(three: Three) -> Conflict:
    (conflict,) = three.merge().conflicts
    return conflict


def test_both_made_the_same_change() -> None:
    three = Three({b"a": A, b"b": A}, {b"a": B, b"c": C}, {b"a": B, b"c": C, b"d": A}, True)
    assert three.merge().edits == [(b"d", A)]
    assert three.merge().conflicts == ()


@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), [(B, C), (None, C), (B, None)])
def test_a_key_that_both_changed(tree: bool, ours: Entry | None, theirs: Entry | None) -> None:
    three = Three({b"k": A}, edited({b"k": A}, {b"k": ours}), edited({b"k": A}, {b"k": theirs}), tree)
    conflict = only(three)
    assert conflict == Conflict(b"k", A, ours, theirs, "content")
    assert three.merge().edits == []
    assert three.merge().resolve(lambda _: "theirs") == [(b"k", theirs)]
    other = value_entry(b"both")
    assert three.merged(lambda _: other) == {b"k": other}
    assert three.merged(lambda _: None) == {}
    assert three.merged(lambda conflict: conflict) == three.contents[1]
    with pytest.raises(InvalidInputError, match="mine"):
        three.merged(lambda _: "mine")  # type: ignore[return-value,arg-type]


def test_a_file_in_the_place_of_a_directory_names_both_keys() -> None:
    base = {b"d/x": A, b"e": A}
    three = Three(base, {b"d": B, b"e": A}, {b"d/x": A, b"d/y": C, b"e": C}, True)
    conflict = only(three)
    assert (conflict.key, conflict.other_key, conflict.kind) == (b"d", b"d/x", "path")
    assert conflict.below == (Sides(b"d/x", A, None, A), Sides(b"d/y", None, None, C))
    assert three.merged() == {b"d": B, b"e": C}
    # Their directory is all of it, also what we had removed.
    assert three.merged(lambda _: "theirs") == {b"d/x": A, b"d/y": C, b"e": C}
    assert three.merged(lambda _: None) == {b"d/x": A, b"d/y": C, b"e": C}
    assert three.merged(lambda _: C) == {b"d": C, b"e": C}
    mirror = Three(base, {b"d/x": A, b"d/y": C, b"e": C}, {b"d": B, b"e": A}, True)
    assert mirror.merge().resolve(lambda _: None) == []
    assert mirror.merged(lambda _: A) == {b"d": A, b"e": C}


def test_a_file_that_became_a_directory_on_one_side_only() -> None:
    three = Three({b"a": A}, {b"a": A, b"b": A}, {b"a/b": B}, True)
    assert three.merge().conflicts == ()
    assert three.merged() == {b"a/b": B, b"b": A}


def test_an_empty_directory_goes_when_the_other_side_fills_it() -> None:
    for ours, theirs in (({b"d": EMPTY}, {b"d/x": A}), ({b"d/x": A}, {b"d": EMPTY})):
        for base in ({}, {b"d": EMPTY}, {b"d": B}, {b"d/y": B}):
            three = Three(base, ours, theirs, True)
            assert three.merge().conflicts == ()
            assert three.merged() == {b"d/x": A}


def test_an_empty_directory_waits_for_the_conflict_below_it() -> None:
    three = Three({b"d/x": A}, {b"d": EMPTY}, {b"d/x": B}, True)
    assert only(three) == Conflict(b"d/x", A, None, B, "content")
    assert three.merged() == {b"d": EMPTY}
    assert three.merged(lambda _: "theirs") == {b"d/x": B}
    mirror = Three({b"d/x": A}, {b"d/x": B}, {b"d": EMPTY}, True)
    assert mirror.merged() == {b"d/x": B}
    assert mirror.merged(lambda _: "theirs") == {b"d": EMPTY}
    assert mirror.merged(lambda _: None) == {b"d": EMPTY}


def test_the_last_key_of_a_directory_goes_on_both_sides() -> None:
    three = Three({b"d/x": A, b"d/y": A}, {b"d/x": A}, {b"d/y": A}, True)
    assert three.merge().conflicts == ()
    assert three.merged() == {}


def test_keys_that_only_begin_alike_do_not_clash() -> None:
    three = Three({}, {b"a": A, b"b/c": A}, {b"a-b": A, b"a0": A, b"b": EMPTY, b"b-c": A}, True)
    assert three.merge().conflicts == ()
    assert set(three.merged()) == {b"a", b"a-b", b"a0", b"b/c", b"b-c"}


def test_paths_are_no_matter_in_other_maps() -> None:
    assert Three({}, {b"a": A}, {b"a/b": B}, False).merged() == {b"a": A, b"a/b": B}
    assert Three({}, {b"a": EMPTY}, {b"a/b": B}, False).merged() == {b"a": EMPTY, b"a/b": B}
    three = Three({}, {b"a": A}, {b"a/b": B, b"a": A}, False)
    assert three.merged() == {b"a": A, b"a/b": B}
    assert only(Three({b"a": A}, {b"a": EMPTY}, {}, False)).kind == "content"


# --- cost -----------------------------------------------------------------------------------------------------------

LARGE = {b"dir%02d/file%05d" % (number % 50, number): any_file(number) for number in range(20_000)}


@pytest.fixture(scope="module")
def large() -> tuple[Address, MemoryRecords]:
    nodes, records = memory_nodes()
    root = build(nodes, sorted(LARGE.items()), tree=True)
    assert root is not None
    return root, records


def change(nodes: Nodes, root: Root, chance: random.Random, count: int) -> Iterator[tuple[bytes, Entry | None]]:
    for key in sorted(chance.sample(sorted(LARGE), count)):
        if chance.random() < 0.2:
            yield key + b"x", any_file(chance.randrange(999))
        else:
            yield key, chance.choice([None, any_file(chance.randrange(999))])


@pytest.mark.parametrize("count", [1, 10, 100])
def test_merge_reads_only_what_differs(large: tuple[Address, MemoryRecords], count: int) -> None:
    base, records = large
    nodes, _ = memory_nodes(records)
    chance = random.Random(count)
    ours = apply(nodes, base, change(nodes, base, chance, count))
    theirs = apply(nodes, base, change(nodes, base, chance, count))
    height = nodes.get(base).height
    nodes.clear()
    records.reads = 0
    found = merge(nodes, base, ours, theirs, tree=True)
    assert records.reads <= 3 * (2 * count * 2 * height + 1)
    contents = [content_of(nodes, root) for root in (base, ours, theirs)]
    expected, conflicts = plain_merge(contents[0], contents[1], contents[2], False)
    merged = apply(nodes, ours, found.edits, tree=True)
    assert content_of(nodes, merged) == expected
    assert [conflict.key for conflict in found.conflicts] == sorted(conflicts)
    check_tree(nodes, merged, tree=True)


def test_sides_that_agree_read_nothing(large: tuple[Address, MemoryRecords]) -> None:
    base, records = large
    nodes, _ = memory_nodes(records)
    other = apply(nodes, base, [(b"new", A)])
    nodes.clear()
    records.reads = 0
    assert merge(nodes, base, other, other).edits == []
    assert merge(nodes, base, other, base).edits == []
    assert merge(nodes, None, None, None).edits == []
    assert records.reads == 0
    assert merge(nodes, base, base, other).edits == [(b"new", A)]


def test_a_change_that_both_made_costs_nothing(large: tuple[Address, MemoryRecords]) -> None:
    """Both sides moved far from the base together: only what lies between them is read."""
    base, records = large
    nodes, _ = memory_nodes(records)
    both = apply(nodes, base, [(key, A) for key in sorted(LARGE)[::2]])
    ours = apply(nodes, both, [(b"dir10/ours", A)])
    theirs = apply(nodes, both, [(b"dir40/theirs", A)])
    nodes.clear()
    records.reads = 0
    assert merge(nodes, base, ours, theirs, tree=True).edits == [(b"dir40/theirs", A)]
    assert records.reads <= 6 * (nodes.get(base).height + 1)


def test_a_missing_node_is_named(large: tuple[Address, MemoryRecords]) -> None:
    base, records = large
    nodes, _ = memory_nodes(MemoryRecords(records.records))
    key = sorted(LARGE)[0]
    ours, theirs = apply(nodes, base, [(key, A)]), apply(nodes, base, [(key, B)])
    victim = nodes.get(base).children[0]
    del nodes.records.records[victim]  # type: ignore[attr-defined]
    nodes.clear()
    with pytest.raises(NotFoundError) as caught:
        merge(nodes, base, ours, theirs)
    assert caught.value.address == victim
