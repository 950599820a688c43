# SPDX-License-Identifier: MIT
"""A store's hot cache that takes what memory is left, and gives it back when others need it.

The bound is moved to what the cache holds plus the room that is left below the threshold of ``medium``. So it is set
before memory is taken, not after: between two samples the cache cannot grow beyond what was free at the first. Where it
is the cache that fills memory, it comes to rest there, and the levels above are left to what cannot be thrown away.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

from casstore.errors import InvalidInputError
from casstore.objects import malloc
from casstore.objects.assessing import Sample
from casstore.objects.memory_levels import LEVEL_STARTS, Limits

if TYPE_CHECKING:
    from casstore.storage import HotCache
    from casstore.store import Store

SMALLEST_BYTES: Final = 8 << 20
"""What the cache always keeps, unless it is told otherwise, or has less: chunk lists, and a few contents at work."""
GROWTH_SHARE: Final = 1 / 2
"""Of the room that is left the cache takes this at a time: others take from it too before the next sample."""
TRIM_BYTES: Final = 4 << 20
"""Less is not worth a walk through the heap."""
RESTS: Final = 20
"""After handing memory back, for how many times as long it is not done again: at most 5 % of the time goes into it."""


class GiveBack:
    """Hands memory that was let go back to the system, but not all the time.

    *Thread safety*: all methods, from any thread.

    Args:
        clock: Seconds.
        trim: What gives memory back; ``malloc.trim``.
    """

    __slots__ = ("_clock", "_freed_bytes", "_lock", "_not_before", "_trim", "seconds", "times")

    def __init__(self, clock: Callable[[], float] = time.perf_counter, trim: Callable[[], bool] = malloc.trim) -> None:
        self._clock = clock
        self._trim = trim
        self._lock = threading.Lock()
        self._freed_bytes = 0
        self._not_before = -float("inf")
        self.times = 0
        self.seconds = 0.0

    def __call__(self, freed_bytes: int) -> bool:
        """Whether memory was handed back now; if not, ``freed_bytes`` are remembered for the next call."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._freed_bytes += freed_bytes
            started = self._clock()
            if self._freed_bytes < TRIM_BYTES or started < self._not_before:
                return False
            self._freed_bytes = 0
            self._trim()
            ended = self._clock()
            self._not_before = ended + RESTS * (ended - started)
            self.times += 1
            self.seconds += ended - started
            return True
        finally:
            self._lock.release()


@dataclass(frozen=True, slots=True)
class FollowingFigures:
    """What following did: bounds of the cache in bytes, how often it moved, and what came free by that."""

    full_bytes: int
    bound_bytes: int
    moves: int
    let_go_bytes: int
    trims: int
    trim_seconds: float


class Following:
    """A store's caches that follow a monitor, until ``stop``; ``MemoryMonitor.follow`` makes one.

    *Thread safety*: all methods, from any thread.
    *Cost*: a microsecond per sample in which nothing moves; else that of ``HotCache.resize``.

    Args:
        store: Whose caches. It is not kept alive.
        subscribe: Has a function called with every sample; returns a function that ends it.
        give_back: Hands memory back to the system.
        limits: The monitor's thresholds.
        smallest_bytes: What the hot cache always keeps; None is 8 MiB.
        collect: Whether Python's collector runs when a level becomes ``critical``.

    Raises:
        InvalidInputError: ``smallest_bytes`` is no number of bytes.
    """

    def __init__(
        self,
        store: Store,
        subscribe: Callable[[Callable[[Sample], None]], Callable[[], None]],
        *,
        give_back: GiveBack,
        limits: Limits,
        smallest_bytes: int | None = None,
        collect: bool = True,
    ) -> None:
        if smallest_bytes is not None and (type(smallest_bytes) is not int or smallest_bytes < 0):
            raise InvalidInputError(f"smallest_bytes is {smallest_bytes!r}; give a number of bytes, 0 or more.")
        cache = store.storage.cache
        self._cache: weakref.ref[HotCache] = weakref.ref(cache)
        self._store: weakref.ref[Store] = weakref.ref(store)
        self._give_back = give_back
        self._limits = limits
        self._collect = collect
        self._full = self._bound = cache.stats().max_bytes
        self._smallest = min(self._full, SMALLEST_BYTES if smallest_bytes is None else smallest_bytes)
        self._lock = threading.Lock()
        self._stopped = False
        self._was_critical = False
        self._collect_after = -float("inf")
        self._moves = 0
        self._let_go = 0
        self._unsubscribe = subscribe(self.apply)

    def apply(self, sample: Sample) -> None:
        """Moves the bound to where it should be after ``sample``."""
        cache = self._cache()
        if cache is None:
            self.stop()
            return
        # Never waits: after a fork the lock may be held for ever, and the next sample will do.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._stopped:
                return
            bound = self._wanted(sample, cache.stats().bytes)
            freed = 0
            if bound != self._bound:
                freed = cache.resize(bound)
                self._bound = bound
                self._moves += 1
                self._let_go += freed
            critical = sample.level == "critical"
            entered, self._was_critical = critical and not self._was_critical, critical
        finally:
            self._lock.release()
        if entered:
            freed += self._last_resort()
        if freed:
            self._give_back(freed)

    def figures(self) -> FollowingFigures:
        """What was done so far."""
        with self._lock:
            return FollowingFigures(
                self._full, self._bound, self._moves, self._let_go, self._give_back.times, self._give_back.seconds
            )

    def stop(self) -> None:
        """Gives the cache its full bound again, and follows no more. Done twice, it does nothing."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            cache = self._cache()
            if cache is not None:
                cache.resize(self._full)
                self._bound = self._full
        self._unsubscribe()

    def __enter__(self) -> Following:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wanted(self, sample: Sample, held_bytes: int) -> int:
        wanted = self._full
        if sample.room_bytes is not None:
            room = sample.room_bytes
            wanted = min(wanted, held_bytes + (int(room * GROWTH_SHARE) if room > 0 else room))
        if sample.stall_share is not None:
            # Whatever room the limits leave, who waits for memory has none. It says nothing of how much is missing.
            pressure = self._limits.pressure_of_stall(sample.stall_share)
            beyond = (pressure - LEVEL_STARTS[1]) / (1 - LEVEL_STARTS[1])
            if beyond > 0:
                wanted = min(wanted, int(held_bytes * (1 - beyond)))
        return max(self._smallest, wanted)

    def _last_resort(self) -> int:
        """Lets go what comes back by itself; about how many bytes."""
        freed = TRIM_BYTES
        store = self._store()
        if store is not None:
            freed += store.nodes.used_bytes
            store.nodes.clear()
        if self._collect and gc.isenabled():
            started = time.perf_counter()
            if started >= self._collect_after:
                gc.collect()
                ended = time.perf_counter()
                # Of a large heap a collection takes seconds: one percent of the time is what it may have.
                self._collect_after = ended + 100 * (ended - started)
        return freed
