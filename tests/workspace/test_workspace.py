# SPDX-License-Identifier: MIT
"""A directory and the store that knows it: looking, saving, being lost and found again, taking turns."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import casstore
from casstore.workspace import (
    Selection,
    Workspace,
    checkout,
    find_workspace,
    fork_to,
    import_directory,
    list_workspaces,
)
from tests.workspace.switching import (
    OTHER,
    START,
    Made,
    assert_holds,
    collect,
    edit,
    keys,
    looks,
    state_of,
)
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree


def keys_of(*trees: Tree) -> set[str]:
    return {f"files/{path.decode()}" for tree in trees for path in tree}


# -- what it is


def test_a_directory_is_not_registered_by_looking_at_it(tmp_path: Path) -> None:
    write_tree(tmp_path / "work", START)
    with casstore.open(str(tmp_path / "store")) as store, Workspace(store, tmp_path / "work") as workspace:
        status = workspace.status()
        assert (status.id, status.kind, status.base, status.base_lost, status.clean) == (
            None,
            "plain",
            None,
            False,
            False,
        )
        assert len(status.changes) == len(START)
        assert list_workspaces(store) == []
        assert os.listdir(os.path.join(store.path, "workspaces")) == []
        assert sorted(os.listdir(tmp_path)) == ["store", "work"]


def test_the_first_snapshot_registers_it(made: Made) -> None:
    store, directory, workspace = made
    assert workspace.id is not None
    assert workspace.base == store.refs["main"]
    assert workspace.base_ref == "main"
    assert workspace.status().clean
    assert [(one.path, one.state, one.base_ref) for one in list_workspaces(store)] == [(str(directory), "ok", "main")]
    assert read_tree(directory) == with_folders(START), "something was put into the directory"


def test_an_imported_directory_is_known_by_its_import(tmp_path: Path) -> None:
    write_tree(tmp_path / "work", START)
    with casstore.open(str(tmp_path / "store")) as store:
        imported = import_directory(store, tmp_path / "work", ref="main", selection=Selection(keep_git=False)).snapshot
        with find_workspace(store, tmp_path / "work" / "d") as workspace:
            assert (workspace.base, workspace.id) == (imported, None)
            assert workspace.selection == Selection(keep_git=False)
            # A plan of a directory that is not registered yet can be executed all the same.
            edit(tmp_path / "work", OTHER)
            workspace.plan_switch("main").execute()
            assert read_tree(tmp_path / "work") == with_folders(START)


def test_a_checked_out_directory_is_one(made: Made, tmp_path: Path) -> None:
    store, _, _ = made
    checkout(store, "main", tmp_path / "out")
    with find_workspace(store, tmp_path / "out" / "d" / "deep") as workspace:
        assert (workspace.base, workspace.base_ref) == (store.refs["main"], "main")
        assert workspace.status().clean


@pytest.mark.parametrize("place", ["store", "store/segments", "/", "~"])
def test_a_directory_that_is_none_is_refused(made: Made, tmp_path: Path, place: str) -> None:
    store, _, _ = made
    path = os.path.expanduser(place) if place in "/~" else tmp_path / place
    with pytest.raises(casstore.InvalidInputError):
        Workspace(store, path).status()


@pytest.mark.parametrize("place", ["missing", "work/small", "a\0b", ""])
def test_what_is_no_folder_is_refused(made: Made, tmp_path: Path, place: str) -> None:
    with pytest.raises(casstore.InvalidInputError):
        Workspace(made[0], f"{tmp_path}/{place}" if place else "")


def test_a_store_in_memory_keeps_no_workspace(store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path / "work", START)
    with Workspace(store, tmp_path / "work") as workspace:
        assert len(workspace.status().changes) == len(START)
        with pytest.raises(casstore.InvalidInputError, match="in memory"):
            workspace.snapshot()
        assert list_workspaces(store) == []


# -- looking and saving


def test_status_names_what_changed_and_changes_nothing(made: Made) -> None:
    store, directory, workspace = made
    edit(directory, OTHER)
    before, refs = looks(directory), dict(store.refs.ids())
    for paranoid in (False, True, False):
        status = workspace.status(paranoid=paranoid)
        assert keys(status.changes) == sorted(keys(status.changes))
        assert set(keys(status.changes)) == keys_of(START, OTHER) - {"files/same"}
        assert not status.clean
        assert status.files == 6
    assert (looks(directory), dict(store.refs.ids())) == (before, refs)


def test_an_unchanged_directory_is_its_base(made: Made) -> None:
    store, _, workspace = made
    base = workspace.base
    assert workspace.snapshot("again") == base
    assert workspace.branch().start == base
    assert workspace.snapshot("as another", ref="another") == base
    assert store.refs["another"] == base
    assert workspace.base_ref == "another"


def test_a_snapshot_without_a_ref_is_kept(made: Made) -> None:
    store, directory, workspace = made
    (directory / "small").write_bytes(b"changed")
    saved = workspace.snapshot("kept")
    assert saved.parents == (store.refs["main"].id,)
    assert store.refs[f"workspace/{workspace.id}"] == saved
    assert store.refs["main"] != saved
    collect(store)
    assert saved.files["small"] == b"changed"


def test_a_ref_that_moved_is_said_to_have_and_not_moved_again(made: Made) -> None:
    store, directory, workspace = made
    branch = store.branch("main")
    branch.files["small"] = b"by somebody else"
    branch.commit(ref="main")
    assert workspace.status().ref_moved
    (directory / "same").write_bytes(b"mine")
    with pytest.raises(casstore.ConflictError):
        workspace.snapshot(ref="main")
    assert store.refs["main"].files["small"] == b"by somebody else"
    assert workspace.snapshot(ref="mine").files["small"] == b"1"
    assert not workspace.status().ref_moved


def test_a_ref_that_names_something_else_is_a_conflict_also_where_nothing_changed(made: Made) -> None:
    store, _, workspace = made
    store.refs["other"] = store.add_snapshot(roots={}, message="not this")
    with pytest.raises(casstore.ConflictError):
        workspace.snapshot(ref="other")
    assert workspace.base_ref == "main"
    assert store.refs["other"].message == "not this"


def test_objects_travel_with_the_directory(made: Made) -> None:
    store, directory, workspace = made
    branch = store.branch("main")
    branch.objects["memory"] = {"step": 1}
    branch.commit(ref="main")
    workspace.switch("main")
    (directory / "small").write_bytes(b"after")
    saved = workspace.snapshot("with objects")
    assert store.branch(saved).objects["memory"] == {"step": 1}
    (directory / "small").write_bytes(b"later")
    assert workspace.branch().objects["memory"] == {"step": 1}
    with workspace.fork_to(directory.parent / "fork", method="copy") as fork:
        assert fork.base is not None
        assert store.branch(fork.base).objects["memory"] == {"step": 1}
    report = workspace.switch(store.branch())
    assert report.saved is not None
    assert store.branch(report.saved).objects["memory"] == {"step": 1}


def test_a_lost_base_is_said_to_be_and_everything_works_on(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    other = state_of(store, OTHER, tmp_path / "other")
    store.refs["other"] = other
    workspace.close()
    store.refs.delete("main")
    collect(store)
    with Workspace(store, directory) as again:
        status = again.status()
        assert (status.base, status.base_lost, status.ref_moved) == (None, True, False)
        assert status.ref_gone
        assert set(keys(status.changes)) == keys_of(START)
        report = again.switch("other")
        assert report.saved is not None
        assert_holds(store, tmp_path / "work", other, tmp_path)
        again.undo()
        assert read_tree(directory) == with_folders(START)
        assert again.snapshot("found again").files["small"] == b"1"


def test_a_lost_base_under_an_open_workspace(made: Made) -> None:
    store, directory, workspace = made
    store.refs.delete("main")
    collect(store)
    assert workspace.status().clean, "what is open keeps its base"
    workspace.close()
    collect(store)
    assert workspace.status().base_lost
    (directory / "small").write_bytes(b"2")
    saved = workspace.snapshot()
    assert {path: saved.files[path] for path in ("small", "same")} == {"small": b"2", "same": b"s" * 300}
    store.verify()


def test_a_moved_directory_is_the_same_workspace(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    workspace.close()
    directory.rename(tmp_path / "moved")
    assert [one.state for one in list_workspaces(store)] == ["missing"]
    with Workspace(store, tmp_path / "moved") as moved:
        assert moved.id == workspace.id
        assert moved.status().clean
        moved.branch()
    assert [(one.path, one.state) for one in list_workspaces(store)] == [(str(tmp_path / "moved"), "ok")]
    with find_workspace(store, tmp_path / "moved" / "d") as found:
        assert found.id == workspace.id


def test_a_directory_made_anew_is_another_workspace(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    workspace.close()
    directory.rename(tmp_path / "kept, so that its inode is not given again")
    write_tree(directory, {b"foreign": b"f"})
    with Workspace(store, directory) as new:
        assert (new.id, new.base) == (None, None)
        assert keys(new.status().changes) == ["files/foreign"]
    import_directory(store, directory, ref="new")
    with find_workspace(store, directory) as found:
        assert found.base == store.refs["new"]
        found.snapshot()
        assert found.id not in (None, workspace.id)
    states = {one.id: one.state for one in list_workspaces(store)}
    assert states == {workspace.id: "missing", found.id: "ok"}


def test_a_directory_made_anew_under_an_open_workspace_is_looked_at_anew(made: Made, tmp_path: Path) -> None:
    _, directory, workspace = made
    directory.rename(tmp_path / "kept")
    write_tree(directory, {**START, b"small": b"5"})
    assert keys(workspace.status().changes) == ["files/small"]
    assert workspace.snapshot().files["small"] == b"5"


def test_a_store_opened_again_knows_the_workspace(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    (directory / "small").write_bytes(b"after")
    report = workspace.switch(state_of(store, OTHER, tmp_path / "other"))
    workspace.close()
    store.close()
    with casstore.open(str(tmp_path / "store")) as store, find_workspace(store, directory) as again:
        assert again.id == workspace.id
        assert again.base is not None
        assert report.snapshot is not None
        assert again.base.id == report.snapshot.id
        assert again.status().clean
        again.undo()
        assert read_tree(directory) == with_folders({**START, b"small": b"after"})


def test_a_store_that_is_read_only_gives_a_look(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    workspace.switch(store.branch("main"))
    (directory / "small").write_bytes(b"after")
    workspace.close()
    store.close()
    (tmp_path / "unknown").mkdir()

    def contents(folder: str) -> dict[str, bytes]:
        return {str(place): place.read_bytes() for place in Path(store.path, folder).rglob("*") if place.is_file()}

    before = contents("workspaces")
    with casstore.open(str(tmp_path / "store"), read_only=True) as store:
        workspace = Workspace(store, directory)
        assert keys(workspace.status().changes) == ["files/small"]
        assert [one.state for one in list_workspaces(store)] == ["ok"]
        for call in (
            workspace.snapshot,
            workspace.branch,
            workspace.undo,
            workspace.remove,
            lambda: workspace.switch("main"),
            lambda: workspace.plan_switch("main").execute(),
            lambda: workspace.capture(store.branch("main")),
            lambda: workspace.fork_to(tmp_path / "fork"),
            lambda: fork_to(store, "main", tmp_path / "fork", method="copy"),
            lambda: Workspace(store, tmp_path / "unknown", watch=True),
        ):
            with pytest.raises(casstore.ReadOnlyError):
                call()
    assert contents("workspaces") == before
    assert read_tree(directory) == with_folders({**START, b"small": b"after"})
    assert not (tmp_path / "fork").exists()


def test_what_was_forgotten_under_an_open_workspace_is_registered_anew(made: Made) -> None:
    store, directory, workspace = made
    first = workspace.id
    with Workspace(store, directory) as other:
        other.remove()
        assert other.id is None
    assert list_workspaces(store) == []
    (directory / "small").write_bytes(b"2")
    assert workspace.snapshot().files["small"] == b"2"
    assert workspace.id not in (None, first)


# -- branches


def test_a_branch_takes_back_what_the_directory_has(made: Made) -> None:
    store, directory, workspace = made
    branch = store.branch("main")
    branch.objects["note"] = "stays"
    branch.files["only here"] = b"x"
    edit(directory, OTHER)
    assert workspace.capture(branch) is branch
    assert branch.objects["note"] == "stays"
    captured = branch.commit()
    assert captured.roots["files"] == workspace.snapshot().roots["files"]
    assert_holds(store, directory, captured, directory.parent)
    # Once more, the other way.
    edit(directory, START)
    assert workspace.capture(store.branch(captured)).commit().roots["files"] == store.refs["main"].roots["files"]


def test_a_branch_of_the_directory_outlives_the_next_change(made: Made) -> None:
    _, directory, workspace = made
    (directory / "small").write_bytes(b"2")
    branch = workspace.branch()
    (directory / "small").write_bytes(b"3")
    assert branch.files["small"] == b"2"
    assert workspace.branch().files["small"] == b"3"


# -- two at once


def test_two_threads_take_turns(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    states = [state_of(store, tree, tmp_path / str(at)) for at, tree in enumerate((START, OTHER))]
    errors: list[BaseException] = []
    gate = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            gate.wait()
            for turn in range(6):
                if number == 3:
                    workspace.snapshot()
                    assert workspace.status().files == 6
                else:
                    workspace.switch(states[(number + turn) % 2])
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    base = workspace.base
    assert base is not None
    assert workspace.status(paranoid=True).clean
    assert_holds(store, directory, base, tmp_path)


def test_another_workspace_on_the_same_directory_is_locked_out(made: Made) -> None:
    store, directory, workspace = made
    other = Workspace(store, directory)
    seen: list[object] = []

    def progress(phase: str, done: int, total: int | None) -> None:
        if phase == "writing" and not seen:
            with pytest.raises(casstore.LockedError):
                other.snapshot()
            # Looking is allowed; the switch goes on, so nothing is interrupted.
            seen.append(list_workspaces(store)[0].state)

    edit(directory, OTHER)
    workspace.switch("main", progress=progress)
    assert seen == ["ok"]
    assert other.status().clean
    assert other.snapshot() == store.refs["main"]
