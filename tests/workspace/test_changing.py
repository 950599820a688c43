# SPDX-License-Identifier: MIT
"""Changes to a directory: exactly those asked for, whole or with an error, and never at the cost of anything else."""

from __future__ import annotations

import itertools
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

import casstore
from casstore.errors import ConflictError, InvalidInputError
from casstore.format.entry import file_entry
from casstore.format.posix import PosixMetadata
from casstore.tree.diff import Change
from casstore.workspace.changing.changer import TEMPORARY, Changer
from casstore.workspace.scanning.fingerprint import fingerprint_of
from tests.workspace.plain_diff import (
    LONG,
    changer,
    fingerprints_of,
    switch,
)
from tests.workspace.trees import Node, Tree, read_tree, trees, with_folders, write_tree

KINDS: dict[str, Tree] = {
    "absent": {},
    "file": {b"n": LONG},
    "other file": {b"n": b"two" * 100},
    "small file": {b"n": b"s"},
    "executable": {b"n": ("x", LONG)},
    "symlink": {b"n": ("->", b"../kept")},
    "empty folder": {b"n": None},
    "folder": {b"n/a": b"x", b"n/s/b": LONG, b"n-a": b"q"},
    "other folder": {b"n/s/c": b"z", b"n/e": None, b"n/s/deep/er": ("->", b"c")},
}


def neighbours(directory: Path, *trees: Tree) -> dict[bytes, Any]:
    """What is seen of the files that all of ``trees`` have in the same form."""
    same = {path for path in trees[0] if all(path in tree and tree[path] == trees[0][path] for tree in trees)}
    return {path: seen for path, seen in fingerprints_of(directory).items() if path in same}


# -- every kind in the place of every kind


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("where", [b"", b"d/", b"d/e/f/"])
@pytest.mark.parametrize(("before", "after"), list(itertools.product(KINDS, KINDS)))
def test_every_kind_takes_the_place_of_every_kind(
    store: casstore.Store, top: Path, before: str, after: str, where: bytes
) -> None:
    kept: Tree = {b"kept": b"k", b"m/kept": LONG, b"z": ("->", b"kept"), b"none": None}
    old = {**kept, **{where + path: node for path, node in KINDS[before].items()}}
    new = {**kept, **{where + path: node for path, node in KINDS[after].items()}}
    write_tree(top, old)
    seen = neighbours(top, old, new)
    done = switch(store, top, new)
    assert read_tree(top) == with_folders(new)
    assert neighbours(top, old, new) == seen
    assert {b"kept", b"m/kept", b"z"} <= seen.keys()
    leaves = {path for path, node in new.items() if node is not None and old.get(path) != node}
    now = fingerprints_of(top)
    assert {path: fingerprint_of(status) for path, status in done.written} == {path: now[path] for path in leaves}
    gone = {path for path, node in old.items() if node is not None and path not in fingerprints_of(top)}
    assert sorted(done.deleted) == sorted(gone)
    same = {path for path in leaves if kind_and_content(old.get(path))[1] == kind_and_content(new[path])[1]}
    assert done.bytes == sum(
        len(content) for path in leaves - same for kind, content in [kind_and_content(new[path])] if kind != "->"
    )
    assert not done.warnings


@pytest.mark.usefixtures("every_way")
@given(old=trees, new=trees)
def test_any_tree_becomes_any_other_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory, old: Tree, new: Tree
) -> None:
    top = tmp_path_factory.mktemp("any") / "top"
    with casstore.open(":memory:") as store:
        write_tree(top, old)
        seen = neighbours(top, old, new)
        for goal in (new, old, new):
            before = read_tree(top)
            listed = {path: set(os.listdir(os.path.join(os.fsencode(top), path))) for path in folders(before)}
            done = switch(store, top, goal)
            assert read_tree(top) == with_folders(goal)
            assert neighbours(top, old, new) == seen
            for path in folders(before) & folders(read_tree(top)):
                if set(os.listdir(os.path.join(os.fsencode(top), path))) != listed[path]:
                    assert path in done.touched
            assert done.touched <= folders(read_tree(top))


def kind_and_content(node: Node) -> tuple[str, bytes]:
    if node is None:
        return "/", b""
    return ("", node) if isinstance(node, bytes) else node


