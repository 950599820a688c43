# SPDX-License-Identifier: MIT
"""Ingest: many contents at once. The caller's thread hashes, others cut and compress, records are written in order.

BLAKE3 and zstandard release the interpreter lock; a batch is compressed by one native call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

from casstore.address import Address, content_address
from casstore.compression import compress_batch
from casstore.errors import ClosedError
from casstore.format.record import Record
from casstore.storage.content import cut_content

if TYPE_CHECKING:
    from casstore.storage.storage import Storage

_BATCH_BYTES: Final = 1024 * 1024
_BATCH_ITEMS: Final = 256


class Ingest:
    """Keeps contents in bulk; use it as a context manager, from one thread.

    Leaving the context waits until all is written (not synced) and raises what went wrong in the background. Until
    then everything it put or met is kept from the collector.

    Memory: a few batches of 1 MiB, and the largest content that is given whole.
    """

    __slots__ = ("_batch", "_batch_bytes", "_pool", "_running", "_stack", "_storage", "_waiting", "new_bytes")

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None
        self._batch: list[tuple[Address, bytes]] = []
        self._batch_bytes = 0
        self._waiting: set[Address] = set()
        self._running: deque[tuple[Future[list[Record]], list[Address]]] = deque()
        self.new_bytes = 0
        """Raw bytes of the contents that were not there before."""

    def __enter__(self) -> Ingest:
        self._stack.enter_context(self._storage.operation())
        self._pool = ThreadPoolExecutor(self._storage.config.thread_count, thread_name_prefix="casstore-ingest")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool = self._pool
        try:
            if kind is None:
                self._submit()
                while self._running:
                    self._write_oldest()
        finally:
            self._pool = None
            self._running.clear()
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
            self._stack.close()

    def add(self, data: bytes) -> Address:
        """Keeps a content given whole; returns its address at once."""
        if self._pool is None:
            raise ClosedError("the ingest is not open; use it in a `with` block.")
        address = content_address(data)
        if address not in self._waiting and not self._storage.known(address):
            self._waiting.add(address)
            self._batch.append((address, data))
            self._batch_bytes += len(data)
            self.new_bytes += len(data)
            if self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_ITEMS:
                self._submit()
        return address

    def add_stream(self, source: BinaryIO) -> Address:
        """Keeps a content of any length, read from a binary file to its end; returns its address."""
        storage = self._storage
        stream = storage.chunker.stream(source)
        first = next(stream, b"")
        second = next(stream, None)
        if second is None:
            return self.add(first)
        lists: list[Record] = []
        builder = storage.list_builder(lists.append)
        for chunks in ([first], [second], stream):
            for chunk in chunks:
                # The chunker never cuts a chunk again, so each stays one record.
                builder.add(chunk, self.add(chunk))
        address = builder.finish()
        # Lists go last: a list in the store says that its pieces are there.
        self._submit()
        while self._running:
            self._write_oldest()
        storage.backend.put(lists)
        return address

    def _submit(self) -> None:
        batch = self._batch
        if not batch or self._pool is None:
            return
        self._batch, self._batch_bytes = [], 0
        future = self._pool.submit(self._prepare, batch)
        self._running.append((future, [address for address, _ in batch]))
        while len(self._running) > self._storage.config.thread_count + 1 or (
            self._running and self._running[0][0].done()
        ):
            self._write_oldest()

    def _write_oldest(self) -> None:
        future, addresses = self._running.popleft()
        self._storage.backend.put(future.result())
        self._waiting.difference_update(addresses)

    def _prepare(self, batch: Iterable[tuple[Address, bytes]]) -> list[Record]:
        """Cuts and compresses; runs in a thread of the pool."""
        storage = self._storage
        items: list[tuple[int, Address, bytes]] = []
        for address, data in batch:
            items += cut_content(address, data, storage.chunker.lengths(data), storage.known)
        stored = compress_batch([raw for _, _, raw in items], storage.config.compression_level)
        return [
            Record(kind, encoding, address, len(raw), data)
            for (kind, address, raw), (encoding, data) in zip(items, stored, strict=True)
        ]
