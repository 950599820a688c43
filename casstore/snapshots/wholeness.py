# SPDX-License-Identifier: MIT
"""Is all that a snapshot leads to in the store?

Asked where the index was made anew, or a collection ended in the middle: what was collected may then be back in part.
"""

from __future__ import annotations

from collections.abc import Iterable

from casstore.address import Address
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.kinds import CHUNK, CHUNK_LIST, NODE, SNAPSHOT
from casstore.snapshots.history import shallow_ids
from casstore.snapshots.snapshot import Snapshots
from casstore.storage.deltas import is_readable


def seen_from(snapshots: Snapshots, roots: Iterable[Address]) -> set[Address]:
    """The snapshots, nodes and lists below snapshots, and whatever is missing there."""
    seen: set[Address] = set()
    for root in roots:
        _walk(snapshots, root, seen, seen, strict=False)
    return seen


def check_whole(snapshots: Snapshots, snapshot: Address, seen: set[Address]) -> None:
    """Looks for every record that a snapshot and its ancestors lead to; contents are not read.

    Args:
        snapshots: The store's.
        snapshot: An id.
        seen: Snapshots, nodes and lists that need no look; what was found whole is added.

    Raises:
        NotFoundError: Something is missing, cannot be read, or is known to be damaged.

    *Cost*: a read of every node and list, and a look-up of every content.
    """
    found: set[Address] = set()
    try:
        _walk(snapshots, snapshot, seen, found, strict=True)
    except (NotFoundError, CorruptionError) as error:
        raise NotFoundError(
            f"the snapshot {snapshot.hex()} is there only in part ({error.message.rstrip('.')}): what it leads to was "
            "collected before the index was made anew. Name another state, or import it again.",
            address=error.address,
        ) from error
    seen |= found


def _walk(snapshots: Snapshots, snapshot: Address, seen: set[Address], new: set[Address], *, strict: bool) -> None:
    storage, nodes = snapshots.storage, snapshots.nodes
    find, shallow = storage.backend.find, shallow_ids(storage)
    waiting: list[tuple[int, Address]] = [(SNAPSHOT, snapshot)]
    while waiting:
        kind, address = waiting.pop()
        if address in seen or address in new:
            continue
        try:
            if kind == SNAPSHOT:
                fields = snapshots.fields(address)
                waiting += [(NODE, root) for root in fields.roots.values()]
                parents = () if address in shallow else fields.parents
                waiting += [(SNAPSHOT, parent) for parent in parents]
            elif kind == NODE:
                node = nodes.read(address)
                waiting += [(NODE, child) for child in node.children]
                waiting += [(CHUNK, content) for content in node.contents]
                waiting += [(SNAPSHOT, linked) for linked in node.snapshots]
            else:
                entry = find(address)
                if entry is None or entry.kind != CHUNK_LIST:
                    # What is known to be lost has an entry too; and what a base was healed with may be a list.
                    if entry is None or not is_readable(storage, entry):
                        raise NotFoundError("a content is missing or damaged.", address=address)
                    # Not remembered: they are the most, and a look-up is quick.
                    continue
                pieces = storage.chunk_list(address)
                waiting += [] if pieces is None else [(CHUNK, piece) for piece, _ in pieces.pieces]
        except (NotFoundError, CorruptionError):
            if strict:
                raise
        new.add(address)
