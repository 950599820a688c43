# SPDX-License-Identifier: MIT
"""The same random operations on a mounted overlay, on a plain copy and on a branch; and deltas written for forks."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

import casstore
from casstore.workspace import checkout, import_directory
from casstore.workspace.overlay import small_delta
from casstore.workspace.scanning.fingerprint import fingerprint_of
from tests.workspace.overlays import (
    Overlay,
    mounted,
    need_overlay,
    overlay_of,
    root_of,
)
from tests.workspace.programs import BranchTwin, Program, random_base


def start(store: casstore.Store, seed: int, place: Path) -> Overlay:
    """An overlay over a random base, and a plain copy of that base in ``place/plain``."""
    random_base(seed, place / "source")
    snapshot = import_directory(store, place / "source", ref=f"base-{seed}").snapshot
    checkout(store, snapshot, place / "base")
    shutil.copytree(place / "base", place / "plain", symlinks=True)
    return overlay_of(store, place, snapshot.roots.get("files"))


def check_fingerprints(overlay: Overlay, top: Path, program: Program) -> None:
    """Files are seen through the mount as the two layers below it say."""
    base = str(overlay.base)
    folders, files = program.walk()
    for path in files:
        status = os.lstat(os.path.join(os.fsencode(top), path))
        kept = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
        expected = fingerprint_of(status) if kept else None
        assert overlay.upper.fingerprint(path, base, str(top)) == expected, path
        found = overlay.upper.fingerprint(path, base)
        # A file of the base keeps the inode that it has there, to whoever looks through the mount.
        assert expected == (found and found._replace(inode=status.st_ino)), path
    for path in folders:
        assert overlay.upper.fingerprint(path, base) is None
        assert overlay.upper.fingerprint(path + b"/never", base) is None
    for folder, _, names in os.walk(os.fsencode(base)):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), os.fsencode(base))
            if path not in files:
                assert overlay.upper.fingerprint(path, base) is None


@pytest.mark.parametrize("seed", range(12))
def test_a_mount_and_a_copy_that_programs_change_equally_stay_equal(
    store: casstore.Store, tmp_path: Path, seed: int
) -> None:
    need_overlay(tmp_path)
    overlay = start(store, seed, tmp_path)
    with mounted(overlay.upper.overlay(str(overlay.base), str(overlay.target))) as top:
        programs = [Program(seed + 1000, os.fsencode(place)) for place in (top, tmp_path / "plain")]
        for _ in range(5):
            for program in programs:
                program.run(10)
            assert programs[0].log == programs[1].log
            expected = root_of(store, tmp_path / "plain")
            assert overlay.captured() == expected, programs[0].log
            assert root_of(store, top) == expected
            check_fingerprints(overlay, top, programs[0])
    with mounted(overlay.upper.overlay(str(overlay.base), str(overlay.target))) as top:
        assert root_of(store, top) == expected
    # Nobody wrote to the base.
    assert root_of(store, overlay.base) == overlay.root


@pytest.mark.parametrize("seed", range(20, 28))
def test_a_mount_and_a_branch_that_are_changed_equally_stay_equal(
    store: casstore.Store, tmp_path: Path, seed: int
) -> None:
    need_overlay(tmp_path)
    overlay = start(store, seed, tmp_path)
    branch = store.branch(f"base-{seed}")
    twin = BranchTwin(branch)
    with mounted(overlay.upper.overlay(str(overlay.base), str(overlay.target))) as top:
        program = Program(seed, os.fsencode(top))
        # A branch has no hard links.
        program.operations = [one for one in program.operations if one not in (program.link, program.special)]
        for _ in range(4):
            program.run(10)
            twin.play(program.events)
            program.events.clear()
            assert overlay.captured() == branch.fork().commit().roots.get("files"), program.log


@pytest.mark.parametrize("seed", range(40, 50))
@pytest.mark.parametrize("private", [False, True])
def test_a_delta_that_was_written_shows_and_captures_the_state(
    store: casstore.Store, tmp_path: Path, seed: int, private: bool
) -> None:
    need_overlay(tmp_path)
    overlay = start(store, seed, tmp_path)
    program = Program(seed, os.fsencode(tmp_path / "plain"))
    program.run(40)
    wanted = root_of(store, tmp_path / "plain")
    if private:
        shutil.rmtree(tmp_path / "ws")
        overlay = overlay_of(store, tmp_path, overlay.root, private=True)
    changes = small_delta(store.nodes, overlay.root, wanted)
    assert changes
    overlay.upper.write(store, changes, base=str(overlay.base), root=wanted)
    assert overlay.captured() == wanted, program.log
    if not private:
        # A fork of the fork: more work on the same base.
        again = overlay.work(lambda top: Program(seed + 1, os.fsencode(top)).run(20))
        assert again != wanted


def test_programs_do_what_they_are_for(tmp_path: Path) -> None:
    random_base(1, tmp_path / "top")
    program = Program(2, os.fsencode(tmp_path / "top"))
    program.run(400)
    assert program.counts.keys() == {operation.__name__ for operation in program.operations}
    assert min(program.counts.values()) >= 5
