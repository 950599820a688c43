# SPDX-License-Identifier: MIT
"""Changes between trees of ``trees.py`` the plain way, and a run of them; shares no code with what is tested."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.format.entry import INLINE_BYTES, Entry, directory_entry, file_entry, symlink_entry
from casstore.tree.diff import Change
from casstore.workspace.changing import renaming
from casstore.workspace.changing.changer import TEMPORARY, Changer, clear_temporaries
from casstore.workspace.scanning.fingerprint import Fingerprint
from tests.workspace.trees import Node, Tree, read_tree, with_folders

TOKEN = "0123456789abcdef"
LONG = b"one" * 100
"""Too long to be inline."""


def entry_of(store: casstore.Store, node: Node) -> Entry:
    """The entry of one node; larger contents go into the store."""
    if node is None:
        return directory_entry()
    content = node if isinstance(node, bytes) else node[1]
    size = len(content)
    address, inline = (None, content) if size <= INLINE_BYTES else (store.put(content), None)
    if isinstance(node, tuple) and node[0] == "->":
        return symlink_entry(size, address, inline)
    return file_entry(size, address, inline, executable=isinstance(node, tuple))


def entries_of(store: casstore.Store, tree: Tree) -> dict[bytes, Entry]:
    """What a state of ``tree`` holds: folders only where they are empty."""
    full = {path for path in tree for other in tree if other.startswith(path + b"/")}
    return {path: entry_of(store, node) for path, node in tree.items() if path not in full}


def changes_between(store: casstore.Store, old: Tree, new: Tree) -> list[Change]:
    """The plain diff."""
    before, after = entries_of(store, old), entries_of(store, new)
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def fingerprints_of(directory: str | os.PathLike[str]) -> dict[bytes, Fingerprint]:
    """What is at each path that is no folder, by plain ``lstat``."""
    top = os.fsencode(directory)
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            place = os.path.join(folder, name)
            status = os.lstat(place)
            if not os.path.isdir(place) or os.path.islink(place):
                found[os.path.relpath(place, top)] = Fingerprint(
                    status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode
                )
    return found


@contextmanager
def changer(
    store: casstore.Store,
    directory: str | os.PathLike[str],
    new: Tree | None = None,
    /,
    *,
    changes: list[Change] | None = None,
    known: Callable[[bytes], bool] = lambda _: True,
    **options: Any,
) -> Iterator[Changer]:
    """A changer from what is known of ``directory`` to ``new``."""
    options.setdefault("token", TOKEN)
    if "expected" not in options:
        options["expected"] = {path: seen for path, seen in fingerprints_of(directory).items() if known(path)}.get
    if changes is None:
        assert new is not None
        old = {path: node for path, node in read_tree(directory).items() if known(path)}
        changes = changes_between(store, old, new)
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Changer(store.storage, os.fsdecode(directory), top, changes, **options)
    finally:
        os.close(top)


def switch(store: casstore.Store, directory: str | os.PathLike[str], new: Tree, **options: Any) -> Changer:
    """Makes ``directory`` into ``new``."""
    with changer(store, directory, new, **options) as made:
        made.check()
        made.run()
    return made


def snapshot_of(directory: Path) -> dict[str, tuple[int, int, int, int, int, bytes]]:
    """All that can be seen of everything below a folder, the folder included, but when it was read."""
    seen = {}
    for place in [directory, *sorted(directory.rglob("*"))]:
        status = place.lstat()
        if place.is_symlink():
            content = os.fsencode(os.readlink(place))
        else:
            content = b"" if place.is_dir() else place.read_bytes()
        seen[str(place)] = (
            status.st_ino,
            status.st_mode,
            status.st_nlink,
            status.st_mtime_ns,
            status.st_ctime_ns,
            content,
        )
    return seen


def names_left(directory: Path) -> list[str]:
    """Temporary names below ``directory``."""
    return [str(place) for place in directory.rglob("*") if os.fsencode(place.name).startswith(TEMPORARY)]


SWEPT: tuple[Tree, Tree] = (
    {
        b"a": LONG,
        b"b/c/d": b"1",
        b"b/c/e": ("->", b"d"),
        b"f": b"a file",
        b"g/h/i": LONG,
        b"g/j": b"2",
        b"k": LONG,
        b"l": ("->", b"a"),
        b"m": None,
        b"o": b"same",
        b"p/q": None,
    },
    {
        b"a": b"new" * 99,
        b"f/now/a": LONG + b"!",
        b"f/folder": None,
        b"g": b"now a file",
        b"k": ("x", LONG),
        b"l": ("->", b"b"),
        b"m/n": b"3",
        b"o": b"same",
        b"p": None,
        b"r/s/t": LONG,
        b"u": ("->", b"r"),
    },
)


def finish(store: casstore.Store, top: Path, new: Tree) -> None:
    """What the next command does after a run that did not end."""
    fd = os.open(top, os.O_RDONLY)
    places = [path.rpartition(b"/")[0] for tree in SWEPT for path in tree]
    clear_temporaries(fd, TOKEN, places)
    os.close(fd)
    assert not names_left(top)
    seen = read_tree(top)
    for path, node in seen.items():
        # Nothing half-written, nothing made up.
        assert node in (SWEPT[0].get(path, 0), SWEPT[1].get(path, 0)) or node is None, path
    assert seen[b"o"] == b"same"
    switch(store, top, new)
    assert read_tree(top) == with_folders(new)


class Counted:
    """Calls of the system that can change something, counted; the one with the number ``stop`` does not happen."""

    NAMES = ("open", "mkdir", "rename", "unlink", "rmdir", "symlink", "link", "write", "fchmod", "chmod", "utime")

    def __init__(self, patch: pytest.MonkeyPatch, stop: int, action: Any) -> None:
        self.count = 0
        self.active = True
        for name in self.NAMES:
            patch.setattr(os, name, self.wrap(getattr(os, name), stop, action))
        patch.setattr(renaming, "_rename", self.wrap(renaming._rename, stop, action))

    def wrap(self, function: Any, stop: int, action: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            if self.active:
                self.count += 1
                if self.count == stop:
                    action()
            return function(*arguments, **options)

        return counted


def run_killed(made: Changer, stop: int) -> bool:
    """Runs it in a child that dies at call ``stop``; whether it came to that call."""
    child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as patch:
                Counted(patch, stop, lambda: os._exit(9))
                made.run()
                os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9
