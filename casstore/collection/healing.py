# SPDX-License-Identifier: MIT
"""What would heal what is hurt: copies in registered directories, other versions that can be read, and the commands."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from blake3 import blake3

from casstore.address import Address
from casstore.collection.repair_report import Hurt, Place
from casstore.errors import CorruptionError, FormatVersionError, NotFoundError
from casstore.format.entry import SNAPSHOT as SNAPSHOT_ENTRY
from casstore.format.snapshot import FILES
from casstore.format.workspace_files import Info
from casstore.snapshots import Refs, Snapshots, encode_key
from casstore.tree import lookup

_DAMAGE: Final = (CorruptionError, NotFoundError, FormatVersionError)
_MAX_OTHERS: Final = 4
_MAX_STATES: Final = 32
_BLOCK_BYTES: Final = 1024 * 1024
_NEW_REF: Final = "healed"


def with_remedies(
    hurt: Iterable[Hurt], snapshots: Snapshots, refs: Refs, infos: Sequence[Info], path: str
) -> tuple[Hurt, ...]:
    """The same, with copies, other versions, and what brings each back in words.

    Args:
        hurt: What is hurt.
        snapshots: The store's snapshots.
        refs: Its refs.
        infos: The directories that it knows.
        path: Its folder.

    *Cost*: for each hurt content, one look into each of up to 32 states, and one read of each file of its name.
    """
    states = _states(snapshots, refs)
    return tuple(_with_remedies(one, snapshots, states, infos, path) for one in hurt)


def _states(snapshots: Snapshots, refs: Refs) -> list[tuple[str, dict[str, Address]]]:
    """States to look for other versions in: those of refs, then their parents."""
    found: dict[Address, tuple[str, dict[str, Address]]] = {}
    waiting = [(name, snapshot) for name, snapshot in refs.ids()]
    while waiting and len(found) < _MAX_STATES:
        name, snapshot = waiting.pop(0)
        if snapshot in found:
            continue
        try:
            fields = snapshots.fields(snapshot)
        except _DAMAGE:
            continue
        found[snapshot] = (name, dict(fields.roots))
        waiting += [(parent.hex()[:12], parent) for parent in fields.parents]
    return list(found.values())


def _with_remedies(
    one: Hurt,
    snapshots: Snapshots,
    states: Sequence[tuple[str, dict[str, Address]]],
    infos: Sequence[Info],
    path: str,
) -> Hurt:
    base = f"casstore --store {shlex.quote(os.path.abspath(path))}"
    heal: list[str] = []
    copies: list[str] = []
    others: list[str] = []
    holding: list[str] = []
    if one.in_source:
        heal.append("what is lost is in the store or bundle of --from: repair takes it from there")
    if one.what == "content":
        keys = {(place.root, place.key): place for place in one.places if place.key is not None}
        copies = _copies(one.address, keys.values(), infos)
        others = _others(one.address, keys.values(), snapshots, states)
        holding = [info.path for info in infos if any(copy.startswith(info.path + os.sep) for copy in copies)]
        heal += [f"{base} import {shlex.quote(directory)} --ref {_NEW_REF}" for directory in holding]
        if one.address in one.lost or not copies:
            heal.append("import a directory that holds the file whose `b3sum` is the address of the content")
        if one.address not in one.lost:
            heal.append("put again what is lost of the content")
    elif one.what == "node":
        known = [info.path for info in infos if os.path.isdir(info.path)]
        heal += [f"{base} import {shlex.quote(known_path)} --ref {_NEW_REF}" for known_path in known[:_MAX_OTHERS]]
        heal.append("import the directory that this state was imported from, or commit the same values again")
    heal.append(f"{base} repair --from STORE|BUNDLE that has the same state")
    if one.what == "snapshot":
        heal.append(f"{base} refs undo NAME takes a ref back to the state before")
    return replace(one, copies=tuple(copies), directories=tuple(holding), others=tuple(others), heal=tuple(heal))


def _copies(address: Address, places: Iterable[Place], infos: Sequence[Info]) -> list[str]:
    """Files of registered directories that hold just this content."""
    found = []
    for place in places:
        for info in infos if place.root == FILES else ():
            file = os.path.join(info.path, place.key or "")
            if _digest(file) == address:
                found.append(file)
    return found


def _digest(path: str) -> bytes | None:
    """BLAKE3 of a regular file; None where there is none that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        hasher = blake3()
        while block := os.read(fd, _BLOCK_BYTES):
            hasher.update(block)
        return hasher.digest()
    except OSError:
        return None
    finally:
        os.close(fd)


def _others(
    address: Address,
    places: Iterable[Place],
    snapshots: Snapshots,
    states: Sequence[tuple[str, dict[str, Address]]],
) -> list[str]:
    """Places with the same key whose content is another one, and whole."""
    found: list[str] = []
    for place in places:
        key = encode_key(place.key or "")
        for name, roots in states:
            if len(found) == _MAX_OTHERS:
                return found
            try:
                entry = lookup(snapshots.nodes, roots.get(place.root), key)
                if entry is None or entry.address == address or entry.kind == SNAPSHOT_ENTRY:
                    continue
                if entry.address is not None:
                    snapshots.storage.check_content(entry.address)
            except _DAMAGE:
                continue
            found.append(f"{name}:{place.root}/{place.key}")
    return found
