# SPDX-License-Identifier: MIT
"""A bundle on its way into a store: a first pass that verifies all of it, and a second that puts what is new.

Every record's bytes are compared with its address; every reference must lead to an earlier record of the bundle or to
something sound in the store, which is then kept from the collector; and every record must be referred to. A list's
pieces must make its content. Trees are checked by bundle_trees.py. Only the parents of a snapshot may be missing, where
the manifest says that it is shallow; as the manifest comes last, they are remembered until then.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final

from blake3 import blake3

from casstore.address import Address, content_address, node_address, snapshot_address
from casstore.collection.bundle_file import BundleFile
from casstore.collection.bundle_trees import ReceivedTrees
from casstore.compression import decompress
from casstore.errors import CasstoreError, CorruptionError, InvalidInputError, NotFoundError
from casstore.format.bundle import Manifest
from casstore.format.chunk_list import ChunkList, decode_chunk_list
from casstore.format.kinds import CHUNK, CHUNK_LIST, KIND_NAMES, NODE, RAW, SNAPSHOT
from casstore.format.node import Node, decode_node
from casstore.format.record import HEADER_BYTES, Record, RecordHeader, decode_header
from casstore.format.snapshot import FILES, decode_snapshot
from casstore.storage import Storage
from casstore.storage.content import walk_chunks
from casstore.tree import Nodes

_LIMIT_RATIO: Final = 64
_BATCH_BYTES: Final = 1024 * 1024
_BATCH_RECORDS: Final = 4096
_RECENT_BYTES: Final = 16 * 1024 * 1024
_NODE_CACHE_BYTES: Final = 16 * 1024 * 1024
_MAX_ROOTS: Final = 4096
_ADVICE: Final = "; run `casstore verify`"
"""What the decoders say is of no use here: it is not the store that is damaged."""


class _MissingError(CorruptionError):
    """Something that is referred to is neither in the bundle nor in the store."""


class Reception:
    """One bundle on its way in. Records have ordinals, in the bundle's order."""

    def __init__(self, storage: Storage, nodes: Nodes, file: BundleFile, limit_bytes: int) -> None:
        self._storage = storage
        self._file = file
        self._left_bytes = self._limit_bytes = limit_bytes + _LIMIT_RATIO * file.size
        self._ordinals: dict[Address, int] = {}
        self._kinds = bytearray()
        self._sizes = array("Q")
        self._offsets = array("Q")
        self._known = bytearray()
        self._used = bytearray()
        self._recent: dict[Address, bytes] = {}
        self._recent_bytes = 0
        self._roots: dict[Address, Mapping[str, Address]] = {}
        self._gaps: dict[Address, _MissingError] = {}
        self._nodes = _ReceivedNodes(self, nodes)
        self._trees = ReceivedTrees(self._nodes, self._ordinals, self.rely, self.content)

    # -- the first pass

    def verify(self) -> Manifest:
        """Looks at everything; returns if all of it may be put."""
        try:
            for offset, header, stored in self._file.records():
                try:
                    self._take(offset, header, stored)
                except CasstoreError as error:
                    # Damage in the store names its own place.
                    if error.segment is None:
                        error.offset, error.path = offset, self._file.path
                        error.message = f"this bundle is refused: {error.message.replace(_ADVICE, '')}"
                    raise
            manifest = self._file.manifest
            if manifest is None:
                raise CorruptionError("the bundle has no manifest; have it made again.", path=self._file.path)
            self._check_excluded(manifest)
            self._check_shallow(manifest)
            for tip in manifest.tips:
                self.rely(SNAPSHOT, tip)
        except _MissingError as error:
            self._explain()
            raise CorruptionError(error.message, address=error.address, offset=error.offset, path=error.path) from None
        unused = self._used.find(0)
        if unused >= 0:
            address = next(address for address, ordinal in self._ordinals.items() if ordinal == unused)
            raise CorruptionError(
                f"the bundle brings {address.hex()}, to which none of its tips leads; have it made again.",
                address=address,
                offset=self._offsets[unused],
                path=self._file.path,
            )
        return manifest

    def _check_excluded(self, manifest: Manifest) -> None:
        for snapshot in manifest.excluded:
            entry = self._storage.backend.find(snapshot)
            if entry is None or entry.kind != SNAPSHOT or not self._storage.known(snapshot):
                raise NotFoundError(
                    f"the bundle builds on the snapshot {snapshot.hex()}, which this store lacks; adopt the bundle "
                    "that brings it first, or have this one made without leaving it out.",
                    address=snapshot,
                    path=self._file.path,
                )

    def _check_shallow(self, manifest: Manifest) -> None:
        shallow = set(manifest.shallow)
        for snapshot, error in self._gaps.items():
            if snapshot not in shallow:
                error.offset, error.path = self._offsets[self._ordinals[snapshot]], self._file.path
                error.message = f"this bundle is refused: {error.message}"
                raise error
        for snapshot in manifest.shallow:
            ordinal = self._ordinals.get(snapshot)
            if ordinal is None or self._kinds[ordinal] != SNAPSHOT:
                raise CorruptionError(
                    f"the bundle says how the history of {snapshot.hex()} ends, but does not bring it; have it made "
                    "again.",
                    address=snapshot,
                    path=self._file.path,
                )

    def cut_here(self) -> list[Address]:
        """The new snapshots whose parents neither the bundle nor the store has, given up where the bundle was made.

        Where the store has the parents, or the snapshot itself, its own history goes on: what was given up elsewhere is
        not given up here.
        """
        return [snapshot for snapshot in self._gaps if not self._known[self._ordinals[snapshot]]]

    def _explain(self) -> None:
        """Something is missing: where the manifest tells why, says that instead."""
        for _ in self._file.records():
            pass
        if self._file.manifest is not None:
            self._check_excluded(self._file.manifest)

    def _spend(self, size: int) -> None:
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise InvalidInputError(
                f"to verify this bundle, more than {self._limit_bytes} bytes would have to be hashed; "
                "if it comes from where you trust, raise limit_bytes.",
                path=self._file.path,
            )

    def _take(self, offset: int, header: RecordHeader, stored: bytes) -> None:
        _, kind, encoding, _, raw_bytes, address = header
        self._spend(raw_bytes)
        raw = stored if encoding == RAW else decompress(encoding, stored, raw_bytes)
        if address in self._ordinals:
            raise CorruptionError(f"the bundle brings {address.hex()} twice.", address=address)
        if kind == CHUNK:
            if content_address(raw) != address:
                raise _wrong(kind, address)
            size = raw_bytes
            self._remember(address, raw)
            known = self._storage.known(address)
        elif kind == NODE:
            if node_address(raw) != address:
                raise _wrong(kind, address)
            self._nodes.keep(address, decode_node(raw))
            size = 0
            known = self._storage.known(address)
        elif kind == CHUNK_LIST:
            pieces = decode_chunk_list(address, raw)
            size = pieces.size
            known = self._storage.known(address)
            self._check_list(address, pieces, known)
        elif kind == SNAPSHOT:
            if snapshot_address(raw) != address:
                raise _wrong(kind, address)
            self._check_snapshot(address, raw)
            size = 0
            known = self._storage.known(address)
        else:
            raise CorruptionError(f"a bundle brings no {KIND_NAMES[kind]}s.", address=address)
        self._ordinals[address] = len(self._kinds)
        self._kinds.append(kind)
        self._sizes.append(size)
        self._offsets.append(offset)
        self._known.append(known)
        self._used.append(0)

    # -- contents

    def content(self, address: Address, size: int) -> None:
        """Returns if a content of ``size`` bytes is there to stay."""
        ordinal = self._ordinals.get(address)
        if ordinal is not None:
            if self._kinds[ordinal] not in (CHUNK, CHUNK_LIST):
                raise CorruptionError(
                    f"{address.hex()} is a {KIND_NAMES[self._kinds[ordinal]]} but is referred to as content.",
                    address=address,
                )
            self._used[ordinal] = 1
            found = self._sizes[ordinal]
        else:
            storage = self._storage
            entry = storage.backend.find(address)
            if entry is None or entry.kind not in (CHUNK, CHUNK_LIST) or not storage.known(address):
                raise _missing("content", address)
            found = entry.raw_bytes if entry.kind == CHUNK else storage.content_size(address)
        if found != size:
            raise CorruptionError(f"the content {address.hex()} is {found} bytes long, not {size}.", address=address)

    def _check_list(self, address: Address, found: ChunkList, known: bool) -> None:
        """Checks that the pieces are there and, unless the store has that content, that they make it."""
        for piece, length in found.pieces:
            self.content(piece, length)
        if known:
            if self._storage.content_size(address) != found.size:
                raise CorruptionError(f"the chunk list of {address.hex()} has another size.", address=address)
            return
        self._spend(found.size)

        def resolve(wanted: Address) -> bytes | ChunkList:
            return found if wanted == address else self._resolve(wanted)

        hasher = blake3()
        for _, chunk in walk_chunks(address, resolve):
            hasher.update(chunk)
        if hasher.digest() != address:
            raise CorruptionError(f"the chunk list of {address.hex()} leads to another content.", address=address)

    def _resolve(self, address: Address) -> bytes | ChunkList:
        recent = self._recent.get(address)
        if recent is not None:
            return recent
        ordinal = self._ordinals.get(address)
        if ordinal is None:
            entry = self._storage.backend.find(address)
            if entry is None:
                raise _missing("content", address)
            raw = self._storage.get_record(entry.kind, address)
            return raw if entry.kind == CHUNK else decode_chunk_list(address, raw)
        raw = self._read(ordinal, address)
        if self._kinds[ordinal] == CHUNK_LIST:
            return decode_chunk_list(address, raw)
        self._remember(address, raw)
        return raw

    def _remember(self, address: Address, chunk: bytes) -> None:
        """Keeps a chunk for the list that most likely follows."""
        if self._recent_bytes + len(chunk) > _RECENT_BYTES:
            self._recent.clear()
            self._recent_bytes = 0
        self._recent[address] = chunk
        self._recent_bytes += len(chunk)

    # -- snapshots and trees

    def rely(self, kind: int, address: Address) -> None:
        """Returns if a node or snapshot is there to stay."""
        ordinal = self._ordinals.get(address)
        if ordinal is not None:
            if self._kinds[ordinal] != kind:
                raise CorruptionError(
                    f"{address.hex()} is a {KIND_NAMES[self._kinds[ordinal]]} but is referred to as a "
                    f"{KIND_NAMES[kind]}.",
                    address=address,
                )
            self._used[ordinal] = 1
            return
        entry = self._storage.backend.find(address)
        if entry is None or entry.kind != kind or not self._storage.known(address):
            raise _missing(KIND_NAMES[kind], address)

    def _check_snapshot(self, address: Address, raw: bytes) -> None:
        fields = decode_snapshot(raw)
        first = fields.parents[0] if fields.parents else None
        for parent in fields.parents:
            try:
                self.rely(SNAPSHOT, parent)
            except _MissingError as error:
                self._gaps.setdefault(address, error)
                first = None
        base = {} if first is None else self._roots_of(first)
        for name, root in fields.roots.items():
            self._trees.check(root, base.get(name), tree=name == FILES)
        self._keep_roots(address, fields.roots)

    def _roots_of(self, snapshot: Address) -> Mapping[str, Address]:
        found = self._roots.get(snapshot)
        if found is None:
            ordinal = self._ordinals.get(snapshot)
            raw = self._storage.get_record(SNAPSHOT, snapshot) if ordinal is None else self._read(ordinal, snapshot)
            found = decode_snapshot(raw).roots
            self._keep_roots(snapshot, found)
        return found

    def _keep_roots(self, snapshot: Address, roots: Mapping[str, Address]) -> None:
        if len(self._roots) >= _MAX_ROOTS:
            self._roots.clear()
        self._roots[snapshot] = roots

    # -- reading once more

    def _read(self, ordinal: int, address: Address) -> bytes:
        """The raw bytes of a received record, verified again: the file may have changed."""
        offset = self._offsets[ordinal]
        header = decode_header(self._file.read(offset, HEADER_BYTES))
        stored = self._file.read(offset + HEADER_BYTES, header.stored_bytes)
        raw = decompress(header.encoding, stored, header.raw_bytes)
        kind = self._kinds[ordinal]
        if kind == CHUNK_LIST:
            decode_chunk_list(address, raw)
        elif _ADDRESS_OF[kind](raw) != address:
            raise CorruptionError("the bundle was changed while it was adopted.", offset=offset, path=self._file.path)
        return raw

    def node(self, address: Address) -> Node | None:
        """A received node, or None."""
        ordinal = self._ordinals.get(address)
        if ordinal is None or self._kinds[ordinal] != NODE:
            return None
        return decode_node(self._read(ordinal, address))

    # -- the second pass

    def put(self) -> tuple[int, int]:
        """Puts what is new, in order; returns how many records, and their bytes."""
        batch: list[Record] = []
        waiting = total = count = 0
        known = self._known
        for ordinal, (_, header, stored) in enumerate(self._file.again()):
            if known[ordinal]:
                continue
            _, kind, encoding, _, raw_bytes, address = header
            batch.append(Record(kind, encoding, address, raw_bytes, stored))
            waiting += len(stored)
            total += HEADER_BYTES + len(stored)
            count += 1
            if waiting >= _BATCH_BYTES or len(batch) >= _BATCH_RECORDS:
                self._storage.backend.put(batch)
                batch, waiting = [], 0
        if batch:
            self._storage.backend.put(batch)
        return count, total

    def forget(self) -> None:
        """Gives memory back now: what refers to each other here waits for Python's collector."""
        self._ordinals.clear()
        self._recent.clear()
        self._roots.clear()
        self._gaps.clear()
        self._nodes.clear()


_ADDRESS_OF: Final = {CHUNK: content_address, NODE: node_address, SNAPSHOT: snapshot_address}


def _wrong(kind: int, address: Address) -> CorruptionError:
    return CorruptionError(f"the bundle brings a {KIND_NAMES[kind]} that is not {address.hex()}.", address=address)


def _missing(what: str, address: Address) -> _MissingError:
    return _MissingError(
        f"the {what} {address.hex()} is referred to, but is neither earlier in the bundle nor sound in the store.",
        address=address,
    )


class _ReceivedNodes(Nodes):
    """The nodes of a bundle before those of the store. What was received never enters the store's cache."""

    __slots__ = ("_below", "_reception")

    def __init__(self, reception: Reception, below: Nodes) -> None:
        super().__init__(below.records, _NODE_CACHE_BYTES)
        self._reception = reception
        self._below = below

    def keep(self, address: Address, node: Node) -> None:
        """Holds a node that is likely to be asked for soon."""
        self._keep(address, node)

    def get(self, address: Address) -> Node:
        node = self._cache.get(address)
        if node is None:
            node = self._reception.node(address)
            if node is None:
                return self._below.get(address)
            self._keep(address, node)
        return node

    def read(self, address: Address) -> Node:
        return self.get(address)
