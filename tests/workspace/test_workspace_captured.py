# SPDX-License-Identifier: MIT
"""What is captured of a directory: selections, metadata, what a watcher reports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.workspace import (
    Selection,
    Workspace,
    import_directory,
)
from tests.workspace.switching import (
    OTHER,
    START,
    Made,
    assert_holds,
    edit,
    keys,
    looks,
    opened,
    settle,
    state_of,
)
from tests.workspace.trees import Tree, read_tree, write_tree

# -- a selection


def test_what_the_rules_leave_out_is_neither_captured_nor_touched(tmp_path: Path) -> None:
    rules: Tree = {b".gitignore": b"build/\n*.o\n", b"src/a.c": b"int a;", b"gone/b.c": b"int b;"}
    store, directory, workspace = opened(tmp_path, rules, selection=Selection(ignore="git"))
    with store, workspace:
        write_tree(directory, {b"build/out": b"1", b"src/a.o": b"2", b"gone/b.o": b"3", b"gone/deep/c.o": b"4"})
        status = workspace.status()
        # To the capture, a folder in which everything is left out is an empty one.
        assert keys(status.changes) == ["files/gone/deep"]
        assert [item.path for item in status.left_out] == ["build", "gone/b.o", "gone/deep/c.o", "src/a.o"]
        (directory / "new.c").write_bytes(b"int c;")
        saved = workspace.snapshot("with rules")
        assert saved.meta["workspace"]["left_out_count"] == 4  # type: ignore[index,call-overload]
        before = looks(directory)
        # Everything that is captured goes, also all of `gone`, and what is left out stays where it is.
        target = state_of(store, {b".gitignore": rules[b".gitignore"], b"src": b"a file"}, tmp_path / "target")
        with pytest.raises(casstore.InvalidInputError, match="src"):
            workspace.switch(target)
        assert looks(directory) == before
        report = workspace.switch(state_of(store, {b".gitignore": rules[b".gitignore"]}, tmp_path / "target2"))
        assert report.saved is None
        assert report.deleted == 4
        assert read_tree(directory) == {
            b".gitignore": rules[b".gitignore"],
            b"build": None,
            b"build/out": b"1",
            b"src": None,
            b"src/a.o": b"2",
            b"gone": None,
            b"gone/b.o": b"3",
            b"gone/deep": None,
            b"gone/deep/c.o": b"4",
        }
        after = looks(directory)
        kept = ["build/out", "src/a.o", "gone/b.o", "gone/deep/c.o"]
        assert [after[path] for path in kept] == [before[path] for path in kept]
        workspace.undo()
        assert looks(directory).keys() == before.keys()
    with casstore.open(str(tmp_path / "store")) as store, Workspace(store, directory) as again:
        assert again.selection == Selection(ignore="git")
        assert keys(again.status().changes) == []


# -- metadata


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Made]:
    """As ``made``, with metadata."""
    store, directory, workspace = opened(tmp_path, metadata="full")
    with store, workspace:
        yield store, directory, workspace


def tags(place: Path) -> dict[str, bytes]:
    return {name: os.getxattr(place, name) for name in os.listxattr(place)}


def need_xattrs(folder: Path) -> None:
    try:
        os.setxattr(folder, "user.probe", b"1")
        os.removexattr(folder, "user.probe")
    except OSError as error:
        pytest.skip(f"extended attributes cannot be set here: {error.strerror}")


def test_metadata_is_restored(full: Made, tmp_path: Path) -> None:
    store, directory, workspace = full
    need_xattrs(directory)
    os.setxattr(directory / "d/one", "user.tag", b"before")
    os.chmod(directory / "d/two", 0o640)
    os.utime(directory / "d/two", ns=(0, 123_456_789))
    os.chmod(directory / "d/deep", 0o700)
    os.utime(directory / "d/deep", ns=(0, 987_654_321))
    first = workspace.snapshot("first", ref="first")
    os.setxattr(directory / "d/one", "user.tag", b"after")
    os.chmod(directory / "d/two", 0o600)
    os.utime(directory / "d/deep", ns=(0, 1))
    (directory / "d/deep/new").write_bytes(b"n")
    second = workspace.snapshot("second", ref="second")
    assert first.roots["posix"] != second.roots["posix"]
    before = looks(directory)
    for state, tag, mode, file in (("first", b"before", 0o640, False), ("second", b"after", 0o600, True)):
        report = workspace.switch(state)
        assert report.warnings == ()
        assert report.saved is None
        assert tags(directory / "d/one") == {"user.tag": tag}
        assert (directory / "d/two").stat().st_mode & 0o777 == mode
        assert (directory / "d/two").stat().st_mtime_ns == 123_456_789
        assert (directory / "d/deep/new").exists() == file
        assert (directory / "d/deep").stat().st_mode & 0o777 == 0o700
        if not file:
            assert (directory / "d/deep").stat().st_mtime_ns == 987_654_321
        settle()
        assert workspace.status(paranoid=True).clean
        assert workspace.snapshot() == store.refs[state]
    after = looks(directory)
    assert {path: seen[0] for path, seen in before.items() if path != "d/deep/new"} == {
        path: seen[0] for path, seen in after.items() if path != "d/deep/new"
    }, "what changes in its metadata alone keeps its inode"


def test_metadata_that_nothing_else_has_is_in_the_safety_snapshot(full: Made) -> None:
    _store, directory, workspace = full
    (directory / "small").write_bytes(b"2")
    os.chmod(directory / "d/two", 0o600)
    workspace.snapshot("second", ref="second")
    # No content changes from here on.
    os.chmod(directory / "d/two", 0o666)
    os.utime(directory / "d/one", ns=(0, 42))
    report = workspace.switch("main")
    assert report.saved is not None
    assert (directory / "d/two").stat().st_mode & 0o777 == 0o644
    workspace.undo()
    assert (directory / "d/two").stat().st_mode & 0o777 == 0o666
    assert (directory / "d/one").stat().st_mtime_ns == 42
    assert (directory / "small").read_bytes() == b"2"


def test_a_look_does_not_hide_a_change_of_metadata_alone(full: Made) -> None:
    store, directory, workspace = full
    os.chmod(directory / "d/two", 0o600)
    for close in (False, True):
        found = workspace.status()
        assert (found.changes, found.metadata_changes, found.clean) == ((), ("d/two",), False)
        if close:
            workspace.close()
    saved = workspace.snapshot()
    assert saved.roots["posix"] != store.refs["main"].roots["posix"]
    with casstore.open(":memory:") as fresh:
        assert saved.roots == import_directory(fresh, directory, metadata="full").snapshot.roots


def test_metadata_is_whole_after_a_state_that_has_none(full: Made, tmp_path: Path) -> None:
    store, directory, workspace = full
    bare = state_of(store, OTHER, tmp_path / "other")
    assert "posix" not in bare.roots
    workspace.switch(bare)
    settle()
    saved = workspace.snapshot("with metadata again")
    with casstore.open(":memory:") as fresh:
        # One that knows nothing of the directory.
        assert saved.roots == import_directory(fresh, directory, metadata="full").snapshot.roots
    workspace.switch("main")
    assert workspace.snapshot() == store.refs["main"]


def test_without_metadata_a_state_that_has_it_is_still_the_base(full: Made, tmp_path: Path) -> None:
    store, _, _ = full
    write_tree(tmp_path / "basic", {b"a": b"1"})
    with Workspace(store, tmp_path / "basic", metadata="basic") as basic:
        basic.snapshot()
        basic.switch("main")
        assert basic.status().clean
        assert basic.snapshot("nothing changed") == store.refs["main"]


# -- watching


def test_watching_sees_what_scanning_sees(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    workspace.close()
    # Before anybody watches.
    (directory / "d/one").write_bytes(b"unwatched")
    settle()
    with Workspace(store, directory, watch=True) as watching:
        assert keys(watching.status().changes) == ["files/d/one"]
        assert keys(watching.status().changes) == ["files/d/one"]
        assert watching.snapshot(ref="watched").files["d/one"] == b"unwatched"
        other = state_of(store, OTHER, tmp_path / "other")
        for tree, change in ((START, "small"), (OTHER, "same"), (START, "tool")):
            edit(directory, tree)
            (directory / change).write_bytes(change.encode())
            settle()
            with Workspace(store, directory) as plain:
                assert watching.status().changes == plain.status(paranoid=True).changes
            saved = watching.snapshot()
            assert_holds(store, directory, saved, tmp_path)
            watching.switch(other)
            assert_holds(store, directory, other, tmp_path)
            assert watching.status().clean
            watching.undo()
            assert watching.status(paranoid=True).clean
            assert_holds(store, directory, saved, tmp_path)


def test_a_look_that_keeps_nothing_forgets_nothing_that_was_reported(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, directory, workspace = made
    workspace.close()
    monkeypatch.setattr("casstore.workspace.plain.FULL_EVERY", 3)
    with Workspace(store, directory, watch=True) as watching:
        for turn in range(7):
            (directory / "d/two").write_bytes(b"%d" % turn)
            settle()
            for _ in range(turn % 4):
                assert keys(watching.status().changes) == ["files/d/two"]
            assert watching.snapshot().files["d/two"] == b"%d" % turn
            settle()
