# SPDX-License-Identifier: MIT
"""POSIX metadata: kept beside the content with ``metadata="full"``, given back at a checkout."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

import casstore
from casstore.format.posix import decode_posix
from casstore.tree import scan
from casstore.workspace import checkout, import_directory
from tests.workspace.trees import read_tree, write_tree

LATE = 2_000_000_000_123_456_789
EARLY = -1_000_000_007


def can_have_xattrs(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.probe", b"1")
        os.removexattr(folder, "user.probe")
    except (OSError, AttributeError):
        return False
    return True


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "in"
    write_tree(top, {b"d/f": b"f" * 300, b"d/run": ("x", b""), b"d/l": ("->", b"f"), b"e": None})
    (top / "d" / "f").chmod(0o640)
    (top / "d" / "run").chmod(0o4711)
    os.utime(top / "d" / "f", ns=(1, LATE))
    os.utime(top / "d" / "l", ns=(1, EARLY), follow_symlinks=False)
    os.utime(top / "e", ns=(1, LATE + 1))
    os.utime(top / "d", ns=(1, LATE + 2))
    os.utime(top, ns=(1, LATE + 3))
    (top / "d").chmod(0o2750)
    (top / "e").chmod(0o500)
    top.chmod(0o705)
    return top


def facts(top: Path) -> dict[str, tuple[int, int, int, int]]:
    """Mode, time and owner of everything from ``top`` down."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        found[str(path.relative_to(top))] = (status.st_mode, status.st_mtime_ns, status.st_uid, status.st_gid)
    return found


def test_everything_comes_back(store: casstore.Store, source: Path, tmp_path: Path) -> None:
    report = import_directory(store, source, ref="main", metadata="full")
    assert report.warnings == ()
    assert checkout(store, "main", tmp_path / "out").warnings == ()
    assert facts(tmp_path / "out") == facts(source)
    assert read_tree(tmp_path / "out") == read_tree(source)


def test_it_is_kept_apart_from_the_content(store: casstore.Store, source: Path) -> None:
    full = import_directory(store, source, ref="main", metadata="full").snapshot
    basic = import_directory(store, source).snapshot
    assert full.state_id == basic.state_id
    assert full.id != basic.id
    assert full.roots["files"] == basic.roots["files"]
    kept = {key: decode_posix(entry.inline or b"") for key, entry in scan(store.nodes, full.roots["posix"])}
    assert sorted(kept) == [b"=d/=f", b"=d/=l", b"=d/=run", b"=d/@", b"=e/@", b"@"]
    assert kept[b"=d/=f"].mode == 0o640
    assert kept[b"=d/=f"].mtime_ns == LATE
    assert kept[b"@"].mode == 0o705
    assert kept[b"=d/=run"].uid == (source / "d" / "run").stat().st_uid


def test_a_new_time_alone_is_a_new_snapshot_of_the_same_state(store: casstore.Store, source: Path) -> None:
    first = import_directory(store, source, ref="main", metadata="full")
    assert not import_directory(store, source, ref="main", metadata="full").moved
    os.utime(source / "d" / "f", ns=(1, 5))
    assert not import_directory(store, source, ref="other").snapshot.roots.get("posix")
    second = import_directory(store, source, ref="main", metadata="full")
    assert second.moved
    assert second.new_bytes == 0
    assert second.snapshot.state_id == first.snapshot.state_id


def test_a_part_gets_its_own_metadata(store: casstore.Store, source: Path, tmp_path: Path) -> None:
    import_directory(store, source, ref="main", metadata="full")
    checkout(store, "main", tmp_path / "part", path="d")
    assert facts(tmp_path / "part") == {
        str(Path(name).relative_to("d")): fact for name, fact in facts(source).items() if name.startswith("d")
    }
    checkout(store, "main", tmp_path / "file", path="d/f")
    assert (tmp_path / "file" / "f").stat().st_mtime_ns == LATE
    assert (tmp_path / "file").stat().st_mtime_ns != LATE + 2


def test_force_restores_it_too(store: casstore.Store, source: Path, tmp_path: Path) -> None:
    import_directory(store, source, ref="main", metadata="full")
    write_tree(tmp_path / "out", {b"d/f": b"old", b"d/l": ("->", b"old")})
    checkout(store, "main", tmp_path / "out", force=True)
    assert facts(tmp_path / "out") == facts(source)


