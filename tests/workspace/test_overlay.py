# SPDX-License-Identifier: MIT
"""Overlays as mounts: made, found, taken away, and chosen where they can be had."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

import casstore
from casstore import layout
from casstore.errors import ConflictError, InvalidInputError, LockedError, StorageError
from casstore.workspace.overlay import (
    Upper,
    choose,
    list_mounts,
    mounting,
    probing,
    unmount,
)
from tests.workspace.overlays import (
    TREE,
    captured,
    mounted,
    need_overlay,
    overlay_in,
    root_of,
    run_python,
    workspace,
)
from tests.workspace.trees import read_tree, with_folders, write_tree

Stores = casstore.Store


# -- mounts


def test_a_mount_shows_the_base_and_takes_changes(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    overlay, upper = overlay_in(disk_store, tmp_path / "shown")
    assert not overlay.is_mounted()
    with mounted(overlay) as top:
        assert overlay.is_mounted()
        assert read_tree(top) == with_folders(TREE)
        assert [(one.source, one.target) for one in list_mounts(disk_store.path)] == [(upper.folder, str(top))]
        assert list_mounts(disk_store.path)[0].device == top.stat().st_dev
        # All on one file system: files of the base keep their inodes.
        assert (top / "a/f").stat().st_ino == Path(overlay.lower, "a/f").stat().st_ino
        (top / "a/f").write_bytes(b"2")
        os.rename(top / "a", top / "z")
    assert not overlay.is_mounted()
    assert list_mounts(disk_store.path) == []
    assert list_mounts(str(tmp_path / "another")) == []
    assert read_tree(overlay.lower) == with_folders(TREE)
    with mounted(overlay) as top:
        assert (top / "z/f").read_bytes() == b"2"
    overlay.unmount()


def test_one_upper_folder_is_mounted_once(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    overlay, upper = overlay_in(disk_store, tmp_path / "shown")
    (tmp_path / "other").mkdir()
    with mounted(overlay):
        for target in ("shown", "other"):
            with pytest.raises(ConflictError, match="is mounted already, at"):
                upper.overlay(overlay.lower, str(tmp_path / target)).mount()
        with pytest.raises(ConflictError, match="unmount that first"):
            upper.remove()
    upper.remove()
    assert os.listdir(upper.folder) == []


@pytest.mark.parametrize(
    "name", ["a,b", "a:b", "back\\slash", "\\", "new\nline", "t\tab #", "quo\"te'", "ü", "redirect_dir=off,"]
)
def test_paths_with_letters_of_the_options_grammar(disk_store: Stores, tmp_path: Path, name: str) -> None:
    need_overlay(tmp_path)
    place = tmp_path / name
    place.mkdir()
    with casstore.open(str(place / "store")) as store:
        overlay, upper = overlay_in(store, place / "shown")
        with mounted(overlay) as top:
            assert read_tree(top) == with_folders(TREE)
            (top / "new").write_bytes(b"1")
            assert overlay.is_mounted()
            assert [(one.source, one.target) for one in list_mounts(store.path)] == [(upper.folder, str(top))]
    assert os.listdir(upper.path) == ["new"]


def test_paths_that_are_not_utf_8(store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    place = tmp_path / "\udcff"
    for name in ("ws", "shown"):
        (place / name).mkdir(parents=True)
    write_tree(place / "base", TREE)
    upper = Upper(str(place / "ws"))
    upper.create()
    overlay = upper.overlay(str(place / "base"), str(place / "shown"))
    with mounted(overlay) as top:
        assert overlay.is_mounted()
        assert read_tree(top) == with_folders(TREE)
    assert captured(store, upper, root_of(store, place / "base")) == root_of(store, place / "base")


def test_paths_longer_than_the_options_may_be(tmp_path: Path) -> None:
    need_overlay(tmp_path)
    place = tmp_path.joinpath(*["d" * 250] * 12)
    place.mkdir(parents=True)
    with casstore.open(str(place / "store")) as store:
        overlay, upper = overlay_in(store, place / "shown")
        assert len(overlay.lower) + len(overlay.upper) + len(overlay.work) > 4096
        with mounted(overlay) as top:
            (top / "new").write_bytes(b"1")
            assert overlay.is_mounted()
            assert [one.target for one in list_mounts(store.path)] == [str(top)]
    assert os.listdir(upper.path) == ["new"]
    assert len(os.listdir("/dev/fd")) < 40


def test_what_is_in_use_is_unmounted_only_if_asked(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    overlay, _ = overlay_in(disk_store, tmp_path / "shown")
    with mounted(overlay) as top, open(top / "a/f", "rb") as file:
        with pytest.raises(LockedError, match="is in use"):
            overlay.unmount()
        assert overlay.is_mounted()
        overlay.unmount(lazy=True)
        assert not overlay.is_mounted()
        assert file.read() == TREE[b"a/f"]


def test_a_mount_of_a_killed_process_is_found_and_taken_away(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    overlay, upper = overlay_in(disk_store, tmp_path / "shown")
    code = """
import os, signal
from casstore.workspace.overlay import Upper
Upper(sys.argv[1]).overlay(sys.argv[2], sys.argv[3]).mount()
with open(sys.argv[3] + "/left", "w") as file:
    file.write("behind")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_python(code, upper.folder, overlay.lower, overlay.target)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = list_mounts(disk_store.path)
    assert [one.source for one in found] == [upper.folder]
    unmount(found[0].target)
    assert list_mounts(disk_store.path) == []
    assert Path(upper.path, "left").read_text() == "behind"


