# SPDX-License-Identifier: MIT
"""What a hostile reader of the workspaces found, each case as it was shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.format.entry import file_entry
from casstore.workspace import (
    Selection,
    Workspace,
    fork_to,
    import_directory,
    list_workspaces,
    plan_prune_workspaces,
)
from casstore.workspace.changing.keeping import keep_unknown


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


def test_a_fork_by_copy_keeps_the_metadata_and_others_say_so(
    store: casstore.Store, directory: Path, tmp_path: Path
) -> None:
    (directory / "a").chmod(0o600)
    import_directory(store, directory, ref="main", metadata="full")
    with fork_to(store, "main", tmp_path / "fork", method="copy") as fork:
        assert (tmp_path / "fork" / "a").stat().st_mode & 0o777 == 0o600
        assert (fork.metadata, "not shown" in fork.why) == ("full", False)
        assert "posix" in fork.snapshot().roots


def test_a_folder_that_was_set_aside_and_written_to_is_kept(tmp_path: Path) -> None:
    known = file_entry(1, None, b"k")
    for name, content in ((b"torn", b"?"), (b"aside", b"mine"), (b"same", b"k")):
        (tmp_path / os.fsdecode(b".casstore-0123456789abcdef-" + name)).mkdir()
        (tmp_path / os.fsdecode(b".casstore-0123456789abcdef-" + name) / "f").write_bytes(content)
    names = sorted(os.fsencode(name) for name in os.listdir(tmp_path))
    aside = {(tmp_path / os.fsdecode(name)).stat().st_ino for name in names if not name.endswith(b"torn")}
    top = os.open(tmp_path, os.O_RDONLY)
    try:
        kept = keep_unknown(top, names, aside, lambda entry: entry[1:4] == known[1:4])
    finally:
        os.close(top)
    assert kept == [b"kept-casstore-0123456789abcdef-aside"]
    assert (tmp_path / os.fsdecode(kept[0]) / "f").read_bytes() == b"mine"
    assert len(os.listdir(tmp_path)) == 3


def test_what_cannot_be_looked_at_is_not_missing(
    store: casstore.Store, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace(store, directory) as workspace:
        workspace.snapshot()
    true = os.stat

    def refuse(path: object, *arguments: object, **options: object) -> os.stat_result:
        if path == str(directory):
            raise PermissionError(13, "Permission denied")
        return true(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refuse)
    assert [one.state for one in list_workspaces(store)] == ["ok"]
    assert plan_prune_workspaces(store).dead == ()