def test_extended_attributes_come_back(store: casstore.Store, source: Path, tmp_path: Path) -> None:
    if not can_have_xattrs(tmp_path):
        pytest.skip("this file system or system has no extended attributes for users")
    os.setxattr(source / "d" / "f", "user.b", b"\0\xff")
    os.setxattr(source / "d" / "f", "user.a", b"")
    os.setxattr(source / "d", "user.folder", b"1")
    os.setxattr(source, "user.top", b"2")
    os.utime(source / "d" / "f", ns=(1, LATE))
    assert import_directory(store, source, ref="main", metadata="full").warnings == ()
    assert checkout(store, "main", tmp_path / "out").warnings == ()
    out = tmp_path / "out"
    assert sorted(os.listxattr(out / "d" / "f")) == ["user.a", "user.b"]
    assert os.getxattr(out / "d" / "f", "user.b") == b"\0\xff"
    assert os.getxattr(out / "d", "user.folder") == b"1"
    assert os.getxattr(out, "user.top") == b"2"
    assert facts(out) == facts(source)


def test_extended_attributes_that_fail_are_warnings(
    store: casstore.Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"user.good": b"1", "user.large": b"x" * 65536}

    def listing(place: object, *, follow_symlinks: bool = True) -> list[str]:
        if isinstance(place, bytes):
            raise OSError(errno.EACCES, "Permission denied")
        return ["user.good", "user.bad", "user.large"] if os.fstat(place).st_size == 300 else []  # type: ignore[arg-type]

    def getting(place: object, name: str, *, follow_symlinks: bool = True) -> bytes:
        if name == "user.bad":
            raise OSError(errno.EIO, "Input/output error")
        return values[name]

    def setting(place: object, name: bytes, value: bytes, *, follow_symlinks: bool = True) -> None:
        assert (name, value) == (b"user.good", b"1")
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", listing, raising=False)
    monkeypatch.setattr(os, "getxattr", getting, raising=False)
    monkeypatch.setattr(os, "setxattr", setting, raising=False)
    monkeypatch.setattr("casstore.workspace.metadata.HAS_XATTRS", True)
    report = import_directory(store, source, ref="main", metadata="full")
    assert [(item.path, item.why) for item in report.warnings] == [
        ("d/f", "extended attribute 'user.bad' not kept: Input/output error"),
        ("d/f", "extended attribute 'user.large' not kept: too large"),
        ("d/l", "extended attributes not kept: Permission denied"),
    ]
    restored = checkout(store, "main", tmp_path / "out")
    assert [(item.path, item.why) for item in restored.warnings] == [
        ("d/f", "extended attribute 'user.good' not restored: Operation not supported")
    ]
    assert facts(tmp_path / "out") == facts(source)
    monkeypatch.setattr("casstore.workspace.metadata.HAS_XATTRS", False)
    elsewhere = checkout(store, "main", tmp_path / "elsewhere")
    assert [item.why for item in elsewhere.warnings] == [
        "extended attributes not restored: not possible on this system"
    ]


def test_a_file_system_without_extended_attributes_is_no_warning(
    store: casstore.Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listing(place: object, *, follow_symlinks: bool = True) -> list[str]:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", listing, raising=False)
    monkeypatch.setattr("casstore.workspace.metadata.HAS_XATTRS", True)
    assert import_directory(store, source, metadata="full").warnings == ()


def test_a_program_of_somebody_else_loses_set_user_id(
    store: casstore.Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_directory(store, source, ref="main", metadata="full")

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", refused)
    monkeypatch.setattr(os, "chown", refused)
    report = checkout(store, "main", tmp_path / "out")
    assert (tmp_path / "out" / "d" / "run").stat().st_mode & 0o7777 == 0o711
    assert {item.path: item.why for item in report.warnings}["d/run"] == "owner not restored: Operation not permitted"
    assert {item.path for item in report.warnings} == {"", "d", "d/f", "d/l", "d/run", "e"}
    # Without root's rights the owner is not tried, and only a program that stays with its owner keeps the bit.
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert checkout(store, "main", tmp_path / "again").warnings == ()
    assert (tmp_path / "again" / "d" / "run").stat().st_mode & 0o7777 == 0o4711


def test_a_path_of_too_many_levels_loses_only_its_metadata(store: casstore.Store, tmp_path: Path) -> None:
    top = tmp_path / "in"
    top.mkdir()
    try:
        fd = os.open(top, os.O_RDONLY)
        for _ in range(1990):
            os.mkdir("d", dir_fd=fd)
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
        report = import_directory(store, top, ref="main", metadata="full")
        assert report.directories == 1990
        assert {item.why for item in report.warnings} == {"metadata not kept: the path has too many levels"}
        assert checkout(store, "main", tmp_path / "out").directories == 1990
    finally:
        # Python's rmtree recurses once a level, so pytest could not clear this away later.
        subprocess.run(["rm", "-rf", str(top), str(tmp_path / "out")], check=True)