def test_another_overlay_at_the_target_is_not_taken_for_this_one(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    one, _ = overlay_in(disk_store, tmp_path / "shown")
    (tmp_path / "shown").rmdir()
    two, _ = overlay_in(disk_store, tmp_path / "shown", number=2)
    with mounted(one):
        assert one.is_mounted()
        assert not two.is_mounted()
        two.unmount()
        assert one.is_mounted()


def test_what_is_missing_is_named(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    overlay, upper = overlay_in(disk_store, tmp_path / "shown")
    (tmp_path / "shown").rmdir()
    with pytest.raises(InvalidInputError, match=r"'.*shown' is needed"):
        overlay.mount()
    assert not overlay.is_mounted()
    shutil.rmtree(upper.path)
    with pytest.raises(InvalidInputError, match=r"'.*upper' is needed"):
        overlay.mount()
    with pytest.raises(StorageError, match="cannot be unmounted"):
        unmount(str(tmp_path))


def test_who_may_not_mount_is_told_so(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing, which takes rights away")
    overlay, upper = overlay_in(disk_store, tmp_path / "shown")
    code = """
import casstore
from casstore.workspace.overlay import Upper, choose
try:
    Upper(sys.argv[1]).overlay(sys.argv[2], sys.argv[3]).mount()
except casstore.InvalidInputError as error:
    print(error)
print(choose(sys.argv[4], sys.argv[3] + "/new"))
try:
    choose(sys.argv[4], sys.argv[3], "overlay")
except casstore.InvalidInputError as error:
    print(error)
"""
    drop = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    done = run_python(code, upper.folder, overlay.lower, overlay.target, disk_store.path, prefix=drop)
    mount_error, choice, choose_error = done.stdout.splitlines()
    assert "this process may not mount" in mount_error
    assert "no overlayfs: this process may not" in choice
    assert "method='overlay'" not in choice
    assert "cannot be made by overlay: no overlayfs: this process may not" in choose_error
    assert "Possible here: " in choose_error
    assert "copy." in choose_error
    # The probe leaves nothing behind.
    assert os.listdir(os.path.join(disk_store.path, layout.WORKSPACES)) == [os.path.basename(upper.folder)]


def test_overlays_exist_once(disk_store: Stores) -> None:
    upper = Upper(workspace(disk_store), private=True)
    upper.create()
    with pytest.raises(InvalidInputError, match="exists"):
        upper.create()
    with pytest.raises(StorageError, match="cannot hold"):
        Upper(upper.folder + "/nowhere").create()


# -- choosing


def test_an_overlay_is_chosen_where_it_can_be_mounted(disk_store: Stores, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    choice = choose(disk_store.path, str(tmp_path / "out"))
    assert (choice.method, choice.why) == ("overlay", "overlayfs: mounted by this process")
    assert os.listdir(os.path.join(disk_store.path, layout.WORKSPACES)) == []
    assert list_mounts(disk_store.path) == []


def test_a_method_is_tried_once_per_process(
    disk_store: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = choose(disk_store.path, str(tmp_path / "out"))
    monkeypatch.setattr(probing, "_try_in", lambda *arguments: pytest.fail("tried again"))
    assert choose(disk_store.path, str(tmp_path / "out")) == first


def test_what_is_wanted_is_had_or_an_error(disk_store: Stores, tmp_path: Path) -> None:
    assert choose(disk_store.path, str(tmp_path / "out"), "copy").method == "copy"
    with pytest.raises(InvalidInputError, match="use one of overlay, overlay-private, reflink, copy"):
        choose(disk_store.path, str(tmp_path / "out"), "magic")
    with pytest.raises(InvalidInputError, match="the store has no folder on disk"):
        choose(":memory:", str(tmp_path / "out"), "overlay")
    choice = choose(str(tmp_path / "nowhere"), "/dev/shm/out")
    assert choice.method in ("copy", "reflink")
    assert "no overlayfs: the store has no folder on disk" in choice.why


def test_an_overlay_that_cannot_be_changed_is_not_chosen(
    disk_store: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_overlay(tmp_path)
    # Without redirects a folder of the base cannot be renamed.
    monkeypatch.setattr(mounting, "ROOT_OPTIONS", "redirect_dir=nofollow,metacopy=off,index=off")
    probing._try.cache_clear()
    try:
        choice = choose(disk_store.path, str(tmp_path / "out"))
    finally:
        probing._try.cache_clear()
    assert choice.method != "overlay"
    assert "mounted, but a file or folder of the base cannot be changed" in choice.why


def test_a_store_on_an_overlay_uses_another_method(tmp_path: Path) -> None:
    need_overlay(tmp_path)
    for name in ("base", "ws", "shown"):
        (tmp_path / name).mkdir()
    upper = Upper(str(tmp_path / "ws"))
    upper.create()
    overlay = upper.overlay(str(tmp_path / "base"), str(tmp_path / "shown"))
    with mounted(overlay) as top, casstore.open(str(top / "store")) as store:
        choice = choose(store.path, str(top / "out"))
        assert choice.method != "overlay"
        assert "no overlayfs: " in choice.why
