# SPDX-License-Identifier: MIT
"""Files with several names in the directory that is changed, and outside: one name's fate is not the others'.

Whatever happens to one name moves the change time that all of them share.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.errors import ConflictError
from casstore.format.posix import PosixMetadata
from casstore.workspace.changing.seen import Seen
from tests.workspace.plain_diff import (
    LONG,
    SWEPT,
    TOKEN,
    changer,
    changes_between,
    fingerprints_of,
    names_left,
    run_killed,
    switch,
)
from tests.workspace.switching import opened, settle
from tests.workspace.trees import Node, Tree, contents, names, nodes, read_tree, trees, with_folders, write_tree

Links = list[tuple[int, int]]
"""Pairs of files, by number: the second one becomes another name of the first."""


def link(directory: Path, tree: Tree, links: Links) -> Tree:
    """Makes names of ``tree``, which is in the directory, into names of one file; what the tree is then."""
    leaves = [path for path in sorted(tree) if tree[path] is not None]
    linked = dict(tree)
    for one, other in links if leaves else ():
        first, second = leaves[one % len(leaves)], leaves[other % len(leaves)]
        place, at = (os.path.join(os.fsencode(directory), path) for path in (first, second))
        if not os.path.samestat(os.lstat(place), os.lstat(at)):
            os.unlink(at)
            os.link(place, at, follow_symlinks=False)
            linked[second] = linked[first]
    return linked


def tick() -> None:
    """Waits until what happens shows in a change time, on most systems."""
    time.sleep(0.005)


def shared_names(directory: Path) -> int:
    """Names below the directory whose file has another one."""
    return sum(place.lstat().st_nlink > 1 for place in directory.rglob("*") if place.is_symlink() or place.is_file())


@st.composite
def edited(draw: st.DrawFn, tree: Tree) -> Tree:
    """A tree that has much in common with ``tree``: some paths go, some get other nodes, some become folders."""
    new: Tree = {}
    for path, node in tree.items():
        fate = draw(st.sampled_from(["stays", "stays", "goes", "content", "mode", "node", "folder"]))
        if fate == "stays":
            new[path] = node
        elif fate == "content":
            new[path] = draw(contents)
        elif fate == "mode" and node is not None:
            new[path] = ("x", node) if isinstance(node, bytes) else node[1] or b"was empty"
        elif fate == "node":
            new[path] = draw(nodes)
        elif fate == "folder":
            new[path + b"/" + draw(names)] = draw(contents)
    new |= draw(trees.filter(lambda drawn: len(drawn) < 3))
    leaves = {path for path, node in new.items() if node is not None}
    return {path: node for path, node in new.items() if not any(is_below(path, leaf) for leaf in leaves)}


def is_below(path: bytes, folder: bytes) -> bool:
    return path.startswith(folder + b"/")


few_names = st.lists(st.sampled_from([b"a", b"b", b"d"]), min_size=1, max_size=3).map(b"/".join)
linkable = st.dictionaries(few_names, nodes, min_size=2, max_size=12).map(
    lambda drawn: {path: node for path, node in drawn.items() if not any(is_below(path, other) for other in drawn)}
)
histories = linkable.flatmap(lambda old: st.tuples(st.just(old), edited(old), edited(old)))
pairs = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=10)


@pytest.mark.usefixtures("every_way")
@given(history=histories, links=pairs, outer=st.integers(0, 11))
def test_any_tree_with_shared_files_becomes_any_other(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[Tree, Tree, Tree], links: Links, outer: int
) -> None:
    place = tmp_path_factory.mktemp("any")
    top, outside = place / "top", place / "outside"
    old, *goals = history
    with casstore.open(":memory:") as store:
        write_tree(top, old)
        old = link(top, old, links)
        leaves = [path for path in sorted(old) if old[path] is not None]
        if leaves:
            os.link(os.path.join(os.fsencode(top), leaves[outer % len(leaves)]), outside, follow_symlinks=False)
            seen, precious = outside.lstat(), read_tree(place)[b"outside"]
        for goal in (*goals, old):
            tick()
            done = switch(store, top, goal)
            assert read_tree(top) == with_folders(goal)
            assert not done.warnings
            now = fingerprints_of(top)
            for path, status in done.written:
                assert (status.st_ino, status.st_mtime_ns) == (now[path].inode, now[path].mtime_ns)
            link(top, goal, links)
        if leaves:
            after = outside.lstat()
            assert read_tree(place)[b"outside"] == precious
            assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (seen.st_ino, seen.st_mode, seen.st_mtime_ns)


# -- three names of one file, each with any fate

FATES: dict[str, Node | Tree] = {
    "stays": LONG,
    "goes": {},
    "content": b"other" * 99,
    "mode": ("x", LONG),
    "symlink": ("->", b"a"),
    "folder": {b"in": LONG},
}


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("fates", list(itertools.product(FATES, repeat=3)), ids="-".join)
def test_every_name_has_a_fate_of_its_own(store: casstore.Store, top: Path, fates: tuple[str, ...]) -> None:
    paths = [b"a", b"d/b", b"d/e/c"]
    write_tree(top, dict.fromkeys(paths, LONG))
    link(top, dict.fromkeys(paths, LONG), [(0, 1), (0, 2)])
    assert shared_names(top) == 3
    tick()
    goal: Tree = {}
    for path, fate in zip(paths, fates, strict=True):
        node = FATES[fate]
        if isinstance(node, dict):
            goal |= {path + b"/" + name: below for name, below in node.items()}
        else:
            goal[path] = node
    done = switch(store, top, goal)
    assert read_tree(top) == with_folders(goal)
    assert not done.warnings


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("goal", [{b"d": b"1"}, {b"d": b"1", b"e": b"2"}, {b"d": ("->", b"e"), b"e/f/c": b"3"}, {}])
def test_folders_full_of_shared_files_give_way(store: casstore.Store, top: Path, goal: Tree) -> None:
    old: Tree = dict.fromkeys((b"d/a", b"d/b", b"d/s/c", b"d/s/t/d", b"e/f/c", b"e/f/d"), LONG)
    write_tree(top, old)
    link(top, old, [(0, number) for number in range(1, 6)])
    tick()
    done = switch(store, top, goal)
    assert read_tree(top) == with_folders(goal)
    assert sorted(done.deleted) == sorted(path for path in old if path not in goal)
    assert not done.warnings


@pytest.mark.parametrize("node", [LONG, ("->", b"nowhere")])
def test_metadata_of_shared_files_is_restored_name_by_name(store: casstore.Store, top: Path, node: Any) -> None:
    tree: Tree = dict.fromkeys((b"a", b"b", b"c", b"gone"), node)
    write_tree(top, tree)
    link(top, tree, [(0, 1), (0, 2), (0, 3)])
    tick()
    moments = {b"a": 10**18, b"b": 10**18 + 1, b"c": 10**18 + 2}

    def metadata(path: bytes, is_folder: bool) -> PosixMetadata | None:
        return None if is_folder else PosixMetadata(0o600, os.geteuid(), os.getegid(), moments[path])

    goal: Tree = dict.fromkeys(moments, node)
    switch(store, top, goal, metadata=metadata, metadata_only=[(path, False) for path in moments])
    assert read_tree(top) == goal
    assert {path: seen.mtime_ns for path, seen in fingerprints_of(top).items()} == moments


# -- what somebody else does to such a file is still noticed


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("what", ["content", "mode", "other file", "time"])
@pytest.mark.parametrize("goal", [{b"a": b"new"}, {b"a": b"new", b"b": b"new"}, {b"a": b"new", b"b": ("x", LONG)}])
def test_what_changes_between_two_names_is_left_as_it_is(
    store: casstore.Store, top: Path, what: str, goal: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree: Tree = {b"a": LONG, b"b": LONG}
    write_tree(top, tree)
    link(top, tree, [(0, 1)])
    place = top / "b"
    will_change = Seen.will_change
    meddled: list[int] = []

    def meddle(self: Seen, status: os.stat_result) -> None:
        will_change(self, status)
        if not meddled and b"a" in fingerprints_of(top):
            meddled.append(1)
            # The other name is renamed or gone by now, as far as this one can tell.
            os.unlink(top / "a")
            write_tree(top, {b"a": b"for a moment"})
            if what == "content":
                place.write_bytes(b"mine")
            elif what == "mode":
                place.chmod(0o700)
            elif what == "time":
                os.utime(place, ns=(0, 10**18))
            else:
                place.unlink()
                place.write_bytes(LONG)

    monkeypatch.setattr(Seen, "will_change", meddle)
    with changer(store, top, goal) as made, pytest.raises(ConflictError):
        made.run()
    assert meddled
    mine: dict[str, Node] = {"content": b"mine", "mode": ("x", LONG)}
    assert read_tree(top)[b"b"] == mine.get(what, LONG)


def test_a_file_whose_change_time_somebody_else_moved_is_left_as_it_is(store: casstore.Store, top: Path) -> None:
    tree: Tree = {b"a": LONG, b"b": LONG, b"c": LONG, b"d": LONG}
    write_tree(top, tree)
    link(top, tree, [(0, 1), (2, 3)])
    with changer(store, top, {b"c": LONG}) as made:
        made.check()
        settle()
        # Not a name that this run touches: the file of c and d is none of its own.
        (top / "c").rename(top / "e")
        with pytest.raises(ConflictError, match=r"/d' changed after"):
            made.run()


# -- what a killed run left


@pytest.mark.usefixtures("every_way")
def test_after_a_kill_at_any_call_the_leftovers_share_files_with_what_is_changed(
    store: casstore.Store, tmp_path: Path
) -> None:
    old, new = dict(SWEPT[0]), SWEPT[1]
    linked: Links = []
    leaves = [path for path in sorted(old) if old[path] is not None]
    for path in (b"b/c/d", b"f", b"g/h/i", b"g/j", b"k"):
        old[path] = LONG
        linked.append((leaves.index(b"a"), leaves.index(path)))
    cleared = 0
    for stop in itertools.count(1):
        top = tmp_path / str(stop)
        write_tree(top, old)
        link(top, old, linked)
        with changer(store, top, new) as made:
            killed = run_killed(made, stop)
        # As the next command does: it looks, then clears, then changes.
        found = {path: node for path, node in read_tree(top).items() if b".casstore-" not in path}
        with changer(store, top, changes=changes_between(store, found, new)) as made:
            made.check()
            settle()
            cleared += made.clear(TOKEN, [path.rpartition(b"/")[0] for tree in SWEPT for path in tree])
            made.run()
        assert not names_left(top)
        assert read_tree(top) == with_folders(new)
        if not killed:
            break
    assert stop > 30
    assert cleared > 30


@pytest.mark.parametrize("below", [b"", b"/f", b"/s/t/f"])
def test_what_shares_a_file_with_a_leftover_is_changed(store: casstore.Store, top: Path, below: bytes) -> None:
    leftover = b".casstore-%b-1" % TOKEN.encode() + below
    tree: Tree = {leftover: LONG, b"k": LONG}
    write_tree(top, tree)
    link(top, tree, [(0, 1)])
    with changer(store, top, {b"k": b"new"}, known=lambda path: path == b"k") as made:
        made.check()
        settle()
        assert made.clear(TOKEN, []) == 1
        made.run()
    assert read_tree(top) == {b"k": b"new"}


# -- from end to end


def test_a_workspace_switches_over_shared_files_and_back(tmp_path: Path) -> None:
    store, directory, workspace = opened(tmp_path)
    with store, workspace:
        for number in range(3):
            os.link(directory / "same", directory / f"d/name{number}")
            os.link(directory / "d/one", directory / f"one{number}")
        settle()
        one = workspace.snapshot("with other names")
        tree = read_tree(directory)
        (directory / "d/name0").unlink()
        (directory / "one1").rename(directory / "one9")
        os.link(directory / "one9", directory / "d/deep/one")
        settle()
        two = workspace.snapshot("other names again")
        other = read_tree(directory)
        for state, wanted in ((one, tree), ("main", None), (two, other), (one, tree), (two, other), (one, tree)):
            report = workspace.switch(state.id if isinstance(state, casstore.Snapshot) else state)
            assert report.saved is None
            assert not report.warnings
            if wanted is not None:
                assert read_tree(directory) == wanted
