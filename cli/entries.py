# SPDX-License-Identifier: MIT
"""Entries of a state: found by place, listed, opened, and said as JSON."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.entry import DIRECTORY, EXECUTABLE, FILE, KIND_NAMES, SNAPSHOT, SYMLINK

from .names import key_bytes, key_text
from .places import Place

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.format.entry import Entry
    from casstore.tree import Root

_MODES = {FILE: b"100644", EXECUTABLE: b"100755", SYMLINK: b"120000"}


class Listed(NamedTuple):
    """One line of a listing; ``entry`` is None for a directory that has members."""

    key: str
    name: str
    entry: Entry | None


def entry_at(store: Store, snapshot: Snapshot, place: Place) -> Entry:
    """The entry at a place.

    Raises:
        casstore.NotFoundError: Nothing is there.
        casstore.InvalidInputError: A directory with members is there.
    """
    from casstore.tree import lookup

    root = root_of(snapshot, place)
    entry = lookup(store.nodes, root, key_bytes(place.path))
    if entry is not None:
        return entry
    raise _no_entry(store, root, place)


def root_of(snapshot: Snapshot, place: Place) -> Root:
    """The root that a place is in; None where the state has none of that name."""
    return snapshot.roots.get(place.root)


def list_entries(store: Store, snapshot: Snapshot, place: Place, *, recursive: bool) -> Iterator[Listed]:
    """What is directly at a place, or everything below it, in key order.

    *Cost*: a level costs a seek for each directory in it, however much the directories hold.

    Raises:
        casstore.NotFoundError: Nothing is there.
    """
    from casstore.tree import lookup

    root = root_of(snapshot, place)
    path = key_bytes(place.path)
    if path:
        entry = lookup(store.nodes, root, path)
        if entry is not None:
            if entry.kind != DIRECTORY:
                yield Listed(place.key, key_text(path.rpartition(b"/")[2]), entry)
            return
    prefix = path + b"/" if path else b""
    found = False
    for name, entry in _scan_all(store, root, prefix) if recursive else _scan_level(store, root, prefix):
        found = True
        text = key_text(name)
        yield Listed(f"{place.root}/{key_text(prefix)}{text}", text, entry)
    if not found and path:
        raise _no_entry(store, root, place)


def _scan_all(store: Store, root: Root, prefix: bytes) -> Iterator[tuple[bytes, Entry | None]]:
    from casstore.tree import scan

    skip = len(prefix)
    for key, entry in scan(store.nodes, root, prefix=prefix):
        yield key[skip:], entry


def _scan_level(store: Store, root: Root, prefix: bytes) -> Iterator[tuple[bytes, Entry | None]]:
    from casstore.tree import scan

    start, skip = prefix, len(prefix)
    while True:
        for key, entry in scan(store.nodes, root, start=start, prefix=prefix):
            name, slash, _ = key[skip:].partition(b"/")
            if slash:
                yield name, None
                start = prefix + name + b"0"  # the byte after "/": the first key that is not in that directory
                break
            yield name, entry
        else:
            return


def _no_entry(store: Store, root: Root, place: Place) -> InvalidInputError | NotFoundError:
    from casstore.tree import scan

    if next(iter(scan(store.nodes, root, prefix=key_bytes(place.path) + b"/")), None) is not None:
        return InvalidInputError(
            f"{place.key} in {place.state} is a directory; `casstore ls {place.state}:{place.key}` lists it.",
            path=place.key,
        )
    return NotFoundError(
        f"{place.state} has no {place.key}; `casstore ls {place.state}:{place.root}` lists what it has.",
        path=place.key,
    )


def open_entry(store: Store, entry: Entry, place: Place) -> BinaryIO:
    """The bytes of an entry, as a file open for reading.

    Raises:
        casstore.InvalidInputError: An entry of this kind has no bytes.
    """
    if entry.inline is not None:
        return io.BytesIO(entry.inline)
    if entry.address is None or entry.kind == SNAPSHOT:
        raise InvalidInputError(f"{place.key} is a {KIND_NAMES[entry.kind]}, which has no bytes.", path=place.key)
    content: BinaryIO = store.open_content(entry.address)
    return content


def read_entry(store: Store, entry: Entry) -> bytes:
    """The bytes of an entry that is known to be small."""
    if entry.inline is not None:
        return entry.inline
    return b"" if entry.address is None else store.get(entry.address)


def symlink_target(store: Store, entry: Entry) -> str:
    """Where a symlink leads."""
    return key_text(read_entry(store, entry))


def is_file_like(entry: Entry) -> bool:
    """Whether the entry has text to compare: a file or a symlink."""
    return entry.kind in _MODES


def git_mode(entry: Entry) -> bytes:
    """The mode that git writes for an entry."""
    return _MODES.get(entry.kind, b"100644")


def entry_size(entry: Entry | None) -> int:
    """Bytes of the content; 0 for nothing."""
    return 0 if entry is None else entry.size


def entry_json(entry: Entry | None) -> dict[str, Any] | None:
    """An entry as JSON; ``address`` is null where the content is inline."""
    if entry is None:
        return None
    shown: dict[str, Any] = {
        "kind": KIND_NAMES[entry.kind],
        "size": entry.size,
        "address": entry.address,
        "inline": entry.inline is not None,
    }
    if entry.type_id:
        shown["type_id"] = entry.type_id
        shown["type_version"] = entry.type_version
    return shown
