# SPDX-License-Identifier: MIT
"""Trees saved, resumed, collected, damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.errors import (
    CasstoreError,
    ConflictError,
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
)
from casstore.mcts import Node, StateTree, path, resume
from casstore.mcts.record import HEADER, NODES, node_key, parse_header, parse_key, parse_node

FAST = casstore.Config(sync="off")


def grown(store: casstore.Store, **settings: bool) -> StateTree:
    """0 → 1 → (2 → 4, 3), with statistics."""
    branch = store.branch()
    branch.files["a"] = b"start"
    branch.commit(ref="main")
    tree = StateTree(store, "main", **settings)
    for parent in (0, 1, 1, 2):
        number = len(tree)
        node = tree.create_node(
            tree[parent],
            {f"files/{number}": bytes([number]) * 500, "objects/n": number},
            action=["go", number],
            prior=number / 2,
            value=number / 10,
        )
        assert node.edge is not None
        node.edge.visits = number
        node.edge.value_sum = number / 3
        node.expanded = number == 1
    return tree


def facts(tree: StateTree) -> list[object]:
    """Everything that a resumed tree must have again."""
    return [tree.root.id, tree._next_id, tree.merge_transpositions, tree.history] + [
        (
            node.id,
            None if node.parent is None else node.parent.id,
            node.action,
            node.prior,
            node.stats,
            node.expanded,
            [(e.child.id, e.action, e.prior, e.visits, e.value_sum) for e in node.edges],
            sorted((e.parent.id, e.visits) for e in node.in_edges),
        )
        for node in tree
    ]


def states(tree: StateTree) -> dict[int, tuple[dict[str, bytes], dict[str, object]]]:
    branches = {node.id: tree.backtrack_to(node) for node in tree}
    return {number: (dict(branch.files), dict(branch.objects)) for number, branch in branches.items()}


def collect(store: casstore.Store) -> None:
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()


@pytest.mark.parametrize("history", [True, False])
def test_a_tree_survives_its_process(tmp_path: Path, history: bool) -> None:
    with casstore.open(tmp_path / "s", config=FAST) as store:
        tree = grown(store, history=history)
        before, held = facts(tree), states(tree)
        ids = {node.id: node.state_id for node in tree}
        saved = tree.save("tree", "first")
        assert (saved.message, saved.parents, saved.meta) == ("first", (), {"nodes": 5})
        assert states(tree) == held
        del tree
        collect(store)
    with casstore.open(tmp_path / "s", config=FAST) as store:
        tree = StateTree.resume(store, "tree")
        assert facts(tree) == before
        assert tree.missing == {}
        assert states(tree) == held
        assert {node.id: node.state_id for node in tree} == ids
        assert {node.id: None if node.snapshot is None else node.snapshot.state_id for node in tree} == ids
        child = tree.create_node(tree[4], {"files/5": b"five"})
        assert child.id == 5
        tree.save("tree")
        store.verify()


def test_another_process_goes_on_beside_the_writer(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "s", config=FAST) as store:
        tree = grown(store)
        tree.save("tree")
        code = (
            "import sys, casstore\n"
            "from casstore.mcts import StateTree\n"
            "store = casstore.open(sys.argv[1], read_only=True)\n"
            "tree = StateTree.resume(store, 'tree')\n"
            "node = tree.create_node(tree[4], {'files/more': b'm'})\n"
            "print(len(tree), len(tree.backtrack_to(node).files), tree[3].value, tree.best_path()[-1].id)\n"
        )
        run = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "s")]
        done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=Path(casstore.__file__).parents[1])
        assert done.stderr == ""
        assert done.stdout.split() == ["6", "5", str(1 / 3), "3"]


def test_the_collector_keeps_saved_states_and_frees_pruned_ones() -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store)
        tree.save("tree")
        snapshots = {node.id: node.snapshot_id for node in tree}
        held = states(tree)
        tree.discard()
        collect(store)
        tree = resume(store, "tree")
        assert states(tree) == held
        tree.prune_unreachable(path(tree[3]))
        tree.save("tree")
        assert [key for key in store.branch("tree").objects if key != HEADER] == [
            node_key(prefix, number) for prefix in ("nodes/", "states/") for number in (0, 1, 3)
        ]
        collect(store)
        alive = {number for number, snapshot in snapshots.items() if snapshot is not None and snapshot in store}
        assert alive == {0, 1, 3}
        assert states(resume(store, "tree")) == {number: held[number] for number in (0, 1, 3)}
        store.verify()


def test_snapshots_of_nodes_not_yet_saved_are_kept() -> None:
    from casstore.mcts.saving import commit_node

    with casstore.open(":memory:") as store:
        tree = grown(store)
        snapshot = commit_node(tree, tree[4])
        collect(store)
        assert snapshot in store
        tree.save("tree")
        collect(store)
        assert tree[4].snapshot_id == snapshot
        assert snapshot in store
        store.verify()


def test_only_what_changed_is_written() -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store)
        first = tree.save("tree")
        records = store.stats().kinds["snapshot"].objects
        assert tree.save("tree") == first
        assert store.stats().kinds["snapshot"].objects == records
        assert len(store.refs.history("tree")) == 1
        tree[4].stats["value"] = 0.75
        second = tree.save("tree")
        assert [change.key for change in store.diff(first, second)] == [f"objects/{node_key(NODES, 4)}"]
        assert store.stats().kinds["snapshot"].objects == records + 1
        node = tree.create_node(tree[3])
        third = tree.save("tree", "third")
        assert [change.key for change in store.diff(second, third)] == [
            "objects/nodes/0000000003",
            "objects/nodes/0000000005",
            "objects/states/0000000005",
            "objects/tree",
        ]
        assert node.state_id == tree[3].state_id
        again = resume(store, "tree")
        assert again.save("tree", "third") == third


def test_history_tells_the_way() -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store)
        tree.save("tree")
        four, three = tree[4].snapshot, tree[3].snapshot
        assert four is not None
        assert three is not None
        assert tree.root.snapshot == store.snapshot("main")
        assert [snapshot.message for snapshot in store.log(four)] == [
            'node 4: ["go",4]',
            'node 2: ["go",2]',
            'node 1: ["go",1]',
            "",
        ]
        branch = store.branch(four)
        del branch.objects["n"]
        report = branch.merge(three, resolve="ours")
        assert report.base == (tree[1].snapshot_id,)


def test_a_merge_in_a_node_is_part_of_its_history() -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store)
        side = store.branch("main")
        side.files["side"] = b"s" * 300
        other = side.commit("the other")
        one = tree.create_node(tree[1], lambda branch: branch.merge(other))
        two = tree.create_node(one, {"files/two": b"2"})
        tree.save("tree")
        assert one.snapshot is not None
        assert one.snapshot.parents == (tree[1].snapshot_id, other.id)
        assert one.snapshot.files["side"] == b"s" * 300
        assert two.snapshot is not None
        assert two.snapshot.parents == (one.snapshot_id,)


def test_without_history_a_state_leads_to_nothing_else() -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store, history=False)
        tree.save("tree")
        assert {node.snapshot.parents for node in tree if node.snapshot is not None} == {()}


def test_unloading_gives_branches_back() -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store)
        held = states(tree)
        tree.save("tree", unload=True)
        assert [node._branch for node in tree] == [None] * 5
        assert states(tree) == held
        tree.create_node(tree[4], {"files/5": b"five"})
        tree.save("tree", unload=True)
        assert tree.backtrack_to(tree[5]).files["5"] == b"five"
        assert dict(tree.backtrack_to(tree[5]).objects) == {"n": 4}


def test_a_ref_that_names_something_else_is_left_alone() -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store)
        with pytest.raises(ConflictError):
            tree.save("main")
        assert store.snapshot("main").message == ""
        saved = tree.save("tree")
        assert tree.save("copy") == saved
        with pytest.raises(ConflictError):
            StateTree(store).save("tree")
        other = resume(store, "tree")
        other.create_node(other.root)
        other.save("tree")
        tree.create_node(tree.root)
        with pytest.raises(ConflictError):
            tree.save("tree")
        assert len(resume(store, "tree")) == 6
        tree.save("rescued")
        assert len(resume(store, "rescued")) == 6
        with pytest.raises(InvalidInputError):
            tree.save("not a ref name")


def test_lost_states_are_named_and_the_rest_restored(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "s", config=FAST) as store:
        tree = grown(store, history=False)
        tree.save("tree")
        before, held = facts(tree), states(tree)
        lost = tree[2].snapshot_id
        assert lost is not None
    with casstore.open(tmp_path / "s", config=FAST) as store:
        assert store.storage.backend.delete([lost]) > 0
        tree = resume(store, "tree")
        assert tree.missing == {2: lost}
        assert facts(tree) == before
        node = tree[2]
        assert node.branch is None
        for use in (tree.backtrack_to, tree.create_node, tree.cost):
            with pytest.raises(NotFoundError, match="node 2"):
                use(node)
        with pytest.raises(NotFoundError):
            _ = node.state_id
        assert tree.find(tree[4].state_id) == [tree[4]]
        assert tree.plan_prune([]).own_bytes == 2 * 501
        assert {number: state for number, state in held.items() if number != 2} == {
            number: (dict(branch.files), dict(branch.objects))
            for number, branch in ((n.id, tree.backtrack_to(n)) for n in tree if n.id != 2)
        }
        # Saved again, the tree names what it lost but no longer refers to it, so the store can be collected.
        tree.save("tree")
        again = resume(store, "tree")
        assert again.missing == {2: lost}
        assert facts(again) == before
        collect(store)
        store.verify()
        again.prune_unreachable(path(again[3]))
        assert again.missing == {}
        again.save("tree")
        assert resume(store, "tree").missing == {}


def test_what_cannot_be_resumed_or_saved(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "s", config=FAST) as store:
        tree = grown(store)
        tree.save("tree")
        with pytest.raises(InvalidInputError, match="no saved search tree"):
            resume(store, "main")
        with pytest.raises(NotFoundError):
            resume(store, "nowhere")
    with casstore.open(tmp_path / "s", read_only=True) as store:
        tree = resume(store, "tree")
        with pytest.raises(ReadOnlyError):
            tree.save("tree")


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("tree", {"version": 2}, FormatVersionError),
        ("tree", [], CorruptionError),
        ("tree", {"version": 1, "root": 9, "next_id": 10, "settings": {}}, CorruptionError),
        (node_key(NODES, 2), {"edges": []}, CorruptionError),
        (
            node_key(NODES, 2),
            {"edges": [[9, None, 1.0, 0, 0.0]], "expanded": False, "parent": 1, "stats": {}},
            CorruptionError,
        ),
        (node_key(NODES, 2), {"edges": [], "expanded": False, "parent": 1, "stats": {}}, CorruptionError),
        (node_key(NODES, 3), {"edges": [], "expanded": False, "parent": 4, "stats": {}}, CorruptionError),
        (node_key(NODES, 7), {"edges": [], "expanded": False, "parent": 1, "stats": {}}, CorruptionError),
        ("nodes/2", {}, CorruptionError),
        (node_key("states/", 2), 5, CorruptionError),
    ],
)
def test_a_malformed_tree_is_refused(key: str, value: object, error: type[CasstoreError]) -> None:
    with casstore.open(":memory:") as store:
        grown(store).save("tree")
        branch = store.branch("tree")
        branch.objects[key] = value
        branch.commit(ref="tree")
        with pytest.raises(error):
            resume(store, "tree")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
RECORD = st.fixed_dictionaries(
    {"edges": st.lists(st.lists(JSON, min_size=4, max_size=6)) | JSON, "expanded": JSON, "parent": JSON, "stats": JSON},
    optional={"lost": JSON, "more": JSON},
)
SETTINGS = st.dictionaries(st.sampled_from(["history", "merge_transpositions"]), JSON)
HEADERS = st.fixed_dictionaries(
    {"version": st.just(1) | JSON, "root": JSON, "next_id": JSON, "settings": SETTINGS | JSON}
)


@given(RECORD | JSON, HEADERS | JSON, st.text())
def test_reading_records_raises_nothing_else(record: object, header: object, key: str) -> None:
    for read in (lambda: parse_node("nodes/x", record), lambda: parse_header(header), lambda: parse_key(key, NODES)):
        try:
            read()
        except (CorruptionError, FormatVersionError):
            continue


def test_keys_sort_as_their_numbers() -> None:
    numbers = [0, 9, 10, 99, 10**9, 10**10 - 1]
    assert [parse_key(key, NODES) for key in sorted(node_key(NODES, number) for number in numbers)] == numbers
    assert parse_key(node_key(NODES, 10**12), NODES) == 10**12


def test_a_failed_save_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with casstore.open(":memory:") as store:
        tree = grown(store)
        made: list[Node] = []
        real = store.snapshots.add

        def fail(*args: object, **fields: object) -> object:
            made.append(tree.root)
            if len(made) == 3:
                raise casstore.QuotaExceededError("the store is full")
            return real(**fields)  # type: ignore[arg-type]

        monkeypatch.setattr(type(store.snapshots), "add", fail)
        with pytest.raises(casstore.QuotaExceededError):
            tree.save("tree")
        assert "tree" not in store.refs
        monkeypatch.undo()
        collect(store)
        held = states(tree)
        tree.save("tree")
        assert states(resume(store, "tree")) == held
        store.verify()
