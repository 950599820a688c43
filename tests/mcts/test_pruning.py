# SPDX-License-Identifier: MIT
"""Pruning by policies and plans; collapse, also where states have several parents."""

from __future__ import annotations

import pytest

import casstore
from casstore.errors import ClosedError, ConflictError, InvalidInputError
from casstore.mcts import Node, StateTree, best, path, subtree
from casstore.mcts.keeping import Keep


@pytest.fixture
def tree(store: casstore.Store) -> StateTree:
    """Ids: 0 → 1 → (3 → 5, 4), 0 → 2 → 6, with values and sizes of their own."""
    tree = StateTree(store)
    parents = {1: 0, 2: 0, 3: 1, 4: 1, 5: 3, 6: 2}
    values = {1: 0.1, 2: 0.9, 3: 0.3, 4: 0.8, 5: 0.5, 6: 0.9}
    for node_id, parent in parents.items():
        tree.create_node(
            tree[parent], {f"files/{node_id}": bytes([node_id]) * 1000}, value=values[node_id], size=node_id
        )
    return tree


def ids(tree: StateTree) -> list[int]:
    return [node.id for node in tree]


def check(tree: StateTree) -> None:
    """What is true of every tree."""
    nodes = set(map(id, tree))
    assert tree.root.edge is None
    for node in tree:
        assert node.path[0] is tree.root
        assert not node.is_pruned
        assert (node.edge is None) == (node is tree.root)
        for edge in node.edges:
            assert edge.parent is node
            assert id(edge.child) in nodes
            assert sum(other is edge for other in edge.child.in_edges) == 1
        for edge in node.in_edges:
            assert id(edge.parent) in nodes
            assert sum(other is edge for other in edge.parent.edges) == 1


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (lambda tree: best(1), [0, 2]),
        (lambda tree: best(3), [0, 1, 2, 4, 6]),
        (lambda tree: best(0), [0]),
        (lambda tree: best(100), [0, 1, 2, 3, 4, 5, 6]),
        (lambda tree: best(2, by="size"), [0, 1, 2, 3, 5, 6]),
        (lambda tree: best(1, by=lambda node: -node.id), [0, 1]),
        (lambda tree: best(1, by="visits"), [0, 1]),
        (lambda tree: best(2, by="unheard-of"), [0, 1, 2]),
        (lambda tree: path(tree[5]), [0, 1, 3, 5]),
        (lambda tree: subtree(tree[3]), [0, 1, 3, 5]),
        (lambda tree: subtree(tree[2]) | path(tree[4]), [0, 1, 2, 4, 6]),
        (lambda tree: [tree[4]], [0, 1, 4]),
        (lambda tree: (node for node in (tree[4], tree[4])), [0, 1, 4]),
        (lambda tree: lambda node: node.id == 6, [0, 2, 6]),
        (lambda tree: [], [0]),
    ],
)
def test_policies(tree: StateTree, keep: object, left: list[int]) -> None:
    chosen: Keep = keep(tree)  # type: ignore[operator]
    before = len(tree)
    report = tree.prune_unreachable(chosen)
    assert ids(tree) == left
    assert (report.kept, report.dropped) == (len(left), before - len(left))
    check(tree)


def test_a_plan_is_printable_and_used_once(tree: StateTree) -> None:
    plan = tree.plan_prune(path(tree[5]))
    assert ids(tree) == list(range(7))
    assert [node.id for node in plan.kept] == [0, 1, 3, 5]
    assert [node.id for node in plan.dropped] == [2, 4, 6]
    assert plan.own_bytes == 3000
    text = str(plan)
    assert "the path to node 5" in text
    assert "4 nodes stay, 3 go with 3000 bytes of their own" in text
    assert plan.execute().dropped == 3
    with pytest.raises(ConflictError, match="already"):
        plan.execute()
    assert ids(tree) == [0, 1, 3, 5]


def test_an_overtaken_plan_is_refused(tree: StateTree) -> None:
    plan = tree.plan_prune([])
    tree.create_node(tree[6])
    with pytest.raises(ConflictError, match="changed"):
        plan.execute()
    assert len(tree) == 8


