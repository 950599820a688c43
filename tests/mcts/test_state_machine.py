# SPDX-License-Identifier: MIT
"""A tree against a plain model: dicts of states, lists of edges, nothing shared with the code under test."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import casstore
from casstore.errors import CasstoreError
from casstore.mcts import DELETED, Node, StateTree, resume
from casstore.mcts.edits import apply_edits

KEYS = ("files/a", "files/d/x", "files/d/y", "objects/n", "objects/d/m")
VALUES = {"files": st.sampled_from([b"1", b"2", b"L" * 300]), "objects": st.sampled_from([1, None, "L" * 300])}


def apply(state: dict[str, object], edits: dict[str, object]) -> dict[str, object] | None:
    """The plain meaning of a mapping of edits; None where it fails."""
    result = dict(state)
    for key, value in edits.items():
        if value is DELETED and key.endswith("/"):
            result = {name: held for name, held in result.items() if not name.startswith(key)}
        elif value is DELETED and result.pop(key, DELETED) is DELETED:
            return None
    result.update({key: value for key, value in edits.items() if value is not DELETED})
    return result


@st.composite
def edits(draw: st.DrawFn) -> dict[str, object]:
    chosen = draw(st.lists(st.sampled_from((*KEYS, "files/d/", "objects/")), max_size=3, unique=True))
    found: dict[str, object] = {}
    for key in chosen:
        value = VALUES[key.split("/")[0]]
        found[key] = DELETED if key.endswith("/") else draw(st.just(DELETED) | value if draw(st.booleans()) else value)
    return found


class TreeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = casstore.open(":memory:")
        self.saves = 0

    @initialize(merge=st.booleans(), history=st.booleans())
    def start(self, merge: bool, history: bool) -> None:
        branch = self.store.branch()
        branch.files["a"] = b"0"
        branch.files["d/x"] = b"L" * 300
        branch.commit(ref="main")
        self.merge = merge
        self.tree = StateTree(self.store, "main", merge_transpositions=merge, history=history)
        self.states: dict[int, dict[str, object]] = {0: {"files/a": b"0", "files/d/x": b"L" * 300}}
        self.edges: list[tuple[int, int, int]] = []
        self.parents: dict[int, int | None] = {0: None}
        self.root = 0
        self.count = 1
        self.actions = 0
        self.saved = False

    def teardown(self) -> None:
        self.store.close()

    def pick(self, number: int) -> int:
        ids = sorted(self.states)
        return ids[number % len(ids)]

    def ancestors(self, node: int) -> list[int]:
        found = [node]
        while (parent := self.parents[found[-1]]) is not None:
            found.append(parent)
        return found

    @rule(number=st.integers(0, 50), edits=edits(), by_branch=st.booleans())
    def create(self, number: int, edits: dict[str, object], by_branch: bool) -> None:
        parent = self.pick(number)
        state = apply(self.states[parent], edits)
        given: Any = edits
        if by_branch and state is not None:
            given = self.tree.backtrack_to(self.tree[parent])
            apply_edits(given, edits)
        before = len(self.tree)
        try:
            node = self.tree.create_node(self.tree[parent], given, action=self.actions)
        except CasstoreError:
            assert state is None
            assert len(self.tree) == before
            return
        assert state is not None
        equal = [other for other in sorted(self.states) if self.states[other] == state] if self.merge else []
        self.edges.append((parent, node.id, self.actions))
        self.actions += 1
        if equal:
            assert node.id in equal
            return
        assert node.id == self.count
        self.count += 1
        self.states[node.id] = state
        self.parents[node.id] = parent

    @rule(numbers=st.lists(st.integers(0, 50), min_size=1, max_size=4))
    def prune(self, numbers: list[int]) -> None:
        if len(self.states) < 6:
            return
        kept = {self.root}
        for number in numbers:
            kept.update(self.ancestors(self.pick(number)))
        plan = self.tree.plan_prune([self.tree[self.pick(number)] for number in numbers])
        assert [node.id for node in plan.kept] == sorted(kept)
        plan.execute()
        self.forget(kept)

    def forget(self, kept: set[int]) -> None:
        self.states = {node: state for node, state in self.states.items() if node in kept}
        self.parents = {node: parent for node, parent in self.parents.items() if node in kept}
        self.edges = [edge for edge in self.edges if edge[0] in kept and edge[1] in kept]

    @rule(number=st.integers(0, 50))
    def collapse(self, number: int) -> None:
        if len(self.states) < 8:
            return
        node = self.pick(number)
        gone = set(self.ancestors(node)[1:])
        kept, waiting = {node}, [node]
        while waiting:
            at = waiting.pop()
            for parent, child, _ in self.edges:
                if parent == at and child not in kept and child not in gone:
                    kept.add(child)
                    waiting.append(child)
        self.tree.collapse(self.tree[node])
        self.forget(kept)
        self.root = node
        # Which of several ways becomes a node's path is the tree's choice; that it is a way is checked below.
        self.parents = {other.id: None if other.parent is None else other.parent.id for other in self.tree}

    @rule(unload=st.booleans())
    def save(self, unload: bool) -> None:
        self.tree.save("tree", unload=unload)
        self.saved = True
        for node in self.tree:
            assert node.snapshot is not None
            assert node.snapshot.state_id == node.state_id
            assert store_state(self.store.branch(node.snapshot)) == self.states[node.id]

    @precondition(lambda self: self.saved)
    @rule()
    def save_and_resume(self) -> None:
        self.tree.save("tree")
        self.tree.discard()
        self.store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        self.tree = resume(self.store, "tree")
        assert self.tree.missing == {}
        self.store.verify()

    @rule(number=st.integers(0, 50))
    def backtrack(self, number: int) -> None:
        node = self.pick(number)
        branch = self.tree.backtrack_to(self.tree[node])
        assert store_state(branch) == self.states[node]
        branch.files["scribble"] = b"s"
        del branch.files["scribble"]
        branch.objects["scribble"] = 1

    @rule(number=st.integers(0, 50))
    def find(self, number: int) -> None:
        node = self.pick(number)
        found = self.tree.find(self.tree[node].state_id)
        assert [other.id for other in found] == [
            other for other in sorted(self.states) if self.states[other] == self.states[node]
        ]

    @invariant()
    def same_shape(self) -> None:
        if not hasattr(self, "tree"):
            return
        tree = self.tree
        assert [node.id for node in tree] == sorted(self.states)
        assert len(tree) == len(self.states)
        assert tree.root.id == self.root
        edges = [(edge.parent.id, edge.child.id, edge.action) for node in tree for edge in node.edges]
        assert sorted(edges) == sorted(self.edges)
        for node in tree:
            self.check_node(node)

    def check_node(self, node: Node) -> None:
        assert (None if node.parent is None else node.parent.id) == self.parents[node.id]
        assert sorted((edge.parent.id, edge.action) for edge in node.in_edges) == sorted(
            (parent, action) for parent, child, action in self.edges if child == node.id
        )
        assert [step.id for step in node.path] == self.ancestors(node.id)[::-1]
        assert node.path[0].id == self.root


def store_state(branch: Any) -> dict[str, object]:
    files = {f"files/{key}": value for key, value in branch.files.items()}
    return files | {f"objects/{key}": value for key, value in branch.objects.items()}


TestTree = TreeMachine.TestCase


@pytest.mark.slow
class TestTreeLong(TreeMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=1000, stateful_step_count=80)
