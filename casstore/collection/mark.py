# SPDX-License-Identifier: MIT
"""Mark: which records something leads to.

One bit per record, and one in a map of their own for the bases of deltas. Whoever marks follows typed references (a
snapshot's roots and parents, a node's children, contents and snapshots, a list's pieces), skips what is marked already,
and stops at the first thing that is missing or damaged: nothing may be deleted on the strength of half a mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from casstore.address import Address
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, KIND_NAMES, NODE, SNAPSHOT
from casstore.format.node import decode_node
from casstore.format.snapshot import decode_snapshot
from casstore.storage import Storage
from casstore.storage.watch import Bitmap

Reference = tuple[int | None, Address]
"""A kind and an address; None where any kind of content will do."""

CONTENT: Final = None


class Marker:
    """Marks what roots lead to.

    Args:
        storage: The store's storage.
        shallow: Tells the snapshots whose parents were given up on purpose.
        tolerant: Steps over what is missing or damaged; for keeping more than must be kept, never for less.

    Attributes:
        bitmap: What the roots lead to.
        bases: The bases of deltas among that; some may be in ``bitmap`` too.
        gaps: Whether something was missing or damaged, and stepped over.
    """

    __slots__ = ("_shallow", "_storage", "_tolerant", "bases", "bitmap", "gaps")

    def __init__(self, storage: Storage, shallow: Callable[[Address], bool], *, tolerant: bool = False) -> None:
        self._storage = storage
        self._tolerant = tolerant
        self._shallow = shallow
        self.bitmap = Bitmap()
        self.bases = Bitmap()
        self.gaps = False

    def mark(self, roots: Iterable[Reference]) -> None:
        """Marks the roots and all below them.

        Raises:
            CorruptionError: Something on the way is missing or damaged; the mark is then worth nothing.

        *Cost*: one index look-up per reference, one read per snapshot, node and list. Memory: a bit per record, and
        the references of the nodes on the way down.
        """
        waiting = list(roots)
        while waiting:
            kind, address = waiting.pop()
            try:
                waiting += self._step(kind, address)
            except (CorruptionError, NotFoundError):
                if not self._tolerant:
                    raise
                self.gaps = True

    def _step(self, kind: int | None, address: Address) -> list[Reference]:
        """Marks one record; what it refers to, where that was not marked with it before."""
        entry = self._storage.backend.find(address)
        if entry is None:
            raise CorruptionError(
                f"{_name(kind)} {address.hex()} is referred to but missing; nothing was deleted. "
                "Run `casstore repair`, which names what heals it.",
                address=address,
            )
        if entry.kind != kind and not (kind is CONTENT and entry.kind in (CHUNK, CHUNK_LIST)):
            raise CorruptionError(
                f"{address.hex()} is a {KIND_NAMES[entry.kind]} but is referred to as {_name(kind)}; "
                "nothing was deleted. Run `casstore repair`, which names what heals it.",
                address=address,
            )
        if self.bitmap.add(entry.segment, entry.ordinal):
            if entry.base is not None:
                self.mark_base(address, entry.base)
            elif entry.kind not in (CHUNK, EVENT):
                return self._below(entry.kind, address)
        return []

    def mark_base(self, address: Address, base: Address) -> None:
        """Marks what the delta ``address`` is stored against.

        Raises:
            CorruptionError: It is missing.
        """
        entry = self._storage.backend.find(base)
        # More than one step is rare (see ``storage.deltas``) and ends where a record was marked before.
        while entry is not None and self.bases.add(entry.segment, entry.ordinal):
            if entry.base is None:
                return
            entry = self._storage.backend.find(entry.base)
        if entry is not None:
            return
        self.gaps = True
        if not self._tolerant:
            raise CorruptionError(
                f"{address.hex()} is stored against {base.hex()}, which is missing; nothing was deleted. "
                "Run `casstore repair`, which names what heals it.",
                address=address,
            )

    def _below(self, kind: int, address: Address) -> list[Reference]:
        raw = self._storage.get_record(kind, address)
        if kind == NODE:
            node = decode_node(raw)
            below: list[Reference] = [(NODE, child) for child in node.children]
            below += [(CONTENT, content) for content in node.contents]
            below += [(SNAPSHOT, snapshot) for snapshot in node.snapshots]
            return below
        if kind == CHUNK_LIST:
            return [(CONTENT, piece) for piece, _ in decode_chunk_list(address, raw).pieces]
        fields = decode_snapshot(raw)
        below = [(NODE, root) for root in fields.roots.values()]
        if not self._shallow(address):
            below += [(SNAPSHOT, parent) for parent in fields.parents]
        return below


def _name(kind: int | None) -> str:
    return "content" if kind is None else KIND_NAMES[kind]
