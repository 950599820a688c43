# SPDX-License-Identifier: MIT
"""Makes states without the layers above: contents, a tree, a snapshot, a ref."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import casstore
from casstore.address import Address
from casstore.format.entry import INLINE_BYTES, Entry, file_entry
from casstore.snapshots import Snapshot, encode_key
from casstore.storage.leveldb_copy import copy_index
from casstore.tree import Root, apply, build

SMALL = casstore.Config(chunk_min_bytes=256, chunk_avg_bytes=1024, chunk_max_bytes=4096, segment_bytes=16 * 1024)
"""Chunks and segments so small that a few kilobytes are many of them."""

Value = bytes | Entry


def backend_config(backend: str, sync: Literal["full", "off"] = "full") -> casstore.Config:
    """``SMALL`` for one of the backends on disk."""
    return replace(SMALL, backend="files" if backend == "files" else "segments", sync=sync)


def open_backend(backend: str, folder: Path, *, sync: Literal["full", "off"] = "off") -> casstore.Store:
    """A new or existing store of that backend: ``segments``, ``files`` or ``memory``."""
    if backend == "memory":
        return casstore.open(":memory:", config=SMALL)
    return casstore.open(folder, config=backend_config(backend, sync))


def entry_of(store: casstore.Store, value: Value) -> Entry:
    if isinstance(value, Entry):
        return value
    if len(value) <= INLINE_BYTES:
        return file_entry(len(value), inline=value)
    return file_entry(len(value), store.put(value))


def tree_of(store: casstore.Store, files: Mapping[str, Value]) -> Root:
    """Root of the tree that holds ``files``."""
    items = sorted((encode_key(path), entry_of(store, value)) for path, value in files.items())
    return build(store.nodes, items, tree=True)


def edited(store: casstore.Store, base: Snapshot, changes: Mapping[str, Value | None]) -> Root:
    """Root of the files of ``base`` with ``changes`` made; None deletes."""
    edits = sorted(
        (encode_key(path), None if value is None else entry_of(store, value)) for path, value in changes.items()
    )
    return apply(store.nodes, base.roots.get("files"), edits, tree=True)


def commit(
    store: casstore.Store,
    files: Mapping[str, Value],
    *,
    parents: Sequence[Snapshot | Address] = (),
    ref: str | None = None,
    message: str = "",
    objects: Root = None,
    posix: Root = None,
    time_ns: int | None = None,
) -> Snapshot:
    """A snapshot of ``files``, kept from the collector on the way, and named by ``ref``."""
    with store.storage.operation():
        roots = {"files": tree_of(store, files), "objects": objects, "posix": posix}
        snapshot = store.add_snapshot(
            roots={name: root for name, root in roots.items() if root is not None},
            parents=parents,
            message=message,
            time_ns=time_ns,
        )
        if ref is not None:
            store.refs[ref] = snapshot
    return snapshot


def copy_open_store(path: Path, target: Path) -> None:
    """A copy of a store that is open, as the end of its process would leave it.

    LevelDB works in the background, so its folder cannot be copied file by file: that would give a mixture of two
    moments, which no crash leaves.
    """
    shutil.copytree(path, target, ignore=shutil.ignore_patterns("index", "*.pin"))
    copy_index(str(path / "index"), str(target / "index"))


def collect(store: casstore.Store) -> casstore.GcReport:
    """A collection of everything that nothing leads to, however young."""
    return store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()


def damage_of(store: casstore.Store, *, read_data: bool = True) -> list[casstore.Damage]:
    """What ``verify`` finds; empty where the store is sound."""
    try:
        store.verify(read_data)
    except casstore.CorruptionError as error:
        report = error.report
        assert isinstance(report, casstore.VerifyReport)
        assert report.damage
        return report.damage
    return []
