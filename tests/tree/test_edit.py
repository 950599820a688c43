# SPDX-License-Identifier: MIT
"""``apply``: equal to building the edited content anew, whatever the order, and touching little."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.entry import Entry, encode_entry
from casstore.tree import Nodes, Root, apply, build, check_tree, lookup, walk_nodes
from tests.tree.plain import (
    POOL,
    Content,
    MemoryRecords,
    any_file,
    edit_batches,
    edited,
    keys_of_level,
    memory_nodes,
    plain_tree,
    states,
    zeros,
)

LARGE = {b"dir%02d/file%05d" % (number % 50, number): any_file(number) for number in range(20_000)}


def build_large() -> tuple[Address, dict[bytes, bytes]]:
    nodes, records = memory_nodes()
    root = build(nodes, sorted(LARGE.items()))
    assert root is not None
    return root, records.records


LARGE_ROOT, LARGE_RECORDS = build_large()


def large_nodes() -> tuple[Nodes, MemoryRecords]:
    return memory_nodes(MemoryRecords(LARGE_RECORDS))


@given(states, st.lists(edit_batches, max_size=4))
def test_apply_equals_building_anew(content: Content, batches: list[dict[bytes, Entry | None]]) -> None:
    nodes, records = memory_nodes()
    root = build(nodes, sorted(content.items()))
    for edits in batches:
        before, kept = root, dict(records.records)
        root = apply(nodes, root, sorted(edits.items()))
        content = edited(content, edits)
        expected, found = plain_tree(content)
        assert root == expected
        assert found.items() <= records.records.items()
        assert kept.items() <= records.records.items()
        assert apply(nodes, before, sorted(edits.items())) == root
        # Nodes that were put together equal nodes that were decoded.
        for address, node in walk_nodes(nodes, root):
            kept_node = nodes.get(address)
            assert list(kept_node.offsets) == list(node.offsets)
            assert (kept_node.keys, kept_node.children, kept_node.summary) == (node.keys, node.children, node.summary)
            assert (kept_node.raw, kept_node.height, kept_node.cost_bytes) == (node.raw, node.height, node.cost_bytes)


@given(states, st.randoms(use_true_random=False))
def test_the_root_does_not_depend_on_the_order_of_edits(content: Content, chance: random.Random) -> None:
    items = list(content.items())
    chance.shuffle(items)
    extra = [key for key in POOL if key not in content][:10]
    nodes, _ = memory_nodes()
    root: Root = None
    for key in extra:
        root = apply(nodes, root, [(key, any_file(9))])
    for key, entry in items:
        root = apply(nodes, root, [(key, entry)])
    for key in extra:
        root = apply(nodes, root, [(key, None)])
    assert root == plain_tree(content)[0]


@pytest.mark.parametrize("count", [1, 10, 100, 3000])
def test_apply_agrees_on_a_large_tree(count: int) -> None:
    chance = random.Random(count)
    nodes, _ = large_nodes()
    present = sorted(LARGE)
    edits: dict[bytes, Entry | None] = {}
    for _ in range(count):
        key = chance.choice(present) if chance.random() < 0.7 else b"dir%02d/new%d" % (chance.randrange(60), count)
        edits[key] = chance.choice([None, any_file(chance.randrange(99))])
    root = apply(nodes, LARGE_ROOT, sorted(edits.items()))
    assert root == plain_tree(edited(LARGE, edits))[0]
    check_tree(nodes, root)


@pytest.mark.parametrize("count", [127, 128, 129, 1023])
def test_a_large_node_is_put_together_as_it_is_decoded(count: int) -> None:
    """The node's own count takes a second byte from 128 on."""
    keys = sorted(keys_of_level(0, count))
    nodes, _ = memory_nodes()
    root = build(nodes, [(key, any_file(0)) for key in keys[1:]])
    root = apply(nodes, root, [(keys[0], any_file(1))])
    assert root is not None
    assert list(nodes.get(root).offsets) == list(nodes.read(root).offsets)
    assert [nodes.get(root).entry(i) for i in range(count)] == [any_file(1)] + [any_file(0)] * (count - 1)


