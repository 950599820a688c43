# SPDX-License-Identifier: MIT
"""A store is private to its user, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.storage.modes import open_to_others
from casstore.testing.model import noise
from casstore.workspace import Workspace, import_directory
from tests.snapshots.driving import backend_config


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077], ids=lambda mask: f"{mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def others(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode) & 0o077


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_nobody_else_may_look_into_a_store(umask: int, backend: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "store", tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(noise(3000, 1))
    with casstore.open(path, config=backend_config(backend)) as store:
        import_directory(store, folder, ref="main")
        with Workspace(store, folder) as workspace:
            workspace.snapshot(ref="main")
        store.configure(max_bytes=10**9)
        with casstore.open(path, read_only=True) as reader:
            assert reader.refs["main"]
            look(path)
        store.plan_gc(grace_seconds=0).execute()
        look(path)
        assert store.stats().open_to_others == ()
    # An index that was made anew, too.
    for item in (path / "index").iterdir():
        item.unlink()
    (path / "index").rmdir()
    with casstore.open(path) as store:
        store.verify()
        look(path)


def look(path: Path) -> None:
    """Every folder is closed to others; so is every file, but for those of LevelDB, whose folder is."""
    assert others(path) == 0
    for folder, folders, names in os.walk(path):
        for name in folders:
            assert others(Path(folder, name)) == 0, Path(folder, name)
        for name in names:
            if Path(folder).name != "index":
                assert others(Path(folder, name)) == 0, Path(folder, name)


def test_a_store_in_a_folder_that_was_there_is_private_below_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    path.chmod(0o755)
    before = os.umask(0)
    try:
        with casstore.open(path) as store:
            store.put(b"content")
            # The folder is not ours to close, but all in it is.
            assert store.stats().open_to_others == (".",)
    finally:
        os.umask(before)
    assert others(path) != 0
    for item in path.iterdir():
        assert others(item) == 0, item


def test_wider_modes_stay_and_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with casstore.open(path) as store:
        store.put(b"content")
    path.chmod(0o750)
    (path / "index").chmod(0o755)
    (path / "superblock").chmod(0o644)
    with casstore.open(path) as store:
        assert store.stats().open_to_others == (".", "index", "superblock")
        assert open_to_others(str(path)) == [".", "index", "superblock"]
    assert stat.S_IMODE((path / "index").stat().st_mode) == 0o755
    # Behind a closed folder nothing else counts.
    path.chmod(0o700)
    assert open_to_others(str(path)) == []
