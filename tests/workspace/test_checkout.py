# SPDX-License-Identifier: MIT
"""Checking out: where to, what of a state, over what, and never outside."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.address import content_address
from casstore.errors import (
    CasstoreError,
    ConflictError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from casstore.format.entry import Entry, directory_entry, file_entry, snapshot_entry, symlink_entry
from casstore.tree import build
from casstore.workspace import checkout, import_directory
from casstore.workspace.changing.ahead import FetchAhead
from casstore.workspace.changing.target import Target, find_obstacles
from casstore.workspace.part import Part
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree

TREE: Tree = {
    b"a": b"1" * 500,
    b"d/b": b"tiny",
    b"d/run": ("x", b"#!" * 100),
    b"d/link": ("->", b"../a"),
    b"d/far": ("->", b"/" + b"x" * 200),
    b"e": None,
    b"d-e": b"",
}


@pytest.fixture
def state(store: casstore.Store, tmp_path: Path) -> casstore.Store:
    """The store, with TREE under the ref ``main``."""
    write_tree(tmp_path / "in", TREE)
    import_directory(store, tmp_path / "in", ref="main")
    return store


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def inline(data: bytes) -> Entry:
    return file_entry(len(data), None, data)


# -- where to


def test_a_missing_folder_is_made_with_its_parents(state: casstore.Store, tmp_path: Path) -> None:
    checkout(state, "main", tmp_path / "x" / "y")
    assert read_tree(tmp_path / "x" / "y") == with_folders(TREE)


def test_an_empty_folder_is_used(state: casstore.Store, out: Path, tmp_path: Path) -> None:
    out.mkdir()
    inode = out.stat().st_ino
    (tmp_path / "link").symlink_to(out)
    checkout(state, "main", tmp_path / "link")
    assert out.stat().st_ino == inode
    assert read_tree(out) == with_folders(TREE)


def test_a_folder_that_is_not_empty_is_refused(state: casstore.Store, out: Path) -> None:
    write_tree(out, {b"mine": b""})
    with pytest.raises(InvalidInputError, match=r"not empty.*--force"):
        checkout(state, "main", out)
    assert read_tree(out) == {b"mine": b""}


def test_what_is_no_folder_is_refused(state: casstore.Store, out: Path) -> None:
    out.write_bytes(b"mine")
    for place in (out, out / "below"):
        for force in (False, True):
            with pytest.raises(InvalidInputError, match="is not a directory"):
                checkout(state, "main", place, force=force)
    assert out.read_bytes() == b"mine"


def test_the_store_itself_is_refused(disk_store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", TREE)
    import_directory(disk_store, tmp_path / "in", ref="main")
    for place in (tmp_path / "store", tmp_path / "store" / "new"):
        with pytest.raises(InvalidInputError, match="store itself"):
            checkout(disk_store, "main", place, force=True)
    assert not (tmp_path / "store" / "new").exists()


def test_a_folder_that_cannot_be_made_is_an_error(state: casstore.Store, out: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written to"):
        checkout(state, "main", out / ("n" * 300))


def test_an_unknown_state_is_not_found(state: casstore.Store, out: Path) -> None:
    with pytest.raises(NotFoundError):
        checkout(state, "nobody", out)
    assert not out.exists()


# -- what of it


@pytest.mark.parametrize("path", ["d", "d/", b"d", "/d/"])
def test_the_members_of_a_folder_come_into_the_directory(state: casstore.Store, out: Path, path: str | bytes) -> None:
    report = checkout(state, "main", out, path=path)
    assert read_tree(out) == {key[2:]: node for key, node in TREE.items() if key.startswith(b"d/")}
    assert (report.files, report.directories, report.symlinks) == (2, 0, 2)


@pytest.mark.parametrize("path", [b"a", b"d/b", b"d/run", b"d/link", b"d/far"])
def test_a_single_file_comes_under_its_own_name(state: casstore.Store, out: Path, path: bytes) -> None:
    report = checkout(state, "main", out, path=path)
    assert read_tree(out) == {path.rpartition(b"/")[2]: TREE[path]}
    assert report.files + report.symlinks == 1


def test_an_empty_folder_is_an_empty_directory(state: casstore.Store, out: Path) -> None:
    checkout(state, "main", out, path="e")
    assert read_tree(out) == {}


@pytest.mark.parametrize("path", ["x", "d/x", "a/x", "d-", "d/b/"])
def test_a_part_that_is_not_there_is_not_found(state: casstore.Store, out: Path, path: str) -> None:
    if path == "d/b/":
        assert checkout(state, "main", out, path=path).files == 1  # a slash at the end says nothing
        return
    with pytest.raises(NotFoundError, match="no path") as raised:
        checkout(state, "main", out, path=path)
    assert raised.value.path == path
    assert not out.exists()


# -- over what


def test_force_replaces_files_and_leaves_others(state: casstore.Store, out: Path, tmp_path: Path) -> None:
    mine: Tree = {
        b"a": b"old",
        b"d/link": b"a file",
        b"d/b": ("->", b"../mine"),
        b"mine": b"m",
        b"d/mine": b"n",
        b"e/f": b"",
    }
    write_tree(out, mine)
    os.link(out / "a", tmp_path / "hard")
    folder = (out / "d").stat().st_ino
    checkout(state, "main", out, force=True)
    expected = {**with_folders(TREE), b"mine": b"m", b"d/mine": b"n", b"e/f": b""}
    assert read_tree(out) == expected
    assert (tmp_path / "hard").read_bytes() == b"old"
    assert (out / "d").stat().st_ino == folder
    checkout(state, "main", out, force=True)
    assert read_tree(out) == expected


@pytest.mark.parametrize(
    ("obstacle", "place"),
    [
        ({b"a/x": b""}, "a"),
        ({b"d": b"a file"}, "d"),
        ({b"d": ("->", b"elsewhere"), b"elsewhere": None}, "d"),
        ({b"d/link": None}, "d/link"),
        ({b"e": b"a file"}, "e"),
        ({b"e": ("->", b"elsewhere"), b"elsewhere": None}, "e"),
    ],
)
def test_what_is_in_the_way_is_found_before_anything_is_written(
    state: casstore.Store, out: Path, obstacle: Tree, place: str
) -> None:
    write_tree(out, obstacle)
    before = read_tree(out)
    with pytest.raises(InvalidInputError, match="is in the way") as raised:
        checkout(state, "main", out, force=True)
    assert raised.value.path == str(out / place)
    assert read_tree(out) == before


@pytest.mark.parametrize("key", [b"store/superblock", b"store"])
def test_force_never_replaces_the_store(disk_store: casstore.Store, tmp_path: Path, key: bytes) -> None:
    write_tree(tmp_path / "in", {key: b"hostile" if b"/" in key else None})
    import_directory(disk_store, tmp_path / "in", ref="main")
    with pytest.raises(InvalidInputError, match="store itself"):
        checkout(disk_store, "main", tmp_path, force=True)
    assert (tmp_path / "store" / "superblock").read_bytes() != b"hostile"


def test_a_target_that_cannot_be_looked_at_is_an_error(
    state: casstore.Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(out, {b"d/mine": b""})
    stat = os.stat

    def statting(path: object, **options: object) -> os.stat_result:
        if path == b"d":
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", statting)
    with pytest.raises(StorageError, match="nothing was written"):
        checkout(state, "main", out, force=True)
    assert read_tree(out) == {b"d": None, b"d/mine": b""}


def test_a_failed_replacement_leaves_the_old_file(
    state: casstore.Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(out, {b"a": b"old"})
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if bytes(data[:10]) == b"1" * 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"No space left on device.*--force") as raised:
        checkout(state, "main", out, force=True)
    assert raised.value.path == str(out / "a")
    assert read_tree(out) == {b"a": b"old"}


def test_a_failed_rename_leaves_nothing_new(state: casstore.Store, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(out, {b"a": b"old"})

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(StorageError, match="Operation not permitted"):
        checkout(state, "main", out, force=True)
    assert read_tree(out) == {b"a": b"old"}


def test_a_file_that_fails_midway_is_not_left_half_written(
    store: casstore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "in", {b"a": b"", b"large": bytes(6 << 20), b"z": b""})
    import_directory(store, tmp_path / "in", ref="main")
    write = os.write
    blocks: list[int] = []

    def full(fd: int, data: bytes) -> int:
        if len(data) == 1 << 20:
            blocks.append(len(data))
            if len(blocks) == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left on device") as raised:
        checkout(store, "main", out)
    assert raised.value.path == str(out / "large")
    assert read_tree(out) == {b"a": b""}


def test_damage_in_a_large_file_is_named(
    store: casstore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "in", {b"d/large": bytes(6 << 20)})
    import_directory(store, tmp_path / "in", ref="main")

    def damaged(self: object, address: bytes) -> object:
        raise CorruptionError("a chunk is damaged.", address=address)

    monkeypatch.setattr(type(store.storage), "open_content", damaged)
    with pytest.raises(CorruptionError, match="the content of 'd/large'") as raised:
        checkout(store, "main", out)
    assert raised.value.path == "d/large"
    assert read_tree(out) == {b"d": None}


def test_short_writes_are_continued(state: casstore.Store, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    checkout(state, "main", out)
    assert read_tree(out) == with_folders(TREE)


# -- never outside


def plant(monkeypatch: pytest.MonkeyPatch, name: bytes, action: object) -> None:
    """Runs ``action`` right before the checkout makes the folder ``name``."""
    mkdir = os.mkdir

    def making(path: bytes, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if path == name:
            action()  # type: ignore[operator]
        mkdir(path, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", making)


@pytest.mark.parametrize("force", [False, True])
def test_a_symlink_planted_meanwhile_is_not_followed(
    state: casstore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    outside = tmp_path / "outside"
    write_tree(outside, {b"kept": b""})
    if force:
        write_tree(out, {b"mine": b""})
    plant(monkeypatch, b"d", lambda: (out / "d").symlink_to(outside))
    with pytest.raises(InvalidInputError):
        checkout(state, "main", out, force=force)
    assert read_tree(outside) == {b"kept": b""}


def test_a_file_that_comes_into_being_meanwhile_is_kept(
    state: casstore.Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, b"d", lambda: (out / "e").write_bytes(b"mine"))
    with pytest.raises(InvalidInputError, match="came into being"):
        checkout(state, "main", out)
    assert (out / "e").read_bytes() == b"mine"


def test_a_tree_whose_key_passes_through_a_symlink_is_refused(store: casstore.Store, out: Path, tmp_path: Path) -> None:
    items = [(b"a", symlink_entry(3, None, b"../")), (b"a/b", inline(b"x"))]
    with pytest.raises(InvalidInputError):
        build(store.nodes, items, tree=True)
    root = build(store.nodes, items)
    assert root is not None
    with pytest.raises(CasstoreError):
        checkout(store, store.add_snapshot(roots={"files": root}), out)
    assert sorted(path.name for path in tmp_path.iterdir()) in (["out"], [])


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    "keys",
    [
        [b"a", b"a/b"],
        [b"../b"],
        [b"x/../../b"],
        [b"./b"],
        [b"x//b"],
        [b"x/."],
        [b".."],
        [b"x/.."],
        [b"n\0b"],
        [b"x/n\0/b"],
    ],
)
def test_hostile_keys_write_nothing_outside(
    store: casstore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[bytes], replace: bool
) -> None:
    # The tree refuses such keys; this is the second lock.
    def items(_: Part) -> Iterator[tuple[bytes, Entry]]:
        return iter([(key, symlink_entry(2, None, b"..") if key == b"a" else inline(b"x")) for key in keys])

    monkeypatch.setattr(Part, "items", items)
    if replace:
        write_tree(out, {b"x/mine": b""})
        monkeypatch.setattr("casstore.workspace.checking_out.find_obstacles", lambda *_: None)
    snapshot = store.add_snapshot(roots={})
    with pytest.raises((CorruptionError, InvalidInputError)):
        checkout(store, snapshot, out, force=True)
    assert os.listdir(tmp_path) == ["out"]
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("key", [b"../b", b"x/../b", b"x/..", b"n\0"])
def test_looking_for_obstacles_stays_inside_too(out: Path, key: bytes) -> None:
    write_tree(out, {b"x/y": b""})
    fd = os.open(out, os.O_RDONLY)
    with pytest.raises(CorruptionError, match="outside"):
        find_obstacles(str(out), fd, iter([(key, False)]), None)
    os.close(fd)


def test_an_entry_that_is_no_file_is_refused(store: casstore.Store, out: Path) -> None:
    snapshot = store.add_snapshot(roots={})
    root = build(store.nodes, [(b"s", snapshot_entry(snapshot.id))])
    assert root is not None
    with pytest.raises(CorruptionError, match="kind 5"):
        checkout(store, store.add_snapshot(roots={"files": root}), out)


@pytest.mark.parametrize("target", [b"", b"a\0b"])
def test_an_impossible_symlink_is_refused(store: casstore.Store, out: Path, target: bytes) -> None:
    root = build(store.nodes, [(b"l", symlink_entry(len(target), None, target))])
    assert root is not None
    with pytest.raises(CorruptionError, match="impossible target"):
        checkout(store, store.add_snapshot(roots={"files": root}), out)


@pytest.mark.parametrize("said", [200, 5 << 20])
def test_an_entry_with_another_size_than_its_content_is_damage(store: casstore.Store, out: Path, said: int) -> None:
    address = store.storage.put(b"c" * 300)
    root = build(store.nodes, [(b"f", file_entry(said, address))])
    assert root is not None
    with pytest.raises(CorruptionError, match="its content has 300"):
        checkout(store, store.add_snapshot(roots={"files": root}), out)


def test_missing_content_is_an_error_and_ends_the_thread(store: casstore.Store, out: Path) -> None:
    missing = content_address(b"never stored" * 50)
    items = [(b"a%03d" % number, inline(b"x")) for number in range(700)] + [(b"b", file_entry(600, missing))]
    root = build(store.nodes, items)
    assert root is not None
    with pytest.raises(NotFoundError, match="the content of 'b'") as raised:
        checkout(store, store.add_snapshot(roots={"files": root}), out)
    assert raised.value.path == "b"
    assert not [thread for thread in threading.enumerate() if thread.name == "casstore-fetch"]
    assert len(os.listdir(out)) >= 512


def test_leaving_early_ends_the_thread(store: casstore.Store) -> None:
    taken: list[int] = []

    def items() -> Iterator[tuple[bytes, Entry]]:
        for number in range(50_000):
            taken.append(number)
            yield b"a%05d" % number, inline(b"x")

    with FetchAhead(store.storage, items()) as batches:
        assert len(next(batches)[0]) == 256
    assert len(taken) < 5000
    assert not [thread for thread in threading.enumerate() if thread.name == "casstore-fetch"]


# -- what a file system may do


def test_names_that_are_one_to_the_file_system_are_both_named(
    store: casstore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "in", {b"d/README": b"", b"d/Readme": b""})
    import_directory(store, tmp_path / "in", ref="main")
    open_file, stat = os.open, os.stat

    def folded(path: object) -> object:
        return b"README" if path == b"Readme" else path

    def opening(path: object, flags: int, *arguments: int, **options: int) -> int:
        return open_file(folded(path), flags, *arguments, **options)  # type: ignore[arg-type]

    def statting(path: object, **options: object) -> os.stat_result:
        return stat(folded(path), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "stat", statting)
    with pytest.raises(InvalidInputError, match="one name to this file system") as raised:
        checkout(store, "main", out)
    assert str(out / "d" / "README") in str(raised.value)
    assert str(out / "d" / "Readme") in str(raised.value)


def test_a_folder_moved_away_meanwhile_is_noticed(
    store: casstore.Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casstore.workspace.scanning.folders.MAX_OPEN", 2)
    write_tree(tmp_path / "in", {b"a/b/c/d": b"", b"a/b/x": b""})
    import_directory(store, tmp_path / "in", ref="main")
    checkout(store, "main", out)
    (tmp_path / "elsewhere").mkdir()
    write = Target.write

    def moving(self: Target, fd: int, name: bytes, *rest: object) -> None:
        write(self, fd, name, *rest)  # type: ignore[arg-type]
        if name == b"d":
            (tmp_path / "again" / "a" / "b" / "c").rename(tmp_path / "elsewhere" / "c")

    monkeypatch.setattr(Target, "write", moving)
    with pytest.raises(ConflictError, match="moved meanwhile"):
        checkout(store, "main", tmp_path / "again")
    assert read_tree(tmp_path / "elsewhere") == {b"c": None, b"c/d": b""}


def test_an_empty_folder_of_the_state_is_made_once(store: casstore.Store, out: Path) -> None:
    root = build(store.nodes, [(b"e/f", directory_entry()), (b"g", directory_entry())])
    assert root is not None
    assert checkout(store, store.add_snapshot(roots={"files": root}), out).directories == 3
