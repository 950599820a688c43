# SPDX-License-Identifier: MIT
"""tree: what a search left under a ref, seen, looked into and pruned, without the program that searched."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.mcts import StateTree
from tests.cli.looking import refs_of

README_BYTES = 1690


def rows(said: str) -> list[list[str]]:
    return [line.split("\t") for line in said.splitlines()]


@pytest.fixture
def searched(history: Any) -> Any:
    """A tree of six nodes under the ref ``search``: 0 ─┬─ 1 ─┬─ 3 ── 5
    └─ 2  └─ 4
    """
    with casstore.open(history.store) as store:
        tree = StateTree(store, "main")
        one = tree.create_node(tree.root, {"files/one": b"1" * 100}, action="write one", prior=0.75)
        two = tree.create_node(tree.root, {"files/two": b"2" * 200}, action={"tool": "two"}, prior=0.25, risk=0.5)
        three = tree.create_node(one, {"files/one": b"3" * 300, "files/run.sh": None}, action="rewrite")
        four = tree.create_node(one, {"files/README.md": None}, action="drop \x1b[2J")
        five = tree.create_node(three, {"objects/memory": {"step": 3}}, action="x" * 80)
        for node, visits, value in ((one, 6, 0.5), (two, 2, 0.1), (three, 4, 0.9), (four, 1, 0.0), (five, 1, 0.25)):
            assert node.edge is not None
            node.edge.visits, node.edge.value_sum = visits, visits * value
        tree.save("search", "first")
    return history


def test_list(searched: Any) -> None:
    assert rows(searched.text("tree", "search")) == [
        ["0*", "8", "0.4", "2.0 KiB", "2", ""],
        ["  1*", "6", "0.5", "100 B", "2", "write one"],
        ["    3*", "4", "0.9", "300 B", "1", "rewrite"],
        ["      5*", "1", "0.25", "10 B", "0", "x" * 60 + " ..."],
        ["    4", "1", "0", "0 B", "0", "drop \\x1b[2J"],
        ["  2", "2", "0.1", "200 B", "0", '{"tool": "two"}'],
    ]
    assert searched.text("tree", "list", "search") == searched.text("tree", "search")


def test_list_of_a_part(searched: Any) -> None:
    result = searched("tree", "search", "-n", "3")
    assert [row[0].strip() for row in rows(result.stdout)] == ["0*", "1*", "3*"]
    assert result.stderr == "casstore: 3 of 6 nodes; more with -n or --depth\n"
    assert [row[0].strip() for row in rows(searched.text("tree", "search", "--limit", "4"))] == ["0*", "1*", "3*", "2"]
    result = searched("tree", "search", "--depth", "1")
    assert [row[0].strip() for row in rows(result.stdout)] == ["0*", "1*", "2"]
    assert result.stderr.startswith("casstore: 3 of 6 nodes")
    assert len(rows(searched.text("tree", "--depth", "0", "search"))) == 1
    assert [row[0].strip() for row in rows(searched.text("tree", "search", "--depth", "2", "-n", "4"))][3] == "2"
    assert len(rows(searched.text("tree", "search", "--depth", "1", "-n", "3"))) == 3
    assert len(rows(searched.text("tree", "search", "--depth", "1", "-n", "0"))) == 3
    assert len(searched.json("tree", "search", "--depth", "2")["nodes"]) == 5
    assert searched("tree", "search", "-n", "0").stderr == ""
    assert len(searched.json("tree", "search", "-n", "2")["nodes"]) == 2
    assert searched("tree", "search", "-n", "-1", code=2).stdout == ""


def test_list_as_json(searched: Any) -> None:
    seen = searched.json("tree", "search")
    assert (seen["command"], seen["ref"], seen["total"], seen["root"]) == ("tree list", "search", 6, 0)
    assert (seen["best_path"], seen["missing"]) == ([0, 1, 3, 5], [])
    nodes = {node["id"]: node for node in seen["nodes"]}
    assert list(nodes) == [0, 1, 3, 5, 4, 2]
    assert {number: node["parent"] for number, node in nodes.items()} == {0: None, 1: 0, 2: 0, 3: 1, 4: 1, 5: 3}
    assert [nodes[number]["depth"] for number in range(6)] == [0, 1, 1, 2, 2, 3]
    assert [nodes[number]["visits"] for number in range(6)] == [8, 6, 2, 4, 1, 1]
    assert [nodes[number]["own_bytes"] for number in range(1, 6)] == [100, 200, 300, 0, 10]
    assert nodes[0]["own_bytes"] == nodes[1]["shared_bytes"]
    assert nodes[4]["shared_bytes"] == nodes[1]["shared_bytes"] + 100 - README_BYTES
    assert (nodes[2]["action"], nodes[2]["prior"], nodes[2]["stats"]) == ({"tool": "two"}, 0.25, {"risk": 0.5})
    assert nodes[1]["value"] == pytest.approx(0.5)
    assert (nodes[1]["children"], nodes[1]["expanded"], nodes[1]["merged"], nodes[1]["lost"]) == (2, False, [], False)
    assert nodes[0]["state_id"] == searched.json("log", "main")["snapshots"][0]["state_id"]
    state = searched.json("log", nodes[5]["snapshot"])["snapshots"][0]
    assert state["state_id"] == nodes[5]["state_id"]


def test_of_a_large_tree_the_most_visited_nodes_are_shown(history: Any) -> None:
    with casstore.open(history.store) as store:
        tree = StateTree(store, "main")
        for number in range(150):
            node = tree.create_node(tree.root, action=str(number))
            assert node.edge is not None
            node.edge.visits = number
        deep = tree.root
        for _ in range(40):
            deep = tree.create_node(deep)
            assert deep.edge is not None
            deep.edge.visits = 1000
        tree.save("search")
    result = history("tree", "search")
    shown = rows(result.stdout)
    assert len(shown) == 100
    assert shown[32][0] == "  " * 32 + "182*"
    assert shown[33][0] == "  " * 32 + "(depth 33) 183*"
    assert [row[1] for row in shown[41:]] == [str(visits) for visits in range(149, 90, -1)]
    assert result.stderr == "casstore: 100 of 191 nodes; more with -n or --depth\n"
    assert len(history.json("tree", "search")["nodes"]) == 191


def test_states_that_several_ways_lead_to(history: Any) -> None:
    with casstore.open(history.store) as store:
        tree = StateTree(store, "main", merge_transpositions=True)
        left = tree.create_node(tree.root, {"files/l": b"l"}, action="l")
        right = tree.create_node(tree.root, {"files/r": b"r"}, action="r")
        both = tree.create_node(left, {"files/r": b"r"}, action="then r")
        assert tree.create_node(right, {"files/l": b"l"}, action="then l", prior=0.5) is both
        tree.save("search")
    nodes = history.json("tree", "search")["nodes"]
    assert [node["id"] for node in nodes] == [0, 1, 3, 2]
    assert nodes[2]["merged"] == [
        {"parent": 2, "child": 3, "action": "then l", "prior": 0.5, "visits": 0, "value": None}
    ]
    assert "also reached from:  2 then l\n" in history.text("tree", "show", "search", "3")
    assert history.json("tree", "show", "search", "3")["path"] == [0, 1, 3]


def test_show(searched: Any) -> None:
    seen = searched.json("tree", "show", "search", "3")
    assert (seen["command"], seen["ref"], seen["path"]) == ("tree show", "search", [0, 1, 3])
    listed = next(node for node in searched.json("tree", "search")["nodes"] if node["id"] == 3)
    weight = seen["node"].pop("weight")
    assert seen["node"] == listed
    assert weight == pytest.approx((6 + 0.75) / 9 * (4 + 0.5) / 6)
    assert [(change["letter"], change["key"]) for change in seen["changes"]] == [
        ("M", "files/one"),
        ("D", "files/run.sh"),
    ]
    assert [edge["child"] for edge in seen["edges"]] == [5]
    lines = searched.text("tree", "show", "search", "3").splitlines()
    facts = dict(line.split(":", 1) for line in lines if ": " in line)
    assert facts["path"].strip() == "0 1 3"
    assert facts["own"].strip() == "300 B (300 bytes)"
    assert facts["snapshot"].strip() == seen["node"]["snapshot"]
    assert facts["state id"].strip() == seen["node"]["state_id"]
    assert lines[lines.index("changes:") + 1 :][:3] == ["M one", "D run.sh", "children:"]
    assert lines[-1].split("\t") == ["5", "1", "0.25", "1", "x" * 60 + " ..."]
    assert "stats risk:" in searched.text("tree", "show", "search", "2")
    root = searched.json("tree", "show", "search", "0")
    assert (root["changes"], root["path"], root["node"]["parent"]) == ([], [0], None)


def test_the_state_of_a_node_is_a_state_like_any_other(searched: Any, tmp_path: Path) -> None:
    snapshot = searched.json("tree", "show", "search", "1")["node"]["snapshot"]
    searched("checkout", snapshot, tmp_path / "out")
    assert (tmp_path / "out" / "one").read_bytes() == b"1" * 100


def test_prune_shows_its_plan_and_keeps_what_it_is_told(searched: Any) -> None:
    before = refs_of(searched)
    words = ("tree", "prune", "search", "--keep-best", "1")
    planned = searched.json(*words, "--dry-run")
    assert planned["plan"] == {
        "keep": "the best 1 by value",
        "kept": [0, 1, 3],
        "dropped": [2, 4, 5],
        "own_bytes": 210,
    }
    assert (planned["dry_run"], planned["undo"]) == (True, None)
    lines = searched.text(*words, "--dry-run").splitlines()
    assert lines[:3] == ["keep:  the best 1 by value", "kept:  3 nodes", "to go: 3 nodes, 210 B of their own"]
    assert lines[3].split("\t") == ["2", "2", "0.1", '{"tool": "two"}']
    assert lines[-1] == "dry run: nothing was changed"
    assert refs_of(searched) == before
    done = searched.json(*words)
    assert (done["plan"], done["dry_run"]) == (planned["plan"], False)
    assert (done["old"], done["new"]) == (before["search"], refs_of(searched)["search"])
    assert [node["id"] for node in searched.json("tree", "search")["nodes"]] == [0, 1, 3]
    assert searched.json("log", "search")["snapshots"][0]["message"] == "pruned: the best 1 by value"
    searched(*shlex.split(done["undo"])[3:])
    assert refs_of(searched) == before
    assert len(searched.json("tree", "search")["nodes"]) == 6


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("--keep-best", "2"), {0, 1, 3}),
        (("--keep-best", "2", "--by", "visits"), {0, 1, 3}),
        (("--keep-best", "3", "--by", "visits"), {0, 1, 2, 3}),
        (("--keep-best", "3"), {0, 1, 3, 5}),
        (("--keep-best", "0"), {0}),
        (("--keep-path",), {0, 1, 3, 5}),
        (("--keep", "4", "--keep", "2"), {0, 1, 2, 4}),
        (("--keep", "0"), {0}),
        (("--keep-subtree", "3"), {0, 1, 3, 5}),
        (("--keep-subtree", "1"), {0, 1, 3, 4, 5}),
        (("--keep-path", "--keep", "2"), {0, 1, 2, 3, 5}),
    ],
)
def test_what_is_kept(searched: Any, words: tuple[str, ...], kept: set[int]) -> None:
    plan = searched.json("tree", "prune", "search", *words, "--dry-run")["plan"]
    assert set(plan["kept"]) == kept
    assert set(plan["dropped"]) == set(range(6)) - kept


def test_prune_of_nothing_saves_nothing(searched: Any) -> None:
    before = refs_of(searched)
    said = searched.text("tree", "prune", "search", "--keep-subtree", "0")
    assert said.splitlines()[-1] == "nothing to take out: nothing was changed"
    assert searched.json("tree", "prune", "search", "--keep-subtree", "0")["undo"] is None
    assert refs_of(searched) == before


def test_what_was_pruned_comes_free(searched: Any) -> None:
    dropped = next(node for node in searched.json("tree", "search")["nodes"] if node["id"] == 2)["snapshot"]
    searched("tree", "prune", "search", "--keep-path")
    searched("log", dropped)
    searched("gc", "--undo-keep", "0", "--grace", "0")
    searched("log", dropped, code=3)
    searched("verify")
    assert searched.json("tree", "show", "search", "5")["changes"][0]["key"] == "objects/memory"


def test_states_that_are_lost_are_named(searched: Any) -> None:
    with casstore.open(searched.store) as store:
        branch = store.branch("search")
        del branch.objects["states/0000000003"]
        record = branch.objects["nodes/0000000003"]
        branch.objects["nodes/0000000003"] = {**record, "lost": "ab" * 32}
        branch.commit(ref="search")
    result = searched("tree", "search")
    assert [row[3] for row in rows(result.stdout)] == ["2.0 KiB", "100 B", "lost", "parent lost", "0 B", "200 B"]
    assert result.stderr == "casstore: the states of 1 node are lost: 3\n"
    seen = searched.json("tree", "search")
    assert seen["missing"] == [3]
    assert [node["lost"] for node in seen["nodes"]] == [False, False, True, False, False, False]
    assert [node["own_bytes"] is None for node in seen["nodes"]] == [False, False, True, True, False, False]
    assert seen["nodes"][2]["state_id"] is None
    lines = searched.text("tree", "show", "search", "3").splitlines()
    facts = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert (facts["state id"], facts["own"], facts["snapshot"]) == ("lost", "lost", "ab" * 32)
    assert "changes" not in facts
    assert searched.json("tree", "show", "search", "3")["changes"] is None
    assert searched.json("tree", "show", "search", "5")["changes"] is None
    assert searched.json("tree", "prune", "search", "--keep-best", "0", "--dry-run")["plan"]["own_bytes"] == 300


def test_words_that_make_no_sense(searched: Any) -> None:
    assert searched("tree", code=2).stdout == ""
    assert searched("tree", "--json", code=2).stdout == ""
    assert searched.error("tree", "none", code=3)["kind"] == "not-found"
    assert searched.error("tree", "main", code=10)["kind"] == "invalid-input"
    assert searched.error("tree", "show", "search", "17", code=3)["kind"] == "not-found"
    assert searched("tree", "show", "search", "x", code=2).stdout == ""
    assert "--keep-best" in searched("tree", "prune", "search", code=2).stderr
    assert searched.error("tree", "prune", "search", "--keep", "17", code=3)["kind"] == "not-found"
    assert searched.error("tree", "prune", "main", "--keep-path", code=10)["kind"] == "invalid-input"


def test_a_ref_that_is_called_like_a_subcommand(searched: Any) -> None:
    for name in ("show", "prune", "list", "json"):
        searched("fork", "search", name)
        assert searched.json("tree", "list", name)["total"] == 6
        assert searched.json("tree", "show", name, "0")["ref"] == name
    assert searched.json("tree", "json")["ref"] == "json"
    assert searched("tree", "show", code=2).stdout == ""


def test_options_of_all_commands_may_stand_anywhere(searched: Any) -> None:
    store = str(searched.store)
    for words in (
        ("tree", "--json", "search"),
        ("tree", "--store", store, "search", "--json"),
        ("tree", f"--store={store}", "--json", "list", "search"),
        ("tree", "--json", "show", "search", "1"),
        ("tree", "--store", store, "show", "search", "1", "--json"),
    ):
        assert json.loads(searched(*words).stdout)["ref"] == "search"


def test_in_processes_of_their_own(searched: Any) -> None:
    with casstore.open(searched.store):
        done = searched.process("tree", "search", env={"FORCE_COLOR": "1"})
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"0*\t8\t0.4\t")
        assert b"\x1b" not in done.stdout
        assert searched.process("tree", "prune", "search", "--keep-path", "--dry-run").returncode == 0
        assert searched.process("tree", "prune", "search", "--keep-path", "--timeout", "0").returncode == 7
    assert searched.process("tree", "prune", "search", "--keep-path").returncode == 0
    assert len(json.loads(searched.process("tree", "search", "--json").stdout)["nodes"]) == 4
