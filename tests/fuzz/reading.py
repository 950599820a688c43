# SPDX-License-Identifier: MIT
"""Reads everything from a store that may hold anything, and checks that nothing is written beside it."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import casstore
from casstore.address import Address
from casstore.errors import CasstoreError
from casstore.format.index_entry import IndexEntry
from casstore.format.kinds import CHUNK, CHUNK_LIST
from casstore.tree import check_tree
from casstore.workspace import checkout
from tests.fuzz.target import MIB, Finding

MANY: Final = 60
"""No more entries, contents or moves are looked at in one run."""
LARGE: Final = 4 * MIB
"""Contents that say they are larger are not read: a short list may honestly stand for terabytes of zeros."""


class Reader:
    """Calls one thing after another; each may refuse with a casstore error of any kind."""

    def __init__(self) -> None:
        self.read = 0

    def attempt(self, action: Callable[[], Any]) -> Any:
        try:
            found = action()
        except CasstoreError as error:
            if not error.message:
                raise Finding(f"{type(error).__name__} says nothing") from error
            return None
        self.read += 1
        return found

    def each(self, items: Callable[[], Iterable[Any]]) -> Iterator[Any]:
        """The first items, up to where an error ends them."""
        found = self.attempt(lambda: iter(items()))
        while found is not None:
            item = self.attempt(lambda: next(found, self))
            if item is None or item is self:
                return
            yield item


def read_everything(store: casstore.Store) -> int:
    """How many calls gave an answer."""
    reader = Reader()
    attempt, each = reader.attempt, reader.each
    entries = list(itertools.islice(each(store.storage.backend.scan), MANY))
    for address, entry in entries:
        _read_object(reader, store, address, entry)
    states: list[Any] = list(itertools.islice(each(lambda: store.refs), 20))
    for name in states:
        _read_some(reader, lambda name=name: store.refs.history(name))  # type: ignore[misc]
    states += [address for address, entry in entries[:20]]
    found = [attempt(lambda state=state: store.snapshot(state)) for state in states]  # type: ignore[misc]
    snapshots = [snapshot for snapshot in found if snapshot is not None][:8]
    for snapshot in snapshots:
        _read_state(reader, store, snapshot)
    for one, other in itertools.islice(itertools.permutations(snapshots, 2), 6):
        _compare(reader, store, one, other)
    for snapshot, name in itertools.product(snapshots[:3], ("files/a", "files/", "objects/memory")):
        _prove(reader, store, snapshot, name)
    attempt(store.stats)
    attempt(store.pins)
    if all(entry.raw_bytes <= LARGE for _, entry in entries) and _sizes(store, entries) <= LARGE:
        attempt(store.verify)
    attempt(lambda: store.verify(read_data=False))
    attempt(lambda: _plan(store))
    attempt(store.plan_retention)
    return reader.read


def _plan(store: casstore.Store) -> str:
    with store.plan_gc(grace_seconds=0) as plan:
        return str(plan)


def _read_some(reader: Reader, items: Callable[[], Iterable[Any]]) -> list[Any]:
    return list(itertools.islice(reader.each(items), MANY))


def _read_object(reader: Reader, store: casstore.Store, address: Address, entry: IndexEntry) -> None:
    attempt, storage = reader.attempt, store.storage
    attempt(lambda: storage.locate(address))
    attempt(lambda: storage.get_record(entry.kind, address))
    attempt(lambda: store.snapshot(address))
    if entry.kind not in (CHUNK, CHUNK_LIST):
        return
    size = attempt(lambda: storage.content_size(address))
    if size is not None and size <= LARGE:
        attempt(lambda: store.get(address))
        attempt(lambda: storage.check_content(address))
    file = attempt(lambda: store.open_content(address))
    if file is not None:
        attempt(lambda: file.read(1000))
        attempt(lambda: file.seek(max(file.seek(0, io.SEEK_END) - 7, 0)))
        attempt(lambda: file.read(1000))
        file.close()


def _read_state(reader: Reader, store: casstore.Store, snapshot: casstore.Snapshot) -> None:
    attempt = reader.attempt
    _read_some(reader, lambda: store.log(snapshot))
    for root in snapshot.roots.values():
        attempt(lambda root=root: check_tree(store.nodes, root))  # type: ignore[misc]
    files = attempt(lambda: snapshot.files)
    for key, entry in [] if files is None else _read_some(reader, files.entries):
        attempt(lambda key=key: files.entry(key))  # type: ignore[misc]
        if entry.size <= LARGE:
            attempt(lambda key=key: files[key])  # type: ignore[misc]
    branch = attempt(lambda: store.branch(snapshot))
    if branch is not None:
        for key in _read_some(reader, lambda: branch.objects):
            attempt(lambda key=key: branch.objects[key])  # type: ignore[misc]
        attempt(branch.state_id)


def _compare(reader: Reader, store: casstore.Store, one: casstore.Snapshot, other: casstore.Snapshot) -> None:
    _read_some(reader, lambda: store.diff(one, other))
    if not store.read_only:
        reader.attempt(lambda: store.merge(one, other))


def _prove(reader: Reader, store: casstore.Store, snapshot: casstore.Snapshot, name: str) -> None:
    proof = reader.attempt(lambda: store.prove(snapshot, name))
    if proof is not None:
        reader.attempt(lambda: casstore.verify_proof(snapshot.state_id, proof, name))


def _sizes(store: casstore.Store, entries: Iterable[Any]) -> int:
    """Bytes that a full check would hash."""
    total = 0
    for address, entry in entries:
        if entry.kind == CHUNK_LIST:
            try:
                total += store.storage.content_size(address)
            except CasstoreError:
                continue
    return total


def check_out_everything(store: casstore.Store, base: Path) -> None:
    """Checks every state out below ``base``; a finding if anything beside the target is made, changed or removed."""
    reader = Reader()
    outer = base / "outer"
    outer.mkdir()
    (outer / "victim").write_bytes(b"precious")
    (outer / "link").symlink_to("victim")
    before = _look(base, outer)
    states: list[Any] = list(itertools.islice(reader.each(lambda: store.refs), 4))
    states += [address for address, entry in itertools.islice(reader.each(store.storage.backend.scan), 20)]
    for number, state in enumerate(states[:16]):
        _check_out(reader, store, state, outer / "dest", force=bool(number % 2))
        after = _look(base, outer)
        if after != before:
            raise Finding(f"something was written beside the target: {set(after.items()) ^ set(before.items())!r:.500}")


def _check_out(reader: Reader, store: casstore.Store, state: Any, target: Path, *, force: bool) -> None:
    snapshot = reader.attempt(lambda: store.snapshot(state))
    if snapshot is None or _large(reader, snapshot):
        return
    reader.attempt(lambda: checkout(store, snapshot, target, force=force))
    if target.is_symlink():
        raise Finding("the target became a symlink")
    shutil.rmtree(target, ignore_errors=True)


def _large(reader: Reader, snapshot: Any) -> bool:
    return sum(entry.size for _, entry in _read_some(reader, lambda: snapshot.files.entries())) > LARGE


def _look(base: Path, outer: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for place in (base, outer):
        for item in os.scandir(place):
            if item.name == "dest" or (item.name == "store" and place != outer):
                continue
            status = item.stat(follow_symlinks=False)
            data = Path(item.path).read_bytes() if item.is_file(follow_symlinks=False) else b""
            found[item.path] = (status.st_mode, status.st_ino, data, item.is_symlink() and os.readlink(item.path))
    return found
