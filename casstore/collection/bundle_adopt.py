# SPDX-License-Identifier: MIT
"""Adoption: a bundle's records become this store's, once all of them were verified.

Invariant: nothing is put before the whole bundle was found sound, and records are put in the bundle's order, each after
all it refers to. So whatever happens, the store is as before but for garbage, and no record of it leads nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from casstore.address import Address
from casstore.collection.bundle_file import BundleFile, Source
from casstore.collection.bundle_reception import Reception
from casstore.errors import ReadOnlyError
from casstore.storage import Storage
from casstore.storage.pins import PinHandle
from casstore.tree import Nodes

DEFAULT_LIMIT_BYTES: Final = 16 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptReport:
    """What a bundle brought. While the report lives, its tips are kept from the collector.

    Attributes:
        tips: Ids of the snapshots that it was made for (32 bytes each).
        refs: Names that some of them had where the bundle was made; no ref was moved.
        new_records: Records that were not in the store.
        new_bytes: Bytes that they take.
        known_records: Records that were there already.
    """

    tips: tuple[Address, ...]
    refs: Mapping[str, Address]
    new_records: int
    new_bytes: int
    known_records: int
    handles: tuple[PinHandle, ...] = field(default=(), repr=False, compare=False)


def adopt_bundle(
    storage: Storage, nodes: Nodes, source: Source, *, limit_bytes: int = DEFAULT_LIMIT_BYTES
) -> AdoptReport:
    """Takes what a bundle brings into the store, after verifying all of it; moves no ref.

    Args:
        storage: The store's storage.
        nodes: The store's nodes.
        source: Path of the bundle, or a binary file that can seek.
        limit_bytes: Refuse a bundle for which more bytes than this, and 64 times its own length, would have to be
            unpacked and hashed: a few KiB can stand for exabytes.

    Raises:
        NotFoundError: There is no such file; or the bundle builds on a snapshot that the store lacks.
        CorruptionError: The bundle is torn, damaged, or not what its maker should have made. Nothing was put.
        FormatVersionError: It is of a later format.
        InvalidInputError: It cannot be read, or passes ``limit_bytes``.
        ReadOnlyError: The store is open read-only.
        StorageError: The store could not be written; what was put is garbage for the next collection.

    *Durability*: from the next ``sync``, or the next move of a ref. The report keeps the tips from the collector; hold
    it until a ref or a snapshot object does.

    *Cost*: about 13 µs per small record. Memory: 200 bytes per record and at most 64 MiB.
    """
    if storage.read_only:
        raise ReadOnlyError("the store is open read-only; open it for writing to adopt a bundle.")
    with storage.operation(), BundleFile(source) as file:
        reception = Reception(storage, nodes, file, limit_bytes)
        try:
            manifest = reception.verify()
            new_records, new_bytes = reception.put()
        finally:
            reception.forget()
        return AdoptReport(
            tips=manifest.tips,
            refs=dict(manifest.refs),
            new_records=new_records,
            new_bytes=new_bytes,
            known_records=manifest.records - new_records,
            handles=tuple(PinHandle(storage.pins, "snapshot", tip) for tip in manifest.tips),
        )
