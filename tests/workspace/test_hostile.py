# SPDX-License-Identifier: MIT
"""Hostile states, directories and neighbours: nothing outside of the directory is made, changed or removed.

The cases that name CPython's ``test_tarfile.TestExtractionFilters`` are its ideas, for trees instead of archives.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.address import content_address
from casstore.errors import CasstoreError, ConflictError, CorruptionError, InvalidInputError
from casstore.format.entry import (
    Entry,
    directory_entry,
    encode_entry,
    file_entry,
    object_entry,
    snapshot_entry,
    symlink_entry,
    value_entry,
)
from casstore.format.node import decode_node, encode_node, join_key
from casstore.format.posix import PosixMetadata
from casstore.tree import build
from casstore.tree.diff import Change, diff
from casstore.workspace import checkout
from casstore.workspace.changing import renaming, steps
from casstore.workspace.changing.changer import TEMPORARY, Changer, clear_temporaries
from casstore.workspace.changing.placing import Placing
from casstore.workspace.changing.staging import Staging
from casstore.workspace.scanning.fingerprint import fingerprint_of
from casstore.workspace.scanning.folders import FolderStack
from tests.workspace.plain_diff import TOKEN, changer, changes_between, snapshot_of, switch
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree


@pytest.fixture
def outer(tmp_path: Path) -> Iterator[Path]:
    """A folder with ``dest`` and things beside it that must stay as they are, in every respect."""
    write_tree(
        tmp_path / "outer", {b"victim": b"precious", b"folder/f": b"precious", b"run": ("x", b"#!"), b"none": None}
    )
    os.symlink("victim", tmp_path / "outer/link")
    (tmp_path / "dest").mkdir()
    (tmp_path / "outer/dest").symlink_to("../dest")
    before = snapshot_of(tmp_path / "outer")
    beside = sorted(os.listdir(tmp_path))
    yield tmp_path / "outer"
    assert snapshot_of(tmp_path / "outer") == before
    assert sorted(os.listdir(tmp_path)) == beside


@pytest.fixture
def dest(outer: Path) -> Path:
    """The directory that is changed; ``..`` leads to ``outer`` and its neighbours."""
    return outer.parent / "dest"


def inline(data: bytes = b"evil") -> Entry:
    return file_entry(len(data), None, data)


def to(target: bytes) -> Entry:
    return symlink_entry(len(target), None, target)


def added(*items: tuple[bytes, Entry]) -> list[Change]:
    return [Change(key, None, entry) for key, entry in items]


# -- hostile states

EVIL_KEYS = [
    b"..",
    b".",
    b"",
    b"../escaped.evil",
    b"../outer/victim",
    b"../outer/new",
    b"./x",
    b"x/.",
    b"x/..",
    b"x/../../outer/victim",
    b"tmp/../../outer/victim",
    b"x//y",
    b"x/",
    b"/etc/escaped.evil",
    b"//etc",
    b"n\0",
    b"n\0/x",
    b"x/n\0y",
    b"\0",
]


@pytest.mark.parametrize("key", EVIL_KEYS)
def test_no_layer_takes_an_evil_key(store: casstore.Store, dest: Path, key: bytes) -> None:
    for entry in (inline(), to(b".."), directory_entry()):
        with pytest.raises(InvalidInputError):
            build(store.nodes, [(key, entry)], tree=True)
        raw = encode_node(0, [join_key(key, encode_entry(entry))])
        with pytest.raises(CorruptionError):
            decode_node(raw)
        root = store.nodes.put(raw)
        with pytest.raises(CorruptionError):
            list(diff(store.nodes, None, root))
        with pytest.raises(CasstoreError):
            checkout(store, store.add_snapshot(roots={"files": root}), dest)
        for change in (Change(key, None, entry), Change(key, entry, None), Change(key, entry, inline(b"other"))):
            with pytest.raises(CorruptionError), changer(store, dest, changes=[change]):
                pass
    assert read_tree(dest) == {}


@pytest.mark.parametrize("key", EVIL_KEYS)
@pytest.mark.parametrize("old", [None, inline(b"precious")])
@pytest.mark.parametrize("new", [None, inline(), to(b"/etc"), directory_entry()])
def test_without_the_check_of_keys_names_are_checked_one_by_one(
    store: casstore.Store, dest: Path, key: bytes, old: Entry | None, new: Entry | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "keys_problem", lambda _: None)
    write_tree(dest, {b"x/f": b"", b"tmp": None})
    before = snapshot_of(dest)

    def expected(path: bytes) -> Any:
        try:
            return fingerprint_of(os.lstat(os.path.join(os.fsencode(dest), path)))
        except (OSError, ValueError):
            return None

    if old is None and new is None:
        return
    for checked in (True, False):
        try:
            with changer(store, dest, changes=[Change(key, old, new)], expected=expected) as made:
                if not checked:
                    made._twins = {}
                made.run()
        except CasstoreError:
            pass
        else:
            # What names nothing can be done by doing nothing.
            assert new is None or key in (b"", b"x/")
    after = snapshot_of(dest)
    assert {place: seen[5] for place, seen in after.items()} == {place: seen[5] for place, seen in before.items()}


@pytest.mark.parametrize(
    "changes",
    [
        # parent_symlink: `current` is the folder itself, `parent` leads above it
        added((b"current", to(b".")), (b"parent", to(b"current/..")), (b"parent/evil", inline())),
        # parent_symlink2: the second one is made through the first
        added((b"current", to(b".")), (b"current/parent", to(b"..")), (b"parent/evil", inline())),
        # absolute_symlink
        added((b"parent", to(b"/")), (b"parent/evil", inline())),
        # a folder of the state that is also a link, however deep
        added((b"a/b", to(b"../..")), (b"a/b/c/evil", inline())),
        added((b"a", directory_entry()), (b"a/evil", inline())),
        added((b"a", inline()), (b"a/evil", inline())),
        [Change(b"a", inline(), None), Change(b"a/b", inline(), None)],
        # out of order, or twice
        added((b"b", inline()), (b"a", inline())),
        added((b"a", to(b"..")), (b"a", inline())),
        # kinds that no directory has
        added((b"a", snapshot_entry(content_address(b"")))),
        added((b"a", object_entry("x", 1, 1, None, b"x"))),
        added((b"a", value_entry(b"x"))),
        [Change(b"a", value_entry(b"x"), inline())],
        added((b"a", Entry(0, 1, None, b"x"))),
        added((b"a", Entry(99, 1, None, b"x"))),
    ],
    ids=str,
)
def test_what_is_no_directory_tree_is_refused(store: casstore.Store, dest: Path, changes: list[Change]) -> None:
    with pytest.raises(CorruptionError), changer(store, dest, changes=changes):
        pass
    assert read_tree(dest) == {}


def test_links_that_lead_outside_are_made_and_not_followed(store: casstore.Store, dest: Path, outer: Path) -> None:
    # benign: absolute_symlink, sly_relative, deep_symlink, chains: a symlink is content, whatever it says.
    place = os.fsencode(outer)
    links: Tree = {
        b"absolute": ("->", place + b"/victim"),
        b"folder": ("->", place + b"/folder"),
        b"sly": ("->", b"..//outer/victim"),
        b"sly2": ("->", b"tmp/../../outer/victim"),
        b"deep/link": ("->", b"../../outer/folder/f"),
        b"chain": ("->", b"chain2"),
        b"chain2": ("->", b"sly"),
        b"self": ("->", b"self"),
        b"dot": ("->", b"."),
        b"up": ("->", b".."),
        b"dangling": ("->", b"../outer/would-be-new"),
    }
    switch(store, dest, links)
    assert read_tree(dest) == with_folders(links)
    # What stood at a link is replaced, not what the link leads to; with its mode, and back.
    files: Tree = dict.fromkeys(links, b"now a file")
    switch(store, dest, files)
    assert read_tree(dest) == with_folders(files)
    switch(store, dest, dict.fromkeys(links, ("x", b"now a file")))
    switch(store, dest, links)
    # A folder comes where a link was, and its members go into it, not through the link.
    inside: Tree = {path + name: b"inside" for path in links for name in (b"/f", b"/victim")}
    switch(store, dest, inside)
    assert read_tree(dest) == with_folders(inside)
    switch(store, dest, links)
    assert read_tree(dest) == with_folders(links)
    switch(store, dest, {})
    assert read_tree(dest) == {}


def test_metadata_of_a_link_stays_with_the_link(store: casstore.Store, dest: Path) -> None:
    links: Tree = {b"a": ("->", b"../outer/victim"), b"b": ("->", b"../outer/folder")}
    metadata = PosixMetadata(0o777, os.geteuid(), os.getegid(), 10**18)
    switch(store, dest, links, metadata=lambda *_: metadata)
    switch(store, dest, links, metadata=lambda *_: metadata, metadata_only=[(b"a", False), (b"b", False)])
    assert [(dest / name).lstat().st_mtime_ns for name in "ab"] == [10**18] * 2
    for wrong in ((b"b", True), (b"b/f", False), (b"../outer/victim", False), (b"../outer", True), (b"/etc", True)):
        options: dict[str, Any] = {"metadata": lambda *_: metadata, "metadata_only": [wrong]}
        with changer(store, dest, changes=[], **options) as made, pytest.raises(CasstoreError):
            made.run()


def test_evil_folders_of_leftovers_are_refused(dest: Path) -> None:
    write_tree(dest, {b"f": b""})
    os.symlink("../outer", dest / "out")
    write_tree(dest, {b".casstore-0123456789abcdef-1/x": b"", b".casstore-0123456789abcdef-2": ("->", b"../outer")})
    os.symlink("../../outer", dest / ".casstore-0123456789abcdef-1/out")
    fd = os.open(dest, os.O_RDONLY)
    for folder in (b"..", b"../outer", b"x/..", b"/etc", b"f/../..", b"n\0"):
        with pytest.raises(CorruptionError):
            clear_temporaries(fd, TOKEN, [folder])
    assert clear_temporaries(fd, TOKEN, [b"out", b"out/folder", b"f"]) in (0, 2)
    os.close(fd)
    assert read_tree(dest) == {b"f": b"", b"out": ("->", b"../outer")}


# -- hostile directories

LINKED: list[tuple[Tree, Tree]] = [
    ({b"folder/f": b"1"}, {b"folder/f": b"2"}),
    ({b"folder/f": b"1"}, {}),
    ({b"folder/f": b"1"}, {b"folder/f": b"1", b"folder/new": b"2"}),
    ({b"folder/f": b"1"}, {b"folder/f": b"1", b"folder/new/in/it": b"2"}),
    ({b"folder/f": b"1"}, {b"folder/f": ("x", b"1")}),
    ({b"folder/f": b"1"}, {b"folder": None}),
    ({b"folder/f": b"1"}, {b"folder/f": b"1", b"folder/empty": None}),
    ({b"folder/f": b"1"}, {b"folder": b"a file"}),
    ({b"folder/f": b"1"}, {b"folder/f/g": b"2"}),
    ({b"a/folder/f": b"1"}, {b"a/folder/f": ("->", b"2")}),
    ({b"a/folder/f": b"1"}, {}),
]


def plant(dest: Path, old: Tree) -> None:
    """Puts a symlink to a folder outside, with the same names in it, in the place of ``folder``."""
    place = dest / ("a/folder" if b"a/folder/f" in old else "folder")
    place.rename(place.with_name("moved"))
    place.symlink_to(dest.parent / "outer" / "folder")


@pytest.mark.parametrize(("old", "new"), LINKED)
@pytest.mark.parametrize("when", ["before", "staging", "placing", "deleting", "restoring"])
@pytest.mark.parametrize("swap", [True, False])
def test_a_link_planted_in_the_place_of_a_folder_is_not_followed(
    store: casstore.Store, dest: Path, old: Tree, new: Tree, when: str, swap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swap:
        monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    write_tree(dest, old)
    methods: dict[str, tuple[type, str]] = {
        "staging": (Staging, "run"),
        "placing": (Placing, "place"),
        "deleting": (Placing, "delete"),
        "restoring": (Changer, "_restore"),
    }
    metadata = PosixMetadata(0o700, os.geteuid(), os.getegid(), 10**18)
    with changer(store, dest, new, metadata=lambda *_: metadata) as made:
        if when == "before":
            plant(dest, old)
        else:
            owner, name = methods[when]
            method = getattr(owner, name)

            def planting(self: Any, *arguments: Any) -> None:
                if (dest / "folder").is_dir() or (dest / "a/folder").is_dir():
                    plant(dest, old)
                method(self, *arguments)

            monkeypatch.setattr(owner, name, planting)
        with contextlib.suppress(ConflictError, InvalidInputError):
            made.run()


def test_a_link_that_was_there_all_the_time_is_no_folder(store: casstore.Store, dest: Path) -> None:
    os.symlink("../outer/folder", dest / "folder")
    os.symlink("../outer", dest / "out")
    for changes in (
        added((b"folder/new", inline())),
        added((b"out/folder/new", inline())),
        [Change(b"folder/f", inline(b"precious"), None)],
        [Change(b"folder/f", inline(b"precious"), inline())],
        [Change(b"out/folder/f", inline(b"precious"), directory_entry())],
        added((b"folder", directory_entry())),
    ):
        with changer(store, dest, changes=changes, known=lambda _: False) as made, pytest.raises(CasstoreError):
            made.run()


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize(
    "new",
    [b"2", ("x", b"precious"), ("->", b"x"), None, {b"n/f": b"2"}, {}],
    ids=str,
)
def test_a_hard_link_outside_keeps_content_mode_and_times(
    store: casstore.Store, tmp_path: Path, new: Any, swap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swap:
        monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    dest, outside = tmp_path / "dest", tmp_path / "outside"
    dest.mkdir()
    outside.write_bytes(b"precious")
    outside.chmod(0o640)
    os.link(outside, dest / "n")
    before = outside.stat()
    goal: Tree = new if isinstance(new, dict) else {b"n": new}
    done = switch(store, dest, goal)
    assert read_tree(dest) == with_folders(goal)
    assert outside.read_bytes() == b"precious"
    after = outside.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)
    assert after.st_nlink == 1
    for path, status in done.written:
        assert os.path.samestat(status, os.lstat(os.path.join(os.fsencode(dest), path)))


def test_metadata_of_a_hard_link_does_not_reach_outside(store: casstore.Store, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (tmp_path / "outside").write_bytes(b"precious" * 300_000)
    (tmp_path / "link").symlink_to("nowhere")
    os.link(tmp_path / "outside", dest / "f")
    os.link(tmp_path / "link", dest / "l", follow_symlinks=False)
    before = snapshot_of(tmp_path)
    metadata = PosixMetadata(0o600, os.geteuid(), os.getegid(), 10**18)
    tree: Tree = {b"f": b"precious" * 300_000, b"l": ("->", b"nowhere")}
    options: dict[str, Any] = {"metadata": lambda _, is_folder: None if is_folder else metadata}
    done = switch(store, dest, tree, metadata_only=[(b"f", False), (b"l", False)], **options)
    assert read_tree(dest) == tree
    assert {path for path, _ in done.written} == {b"f", b"l"}
    assert done.touched == {b""}
    assert [(dest / name).lstat().st_mtime_ns for name in "fl"] == [10**18] * 2
    for name in ("outside", "link"):
        now, then = snapshot_of(tmp_path)[str(tmp_path / name)], before[str(tmp_path / name)]
        assert (now[0], now[1], now[3], now[5]) == (then[0], then[1], then[3], then[5])
        assert now[2] == 1


def test_fifos_sockets_and_devices_are_in_the_way(store: casstore.Store, dest: Path) -> None:
    os.mkfifo(dest / "n")
    wanted: list[Tree] = [{b"n": b"1"}, {b"n/f": b"1"}, {b"n": None}, {b"n": ("->", b"x")}]
    for new in wanted:
        changes = changes_between(store, {}, new)
        with (
            changer(store, dest, changes=changes, known=lambda _: False) as made,
            pytest.raises(InvalidInputError, match="in the way"),
        ):
            made.run()
    os.unlink(dest / "n")
    # One that takes the place of a file after it was looked at hangs nobody.
    write_tree(dest, {b"n": b"1", b"m": b"1"})
    wanted = [{b"n": ("x", b"1"), b"m": b"1"}, {b"n": b"2", b"m": b"1"}, {b"m": b"1"}]
    for new in wanted:
        with changer(store, dest, new) as made:
            os.unlink(dest / "n")
            os.mkfifo(dest / "n")
            with pytest.raises(ConflictError):
                made.run()
            os.unlink(dest / "n")
            write_tree(dest, {b"n": b"1"})


def test_a_folder_moved_outside_meanwhile_gets_nothing_of_another(
    store: casstore.Store, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casstore.workspace.scanning.folders.MAX_OPEN", 2)
    old: Tree = {b"a/b/c/d": b"1", b"a/b/x": b"1", b"a/y": b"1"}
    write_tree(dest, old)
    elsewhere = dest / "elsewhere"
    pop = FolderStack.pop

    def moving(self: FolderStack) -> None:
        place = dest / "a/b/c"
        if place.is_dir():
            place.rename(elsewhere)
        pop(self)

    with changer(store, dest, dict.fromkeys(old, b"2")) as made:
        made.check()
        monkeypatch.setattr(FolderStack, "pop", moving)
        with pytest.raises(ConflictError):
            made.run()
    tree = read_tree(dest)
    # What was written for the moved folder lies in it, under a name that is never captured.
    assert {path: node for path, node in tree.items() if node is not None and TEMPORARY not in path} == {
        b"elsewhere/d": b"1",
        b"a/b/x": b"1",
        b"a/y": b"1",
    }


def test_a_neighbour_that_swaps_folders_and_links_all_the_time_gains_nothing(
    store: casstore.Store, dest: Path, outer: Path
) -> None:
    stop = threading.Event()
    swapped = [0]

    def swapping() -> None:
        while not stop.is_set():
            try:
                (dest / "folder").rename(dest / "moved")
                (dest / "folder").symlink_to(outer / "folder")
                swapped[0] += 1
                (dest / "folder").unlink()
                (dest / "moved").rename(dest / "folder")
            except OSError:
                continue

    thread = threading.Thread(target=swapping)
    write_tree(dest, {b"folder/f": b"0", b"folder/g/h": b"0"})
    thread.start()
    finished = 0
    try:
        for number in range(300):
            try:
                tree: Tree = {b"folder/f": b"%d" % number}
                if number % 2:
                    tree[b"folder/g/h"] = b"%d" % number
                switch(store, dest, tree)
                finished += 1
            except (CasstoreError, OSError):
                continue
    finally:
        stop.set()
        thread.join()
    assert swapped[0]


@pytest.mark.parametrize("token", ["", "a/b", "..", "../x", "a b", "\0", "ü", "a" * 65])
def test_a_token_that_is_no_part_of_a_name_is_refused(store: casstore.Store, dest: Path, token: str) -> None:
    with pytest.raises(InvalidInputError, match="token"), changer(store, dest, {b"a": b"1"}, token=token):
        pass


def test_nodes_by_hand_lead_nowhere(store: casstore.Store, dest: Path) -> None:
    # A whole tree written by somebody who skips every check of ours on the way in.
    for keys in ([b"a", b"a/b"], [b"a", b"a-b", b"a/b"], [b"x/y", b"x/y/z"]):
        raw = encode_node(0, [join_key(key, encode_entry(to(b"../outer"))) for key in keys])
        changes = list(diff(store.nodes, None, store.nodes.put(raw)))
        with pytest.raises(CorruptionError), changer(store, dest, changes=changes) as made:
            made.run()
    assert read_tree(dest) == {}