def test_removing_everything_leaves_the_empty_map() -> None:
    content = {key: any_file(1) for key in POOL}
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(content.items()))
    assert apply(nodes, root, [(key, None) for key in sorted(POOL)]) is None
    assert apply(nodes, None, [(b"a", None)]) is None


def test_edits_that_change_nothing_write_nothing() -> None:
    nodes, records = large_nodes()
    some = sorted(LARGE)[::500]
    same: list[tuple[bytes, Entry | None]] = [(key, LARGE[key]) for key in some]
    assert apply(nodes, LARGE_ROOT, same) == LARGE_ROOT
    assert apply(nodes, LARGE_ROOT, [(key + b"x", None) for key in some]) == LARGE_ROOT
    assert apply(nodes, LARGE_ROOT, []) == LARGE_ROOT
    assert records.writes == 0


def test_a_changed_value_reads_and_writes_one_node_per_level() -> None:
    height = large_nodes()[0].get(LARGE_ROOT).height
    assert height >= 3
    for key in sorted(LARGE)[::997]:
        nodes, records = large_nodes()
        apply(nodes, LARGE_ROOT, [(key, any_file(77_777))])
        assert records.reads == height + 1
        assert records.writes == height + 1


def test_inserting_and_removing_touch_few_nodes() -> None:
    chance = random.Random(3)
    boundaries = [key for key in LARGE if zeros(key)]
    assert len(boundaries) > 1000
    for _ in range(60):
        nodes, records = large_nodes()
        height = nodes.get(LARGE_ROOT).height
        key = b"dir%02d/new%d" % (chance.randrange(50), chance.randrange(10**6))
        apply(nodes, LARGE_ROOT, [(key, any_file(1))])
        assert records.reads == height + 1
        assert records.writes <= height + 1 + zeros(key)
        nodes, records = large_nodes()
        apply(nodes, LARGE_ROOT, [(chance.choice(boundaries), None)])
        assert records.reads <= 2 * (height + 1)
        assert records.writes <= height + 1


def test_a_batch_touches_changes_times_height() -> None:
    nodes, records = large_nodes()
    some = random.Random(4).sample(sorted(LARGE), 40)
    height = nodes.get(LARGE_ROOT).height
    apply(nodes, LARGE_ROOT, [(key, any_file(77_777)) for key in sorted(some)])
    assert records.reads <= 40 * height + 1
    assert records.writes <= 40 * height + 1


def test_entries_may_come_encoded() -> None:
    nodes, _ = memory_nodes()
    root = build(nodes, [(b"a", any_file(1))])
    one = apply(nodes, root, [(b"b", encode_entry(any_file(2)))])
    assert one == apply(nodes, root, [(b"b", any_file(2))])
    assert lookup(nodes, one, b"b") == any_file(2)
    for start in (root, None):
        with pytest.raises(InvalidInputError):
            apply(nodes, start, [(b"b", b"\x09")])


@pytest.mark.parametrize("keys", [[b"b", b"a"], [b"a", b"a"], [b""], [b"a//b"], [b"a/../b"], [b"a\0"]])
@pytest.mark.parametrize("entry", [any_file(1), None])
def test_apply_refuses_keys_that_build_refuses(keys: list[bytes], entry: Entry | None) -> None:
    nodes, records = memory_nodes()
    root = build(nodes, [(b"k", any_file(1))])
    writes = records.writes
    for start in (root, None):
        with pytest.raises(InvalidInputError):
            apply(nodes, start, [(key, entry) for key in keys])
    assert records.writes == writes


def test_apply_refuses_a_node_that_grows_beyond_64_q() -> None:
    keys = sorted(keys_of_level(0, 1025))
    nodes, _ = memory_nodes()
    root = build(nodes, [(key, any_file(0)) for key in keys[:-1]])
    with pytest.raises(InvalidInputError, match="boundary"):
        apply(nodes, root, [(keys[-1], any_file(0))])


def test_a_missing_node_is_named() -> None:
    nodes, records = large_nodes()
    victim = nodes.get(LARGE_ROOT).children[0]
    del records.records[victim]
    with pytest.raises(NotFoundError) as caught:
        apply(nodes, LARGE_ROOT, [(sorted(LARGE)[0], None)])
    assert caught.value.address == victim
