# SPDX-License-Identifier: MIT
"""The explorer itself, on models of which the answer is known."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explorer import Model, Step, explore


def jugs(state: tuple[int, int]) -> Iterator[Step[tuple[int, int]]]:
    """Two jugs of 5 and 3 litres."""
    five, three = state
    yield "fill five", (5, three)
    yield "fill three", (five, 3)
    yield "empty five", (0, three)
    yield "empty three", (five, 0)
    moved = min(five, 3 - three)
    yield "pour five into three", (five - moved, three + moved)
    moved = min(three, 5 - five)
    yield "pour three into five", (five + moved, three - moved)


def test_the_shortest_way_is_found() -> None:
    found = explore(Model(initial=[(0, 0)], successors=jugs, problem=lambda s: "four litres" if s[0] == 4 else None))
    assert found.problem == "four litres"
    assert found.trace == [
        "fill five",
        "pour five into three",
        "empty three",
        "pour five into three",
        "fill five",
        "pour five into three",
    ]
    assert "  1. fill five" in str(found)


def test_every_state_is_seen_once() -> None:
    found = explore(Model(initial=[(0, 0)], successors=jugs, problem=lambda s: None))
    # Those in which one of the jugs is full or empty: all others would need a third jug.
    assert found.states == 16
    assert found.complete
    assert found.problem is None
    assert found.taken["pour"] == 2 * 16


def test_a_limit_is_told() -> None:
    model = Model(initial=[0], successors=lambda n: [("more", n + 1)], problem=lambda n: None)
    assert not explore(model, max_states=10).complete
    assert explore(model, max_depth=7).states == 8


def test_states_that_are_alike_are_one() -> None:
    def swap(state: tuple[int, int]) -> tuple[int, int]:
        return min(state), max(state)

    model = Model(
        initial=[(0, 0)],
        successors=lambda s: [("left", (s[0] + 1, s[1])), ("right", (s[0], s[1] + 1))] if sum(s) < 3 else [],
        problem=lambda s: None,
        canonical=swap,
    )
    found = explore(model)
    assert found.states == 6
    assert found.ends == 2


def test_a_first_state_may_be_wrong() -> None:
    found = explore(Model(initial=[1], successors=lambda n: [], problem=lambda n: "wrong"))
    assert found.problem == "wrong"
    assert found.trace == []
