# SPDX-License-Identifier: MIT
"""What people met who tried workspaces out: another selection, half-done switches, folders in folders, wrong words."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import casstore
from casstore.mcts import StateTree
from casstore.workspace import Selection, Workspace, checkout, fork_to, import_directory, list_workspaces
from casstore.workspace import status as status_module
from casstore.workspace.overlay import list_mounts
from casstore.workspace.registry import Registry
from tests.workspace.overlays import need_overlay, run_python
from tests.workspace.switching import (
    START,
    Made,
    collect,
    edit,
    interrupt,
    settle,
    with_other,
)
from tests.workspace.trees import read_tree, write_tree


@pytest.fixture
def made(made: Made, tmp_path: Path) -> Made:
    return with_other(made, tmp_path)


# -- imports of a workspace


def test_a_workspace_is_captured_as_it_was_imported_last(tmp_path: Path) -> None:
    top = tmp_path / "top"
    write_tree(top, {b".gitignore": b"*.log\n", b"a": b"1", b"x.log": b"noise"})
    with casstore.open(str(tmp_path / "store")) as store:
        import_directory(store, top, ref="main")
        (top / "a").write_bytes(b"2")
        with Workspace(store, top) as workspace:
            workspace.switch("main")
            whole = Workspace(store, top, selection=Selection())
            assert (workspace.selection.ignore, workspace.metadata) == ("nothing", "basic")
            import_directory(store, top, ref="main", selection=Selection(ignore="git", keep_git=False), metadata="full")
            with Workspace(store, top) as later:
                for one in (later, workspace):
                    status = one.status()
                    assert status.clean, status.changes
                    assert [item.path for item in status.left_out] == ["x.log"]
                    assert (one.selection.ignore, one.selection.keep_git, one.metadata) == ("git", False, "full")
                later.switch("main")
            # Who asked for all gets all.
            assert [change.key for change in whole.status().changes] == ["files/x.log"]
            assert (top / "x.log").read_bytes() == b"noise"
            # And back, with the base and the ref as they were.
            import_directory(store, top, ref="main", selection=Selection(ignore="git"))
            assert (workspace.selection.ignore, workspace.status().clean) == ("git", True)
            with Workspace(store, top) as later:
                assert (later.selection.keep_git, later.metadata) == (True, "basic")
            assert len(list_workspaces(store)) == 1


def test_an_imported_overlay_is_still_captured_whole(made: Made, tmp_path: Path) -> None:
    store, _, _ = made
    need_overlay(tmp_path)
    with fork_to(store, "main", tmp_path / "fork", method="overlay") as fork:
        import_directory(store, fork.directory, ref="main", selection=Selection(ignore="git"), metadata="full")
        with Workspace(store, fork.directory) as again:
            assert (again.selection.ignore, again.metadata) == ("nothing", "basic")
            assert again.status().clean
            assert again.base == store.refs["main"]


def test_nothing_is_imported_or_checked_out_amid_a_switch(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    store, directory, workspace = made
    interrupt(workspace)
    before, was = read_tree(directory), store.refs["main"]

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("something was read")

    orders: list[tuple[str, Callable[[], object]]] = [
        ("import", lambda: import_directory(store, directory, ref="main")),
        ("check out", lambda: checkout(store, "main", directory, force=True)),
        ("check out", lambda: checkout(store, "main", directory)),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("casstore.workspace.importing.Scan", never)
        patch.setattr("casstore.workspace.checking_out._open_directory", never)
        for what, order in orders:
            with pytest.raises(
                casstore.ConflictError, match=f"casstore switch STATE.*casstore undo.*then {what}"
            ) as at:
                order()
            assert repr(str(directory)) in str(at.value)
        assert workspace.id is not None
        lock = Registry(store).lock(workspace.id)
        try:
            for _, order in orders:
                with pytest.raises(casstore.LockedError):
                    order()
        finally:
            lock.release()
    assert (read_tree(directory), store.refs["main"]) == (before, was)
    # Elsewhere all goes on; and here, once it is settled.
    import_directory(store, directory.parent / "other", ref="elsewhere")
    workspace.undo()
    import_directory(store, directory, ref="main")
    assert store.refs["main"].files["small"] == b"1"


def test_a_new_directory_in_the_place_of_an_interrupted_one(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    store, directory, workspace = made
    interrupt(workspace)
    directory.rename(directory.parent / "kept aside")
    checkout(store, "main", directory)
    assert (directory / "small").read_bytes() == b"1"
    with pytest.raises(casstore.ConflictError, match="was interrupted"):
        import_directory(store, directory.parent / "kept aside", ref="main")


# -- forks


def test_no_fork_lies_in_a_workspace(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    hollow = tmp_path / "hollow"
    checkout(store, store.add_snapshot(roots={}), hollow)
    (tmp_path / "link").symlink_to(directory)
    settle()
    wrong = ((directory, directory / "new/fork"), (directory, tmp_path / "link/fork"), (hollow, hollow))
    for inner, place in wrong:
        for fork in (workspace.fork_to, partial(fork_to, store, "main")):
            with pytest.raises(casstore.InvalidInputError, match="folder outside of it") as raised:
                fork(place, method="copy")
            assert repr(str(inner)) in str(raised.value)
            assert any(one.id in str(raised.value) for one in list_workspaces(store) if one.path == str(inner))
    assert not (directory / "new").exists()
    assert workspace.status().clean
    # One that was moved is still one.
    moved = tmp_path / "moved"
    directory.rename(moved)
    with pytest.raises(casstore.InvalidInputError, match="folder outside of it"):
        fork_to(store, "main", moved / "fork", method="copy")
    # Its old place is free, and what only begins like it was never taken.
    for place in (directory / "fork", tmp_path / "moved too"):
        with fork_to(store, "main", place, method="copy") as made_there:
            assert made_there.status().clean


def test_no_mount_hides_what_somebody_put_in_its_place(made: Made, tmp_path: Path) -> None:
    store, _, _ = made
    need_overlay(tmp_path)
    place = tmp_path / "fork"

    def unmounted() -> None:
        subprocess.run(["umount", str(place)], check=True)

    with fork_to(store, "main", place, method="overlay") as fork:
        (place / "mine").write_bytes(b"m")
        unmounted()
        (place / "in the way").write_bytes(b"i")
        with pytest.raises(casstore.InvalidInputError, match="move away what is in it"):
            fork.mount()
        assert [found.name for found in place.iterdir()] == ["in the way"]
        (place / "in the way").unlink()
        place.rmdir()
        place.write_bytes(b"")
        with pytest.raises(casstore.InvalidInputError, match="is no folder; move it away"):
            fork.mount()
        place.unlink()
        fork.mount()
        assert (place / "mine").read_bytes() == b"m"
        fork.mount()
        assert len([one for one in list_mounts(store.path) if one.target == str(place)]) == 1


# -- status


def test_a_directory_that_is_ahead_of_its_ref(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    store, directory, workspace = made

    def standing() -> tuple[bool, bool]:
        status = workspace.status()
        return status.ref_moved, status.ref_gone

    assert standing() == (False, False)
    start = store.refs["main"]
    for number in range(3):
        (directory / "small").write_bytes(b"change %d" % number)
        workspace.snapshot()
        assert (workspace.base_ref, standing()) == ("main", (False, False))
    base = workspace.base
    assert base is not None
    branch = store.branch(base)
    branch.files["small"] = b"further on"
    branch.commit(ref="ahead")
    for name, moved in (("ahead", True), ("other", True)):
        store.refs["main"] = store.refs[name]
        assert standing() == (moved, False)
    store.refs["main"] = base
    assert standing() == (False, False)
    store.refs["main"] = start
    with monkeypatch.context() as patch:
        patch.setattr(status_module, "_MAX_ANCESTORS", 1)
        assert standing() == (True, False)
    assert standing() == (False, False)
    store.refs.delete("main")
    assert standing() == (False, True)


def test_histories_with_gaps_and_two_parents(made: Made) -> None:
    store, _, _ = made
    root = store.add_snapshot(roots={}, message="root")
    gone = store.add_snapshot(roots={}, message="gone", parents=(root.id,))
    side = store.add_snapshot(roots={}, message="side", parents=(root.id,))
    merged = store.add_snapshot(roots={}, message="merged", parents=(gone.id, side.id))
    store.refs["merged"], store.refs["kept"] = merged, root
    for name, moved in (("kept", False), ("merged", False), ("other", True)):
        assert status_module.has_moved(store, name, merged) is moved
    assert status_module.has_moved(store, "kept", None)
    assert not status_module.has_moved(store, "never there", merged)
    assert not status_module.has_moved(store, None, merged)
    missing = casstore.Address(b"\1" * 32)
    gap = store.add_snapshot(roots={}, message="gap", parents=(side.id,))
    real = store.snapshots.fields

    class Holes:
        def fields(self, snapshot_id: casstore.Address) -> object:
            if snapshot_id in (missing, gone.id):
                raise casstore.NotFoundError("it was collected")
            return real(snapshot_id)

    class Shallow:
        refs = store.refs
        snapshots = Holes()

    assert not status_module.has_moved(Shallow(), "kept", merged)  # type: ignore[arg-type]
    assert status_module.has_moved(Shallow(), "other", gap)  # type: ignore[arg-type]
    collect(store)


# -- words


def test_what_is_unreadable_is_said_in_words_for_every_command(tmp_path: Path) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing, which takes root's right to read everything away")
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        prefix = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all")
    write_tree(tmp_path / "work", {b"a": b"1", b"secret": b"2"})
    code = """
