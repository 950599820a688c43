# SPDX-License-Identifier: MIT
"""Overlays for tests: whether this machine mounts any, and some over a base of files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import casstore
from casstore import layout
from casstore.tree import Root, apply, diff
from casstore.workspace import import_directory
from casstore.workspace.overlay import OverlayMount, Upper, choose, ensure_base
from tests.workspace.trees import Tree, write_tree


@cache
def why_no_overlay(place: str) -> str:
    """Why no overlay can be mounted as root with its layers below ``place``; nothing if one can."""
    try:
        choose(place, place, "overlay")
    except casstore.InvalidInputError as error:
        return str(error)
    return ""


def need_overlay(place: Path) -> None:
    """Skips the test where no overlay can be mounted, and says why."""
    reason = why_no_overlay(str(place))
    if reason:
        pytest.skip(reason)


@contextmanager
def mounted(overlay: OverlayMount) -> Iterator[Path]:
    """The overlay, mounted; taken away at the end whatever happens."""
    os.makedirs(overlay.target, exist_ok=True)
    overlay.mount()
    try:
        yield Path(overlay.target)
    finally:
        overlay.unmount(lazy=True)


def root_of(store: casstore.Store, directory: str | os.PathLike[str]) -> Root:
    """Root of the files that an ordinary import of the directory brings."""
    return import_directory(store, directory).snapshot.roots.get("files")


def run_python(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own, with the modules of this one."""
    start = f"import sys; sys.path[:] = {sys.path!r}\n"
    return subprocess.run(
        [*prefix, sys.executable, "-c", start + code, *arguments], capture_output=True, text=True, timeout=60
    )


@dataclass
class Overlay:
    """A base, an upper folder over it, and where both are shown."""

    store: casstore.Store
    base: Path
    root: Root
    upper: Upper
    target: Path

    def captured(self, **options: object) -> Root:
        """Root of what a capture brings."""
        edits = self.upper.edits(self.store.storage, self.store.nodes, self.root, **options)  # type: ignore[arg-type]
        assert [path for path, _ in edits] == sorted({path for path, _ in edits})
        return apply(self.store.nodes, self.root, edits, tree=True)

    def changed(self) -> dict[bytes, int | None]:
        """Paths that differ from the base, and the kind of what is there now."""
        changes = diff(self.store.nodes, self.root, self.captured())
        return {change.key: change.new and change.new.kind for change in changes}

    def work(self, *steps: Callable[[Path], object]) -> Root:
        """Does things in the mounted overlay; the root of what is then seen there, which a capture must bring too."""
        with mounted(self.upper.overlay(str(self.base), str(self.target))) as top:
            for step in steps:
                step(top)
            seen = root_of(self.store, top)
            assert self.captured() == seen
        assert self.captured() == seen
        return seen


MakeOverlay = Callable[[Tree], Overlay]
DEEP: Tree = {b"a/b/c/f": b"1" * 200, b"a/b/g": b"2", b"a/h": b"3", b"k/l": b"4", b"a/e": None}


def overlay_of(store: casstore.Store, place: Path, root: Root, *, private: bool = False) -> Overlay:
    """An overlay whose base is ``place/base``."""
    (place / "ws").mkdir()
    upper = Upper(str(place / "ws"), private=private, cache_key=b"o/" + os.fsencode(place) + b"/")
    upper.create()
    return Overlay(store, place / "base", root, upper, place / "shown")


def overlay_maker(store: casstore.Store, place: Path) -> MakeOverlay:
    """Makes an overlay over a tree, to be mounted; the test is skipped where that cannot be."""

    def make(tree: Tree) -> Overlay:
        need_overlay(place)
        write_tree(place / "base", tree)
        return overlay_of(store, place, root_of(store, place / "base"))

    return make


def bare_overlay(store: casstore.Store, place: Path) -> Overlay:
    """An overlay that nothing mounts: its upper folder is made by hand, with the marks of a user namespace."""
    tree: Tree = {b"a/x": b"1", b"a/y": b"2", b"b/c/z": b"3", b"b/w": b"4", b"e": None, b"f": b"5"}
    write_tree(place / "base", tree)
    return overlay_of(store, place, root_of(store, place / "base"), private=True)


TREE: Tree = {b"a/f": b"1" * 200, b"a/run": ("x", b"#!"), b"l": ("->", b"a"), b"e": None}


def workspace(store: casstore.Store, number: int = 1) -> str:
    """A folder for a workspace in the store."""
    folder = os.path.join(store.path, layout.WORKSPACES, f"{number:08x}")
    os.makedirs(folder)
    return folder


def overlay_in(
    store: casstore.Store, target: Path, *, number: int = 1, private: bool = False
) -> tuple[OverlayMount, Upper]:
    """An overlay of TREE at ``target``, not mounted."""
    write_tree(target.parent / f"in{number}", TREE)
    base = ensure_base(store, root_of(store, target.parent / f"in{number}"))
    upper = Upper(workspace(store, number), private=private)
    upper.create()
    target.mkdir()
    return upper.overlay(base, str(target)), upper


def captured(store: casstore.Store, upper: Upper, root: object) -> object:
    edits = upper.edits(store.storage, store.nodes, root)  # type: ignore[arg-type]
    return apply(store.nodes, root, edits, tree=True)  # type: ignore[arg-type]
