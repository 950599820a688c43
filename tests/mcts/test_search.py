# SPDX-License-Identifier: MIT
"""The search: finds optima, merges, ends in cycles, repeats itself, and fails without a trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Literal

import pytest

import casstore
from casstore.branches import Branch
from casstore.errors import InvalidInputError, NotFoundError
from casstore.mcts import Node, SearchError, StateTree, resume, search

POLICY = pytest.mark.parametrize("policy", ["puct", "uct"])
Policy = Literal["puct", "uct"]


def walk(branch: Branch, rng: random.Random) -> Iterator[tuple[int, dict[str, int], float]]:
    """Steps of 1 to 3 from 0 to 12 at most, in any order; many ways lead to one place."""
    place = branch.objects.get("place", 0)
    steps = [step for step in (1, 2, 3) if place + step <= 12]
    rng.shuffle(steps)
    for step in steps:
        yield step, {"objects/place": place + step}, rng.random()


def height(branch: Branch) -> float:
    """Highest at 7; what is written is for the hooks to see."""
    place = branch.objects.get("place", 0)
    branch.objects["log"] = f"been to {place} " + "." * 200
    return 1.0 - abs(place - 7) / 10


def facts(tree: StateTree) -> list[object]:
    return [
        (node.id, node.stats, [(e.child.id, e.action, e.prior, e.visits, e.value_sum, e.pending) for e in node.edges])
        for node in tree
    ]


@POLICY
def test_the_best_arm_of_a_bandit_is_pulled_most(store: casstore.Store, policy: Policy) -> None:
    chances = [0.2, 0.5, 0.8, 0.4]
    rng = random.Random(5)

    def expand(branch: Branch, rng: random.Random) -> list[tuple[int, Any, float]]:
        # A pull leads to a state that is no end, so that each further pull is a new draw.
        if "arm" not in branch.objects:
            return [(arm, {"objects/arm": arm, "objects/pulls": 0}, 1.0) for arm in range(4)]
        pulls = branch.objects["pulls"]
        return [("again", {"objects/pulls": pulls + 1}, 1.0)]

    def draw(branch: Branch) -> float:
        return float(rng.random() < chances[branch.objects["arm"]])

    tree = StateTree(store)
    result = search(tree, expand, draw, iterations=400, exploration=0.7, policy=policy, batch=1)
    assert result.edge is not None
    assert result.edge.action == 2
    visits = [edge.visits for edge in tree.root.edges]
    assert sum(visits) == result.iterations == 400
    assert visits[2] > 200
    assert tree.root.visits == 400
    assert min(visits) > 0
    value = result.edge.value
    assert value is not None
    assert 0.7 < value < 0.9


LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


def winner(board: str) -> str | None:
    return next((board[a] for a, b, c in LINES if board[a] == board[b] == board[c] != "."), None)


def mover(board: str) -> str:
    return "X" if board.count("X") == board.count("O") else "O"


def moves(branch: Branch, rng: random.Random) -> Iterator[tuple[int, dict[str, str], float]]:
    board = branch.objects["board"]
    if winner(board) is None:
        for place in (place for place in range(9) if board[place] == "."):
            yield place, {"objects/board": board[:place] + mover(board) + board[place + 1 :]}, 1.0


def outcome(board: str) -> int:
    """Perfect play from here, for whoever moves: 1 wins, 0 draws, -1 loses."""
    if winner(board) is not None:
        return -1
    places = [place for place in range(9) if board[place] == "."]
    if not places:
        return 0
    return max(-outcome(board[:place] + mover(board) + board[place + 1 :]) for place in places)


def judge(branch: Branch) -> float:
    """What is on the board now, as seen by whoever moves; the future is the search's business."""
    return -1.0 if winner(branch.objects["board"]) is not None else 0.0


@POLICY
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize(
    "board",
    [
        "XX.OO....",  # X wins at 2
        "XX..O.O..",  # X must not miss 2
        "XO..X....",  # O must take 8
        "X........",  # O must take the middle
        "XOX.O....",  # X must take 7
    ],
)
def test_tictactoe_is_played_as_well_as_can_be(store: casstore.Store, policy: Policy, merge: bool, board: str) -> None:
    start = store.branch()
    start.objects["board"] = board
    tree = StateTree(store, start, merge_transpositions=merge)
    count = 3000 if board.count(".") == 8 else 300
    result = search(tree, moves, judge, iterations=count, exploration=0.7, policy=policy, players=2, batch=4)
    assert result.edge is not None
    child = result.edge.child.open().objects["board"]
    assert -outcome(child) == outcome(board), f"{board} became {child}"
    if board.count(".") == 8:
        assert (result.merged > 0) == merge


