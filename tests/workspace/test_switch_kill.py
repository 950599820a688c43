# SPDX-License-Identifier: MIT
"""A switch that is killed at any point: the next command finishes it or takes it back, and nothing is lost.

A process that has imported the library forks one child for each point. The child counts its calls of the file system
and ends itself, without a word, before the n-th: nothing is flushed, nothing cleaned up, all locks go. What it had
written stays, as after ``kill -9``. Then this process, which never saw the switch, opens the store.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.workspace import Workspace, fork_to, list_workspaces
from tests.workspace.overlays import need_overlay
from tests.workspace.switching import (
    assert_same,
    become,
    child,
    state_of,
    temporary_names,
    unmounting,
)
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree

BEFORE: Tree = {
    b"same": b"s" * 300,
    b"edited": b"e" * 200,
    b"deleted": b"d" * 200,
    b"file to folder": b"1" * 150,
    b"folder to file/a/b": b"2",
    b"folder to file/c": b"3" * 400,
    b"link to file": ("->", b"same"),
    b"file to link": b"4",
    b"link to folder": ("->", b"nowhere"),
    b"folder to link/x": b"5",
    b"executable": b"6" * 200,
    b"nested/deep/er/gone": b"7",
    b"nested/stays": b"8",
    b"empty": None,
    b"filled": None,
}
TARGET: Tree = {
    b"same": b"s" * 300,
    b"edited": b"E" * 250,
    b"file to folder/in/side": b"9" * 500,
    b"folder to file": b"10",
    b"link to file": b"11" * 100,
    b"file to link": ("->", b"edited"),
    b"link to folder/y": b"12",
    b"folder to link": ("->", b"nested"),
    b"executable": ("x", b"6" * 200),
    b"nested/stays": b"8",
    b"nested/new": b"13",
    b"filled/with": b"14" * 300,
    b"new/a": b"15",
    b"new/b": None,
}
# What the directory alone has when the switch begins.
LOCAL: Tree = {
    **BEFORE,
    b"edited": b"by hand" * 40,
    b"folder to file/mine": b"only here",
    b"mine/too": ("x", b"m" * 700),
    b"nested/stays": b"8, edited",
    b"link to file": ("->", b"edited"),
}
del LOCAL[b"deleted"]

SERVER = """
import os, random, signal, time
import casstore, casstore.workspace.changing.renaming
import casstore.branches.folding, casstore.workspace.changing.changer, casstore.workspace.overlay.overlaid
import casstore.workspace.switching
from casstore.workspace import Workspace

WRITES = ("write", "pwrite")
CALLS = (*WRITES, "open", "rename", "replace", "link", "unlink", "rmdir", "mkdir", "chmod", "fchmod", "symlink",
         "fsync", "fdatasync", "ftruncate", "utime")
count, limit = 0, 0

