# SPDX-License-Identifier: MIT
"""What the parts of this layer say about themselves: the status of a Ref, of a materializer, of a prefetcher."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.objects.materializer import Materializer
    from casstore.objects.prefetch import Prefetcher


class Status(StrEnum):
    """Where a Ref's object is: unloaded → loading → loaded → dirty, or failed; from there it may be loaded again."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    DIRTY = "dirty"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MaterializerStatus:
    """Figures of a materializer: what it holds now, and counts since it was made.

    Attributes:
        loaded: Objects in memory, dirty ones included.
        loaded_bytes: What they take, by estimate.
        allowed_bytes: What they may take now; ``max_bytes`` where nothing presses.
        max_bytes: The bound.
        dirty: Objects with changes that nobody saved.
        queued: Requests that wait for a thread.
        running: Requests that a thread works on.
        threads: Threads of the pool.
        abandoned: Threads that were given up and have not come back.
        abandoned_ever: Threads that were given up.
        died: Threads that ended inside a factory.
        pressure: How short memory is, 0 to 1, as the monitor said last; 0.0 without one.
        threshold: Priority that a request which nobody waits for needs now.
        hit_rate: Share of touches that found the object loaded; touches between two loads count once.
        load_seconds: Mean time of a load, recent ones counting most.
        hits: Touches that found the object loaded.
        loads: Objects loaded.
        failures: Loads that raised.
        unloads: Objects that left to make room, or under pressure.
        rejected: Requests that were not admitted, or fell out of the full queue.
        cancelled: Requests that were withdrawn before a thread took them.
        late: Requests that were not done in the time allowed.
    """

    loaded: int
    loaded_bytes: int
    allowed_bytes: int
    max_bytes: int
    dirty: int
    queued: int
    running: int
    threads: int
    abandoned: int
    abandoned_ever: int
    died: int
    pressure: float
    threshold: float
    hit_rate: float
    load_seconds: float
    hits: int
    loads: int
    failures: int
    unloads: int
    rejected: int
    cancelled: int
    late: int


def status_of(home: Materializer) -> MaterializerStatus:
    """See ``Materializer.status``."""
    loader, pool = home._loader, home._pool
    with pool.lock:
        pool.reap()
    with loader.lock:
        loaded, used = len(loader.residents), loader.residents.used_bytes
    threshold = home.threshold
    with pool.lock:
        return MaterializerStatus(
            loaded=loaded,
            loaded_bytes=used,
            allowed_bytes=loader.allowed_bytes,
            max_bytes=loader.max_bytes,
            dirty=len(loader.dirty),
            queued=len(pool.queue),
            running=pool.running,
            threads=pool.alive,
            abandoned=pool.abandoned,
            abandoned_ever=pool.abandoned_ever,
            died=pool.died,
            pressure=home._pressure,
            threshold=threshold,
            hit_rate=loader.hit_rate,
            load_seconds=loader.load_seconds,
            hits=loader.hits,
            loads=loader.loads,
            failures=loader.failures,
            unloads=loader.residents.unloads,
            rejected=pool.rejected,
            cancelled=pool.cancelled,
            late=pool.late,
        )


@dataclass(frozen=True, slots=True)
class PrefetchStatus:
    """Figures of a prefetcher.

    Attributes:
        active: Whether it loads ahead what it learned; off, it only watches whether that would pay.
        search_active: The same of what a search foretells, by ``follow`` or ``expect``.
        waiting: Objects that were loaded ahead and not asked for yet.
        waiting_bytes: What they take, by estimate.
        issued: Loads asked for ahead of need.
        hits: Objects that somebody then asked for.
        wasted: Objects that left without being asked for.
        overtaken: Loads that had not begun when somebody asked; he loaded by himself.
        saved_seconds: Load times of the hits, less what those who asked still had to wait.
        hit_share: Share of the last guesses that came true, 0 to 1, of those that were learned.
        search_hit_share: The same of those of a search.
        switches: How often it switched itself off or on, for all keys or for those of one shape.
        resting: Shapes of keys that it does not think about at present, as that cost more than it saved.
        least_seconds: What a load must take to be worth a guess.
        shapes: Shapes of keys that it knows.
        keys: Keys that it knows.
    """

    active: bool
    search_active: bool
    waiting: int
    waiting_bytes: int
    issued: int
    hits: int
    wasted: int
    overtaken: int
    saved_seconds: float
    hit_share: float
    search_hit_share: float
    switches: int
    resting: int
    least_seconds: float
    shapes: int
    keys: int


def prefetch_status_of(ahead: Prefetcher) -> PrefetchStatus:
    """See ``Prefetcher.status``; the loader's lock is held."""
    return PrefetchStatus(
        active=ahead._learned.active,
        search_active=ahead._search.active,
        waiting=len(ahead._waiting),
        waiting_bytes=ahead._waiting_bytes,
        issued=ahead._issued,
        hits=ahead._hits,
        wasted=ahead._wasted,
        overtaken=ahead._overtaken,
        saved_seconds=ahead._saved_seconds,
        hit_share=ahead._learned.share,
        search_hit_share=ahead._search.share,
        switches=ahead._learned.switches + ahead._search.switches + ahead._accounts.switches,
        resting=ahead._accounts.resting + (ahead._visits.resting > 0),
        least_seconds=ahead._least_seconds,
        shapes=len(ahead._memory.successors.shapes),
        keys=len(ahead._memory.successors.keys),
    )
