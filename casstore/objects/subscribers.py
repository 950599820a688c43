# SPDX-License-Identifier: MIT
"""Who wants to see samples, and telling them without ever waiting.

Invariant: one thread tells at a time, and the last sample reaches everybody who is still there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from casstore.errors import FactoryError
from casstore.objects.assessing import Sample

Callback = Callable[[Sample], None]


class Subscribers:
    """Functions that are called with samples.

    *Thread safety*: all methods, from any thread; a function may call them too.
    """

    __slots__ = ("_callbacks", "_delivery", "_lock", "_next_key", "_pending", "_telling")

    def __init__(self) -> None:
        self._callbacks: dict[int, Callback] = {}
        self._next_key = 0
        self.renew_locks()

    def __len__(self) -> int:
        return len(self._callbacks)

    def renew_locks(self) -> None:
        """For the child of a fork: another thread of the parent may have held them."""
        self._lock = threading.Lock()
        self._delivery = threading.Lock()
        self._pending: Sample | None = None
        self._telling: int | None = None

    def add(self, callback: Callback) -> Callable[[], None]:
        """A function that removes ``callback`` again; called twice, it does nothing."""
        with self._lock:
            key = self._next_key
            self._next_key += 1
            self._callbacks = {**self._callbacks, key: callback}

        def remove() -> None:
            with self._lock:
                self._callbacks = {other: call for other, call in self._callbacks.items() if other != key}

        return remove

    def tell(self, sample: Sample) -> None:
        """Calls everybody with ``sample``, or leaves that to the thread that is just calling with an earlier one.

        So nobody waits here: who samples while it holds a lock that a subscriber takes must not hang. From within a
        subscriber it does nothing, or two that sample would go on for ever.

        Raises:
            FactoryError: A function raised; all others were called.
        """
        if self._telling == threading.get_ident():
            return
        self._pending = sample
        while self._pending is not None and self._delivery.acquire(blocking=False):
            try:
                self._telling = threading.get_ident()
                newest, self._pending = self._pending, None
                if newest is not None:
                    self._call_all(newest)
            finally:
                self._telling = None
                self._delivery.release()

    def _call_all(self, sample: Sample) -> None:
        raised: FactoryError | None = None
        for callback in self._callbacks.values():
            try:
                callback(sample)
            except Exception as error:
                raised = FactoryError(f"the subscriber {callback!r} of memory samples raised {error!r}; correct it.")
                raised.__cause__ = error
        if raised is not None:
            raise raised
