# SPDX-License-Identifier: MIT
"""Snapshots: made, read, and found by id or by the beginning of an id."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from casstore.address import ADDRESS_BYTES, Address, check_address, snapshot_address
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError
from casstore.format.canonical import JsonValue
from casstore.format.kinds import NODE, SNAPSHOT
from casstore.format.snapshot import (
    FILES,
    STATE_ROOTS,
    SnapshotFields,
    decode_snapshot,
    encode_snapshot,
    state_id_of,
)
from casstore.snapshots.view import FilesView
from casstore.storage import PinHandle, Storage
from casstore.tree import Nodes, summary

MIN_PREFIX_DIGITS = 4


class Snapshot:
    """An immutable state. While the object lives, the state is kept from the collector.

    Attributes:
        id: 32 bytes; hashes everything, history and message included.
        state_id: 32 bytes; equal for equal files and objects.
        roots: Name (``files``, ``objects``, ``posix``) → 32-byte address of the tree; empty roots are absent.
        parents: Ids of the snapshots it came from.
        message: What its maker wrote.
        meta: JSON values of its maker.
        time_ns: When it was made, nanoseconds since 1970.
    """

    def __init__(self, storage: Storage, nodes: Nodes, snapshot_id: Address, fields: SnapshotFields) -> None:
        self._storage = storage
        self._nodes = nodes
        self._pin = PinHandle(storage.pins, "snapshot", snapshot_id)
        self.id = snapshot_id
        self.roots = fields.roots
        self.parents = fields.parents
        self.message = fields.message
        self.meta = fields.meta
        self.time_ns = fields.time_ns

    @cached_property
    def state_id(self) -> Address:
        """32 bytes; two snapshots with equal files and objects have the same, in any store."""
        return state_id_of(self.roots)

    @property
    def files(self) -> FilesView:
        """The files as a read-only mapping of path to bytes."""
        return FilesView(self._storage, self._nodes, self.roots.get(FILES), self._pin)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Snapshot {self.id.hex()[:12]} {self.message!r}>"


class Snapshots:
    """The snapshots of a store."""

    __slots__ = ("nodes", "storage")

    def __init__(self, storage: Storage, nodes: Nodes) -> None:
        self.storage = storage
        self.nodes = nodes

    def add(
        self,
        *,
        roots: Mapping[str, Address],
        parents: Sequence[Address] = (),
        message: str = "",
        meta: Mapping[str, JsonValue] | None = None,
        time_ns: int | None = None,
    ) -> Snapshot:
        """A snapshot of trees that the store holds.

        Raises:
            InvalidInputError: A field cannot be stored.
            NotFoundError: A root or parent is not in the store.
        """
        fields = SnapshotFields(
            roots={name: check_address(root) for name, root in roots.items()},
            parents=tuple(map(check_address, parents)),
            message=message,
            meta=dict(meta or {}),
            time_ns=time.time_ns() if time_ns is None else time_ns,
        )
        encoded = encode_snapshot(fields)
        backend = self.storage.backend
        snapshot = Snapshot(self.storage, self.nodes, snapshot_address(encoded), fields)
        # A collection that begins before the record is there sees neither it nor, by its pin, what it names.
        with self.storage.operation():
            for kind, wanted in ((NODE, fields.roots.values()), (SNAPSHOT, fields.parents)):
                for address in wanted:
                    entry = backend.find(address)
                    if entry is None or entry.kind != kind or not backend.hit(address, entry):
                        raise NotFoundError(
                            f"{address.hex()} is not in the store, so no snapshot can name it.", address=address
                        )
            self.storage.put_record(SNAPSHOT, snapshot.id, encoded)
        return snapshot

    def get(self, snapshot_id: Address) -> Snapshot:
        """The snapshot with that id.

        Raises:
            NotFoundError: There is none.
            CorruptionError: Its record is damaged.
        """
        snapshot = Snapshot(self.storage, self.nodes, snapshot_id, self.fields(snapshot_id))
        entry = self.storage.backend.find(snapshot_id)
        if entry is None or not self.storage.backend.hit(snapshot_id, entry):
            raise NotFoundError(f"the snapshot {snapshot_id.hex()} was collected just now.", address=snapshot_id)
        return snapshot

    def fields(self, snapshot_id: Address) -> SnapshotFields:
        """What a snapshot says, without keeping it from the collector."""
        try:
            encoded = self.storage.get_record(SNAPSHOT, snapshot_id)
        except NotFoundError:
            raise NotFoundError(f"no snapshot has the id {snapshot_id.hex()}.", address=snapshot_id) from None
        try:
            return decode_snapshot(encoded)
        except CorruptionError as error:
            error.address = snapshot_id
            raise

    def find(self, prefix: str) -> Address:
        """The one snapshot id that begins with ``prefix``, 4 to 64 hex digits.

        Raises:
            NotFoundError: None does, or ``prefix`` is too short or not hex.
            InvalidInputError: Several do.
        """
        digits = prefix.lower()
        if len(digits) < MIN_PREFIX_DIGITS or len(digits) > 2 * ADDRESS_BYTES or not _is_hex(digits):
            raise NotFoundError(
                f"no ref is named {prefix!r}; list refs with `casstore refs`, or give at least "
                f"{MIN_PREFIX_DIGITS} digits of a snapshot id.",
                path=prefix,
            )
        found = list(self._with_prefix(digits))
        if not found:
            raise NotFoundError(
                f"no snapshot id begins with {prefix}; list snapshots with `casstore inspect graph`.", path=prefix
            )
        if len(found) > 1:
            names = ", ".join(address.hex()[: len(digits) + 8] for address in found[:4])
            raise InvalidInputError(
                f"{len(found)} snapshot ids begin with {prefix} ({names} …); give more digits.", path=prefix
            )
        return found[0]

    def _with_prefix(self, digits: str) -> Iterator[Address]:
        whole = bytes.fromhex(digits[: len(digits) // 2 * 2])
        for address, entry in self.storage.backend.scan(whole):
            if entry.kind == SNAPSHOT and address.hex().startswith(digits):
                yield address

    def content_bytes(self, roots: Mapping[str, Address]) -> int:
        """Bytes of the files and objects of a state; reads one node for each root."""
        return sum(summary(self.nodes, roots[name]).bytes for name in STATE_ROOTS if name in roots)


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)
