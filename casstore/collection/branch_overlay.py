# SPDX-License-Identifier: MIT
"""A branch as records that are not in the store: what a worker, whose store is read-only, hands back in a bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import BinaryIO, NamedTuple

from casstore.address import Address, snapshot_address
from casstore.branches import Branch
from casstore.branches.folding import ScratchNodes
from casstore.collection.bundle import BundleReport, OverlayReader, StorageReader, export_bundle
from casstore.format.kinds import CHUNK, NODE, SNAPSHOT
from casstore.format.record import Record
from casstore.format.snapshot import encode_snapshot
from casstore.snapshots import Snapshot
from casstore.storage import Storage


class BranchOverlay(NamedTuple):
    """The snapshot that a commit of a branch would make.

    Attributes:
        tip: Its id, 32 bytes.
        records: What the store lacks for it, by address.
        scratch: Keeps what the state shares with the store from the collector; hold it for as long as ``records``.
    """

    tip: Address
    records: dict[Address, Record]
    scratch: ScratchNodes


def branch_overlay(storage: Storage, branch: Branch, message: str = "") -> BranchOverlay:
    """What a commit of the branch would put.

    Nothing is written; a branch that is as it started still gets a snapshot of its own.
    """
    fields, scratch, contents = branch.snapshot_fields(message)
    records: dict[Address, Record] = {}
    for address, data in contents.items():
        if len(data) > storage.chunker.whole_bytes:
            records.update((record.address, record) for record in storage.records_of(address, data))
        else:
            records[address] = storage.record(CHUNK, address, data)
    for address, node in scratch.fresh.items():
        records[address] = storage.record(NODE, address, node.raw)
    encoded = encode_snapshot(fields)
    tip = snapshot_address(encoded)
    records[tip] = storage.record(SNAPSHOT, tip, encoded)
    return BranchOverlay(tip, records, scratch)


def export_states(
    storage: Storage,
    target: str | os.PathLike[str] | BinaryIO,
    states: Sequence[Branch | Snapshot],
    *,
    exclude: Sequence[Snapshot],
    names: Mapping[str, Address],
) -> BundleReport:
    """Writes snapshots, and branches that need not be committed, as a bundle; see ``Store.export_bundle``."""
    tips: list[Address] = []
    records: dict[Address, Record] = {}
    # Overlays and snapshots keep what they refer to from the collector until all is written.
    held: list[object] = [*states, *exclude]
    for state in states:
        if isinstance(state, Branch):
            overlay = branch_overlay(storage, state)
            held.append(overlay)
            records.update(overlay.records)
            tips.append(overlay.tip)
        else:
            tips.append(state.id)
    reader = OverlayReader(records, StorageReader(storage))
    report = export_bundle(reader, target, tips, exclude=[snapshot.id for snapshot in exclude], refs=names)
    held.clear()
    return report
