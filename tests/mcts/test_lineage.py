# SPDX-License-Identifier: MIT
"""A child's own changes on its parent's snapshot give the same state as all its changes on the common base."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.branches import Branch
from casstore.errors import CasstoreError
from casstore.mcts.lineage import own_changes, rebased

STEP = st.tuples(
    st.sampled_from(["set", "delete", "prefix"]),
    st.sampled_from(["files/a", "files/d/x", "files/d/y", "objects/n", "objects/d/m"]),
    st.sampled_from([b"1", b"2", b"L" * 300]),
)
STEPS = st.lists(STEP, max_size=5)


def change(branch: Branch, steps: list[tuple[str, str, bytes]]) -> None:
    for what, key, value in steps:
        root, name = key.split("/", 1)
        mapping = branch.files if root == "files" else branch.objects
        try:
            if what == "set":
                mapping[name] = value
            elif what == "delete":
                del mapping[name]
            else:
                mapping.delete_prefix("d/")
        except CasstoreError:
            continue


@given(STEPS, STEPS, STEPS)
def test_both_ways_give_one_state(
    base: list[tuple[str, str, bytes]], above: list[tuple[str, str, bytes]], own: list[tuple[str, str, bytes]]
) -> None:
    with casstore.open(":memory:") as store:
        start = store.branch()
        change(start, base)
        start.commit()
        parent = start.fork()
        change(parent, above)
        child = parent.fork()
        change(child, own)
        expected = list(parent.diff(child))
        listed = own_changes(store, child, parent)
        if listed is not None:
            assert sorted(listed, key=lambda change: change.key.encode()) == expected
        onto = store.branch(parent.fork().commit())
        found = rebased(store, child, parent, onto)
        if found is None:
            assert any(what != "set" for what, _, _ in own)
            return
        assert found.state_id() == child.state_id()
        assert found.commit().roots == child.fork().commit().roots


def test_keys_that_come_and_go() -> None:
    with casstore.open(":memory:") as store:
        start = store.branch()
        start.files["a"] = b"base"
        start.commit()
        parent = start.fork()
        parent.files["new"] = b"n"
        del parent.files["a"]
        child = parent.fork()
        del child.files["new"]
        child.files["a"] = b"again"
        changes = own_changes(store, child, parent)
        assert changes is not None
        assert sorted((change.letter, change.key) for change in changes) == [("A", "files/a"), ("D", "files/new")]
        found = rebased(store, child, parent, store.branch(parent.fork().commit()))
        assert found is not None
        assert dict(found.files) == {"a": b"again"}
        assert [change.key for change in found.changes()] == ["files/a", "files/new"]


def test_another_base_is_not_guessed_at() -> None:
    with casstore.open(":memory:") as store:
        parent, child = store.branch(), store.branch()
        assert rebased(store, child, parent, store.branch()) is None
        assert own_changes(store, child, parent) is None
        used = parent.fork()
        used.files["a"] = b"1"
        assert rebased(store, parent.fork(), parent, used) is None
