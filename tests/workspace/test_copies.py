# SPDX-License-Identifier: MIT
"""Copies of frozen trees, with shared blocks where the file system can."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from casstore.errors import ConflictError, InvalidInputError, StorageError
from casstore.workspace import copies
from casstore.workspace.copies import copy_tree, why_no_reflinks
from casstore.workspace.overlay import choose
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree

TREE: Tree = {
    b"a/b/f": b"1" * 300,
    b"a/run": ("x", b"#!"),
    b"a/link": ("->", b"../nowhere"),
    b"e": None,
    b"\xff": os.urandom(3 << 20),
}


def test_a_copy_has_contents_modes_and_times(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", TREE)
    (tmp_path / "in/a/b/f").chmod(0o440)
    (tmp_path / "in/a/b").chmod(0o550)
    for number, path in enumerate([b"a/b/f", b"a/link", b"a/b", b"a", b"e"]):
        ns = 10**18 + number * 1_000_000_007
        os.utime(os.path.join(os.fsencode(tmp_path / "in"), path), ns=(ns, ns), follow_symlinks=False)
    seen: list[int] = []
    report = copy_tree(
        str(tmp_path / "in"), str(tmp_path / "x/out"), reflink=False, progress=lambda *values: seen.append(values[1])
    )
    assert read_tree(tmp_path / "x/out") == with_folders(TREE)
    assert (report.files, report.directories, report.symlinks, report.bytes) == (3, 3, 1, 300 + 2 + (3 << 20))
    assert seen[-1] == 3
    for path in with_folders(TREE):
        one, two = (os.lstat(os.path.join(os.fsencode(tmp_path / name), path)) for name in ("in", "x/out"))
        assert (one.st_mode, one.st_mtime_ns) == (two.st_mode, two.st_mtime_ns), path
        assert one.st_ino != two.st_ino


def test_a_copy_goes_only_into_an_empty_folder(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {b"f": b"1"})
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="is not empty"):
        copy_tree(str(tmp_path / "in"), str(tmp_path), reflink=False)
    with pytest.raises(InvalidInputError, match="is not a directory"):
        copy_tree(str(tmp_path / "in"), str(tmp_path / "file"), reflink=False)
    with pytest.raises(StorageError, match="cannot be read"):
        copy_tree(str(tmp_path / "nowhere"), str(tmp_path / "out"), reflink=False)
    (tmp_path / "out").rmdir()
    os.mkfifo(tmp_path / "in/pipe")
    with pytest.raises(ConflictError, match="no frozen tree"):
        copy_tree(str(tmp_path / "in"), str(tmp_path / "out"), reflink=False)


def test_a_symlink_in_the_way_is_not_followed(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {b"d/f": b"1"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "outside")
    (tmp_path / "in/l").symlink_to(tmp_path / "outside")
    copy_tree(str(tmp_path / "in"), str(tmp_path / "out"), reflink=False)
    assert os.readlink(tmp_path / "out/l") == str(tmp_path / "outside")
    assert os.listdir(tmp_path / "outside") == []


def test_a_kernel_that_copies_no_ranges_is_helped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(errno.EXDEV, "not here")

    write_tree(tmp_path / "in", TREE)
    monkeypatch.setattr(os, "copy_file_range", refuse)
    copy_tree(str(tmp_path / "in"), str(tmp_path / "out"), reflink=False)
    assert read_tree(tmp_path / "out") == with_folders(TREE)


def test_a_file_system_without_reflinks_says_so_and_never_copies_instead(tmp_path: Path) -> None:
    reason = why_no_reflinks(str(tmp_path), str(tmp_path / "new/out"))
    if not reason:
        pytest.skip("the file system of the temporary folder has reflinks")
    assert reason.startswith("no reflinks: ")
    assert os.listdir(tmp_path) == []
    write_tree(tmp_path / "in", TREE)
    with pytest.raises(InvalidInputError, match="fork by copying"):
        copy_tree(str(tmp_path / "in"), str(tmp_path / "out"), reflink=True)
    assert not [name for _, _, names in os.walk(tmp_path / "out") for name in names if name != "link"]
    with pytest.raises(InvalidInputError, match=r"no reflinks: .* Possible here: .*copy"):
        choose(str(tmp_path), str(tmp_path / "out"), "reflink")


@pytest.fixture(params=["btrfs", "xfs"])
def reflinking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that can share blocks, in a file that is mounted through a loop device."""
    kind = str(request.param)
    if os.geteuid() != 0:
        pytest.skip("only root mounts loop devices")
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"mkfs.{kind} is missing; install {'btrfs-progs' if kind == 'btrfs' else 'xfsprogs'}")
    image, top = tmp_path / "image", tmp_path / "top"
    top.mkdir()
    with open(image, "wb") as file:
        file.truncate(320 << 20)
    made = subprocess.run([f"mkfs.{kind}", "-q", str(image)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"mkfs.{kind} failed: {made.stderr.strip()}")
    done = subprocess.run(["mount", "-o", "loop", str(image), str(top)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{kind} cannot be mounted here: {done.stderr.strip()}")
    try:
        yield top
    finally:
        for _ in range(50):
            if subprocess.run(["umount", str(top)], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)


def test_reflinks_share_blocks_and_nothing_else(reflinking: Path, tmp_path: Path) -> None:
    assert why_no_reflinks(str(reflinking), str(reflinking / "new/out")) == ""
    assert "different file systems" in why_no_reflinks(str(reflinking), str(tmp_path))
    content = os.urandom(64 << 20)
    tree: Tree = {**TREE, b"large": content}
    write_tree(reflinking / "in", tree)
    os.sync()
    before = os.statvfs(reflinking).f_bavail * os.statvfs(reflinking).f_frsize
    report = copy_tree(str(reflinking / "in"), str(reflinking / "out"), reflink=True)
    os.sync()
    used = before - os.statvfs(reflinking).f_bavail * os.statvfs(reflinking).f_frsize
    assert used < 16 << 20
    assert report.bytes > 64 << 20
    assert read_tree(reflinking / "out") == with_folders(tree)
    with open(reflinking / "out/large", "r+b") as file:
        file.write(b"changed")
    assert (reflinking / "in/large").read_bytes() == content
    with pytest.raises(InvalidInputError, match="fork by copying"):
        copy_tree(str(reflinking / "in"), str(tmp_path / "elsewhere"), reflink=True)


def test_reflinks_are_chosen_where_no_overlay_can_be_had(reflinking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from casstore.workspace.overlay import probing

    monkeypatch.setattr(probing, "why_no_overlay", lambda store: "no overlayfs: asked not to")
    choice = choose(str(reflinking), str(reflinking / "out"))
    assert choice.method == "reflink"
    assert choice.why == "reflinks: files share their blocks until they change; no overlayfs: asked not to"


def test_what_the_probe_opens_it_closes(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        why_no_reflinks(str(tmp_path), str(tmp_path))
    assert len(os.listdir("/dev/fd")) == before
    assert copies.FICLONE == 0x40049409
