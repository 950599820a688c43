# SPDX-License-Identifier: MIT
"""Ingest: many contents at once. The caller's thread hashes, others cut and compress, records are written in order.

BLAKE3 and zstandard release the interpreter lock; a batch is compressed by one native call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from casstore.address import Address, content_address
from casstore.compression import compress_batch
from casstore.errors import ClosedError
from casstore.format.kinds import CHUNK
from casstore.format.record import Record
from casstore.storage.backend import Prepared
from casstore.storage.content import cut_content

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from casstore.storage.storage import Storage

_BATCH_BYTES: Final = 1024 * 1024
_BATCH_ITEMS: Final = 256
BUSY_LEVEL: Final = 1
"""zstandard's level for batches that would otherwise be waited for."""

_Content = tuple[Address, bytes]
_Item = tuple[int, Address, bytes]
_Batch = tuple[list[Prepared], list[_Content]]
"""Records to write, and the contents that they keep."""


class Ingest:
    """Keeps contents in bulk; use it as a context manager, from one thread.

    Leaving the context waits until all is written (not synced) and raises what went wrong in the background. Until
    then everything it put or met is kept from the collector.

    Memory: a few batches of 1 MiB, and the largest content that is given whole.
    """

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_error",
        "_limit",
        "_open",
        "_pool",
        "_running",
        "_stack",
        "_storage",
        "_waiting",
        "new_bytes",
    )

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stack = ExitStack()
        self._open = False
        # Made when the first batch is full: few small files need no threads.
        self._pool: ThreadPoolExecutor | None = None
        self._batch: list[tuple[Address, bytes]] = []
        self._batch_bytes = 0
        self._waiting: set[Address] = set()
        self._running: deque[tuple[Future[_Batch], Callable[[list[_Content]], object]]] = deque()
        self._limit = storage.config.thread_count + 1
        self._error: BaseException | None = None
        self.new_bytes = 0
        """Raw bytes of the chunks that were not there before."""

    def __enter__(self) -> Ingest:
        self._stack.enter_context(self._storage.operation())
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool = self._pool
        try:
            if kind is None:
                self.flush()
                if self._error is not None:
                    raise self._error
        finally:
            self._open = False
            self._pool = None
            self._running.clear()
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
            self._stack.close()

    def add(self, data: bytes) -> Address:
        """Keeps a content given whole; returns its address at once."""
        if not self._open:
            raise ClosedError("the ingest is not open; use it in a `with` block.")
        address = content_address(data)
        if address not in self._waiting and not self._storage.known(address):
            self._waiting.add(address)
            self._batch.append((address, data))
            self._batch_bytes += len(data)
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
        # A builder hears of a chunk only when it is written, so a list never lies before its pieces.
        builder = storage.list_builder(lambda record: storage.backend.put([record]))

        def build(contents: list[_Content]) -> None:
            for address, chunk in contents:
                builder.add(chunk, address)

        self.flush()
        for chunks in _windows(chain((first, second), stream)):
            self._start(self._prepare_chunks, chunks, build)
        self.flush()
        return builder.finish()

    # -- batches: prepared by the pool, written in the order in which they began

    def _submit(self) -> None:
        batch = self._batch
        if batch:
            self._batch, self._batch_bytes = [], 0
            self._start(self._prepare, batch, self._end_waiting)

    def _end_waiting(self, contents: list[_Content]) -> None:
        self._waiting.difference_update([address for address, _ in contents])

    def flush(self) -> None:
        """Writes everything that was added so far."""
        if self._pool is None and self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            prepared, contents = self._prepare(batch, self._storage.config.compression_level)
            self._storage.backend.put_prepared(prepared)
            self._count(prepared)
            self._end_waiting(contents)
            return
        self._submit()
        while self._running:
            self._write_oldest()

    def _start(
        self, prepare: Callable[[Any, int], _Batch], batch: object, then: Callable[[list[_Content]], object]
    ) -> None:
        pool = self._pool or self._start_pool()
        running = self._running
        # The better level where it costs no time: while the threads keep up with the reader.
        level = self._storage.config.compression_level
        if len(running) >= self._limit - 1:
            level = min(level, BUSY_LEVEL)
        running.append((pool.submit(prepare, batch, level), then))
        while running and (len(running) > self._limit or running[0][0].done()):
            self._write_oldest()

    def _start_pool(self) -> ThreadPoolExecutor:
        if not self._open:
            raise ClosedError("the ingest is not open; use it in a `with` block.")
        # Imported on use: it brings `logging`, and every command of the CLI would pay for it.
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(self._storage.config.thread_count, thread_name_prefix="casstore-ingest")
        return self._pool

    def _write_oldest(self) -> None:
        future, then = self._running.popleft()
        try:
            prepared, contents = future.result()
            self._storage.backend.put_prepared(prepared)
        except BaseException as error:
            # Also the end of the context raises it: what was lost must not look kept to whoever swallowed this one.
            self._error = error
            raise
        self._count(prepared)
        then(contents)

    def _count(self, prepared: list[Prepared]) -> None:
        self.new_bytes += sum([record.raw_bytes for record, _ in prepared if record.kind == CHUNK])

    def _prepare(self, batch: list[_Content], level: int) -> _Batch:
        """Cuts and compresses whole contents; runs in a thread of the pool."""
        storage = self._storage
        items: list[_Item] = []
        for address, data in batch:
            items += cut_content(address, data, storage.chunker.lengths(data), storage.known)
        return self._compressed(items, level), batch

    def _prepare_chunks(self, chunks: list[bytes], level: int) -> _Batch:
        """Hashes and compresses chunks of one content; runs in a thread of the pool."""
        contents = [(content_address(chunk), chunk) for chunk in chunks]
        known = self._storage.known
        missing = [(CHUNK, piece, chunk) for piece, chunk in dict(contents).items() if not known(piece)]
        return self._compressed(missing, level), contents

    def _compressed(self, items: list[_Item], level: int) -> list[Prepared]:
        stored = compress_batch([raw for _, _, raw in items], level)
        records = [
            Record(kind, encoding, address, len(raw), data)
            for (kind, address, raw), (encoding, data) in zip(items, stored, strict=True)
        ]
        return self._storage.backend.prepare(records)


def _windows(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    window: list[bytes] = []
    size = 0
    for chunk in chunks:
        window.append(chunk)
        size += len(chunk)
        if size >= _BATCH_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window
