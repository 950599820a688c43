# SPDX-License-Identifier: MIT
"""What others do while a directory is changed: it stays as they left it, and is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.errors import ConflictError
from casstore.workspace.changing import renaming
from casstore.workspace.changing.placing import Placing
from tests.workspace.plain_diff import (
    LONG,
    changer,
    names_left,
    switch,
)
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree

# -- what changes meanwhile

MEANWHILE: dict[str, tuple[Tree, Tree]] = {
    "replaced": ({b"d/f": b"1", b"k": b""}, {b"d/f": b"2", b"k": b""}),
    "deleted": ({b"d/f": b"1", b"k": b""}, {b"k": b""}),
    "made a symlink": ({b"d/f": b"1", b"k": b""}, {b"d/f": ("->", b"x"), b"k": b""}),
    "made a folder": ({b"d/f": b"1", b"k": b""}, {b"d/f/x": b"1", b"k": b""}),
    "mode": ({b"d/f": LONG, b"k": b""}, {b"d/f": ("x", LONG), b"k": b""}),
    "folder to a file": ({b"d/f": b"1", b"k": b""}, {b"d": b"1", b"k": b""}),
}


def edit(place: Path) -> None:
    place.write_bytes(b"mine")


def swap(place: Path) -> None:
    place.with_name("new").write_bytes(b"mine")
    place.with_name("new").rename(place)


def link(place: Path) -> None:
    place.unlink()
    place.symlink_to("mine")


def mode(place: Path) -> None:
    place.chmod(0o604)


def make_folder(place: Path) -> None:
    place.unlink()
    (place / "mine").mkdir(parents=True)


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("what", [edit, swap, link, mode, make_folder])
@pytest.mark.parametrize("case", MEANWHILE)
@pytest.mark.parametrize("when", ["before", "after the check", "at the last moment"])
def test_what_changed_meanwhile_is_left_as_it_is(
    store: casstore.Store, top: Path, what: Any, case: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = MEANWHILE[case]
    write_tree(top, old)
    with changer(store, top, new) as made:
        if when == "before":
            what(top / "d/f")
        else:
            made.check()
        if when == "after the check":
            what(top / "d/f")
        elif when == "at the last moment":
            # All is written; nothing has its place yet.
            place = Placing.place

            def placing(self: Placing, *arguments: Any) -> None:
                what(top / "d/f")
                place(self, *arguments)

            monkeypatch.setattr(Placing, "place", placing)
        with pytest.raises(ConflictError, match=r"'.*/d/f(/mine)?' changed after the directory was looked at"):
            made.run()
    mine = {edit: b"mine", swap: b"mine", link: ("->", b"mine"), mode: old[b"d/f"], make_folder: None}
    assert read_tree(top)[b"d/f"] == mine[what]
    assert not names_left(top)


@pytest.mark.parametrize("case", ["replaced", "made a symlink", "made a folder", "folder to a file"])
def test_a_change_in_the_instant_of_the_swap_is_put_back(
    store: casstore.Store, top: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = MEANWHILE[case]
    write_tree(top, old)
    rename = renaming._rename
    raced: list[int] = []

    def racing(fd: int, name: bytes, other: bytes, flags: int) -> bool:
        if not raced:
            raced.append(1)
            (top / "d/f").write_bytes(b"mine!")
        return rename(fd, name, other, flags)

    monkeypatch.setattr(renaming, "_rename", racing)
    with changer(store, top, new) as made, pytest.raises(ConflictError):
        made.run()
    assert raced
    assert read_tree(top) == with_folders({**old, b"d/f": b"mine!"})
    assert not names_left(top)


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("new", [b"file", ("->", b"x"), {b"n/f": LONG}, {b"n": None}])
@pytest.mark.parametrize("mine", [b"mine", ("->", b"mine"), {b"n/mine": b""}])
def test_what_comes_into_being_at_the_last_moment_is_not_replaced(
    store: casstore.Store, top: Path, new: Any, mine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal: Tree = {b"k": b"", **(new if isinstance(new, dict) else {b"n": new})}
    mine_tree: Tree = mine if isinstance(mine, dict) else {b"n": mine}
    write_tree(top, {b"k": b""})
    place = Placing.place

    def placing(self: Placing, *arguments: Any) -> None:
        write_tree(top, mine_tree)
        place(self, *arguments)

    monkeypatch.setattr(Placing, "place", placing)
    with changer(store, top, goal) as made, pytest.raises(ConflictError):
        made.run()
    assert read_tree(top) == with_folders({b"k": b"", **mine_tree})


def test_what_comes_into_a_folder_after_it_was_set_aside_is_kept(
    store: casstore.Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(top, {b"d/f": b"1", b"d/s/g": b"2"})
    inside = os.open(top / "d/s", os.O_RDONLY)
    delete = Placing.delete

    def deleting(self: Placing) -> None:
        # Somebody works in the folder, whatever its name.
        os.close(os.open("mine", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=inside))
        delete(self)

    monkeypatch.setattr(Placing, "delete", deleting)
    done = switch(store, top, {b"d": b"now a file"})
    os.close(inside)
    (warning,) = done.warnings
    (place,) = top.glob("d.kept-*")
    assert place.name in warning.why
    assert read_tree(top) == with_folders({b"d": b"now a file", os.fsencode(place.name) + b"/s/mine": b""})


def test_a_file_to_delete_that_is_gone_already_is_no_error(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"a": b"", b"d/f": b""})
    with changer(store, top, {b"a": b""}) as made:
        (top / "d/f").unlink()
        made.run()
    assert read_tree(top) == {b"a": b""}


@pytest.mark.parametrize("case", ["replaced", "deleted", "made a folder", "mode", "folder to a file"])
def test_a_folder_that_is_gone_is_a_conflict(store: casstore.Store, top: Path, case: str) -> None:
    old, new = MEANWHILE[case]
    write_tree(top, old)
    with changer(store, top, new) as made:
        made.check()
        (top / "d").rename(top / "moved")
        with pytest.raises(ConflictError):
            made.run()
    assert read_tree(top) == with_folders({b"k": b"", b"moved/f": old[b"d/f"]})


def test_open_files_keep_what_they_had(store: casstore.Store, top: Path) -> None:
    old: Tree = {b"a": LONG, b"b": LONG, b"d/c": LONG, b"e": LONG}
    write_tree(top, old)
    files = [open(os.path.join(os.fsencode(top), path), "rb") for path in old]
    switch(store, top, {b"a": b"new", b"d": b"file", b"e/f": b""})
    for file in files:
        assert file.read() == LONG
        file.close()
