# SPDX-License-Identifier: MIT
"""Where in another tree the keys of a node lie: compared with looking at every node."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address
from casstore.collection.lockstep import bases_below
from casstore.format.entry import file_entry
from casstore.format.node import Node
from casstore.tree import Nodes, build, walk_nodes
from tests.tree.plain import memory_nodes

KEYS = st.sets(st.integers(0, 3000), min_size=1, max_size=900)


def tree_of(nodes: Nodes, numbers: set[int]) -> Address:
    root = build(nodes, [(b"%05d" % number, file_entry(1, inline=b"x")) for number in sorted(numbers)])
    assert root is not None
    return root


def levels(nodes: Nodes, root: Address) -> dict[int, list[Node]]:
    found: dict[int, list[Node]] = {}
    for _, node in walk_nodes(nodes, root):
        found.setdefault(node.height, []).append(node)
    return found


@given(KEYS, st.integers(-1, 3000), st.integers(0, 3000), st.integers(0, 2))
def test_both_ends_are_found(numbers: set[int], start: int, length: int, height: int) -> None:
    nodes, _ = memory_nodes()
    root = tree_of(nodes, numbers)
    top = nodes.get(root)
    after = None if start < 0 else b"%05d" % start
    last = b"%05d" % (start + 1 + length)
    found = bases_below(nodes, [top], height, after, last)
    if top.height <= height:
        assert found == [top]
        return
    row = levels(nodes, root)[height]
    # A node covers what lies behind its predecessor's last key; the last one of all, everything behind it too.
    first = next((node for node in row if after is None or node.keys[-1] > after), None)
    ends = [] if first is None else [first, next((node for node in row if node.keys[-1] >= last), row[-1])]
    assert {node.raw for node in found} == {node.raw for node in ends}
    assert len(found) <= 2
