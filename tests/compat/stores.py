# SPDX-License-Identifier: MIT
"""The kept stores, and what must be found in them."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import casstore
from casstore.address import keyed_address
from casstore.format.superblock import SUPERBLOCK_BYTES
from tests.compat.make_deltas_store import VERSIONS, letter, log_file
from tests.compat.make_store import BACKENDS, describe
from tests.snapshots.driving import collect

KEPT = Path(__file__).parent
FORMATS = ("format-1", "format-1-deltas")
"""Folders, one for each form in which a released version wrote stores, the oldest first."""

STORES = [f"{kept}/{backend}" for kept in FORMATS for backend in BACKENDS]


def copy_of(name: str, folder: Path) -> tuple[Path, Any]:
    """A copy of a kept store in ``folder``, and what is in it."""
    shutil.copytree(KEPT / name, folder / "store")
    return folder / "store", json.loads((KEPT / f"{name}.json").read_text("utf-8"))


def on_disk(path: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Inode, time of the last change and bytes of all that lies below a folder, and of itself."""
    found = {}
    for place in (path, *path.rglob("*")):
        status = place.lstat()
        data = place.read_bytes() if place.is_file() else None
        found[str(place.relative_to(path))] = (status.st_ino, status.st_mtime_ns, data)
    return found


def check(store: casstore.Store, expected: Any) -> None:
    """Fails unless the store holds exactly what it held when it was made."""
    assert store.store_id == expected["store_id"]
    assert {name: snapshot.id.hex() for name, snapshot in store.refs.items()} == expected["refs"]
    versions = expected.get("versions", {})
    for snapshot_id, wanted in (expected["snapshots"] | versions).items():
        assert json.loads(json.dumps(describe(store.resolve(snapshot_id)))) == wanted
    if versions:
        made = list(store.log("versions"))[::-1]
        assert [snapshot.id.hex() for snapshot in made] == [
            found
            for number in range(VERSIONS)
            for found in versions
            if versions[found]["message"] == f"version {number}"
        ]
        for number, snapshot in enumerate(made):
            assert snapshot.files["letter.txt"] == letter(number)
            assert snapshot.files["logs/log.txt"] == log_file(number)
            assert store.branch(snapshot).objects["step"] == {"step": number, "text": letter(number).decode()}
    assert store.verify().snapshots == 3 + len(versions)


def use(path: Path, expected: Any) -> None:
    """Reads, writes, collects and verifies; at the end the store holds what it held."""
    with casstore.open(path, read_only=True) as store:
        check(store, expected)
    with casstore.open(path) as store:
        branch = store.branch("main")
        branch.files["more.txt"] = b"more, and later gone again\n" * 30 + str(time.time_ns()).encode()
        branch.commit("more", ref="more")
        branch.files["more.txt"] = branch.files["more.txt"].replace(b"later", b"soon", 1)
        branch.commit("and more", ref="more")
        collect(store)
        store.verify()
        store.refs.delete("more")
        assert collect(store).deleted_objects > 0
        check(store, expected)


def write_superblock(path: Path, offset: int, value: int, *, length: int = SUPERBLOCK_BYTES) -> None:
    """Puts a number of 4 bytes into the superblock of a store, as a later version that knows how would."""
    place = path / "superblock"
    data = bytearray(place.read_bytes())
    data[offset : offset + 4] = value.to_bytes(4, "little")
    data[64:96] = keyed_address("superblock")(bytes(data[:64]))
    place.write_bytes(bytes(data).ljust(length, b"\0"))
