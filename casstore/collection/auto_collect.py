# SPDX-License-Identifier: MIT
"""AutoCollector: collects by itself when much is probably dead, the quota is near, or nobody writes. Off by default.

It decides by figures that cost nothing (``dead_estimate``); only a collection looks at the store. There is never more
than one at a time, whoever began it, and they keep to a share of the time.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from casstore.collection.auto_status import AutoCollectStatus, Reason
from casstore.collection.dead_estimate import DeadEstimate
from casstore.collection.short_space import GiveUp, ask
from casstore.errors import CasstoreError, ClosedError, ConflictError, InvalidInputError, ReadOnlyError

if TYPE_CHECKING:
    from casstore.collection.plan import GcPlan
    from casstore.collection.sweep import GcReport
    from casstore.format.settings import Settings
    from casstore.snapshots import Refs
    from casstore.storage import Storage

DEFAULT_DEAD_SHARE: Final = 0.3
DEFAULT_QUOTA_SHARE: Final = 0.9
DEFAULT_IDLE_SECONDS: Final = 60.0
DEFAULT_INTERVAL_SECONDS: Final = 5.0
DEFAULT_TIME_SHARE: Final = 0.05
LEAST_BYTES: Final = 1024 * 1024
"""Less that is dead is not worth a survey, quota or not."""
SHORT_TIME_SHARE: Final = 0.5
"""The share of the time that collections may take while the quota is near."""
IDLE_PART: Final = 0.1
"""Where nobody writes, this part of ``dead_share`` is enough."""
AGAIN_SECONDS: Final = 3600.0
"""History that undo no longer keeps dies without a trace; so near the quota, or idle, a survey is made so often."""
ROOM_SHARE: Final = 0.1
"""Near the quota, states are given up until this share of it would be free below ``quota_share``."""
FRUITLESS_PART: Final = 0.5
"""A survey that finds less than this part of ``dead_share`` deletes nothing, unless space is short or nobody writes."""
MAX_REST_SECONDS: Final = 3600.0
"""The longest rest after failures, each of which doubles it."""


class Collected(Protocol):
    """What it needs of a store."""

    storage: Storage
    refs: Refs

    @property
    def settings(self) -> Settings:
        """Grace period and quota."""

    @property
    def givers(self) -> tuple[GiveUp, ...]:
        """Who can give states up, in the order in which they are asked."""

    def _check_open(self) -> None: ...

    def plan_gc(self) -> GcPlan:
        """What a collection would do."""


class AutoCollector:
    """Collects a store by itself; make one with ``store.auto_collect()``. It ends with the store.

    *Thread safety*: all methods, from any thread.
    *Cost*: a look is 2 µs, and 0.5 µs per ref after one was deleted. Collections take at most ``time_share`` of the
    time, half of it where the quota is near.

    Args:
        store: An open, writable store. It is not kept alive.
        dead_share: Collect when so much of the stored bytes is probably dead, 0 to 1.
        quota_share: Collect when so much of the quota is used, 0 to 1; who registered with ``store.on_short_space``
            is asked for states to give up first.
        idle_seconds: Collect what there is when nothing was written for so long.
        interval_seconds: Time between two looks.
        time_share: The part of the time that collections may take, 0 to 1: after one of a second it rests for 19.
        clock: Seconds; it may be a fake one.

    Raises:
        InvalidInputError: An argument cannot be.
        ReadOnlyError: The store is open read-only.
    """

    def __init__(
        self,
        store: Collected,
        *,
        dead_share: float = DEFAULT_DEAD_SHARE,
        quota_share: float = DEFAULT_QUOTA_SHARE,
        idle_seconds: float = DEFAULT_IDLE_SECONDS,
        interval_seconds: float = DEFAULT_INTERVAL_SECONDS,
        time_share: float = DEFAULT_TIME_SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("dead_share", dead_share), ("quota_share", quota_share), ("time_share", time_share)):
            if not _is_number(value) or not 0 < value <= 1:
                raise InvalidInputError(f"{name} is {value!r}; give a number above 0, and 1 at the most.")
        for name, value in (("idle_seconds", idle_seconds), ("interval_seconds", interval_seconds)):
            if not _is_number(value) or not 0 < value < float("inf"):
                raise InvalidInputError(f"{name} is {value!r}; give a positive number of seconds.")
        store._check_open()
        if store.storage.read_only:
            raise ReadOnlyError("the store is open read-only; open it for writing to collect.")
        self.dead_share, self.quota_share = float(dead_share), float(quota_share)
        self.idle_seconds, self.interval_seconds = float(idle_seconds), float(interval_seconds)
        self.time_share = float(time_share)
        self._store = weakref.ref(store)
        self._clock = clock
        self._used = store.storage.backend.used_bytes()
        self._estimate = DeadEstimate(self._used, store.refs.deleted)
        self._written_at = clock()
        self._rest_until = self._short_rest_until = self._written_at
        self._expected = 0
        self._counted = (-1, -1, 0)
        self._surveyed_at = self._written_at
        self._surveys = self._collections = self._deleted = self._freed = self._given_up = 0
        self._conflicts = self._failures = self._failures_in_a_row = 0
        self._seconds = 0.0
        self._reason: Reason | None = None
        self._last_error: CasstoreError | MemoryError | None = None
        self._is_collecting = False
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._control = threading.Lock()
        _collectors.add(self)

    # -- what it sees

    def status(self) -> AutoCollectStatus:
        """What was done so far; does not wait for a collection."""
        thread = self._thread
        return AutoCollectStatus(
            is_running=thread is not None and thread.is_alive(),
            is_collecting=self._is_collecting,
            used_bytes=self._used,
            expected_bytes=self._expected,
            trust=self._estimate.trust,
            surveys=self._surveys,
            collections=self._collections,
            last_reason=self._reason,
            deleted_bytes=self._deleted,
            freed_bytes=self._freed,
            given_up_bytes=self._given_up,
            seconds=self._seconds,
            rest_seconds=max(0.0, self._rest_until - self._clock()),
            conflicts=self._conflicts,
            failures=self._failures,
            last_error=self._last_error,
        )

    def look(self) -> Reason | None:
        """Why it collected now, or None where there was no reason to; what went wrong is in ``status``.

        The thread does this at every interval; without ``start`` you may.

        Raises:
            ClosedError: The store is closed, or gone.
        """
        store = self._store()
        if store is None:
            raise ClosedError("the store that this collected is gone; open it again.")
        store._check_open()
        if not self._lock.acquire(blocking=False):
            return None
        try:
            reason = self._reason_of(store)
            if reason is not None:
                self._is_collecting = True
                self._collect(store, reason)
            return reason
        finally:
            self._is_collecting = False
            self._lock.release()

    def _reason_of(self, store: Collected) -> Reason | None:
        backend, now = store.storage.backend, self._clock()
        used = backend.used_bytes()
        if used != self._used:
            # Whatever is written is appended, a move of a ref too.
            self._used, self._written_at = used, now
        possible, self._expected = self._guess(store, now)
        quota = backend.max_bytes
        short = quota is not None and used >= self.quota_share * quota
        if backend.collecting or now < (self._short_rest_until if short else self._rest_until):
            return None
        if short and (possible or self._is_due(now) or store.givers):
            return "quota"
        if self._expected >= max(LEAST_BYTES, self.dead_share * used):
            return "dead"
        idle = used > 0 and now - self._written_at >= self.idle_seconds
        if idle and (self._is_due(now) or self._expected >= max(LEAST_BYTES, IDLE_PART * self.dead_share * used)):
            return "idle"
        return None

    def _is_due(self, now: float) -> bool:
        """Whether nobody has looked for so long that what time alone makes dead is worth a survey."""
        return not self._estimate.surveyed or now - self._surveyed_at >= AGAIN_SECONDS

    def _guess(self, store: Collected, now: float) -> tuple[int, int]:
        """Bytes that may be dead, and bytes that probably are."""
        used, deleted = self._used, store.refs.deleted
        if self._counted[:2] != (deleted, self._surveys):
            # Counting refs takes their number, so it is done only after some went.
            self._counted = (deleted, self._surveys, len(store.refs))
        refs = self._counted[2]
        possible = self._estimate.possible(used, deleted, refs, now)
        return possible, int(possible * self._estimate.trust)

    # -- collecting

    def _collect(self, store: Collected, reason: Reason) -> None:
        began = self._clock()
        self._reason = reason
        try:
            given = self._make_room(store) if reason == "quota" else 0
            if reason != "quota" or given or self._guess(store, began)[0] or self._is_due(began):
                self._run(store, reason)
            self._failures_in_a_row = 0
        except ConflictError:
            self._conflicts += 1
        except (CasstoreError, MemoryError) as error:
            self._failed(error)
        now = self._clock()
        took = now - began
        self._seconds += took
        rest = max(self.interval_seconds, took * (1 / self.time_share - 1))
        short_rest = max(self.interval_seconds, took * (1 / max(self.time_share, SHORT_TIME_SHARE) - 1))
        if self._failures_in_a_row:
            again = min(MAX_REST_SECONDS, self.interval_seconds * 2.0 ** min(self._failures_in_a_row, 30))
            rest, short_rest = max(rest, again), max(short_rest, again)
        self._rest_until, self._short_rest_until = now + rest, now + short_rest
        self._used = store.storage.backend.used_bytes()

    def _failed(self, error: CasstoreError | MemoryError) -> None:
        self._failures += 1
        self._failures_in_a_row += 1
        # Its frames hold what was being collected, and the store.
        self._last_error = error.with_traceback(None)

    def _make_room(self, store: Collected) -> int:
        """Has states given up, as far as what is dead will not be enough; about how many bytes they held."""
        quota = store.storage.backend.max_bytes
        if quota is None:
            return 0
        wanted = self._used - self._expected - int(max(0.0, self.quota_share - ROOM_SHARE) * quota)
        given, failures = ask(store.givers, wanted)
        self._given_up += given
        for failure in failures:
            self._failed(failure)
        return given

    def _run(self, store: Collected, reason: Reason) -> None:
        estimate, refs, backend = self._estimate, store.refs, store.storage.backend
        deleted = refs.deleted
        possible, _ = self._guess(store, self._clock())
        with store.plan_gc() as plan:
            self._surveys += 1
            self._surveyed_at = self._clock()
            dead = plan.dead_bytes
            used = backend.used_bytes()
            least = FRUITLESS_PART * self.dead_share * used if reason == "dead" else 1
            worth = dead >= least or (reason != "dead" and plan.freed_bytes > 0)
            report: GcReport | None = None
            if worth and not self._stopping.is_set():
                report = plan.execute()
            left = 0 if report is not None else dead
            estimate.looked(
                possible_bytes=possible,
                dead_bytes=dead,
                live_bytes=sum(tally.bytes for tally in plan.live.values()),
                # What was found dead and left is dead at the next look too.
                young_bytes=sum(tally.bytes for tally in plan.young.values()) + left,
                ripe_at=self._clock() + plan.grace_seconds,
                used_bytes=backend.used_bytes(),
                deleted_refs=deleted,
            )
        if report is not None:
            self._collections += 1
            self._deleted += report.deleted_bytes
            self._freed += report.freed_bytes

    # -- the thread

    def start(self) -> AutoCollector:
        """Starts a daemon thread that looks at every interval; returns the collector. Done twice, it does nothing."""
        with self._control:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = threading.Event()
                self._thread = threading.Thread(
                    target=_work,
                    args=(weakref.ref(self), self._stopping),
                    name="casstore-collect",
                    daemon=True,
                )
                self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the thread, and waits for it and for a collection that deletes; one that only looks is dropped.

        Done twice, it does nothing.
        """
        with self._control:
            thread, self._thread = self._thread, None
            self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> AutoCollector:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _step(self) -> float | None:
        """Looks, for the thread; the seconds to wait, or None where the store is closed."""
        began = time.monotonic()
        try:
            if self.look() is not None:
                # What it rests after a collection it knows by itself, and that is less where space is short.
                return self.interval_seconds
        except ClosedError:
            return None
        except (CasstoreError, MemoryError) as error:
            self._failed(error)
        return max(self.interval_seconds, (time.monotonic() - began) / self.time_share)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _work(collector: weakref.ref[AutoCollector], stopping: threading.Event) -> None:
    # Holds the collector, and by it the store, only while it looks: who drops them ends the thread too.
    while True:
        alive = collector()
        wait = None if alive is None else alive._step()
        del alive
        if wait is None or stopping.wait(wait):
            return


_collectors: weakref.WeakSet[AutoCollector] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The thread stayed in the parent, which may have held the locks; the store is the parent's.
    for collector in list(_collectors):
        collector._lock = threading.Lock()
        collector._control = threading.Lock()
        collector._stopping = threading.Event()
        collector._thread = None


os.register_at_fork(after_in_child=_after_fork_in_child)
