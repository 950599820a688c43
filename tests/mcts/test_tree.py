# SPDX-License-Identifier: MIT
"""Nodes: made, gone back to, listed, found, compared, weighed; hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import casstore
from casstore.branches import Branch
from casstore.errors import InvalidInputError, NotFoundError
from casstore.mcts import DELETED, Node, NodeCost, StateTree


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    with casstore.open(":memory:") as opened:
        branch = opened.branch()
        branch.files["a.txt"] = b"one"
        branch.files["big"] = b"x" * 5000
        branch.objects["memory"] = {"step": 0}
        branch.commit(ref="main")
        yield opened


@pytest.fixture
def tree(store: casstore.Store) -> StateTree:
    return StateTree(store, "main")


def test_the_root_is_the_start(store: casstore.Store, tree: StateTree) -> None:
    assert tree.root.id == 0
    assert tree.root.is_root
    assert tree.root.parent is None
    assert tree.root.path == [tree.root]
    assert tree.root.state_id == store.snapshot("main").state_id
    assert list(tree) == [tree.root]
    assert StateTree(store).root.state_id == store.branch().state_id()
    branch = store.branch("main")
    branch.files["b"] = b"2"
    forked = StateTree(store, branch)
    branch.files["b"] = b"3"
    assert forked.backtrack_to(forked.root).files["b"] == b"2"


def test_edits_of_every_form(tree: StateTree) -> None:
    root = tree.root
    mapped = tree.create_node(
        root, {"files/a.txt": None, "files/a.txt/below": b"2", "objects/memory": DELETED, "objects/n": None}
    )
    assert dict(tree.backtrack_to(mapped).files) == {"a.txt/below": b"2", "big": b"x" * 5000}
    assert dict(tree.backtrack_to(mapped).objects) == {"n": None}
    prefixed = tree.create_node(mapped, {"files/a.txt/": DELETED})
    assert list(tree.backtrack_to(prefixed).files) == ["big"]
    emptied = tree.create_node(mapped, {"files/": None, "objects/": DELETED})
    assert emptied.state_id == tree.store.branch().state_id()

    def edit(branch: Branch) -> None:
        branch.objects["memory"] = {"step": branch.objects["memory"]["step"] + 1}

    assert tree.backtrack_to(tree.create_node(root, edit)).objects["memory"] == {"step": 1}
    worked = tree.backtrack_to(root)
    worked.files["new"] = b"n"
    given = tree.create_node(root, worked)
    worked.files["new"] = b"changed later"
    assert tree.backtrack_to(given).files["new"] == b"n"
    assert tree.create_node(root).state_id == root.state_id
    assert [node.id for node in tree] == list(range(7))


@pytest.mark.parametrize(
    "edits",
    [
        {"nowhere/a": b""},
        {3: b""},
        {"files/a.txt": b"2", "files/": 5},
        {"files/../x": b""},
        {"files/missing": None},
        {"objects/missing": DELETED},
        {"objects/bad": object()},
        {"files/a.txt": "text"},
        lambda branch: branch.files["missing"],
        17,
    ],
)
def test_a_failing_edit_creates_nothing(tree: StateTree, edits: object) -> None:
    before = tree.root.state_id
    events: list[Node] = []
    tree.on("created", lambda node, branch: events.append(node))
    with pytest.raises(casstore.CasstoreError):
        tree.create_node(tree.root, edits)  # type: ignore[arg-type]
    assert list(tree) == [tree.root]
    assert tree.root.edges == []
    assert events == []
    assert tree.root.branch is not None
    assert tree.root.branch.state_id() == before
    assert tree.create_node(tree.root).id == 1


def test_bad_arguments(tree: StateTree) -> None:
    with casstore.open(":memory:") as other:
        stranger = StateTree(other)
        with pytest.raises(InvalidInputError, match="no node of this tree"):
            tree.create_node(stranger.root)
        with pytest.raises(InvalidInputError, match="another opened store"):
            tree.create_node(tree.root, other.branch())
        with pytest.raises(InvalidInputError, match="another opened store"):
            StateTree(tree.store, other.branch())
        with pytest.raises(InvalidInputError):
            tree.backtrack_to(stranger.root)
    for prior in (-1.0, float("nan"), float("inf"), "1"):
        with pytest.raises(InvalidInputError, match="prior"):
            tree.create_node(tree.root, prior=prior)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="score"):
        tree.create_node(tree.root, score=float("inf"))
    with pytest.raises(InvalidInputError):
        tree.create_node(tree.root, action=object())  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        tree[1]
    with pytest.raises(InvalidInputError, match="event"):
        tree.on("born", print)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        StateTree(tree.store, "nothing-of-that-name")
    assert len(tree) == 1


def test_going_back_gives_a_fork_of_its_own(tree: StateTree) -> None:
    node = tree.create_node(tree.root, {"files/a.txt": b"two"}, action=["edit", 1], prior=0.5, value=0.25)
    deeper = tree.create_node(node, {"files/a.txt": b"three"})
    branch = tree.backtrack_to(node)
    branch.files["a.txt"] = b"scribbled"
    assert tree.backtrack_to(node).files["a.txt"] == b"two"
    assert tree.backtrack_to(deeper).files["a.txt"] == b"three"
    assert tree.backtrack_to(tree.root).files["a.txt"] == b"one"
    assert (node.action, node.prior, node.stats, node.depth, deeper.path) == (
        ["edit", 1],
        0.5,
        {"value": 0.25},
        1,
        [tree.root, node, deeper],
    )
    assert deeper.children == []
    assert tree.root.children == [node]
    assert tree[1] is node
    assert node in tree
    assert "node" not in tree


def test_an_action_cannot_be_changed_later(tree: StateTree) -> None:
    action = {"try": [1]}
    node = tree.create_node(tree.root, action=action)
    action["try"].append(2)
    assert node.action == {"try": [1]}


def test_diff_and_cost(tree: StateTree) -> None:
    node = tree.create_node(tree.root, {"files/a.txt": b"y" * 700, "files/copy": b"y" * 700, "objects/memory": DELETED})
    changes = [(change.letter, change.key) for change in tree.state_diff(tree.root, node)]
    assert changes == [("M", "files/a.txt"), ("A", "files/copy"), ("D", "objects/memory")]
    assert [(change.letter, change.key) for change in tree.state_diff(node, tree.root)] == [
        ("M", "files/a.txt"),
        ("D", "files/copy"),
        ("A", "objects/memory"),
    ]
    # Equal contents count once; what stayed is shared.
    assert tree.cost(node) == NodeCost(own_bytes=700, shared_bytes=700 + 5000)
    moved = tree.create_node(node, {"files/copy": None, "files/moved": b"y" * 700})
    assert tree.cost(moved) == NodeCost(own_bytes=0, shared_bytes=5000 + 1400)
    assert tree.cost(tree.root) == NodeCost(own_bytes=5000 + 3 + len('{"step":0}'), shared_bytes=0)


def test_found_by_state(tree: StateTree) -> None:
    first = tree.create_node(tree.root, {"files/a.txt": b"two"})
    assert tree.find(first.state_id) == [first]
    second = tree.create_node(first, {"files/a.txt": b"one"})
    third = tree.create_node(tree.root, {"files/a.txt": b"two"})
    assert tree.find(tree.root.state_id) == [tree.root, second]
    assert tree.find(first.state_id) == [first, third]
    assert tree.find(casstore.Address(bytes(32))) == []
    tree.prune_unreachable([third])
    assert tree.find(first.state_id) == [third]
    assert tree.find(tree.root.state_id) == [tree.root]


def test_transpositions_are_merged(store: casstore.Store) -> None:
    tree = StateTree(store, merge_transpositions=True)
    left = tree.create_node(tree.root, {"objects/a": 1}, action="a")
    right = tree.create_node(tree.root, {"objects/b": 1}, action="b")
    both = tree.create_node(left, {"objects/b": 1}, action="b", value=1)
    assert tree.create_node(right, {"objects/a": 1}, action="a", prior=0.5, value=2) is both
    assert tree.create_node(right, {"objects/a": 1}, action="a") is both
    assert both.stats == {"value": 1}
    assert [edge.parent for edge in both.in_edges] == [left, right]
    assert [(edge.child, edge.prior) for edge in right.edges] == [(both, 0.5)]
    assert both.path == [tree.root, left, both]
    # The way back, and an edit that changes nothing, lead to what is there.
    assert tree.create_node(both, {"objects/a": DELETED, "objects/b": DELETED}) is tree.root
    assert tree.create_node(both) is both
    assert len(tree) == 4
    assert tree.best_path() == [tree.root, left, both]


def test_weights(tree: StateTree) -> None:
    a = tree.create_node(tree.root, prior=3.0)
    b = tree.create_node(tree.root, prior=1.0)
    c = tree.create_node(b, prior=0.0)
    assert [tree.weight(node) for node in (tree.root, a, b, c)] == [1.0, 0.75, 0.25, 0.25]
    assert b.edge is not None
    b.edge.visits = 3
    assert tree.weight(a) == 0.75 / 4
    assert tree.weight(b) == 3.25 / 4
    weigh = tree.weigher()
    d = tree.create_node(a, {"files/d": b"d"})
    assert weigh(d.state_id) == tree.weight(d)
    assert weigh(casstore.Address(bytes(32))) == 0.0
    # All others have the root's state; the largest of their weights counts.
    assert weigh(tree.root.state_id) == 1.0
    tree.save("tree")
    assert d.snapshot_id is not None
    assert weigh(d.snapshot_id) == tree.weight(d)
    tree.prune_unreachable([b])
    assert weigh(d.snapshot_id) == 0.0


def test_the_weigher_does_not_keep_the_tree_alive(store: casstore.Store) -> None:
    import gc

    tree = StateTree(store, "main")
    weigh = tree.weigher()
    state = tree.root.state_id
    assert weigh(state) == 1.0
    del tree
    gc.collect()
    assert weigh(state) == 0.0


def test_hooks(tree: StateTree) -> None:
    seen: list[tuple[str, int, bool]] = []
    removers = [
        tree.on(name, lambda node, branch, name=name: seen.append((name, node.id, branch is not None)))
        for name in ("forked", "created", "pruned", "collapsed")
    ]
    node = tree.create_node(tree.root, {"files/b": b"2"})
    other = tree.create_node(tree.root, {"files/c": b"2"})
    tree.backtrack_to(node)
    assert seen == [
        ("forked", 0, True),
        ("created", 1, True),
        ("forked", 0, True),
        ("created", 2, True),
        ("forked", 1, True),
    ]
    seen.clear()
    tree.collapse(node)
    assert seen == [("pruned", 0, True), ("pruned", 2, True), ("collapsed", 1, True)]
    assert other.is_pruned
    seen.clear()
    for remove in removers:
        remove()
        remove()
    tree.backtrack_to(node)
    tree.create_node(node)
    assert seen == []


def test_a_hook_after_a_fork_gives_it_an_identity(tree: StateTree) -> None:
    count = iter(range(1000))

    def reseed(node: Node, branch: Branch) -> None:
        branch.objects["seed"] = next(count)

    tree.on("forked", reseed)
    assert tree.backtrack_to(tree.root).objects["seed"] == 0
    assert tree.backtrack_to(tree.root).objects["seed"] == 1
    drawn = tree.create_node(tree.root, lambda branch: branch.objects.update(drawn=branch.objects["seed"] * 10))
    assert tree.backtrack_to(drawn).objects["drawn"] == 20
    assert tree.root.branch is not None
    assert "seed" not in tree.root.branch.objects


def test_a_failing_hook(tree: StateTree) -> None:
    def fail(node: Node, branch: Branch | None) -> None:
        raise RuntimeError("no port left")

    remove = tree.on("forked", fail)
    with pytest.raises(RuntimeError):
        tree.create_node(tree.root)
    with pytest.raises(RuntimeError):
        tree.backtrack_to(tree.root)
    assert len(tree) == 1
    remove()
    tree.on("created", fail)
    with pytest.raises(RuntimeError):
        tree.create_node(tree.root)
    assert len(tree) == 2
    tree.on("pruned", fail)
    node = tree[1]
    with pytest.raises(RuntimeError):
        tree.prune_unreachable([])
    assert len(tree) == 1
    assert node.is_pruned
    assert node.branch is None


def test_threads_create_and_go_back(tree: StateTree) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            node = tree.root
            for step in range(30):
                node = tree.create_node(node, {"objects/trace": [number, step]})
                assert tree.backtrack_to(node).objects["trace"] == [number, step]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [node.id for node in tree] == list(range(1 + 8 * 30))
    assert sorted(node.depth for node in tree if not node.edges) == [30] * 8
    assert len(tree.root.edges) == 8


def test_discarded(tree: StateTree) -> None:
    node = tree.create_node(tree.root, {"files/b": b"2"})
    fork = tree.backtrack_to(node)
    tree.discard()
    assert len(tree) == 0
    with pytest.raises(InvalidInputError):
        tree.backtrack_to(node)
    with pytest.raises(InvalidInputError):
        node.open()
    assert fork.files["b"] == b"2"
