# SPDX-License-Identifier: MIT
"""A branch as records that are not in the store: what a worker, whose store is read-only, hands back in a bundle."""

from __future__ import annotations

from casstore.address import Address, snapshot_address
from casstore.branches import Branch
from casstore.format.kinds import CHUNK, NODE, SNAPSHOT
from casstore.format.record import Record
from casstore.format.snapshot import encode_snapshot
from casstore.storage import Storage


def branch_overlay(storage: Storage, branch: Branch, message: str = "") -> tuple[Address, dict[Address, Record]]:
    """The snapshot that a commit of the branch would make, and the records that the store lacks for it.

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
    return tip, records