@POLICY
@pytest.mark.parametrize("merge", [False, True])
def test_who_evaluates_makes_no_difference(store: casstore.Store, policy: Policy, merge: bool) -> None:
    found = []
    for threads in (0, 2, 5):
        tree = StateTree(store, merge_transpositions=merge)
        seen: list[tuple[int, str]] = []
        tree.on("evaluated", lambda node, branch, seen=seen: seen.append((node.id, branch.objects["log"])))
        order: list[int] = []
        tree.on("forked", lambda node, branch, order=order: order.append(node.id))
        result = search(tree, walk, height, iterations=120, policy=policy, threads=threads, batch=6, seed=3)
        assert len(seen) == result.evaluations
        found.append((facts(tree), seen, order, result.best and result.best.id, [node.id for node in result.path]))
    assert found[0] == found[1] == found[2]
    other = StateTree(store, merge_transpositions=merge)
    search(other, walk, height, iterations=120, policy=policy, batch=6, seed=4)
    assert facts(other) != found[0][0]


def test_a_search_goes_on_where_it_stopped(store: casstore.Store) -> None:
    whole, halves = StateTree(store), StateTree(store)
    search(whole, walk, height, iterations=96, batch=8)
    search(halves, walk, height, iterations=48, batch=8)
    halves.save("half")
    halves = resume(store, "half")
    search(halves, walk, height, iterations=48, batch=8)
    assert facts(halves) == facts(whole)


def test_what_a_search_reports(store: casstore.Store) -> None:
    tree = StateTree(store, merge_transpositions=True)
    result = search(tree, walk, height, iterations=200)
    assert result.best is not None
    assert result.best.open().objects["place"] == 7
    assert result.best.stats["value"] == 1.0
    assert result.created == len(tree) - 1 == 12
    assert result.evaluations == sum("value" in node.stats for node in tree)
    assert result.expanded == sum(node.expanded for node in tree)
    assert result.merged == sum(len(node.merged) for node in tree) > 0
    assert result.cycles == 0
    assert result.iterations == 200
    assert not result.reached
    assert all(edge.pending == 0 for node in tree for edge in node.edges)
    again = search(tree, walk, height, iterations=10)
    assert again.best is None or "value" in again.best.stats
    nothing = search(StateTree(store), walk, height, iterations=0)
    assert (nothing.best, nothing.edge, nothing.iterations) == (None, None, 0)


def test_it_stops_at_the_target(store: casstore.Store) -> None:
    tree = StateTree(store)
    result = search(tree, walk, height, iterations=500, target=0.9, batch=4)
    assert result.reached
    assert result.best is not None
    assert result.best.stats["value"] >= 0.9
    assert result.iterations < 100
    assert result.iterations % 4 == 0


@POLICY
def test_circles_end(store: casstore.Store, policy: Policy) -> None:
    def turn(branch: Branch, rng: random.Random) -> Iterator[tuple[int, dict[str, int], float]]:
        place = branch.objects.get("place", 0)
        for step in (1, -1, 0):
            yield step, {"objects/place": (place + step) % 6}, 1.0

    start = store.branch()
    start.objects["place"] = 0
    tree = StateTree(store, start, merge_transpositions=True)
    result = search(
        tree, turn, lambda branch: float(branch.objects["place"] == 3), iterations=400, policy=policy, batch=4
    )
    assert len(tree) == 6
    assert result.cycles > 0
    assert sum(edge.visits for edge in tree.root.edges) == 400
    assert result.best is not None
    assert result.best.open().objects["place"] == 3
    for node in tree:
        assert len(tree.best_path()) <= 6
        assert node.path[0] is tree.root


