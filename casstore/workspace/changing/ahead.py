# SPDX-License-Identifier: MIT
"""Fetches contents a few batches ahead of who writes them, in a thread of its own.

Reading, unpacking and hashing release the interpreter lock, and so does writing: on two cores they go on side by side.
Memory is bounded by the batches that wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from types import TracebackType
from typing import TYPE_CHECKING, Final

from casstore.errors import CasstoreError
from casstore.format.entry import SYMLINK, Entry
from casstore.workspace.part import Item

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.storage import Storage

STREAM_BYTES: Final = 4 * 1024 * 1024
"""Contents above this size are not fetched: the writer streams them."""
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCH_ITEMS: Final = 256
_WAITING: Final = 2

Batch = tuple[list[Item], list[bytes]]
"""Items, and the contents of those that have an address and at most STREAM_BYTES, in order."""


def is_fetched(entry: Entry) -> bool:
    """Whether the content of ``entry`` comes with its batch: it has one, not inline, and not too large."""
    return entry.address is not None and entry.kind <= SYMLINK and entry.size <= STREAM_BYTES


@contextmanager
def naming(path: bytes) -> Iterator[None]:
    """Adds the path to an error about its content."""
    try:
        yield
    except CasstoreError as error:
        error.path = os.fsdecode(path)
        error.message = f"the content of {error.path!r} cannot be had: {error.message}"
        raise


class FetchAhead:
    """Batches of ``items`` with their contents. Use as a context manager: leaving it ends the thread.

    Args:
        storage: Where the contents are.
        items: Path and entry, in the order in which they are written.
        thread: False fetches each batch when it is asked for: for a few items, a thread costs more than it saves.
    """

    __slots__ = ("_items", "_queue", "_stopped", "_storage", "_thread")

    def __init__(self, storage: Storage, items: Iterable[Item], *, thread: bool = True) -> None:
        self._storage = storage
        self._items = items
        self._stopped = False
        self._thread: threading.Thread | None = None
        if thread:
            self._queue: Queue[Batch | BaseException | None] = Queue(_WAITING)
            self._thread = threading.Thread(target=self._run, name="casstore-fetch", daemon=True)

    def __enter__(self) -> Iterator[Batch]:
        if self._thread is None:
            return self._fetched()
        self._thread.start()
        return self._batches()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        if self._thread is None:
            return
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.01)
            except Empty:
                continue
        self._thread.join()

    def _batches(self) -> Iterator[Batch]:
        while (batch := self._queue.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def _run(self) -> None:
        try:
            for batch in self._fetched():
                self._queue.put(batch)
                if self._stopped:
                    return
        except BaseException as error:  # Whatever it is, the writer raises it.
            self._queue.put(error)
        else:
            self._queue.put(None)

    def _fetched(self) -> Iterator[Batch]:
        for items, addresses in self._plan():
            try:
                contents = list(self._storage.get_many(addresses)) if addresses else []
            except CasstoreError:
                self._name_the_culprit(items)
                raise
            yield items, contents

    def _name_the_culprit(self, items: list[Item]) -> None:
        """Fetches one by one, so that the error can say which path it is about."""
        for path, entry in items:
            if entry.address is not None and is_fetched(entry):
                with naming(path):
                    list(self._storage.get_many([entry.address]))

    def _plan(self) -> Iterator[tuple[list[Item], list[Address]]]:
        items: list[Item] = []
        addresses: list[Address] = []
        waiting_bytes = 0
        for item in self._items:
            items.append(item)
            entry = item[1]
            if entry.address is not None and is_fetched(entry):
                addresses.append(entry.address)
                waiting_bytes += entry.size
            if len(items) >= BATCH_ITEMS or waiting_bytes >= BATCH_BYTES:
                yield items, addresses
                items, addresses, waiting_bytes = [], [], 0
        if items:
            yield items, addresses
