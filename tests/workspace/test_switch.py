# SPDX-License-Identifier: MIT
"""From what a directory holds to another state and back: plans, safety snapshots, undo."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings

import casstore
from casstore.workspace import Workspace, checkout
from tests.workspace.switching import (
    LOCAL,
    OTHER,
    START,
    Made,
    assert_holds,
    become,
    collect,
    edit,
    looks,
    opened,
    registry_of,
    state_of,
    temporary_names,
    with_other,
)
from tests.workspace.trees import Tree, read_tree, trees, with_folders, write_tree


@pytest.fixture
def made(made: Made, tmp_path: Path) -> Made:
    return with_other(made, tmp_path)


# -- there and back


def test_there_and_back(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    report = workspace.switch("other")
    assert (report.snapshot, report.saved, report.warnings) == (store.refs["other"], None, ())
    assert report.source == store.refs["main"].id.hex()
    assert (report.written, report.deleted, report.bytes) == (6, 4, 1 + 10 + 1000)
    assert_holds(store, directory, store.refs["other"], tmp_path)
    assert (workspace.base, workspace.base_ref) == (store.refs["other"], "other")
    assert workspace.status(paranoid=True).clean
    assert workspace.snapshot() == store.refs["other"]
    workspace.switch("main")
    assert_holds(store, directory, store.refs["main"], tmp_path)
    assert workspace.status(paranoid=True).clean


def test_what_the_directory_alone_had_is_saved_and_comes_back(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)
    report = workspace.switch("other")
    assert report.saved is not None
    assert report.source == report.saved.id.hex()
    assert store.refs[f"workspace/{workspace.id}"] == report.saved
    assert report.saved.parents == (store.refs["main"].id,)
    checkout(store, report.saved, tmp_path / "saved")
    assert read_tree(tmp_path / "saved") == with_folders(LOCAL)
    collect(store)
    undone = workspace.undo()
    assert undone.saved is None, "nothing is lost that `other` has"
    assert read_tree(directory) == with_folders(LOCAL)
    assert_holds(store, directory, report.saved, tmp_path)
    assert (workspace.base, workspace.base_ref) == (store.refs["main"], "main"), "as before the switch"
    workspace.undo()
    assert_holds(store, directory, store.refs["other"], tmp_path)
    assert workspace.base_ref == "other"
    workspace.undo()
    assert read_tree(directory) == with_folders(LOCAL)


def test_edits_after_the_switch_are_not_lost_by_the_undo(made: Made) -> None:
    _, directory, workspace = made
    workspace.switch("other")
    edit(directory, {**OTHER, b"later": b"l", b"small": b"later"})
    report = workspace.undo()
    assert report.saved is not None
    assert report.saved.files["small"] == b"later"
    assert read_tree(directory) == with_folders(START)
    workspace.undo()
    assert read_tree(directory) == with_folders({**OTHER, b"later": b"l", b"small": b"later"})


def test_from_no_base_and_back_to_it(made: Made, tmp_path: Path) -> None:
    store, _, _ = made
    write_tree(tmp_path / "new", LOCAL)
    with Workspace(store, tmp_path / "new") as workspace:
        report = workspace.switch("other")
        assert report.saved is not None
        assert report.saved.parents == ()
        workspace.undo()
        assert read_tree(tmp_path / "new") == with_folders(LOCAL)
    (tmp_path / "empty").mkdir()
    with Workspace(store, tmp_path / "empty") as workspace:
        with pytest.raises(casstore.NotFoundError, match="never switched"):
            workspace.undo()
        assert workspace.switch("other").source is None
        assert workspace.undo().snapshot is None
        assert read_tree(tmp_path / "empty") == {}
        workspace.undo()
        assert_holds(store, tmp_path / "empty", store.refs["other"], tmp_path)


def test_a_branch_is_shown_with_what_was_changed_in_it(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    branch = store.branch("main")
    assert workspace.switch(branch).snapshot == store.refs["main"]
    branch.files["small"] = b"of the branch"
    del branch.files["d/one"]
    workspace.switch(branch)
    assert_holds(store, directory, branch.fork().commit(), tmp_path)
    workspace.switch(store.branch())
    assert read_tree(directory) == {}


def test_what_is_not_there_is_named(made: Made) -> None:
    _, directory, workspace = made
    for state in ("no such ref", "0" * 64, b"\0" * 32):
        with pytest.raises(casstore.CasstoreError):
            workspace.switch(state)  # type: ignore[arg-type]
    assert workspace.status().clean
    assert read_tree(directory) == with_folders(START)


def test_what_did_not_change_is_not_touched(made: Made) -> None:
    store, directory, workspace = made
    branch = store.branch("main")
    branch.files["d/one"] = b"one file"
    one = branch.commit()
    before = looks(directory)
    workspace.switch(one)
    after = looks(directory)
    assert {path for path in before if before[path] != after[path]} == {"d", "d/one"}
    inode, _, _, _, mode = before["d/two"]
    os.chmod(directory / "d/two", 0o755)
    workspace.snapshot(ref="executable")
    workspace.switch(one)
    found = looks(directory)["d/two"]
    assert (found[0], found[2], found[4]) == (inode, before["d/two"][2], mode), "a mode keeps inode and mtime"


def test_a_file_that_somebody_holds_open_keeps_its_content_for_him(made: Made) -> None:
    _, directory, workspace = made
    os.link(directory / "small", directory.parent / "outside")
    with (directory / "small").open("rb") as file:
        workspace.switch("other")
        assert file.read() == b"1"
    assert (directory.parent / "outside").read_bytes() == b"1"
    assert (directory / "small").read_bytes() == b"2"


@settings(max_examples=25)
@given(trees, trees, trees)
def test_random_trees(tmp_path_factory: pytest.TempPathFactory, one: Tree, two: Tree, local: Tree) -> None:
    top = tmp_path_factory.mktemp("random")
    try:
        with casstore.open(":memory:") as plain:
            # What a plain import says each tree is.
            wanted = [state_of(plain, tree, top / f"tree{at}").roots.get("files") for at, tree in enumerate((one, two))]
        store, directory, workspace = opened(top, one)
        with store, workspace:
            main, target = store.refs["main"], state_of(store, two, top / "target")
            assert [main.roots.get("files"), target.roots.get("files")] == wanted
            # Somebody works in the directory, without as much as a tick between his edits and the switch.
            become(directory, local)
            before = read_tree(directory)
            report = workspace.switch(target)
            assert read_tree(directory) == read_tree(top / "target")
            if report.saved is not None:
                assert_holds(store, directory, target, top)
            lost = before != read_tree(top / "tree0")
            assert (report.saved is not None) == lost
            workspace.undo()
            assert read_tree(directory) == before
            if lost:
                assert report.saved is not None
                assert_holds(store, directory, report.saved, top)
            workspace.undo()
            assert read_tree(directory) == read_tree(top / "target")
            workspace.switch(main)
            assert read_tree(directory) == read_tree(top / "tree0")
            # Right after a switch the directory is captured as if nothing were known of it.
            become(directory, local)
            assert workspace.snapshot().roots == state_of(store, local, top / "local").roots
            assert temporary_names(directory) == []
    finally:
        shutil.rmtree(top)


def test_between_many_states_with_one_base(made: Made, tmp_path: Path) -> None:
    """The stat cache goes along with every switch, and is right each time."""
    store, directory, workspace = made
    states = [store.refs["main"], store.refs["other"]]
    for number in range(6):
        branch = store.branch(states[number % 2])
        branch.files[f"d{number % 2}/file{number}"] = b"%d" % number * (number * 40)
        branch.files["same"] = b"%d" % number * 300
        states.append(branch.commit())
    for turn in range(24):
        state = states[turn * 5 % len(states)]
        workspace.switch(state)
        assert workspace.status().clean
        if turn % 3 == 0:
            assert_holds(store, directory, state, tmp_path)
            workspace.close()
        assert workspace.snapshot() == state


@pytest.mark.parametrize("again", [False, True])
def test_what_a_switch_wrote_and_somebody_deleted_at_once(made: Made, tmp_path: Path, again: bool) -> None:
    store, directory, workspace = made
    workspace.switch("other")
    shutil.rmtree(directory / "new")
    (directory / "empty/no more").unlink()
    (directory / "empty").rmdir()
    (directory / "d").unlink()
    if again:
        # The same for whoever knows the directory by what the store keeps about it.
        workspace.close()
    gone = ["files/d", "files/empty/no more", "files/new/in/folder"]
    assert [change.key for change in workspace.status().changes] == gone
    saved = workspace.snapshot()
    assert_holds(store, directory, saved, tmp_path)
    (directory / "empty").mkdir()
    assert [change.key for change in workspace.status().changes] == ["files/empty"]
    workspace.switch("other")
    (directory / "empty/no more").unlink()
    assert [change.key for change in workspace.status().changes] == ["files/empty", "files/empty/no more"]


# -- plans


def test_a_plan_changes_nothing(made: Made) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)
    before = looks(directory), dict(store.refs.ids()), registry_of(store), workspace.id
    plan = workspace.plan_switch("other")
    assert plan.directory == str(directory)
    assert (plan.source, plan.target, plan.target_ref) == (store.refs["main"], store.refs["other"], "other")
    lost = ["files/d/one", "files/d/two", "files/local/new", "files/small", "files/tool"]
    assert [change.key for change in plan.lost] == lost
    paths = (LOCAL.keys() | OTHER.keys()) - {b"same"}
    assert {change.key for change in plan.changes} == {f"files/{path.decode()}" for path in paths}
    assert plan.files_written + plan.files_deleted == len(plan.changes)
    assert plan.bytes == 1 + 10 + 10 + 1000
    plan.drop()
    assert (looks(directory), dict(store.refs.ids()), registry_of(store), workspace.id) == before
    with pytest.raises(casstore.InvalidInputError, match="executed or dropped"):
        plan.execute()
    assert (looks(directory), dict(store.refs.ids()), registry_of(store), workspace.id) == before


def test_a_plan_is_executed_once(made: Made) -> None:
    _, directory, workspace = made
    plan = workspace.plan_switch("other")
    plan.execute()
    workspace.switch("main")
    with pytest.raises(casstore.InvalidInputError):
        plan.execute()
    assert read_tree(directory) == with_folders(START)


def spoil_by_switching(workspace: Workspace) -> None:
    workspace.switch("other")


def spoil_by_capturing(workspace: Workspace) -> None:
    workspace.snapshot("meanwhile")


def spoil_by_another(workspace: Workspace) -> None:
    with Workspace(workspace.store, workspace.directory) as other:
        other.switch("other")


@pytest.mark.parametrize("spoil", [spoil_by_switching, spoil_by_capturing, spoil_by_another])
def test_a_plan_is_stale_when_the_workspace_changed(made: Made, spoil: object) -> None:
    _, directory, workspace = made
    edit(directory, LOCAL)
    plan = workspace.plan_switch("main")
    spoil(workspace)  # type: ignore[operator]
    before = read_tree(directory)
    with pytest.raises(casstore.ConflictError, match="plan again"):
        plan.execute()
    assert read_tree(directory) == before
    assert not workspace.interrupted


@pytest.mark.parametrize("path", ["small", "d/two", "tool", "link", "new", "d/deep/er/fresh"])
@pytest.mark.parametrize("look", [False, True])
def test_a_plan_is_stale_when_the_directory_changed(made: Made, path: str, look: bool) -> None:
    _store, directory, workspace = made
    edit(directory, LOCAL)
    plan = workspace.plan_switch("other")
    place = directory / path
    if place.is_symlink():
        place.unlink()
    place.write_bytes(b"a moment later")
    if look:
        workspace.status()
    before = read_tree(directory)
    with pytest.raises((casstore.ConflictError, casstore.InvalidInputError)):
        plan.execute()
    after = read_tree(directory)
    assert after[path.encode()] in (b"a moment later", ("x", b"a moment later"))
    assert after == before
    if workspace.interrupted:
        workspace.undo()
    report = workspace.switch("other")
    assert report.saved is not None
    assert report.saved.files[path] == b"a moment later"


def test_a_plan_of_a_read_only_store_is_for_reading(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    edit(directory, LOCAL)
    workspace.close()
    store.close()
    with casstore.open(str(tmp_path / "store"), read_only=True) as store, Workspace(store, directory) as workspace:
        plan = workspace.plan_switch("other")
        assert len(plan.lost) == 5
        with pytest.raises(casstore.ReadOnlyError):
            plan.execute()
    assert read_tree(directory) == with_folders(LOCAL)