def test_an_end_is_evaluated_once(store: casstore.Store) -> None:
    calls: list[int] = []

    def count(branch: Branch) -> float:
        calls.append(1)
        return 0.5

    tree = StateTree(store)
    result = search(tree, lambda branch, rng: [], count, iterations=20, batch=4)
    assert len(calls) == result.evaluations == 1
    assert result.edge is None
    assert result.path == [tree.root]
    assert tree.root.value == 0.5


def test_a_node_with_a_value_is_not_evaluated_again(store: casstore.Store) -> None:
    tree = StateTree(store)
    tree.create_node(tree.root, {"objects/place": 7}, value=0.25)
    tree.root.expanded = True
    search(tree, lambda branch, rng: [], height, iterations=5)
    assert tree[1].stats == {"value": 0.25}
    assert tree[1].value == 0.25


@pytest.mark.parametrize("threads", [0, 2])
def test_an_evaluation_that_fails(store: casstore.Store, threads: int) -> None:
    def fail(branch: Branch) -> float:
        if branch.objects["place"] > 4:
            raise KeyError("the sensor")
        return 0.5

    tree = StateTree(store)
    seen: list[Node] = []
    tree.on("evaluated", lambda node, branch: seen.append(node))
    with pytest.raises(SearchError, match="KeyError: 'the sensor'") as caught:
        search(tree, walk, fail, iterations=200, threads=threads, batch=4)
    assert isinstance(caught.value.__cause__, KeyError)
    assert tree[caught.value.node_id].open().objects["place"] > 4
    # Whole batches, or nothing.
    assert tree.root.visits % 4 == 0
    assert sum("value" in node.stats for node in tree) == len(seen)
    assert all(edge.pending == 0 for node in tree for edge in node.edges)
    search(tree, walk, height, iterations=20)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", None])
def test_an_evaluation_that_gives_no_number(store: casstore.Store, value: Any) -> None:
    tree = StateTree(store)
    with pytest.raises(SearchError, match="finite number"):
        search(tree, walk, lambda branch: value, iterations=5)
    assert tree.root.visits == 0


def test_an_expansion_that_fails_leaves_nothing(store: casstore.Store) -> None:
    def fail(branch: Branch, rng: random.Random) -> Iterator[tuple[int, Any, float]]:
        yield 1, {"objects/place": 1}, 1.0
        yield 2, {"objects/other": 1}, 1.0
        if branch.objects.get("place", 0):
            yield 3, {"files/missing": None}, 1.0

    for merge in (False, True):
        tree = StateTree(store, merge_transpositions=merge)
        with pytest.raises(SearchError, match="NotFoundError") as caught:
            search(tree, fail, lambda branch: 0.5, iterations=50, batch=1)
        node = tree[caught.value.node_id]
        assert node.open().objects["place"] == 1
        assert not node.expanded
        assert node.edges == []
        assert all(other.depth <= 2 for other in tree)
        assert sum(edge.child is other for other in tree for edge in other.in_edges) == sum(len(n.edges) for n in tree)
        search(tree, walk, height, iterations=20)


def test_lost_states_do_not_stop_a_search_that_need_not_see_them(store: casstore.Store) -> None:
    tree = StateTree(store, history=False)
    search(tree, walk, height, iterations=30)
    tree.save("tree")
    gone = next(node for node in tree if "value" in node.stats and not node.expanded)
    assert gone.snapshot_id is not None
    tree.discard()
    store.storage.backend.delete([gone.snapshot_id])
    tree = resume(store, "tree")
    assert list(tree.missing) == [gone.id]
    before = tree.root.visits
    search(tree, walk, height, iterations=60)
    assert tree.root.visits == before + 60
    assert not tree[gone.id].expanded
    del tree[gone.id].stats["value"]
    with pytest.raises(NotFoundError):
        search(tree, walk, lambda branch: 0.0, iterations=2000, policy="uct", exploration=100.0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"iterations": -1},
        {"iterations": 1.5},
        {"batch": 0},
        {"threads": -1},
        {"threads": 1, "workers": 1},
        {"policy": "greedy"},
        {"players": 3},
        {"exploration": float("nan")},
        {"exploration": -1},
        {"workers": 1},
    ],
)
def test_bad_arguments(store: casstore.Store, arguments: dict[str, Any]) -> None:
    tree = StateTree(store)
    with pytest.raises(InvalidInputError):
        search(tree, walk, height, **{"iterations": 5, **arguments})
    assert len(tree) == 1
