# SPDX-License-Identifier: MIT
"""Forks of a directory, programs that run in it, and the end of a workspace; overlays among them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import casstore
from casstore.workspace import (
    Workspace,
    fork_to,
    list_workspaces,
    plan_prune_workspaces,
)
from tests.workspace.overlays import need_overlay
from tests.workspace.switching import (
    OTHER,
    START,
    Made,
    assert_holds,
    child,
    collect,
    edit,
    keys,
    opened,
    state_of,
    unmounting,
)
from tests.workspace.trees import read_tree, with_folders, write_tree

# -- forks and programs


@pytest.mark.parametrize("method", ["copy", "overlay", "reflink"])
def test_a_fork_goes_its_own_way(made: Made, tmp_path: Path, method: str) -> None:
    store, directory, workspace = made
    if method == "overlay":
        need_overlay(tmp_path)
    edit(directory, {**OTHER, b"local": b"l"})
    try:
        fork = workspace.fork_to(tmp_path / "fork", method=method)
    except casstore.InvalidInputError as error:
        if method != "reflink":
            raise
        pytest.skip(str(error))
    with fork:
        assert fork.kind == method
        assert fork.base_ref == "main"
        assert read_tree(tmp_path / "fork") == read_tree(directory)
        assert fork.status().clean
        (tmp_path / "fork/local").write_bytes(b"of the fork")
        (tmp_path / "fork/tool").unlink()
        assert keys(fork.status().changes) == ["files/local", "files/tool"]
        assert keys(workspace.status().changes) == keys(workspace.status().changes)
        assert (directory / "local").read_bytes() == b"l"
        saved = fork.snapshot("in the fork")
        assert saved.files["local"] == b"of the fork"
        assert workspace.snapshot().files["local"] == b"l"
        # And a fork of the fork.
        with fork.fork_to(tmp_path / "second", method=method) as second:
            (tmp_path / "second/more").write_bytes(b"m")
            assert keys(second.status().changes) == ["files/more"]
            assert_holds(store, tmp_path / "second", second.snapshot(), tmp_path)
            second.remove()
        fork.remove()
    assert (tmp_path / "fork").exists() == (method != "overlay")
    assert [one.id for one in list_workspaces(store)] == [workspace.id]


@pytest.mark.parametrize("place", ["occupied", "store/fork", "a file"])
def test_a_fork_needs_an_empty_folder(made: Made, tmp_path: Path, place: str) -> None:
    store, _, workspace = made
    write_tree(tmp_path, {b"occupied/x": b"1", b"a file": b"2"})
    with pytest.raises(casstore.InvalidInputError):
        workspace.fork_to(tmp_path / place, method="copy")
    assert len(list_workspaces(store)) == 1


def test_a_fork_of_a_branch(made: Made, tmp_path: Path) -> None:
    store, _, _ = made
    branch = store.branch("main")
    branch.files["d/one"] = b"of the branch"
    with fork_to(store, branch, tmp_path / "fork", method="copy") as fork:
        assert (tmp_path / "fork/d/one").read_bytes() == b"of the branch"
        collect(store)
        assert fork.status().clean
        assert not fork.status().base_lost
    with fork_to(store, "main", tmp_path / "of a ref", method="copy") as fork:
        assert fork.base_ref == "main"


def test_programs_run_in_the_directory(made: Made) -> None:
    _, directory, workspace = made
    done = workspace.run(["sh", "-c", "pwd; echo new > small"], capture_output=True, text=True)
    assert done.stdout.strip() == str(directory)
    assert keys(workspace.status().changes) == ["files/small"]


def test_removing_forgets_and_deletes_nothing(made: Made) -> None:
    store, directory, workspace = made
    (directory / "small").write_bytes(b"2")
    workspace.snapshot()
    ref = f"workspace/{workspace.id}"
    workspace.remove()
    assert ref not in store.refs
    assert list_workspaces(store) == []
    assert read_tree(directory) == with_folders({**START, b"small": b"2"})
    assert workspace.status().files == 6


def test_removing_one_whose_directory_is_gone(made: Made) -> None:
    store, directory, workspace = made
    shutil.rmtree(directory)
    workspace.remove()
    assert list_workspaces(store) == []


# -- overlays


def test_an_overlay_is_a_workspace_like_others(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _, workspace = made
    other = state_of(store, OTHER, tmp_path / "other")
    with workspace.fork_to(tmp_path / "fork", method="overlay") as fork:
        directory = tmp_path / "fork"
        report = fork.switch(other)
        assert report.saved is None
        assert_holds(store, directory, other, tmp_path)
        fork.undo()
        assert read_tree(directory) == with_folders(START)
        # With edits that are only a moment old, and a symlink.
        (directory / "small").write_bytes(b"local")
        (directory / "link").unlink()
        (directory / "link").symlink_to("local")
        local = read_tree(directory)
        report = fork.switch(other)
        assert report.saved is not None
        assert_holds(store, directory, other, tmp_path)
        fork.undo()
        assert read_tree(directory) == local
        fork.undo()
        assert_holds(store, directory, other, tmp_path)
        store.verify()


def test_a_file_of_an_overlay_that_changed_after_the_plan_is_not_lost(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _, workspace = made
    target = state_of(store, {b"same": b"other"}, tmp_path / "other")
    with workspace.fork_to(tmp_path / "fork", method="overlay") as fork:
        for name, look in (("small", False), ("same", False), ("d/one", True)):
            before = read_tree(tmp_path / "fork")
            plan = fork.plan_switch(target)
            (tmp_path / "fork" / name).write_bytes(b"a moment later")
            if look:
                fork.status()
            with pytest.raises(casstore.ConflictError):
                plan.execute()
            assert read_tree(tmp_path / "fork") == {**before, name.encode(): b"a moment later"}
            fork.undo() if fork.interrupted else fork.snapshot()


def test_an_overlay_outlives_the_snapshot_of_its_base(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _, workspace = made
    with workspace.fork_to(tmp_path / "fork", method="overlay") as fork:
        (tmp_path / "fork/small").write_bytes(b"2")
        workspace.remove()
        store.refs.delete("main")
    collect(store)
    with Workspace(store, tmp_path / "fork") as fork:
        assert fork.status().base_lost
        saved = fork.snapshot()
        assert saved.files["small"] == b"2"
        assert saved.files["same"] == b"s" * 300


# -- a mount that a crash left


def test_a_mount_left_by_a_killed_process(tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, directory, workspace = opened(tmp_path)
    workspace.close()
    store.close()
    code = """