def folders(tree: Tree) -> set[bytes]:
    return {b""} | {path for path, node in tree.items() if node is None}


def test_nothing_to_do_opens_nothing_and_touches_nothing(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"a": b"1"})
    seen = top.stat().st_mtime_ns, fingerprints_of(top)
    done = switch(store, top, {b"a": b"1"})
    assert (top.stat().st_mtime_ns, fingerprints_of(top)) == seen
    assert (done.written, done.deleted, done.touched, done.bytes) == ([], [], set(), 0)


def test_only_folders_on_changed_paths_are_opened(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old: Tree = {b"a/b/c": b"1", b"a/x/y": b"2", b"p/q": b"3"}
    write_tree(top, old)
    opened: list[object] = []
    open_file = os.open

    def opening(path: object, *arguments: Any, **options: Any) -> int:
        opened.append(path)
        return open_file(path, *arguments, **options)  # type: ignore[arg-type]

    with changer(store, top, {**old, b"a/b/c": b"new"}) as made:
        monkeypatch.setattr(os, "open", opening)
        monkeypatch.setattr(os, "listdir", None)
        monkeypatch.setattr(os, "scandir", None)
        made.check()
        made.run()
        monkeypatch.undo()
    assert {name for name in opened if not bytes(name).startswith(TEMPORARY)} == {b"a", b"b"}  # type: ignore[call-overload]


def test_a_few_contents_start_no_thread_and_many_do(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def starting(self: threading.Thread) -> None:
        started.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", starting)
    top.mkdir()
    switch(store, top, {b"f%d" % number: LONG for number in range(32)})
    assert not started
    switch(store, top, {b"f%d" % number: LONG + b"2" for number in range(33)})
    assert started == ["casstore-fetch"]
    switch(store, top, {b"f": bytes(1 << 20) + b"1"})
    assert started == ["casstore-fetch"] * 2
    assert not [thread for thread in threading.enumerate() if thread.name == "casstore-fetch"]


def test_contents_larger_than_a_batch_are_streamed(store: casstore.Store, top: Path) -> None:
    large = bytes(range(256)) * (5 << 12)
    new: Tree = {b"d/large": large, b"d/small": b"s", b"large": ("x", large)}
    top.mkdir()
    assert switch(store, top, new).bytes == 2 * len(large) + 1
    assert read_tree(top) == with_folders(new)


def test_progress_is_told(store: casstore.Store, top: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    top.mkdir()
    switch(store, top, {b"a": b"1", b"b": LONG}, progress=lambda *news: told.append(news))
    assert told == [("writing", 2, 2)]


# -- modes


@pytest.mark.parametrize(
    ("mode", "executable", "expected"),
    [(0o644, True, 0o755), (0o600, True, 0o700), (0o640, True, 0o750), (0o755, False, 0o644), (0o2710, False, 0o2600)],
)
def test_where_only_the_executable_bit_differs_inode_and_time_stay(
    store: casstore.Store, top: Path, mode: int, executable: bool, expected: int
) -> None:
    write_tree(top, {b"d/f": LONG})
    os.chmod(top / "d/f", mode)
    before = (top / "d/f").stat()
    done = switch(store, top, {b"d/f": ("x", LONG) if executable else LONG})
    after = (top / "d/f").stat()
    assert stat.S_IMODE(after.st_mode) == expected
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [(path, fingerprint_of(status)) for path, status in done.written] == [(b"d/f", fingerprint_of(after))]
    assert done.touched == set()
    assert done.bytes == 0


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize(("mode", "new", "expected"), [(0o600, b"n", 0o600), (0o640, ("x", b"n"), 0o750), (0, b"n", 0)])
def test_what_replaces_a_file_has_its_permissions(
    store: casstore.Store, top: Path, mode: int, new: Any, expected: int
) -> None:
    write_tree(top, {b"f": LONG})
    os.chmod(top / "f", mode)
    switch(store, top, {b"f": new})
    assert stat.S_IMODE((top / "f").stat().st_mode) == expected


def test_new_files_follow_the_umask(store: casstore.Store, top: Path) -> None:
    top.mkdir()
    umask = os.umask(0o027)
    try:
        switch(store, top, {b"f": b"1", b"d/x": ("x", b"2")})
    finally:
        os.umask(umask)
    modes = [stat.S_IMODE((top / name).stat().st_mode) for name in ("f", "d", "d/x")]
    assert modes == [0o640, 0o750, 0o750]


# -- metadata


def kept(mode: int = 0o640, mtime_ns: int = 10**18 + 5) -> PosixMetadata:
    return PosixMetadata(mode, os.geteuid(), os.getegid(), mtime_ns)


def test_metadata_is_restored_and_folders_get_their_times_last(store: casstore.Store, top: Path) -> None:
    old: Tree = {b"d/e/old": b"1", b"d/f": LONG, b"same/f": b"2", b"l": ("->", b"a"), b"gone/f": b""}
    new: Tree = {b"d/e/new": b"1", b"d/f": ("x", LONG), b"same/f": b"2", b"l": ("->", b"b"), b"made/in/f": b"3"}
    write_tree(top, old)
    times = {b"": 1, b"d": 2, b"d/e": 3, b"d/e/new": 4, b"d/f": 5, b"l": 6, b"made": 7, b"made/in": 8, b"made/in/f": 9}
    modes = {b"d/e": 0o500, b"made": 0o700, b"made/in": 0o711, b"made/in/f": 0o600, b"d/f": 0o711}
    asked: list[tuple[bytes, bool]] = []

    def metadata(path: bytes, is_folder: bool) -> PosixMetadata | None:
        asked.append((path, is_folder))
        moment = times.get(path)
        return None if moment is None else kept(modes.get(path, 0o750 if is_folder else 0o644), 10**18 + moment)

    same = (top / "same").stat()
    done = switch(store, top, new, metadata=metadata, metadata_only=[(b"d", True)])
    assert read_tree(top) == with_folders(new)
    for path, moment in times.items():
        status = os.lstat(os.path.join(os.fsencode(top), path))
        assert status.st_mtime_ns == 10**18 + moment, path
        if path in modes:
            assert stat.S_IMODE(status.st_mode) == modes[path], path
    assert ((top / "same").stat().st_mtime_ns, (top / "same").stat().st_mode) == (same.st_mtime_ns, same.st_mode)
    assert all(is_folder == (path in (b"", b"d", b"d/e", b"made", b"made/in")) for path, is_folder in asked)
    now = fingerprints_of(top)
    assert {path: fingerprint_of(status) for path, status in done.written} == {
        path: now[path] for path in (b"d/e/new", b"d/f", b"l", b"made/in/f")
    }
    assert not done.warnings


def test_where_only_metadata_differs_content_and_inode_stay(store: casstore.Store, top: Path) -> None:
    tree: Tree = {b"d/f": LONG, b"d/l": ("->", b"f"), b"d/g": b"same"}
    write_tree(top, tree)
    before, neighbour = fingerprints_of(top), (top / "d/g").stat()
    done = switch(
        store,
        top,
        tree,
        metadata=lambda path, is_folder: kept(0o700 if is_folder else 0o600),
        metadata_only=[(b"d", True), (b"d/f", False), (b"d/l", False)],
    )
    assert read_tree(top) == with_folders(tree)
    for name in ("d", "d/f", "d/l"):
        assert (top / name).lstat().st_mtime_ns == 10**18 + 5
    assert stat.S_IMODE((top / "d").stat().st_mode) == 0o700
    assert stat.S_IMODE((top / "d/f").stat().st_mode) == 0o600
    assert (top / "d/g").stat() == neighbour
    after = fingerprints_of(top)
    assert after[b"d/f"].inode == before[b"d/f"].inode
    assert {path: fingerprint_of(status) for path, status in done.written} == {
        path: after[path] for path in (b"d/f", b"d/l")
    }
    assert done.touched == set()


def test_metadata_of_what_changed_meanwhile_is_a_conflict(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"f": b"1", b"d/g": b""})
    with changer(
        store, top, {b"f": b"1", b"d/g": b""}, metadata=lambda *_: kept(), metadata_only=[(b"f", False)]
    ) as it:
        (top / "f").write_bytes(b"2")
        with pytest.raises(ConflictError, match=r"'.*/f' changed after"):
            it.check()
    for wrong in ((b"f", True), (b"d", False), (b"none", False)):
        options: dict[str, Any] = {"metadata": lambda *_: kept(), "metadata_only": [wrong]}
        with changer(store, top, changes=[], **options) as it, pytest.raises(ConflictError):
            it.check()
    assert (top / "f").stat().st_mtime_ns != 10**18 + 5


# -- what else is there


def test_a_folder_with_something_left_out_stays(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"d/f": b"1", b"d/left": b"mine", b"e/f": b"2", b"e/s/left": b"mine", b"e/s/f": b"3"})
    done = switch(store, top, {}, known=lambda path: b"left" not in path)
    assert read_tree(top) == with_folders({b"d/left": b"mine", b"e/s/left": b"mine"})
    assert sorted(done.deleted) == [b"d/f", b"e/f", b"e/s/f"]
    assert not done.warnings


@pytest.mark.parametrize("new", [b"file", ("->", b"target")])
@pytest.mark.parametrize("hidden", [b"d/left", b"d/s/left", b"d/s/t/left"])
def test_a_folder_with_something_left_out_gives_way_to_nothing(
    store: casstore.Store, top: Path, new: Any, hidden: bytes
) -> None:
    tree: Tree = {b"a": b"1", b"d/f": b"1", b"d/s/t/f": b"2", hidden: b"mine"}
    write_tree(top, tree)
    goal: Tree = {b"a": b"2", b"d": new}
    rules = {"known": lambda path: path != hidden, "left_out": lambda path: path == hidden}
    with changer(store, top, goal, **rules) as made:  # type: ignore[arg-type]
        for attempt in (made.check, made.run):
            with pytest.raises(InvalidInputError, match="in the way: the rules leave it out") as raised:
                attempt()
            assert raised.value.path == os.path.join(str(top), os.fsdecode(hidden))
    assert read_tree(top) == with_folders(tree)
    os.unlink(os.path.join(os.fsencode(top), hidden))
    switch(store, top, goal)
    assert read_tree(top) == goal


@pytest.mark.parametrize("there", [b"mine", ("->", b"a"), {b"n/mine": b""}, {b"n": None}])
@pytest.mark.parametrize("new", [b"file", ("->", b"b"), {b"n/f": b"1"}, {b"n": None}])
@pytest.mark.parametrize("left_out", [False, True])
def test_something_unknown_in_the_way_is_named_first(
    store: casstore.Store, top: Path, there: Any, new: Any, left_out: bool
) -> None:
    mine: Tree = {b"a": b"1", **(there if isinstance(there, dict) else {b"n": there})}
    goal: Tree = {b"a": b"2", **(new if isinstance(new, dict) else {b"n": new})}
    write_tree(top, mine)
    options = {"known": lambda path: not path.startswith(b"n"), "left_out": lambda path: left_out and path == b"n"}
    with changer(store, top, goal, **options) as made:  # type: ignore[arg-type]
        fits = (
            isinstance(there, dict) and isinstance(new, dict) and (not left_out or new != {b"n": None} or new == there)
        )
        if fits:  # one folder is as good as another
            made.run()
            assert read_tree(top) == with_folders({**mine, **goal})
            return
        with pytest.raises(InvalidInputError, match="in the way") as raised:
            made.run()
    assert raised.value.path == str(top / "n")
    assert read_tree(top) == with_folders(mine)


LARGE = bytes(range(256)) * (5 << 12)


def inode_and_times(place: bytes) -> tuple[int, int, int]:
    status = os.lstat(place)
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns


@pytest.mark.parametrize("node", [b"", b"mine", LONG, ("x", LONG), LARGE, ("->", b"a"), ("->", b"long" * 99), None])
@pytest.mark.parametrize("where", [b"", b"d/", b"d/e/"])
def test_what_is_left_out_and_as_it_shall_be_is_not_in_the_way(
    store: casstore.Store, top: Path, node: Node, where: bytes
) -> None:
    path = where + b"n"
    there: Tree = {b"a": b"1", b"d/e/k": b"", path: node}
    goal: Tree = {b"a": b"2", path: node, b"z/new": b"3"}
    rules: dict[str, Any] = {"known": lambda name: name != path, "left_out": lambda name: name == path}
    write_tree(top, there)
    place = os.path.join(os.fsencode(top), path)
    before = inode_and_times(place)
    for _ in range(2):
        done = switch(store, top, goal, **rules)
        assert read_tree(top) == with_folders(goal)
        assert inode_and_times(place) == before
        assert path not in {name for name, _ in done.written}
        assert done.bytes <= 2
    if node is not None:
        os.unlink(place)
        # What is not there is written, rules or not.
        switch(store, top, goal, **rules)
        assert read_tree(top) == with_folders(goal)


@pytest.mark.parametrize(
    ("there", "new"),
    [
        (LONG, LONG[:-1] + b"!"),
        (LONG, LONG + b"!"),
        (LONG, ("x", LONG)),
        (("x", b"s"), b"s"),
        (LARGE, LARGE[:-1] + b"!"),
        (LARGE, b"!" + LARGE[1:]),
        (b"a", ("->", b"a")),
        (("->", b"a"), b"a"),
        (("->", b"a"), b"1"),
        (("->", b"a"), ("->", b"b")),
        (None, b""),
        (b"", None),
    ],
    ids=lambda node: str(node)[:9],
)
def test_what_is_left_out_and_not_as_it_shall_be_is_in_the_way(
    store: casstore.Store, top: Path, there: Node, new: Node
) -> None:
    write_tree(top, {b"a": b"1", b"n": there})
    rules: dict[str, Any] = {"known": lambda name: name != b"n", "left_out": lambda name: name == b"n"}
    with (
        changer(store, top, {b"a": b"2", b"n": new}, **rules) as made,
        pytest.raises(InvalidInputError, match=r"/n' is in the way: the rules leave it out"),
    ):
        made.run()
    assert read_tree(top) == {b"a": b"1", b"n": there}


def test_a_fifo_that_is_left_out_is_in_the_way_and_nobody_waits_for_it(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"a": b"1"})
    os.mkfifo(top / "n")
    change = Change(b"n", None, file_entry(0, None, b""))
    with (
        changer(store, top, changes=[change], left_out=lambda path: path == b"n") as made,
        pytest.raises(InvalidInputError, match="in the way"),
    ):
        made.check()