def counted(name, real):
    def call(*arguments, **options):
        global count
        count += 1
        if count == limit:
            if name in WRITES:
                # Also half of a write may have happened.
                data = bytes(arguments[1])
                real(arguments[0], data[: len(data) // 2], *arguments[2:])
            os._exit(9)
        return real(*arguments, **options)
    return call

def switch(store, directory, number):
    global limit
    with casstore.open(store) as opened, Workspace(opened, directory) as workspace:
        limit = number
        for name in CALLS:
            if hasattr(os, name):
                setattr(os, name, counted(name, getattr(os, name)))
        renaming = casstore.workspace.changing.renaming
        renaming._rename = counted("renameat2", renaming._rename)
        workspace.switch("target")
        calls = count
    return calls

for line in sys.stdin:
    store, directory, number = line.rstrip("\\n").split("\\t")
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            calls = switch(store, directory, int(number))
            os.write(write, b"%d" % calls)
        except BaseException as error:
            os.write(write, repr(error).encode())
        os._exit(0)
    if int(number) < 0:
        time.sleep(-int(number) / 1e6)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(write)
    said = os.read(read, 4096).decode()
    os.close(read)
    print(os.waitstatus_to_exitcode(status), said, sep="\\t", flush=True)
"""


class Killer:
    """Forks children that switch a directory and are killed."""

    def __init__(self) -> None:
        self.process = child(SERVER)

    def run(self, store: Path, directory: Path, number: int) -> tuple[int, str]:
        """What became of a switch that ends before its call ``number`` (0: not; below: after so many microseconds)."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{store}\t{directory}\t{number}\n".encode())
        self.process.stdin.flush()
        line = self.process.stdout.readline().decode()
        assert line, self.process.stderr and self.process.stderr.read().decode()
        code, said = line.rstrip("\n").split("\t")
        assert code in ("0", "9", "-9"), said
        if code == "0":
            assert said.isdigit(), said
        return int(code), said


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    made = Killer()
    try:
        yield made
    finally:
        made.process.communicate()


class Scene:
    """A directory that was edited, about to be switched, as often as it is wanted."""

    def __init__(self, top: Path, *, full: bool = False) -> None:
        self.top = top
        self.store = top / "store"
        self.directory = top / "work"
        self.template = top / "template"
        with casstore.open(str(self.store)) as store:
            write_tree(self.directory, BEFORE)
            with Workspace(store, self.directory, metadata="full" if full else "basic") as workspace:
                workspace.snapshot(ref="before")
                if full:
                    become(self.directory, TARGET)
                    (self.directory / "edited").chmod(0o640)
                    workspace.snapshot(ref="target")
                    workspace.switch("before")
            if not full:
                store.refs["target"] = state_of(store, TARGET, top / "target tree")
        write_tree(top / "local", LOCAL)
        if full:
            write_tree(top / "target tree", TARGET)
        shutil.copytree(self.store, self.template)

    def set_up(self) -> None:
        """Everything as it was before the switch; the directory is the same one, to the inode."""
        shutil.rmtree(self.store)
        shutil.copytree(self.template, self.store)
        become(self.directory, LOCAL)

    def assert_local(self) -> None:
        assert read_tree(self.directory) == with_folders(LOCAL)

    def assert_target(self, *, by_git: bool) -> None:
        assert read_tree(self.directory) == with_folders(TARGET)
        if by_git:
            assert_same(self.directory, self.top / "target tree")

    def look_at(self, number: int) -> str:
        """What a process finds after the kill; fails where that is not as it should be."""
        with casstore.open(str(self.store)) as store:
            states = {one.path: one.state for one in list_workspaces(store)}
            state = states[str(self.directory)]
            assert state in ("ok", "interrupted"), states
            if number % 16 == 0:
                store.verify()
            with Workspace(store, self.directory) as workspace:
                assert workspace.interrupted == (state == "interrupted")
                found = read_tree(self.directory)
                if state == "ok":
                    # Killed before the first change, or after the last one.
                    assert found in (with_folders(LOCAL), with_folders(TARGET))
                    if found == with_folders(LOCAL):
                        workspace.switch("target")
                    self.assert_target(by_git=False)
                    workspace.undo()
                    self.assert_local()
                elif number % 2:
                    undone = workspace.undo()
                    self.assert_local()
                    assert undone.saved is None, "both states were known"
                    workspace.undo()
                    self.assert_target(by_git=False)
                    workspace.undo()
                    self.assert_local()
                else:
                    assert workspace.status().interrupted
                    if number % 4:
                        workspace.switch("target")
                    else:
                        assert workspace.snapshot() == store.refs["target"]
                    self.assert_target(by_git=number % 8 == 0)
                    assert workspace.status(paranoid=True).clean
                    workspace.undo()
                    self.assert_local()
                assert not workspace.interrupted
                assert temporary_names(self.directory) == []
            assert {one.path: one.state for one in list_workspaces(store)}[str(self.directory)] == "ok"
        return state


def sweep(scene: Scene, killer: Killer, step: int) -> None:
    scene.set_up()
    _, calls = killer.run(scene.store, scene.directory, 0)
    assert int(calls) > 100
    states = set()
    # Co-prime with what is decided by the number, so that each kind of point meets each way out.
    for number in range(1, int(calls) + 1, step):
        scene.set_up()
        code, said = killer.run(scene.store, scene.directory, number)
        assert code == 9, (number, said)
        states.add(scene.look_at(number))
    assert states == {"ok", "interrupted"}


def test_a_switch_that_is_killed_at_some_points(tmp_path: Path, killer: Killer) -> None:
    sweep(Scene(tmp_path), killer, 5)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
def test_a_switch_that_is_killed_at_every_point(tmp_path: Path, killer: Killer, full: bool) -> None:
    sweep(Scene(tmp_path, full=full), killer, 1)


def test_a_switch_that_is_killed_with_metadata(tmp_path: Path, killer: Killer) -> None:
    sweep(Scene(tmp_path, full=True), killer, 23)


def test_a_switch_that_is_killed_by_the_system(tmp_path: Path, killer: Killer) -> None:
    scene = Scene(tmp_path)
    chance = random.Random(4)
    for number in range(10):
        scene.set_up()
        killer.run(scene.store, scene.directory, -chance.randrange(5_000, 45_000))
        scene.look_at(number)


def test_a_switch_that_is_killed_while_it_is_finished(tmp_path: Path, killer: Killer) -> None:
    """Killed, gone on with, killed again, many times over."""
    scene = Scene(tmp_path)
    for first, then in ((90, (70, 80, 90)), (140, (95, 110)), (10**6, ())):
        scene.set_up()
        killer.run(scene.store, scene.directory, first)
        for number in then:
            killer.run(scene.store, scene.directory, number)
        assert scene.look_at(first) in ("ok", "interrupted")


def test_an_overlay_whose_switch_is_killed(tmp_path: Path, killer: Killer) -> None:
    need_overlay(tmp_path)
    with unmounting(tmp_path):
        for number in (60, 85, 100, 115, 130, 145):
            top = tmp_path / str(number)
            directory = top / "fork"
            top.mkdir()
            with casstore.open(str(top / "store")) as store:
                before = state_of(store, BEFORE, top / "before")
                store.refs["target"] = state_of(store, TARGET, top / "target tree")
                fork_to(store, before, directory, method="overlay").close()
                become(directory, LOCAL)
            killer.run(top / "store", directory, number)
            if number % 2:
                subprocess.run(["umount", str(directory)], check=True)
            with casstore.open(str(top / "store")) as store, Workspace(store, directory) as workspace:
                workspace.mount()
                if workspace.interrupted:
                    workspace.undo()
                    assert read_tree(directory) == with_folders(LOCAL)
                if read_tree(directory) == with_folders(LOCAL):
                    workspace.switch("target")
                assert read_tree(directory) == with_folders(TARGET)
                assert_same(directory, top / "target tree")
                workspace.undo()
                assert read_tree(directory) == with_folders(LOCAL)
                assert temporary_names(directory) == []