import casstore, os, signal
from casstore.workspace import Workspace
store = casstore.open(sys.argv[1])
fork = Workspace(store, sys.argv[2]).fork_to(sys.argv[3], method="overlay")
open(os.path.join(sys.argv[3], "small"), "w").write("in the fork")
os.kill(os.getpid(), signal.SIGKILL)
"""
    with unmounting(tmp_path):
        killed = child(code, str(tmp_path / "store"), str(directory), str(tmp_path / "fork"))
        _, err = killed.communicate(timeout=60)
        assert killed.returncode == -9, err.decode()
        with casstore.open(str(tmp_path / "store")) as store:
            found = {one.path: one for one in list_workspaces(store)}
            assert found[str(tmp_path / "fork")].state == "ok"
            assert plan_prune_workspaces(store).dead == ()
            with Workspace(store, tmp_path / "fork") as fork:
                assert [change.key for change in fork.status().changes] == ["files/small"]
            # After a restart the mount is gone, and comes back with what was in it.
            subprocess.run(["umount", str(tmp_path / "fork")], check=True)
            assert {one.state for one in list_workspaces(store)} == {"ok", "unmounted"}
            with Workspace(store, tmp_path / "fork") as fork:
                assert [change.key for change in fork.status().changes] == ["files/small"]
                fork.mount()
                assert (tmp_path / "fork/small").read_bytes() == b"in the fork"
            # And when its folder is gone as well, pruning keeps what it alone had.
            subprocess.run(["umount", str(tmp_path / "fork")], check=True)
            (tmp_path / "fork").rmdir()
            plan = plan_prune_workspaces(store)
            assert [(one.path, one.state) for one in plan.dead] == [(str(tmp_path / "fork"), "missing")]
            report = plan.execute()
            (saved,) = report.saved.values()
            assert store.snapshots.get(saved).files["small"] == b"in the fork"
            assert [one.path for one in list_workspaces(store)] == [str(directory)]
            assert os.listdir(os.path.join(store.path, "bases")) == []
            with fork_to(store, saved, tmp_path / "again", method="overlay") as again:
                assert (tmp_path / "again/small").read_bytes() == b"in the fork"
                again.remove()
