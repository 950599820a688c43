# SPDX-License-Identifier: MIT
"""What a hostile reader of the workspaces found, each case as it was shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.workspace import Selection, Workspace, import_directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    (made / "a").write_bytes(b"1" * 200)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[casstore.Store]:
    with casstore.open(tmp_path / "store") as opened:
        yield opened


def collect(store: casstore.Store) -> None:
    with store.plan_gc(grace_seconds=0, undo_keep_seconds=0) as plan:
        plan.execute()


def test_what_was_left_out_outlives_a_state_without_rules(store: casstore.Store, directory: Path) -> None:
    import_directory(store, directory, ref="v1")
    (directory / ".gitignore").write_bytes(b".env\nbuild/\n")
    (directory / ".env").write_bytes(b"SECRET=1" * 40)
    (directory / "build").mkdir()
    (directory / "build" / "o").write_bytes(b"o")
    import_directory(store, directory, ref="v2", selection=Selection(ignore="git"))
    with Workspace(store, directory) as workspace:
        workspace.switch("v1")
        assert {change.key for change in workspace.status().changes} == {"files/.env", "files/build/o"}
        report = workspace.undo()
        assert report.saved is None
        assert (directory / ".env").read_bytes() == b"SECRET=1" * 40
        assert (directory / "build" / "o").read_bytes() == b"o"
        assert workspace.status().clean
        # What was passed over is captured once no rule leaves it out any more.
        (directory / ".gitignore").unlink()
        assert ".env" in workspace.snapshot().files


def test_another_directory_in_the_place_is_never_written_to(
    store: casstore.Store, directory: Path, tmp_path: Path
) -> None:
    import_directory(store, directory, ref="main")
    branch = store.branch("main")
    branch.files["new"] = b"n"
    branch.commit(ref="next")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_bytes(b"p")
    with Workspace(store, directory) as workspace:
        plan = workspace.plan_switch("next")
        directory.rename(tmp_path / "moved")
        directory.symlink_to(victim)
        with pytest.raises(casstore.CasstoreError):
            plan.execute()
        assert os.listdir(victim) == ["precious"]


def test_a_snapshot_of_an_unnamed_state_is_kept(store: casstore.Store, directory: Path) -> None:
    import_directory(store, directory, ref="main")
    branch = store.branch("main")
    branch.files["new"] = b"n" * 300
    with Workspace(store, directory) as workspace:
        workspace.switch(branch)
        kept = workspace.snapshot("keep this")
        workspace.switch("main")
        del branch
        collect(store)
        assert workspace.undo().snapshot == kept or store.snapshot(kept.id).files["new"] == b"n" * 300


def test_a_second_safety_snapshot_leads_to_the_first(
    store: casstore.Store, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_directory(store, directory, ref="main")
    branch = store.branch("main")
    branch.files["new"] = b"n"
    branch.files["a"] = b"2" * 200
    branch.commit(ref="next")
    with Workspace(store, directory) as workspace:
        (directory / "a").write_bytes(b"hours of work" * 20)

        def refuse(*arguments: object, **options: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("casstore.workspace.changing.staging.write_file", refuse)
            with pytest.raises(casstore.StorageError):
                workspace.switch("next")
        assert workspace.interrupted
        (directory / "note").write_bytes(b"more")
        saved = workspace.switch("next").saved
        assert saved is not None
        before = [one for one in store.log(saved.id) if "a" in one.files and one.files["a"].startswith(b"hours")]
        assert before


def test_a_name_that_came_back_by_itself_is_seen(store: casstore.Store, directory: Path) -> None:
    (directory / "gone").write_bytes(b"g" * 200)
    import_directory(store, directory, ref="main")
    branch = store.branch("main")
    del branch.files["gone"]
    branch.commit(ref="next")
    with Workspace(store, directory) as workspace:
        workspace.switch("main")
        os.link(directory / "gone", directory.parent / "held")
        workspace.switch("next")
        # As after a power loss: the same inode with the same content and time is back.
        os.rename(directory.parent / "held", directory / "gone")
        assert [change.key for change in workspace.status().changes] == ["files/gone"]
    with Workspace(store, directory) as workspace:
        assert "gone" in workspace.snapshot().files


@pytest.mark.parametrize("watch", [False, True])
def test_a_write_through_another_name_is_seen(store: casstore.Store, directory: Path, watch: bool) -> None:
    for name in ("x", "y"):
        (directory / name).mkdir()
    (directory / "x" / "f").write_bytes(b"1" * 200)
    os.link(directory / "x" / "f", directory / "y" / "f")
    with Workspace(store, directory, watch=watch) as workspace:
        workspace.snapshot()
        (directory / "x" / "f").write_bytes(b"2" * 200)
        files = workspace.snapshot().files
        assert files["x/f"] == files["y/f"] == b"2" * 200


def test_two_handles_register_one_workspace(store: casstore.Store, directory: Path) -> None:
    with Workspace(store, directory) as one, Workspace(store, directory) as other:
        one.snapshot()
        other.snapshot()
        assert one.id == other.id is not None
