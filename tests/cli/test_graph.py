# SPDX-License-Identifier: MIT
"""The text graph: children above parents, every line of descent in a lane."""

from __future__ import annotations

from casstore_cli.graph import draw, newest_first
from hypothesis import given
from hypothesis import strategies as st


def lines(order: str, parents: dict[str, str]) -> list[str]:
    return [
        text.rstrip() + (f" {node}" if node else "")
        for text, node in draw(order, {n: parents.get(n, "") for n in order})
    ]


def test_a_chain_is_one_lane() -> None:
    assert lines("cba", {"c": "b", "b": "a"}) == ["* c", "* b", "* a"]


def test_two_children_of_one_parent_meet_at_it() -> None:
    assert lines("cba", {"c": "a", "b": "a"}) == ["* c", "| * b", "|/", "* a"]


def test_a_merge_opens_a_lane() -> None:
    assert lines("dcba", {"d": "cb", "c": "a", "b": "a"}) == ["* d", "|\\", "* | c", "| * b", "|/", "* a"]


def test_unrelated_snapshots_reuse_free_lanes() -> None:
    assert lines("ba", {}) == ["* b", "* a"]


def test_a_lane_that_ended_is_used_again() -> None:
    assert lines("dcba", {"d": "a", "c": "", "b": "a"}) == ["* d", "| * c", "| * b", "|/", "* a"]


def test_lanes_far_apart_are_joined_across() -> None:
    parents = {"e": "a", "d": "b", "c": "a"}
    assert lines("edcab", parents) == ["* e", "| * d", "| | * c", "|-|/", "* | a", "  * b"]


@given(st.lists(st.sets(st.integers(0, 30), max_size=3), max_size=30))
def test_every_snapshot_is_drawn_once_after_its_children(above: list[set[int]]) -> None:
    parents = {bytes([n]): [bytes([p]) for p in sorted(group) if p < n] for n, group in enumerate(above)}
    order = list(newest_first(parents, dict.fromkeys(parents, 7)))
    assert sorted(order) == sorted(parents)
    for place, node in enumerate(order):
        assert all(order.index(parent) > place for parent in parents[node])
    drawn = [(text, node) for text, node in draw(order, parents)]
    assert [node for _, node in drawn if node is not None] == order
    assert all(text.count("*") == (node is not None) for text, node in drawn)


def test_newest_first_when_nothing_else_decides() -> None:
    parents: dict[bytes, list[bytes]] = {b"a": [], b"b": [b"a"], b"c": [b"a"]}
    assert list(newest_first(parents, {b"a": 9, b"b": 1, b"c": 2})) == [b"c", b"b", b"a"]
    parents = {b"d": [b"a", b"b", b"c"], b"a": [], b"b": [], b"c": []}
    assert list(newest_first(parents, {b"d": 1, b"a": 2, b"b": 9, b"c": 5})) == [b"d", b"b", b"c", b"a"]
