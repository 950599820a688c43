# SPDX-License-Identifier: MIT
"""What kernels leave in an upper folder after single operations, renamed folders above all."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from casstore.format.entry import DIRECTORY
from tests.workspace.overlays import (
    DEEP,
    MakeOverlay,
)


def test_a_renamed_folder_brings_its_content_along(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(lambda top: os.rename(top / "a", top / "z"))
    assert os.listdir(overlay.upper.path + "/z") == []
    assert {path for path, kind in overlay.changed().items() if kind is None} == {b"a/b/c/f", b"a/b/g", b"a/h", b"a/e"}
    assert {path for path, kind in overlay.changed().items() if kind} == {b"z/b/c/f", b"z/b/g", b"z/h", b"z/e"}
    assert overlay.upper.files_read == 0


@pytest.mark.parametrize(
    "steps",
    [
        [("a", "x"), ("x", "y"), ("y", "z")],
        [("a/b", "a/c"), ("a", "z")],
        [("a", "z"), ("z/b", "z/c")],
        [("a", "k/a"), ("k/a/b/c", "k/c"), ("k", "m")],
        [("a/b", "n"), ("a", "n/a")],
        [("a/b/c", "c"), ("a/b", "c/b"), ("a", "c/b/a")],
        [("a", "t"), ("k", "a"), ("t", "k")],
        [("a/b/c", "a/b/d"), ("a/b", "a/d"), ("a", "d")],
        [("a", "z"), ("z", "a")],
    ],
)
def test_chains_of_renamed_folders(make_overlay: MakeOverlay, steps: list[tuple[str, str]]) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(*[lambda top, old=old, new=new: os.rename(top / old, top / new) for old, new in steps])  # type: ignore[misc]
    # Again after the kernel has forgotten what it knew.
    overlay.work(lambda top: os.rename(top / "a", top / "again") if (top / "a").exists() else None)


def test_a_new_folder_where_a_renamed_one_was_has_nothing_of_it(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(lambda top: os.rename(top / "a/b", top / "z"), lambda top: (top / "a/b").mkdir())
    assert overlay.changed() == {b"a/b": DIRECTORY, b"a/b/c/f": None, b"a/b/g": None, b"z/c/f": 1, b"z/g": 1}


def test_changes_inside_of_a_renamed_folder(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(
        lambda top: os.rename(top / "a", top / "z"),
        lambda top: (top / "z/b/g").unlink(),
        lambda top: (top / "z/b/c/f").write_bytes(b"new"),
        lambda top: shutil.rmtree(top / "z/e"),
        lambda top: (top / "z/i").write_bytes(b"i"),
    )
    assert {path for path, kind in overlay.changed().items() if kind} == {b"z/b/c/f", b"z/h", b"z/i"}


def test_a_folder_that_was_emptied_stays_as_an_empty_one(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(lambda top: (top / "k/l").unlink(), lambda top: os.rename(top / "a/h", top / "a/e/h"))
    assert overlay.changed() == {b"k/l": None, b"k": DIRECTORY, b"a/h": None, b"a/e": None, b"a/e/h": 1}


def test_a_folder_that_lost_some_of_its_members_is_not_empty(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(lambda top: (top / "a/h").unlink(), lambda top: shutil.rmtree(top / "a/b/c"))
    assert overlay.changed() == {b"a/h": None, b"a/b/c/f": None}


def test_all_that_the_base_has_goes(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    assert overlay.work(lambda top: shutil.rmtree(top / "a"), lambda top: shutil.rmtree(top / "k")) is None


def test_a_file_becomes_a_folder_and_a_folder_a_file(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay(DEEP)
    overlay.work(
        lambda top: shutil.rmtree(top / "a"),
        lambda top: (top / "a").write_bytes(b"file"),
        lambda top: (top / "k/l").unlink(),
        lambda top: (top / "k/l/m").mkdir(parents=True),
    )
    assert {path: kind for path, kind in overlay.changed().items() if kind} == {b"a": 1, b"k/l/m": DIRECTORY}
    overlay.work(lambda top: (top / "a").unlink(), lambda top: (top / "a").mkdir())
    assert overlay.changed()[b"a"] == DIRECTORY


def test_a_file_that_only_got_another_mode_or_time_is_known_by_its_bit(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay({b"run": b"#!" * 100, b"same": b"s" * 500})
    overlay.work(lambda top: (top / "run").chmod(0o755), lambda top: os.utime(top / "same"))
    assert overlay.changed() == {b"run": 2}


def test_names_like_marks_of_other_systems_are_names(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay({b"d/.wh.x": b"1", b"d/x": b"2", b"\xff/\xfe": b"3"})
    overlay.work(
        lambda top: (top / "d/.wh.d").write_bytes(b"4"),
        lambda top: (top / "d/.wh..wh..opq").write_bytes(b""),
        lambda top: os.rename(os.fsencode(top) + b"/\xff", os.fsencode(top) + b"/\xfd"),
    )
    assert {path for path, kind in overlay.changed().items() if kind} == {b"d/.wh.d", b"d/.wh..wh..opq", b"\xfd/\xfe"}


def test_special_files_are_named_and_left_out(make_overlay: MakeOverlay) -> None:
    overlay = make_overlay({b"d/f": b"1", b"pipe": b"2"})

    def bind(top: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(top / "d/s"))

    overlay.work(
        lambda top: (top / "d/f").unlink(),
        bind,
        lambda top: (top / "pipe").unlink(),
        lambda top: os.mkfifo(top / "pipe"),
        lambda top: os.mknod(top / "null", 0o020666, os.makedev(1, 3)),
    )
    assert {item.path: item.why.partition(";")[0] for item in overlay.upper.left_out} == {
        "d/s": "a socket",
        "pipe": "a FIFO",
        "null": "a device",
    }
    assert overlay.changed() == {b"d/f": None, b"d": DIRECTORY, b"pipe": None}
