# SPDX-License-Identifier: MIT
"""Nodes: what was encoded comes back, and no other bytes are taken for a node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import content_address, node_address
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError
from casstore.format.entry import encode_entry, file_entry, object_entry
from casstore.format.key import BOUNDARY_LIMIT, Q, key_level, keys_problem, tree_problem
from casstore.format.node import (
    MAX_NODE_ENTRIES,
    Node,
    Summary,
    check_node,
    decode_node,
    encode_child,
    encode_node,
    join_key,
)
from tests.tree.plain import POOL, Content, keys_of_level, plain_tree, states, zeros

SOME = content_address(b"some")


def reencoded(node: Node) -> bytes:
    if node.height:
        chunks = [encode_child(key, node.children[i], node.child_summary(i)) for i, key in enumerate(node.keys)]
    else:
        chunks = [join_key(key, encode_entry(node.entry(i))) for i, key in enumerate(node.keys)]
    return encode_node(node.height, chunks)


@given(states)
def test_a_node_comes_back_as_it_was(content: Content) -> None:
    root, found = plain_tree(content)
    for address, raw in found.items():
        node = decode_node(raw)
        assert node_address(raw) == address
        assert reencoded(node) == node.raw == raw
        assert b"".join(node.chunks()) == raw[node.offsets[0] :]
        assert [node.chunk(i) for i in range(len(node.keys))] == node.chunks()
        if node.height:
            assert [found[child] for child in node.children]
            parts = [node.child_summary(i) for i in range(len(node.keys))]
            assert parts == [decode_node(found[child]).summary for child in node.children]
            assert node.summary == tuple(map(sum, zip(*parts)))
        else:
            assert {key: node.entry(i) for i, key in enumerate(node.keys)}.items() <= content.items()
        if address == root:
            assert node.summary.entries == len(content)
        check_node(node)


def test_a_node_is_pinned() -> None:
    """The worked example of docs/format.md."""
    address = content_address(b"large")
    chunks = [
        join_key(b"README", encode_entry(file_entry(5, inline=b"hello"))),
        join_key(b"bin/run", encode_entry(file_entry(70_000, address, executable=True))),
        join_key(b"state", encode_entry(object_entry("json", 1, 2, inline=b"{}"))),
    ]
    raw = encode_node(0, chunks)
    assert raw.hex() == (
        "010003"
        "06524541444d45010568656c6c6f"
        "0762696e2f72756e02f0a2046d7c674e5919ac828992537064a1efe41e7cbcb0505ec07fea06c64c9935a8d4"
        "05737461746506046a736f6e01027b7d"
    )  # fmt: skip
    assert node_address(raw).hex() == "931ee0f8666edc2d1ac0e82a611b55917bd16436f57cc9c8642b75a5805f4e2a"
    node = decode_node(raw)
    assert node.summary == Summary(3, 2, 70_007)
    top = encode_node(1, [encode_child(b"state", node_address(raw), node.summary)])
    assert top.hex() == "010101057374617465" + node_address(raw).hex() + "0302f7a204"
    assert decode_node(top).summary == node.summary


def test_the_rule_of_levels_is_pinned() -> None:
    assert (Q, BOUNDARY_LIMIT, MAX_NODE_ENTRIES) == (16, 16, 1024)
    for key in POOL:
        assert key_level(key) == zeros(key)
    assert max(map(key_level, POOL)) == 3


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: b"\x01" + rest))
def test_any_bytes_are_a_node_in_its_one_form_or_an_error(data: bytes) -> None:
    try:
        node = decode_node(data)
    except CasstoreError:
        return
    assert reencoded(node) == data


SAMPLES = [
    raw
    for content in (
        {b"a": file_entry(3, inline=b"abc"), b"b/c": file_entry(300, SOME), b"d": object_entry("t", 1, 1 << 30, SOME)},
        {b"k" * 130: file_entry(1 << 20, SOME, executable=True), b"l": file_entry(128, SOME)},
        {key: file_entry(200, SOME) for key in keys_of_level(1, 5)},
    )
    for raw in plain_tree(content)[1].values()
]  # fmt: skip


@pytest.mark.parametrize("raw", SAMPLES, ids=range(len(SAMPLES)))
def test_every_changed_byte_gives_a_node_in_its_one_form_or_an_error(raw: bytes) -> None:
    refused = 0
    for at in range(len(raw)):
        for value in {0, 1, 46, 47, 127, 128, 255, raw[at] ^ 1, raw[at] ^ 128} - {raw[at]}:
            changed = raw[:at] + bytes((value,)) + raw[at + 1 :]
            try:
                node = decode_node(changed)
            except CasstoreError:
                refused += 1
                continue
            assert reencoded(node) == changed
            assert all(node.summary)
    assert refused > 20


@pytest.mark.parametrize("raw", SAMPLES, ids=range(len(SAMPLES)))
def test_every_cut_is_found(raw: bytes) -> None:
    for end in range(len(raw)):
        with pytest.raises(CasstoreError):
            decode_node(raw[:end])
    with pytest.raises(CorruptionError):
        decode_node(raw + b"\0")


def node_of(*keys: bytes) -> bytes:
    return encode_node(0, [join_key(key, encode_entry(file_entry(0, inline=b""))) for key in keys])


BAD_KEYS = [
    (b"",), (b"/a",), (b"a/",), (b"a//b",), (b".",), (b"..",), (b"a/.",), (b"a/../b",), (b"./a",), (b"a\0b",), (b"\0",),
    (b"b", b"a"), (b"a", b"a"), (b"a", b"c", b"b"), (b"a" * 4097,), (b"a" * 20000,), (b"a", b"/b"), (b"a/", b"b"),
    (b"a", b"b/..", b"c"),
]  # fmt: skip


@pytest.mark.parametrize("keys", BAD_KEYS)
def test_keys_that_are_no_paths_in_order_are_refused(keys: tuple[bytes, ...]) -> None:
    assert keys_problem(keys)
    with pytest.raises(CorruptionError):
        decode_node(node_of(*keys))


@given(st.lists(st.text("ab./\0-", max_size=5).map(str.encode), max_size=5))
def test_keys_are_judged_as_one_by_one(keys: list[bytes]) -> None:
    sound = all(
        b"\0" not in key and all(part not in (b"", b".", b"..") for part in key.split(b"/")) for key in keys
    ) and keys == sorted(set(keys))
    assert (keys_problem(keys) is None) == sound


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "a-", "ab"]), min_size=1, max_size=3).map("/".join).map(str.encode))
)
def test_a_path_prefix_is_found_wherever_batches_end(keys: list[bytes]) -> None:
    keys = sorted(set(keys))
    clash = any(other.startswith(key + b"/") for key in keys for other in keys)
    for size in (1, 2, 100):
        opened: list[bytes] = []
        problems = [tree_problem(keys[at : at + size], opened) for at in range(0, len(keys), size)]
        assert any(problems) == clash


def test_counts_versions_and_heights_are_checked() -> None:
    raw = node_of(b"a", b"b")
    assert decode_node(raw).keys == [b"a", b"b"]
    for count in (0, 1, 3, 100):
        with pytest.raises(CorruptionError):
            decode_node(raw[:2] + bytes((count,)) + raw[3:])
    with pytest.raises(CorruptionError):
        decode_node(raw[:2] + b"\x00")
    full = [join_key(b"%04d" % number, b"\x04") for number in range(1025)]
    assert len(decode_node(b"\x01\x00\x80\x08" + b"".join(full[:1024])).keys) == 1024
    with pytest.raises(CorruptionError):
        decode_node(b"\x01\x00\x81\x08" + b"".join(full))
    with pytest.raises(CorruptionError):
        decode_node(raw[:2] + b"\x81\x08" + raw[3:])
    with pytest.raises(CorruptionError):
        decode_node(raw[:2] + b"\x82\x00" + raw[3:])  # 2, not in its shortest form
    with pytest.raises(FormatVersionError):
        decode_node(b"\x02" + raw[1:])
    child = encode_child(b"a", SOME, Summary(1, 1, 1))
    assert decode_node(encode_node(64, [child])).height == 64
    with pytest.raises(CorruptionError):
        decode_node(encode_node(65, [child]))
    for lie in (Summary(0, 0, 0), Summary(1, 2, 5)):
        with pytest.raises(CorruptionError):
            decode_node(encode_node(1, [encode_child(b"a", SOME, lie)]))


def test_lengths_beyond_everything_are_refused() -> None:
    huge = b"\xff" * 8 + b"\x7f"
    for raw in (
        b"\x01\x00\x02" + huge + b"a",
        b"\x01\x01\x02" + huge,
        b"\x01\x00\x01\x01a\x07" + huge,
        b"\x01\x00" + huge,
    ):
        with pytest.raises(CorruptionError):
            decode_node(raw)


def test_check_node_finds_a_boundary_inside() -> None:
    low, boundary = keys_of_level(0, 1)[0], keys_of_level(1, 1)[0]
    check_node(decode_node(node_of(*sorted([b"d0", low]))))
    check_node(decode_node(node_of(low if low > boundary else b"d0", b"z")))
    with pytest.raises(CorruptionError) as caught:
        check_node(decode_node(node_of(boundary, b"z")))
    assert caught.value.path == boundary.decode()
    child = encode_child(low, SOME, Summary(1, 1, 1))
    with pytest.raises(CorruptionError):
        check_node(decode_node(encode_node(1, [child, encode_child(b"z", SOME, Summary(1, 1, 1))])))
