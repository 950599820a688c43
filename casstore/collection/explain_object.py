# SPDX-License-Identifier: MIT
"""Why one object is kept: the shortest way down to it from each root."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from casstore.address import Address, check_address
from casstore.collection.explain import Grounds, seconds_until
from casstore.collection.explain_graph import RecordNumbers, Walk, named_references
from casstore.collection.explain_report import Chain, Kept, Step
from casstore.format.index_entry import IndexEntry
from casstore.format.kinds import KIND_NAMES

MAX_CHAINS: Final = 8

Start = tuple[bool, int, str, Address, int | None]
"""Whether only its age keeps it, how far the object is, what it is called, its address, when it lets go in seconds."""


def explain_object(grounds: Grounds, address: Address, *, limit: int = MAX_CHAINS) -> Kept:
    """What keeps an object, by the shortest way from each root. Changes nothing.

    Args:
        grounds: What the plan decided by.
        address: 32 bytes: of a content, chunk, node, snapshot or event.
        limit: How many chains to name.

    Raises:
        InvalidInputError: ``address`` is no address.
        CorruptionError: Something on the way is damaged.

    *Cost*: reads once what a mark reads, passes over the index twice. Memory: 5 bytes for each record.
    """
    find = grounds.storage.backend.find
    entry = find(check_address(address))
    if entry is None:
        return Kept(
            address=address, kind="", bytes=0, chains=(), more_roots=0, deltas=0, base=None, free_in_seconds=None
        )
    walk = Walk(grounds.storage, grounds.shallow, target=address)
    for start in grounds.starts():
        walk.visit(start)
    starts = sorted(
        set(_starts(grounds, walk.distance)), key=lambda start: (*start[:2], start[4] is not None, *start[2:4])
    )
    chains = tuple(
        Chain(name, tuple(_steps(grounds, walk.distance, root)), until) for _, _, name, root, until in starts[:limit]
    )
    ends = [until for *_, until in starts]
    terms = [until for until in ends if until is not None]
    return Kept(
        address=address,
        kind=KIND_NAMES[entry.kind],
        bytes=entry.record_bytes,
        chains=chains,
        more_roots=len(starts) - len(chains),
        deltas=sum(1 for _, other in grounds.storage.backend.scan() if other.base == address),
        base=entry.base,
        free_in_seconds=max(terms, default=0) if len(terms) == len(ends) else None,
    )


def _starts(grounds: Grounds, distance: RecordNumbers) -> Iterator[Start]:
    """All roots that lead to the object."""
    find = grounds.storage.backend.find
    for root in grounds.roots:
        entry = find(root.address)
        if entry is not None and distance.get(entry):
            until = None if root.until_ns is None else seconds_until(root.until_ns)
            yield False, distance.get(entry), root.label, root.address, until
    for watch in grounds.watches:
        for address in list(watch.parents):
            entry = find(address)
            if entry is not None and distance.get(entry):
                yield False, distance.get(entry), "operation that met it", address, None
    for address, entry in grounds.storage.backend.scan():
        here = distance.get(entry)
        if here and any(grounds.relies_on(watch, entry) for watch in grounds.watches):
            yield False, here, "operation that wrote or met it", address, None
        if here and grounds.is_young(entry):
            yield True, here, _age(entry.stamp), address, grounds.free_in(entry.stamp)


def _age(stamp: int) -> str:
    return f"grace period (put or met {max(0, int(time.time()) - stamp)} s ago)"


def _steps(grounds: Grounds, distance: RecordNumbers, root: Address) -> Iterator[Step]:
    """The way from a root down to the object."""
    find = grounds.storage.backend.find
    address, entry = root, find(root)
    how = "keeps"
    while entry is not None:
        yield Step(how, KIND_NAMES[entry.kind], address)
        following = _nearer(grounds, distance, address, entry)
        if following is None:
            return
        address, entry, how = following


def _nearer(
    grounds: Grounds, distance: RecordNumbers, address: Address, entry: IndexEntry
) -> tuple[Address, IndexEntry, str] | None:
    here = distance.get(entry)
    if here <= 1:
        return None
    for child, how in named_references(grounds.storage, address, entry, grounds.shallow):
        found = grounds.storage.backend.find(child)
        if found is not None and distance.get(found) == here - 1:
            return child, found, how
    return None
