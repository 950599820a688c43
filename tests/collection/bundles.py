# SPDX-License-Identifier: MIT
"""What the tests of bundles share: states made from dicts, bundles made by hand, and what a store holds."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from blake3 import blake3

import casstore
from casstore.address import Address, content_address, event_address, node_address, snapshot_address
from casstore.collection.bundle import AdoptReport, StorageReader, adopt_bundle, export_bundle
from casstore.errors import CasstoreError, CorruptionError
from casstore.format.bundle import Manifest, encode_manifest
from casstore.format.canonical import canonical_json
from casstore.format.chunk_list import encode_chunk_list
from casstore.format.entry import INLINE_BYTES, Entry, encode_entry, file_entry
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, RAW, SNAPSHOT
from casstore.format.node import encode_node, join_key
from casstore.format.record import HEADER_BYTES, Record, check_record, encode_record
from casstore.format.snapshot import SnapshotFields, encode_snapshot
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


FILES = {b"d%d/f%d" % (i % 7, i): noise(i, 40 * i) for i in range(60)}


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
    shallow: Sequence[bytes] = (),
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
        shallow=tuple(map(Address, shallow)),
    )
    return body + pack_event(encode_manifest(manifest))


def pack_event(payload: bytes | dict[str, object]) -> bytes:
    data = payload if isinstance(payload, bytes) else canonical_json(payload)
    return encode_record(raw_record(EVENT, event_address(data), data))


def refused(
    store: casstore.Store, bundle: bytes, error: type[CasstoreError] | tuple[type[CasstoreError], ...] = CorruptionError
) -> CasstoreError:
    before = held(store), dict(store.refs), store.storage.backend.used_bytes()
    with pytest.raises(CasstoreError) as caught:
        adopt(store, bundle)
    assert isinstance(caught.value, error), caught.value
    assert (held(store), dict(store.refs), store.storage.backend.used_bytes()) == before
    return caught.value


# -- parts to make bundles of by hand


def chunk(data: bytes) -> Record:
    return raw_record(CHUNK, content_address(data), data)


def chunk_list(address: bytes, pieces: Sequence[tuple[bytes, int]]) -> Record:
    raw = encode_chunk_list(Address(address), [(Address(piece), length) for piece, length in pieces])
    return raw_record(CHUNK_LIST, address, raw)


def node(height: int, chunks: Sequence[bytes]) -> Record:
    raw = encode_node(height, chunks)
    return raw_record(NODE, node_address(raw), raw)


def leaf(*items: tuple[bytes, Entry]) -> Record:
    return node(0, [join_key(key, encode_entry(entry)) for key, entry in items])


def snapshot(*parents: bytes, **roots: bytes) -> Record:
    raw = encode_snapshot(
        SnapshotFields(
            roots={name: Address(root) for name, root in roots.items()},
            parents=tuple(map(Address, parents)),
            message="",
            meta={},
            time_ns=1,
        )
    )
    return raw_record(SNAPSHOT, snapshot_address(raw), raw)


def bundle_of(*records: Record) -> bytes:
    return pack(records, [records[-1].address])


def content_bundle(*records: Record, size: int, address: bytes | None = None) -> bytes:
    """The records, and a state of one file: the content of the last of them, or of ``address``."""
    top = leaf((b"f", file_entry(size, Address(address or records[-1].address))))
    return bundle_of(*records, top, snapshot(files=top.address))
