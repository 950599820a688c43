# SPDX-License-Identifier: MIT
"""What the tests of workspaces share: a directory with its store, and comparisons that share no code with them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import casstore
from casstore.snapshots import Change
from casstore.workspace import Workspace, checkout, list_workspaces
from casstore.workspace.overlay import list_mounts, unmount
from tests.workspace.trees import Tree, read_tree, write_tree

ROOT = Path(__file__).resolve().parents[2]
SETTLING = 0.03
"""Seconds after which a change of a file shows in its times."""

Made = tuple[casstore.Store, Path, Workspace]
"""A store, a directory saved as ``main``, its workspace."""

START: Tree = {
    b"same": b"s" * 300,
    b"small": b"1",
    b"d/one": b"one" * 100,
    b"d/two": b"two",
    b"d/deep/er/file": b"deep",
    b"tool": ("x", b"#!/bin/sh\n"),
    b"link": ("->", b"same"),
    b"empty": None,
}
OTHER: Tree = {
    b"same": b"s" * 300,
    b"small": b"2",
    b"d": b"a file now",
    b"tool": b"#!/bin/sh\n",
    b"link": ("->", b"elsewhere"),
    b"new/in/folder": b"n" * 1000,
    b"empty/no more": b"",
}
LOCAL: Tree = {**START, b"small": b"local", b"d/two": ("x", b"two"), b"local/new": b"l" * 700, b"tool": ("->", b"d")}
del LOCAL[b"d/one"]


def settle() -> None:
    """Waits until what was written can be told from what will be."""
    time.sleep(SETTLING)


def empty(directory: Path) -> None:
    """Removes all that is in the directory, which stays the same one."""
    for member in directory.iterdir():
        if not member.is_symlink() and member.is_dir():
            empty(member)
            member.rmdir()
        else:
            member.unlink()


def become(directory: Path, tree: Tree) -> None:
    """Makes the directory hold ``tree``, in the plainest way."""
    empty(directory)
    write_tree(directory, tree)


def edit(directory: Path, tree: Tree) -> None:
    """Makes the directory hold ``tree``; what is as it was is not touched."""
    before = read_tree(directory)
    for path in sorted(before, reverse=True):
        place = os.path.join(os.fsencode(directory), path)
        node = before[path]
        if node == tree.get(path, b"?") or (node is None and any(other.startswith(path + b"/") for other in tree)):
            continue
        if node is None:
            os.rmdir(place)
        else:
            os.unlink(place)
    have = read_tree(directory)
    write_tree(directory, {path: node for path, node in tree.items() if path not in have})


def state_of(store: casstore.Store, tree: Tree, folder: Path) -> casstore.Snapshot:
    """A snapshot with the files of ``tree``, imported from a folder of its own."""
    write_tree(folder, tree)
    return casstore.workspace.import_directory(store, folder).snapshot


def assert_same(one: Path, other: Path) -> None:
    """Fails unless git sees no difference between two directories."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(
        ["git", "diff", "--no-index", "--no-ext-diff", "--exit-code", "--binary", str(one), str(other)],
        capture_output=True,
        env=environment,
        cwd="/",
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[:2000] + done.stderr.decode(errors="replace")


def assert_holds(store: casstore.Store, directory: Path, state: casstore.Snapshot, beside: Path) -> None:
    """Fails unless the directory holds what a checkout of ``state`` gives; git compares."""
    place = beside / f"checkout-{time.monotonic_ns()}"
    checkout(store, state, place)
    with Workspace(store, place) as registered:
        registered.remove()
    assert_same(directory, place)
    assert read_tree(directory) == read_tree(place)


def temporary_names(directory: Path) -> list[str]:
    """Names below the directory that only a running switch may have."""
    return [str(place) for place in directory.rglob("*") if place.name.startswith(".casstore-")]


def looks(directory: Path) -> dict[str, tuple[int, int, int, int, int]]:
    """Inode, size, times and mode of all that lies below."""
    found = {}
    for place in sorted(directory.rglob("*")):
        status = place.lstat()
        found[str(place.relative_to(directory))] = (
            status.st_ino,
            status.st_size if not place.is_dir() else 0,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_mode,
        )
    return found


@contextmanager
def unmounting(top: Path) -> Iterator[None]:
    """Takes away every overlay below ``top`` at the end, whatever happens."""
    try:
        yield
    finally:
        for mounted in list_mounts():
            if mounted.target.startswith(str(top) + "/"):
                unmount(mounted.target, lazy=True)


def collect(store: casstore.Store) -> None:
    """Deletes everything that nothing names now."""
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()


def child(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """Python code in a process of its own, with the modules of this one."""
    start = f"import sys; sys.path[:] = {sys.path!r}\n"
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", start + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


def opened(top: Path, tree: Tree = START, **options: object) -> tuple[casstore.Store, Path, Workspace]:
    """A store, a directory that holds ``tree`` and was saved as ``main``, and its workspace."""
    store = casstore.open(str(top / "store"))
    directory = top / "work"
    write_tree(directory, tree)
    settle()
    workspace = Workspace(store, directory, **options)  # type: ignore[arg-type]
    workspace.snapshot("start", ref="main")
    return store, directory, workspace


def with_other(made: Made, top: Path) -> Made:
    """The same; ``other`` names another state."""
    store, _, _ = made
    store.refs["other"] = state_of(store, OTHER, top / "other")
    return made


def registry_of(store: casstore.Store) -> dict[str, bytes]:
    """All that the store's folder of workspaces holds."""
    top = Path(store.path, "workspaces")
    return {str(place): place.read_bytes() for place in sorted(top.rglob("*")) if place.is_file()}


def keys(changes: tuple[Change, ...]) -> list[str]:
    return [change.key for change in changes]


def states(store: casstore.Store) -> dict[str, str]:
    """Directory → what state its workspace is in."""
    return {one.path: one.state for one in list_workspaces(store)}


def interrupt(workspace: Workspace, call: str = "placing.os.unlink") -> None:
    """A switch to ``other`` that breaks off where it calls that, a name of ``casstore.workspace.changing``."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"casstore.workspace.changing.{call}", refuse)
        with pytest.raises(casstore.StorageError):
            workspace.switch("other")
    assert workspace.interrupted
