# SPDX-License-Identifier: MIT
"""Adoption: a bundle's records become this store's, once all of them were verified.

Invariant: nothing is put before the whole bundle was found sound, and records are put in the bundle's order, each after
all it refers to. So whatever happens, the store is as before but for garbage, and no record of it leads nowhere.

The marks of shallow snapshots are events of this store: they are durable before the snapshots are there, so that no
crash leaves one that leads to missing parents without its mark. A mark without its snapshot goes with a collection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from casstore.address import Address, event_address
from casstore.collection.bundle_file import BundleFile, Source
from casstore.collection.bundle_reception import Reception
from casstore.errors import ReadOnlyError
from casstore.format.event import encode_shallow, event_facts
from casstore.format.kinds import EVENT
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
        shallow: Ids of the snapshots that are shallow here now: their parents were given up where the bundle was made,
            and are not in this store either.
    """

    tips: tuple[Address, ...]
    refs: Mapping[str, Address]
    new_records: int
    new_bytes: int
    known_records: int
    shallow: tuple[Address, ...] = ()
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

    *Durability*: from the next ``sync``, or the next move of a ref; marks of shallow snapshots at once. The report
    keeps the tips from the collector; hold it until a ref or a snapshot object does.

    *Cost*: about 13 µs per small record. Memory: 200 bytes per record and at most 64 MiB.
    """
    if storage.read_only:
        raise ReadOnlyError("the store is open read-only; open it for writing to adopt a bundle.")
    with storage.operation(), BundleFile(source) as file:
        reception = Reception(storage, nodes, file, limit_bytes)
        try:
            manifest = reception.verify()
            shallow = reception.cut_here()
            with _marked(storage, shallow):
                new_records, new_bytes = reception.put()
        finally:
            reception.forget()
        return AdoptReport(
            tips=manifest.tips,
            refs=dict(manifest.refs),
            new_records=new_records,
            new_bytes=new_bytes,
            known_records=manifest.records - new_records,
            shallow=tuple(shallow),
            handles=tuple(PinHandle(storage.pins, "snapshot", tip) for tip in manifest.tips),
        )


@contextlib.contextmanager
def _marked(storage: Storage, shallow: Sequence[Address]) -> Iterator[None]:
    """Marks snapshots that are to come as shallow; no collection begins to delete before the context ends."""
    if not shallow:
        yield
        return
    backend = storage.backend
    # Held to the end: a sweep that begins meanwhile would take a mark of what is not there for an old one.
    with backend.write_lock():
        facts: dict[bytes, bytes | None] = {}
        for snapshot in shallow:
            payload = encode_shallow(backend.next_event(), snapshot)
            backend.put([storage.record(EVENT, event_address(payload), payload)])
            facts.update(event_facts(payload))
        backend.sync(facts)
        yield
