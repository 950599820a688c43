# SPDX-License-Identifier: MIT
"""A search whose nodes are shown in a directory: files there and objects here are those of one node, or it raises."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.format.entry import EXECUTABLE
from casstore.mcts import Node, StateTree
from casstore.workspace import Selection, Workspace, fork_to
from tests.workspace.overlays import need_overlay
from tests.workspace.switching import opened, settle, unmounting
from tests.workspace.trees import Tree, read_tree, with_folders

START: Tree = {b"main.py": b"print(0)\n", b"data/big": b"b" * 3000, b"run": ("x", b"#!/bin/sh\n")}
PROGRAM = """
import os, random, shutil, sys
chance = random.Random(int(sys.argv[1]))
for turn in range(6):
    name = chance.choice(["main.py", "data/new", "data/big", "pkg/a", "pkg/b", "out"])
    folder = os.path.dirname(name)
    if chance.random() < 0.25 and os.path.exists(name):
        os.unlink(name)
    elif chance.random() < 0.1 and os.path.isdir("pkg"):
        shutil.rmtree("pkg")
    else:
        os.makedirs(folder or ".", exist_ok=True)
        with open(name, "wb") as file:
            file.write(chance.randbytes(chance.choice([5, 500])))
"""


@pytest.fixture(params=["plain", "watched", "overlay"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[casstore.Store, Workspace]]:
    """A store whose ``main`` has files and objects, and a workspace in which nodes are shown."""
    store, directory, workspace = opened(tmp_path, START)
    with store, unmounting(tmp_path):
        branch = store.branch("main")
        branch.objects["score"] = 0
        branch.commit(ref="main")
        if request.param == "overlay":
            need_overlay(tmp_path)
            workspace = fork_to(store, "main", tmp_path / "fork", method="overlay")
        elif request.param == "watched":
            workspace = Workspace(store, directory, watch=True)
        with workspace:
            yield store, workspace


def files_of(branch: casstore.Branch) -> dict[bytes, tuple[bool, bytes]]:
    return {
        path.encode(): (branch.files.entry(path).kind == EXECUTABLE, content) for path, content in branch.files.items()
    }


def files_in(directory: str) -> dict[bytes, tuple[bool, bytes]]:
    return {
        path: (isinstance(node, tuple), node[1] if isinstance(node, tuple) else node)
        for path, node in read_tree(directory).items()
        if node is not None
    }


def work(tree: StateTree, workspace: Workspace, parent: Node, seed: int) -> Node:
    """A step of a search: back to a node, a program works in the directory, what it did becomes a node."""
    branch = tree.backtrack_to(parent, workspace=workspace)
    workspace.run([sys.executable, "-S", "-c", PROGRAM, str(seed)], check=True)
    branch.objects["score"] = seed
    return tree.create_node(parent, workspace.capture(branch), action=seed)


def test_back_and_forth_between_nodes(scene: tuple[casstore.Store, Workspace]) -> None:
    store, workspace = scene
    tree = StateTree(store, "main")
    chance = random.Random(7)
    nodes, seen = [tree.root], {tree.root.id: (files_in(workspace.directory), 0)}
    for seed in range(1, 10):
        node = work(tree, workspace, chance.choice(nodes), seed)
        seen[node.id] = files_in(workspace.directory), seed
        nodes.append(node)
    assert len({str(files) for files, _ in seen.values()}) > 5
    for turn in range(30):
        node = chance.choice(nodes)
        branch = tree.backtrack_to(node, workspace=workspace)
        files, score = seen[node.id]
        assert files_in(workspace.directory) == files
        assert files_of(branch) == files
        assert branch.objects["score"] == score
        assert workspace.status().clean
        assert branch.state_id() == node.state_id
        if turn % 7 == 3:
            settle()
            assert workspace.status(paranoid=True).clean
    store.verify()


def test_what_a_program_left_is_saved_when_the_search_goes_elsewhere(scene: tuple[casstore.Store, Workspace]) -> None:
    store, workspace = scene
    tree = StateTree(store, "main")
    node = work(tree, workspace, tree.root, 3)
    tree.backtrack_to(node, workspace=workspace)
    Path(workspace.directory, "main.py").write_bytes(b"never captured")
    tree.backtrack_to(tree.root, workspace=workspace)
    assert store.refs[f"workspace/{workspace.id}"].files["main.py"] == b"never captured"
    workspace.undo()
    assert Path(workspace.directory, "main.py").read_bytes() == b"never captured"


def test_edits_in_python_and_in_the_directory_are_one(scene: tuple[casstore.Store, Workspace]) -> None:
    store, workspace = scene
    tree = StateTree(store, "main")
    node = tree.create_node(tree.root, {"files/data/new": b"by python", "files/main.py": b"1", "objects/score": 5})
    branch = tree.backtrack_to(node, workspace=workspace)
    assert Path(workspace.directory, "data/new").read_bytes() == b"by python"
    Path(workspace.directory, "data/new").unlink()
    Path(workspace.directory, "data/newer").write_bytes(b"by hand")
    workspace.capture(branch)
    branch.files["main.py"] = b"2"
    child = tree.create_node(node, branch)
    again = tree.backtrack_to(child, workspace=workspace)
    assert files_in(workspace.directory) == files_of(again) == files_of(branch)
    assert again.objects["score"] == 5
    assert dict(tree.backtrack_to(node).files)["data/new"] == b"by python", "the node above is as it was"


def test_a_directory_that_cannot_be_switched_raises_and_stays(tmp_path: Path) -> None:
    store, directory, _ = opened(tmp_path, {**START, b".gitignore": b"*.o\n"})
    with store, Workspace(store, directory, selection=Selection(ignore="git")) as workspace:
        tree = StateTree(store, "main")
        node = tree.create_node(tree.root, {"files/a.o": b"of the node"})
        called = []
        tree.backtrack_to(tree.root, workspace=workspace)
        (directory / "a.o").write_bytes(b"left out, and precious")
        before = read_tree(directory)
        with pytest.raises(casstore.InvalidInputError):
            called.append(tree.backtrack_to(node, workspace=workspace))
        assert called == []
        assert read_tree(directory) == before
        assert tree.backtrack_to(tree.root, workspace=workspace).files["main.py"] == b"print(0)\n"
        (directory / "a.o").unlink()
        tree.backtrack_to(node, workspace=workspace)
        assert (directory / "a.o").read_bytes() == b"of the node"


def test_a_node_of_another_tree_is_refused_before_anything_is_switched(tmp_path: Path) -> None:
    store, directory, workspace = opened(tmp_path, START)
    with store, workspace:
        tree, other = StateTree(store, "main"), StateTree(store, "main")
        node = other.create_node(other.root, {"files/main.py": b"1"})
        with pytest.raises(casstore.InvalidInputError):
            tree.backtrack_to(node, workspace=workspace)
        assert read_tree(directory) == with_folders(START)
        assert workspace.base_ref == "main"


def test_a_search_that_is_taken_up_again(tmp_path: Path) -> None:
    store, directory, workspace = opened(tmp_path, START)
    with store, workspace:
        tree = StateTree(store, "main")
        node = work(tree, workspace, tree.root, 5)
        files = files_in(str(directory))
        tree.backtrack_to(tree.root, workspace=workspace)
        tree.save("search")
        number = node.id
    with casstore.open(str(tmp_path / "store")) as store, Workspace(store, directory) as workspace:
        tree = StateTree.resume(store, "search")
        branch = tree.backtrack_to(tree[number], workspace=workspace)
        assert files_in(str(directory)) == files_of(branch) == files


def test_a_branch_that_nothing_was_done_to_is_its_snapshot(tmp_path: Path) -> None:
    with casstore.open(str(tmp_path / "store")) as store:
        branch = store.branch()
        assert branch.unchanged is None
        branch.files["a"] = b"1"
        branch.objects["o"] = [1]
        first = branch.commit(ref="main")
        assert branch.unchanged == first
        assert branch.fork().unchanged == first
        assert store.branch("main").unchanged == first
        branch.files["a"] = b"2"
        assert branch.unchanged is None
        assert branch.fork().unchanged is None
        assert store.branch("main").unchanged == first
        branch.fold()
        assert branch.unchanged is None
        other = store.branch("main")
        other.objects["o"].append(2)
        other.objects["o"] = other.objects["o"]
        assert other.unchanged is None
        merged = store.branch("main")
        merged.merge(store.branch("main"))
        assert merged.unchanged in (first, None)
        with casstore.open(str(tmp_path / "another")) as another:
            assert another.branch().unchanged is None
