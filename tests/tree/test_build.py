# SPDX-License-Identifier: MIT
"""``build``: the tree is the one of the definition, in bounded memory, and refuses what no tree can hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given

from casstore.errors import InvalidInputError
from casstore.format.entry import Entry, encode_entry, file_entry, value_entry
from casstore.tree import Summary, build, check_tree, scan, summary
from tests.tree.plain import POOL, Content, any_file, keys_of_level, memory_nodes, plain_tree, states

# The root of `golden_content()`. On disk for ever: a change here is a new format.
GOLDEN_ROOT = "b2051352358113cb5836fbe85bc11d604615e3142c7bb6c9ca575e42d25bd543"


def golden_content() -> Content:
    content = {b"dir/file%04d" % number: any_file(number, number % 5 == 0) for number in range(2000)}
    content[b"inline"] = file_entry(5, inline=b"hello")
    return content


@given(states)
def test_build_makes_the_tree_of_the_definition(content: Content) -> None:
    nodes, records = memory_nodes()
    root = build(nodes, sorted(content.items()))
    expected, found = plain_tree(content)
    assert root == expected
    assert records.records == found  # nothing above the root, and nothing left out
    assert summary(nodes, root) == Summary(
        len(content),
        sum(entry.kind in (1, 2) for entry in content.values()),
        sum(entry.size for entry in content.values() if entry.kind in (1, 2, 6)),
    )
    check_tree(nodes, root)


@pytest.mark.parametrize("count", [1, 2, 2047, 2048, 2049, 10_000])
def test_build_agrees_with_the_definition_around_its_batches(count: int) -> None:
    content = {b"p/%06d" % number: any_file(number) for number in range(count)}
    nodes, records = memory_nodes()
    assert (build(nodes, sorted(content.items())), records.records) == plain_tree(content)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("at", [2047, 2048])
def test_a_boundary_at_the_end_of_a_batch_ends_its_node(level: int, at: int) -> None:
    keys = sorted(keys_of_level(0, 1800) + keys_of_level(1, 400) + keys_of_level(2, 20))
    boundary = keys_of_level(level, 1, b"e%d/k%d")[0]
    content = dict.fromkeys([*keys[:at], boundary], any_file(1)) | {b"z/z": any_file(2)}
    nodes, records = memory_nodes()
    assert (build(nodes, sorted(content.items())), records.records) == plain_tree(content)


def test_the_root_is_pinned() -> None:
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(golden_content().items()))
    assert root is not None
    assert root.hex() == GOLDEN_ROOT


def test_nothing_is_the_empty_map() -> None:
    nodes, records = memory_nodes()
    assert build(nodes, []) is None
    assert summary(nodes, None) == (0, 0, 0)
    assert records.records == {}


def test_entries_may_come_encoded() -> None:
    nodes, _ = memory_nodes()
    items = sorted(golden_content().items())
    assert build(nodes, [(key, encode_entry(entry)) for key, entry in items]) == build(nodes, items)
    with pytest.raises(InvalidInputError):
        build(nodes, [(b"a", b"\x01\x80")])


def test_items_may_be_a_generator_and_nodes_are_written_as_it_runs() -> None:
    nodes, records = memory_nodes()
    written: list[int] = []

    def items() -> Iterator[tuple[bytes, Entry]]:
        for number in range(20_000):
            written.append(records.writes)
            yield b"%06d" % number, any_file(number)

    build(nodes, items())
    assert written[10_000] > 300


@pytest.mark.parametrize(
    "keys",
    [
        [b"b", b"a"],
        [b"a", b"a"],
        [b""],
        [b"/a"],
        [b"a/"],
        [b"a//b"],
        [b"."],
        [b"a/.."],
        [b"../a"],
        [b"a/./b"],
        [b"a\0b"],
        [b"a" * 4097],
        [b"a/" * 2048 + b"aa"],
    ],
)
def test_build_refuses_a_key_that_is_no_path(keys: list[bytes]) -> None:
    nodes, records = memory_nodes()
    with pytest.raises(InvalidInputError):
        build(nodes, [(key, any_file(0)) for key in keys])
    assert records.records == {}


def test_odd_names_are_keys() -> None:
    nodes, _ = memory_nodes()
    keys = sorted([b"...", b".a", b"a./b", b"..a/b", b"\xff\xfe", b"a\nb", b"a" * 4096, b"a\\b", b"c/.d/..e"])
    root = build(nodes, [(key, any_file(0)) for key in keys], tree=True)
    assert [key for key, _ in scan(nodes, root)] == keys


def test_order_is_checked_from_one_batch_to_the_next() -> None:
    nodes, _ = memory_nodes()
    keys = [b"%06d" % number for number in range(2048)]
    with pytest.raises(InvalidInputError):
        build(nodes, [(key, any_file(0)) for key in [*keys, keys[-1]]])


@pytest.mark.parametrize(("count", "fits"), [(1024, True), (1025, False), (3000, False)])
def test_a_node_holds_64_q_entries(count: int, fits: bool) -> None:
    items = [(key, any_file(0)) for key in sorted(keys_of_level(0, count))]
    nodes, _ = memory_nodes()
    if fits:
        assert summary(nodes, build(nodes, items)).entries == count
    else:
        with pytest.raises(InvalidInputError, match="boundary"):
            build(nodes, items)


def test_an_inner_node_holds_64_q_entries() -> None:
    items = [(key, any_file(0)) for key in sorted(keys_of_level(1, 1025))]
    nodes, _ = memory_nodes()
    with pytest.raises(InvalidInputError, match="boundary"):
        build(nodes, items)


def test_a_node_stays_below_the_limit_of_a_record() -> None:
    items = [(key, value_entry(bytes(65536))) for key in sorted(keys_of_level(0, 257))]
    nodes, _ = memory_nodes()
    with pytest.raises(InvalidInputError, match="limit"):
        build(nodes, items)


def test_sizes_that_add_up_beyond_the_format_are_refused() -> None:
    huge = file_entry((1 << 63) - 1, any_file(0).address)
    nodes, _ = memory_nodes()
    assert summary(nodes, build(nodes, [(b"a", huge)])).bytes == (1 << 63) - 1
    with pytest.raises(InvalidInputError):
        build(nodes, [(key, huge) for key in sorted(POOL)])
