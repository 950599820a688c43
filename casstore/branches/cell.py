# SPDX-License-Identifier: MIT
"""Cells: values set on branches and not yet in the store, shared by forks, bounded store-wide.

A cell holds bytes until a commit, or until the budget is full; then its bytes go to the store and the cell becomes an
address in place, with a pin of its own. Short contents live in the cell's entry and cost nothing more.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from casstore.address import Address, content_address
from casstore.errors import NotFoundError, QuotaExceededError
from casstore.format import kinds
from casstore.format.entry import INLINE_BYTES, SNAPSHOT, Entry

if TYPE_CHECKING:
    from casstore.storage import PinHandle, Storage


class Cell:
    """One value: its entry, and its bytes as long as the store need not have them.

    Attributes:
        data: The bytes, or None where they are inline or in the store.
    """

    __slots__ = ("__weakref__", "_budget", "_entry", "_pattern", "_pin", "data")

    def __init__(self, entry: Entry, data: bytes | None = None, budget: PendingBudget | None = None) -> None:
        # A pending cell shares a pattern of its entry with all of its type; an entry of its own takes 97 bytes.
        self._entry: Entry | None = entry if budget is None else None
        self._pattern = None if budget is None else budget.pattern(entry)
        self.data = data
        self._budget = budget
        self._pin: PinHandle | None = None

    def __del__(self) -> None:
        budget = self._budget
        if budget is not None and self.data is not None:
            budget.released.append(len(self.data))

    @property
    def entry(self) -> Entry:
        """What the key maps to. While ``data`` is set, an address in it may still be missing (``None``)."""
        # Once the bytes are gone there is an entry, so what is missing first is there at the second look.
        while True:
            entry, data, pattern = self._entry, self.data, self._pattern
            if entry is not None:
                return entry
            if data is not None and pattern is not None:
                return pattern._replace(size=len(data))

    @property
    def kind(self) -> int:
        """The entry's kind; never changes."""
        pattern = self._pattern
        return self.entry.kind if pattern is None else pattern.kind

    def hold(self, storage: Storage) -> None:
        """Pins what the entry's address names, a content or a snapshot, for as long as the cell lives.

        Raises:
            NotFoundError: The store does not have it.
        """
        address = self.entry.address
        if address is None:
            return
        linked = self.entry.kind == SNAPSHOT
        self._pin = storage.pin("snapshot" if linked else "content", address)
        found = storage.backend.find(address)
        if found is None or not storage.backend.hit(address, found):
            raise NotFoundError(f"nothing has the address {address.hex()}; put the content first.", address=address)
        # The collector stops at a reference to a record of another kind, so none may ever get into a tree.
        if found.kind not in ((kinds.SNAPSHOT,) if linked else (kinds.CHUNK, kinds.CHUNK_LIST)):
            raise NotFoundError(
                f"{address.hex()} is a {kinds.KIND_NAMES[found.kind]}, no {'snapshot' if linked else 'content'}.",
                address=address,
            )

    def addressed(self) -> Entry:
        """The entry with its address, which is computed on first need; the bytes may still be only here."""
        # In this order: once the bytes are gone, the entry has its address.
        data = self.data
        entry = self.entry
        if entry.address is None and data is not None:
            entry = self._entry = entry._replace(address=content_address(data))
        return entry

    def store(self, storage: Storage, like: Address | None = None) -> Entry:
        """The entry, its content in the store and pinned for as long as the cell lives; see ``Storage.put``."""
        data = self.data
        if data is None:
            return self.entry
        with storage.operation():
            address = storage.put(data, like)
            pin = storage.pin("content", address)
        if self._budget is None:
            self._settle(address, pin)
        else:
            self._budget.settle(self, address, pin)
        return self.entry

    def _settle(self, address: Address, pin: PinHandle) -> None:
        self._pin = pin
        self._entry = self.entry._replace(address=address)
        # Readers look at `data` first and at the entry's address second, so the bytes go last.
        self.data = None

    def read(self, storage: Storage) -> bytes:
        """The content."""
        data = self.data
        if data is not None:
            return data
        entry = self.entry
        if entry.inline is not None:
            return entry.inline
        return b"" if entry.address is None else storage.get(entry.address)