def test_pruned_nodes_are_cut_off(tree: StateTree) -> None:
    node = tree[6]
    branch = node.branch
    assert branch is not None
    fork = tree.backtrack_to(node)
    tree.prune_unreachable(path(tree[5]))
    assert node.is_pruned
    assert not node.is_root
    assert node.branch is None
    assert node.edges == []
    with pytest.raises(ClosedError):
        branch.fork()
    assert fork.files["6"] == b"\x06" * 1000
    for use in (tree.backtrack_to, tree.create_node, tree.cost, tree.collapse, tree.weight):
        with pytest.raises(InvalidInputError):
            use(node)
    with pytest.raises(InvalidInputError):
        tree.prune_unreachable([node])
    with pytest.raises(InvalidInputError):
        tree.prune_unreachable(17)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        best(-1)
    assert ids(tree) == [0, 1, 3, 5]


def test_collapse(tree: StateTree) -> None:
    node = tree[3]
    report = tree.collapse(node)
    assert (report.kept, report.dropped) == (2, 5)
    assert tree.root is node
    assert node.is_root
    assert (node.depth, node.prior, node.action, tree[5].path) == (0, 1.0, None, [node, tree[5]])
    assert ids(tree) == [3, 5]
    assert tree.create_node(tree[5]).id == 7
    check(tree)
    tree.collapse(tree.root)
    assert ids(tree) == [3, 5, 7]


def graph(store: casstore.Store, edges: list[tuple[int, int]]) -> StateTree:
    """A tree whose state `objects/place` is the node's number; edges are made in order."""
    tree = StateTree(store, merge_transpositions=True)
    tree.create_node(tree.root, {"objects/place": 1})
    tree.collapse(tree[1])
    at = {1: tree.root}
    for start, end in edges:
        at[end] = tree.create_node(at[start], {"objects/place": end}, action=end)
    return tree


def places(tree: StateTree) -> dict[int, list[int]]:
    """Number → numbers along its path."""

    def place(node: Node) -> int:
        found: int = node.open().objects["place"]
        return found

    return {place(node): [place(step) for step in node.path] for node in tree}


def test_collapse_keeps_what_can_still_be_reached(store: casstore.Store) -> None:
    # 4 was first reached through 2, which goes; 3 leads to it too. 5 leads back to the old root and to 2's 4.
    tree = graph(store, [(1, 2), (1, 3), (2, 4), (3, 4), (4, 5), (5, 1), (5, 4), (3, 1)])
    three = tree.find(tree.root.edges[1].child.state_id)[0]
    tree.collapse(three)
    assert places(tree) == {3: [3], 4: [3, 4], 5: [3, 4, 5]}
    check(tree)


def test_collapse_where_primary_edges_would_make_a_cycle(store: casstore.Store) -> None:
    # X=3 is primarily reached from Y=4, and 4 only through 2; from 5 one gets to 3 first, and from there to 4.
    tree = graph(store, [(1, 2), (2, 4), (4, 3), (1, 5), (5, 3), (3, 4)])
    five = next(node for node in tree if node.open().objects["place"] == 5)
    tree.collapse(five)
    assert places(tree) == {5: [5], 3: [5, 3], 4: [5, 3, 4]}
    check(tree)


def test_pruning_where_states_have_several_parents(store: casstore.Store) -> None:
    tree = graph(store, [(1, 2), (1, 3), (2, 4), (3, 4), (4, 1), (4, 5)])
    three = next(node for node in tree if node.open().objects["place"] == 3)
    tree.prune_unreachable(subtree(three))
    # 4 stays, as 3 leads to it, and 2, as 4 has its place below it.
    assert places(tree) == {1: [1], 2: [1, 2], 3: [1, 3], 4: [1, 2, 4], 5: [1, 2, 4, 5]}
    tree.prune_unreachable(path(three))
    assert places(tree) == {1: [1], 3: [1, 3]}
    assert three.edges == []
    assert tree.root.merged == ()
    check(tree)
