# SPDX-License-Identifier: MIT
"""Made the stores that the compatibility tests open: ``python -m tests.compat.make_store FOLDER``.

Run it once for each format version, with the code that writes it, and commit what it made. Never run it again to make
a failing test pass: a store of an earlier version must stay readable as it is.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Literal

import casstore
from casstore.format.entry import directory_entry, file_entry, object_entry, snapshot_entry, symlink_entry, value_entry
from casstore.testing.model import noise
from casstore.tree import build
from tests.snapshots.driving import Value, commit, edited

BACKENDS: tuple[Literal["segments"], Literal["files"]] = ("segments", "files")


def fill(store: casstore.Store) -> dict[str, object]:
    """Something of everything that format 1 can hold; returns what a reader must find."""
    files: dict[str, Value] = {
        "README.md": b"# A store of format 1\n",
        "bin/run": file_entry(10, inline=b"#!/bin/sh\n", executable=True),
        "bin/latest": symlink_entry(3, inline=b"run"),
        "big.bin": noise(12_000, 1),
        "empty file": b"",
        "empty folder": directory_entry(),
        "text.txt": b"all work and no play makes Jack a dull boy\n" * 60,
        "\udcff\udcfe not UTF-8": b"\xff",
    }
    files |= {f"many/{number:03}": b"%d" % number for number in range(150)}
    posix = build(store.nodes, [(b"bin/run", value_entry(b"mode 755"))])
    objects = build(store.nodes, [(b"memory", object_entry("json", 1, 10, inline=b'{"step":3}'))])
    first = commit(
        store, files, message="first", ref="main", objects=objects, posix=posix, time_ns=1_700_000_000 * 10**9
    )
    root = edited(store, first, {"big.bin": noise(12_000, 1)[:6000] + noise(6000, 2), "many/007": None, "new": b"new"})
    assert root is not None
    second = store.add_snapshot(
        roots={**first.roots, "files": root},
        parents=[first],
        message="zweiter Schnappschuß",
        meta={"score": 0.5, "tags": ["x", None, True, 7]},
        time_ns=1_700_000_001 * 10**9,
    )
    store.refs.compare_and_set("main", first, second, reason="better")
    third = commit(
        store,
        {"states/1": snapshot_entry(first.id), "states/2": snapshot_entry(second.id)},
        parents=[first, second],
        ref="try/ümlaut",
        time_ns=1_700_000_002 * 10**9,
    )
    store.refs["gone"] = third
    del store.refs["gone"]
    return {
        "store_id": store.store_id,
        "refs": {name: snapshot.id.hex() for name, snapshot in store.refs.items()},
        "history": {
            name: [
                [move.old and move.old.hex(), move.new and move.new.hex(), move.reason]
                for move in store.refs.history(name)
            ]
            for name in ("main", "gone")
        },
        "snapshots": {snapshot.id.hex(): describe(snapshot) for snapshot in (first, second, third)},
    }


def describe(snapshot: casstore.Snapshot) -> dict[str, object]:
    """All that a snapshot says, and the address and size of each entry; as JSON values."""
    return {
        "state_id": snapshot.state_id.hex(),
        "roots": {name: root.hex() for name, root in snapshot.roots.items()},
        "parents": [parent.hex() for parent in snapshot.parents],
        "message": snapshot.message,
        "meta": dict(snapshot.meta),
        "time_ns": snapshot.time_ns,
        "entries": {
            ascii(key): [entry.kind, entry.size, (entry.address or entry.inline or b"").hex()]
            for key, entry in snapshot.files.entries()
        },
    }


def main(folder: Path) -> None:
    """Makes a store of each backend, and beside each what is in it."""
    folder.mkdir()
    for backend in BACKENDS:
        path = folder / backend
        config = casstore.Config(
            backend=backend, chunk_min_bytes=256, chunk_avg_bytes=1024, chunk_max_bytes=4096, actor="compat"
        )
        with casstore.open(path, config=config) as store:
            expected = fill(store)
            store.verify()
        for name in ("index/LOG", "index/LOG.old", "index/LOCK", "lock"):
            (path / name).unlink(missing_ok=True)
        for name in ("readers", "workspaces"):
            shutil.rmtree(path / name, ignore_errors=True)
        (folder / f"{backend}.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