@pytest.mark.parametrize(
    "path", [b".casstore-0123456789abcdef-1", b".casstore-0123456789abcdef", b"d/.casstore-0123456789abcdef-77/x"]
)
@pytest.mark.parametrize("node", [b"file", LONG, ("->", b"a"), None])
def test_a_state_with_temporary_names_is_refused_first(
    store: casstore.Store, top: Path, path: bytes, node: Node
) -> None:
    write_tree(top, {b"a": b"1", b"d/f": b""})
    seen = top.stat().st_mtime_ns, (top / "d").stat().st_mtime_ns, fingerprints_of(top)
    with changer(store, top, {b"0": b"new", b"a": b"2", path: node}) as made:
        for attempt in (made.check, made.run):
            with pytest.raises(InvalidInputError, match=r"nothing was changed\. Choose a state without it") as raised:
                attempt()
            assert raised.value.path == os.path.join(str(top), os.fsdecode(path))
    assert (top.stat().st_mtime_ns, (top / "d").stat().st_mtime_ns, fingerprints_of(top)) == seen


def test_names_that_only_look_temporary_are_names(store: casstore.Store, top: Path) -> None:
    top.mkdir()
    goal: Tree = {b".casstore-": b"1", b".casstore-0123-1": b"2", b"x.casstore-0123456789abcdef-1/f": b"3"}
    switch(store, top, goal)
    assert read_tree(top) == with_folders(goal)


def test_the_store_itself_is_never_entered(disk_store: casstore.Store, tmp_path: Path) -> None:
    status = (tmp_path / "store").stat()
    before = read_tree(tmp_path)
    for key in (b"store/superblock", b"store/new", b"store/objects/x"):
        changes = [Change(key, None, file_entry(1, None, b"x"))]
        own = (status.st_dev, status.st_ino)
        with (
            changer(disk_store, tmp_path, changes=changes, store=own) as made,
            pytest.raises(InvalidInputError, match="store itself"),
        ):
            made.run()
    assert read_tree(tmp_path) == before


def test_a_changer_checks_by_itself(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"a": b"1", b"left": b"mine"})
    with changer(store, top, {b"a": b"2", b"left": b"x"}, known=lambda path: path != b"left") as made:
        assert isinstance(made, Changer)
        with pytest.raises(InvalidInputError, match="in the way"):
            made.run()
    assert read_tree(top) == {b"a": b"1", b"left": b"mine"}
