# SPDX-License-Identifier: MIT
"""Which workspaces a store has: finding, listing, forgetting; and what a crash or a stranger leaves in its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

import casstore
from casstore.format.slots import Slot, new_file, newest_slot, slot_bytes_for
from casstore.format.workspace_files import Info, encode_info
from casstore.workspace import (
    Workspace,
    checkout,
    find_workspace,
    fork_to,
    import_directory,
    list_workspaces,
    plan_prune_workspaces,
)
from casstore.workspace.registry import Registry
from tests.workspace.overlays import need_overlay
from tests.workspace.switching import (
    OTHER,
    START,
    Made,
    collect,
    edit,
    states,
)
from tests.workspace.trees import read_tree, with_folders, write_tree


def folder_of(store: casstore.Store, workspace: Workspace) -> Path:
    assert workspace.id is not None
    return Path(store.path, "workspaces", workspace.id)


def spoil(folder: Path, change: Callable[[bytes], bytes]) -> None:
    """Writes what is known of a workspace changed, with everything around it sound."""
    place = folder / "info"
    newest = newest_slot(place.read_bytes())
    assert newest is not None
    payload = change(newest.payload)
    place.write_bytes(new_file(Slot(newest.number + 1, 0, payload), slot_bytes_for(payload)))


# -- finding


def test_the_nearest_workspace_above_a_path(made: Made, tmp_path: Path) -> None:
    store, directory, _workspace = made
    checkout(store, "main", directory / "d" / "inner")
    (tmp_path / "link").symlink_to(directory / "d")
    for place, found in (
        (directory, directory),
        (directory / "d", directory),
        (directory / "d/inner", directory / "d/inner"),
        (directory / "d/inner/d/deep/er", directory / "d/inner"),
        (tmp_path / "link/deep", directory),
    ):
        with find_workspace(store, place) as one:
            assert one.directory == str(found)
    for place in (tmp_path, tmp_path / "store", Path("/")):
        with pytest.raises(casstore.NotFoundError, match="casstore checkout"):
            find_workspace(store, place)
    for place in (directory / "small", tmp_path / "missing"):
        with pytest.raises(casstore.InvalidInputError):
            find_workspace(store, place)


def test_the_current_folder(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    store, directory, workspace = made
    monkeypatch.chdir(directory / "d/deep")
    with find_workspace(store) as found:
        assert found.id == workspace.id


def test_a_checkout_into_a_known_directory_is_the_same_workspace(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    workspace.switch(store.branch())
    other = state_into(store, tmp_path / "other")
    checkout(store, "other", directory)
    with Workspace(store, directory) as again:
        assert (again.id, again.base, again.base_ref) == (workspace.id, other, "other")
        assert again.status().clean
        with pytest.raises(casstore.NotFoundError, match="never switched"):
            again.undo()


def state_into(store: casstore.Store, folder: Path) -> casstore.Snapshot:
    write_tree(folder, OTHER)
    return import_directory(store, folder, ref="other").snapshot


def test_an_import_of_a_known_directory_is_its_base(made: Made) -> None:
    store, directory, workspace = made
    edit(directory, OTHER)
    imported = import_directory(store, directory, ref="imported").snapshot
    assert workspace.status().clean
    assert (workspace.base, workspace.base_ref) == (imported, "imported")
    import_directory(store, directory)
    assert workspace.base_ref == "imported", "nothing keeps what is imported without a ref"


def test_an_import_while_the_workspace_is_held_is_an_import(made: Made) -> None:
    store, directory, workspace = made
    assert workspace.id is not None
    edit(directory, OTHER)
    lock = Registry(store).lock(workspace.id)
    try:
        import_directory(store, directory, ref="imported")
    finally:
        lock.release()
    assert store.refs["imported"].files["small"] == b"2"


# -- listing


def test_the_list_is_by_path_and_says_how_each_is(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    for name in ("b", "c", "a"):
        checkout(store, "main", tmp_path / name)
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "c").rename(tmp_path / "moved")
    (tmp_path / "c").write_bytes(b"a file has the name")
    found = list_workspaces(store)
    assert [one.path for one in found] == sorted(one.path for one in found)
    assert states(store) == {
        str(directory): "ok",
        str(tmp_path / "a"): "ok",
        str(tmp_path / "b"): "missing",
        str(tmp_path / "c"): "missing",
    }
    (one,) = [one for one in found if one.path == str(directory)]
    assert (one.id, one.kind, one.base, one.base_ref) == (workspace.id, "plain", store.refs["main"].id, "main")


def test_strange_things_in_the_folder_are_passed_over(made: Made) -> None:
    store, directory, _ = made
    top = Path(store.path, "workspaces")
    (top / "README").write_bytes(b"x")
    (top / "0123ABCD").mkdir()
    (top / "not an id").mkdir()
    (top / "deadbeef").write_bytes(b"a file")
    found = {one.id: one.state for one in list_workspaces(store)}
    assert set(found.values()) == {"ok", "damaged"}
    assert found["deadbeef"] == "damaged"
    with find_workspace(store, directory) as workspace:
        assert workspace.status().clean


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\xff" * 100])
def test_a_damaged_registration_troubles_nobody_else(made: Made, tmp_path: Path, damage: bytes) -> None:
    store, directory, workspace = made
    checkout(store, "main", tmp_path / "neighbour")
    (folder_of(store, workspace) / "info").write_bytes(damage)
    assert sorted(states(store).values()) == ["damaged", "ok"]
    with Workspace(store, tmp_path / "neighbour") as neighbour:
        assert neighbour.status().clean
    with pytest.raises(casstore.CorruptionError, match="workspace prune"):
        workspace.status()
    # Whoever comes anew finds a directory that is not registered, and goes on.
    with Workspace(store, directory) as again:
        (directory / "small").write_bytes(b"2")
        assert again.snapshot().files["small"] == b"2"
        assert again.id != workspace.id
    plan = plan_prune_workspaces(store)
    assert [one.id for one in plan.dead] == [workspace.id]
    assert plan.execute().removed == (workspace.id,)
    assert set(states(store).values()) == {"ok"}


def test_a_damaged_journal_is_said_to_be_and_can_be_forgotten(made: Made) -> None:
    store, directory, workspace = made
    spoil(folder_of(store, workspace), lambda payload: payload + b"garbage")
    for call in (workspace.snapshot, workspace.undo, lambda: workspace.switch("main")):
        with pytest.raises(casstore.CorruptionError, match="workspace prune"):
            call()
    assert list(states(store).values()) == ["damaged"]
    assert plan_prune_workspaces(store).execute().removed == (workspace.id,)
    assert read_tree(directory) == with_folders(START)
    with Workspace(store, directory) as again:
        assert again.snapshot(ref="again").roots == store.refs["main"].roots


def later(payload: bytes) -> bytes:
    """The same as a later version would write it."""
    body = payload.partition(b"\n")[0].replace(b'"version":1', b'"version":2')
    key = blake3(b"", derive_key_context="casstore v1 workspace").digest()
    return body + b"\n" + blake3(body, key=key).hexdigest().encode() + b"\n"


def test_what_a_later_version_keeps_is_not_pruned(made: Made) -> None:
    store, _, workspace = made
    place = folder_of(store, workspace) / "info"
    spoil(place.parent, later)
    with pytest.raises(casstore.FormatVersionError):
        workspace.status()
    assert [one.state for one in list_workspaces(store)] == ["damaged"]
    plan = plan_prune_workspaces(store)
    assert plan.dead == ()
    plan.execute()
    assert place.exists()


def test_a_hostile_registration_leads_nowhere(made: Made, tmp_path: Path) -> None:
    """The path in it is only compared with the one that the user gave."""
    store, directory, workspace = made
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_bytes(b"1")
    place = folder_of(store, workspace)
    assert workspace.id is not None
    hostile = Info(id=workspace.id, path=str(tmp_path / "victim"), device=0, inode=0, kind="overlay")
    spoil(place, lambda _: encode_info(hostile))
    plan_prune_workspaces(store).execute()
    assert (tmp_path / "victim/file").read_bytes() == b"1"
    assert read_tree(directory) == with_folders(START)


def test_a_registration_that_was_copied_is_damaged(made: Made) -> None:
    store, directory, workspace = made
    shutil.copytree(folder_of(store, workspace), Path(store.path, "workspaces", "00000000"))
    assert {one.id: one.state for one in list_workspaces(store)} == {workspace.id: "ok", "00000000": "damaged"}
    with Workspace(store, directory) as again:
        assert again.id == workspace.id


def test_a_store_from_before_there_were_workspaces(made: Made) -> None:
    store, directory, workspace = made
    workspace.close()
    shutil.rmtree(Path(store.path, "workspaces"))
    assert list_workspaces(store) == []
    assert plan_prune_workspaces(store).execute().removed == ()
    with Workspace(store, directory) as again:
        again.snapshot()
        assert [one.id for one in list_workspaces(store)] == [again.id]


def test_a_registration_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path / "work", START)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with casstore.open(str(tmp_path / "store")) as store, Workspace(store, tmp_path / "work") as workspace:
        with monkeypatch.context() as patch:
            patch.setattr("casstore.osfile.OsFiles.replace_file", refuse)
            with pytest.raises(casstore.StorageError, match="No space"):
                workspace.snapshot()
        assert list_workspaces(store) == []
        workspace.snapshot()
        assert len(list_workspaces(store)) == 1


# -- pruning


def test_pruning_forgets_what_is_gone_and_touches_nothing_else(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    checkout(store, "main", tmp_path / "gone")
    with Workspace(store, tmp_path / "gone") as gone:
        (tmp_path / "gone/small").write_bytes(b"2")
        saved = gone.snapshot().id
        ref = f"workspace/{gone.id}"
    assert plan_prune_workspaces(store).dead == ()
    shutil.rmtree(tmp_path / "gone")
    plan = plan_prune_workspaces(store)
    assert [one.path for one in plan.dead] == [str(tmp_path / "gone")]
    assert states(store)[str(tmp_path / "gone")] == "missing", "a plan changes nothing"
    assert ref in store.refs
    report = plan.execute()
    assert (report.removed, report.saved, report.bases) == ((gone.id,), {}, ())
    assert states(store) == {str(directory): "ok"}
    assert ref not in store.refs
    # For as long as an undo is kept, it is still there.
    store.plan_gc(grace_seconds=0).execute()
    assert store.snapshots.get(saved).files["small"] == b"2"
    collect(store)
    with pytest.raises(casstore.NotFoundError):
        store.snapshots.get(saved)
    assert workspace.status().clean


def test_what_came_back_after_the_plan_is_not_forgotten(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    directory.rename(tmp_path / "away")
    plan = plan_prune_workspaces(store)
    assert len(plan.dead) == 1
    (tmp_path / "away").rename(directory)
    assert plan.execute().removed == ()
    assert states(store) == {str(directory): "ok"}
    assert workspace.status().clean


def test_what_is_held_is_not_forgotten(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    assert workspace.id is not None
    shutil.rmtree(directory)
    lock = Registry(store).lock(workspace.id)
    assert plan_prune_workspaces(store).execute().removed == ()
    lock.release()
    assert plan_prune_workspaces(store).execute().removed == (workspace.id,)


def test_pruning_needs_a_store_that_can_be_written(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    workspace.close()
    store.close()
    shutil.rmtree(directory)
    with casstore.open(str(tmp_path / "store"), read_only=True) as store:
        plan = plan_prune_workspaces(store)
        assert len(plan.dead) == 1
        with pytest.raises(casstore.ReadOnlyError):
            plan.execute()


def test_bases_stay_for_as_long_as_an_overlay_needs_them(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _, _ = made
    with fork_to(store, "main", tmp_path / "one", method="overlay") as one:
        (tmp_path / "one/small").write_bytes(b"of one")
        with one.fork_to(tmp_path / "two", method="overlay") as two:
            assert len(os.listdir(os.path.join(store.path, "bases"))) == 1, "a fork of a fork has its base"
            assert plan_prune_workspaces(store).bases == ()
            one.remove()
            assert plan_prune_workspaces(store).bases == ()
            assert (tmp_path / "two/small").read_bytes() == b"of one"
            two.remove()
    plan = plan_prune_workspaces(store)
    assert len(plan.bases) == 1
    assert plan.execute().bases == plan.bases
    assert os.listdir(os.path.join(store.path, "bases")) == []


def test_an_overlay_of_which_nothing_else_is_known_keeps_its_delta(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _directory, _workspace = made
    with fork_to(store, "main", tmp_path / "fork", method="overlay") as fork:
        (tmp_path / "fork/small").write_bytes(b"nobody else has this")
        place = folder_of(store, fork)
    info = (place / "info").read_bytes()
    (place / "info").write_bytes(b"garbage")
    plan = plan_prune_workspaces(store)
    assert (plan.dead, plan.bases) == ((), ())
    assert plan.execute().removed == ()
    assert (tmp_path / "fork/small").read_bytes() == b"nobody else has this"
    (place / "info").write_bytes(info)
    with Workspace(store, tmp_path / "fork") as fork:
        assert fork.snapshot().files["small"] == b"nobody else has this"


def test_an_overlay_that_is_removed_leaves_what_it_alone_had(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _, workspace = made
    fork = fork_to(store, "main", tmp_path / "fork", method="overlay")
    (tmp_path / "fork/small").write_bytes(b"unsaved")
    ref = f"workspace/{fork.id}"
    with (tmp_path / "fork/same").open("rb"), pytest.raises(casstore.CasstoreError):
        fork.remove()
    assert (tmp_path / "fork/small").read_bytes() == b"unsaved", "it is in use, so it stays"
    fork.remove()
    assert not (tmp_path / "fork").exists()
    (last, *_) = store.refs.history(ref)
    ids = {move.old for move in store.refs.history(ref)} | {move.new for move in store.refs.history(ref)}
    kept = [store.snapshots.get(found) for found in ids if found is not None]
    assert b"unsaved" in [snapshot.files["small"] for snapshot in kept], last
    assert len(list_workspaces(store)) == 1
    assert workspace.status().clean


def test_an_unmounted_overlay_is_not_dead(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _, _ = made
    fork_to(store, "main", tmp_path / "fork", method="overlay").close()
    subprocess.run(["umount", str(tmp_path / "fork")], check=True)
    assert states(store)[str(tmp_path / "fork")] == "unmounted"
    assert plan_prune_workspaces(store).dead == ()
    with find_workspace(store, tmp_path / "fork") as fork:
        assert fork.run(["cat", "small"], capture_output=True).stdout == b"1"
    assert states(store)[str(tmp_path / "fork")] == "ok"


def test_two_infos_for_one_path_are_told_apart(made: Made, tmp_path: Path) -> None:
    """The old directory came back under another name, and the new one has the old path."""
    store, directory, workspace = made
    workspace.close()
    directory.rename(tmp_path / "first")
    checkout(store, "main", directory)
    with Workspace(store, directory) as second, Workspace(store, tmp_path / "first") as first:
        assert (first.id, second.id != first.id) == (workspace.id, True)
        (directory / "small").write_bytes(b"second")
        second.snapshot()
        assert first.status().clean
        first.snapshot()
    assert states(store) == {str(directory): "ok", str(tmp_path / "first"): "ok"}


def test_a_registry_says_what_it_was_told(made: Made) -> None:
    store, _, workspace = made
    registry = Registry(store)
    assert workspace.id is not None
    info = registry.info(workspace.id)
    assert info is not None
    registry.write(replace(info, base_ref="elsewhere"), sync=True)
    assert registry.info(workspace.id) == replace(info, base_ref="elsewhere")
    assert workspace.status().base_ref == "elsewhere"
    assert registry.info("00000000") is None
    assert registry.journal("00000000") is None
    with pytest.raises(casstore.NotFoundError):
        registry.lock("00000000")