_FEW_CELLS: Final = 1024

WHITEOUT: Final = None
"""A delta's mark that a key of the base is gone."""


class PendingBudget:
    """Bytes that wait in cells, store-wide; beyond the bound the oldest are spilled to the store."""

    __slots__ = ("_cells", "_lock", "_max_bytes", "_patterns", "_purge_at", "_storage", "_used", "released")

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        self._storage = storage
        self._max_bytes = max_bytes
        self._used = 0
        self._cells: deque[weakref.ref[Cell]] = deque()
        self._patterns: dict[tuple[int, str, int], Entry] = {}
        self._purge_at = _FEW_CELLS
        # Reentrant, as Python's collector may run somebody's destructor here, and that may set a key.
        self._lock = threading.RLock()
        # Cells die at any line of any thread, so what they give back goes into a queue.
        self.released: deque[int] = deque()

    @property
    def used_bytes(self) -> int:
        """Bytes that wait now."""
        with self._lock:
            self._drain()
            return self._used

    def pattern(self, entry: Entry) -> Entry:
        """What the entries of a type have in common; one object for all of them."""
        key = (entry.kind, entry.type_id, entry.type_version)
        found = self._patterns.get(key)
        if found is None:
            found = self._patterns.setdefault(key, entry._replace(size=0, address=None, inline=None))
        return found

    def _drain(self) -> None:
        while self.released:
            self._used -= self.released.popleft()

    def cell(self, entry: Entry, data: bytes) -> Cell:
        """A cell for ``data``, which is longer than what an entry holds; makes room by spilling older ones.

        Raises:
            QuotaExceededError: The store is read-only, so nothing can be spilled.
        """
        size = len(data)
        if size <= INLINE_BYTES:
            return Cell(entry)
        cell = Cell(entry, data, self)
        with self._lock:
            self._drain()
            self._used += size
            self._cells.append(weakref.ref(cell))
            if len(self._cells) > self._purge_at:
                self._purge()
            full = self._used > self._max_bytes
        if full:
            self._spill(cell)
        return cell

    def settle(self, cell: Cell, address: Address, pin: PinHandle) -> None:
        """Takes the bytes of a cell off the account, now that the store has them; once, however many threads try."""
        with self._lock:
            data = cell.data
            if data is not None:
                cell._settle(address, pin)
                self._used -= len(data)

    def tidy(self) -> None:
        """Gives back what is remembered of cells that hold no bytes any more, after many of them went at once."""
        with self._lock:
            self._drain()
            self._purge()

    def _purge(self) -> None:
        """Forgets cells that hold no bytes any more: values that are set and replaced may never fill the budget."""
        old, self._cells = self._cells, deque()
        kept = [ref for ref in old if (cell := ref()) is not None and cell.data is not None]
        self._cells.extendleft(reversed(kept))
        self._purge_at = max(_FEW_CELLS, 2 * len(kept))

    def _spill(self, newest: Cell) -> None:
        while True:
            with self._lock:
                self._drain()
                if self._used <= self._max_bytes or not self._cells:
                    return
                cell = self._cells.popleft()()
            if cell is None or cell.data is None:
                continue
            if self._storage.read_only:
                if cell is not newest:
                    with self._lock:
                        self._cells.appendleft(weakref.ref(cell))
                raise QuotaExceededError(
                    f"branches hold more than {self._max_bytes} bytes that a read-only store cannot take; raise "
                    "Config.pending_bytes or discard branches."
                )
            try:
                cell.store(self._storage)
            except BaseException:
                # It stays first in line, for when the store takes writes again.
                with self._lock:
                    self._cells.appendleft(weakref.ref(cell))
                raise