import os
import casstore
from casstore.workspace import Workspace, import_directory

with casstore.open(sys.argv[1]) as store:
    import_directory(store, sys.argv[2], ref="main")
    os.chmod(sys.argv[2] + "/secret", 0)
    with Workspace(store, sys.argv[2]) as workspace:
        for order in (
            lambda: import_directory(store, sys.argv[2], ref="main"),
            workspace.status,
            workspace.snapshot,
            lambda: workspace.switch("main"),
        ):
            try:
                order()
            except casstore.InvalidInputError as error:
                print(error)
"""
    done = run_python(code, str(tmp_path / "store"), str(tmp_path / "work"), prefix=prefix)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == 4 * [
        f"{str(tmp_path / 'work/secret')!r} cannot be read: Permission denied; nothing was stored. Give yourself "
        "access to it (chmod u+r), or import with --skip-unreadable (skip_unreadable=True), which leaves it out."
    ]


def test_what_is_no_node_and_no_branch_is_refused(made: Made) -> None:
    store, _, workspace = made
    tree = StateTree(store, "main")
    for stranger in (999, None, "main", store.refs["main"], StateTree(store, "main").root):
        with pytest.raises(casstore.InvalidInputError, match="is no node of this tree"):
            tree.backtrack_to(stranger)  # type: ignore[arg-type]
    assert tree.backtrack_to(tree.root).files["small"] == b"1"
    for other in ("main", store.refs["main"], None, 999):
        with pytest.raises(casstore.InvalidInputError, match="is no branch"):
            workspace.capture(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("sort", ["a FIFO", "a socket"])
def test_a_special_file_in_the_way_is_called_by_its_name(
    made: Made, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    store, directory, workspace = made

    def put(name: str) -> Path:
        place = directory / name
        if sort == "a FIFO":
            os.mkfifo(place)
        else:
            monkeypatch.chdir(place.parent)  # a socket's path is short
            with socket.socket(socket.AF_UNIX) as opened_socket:
                opened_socket.bind(place.name)
        return place

    branch = store.branch("main")
    branch.files["late"] = b"l"
    branch.commit(ref="late")
    edit(directory, {**START, b"small": b"local"})
    place = put("late")
    for _ in range(2):
        with pytest.raises(casstore.InvalidInputError, match=f"'{place}' is in the way: it is {sort}, ") as raised:
            workspace.switch("late")
        assert "rules" not in str(raised.value)
        assert "Move it away" in str(raised.value)
    place.unlink()
    # In a folder that is to become a file.
    place = put("d/pipe")
    with pytest.raises(casstore.InvalidInputError, match=f"'{place}' is in the way: it is {sort}, "):
        workspace.switch("other")
    place.unlink()
    workspace.switch("other")
    assert (directory / "d").read_bytes() == b"a file now"
