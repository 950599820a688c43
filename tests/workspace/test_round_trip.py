# SPDX-License-Identifier: MIT
"""What goes in comes out: bytes, names, links, executable bits, empty folders, and nothing else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given

import casstore
from casstore.errors import InvalidInputError
from casstore.workspace import checkout, import_directory
from tests.workspace.trees import Tree, read_tree, trees, with_folders, write_tree


def round_trip(store: casstore.Store, tree: Tree, folder: Path) -> Tree:
    write_tree(folder / "in", tree)
    report = import_directory(store, folder / "in", ref="main")
    written = checkout(store, "main", folder / "out")
    expected = with_folders(tree)
    files = [node for node in expected.values() if isinstance(node, bytes) or (node and node[0] == "x")]
    for counts in (report, written):
        assert counts.files == len(files)
        assert counts.symlinks == sum(isinstance(node, tuple) and node[0] == "->" for node in expected.values())
        assert counts.directories == sum(node is None for node in expected.values())
        assert counts.bytes == sum(len(node if isinstance(node, bytes) else node[1]) for node in files)
    assert read_tree(folder / "in") == expected
    return read_tree(folder / "out")


@given(trees)
@example({})
@example({b"a-b": b"1", b"a/b": b"2", b"a.b": b"3", b"A": b"4"})
@example({b"loop": ("->", b"loop"), b"gone": ("->", b"../../gone"), b"long": ("->", b"t" * 2000)})
@example({b"\xff/\xfe\n": b"x" * 500, b"e/m/p/t/y": None})
@example({b".git/HEAD": b"ref: x\n", b".git/objects": None, b"bin/run": ("x", b"#!/bin/sh\n")})
@example({b"127": b"i" * 127, b"128": b"a" * 128, b"0": b"", b"x0": ("x", b"")})
def test_a_tree_comes_back_as_it_was(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder, casstore.open(":memory:") as store:
        assert round_trip(store, tree, Path(folder)) == with_folders(tree)


def test_the_order_of_whole_keys_is_kept(store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {b"a/b": b"1", b"a-b": b"2", b"a.b": b"3", b"a0": b"4"})
    snapshot = import_directory(store, tmp_path / "in").snapshot
    assert list(snapshot.files) == ["a-b", "a.b", "a/b", "a0"]


def test_a_file_of_several_chunks_and_one_that_is_streamed(store: casstore.Store, tmp_path: Path) -> None:
    tree: Tree = {b"chunks": os.urandom(300_000), b"large": os.urandom(9 << 20), b"zeros": bytes((8 << 20) + 1)}
    assert round_trip(store, tree, tmp_path) == tree


def test_folders_deeper_than_descriptors_are_kept_open(store: casstore.Store, tmp_path: Path) -> None:
    top = tmp_path / "in"
    top.mkdir()
    depth = 600
    fd = os.open(top, os.O_RDONLY)
    for level in range(depth):
        for name in ("a-first", "z-last") if level % 100 == 0 else ():
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    report = import_directory(store, top, ref="main")
    written = checkout(store, "main", tmp_path / "out")
    assert (report.files, report.directories) == (written.files, written.directories) == (12, depth)
    again = import_directory(store, tmp_path / "out")
    assert again.snapshot.state_id == report.snapshot.state_id
    assert len(os.listdir("/dev/fd")) < 60


def test_equal_directories_have_equal_states(tmp_path: Path) -> None:
    tree: Tree = {b"b": b"1" * 300, b"a/x": ("x", b"2"), b"c": None}
    write_tree(tmp_path / "one", tree)
    write_tree(tmp_path / "two", dict(reversed(tree.items())))
    os.utime(tmp_path / "two" / "b", (1, 1))
    with casstore.open(":memory:") as first, casstore.open(":memory:") as second:
        one, two = import_directory(first, tmp_path / "one"), import_directory(second, tmp_path / "two")
        assert one.snapshot.state_id == two.snapshot.state_id
        (tmp_path / "two" / "b").chmod(0o755)
        assert import_directory(second, tmp_path / "two").snapshot.state_id != one.snapshot.state_id


def test_only_the_owners_execute_bit_counts(store: casstore.Store, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {b"group": b"", b"owner": b""})
    (tmp_path / "in" / "group").chmod(0o655)
    (tmp_path / "in" / "owner").chmod(0o700)
    import_directory(store, tmp_path / "in", ref="main")
    checkout(store, "main", tmp_path / "out")
    assert read_tree(tmp_path / "out") == {b"group": b"", b"owner": ("x", b"")}


@pytest.mark.parametrize(("umask", "modes"), [(0o027, [0o750, 0o640, 0o750]), (0, [0o755, 0o644, 0o755])])
def test_modes_follow_the_umask(store: casstore.Store, tmp_path: Path, umask: int, modes: list[int]) -> None:
    write_tree(tmp_path / "in", {b"d/file": b"", b"d/run": ("x", b"")})
    import_directory(store, tmp_path / "in", ref="main")
    before = os.umask(umask)
    try:
        checkout(store, "main", tmp_path / "out")
    finally:
        os.umask(before)
    assert [(tmp_path / "out" / name).stat().st_mode & 0o7777 for name in ("d", "d/file", "d/run")] == modes


@pytest.mark.parametrize("directory", ["", "a\0b"])
def test_what_can_be_no_path_is_refused(store: casstore.Store, tmp_path: Path, directory: str) -> None:
    with pytest.raises(InvalidInputError, match="no path"):
        import_directory(store, directory)
    write_tree(tmp_path / "in", {b"a": b""})
    with pytest.raises(InvalidInputError, match="no path"):
        checkout(store, import_directory(store, tmp_path / "in").snapshot, directory)


def test_progress_counts_up(store: casstore.Store, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    write_tree(tmp_path / "in", {b"d%d/f" % number: b"" for number in range(600)})
    import_directory(store, tmp_path / "in", ref="main", progress=lambda *call: calls.append(call))
    assert [done for _, done, _ in calls] == list(range(601))
    assert {(phase, total) for phase, _, total in calls} == {("reading", None)}
    calls.clear()
    checkout(store, "main", tmp_path / "out", progress=lambda *call: calls.append(call))
    assert calls[-1] == ("writing", 600, 600)
    assert 2 <= len(calls) < 600
