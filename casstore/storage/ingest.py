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
from casstore.storage.content import Item, cut_content
from casstore.storage.deltas import delta_of

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from casstore.storage.storage import Storage

_BATCH_BYTES: Final = 1024 * 1024
_BATCH_ITEMS: Final = 256
BUSY_LEVEL: Final = 1
"""zstandard's level for batches that would otherwise be waited for."""

Previous = Callable[[bytes], Address | None]
"""The content that a key had before, or None."""

_Content = tuple[Address, bytes, bytes | None]
"""A content, and the key that it is for."""
_Batch = tuple[list[Prepared], list[_Content]]
"""Records to write, and the contents that they keep."""


class Ingest:
    """Keeps contents in bulk; use it as a context manager, from one thread.

    Leaving the context waits until all is written (not synced) and raises what went wrong in the background. Until
    then everything it put or met is kept from the collector.

    Args:
        storage: Where to.
        previous: The content of a key in the state before; what comes with that key may be stored against it.

    Memory: a few batches of 1 MiB, and the largest content that is given whole.
    """

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_error",
        "_limit",
        "_open",
        "_pool",
        "_previous",
        "_running",
        "_stack",
        "_storage",
        "_waiting",
        "new_bytes",
    )

    def __init__(self, storage: Storage, previous: Previous | None = None) -> None:
        self._storage = storage
        self._previous = previous if storage.deltas else None
        self._stack = ExitStack()
        self._open = False
        # Made when the first batch is full: few small files need no threads.
        self._pool: ThreadPoolExecutor | None = None
        self._batch: list[_Content] = []
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

    def add(self, data: bytes, key: bytes | None = None) -> Address:
        """Keeps a content given whole, for a key; returns its address at once."""
        if not self._open:
            raise ClosedError("the ingest is not open; use it in a `with` block.")
        address = content_address(data)
        if address not in self._waiting and not self._storage.known(address):
            self._waiting.add(address)
            self._batch.append((address, data, key))
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
            for address, chunk, _ in contents:
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
        self._waiting.difference_update([address for address, _, _ in contents])

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
        storage, previous = self._storage, self._previous
        items: list[Item] = []
        for address, data, key in batch:
            before = () if key is None or previous is None else storage.pieces_like(previous(key))
            items += cut_content(address, data, storage.chunker.lengths(data), storage.known, before)
        return self._compressed(items, level), batch

    def _prepare_chunks(self, chunks: list[bytes], level: int) -> _Batch:
        """Hashes and compresses chunks of one content; runs in a thread of the pool."""
        contents: list[_Content] = [(content_address(chunk), chunk, None) for chunk in chunks]
        known = self._storage.known
        missing = {piece: chunk for piece, chunk, _ in contents}
        items: list[Item] = [(CHUNK, piece, chunk, None) for piece, chunk in missing.items() if not known(piece)]
        return self._compressed(items, level), contents

    def _compressed(self, items: list[Item], level: int) -> list[Prepared]:
        storage = self._storage
        records = [None if like is None else delta_of(storage, piece, raw, like) for _, piece, raw, like in items]
        rest = [place for place, record in enumerate(records) if record is None]
        stored = compress_batch([items[place][2] for place in rest], level)
        for place, (encoding, data) in zip(rest, stored, strict=True):
            kind, address, raw, _ = items[place]
            records[place] = Record(kind, encoding, address, len(raw), data)
        return storage.backend.prepare([record for record in records if record is not None])


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
