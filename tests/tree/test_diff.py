# SPDX-License-Identifier: MIT
"""``diff``: the changes of two dicts in key order, that ``apply`` takes back, reading only what differs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given

from casstore.tree import Change, Root, apply, build, diff
from tests.tree.plain import (
    POOL,
    Content,
    MemoryRecords,
    any_file,
    edit_batches,
    edited,
    keys_of_level,
    memory_nodes,
    states,
)


def changes(a: Content, b: Content) -> list[Change]:
    return [Change(key, a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)]


@given(states, states)
def test_diff_is_that_of_two_dicts(a: Content, b: Content) -> None:
    nodes, _ = memory_nodes()
    one, two = build(nodes, sorted(a.items())), build(nodes, sorted(b.items()))
    found = list(diff(nodes, one, two))
    assert found == changes(a, b)
    assert apply(nodes, one, [(key, new) for key, _, new in found]) == two
    assert apply(nodes, two, [(key, old) for key, old, _ in found]) == one
    assert list(diff(nodes, two, one)) == [Change(key, new, old) for key, old, new in found]


@given(states, edit_batches)
def test_diff_finds_the_edits(content: Content, edits: dict[bytes, object]) -> None:
    after = edited(content, edits)  # type: ignore[arg-type]
    nodes, _ = memory_nodes()
    one, two = build(nodes, sorted(content.items())), build(nodes, sorted(after.items()))
    assert list(diff(nodes, one, two)) == changes(content, after)


def test_diff_of_equal_roots_reads_nothing() -> None:
    nodes, records = memory_nodes()
    root = build(nodes, [(key, any_file(0)) for key in sorted(POOL)])
    assert list(diff(nodes, root, root)) == []
    assert list(diff(nodes, None, None)) == []
    assert records.reads == 0


LARGE = {b"dir%02d/file%05d" % (number % 50, number): any_file(number) for number in range(20_000)}


@pytest.fixture(scope="module")
def large() -> tuple[Root, MemoryRecords]:
    nodes, records = memory_nodes()
    return build(nodes, sorted(LARGE.items())), records


@pytest.mark.parametrize("count", [1, 2, 10, 100])
def test_diff_reads_only_the_paths_to_what_changed(large: tuple[Root, MemoryRecords], count: int) -> None:
    root, records = large
    nodes, _ = memory_nodes(records)
    some = random.Random(count).sample(sorted(LARGE), count)
    other = apply(nodes, root, [(key, any_file(77_777)) for key in sorted(some)])
    assert root is not None
    height = nodes.get(root).height
    nodes.clear()
    records.reads = 0
    assert [change.key for change in diff(nodes, root, other)] == sorted(some)
    assert records.reads <= 2 * (count * height + 1)


def test_inserted_and_removed_keys_cost_little_more(large: tuple[Root, MemoryRecords]) -> None:
    root, records = large
    chance = random.Random(1)
    for key in [
        *keys_of_level(0, 10, b"dir2%d/x%d"),
        *keys_of_level(1, 10, b"dir2%d/x%d"),
        *chance.sample(sorted(LARGE), 20),
    ]:
        nodes, _ = memory_nodes(records)
        edit = None if key in LARGE else any_file(1)
        other = apply(nodes, root, [(key, edit)])
        assert root is not None
        height = nodes.get(root).height
        nodes.clear()
        records.reads = 0
        assert list(diff(nodes, root, other)) == [Change(key, LARGE.get(key), edit)]
        assert records.reads <= 4 * (height + 1)


def test_trees_of_different_heights_share_what_they_can(large: tuple[Root, MemoryRecords]) -> None:
    """Another level on top (one key of a high level at the end) changes the path to it and nothing else."""
    root, records = large
    nodes, _ = memory_nodes(records)
    assert root is not None
    height = nodes.get(root).height
    boundary = keys_of_level(height + 1, 1, b"z%d/%d")[0] if height < 4 else keys_of_level(4, 1, b"z%d/%d")[0]
    other = apply(nodes, root, [(boundary, any_file(1)), (b"zz", any_file(1))])
    assert other is not None
    assert nodes.get(other).height == height + 1
    nodes.clear()
    records.reads = 0
    assert [change.key for change in diff(nodes, root, other)] == [boundary, b"zz"]
    assert records.reads <= 4 * (height + 2)


def test_one_side_may_be_the_beginning_or_the_end_of_the_other() -> None:
    content = {key: any_file(0) for key in POOL}
    nodes, _ = memory_nodes()
    whole = build(nodes, sorted(content.items()))
    assert whole is not None
    for child in (nodes.get(whole).children[0], nodes.get(whole).children[-1]):
        part: Content = {}
        stack = [child]
        while stack:
            node = nodes.get(stack.pop())
            stack += node.children
            if not node.height:
                part |= {key: node.entry(i) for i, key in enumerate(node.keys)}
        assert list(diff(nodes, child, whole)) == changes(part, content)
        assert list(diff(nodes, whole, child)) == changes(content, part)


def test_equal_subtrees_are_never_opened() -> None:
    """Every record that two trees share may be missing, and their diff still comes out, but for the way down."""
    content = {b"%05d" % number: any_file(number) for number in range(5000)}
    nodes, records = memory_nodes()
    one = build(nodes, sorted(content.items()))
    shared = set(records.records)
    two = apply(nodes, one, [(b"02500", any_file(9))])
    fresh = set(records.records) - shared
    nodes.clear()
    used = MemoryRecords(records.records)
    assert len(list(diff(memory_nodes(used)[0], one, two))) == 1
    assert used.reads == 2 * len(fresh)
