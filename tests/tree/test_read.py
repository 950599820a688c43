# SPDX-License-Identifier: MIT
"""``lookup``, ``scan``, ``first_key``, ``summary`` and ``walk_nodes`` against a dict and a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.entry import Entry, file_entry, object_entry, snapshot_entry, symlink_entry, value_entry
from casstore.format.node import encode_child, encode_node
from casstore.tree import Summary, apply, build, diff, first_key, lookup, scan, summary, walk_nodes
from tests.tree.plain import POOL, Content, any_file, keys_of_level, memory_nodes, plain_tree, states

places = st.one_of(
    st.sampled_from(POOL), st.sampled_from(POOL).map(lambda key: key[:-1]), st.just(b""), st.just(b"\xff")
)


@given(states, st.lists(places, max_size=20))
def test_lookup_is_that_of_a_dict(content: Content, probes: list[bytes]) -> None:
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(content.items()))
    for key in [*content, *probes]:
        assert lookup(nodes, root, key) == content.get(key)
        assert first_key(nodes, root, key) == min((other for other in content if other >= key), default=None)


@given(states, places, st.none() | places, st.sampled_from([b"", b"d", b"d3/", b"d3/k1", b"zz", b"\xff", b"d\xff"]))
def test_scan_is_a_slice_of_the_sorted_items(content: Content, start: bytes, stop: bytes | None, prefix: bytes) -> None:
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(content.items()))
    assert list(scan(nodes, root, start, stop, prefix)) == [
        (key, entry)
        for key, entry in sorted(content.items())
        if key >= start and (stop is None or key < stop) and key.startswith(prefix)
    ]


def test_scan_goes_straight_to_its_place() -> None:
    keys = [b"%02d/%05d" % (number % 100, number) for number in range(20_000)]
    nodes, records = memory_nodes()
    root = build(nodes, [(key, any_file(0)) for key in sorted(keys)])
    assert root is not None
    height = nodes.get(root).height
    nodes.clear()
    records.reads = 0
    assert len(list(scan(nodes, root, prefix=b"50/0505"))) == 1
    assert records.reads <= 2 * height + 1
    nodes.clear()
    records.reads = 0
    assert next(scan(nodes, root, start=b"77/"))[0] == b"77/00077"
    assert records.reads == height + 1
    nodes.clear()
    records.reads = 0
    assert list(scan(nodes, root, start=b"5", stop=b"5")) == []
    assert records.reads == 0
    assert summary(nodes, root) == (20_000, 20_000, 20_000 * 1000)
    assert records.reads == 1


def test_a_prefix_of_high_bytes_ends_where_it_should() -> None:
    keys = [b"a", b"\xfe", b"\xff", b"\xff\xff", b"\xff\xffa"]
    nodes, _ = memory_nodes()
    root = build(nodes, [(key, any_file(0)) for key in keys])
    assert [key for key, _ in scan(nodes, root, prefix=b"\xff")] == keys[2:]
    assert [key for key, _ in scan(nodes, root, prefix=b"\xff\xff")] == keys[3:]


@given(states)
def test_walk_meets_each_node_once_and_skips_what_it_is_told(content: Content) -> None:
    nodes, records = memory_nodes()
    root = build(nodes, sorted(content.items()))
    expected = plain_tree(content)[1]
    nodes.clear()
    walked = list(walk_nodes(nodes, root))
    assert {address: node.raw for address, node in walked} == expected
    assert len(walked) == len(expected) == len({address for address, _ in walked})
    assert nodes.used_bytes == 0
    for _, node in walked:
        references = [node.entry(i).address for i in range(len(node.keys))] if node.height == 0 else []
        assert sorted(node.references) == sorted(address for address in references if address)

    seen: set[Address] = set()

    def skip(address: Address) -> bool:
        fresh = address not in seen
        seen.add(address)
        return not fresh

    assert len(list(walk_nodes(nodes, root, skip))) == len(expected)
    records.reads = 0
    assert list(walk_nodes(nodes, root, skip)) == []
    assert records.reads == 0


def test_walk_leaves_out_the_subtrees_that_two_trees_share() -> None:
    nodes, records = memory_nodes()
    one = build(nodes, [(b"%05d" % number, any_file(number)) for number in range(5000)])
    old = set(records.records)
    two = apply(nodes, one, [(b"02500", any_file(9))])
    walked = [address for address, _ in walk_nodes(nodes, two, old.__contains__)]
    assert set(walked) == set(records.records) - old
    assert len(walked) == nodes.get(walked[0]).height + 1


def test_references_tell_contents_from_snapshots() -> None:
    addresses = [content_address(b"%d" % number) for number in range(4)]
    content: list[tuple[bytes, Entry]] = [
        (b"a", file_entry(200, addresses[0])),
        (b"b", file_entry(3, inline=b"abc")),
        (b"c", object_entry("json", 300, 5000, addresses[1])),
        (b"d", object_entry("json", 1, 2, inline=b"{}")),
        (b"e", snapshot_entry(addresses[2])),
        (b"f", symlink_entry(128, addresses[3])),
        (b"g", value_entry(b"\x01" * 200)),
    ]
    nodes, _ = memory_nodes()
    root = build(nodes, content)
    ((_, node),) = walk_nodes(nodes, root)
    assert node.contents == [addresses[0], addresses[1], addresses[3]]
    assert node.snapshots == [addresses[2]]
    assert node.references == [*node.contents, *node.snapshots]
    assert node.children == []


@pytest.mark.parametrize(("height", "named"), [(2, b""), (1, b"z")])
def test_a_child_that_is_not_what_its_parent_says_is_found(height: int, named: bytes) -> None:
    first, second = sorted(keys_of_level(1, 2))
    nodes, _ = memory_nodes()
    leaves = [nodes.put(plain_tree({key: any_file(0)})[1].popitem()[1]) for key in (first, second)]
    count = Summary(1, 1, 1000)
    chunks = [encode_child(first, leaves[0], count), encode_child(named or second, leaves[1], count)]
    root = nodes.put(encode_node(height, chunks))
    for read in (
        lambda: lookup(nodes, root, second),
        lambda: list(scan(nodes, root)),
        lambda: list(walk_nodes(nodes, root)),
        lambda: list(diff(nodes, root, leaves[0])),
        lambda: apply(nodes, root, [(second, None)]),
    ):
        with pytest.raises(CorruptionError) as caught:
            read()
        assert caught.value.address in leaves


def test_a_missing_node_is_not_found() -> None:
    nodes, records = memory_nodes()
    root = build(nodes, [(key, any_file(0)) for key in sorted(POOL)])
    assert root is not None
    gone = nodes.get(root).children[-1]
    del records.records[gone]
    nodes.clear()
    for read in (lambda: list(scan(nodes, root)), lambda: list(walk_nodes(nodes, root))):
        with pytest.raises(NotFoundError) as caught:
            read()
        assert caught.value.address == gone


def test_damaged_bytes_are_named_by_their_address() -> None:
    nodes, records = memory_nodes()
    root = build(nodes, [(b"a", any_file(0))])
    assert root is not None
    records.records[root] += b"x"
    with pytest.raises(CorruptionError) as caught:
        lookup(nodes, root, b"a")
    assert caught.value.address == root
