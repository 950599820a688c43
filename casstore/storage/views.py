# SPDX-License-Identifier: MIT
"""The views that a read-only opening gave up for newer ones: each lives as long as something still reads from it.

A view is a pin and a copy of the index. Snapshots, branches and open contents hold the ``Storage`` that they came from,
so Python's own counting says when nobody needs a view any more; its pin goes then, and the collector may have what only
it kept.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.storage.backend import Backend
    from casstore.storage.hot_cache import HotCache
    from casstore.storage.opening import OpenStorage
    from casstore.storage.readers import ReaderCopy
    from casstore.storage.storage import Storage


class OldViews:
    """Views that were replaced, as far as handles of them live."""

    __slots__ = ("_endings",)

    def __init__(self) -> None:
        self._endings: list[weakref.finalize[[Backend, HotCache, ReaderCopy | None], Storage]] = []

    def __len__(self) -> int:
        return sum(ending.alive for ending in self._endings)

    def leave(self, opened: OpenStorage) -> None:
        """Ends ``opened``, which was for reading only, once nothing but its caller has it."""
        # What is called must not hold the storage whose end it waits for.
        ending = weakref.finalize(opened.storage, _end, opened.storage.backend, opened.storage.cache, opened.copy)
        self._endings = [other for other in self._endings if other.alive] + [ending]

    def close(self) -> None:
        """Ends all of them, also those that something still reads from."""
        endings, self._endings = self._endings, []
        for ending in endings:
            ending()


def _end(backend: Backend, cache: HotCache, copy: ReaderCopy | None) -> None:
    try:
        backend.close()
        cache.clear()
    finally:
        if copy is not None:
            copy.release()
