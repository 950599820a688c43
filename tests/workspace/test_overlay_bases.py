# SPDX-License-Identifier: MIT
"""Bases: made once, whole or not there, kept while somebody holds them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

import casstore
from casstore import layout
from casstore.errors import InvalidInputError, LockedError, StorageError
from casstore.workspace import import_directory
from casstore.workspace.overlay import (
    bases,
    ensure_base,
    hold_base,
    list_bases,
    remove_base,
    unused_bases,
)
from tests.workspace.overlays import (
    TREE,
    root_of,
    run_python,
)
from tests.workspace.trees import read_tree, with_folders, write_tree

Stores = casstore.Store


def test_a_base_is_made_once_and_kept_apart(disk_store: Stores, tmp_path: Path) -> None:
    write_tree(tmp_path / "in", TREE)
    root = root_of(disk_store, tmp_path / "in")
    assert root is not None
    seen: list[str] = []
    tree = ensure_base(disk_store, root, progress=lambda *values: seen.append(values[0]))
    assert seen
    assert tree == os.path.join(disk_store.path, layout.BASES, root.hex(), "tree")
    assert read_tree(tree) == with_folders(TREE)
    assert root_of(disk_store, tmp_path / "in") == import_directory(disk_store, tmp_path / "in").snapshot.roots["files"]
    inode = os.stat(tree).st_ino
    assert ensure_base(disk_store, root) == tree
    assert os.stat(tree).st_ino == inode
    assert os.stat(os.path.join(disk_store.path, layout.BASES)).st_mode & 0o077 == 0
    assert os.listdir(ensure_base(disk_store, None)) == []
    assert list_bases(disk_store.path) == sorted([root.hex(), "empty"])
    # A base is none of the store's own records: what is unused can go and come again.
    assert unused_bases(disk_store.path, {root.hex()}) == ["empty"]
    remove_base(disk_store.path, "empty")
    remove_base(disk_store.path, "empty")
    remove_base(disk_store.path, root.hex())
    assert list_bases(disk_store.path) == []
    assert os.listdir(os.path.join(disk_store.path, layout.BASES)) == []
    assert read_tree(ensure_base(disk_store, root)) == with_folders(TREE)


def test_a_base_that_is_held_is_not_removed(disk_store: Stores) -> None:
    with hold_base(disk_store, None):
        assert unused_bases(disk_store.path, ()) == []
        with pytest.raises(LockedError, match="in use"):
            remove_base(disk_store.path, "empty")
    assert unused_bases(disk_store.path, ()) == ["empty"]


@pytest.mark.parametrize("name", ["", "..", "tree", "new-/../../segments", "AB" * 32])
def test_only_bases_are_removed(disk_store: Stores, name: str) -> None:
    with pytest.raises(InvalidInputError, match="names no base"):
        remove_base(disk_store.path, name)


def test_a_base_half_made_by_a_killed_process_is_only_a_leftover(disk_store: Stores, tmp_path: Path) -> None:
    code = """
import os, signal
import casstore
from casstore.workspace.overlay import bases
write = bases._check_out
def die(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
bases._check_out = die
with casstore.open(sys.argv[1]) as store:
    bases.ensure_base(store, None)
"""
    disk_store.close()
    assert run_python(code, disk_store.path).returncode == -signal.SIGKILL
    with casstore.open(disk_store.path) as store:
        assert list_bases(store.path) == []
        (leftover,) = unused_bases(store.path, ())
        assert leftover.startswith("new-")
        assert os.listdir(ensure_base(store, None)) == []
        remove_base(store.path, leftover)
        assert os.listdir(os.path.join(store.path, layout.BASES)) == ["empty"]


def test_makers_at_the_same_time_make_one(disk_store: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path / "in", TREE)
    root = root_of(disk_store, tmp_path / "in")
    barrier = threading.Barrier(3, timeout=30)
    check_out = bases._check_out

    def together(*arguments: object) -> None:
        barrier.wait()
        check_out(*arguments)  # type: ignore[arg-type]
        assert unused_bases(disk_store.path, ()) == []
        barrier.wait()

    monkeypatch.setattr(bases, "_check_out", together)
    trees: list[str] = []
    threads = [threading.Thread(target=lambda: trees.append(ensure_base(disk_store, root))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trees) == 3
    assert len(set(trees)) == 1
    assert len(os.listdir(os.path.join(disk_store.path, layout.BASES))) == 1
    assert read_tree(trees[0]) == with_folders(TREE)


def test_a_base_that_cannot_be_made_leaves_nothing(disk_store: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bases, "sync_file_system", fail)
    with pytest.raises(StorageError, match="No space left"):
        ensure_base(disk_store, None)
    assert os.listdir(os.path.join(disk_store.path, layout.BASES)) == []


def test_a_store_in_memory_has_no_bases(store: Stores) -> None:
    with pytest.raises(InvalidInputError, match="no folder on disk"):
        ensure_base(store, None)
