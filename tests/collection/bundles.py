# SPDX-License-Identifier: MIT
"""What the tests of bundles share: states made from dicts, bundles made by hand, and what a store holds."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

import casstore
from casstore.address import Address, event_address
from casstore.collection.bundle import AdoptReport, StorageReader, adopt_bundle, export_bundle
from casstore.format.bundle import Manifest, encode_manifest
from casstore.format.canonical import canonical_json
from casstore.format.entry import INLINE_BYTES, Entry, file_entry
from casstore.format.kinds import EVENT, RAW
from casstore.format.record import HEADER_BYTES, Record, check_record, encode_record
from casstore.snapshots import Snapshot
from casstore.tree import build

SMALL = casstore.Config(chunk_min_bytes=64, chunk_avg_bytes=256, chunk_max_bytes=1024)
LARGE = casstore.Config(chunk_min_bytes=4096, chunk_avg_bytes=16384, chunk_max_bytes=65536)
Files = Mapping[bytes, bytes]


def memory(config: casstore.Config = SMALL) -> casstore.Store:
    return casstore.open(":memory:", config=config)


def on_disk(path: Path, config: casstore.Config = SMALL) -> casstore.Store:
    return casstore.open(path, config=config)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def entry_of(store: casstore.Store, data: bytes) -> Entry:
    if len(data) <= INLINE_BYTES:
        return file_entry(len(data), inline=data)
    return file_entry(len(data), store.put(data))


def root_of(store: casstore.Store, files: Files, *, tree: bool = True) -> Address:
    root = build(store.nodes, [(key, entry_of(store, data)) for key, data in sorted(files.items())], tree=tree)
    assert root is not None
    return root


def state(store: casstore.Store, files: Files, parents: Sequence[Snapshot] = (), message: str = "") -> Snapshot:
    """A snapshot with these files; times grow with every call."""
    state.time_ns += 1  # type: ignore[attr-defined]
    roots = {"files": root_of(store, files)} if files else {}
    return store.add_snapshot(roots=roots, parents=parents, message=message, time_ns=state.time_ns)  # type: ignore[attr-defined]


state.time_ns = 1_000_000  # type: ignore[attr-defined]


def export(
    store: casstore.Store, *tips: Snapshot, exclude: Sequence[Snapshot] = (), same_chunks: bool = False
) -> bytes:
    file = io.BytesIO()
    report = export_bundle(
        StorageReader(store.storage),
        file,
        [tip.id for tip in tips],
        exclude=[other.id for other in exclude],
        same_chunks=same_chunks,
    )
    assert report.bytes == len(file.getvalue())
    return file.getvalue()


def adopt(store: casstore.Store, bundle: bytes) -> AdoptReport:
    return adopt_bundle(store.storage, store.nodes, io.BytesIO(bundle))


def files_of(store: casstore.Store, snapshot: Address) -> dict[bytes, bytes]:
    return {key.encode(): bytes(data) for key, data in store.snapshot(snapshot).files.items()}


def held(store: casstore.Store) -> dict[Address, int]:
    """Address and kind of every record."""
    return {address: entry.kind for address, entry in store.storage.backend.scan()}


def unpack(bundle: bytes) -> list[Record]:
    """The records of a bundle, the manifest's last."""
    found = []
    place = 0
    while place < len(bundle):
        header = check_record(bundle, place)
        start = place + HEADER_BYTES
        place = start + header.stored_bytes
        found.append(Record(header.kind, header.encoding, header.address, header.raw_bytes, bundle[start:place]))
    return found


def raw_record(kind: int, address: bytes, raw: bytes) -> Record:
    return Record(kind, RAW, Address(address), len(raw), raw)


def pack(
    records: Iterable[Record],
    tips: Sequence[Address],
    *,
    refs: Mapping[str, Address] | None = None,
    excluded: Sequence[Address] = (),
    count: int | None = None,
    digest: bytes | None = None,
) -> bytes:
    """A bundle of these records, whatever they are."""
    encoded = [encode_record(record) for record in records]
    body = b"".join(encoded)
    manifest = Manifest(
        tips=tuple(tips),
        refs=refs or {},
        excluded=tuple(excluded),
        records=len(encoded) if count is None else count,
        digest=blake3(body).digest() if digest is None else digest,
    )
    return body + pack_event(encode_manifest(manifest))


def pack_event(payload: bytes | dict[str, object]) -> bytes:
    data = payload if isinstance(payload, bytes) else canonical_json(payload)
    return encode_record(raw_record(EVENT, event_address(data), data))
