# SPDX-License-Identifier: MIT
"""MemoryMonitor: how short is memory, where is it going, and who has to know."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Final

from casstore.errors import CasstoreError, FactoryError, InvalidInputError
from casstore.objects.assessing import Assessor, Sample
from casstore.objects.following import Following, GiveBack
from casstore.objects.memory_levels import LEVELS, Level, Limits
from casstore.objects.reading import Sources
from casstore.objects.subscribers import Callback, Subscribers
from casstore.objects.system_sources import SystemSources

if TYPE_CHECKING:
    from casstore.store import Store

DEFAULT_INTERVAL_SECONDS: Final = 0.25
MAX_COST: Final = 0.0075
"""Share of one processor that reading may take, which leaves the rest of a percent for waking up; else it waits."""
HASTE: Final = 5
"""Where memory is short, or will be within some intervals, samples are taken so many times as often."""
EXPECTED_SHARE: Final = 1 / 8
"""Announced allocations of this share of what was free make a sample stale."""
MIN_GAP_SHARE: Final = 1 / 50
"""But not before this share of an interval has passed."""


@dataclass(frozen=True, slots=True)
class MonitorFigures:
    """What a monitor did: samples, seconds of processor time of its thread and seconds that this ran, failures."""

    samples: int
    thread_cpu_seconds: float
    thread_seconds: float
    failures: int
    last_failure: CasstoreError | MemoryError | None


class MemoryMonitor:
    """Watches the memory of this process.

    *Thread safety*: all methods, from any thread; subscribers are called by one thread at a time.
    *Cost*: a sample is about 0.2 ms; the thread stays below one percent of a processor.

    Args:
        sources: What is read; None is the operating system.
        limits: The thresholds; None is the defaults.
        interval_seconds: Time between two samples of the thread, at most.
        clock: Seconds; it may be a fake one.

    Raises:
        InvalidInputError: ``interval_seconds`` is no positive number.
    """

    def __init__(
        self,
        sources: Sources | None = None,
        limits: Limits | None = None,
        interval_seconds: float = DEFAULT_INTERVAL_SECONDS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _is_duration(interval_seconds):
            raise InvalidInputError(f"interval_seconds is {interval_seconds!r}; give a positive number of seconds.")
        self.limits = Limits() if limits is None else limits
        self.interval_seconds = float(interval_seconds)
        self._sources: Sources = SystemSources() if sources is None else sources
        self._clock = clock
        self._assessor = Assessor(self.limits)
        self._give_back = GiveBack()
        self._subscribers = Subscribers()
        self._last: Sample | None = None
        self._expected_bytes = 0
        self._samples = self._failures = 0
        self._last_failure: CasstoreError | MemoryError | None = None
        self._cpu_seconds = self._thread_seconds = self._cost_seconds = 0.0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._control = threading.Lock()
        _monitors.add(self)

    foresees: Final = True
    """Pressure has the trend in it already, so nobody need add it."""

    # -- what is known

    @property
    def pressure(self) -> float:
        """Pressure of the last sample, 0 to 1: 1/3 is where ``medium`` begins, 2/3 ``high``, 1 ``critical``; no I/O."""
        return self._last.pressure if self._last else 0.0

    @property
    def level(self) -> Level:
        """Level of the last sample; no I/O."""
        return self._last.level if self._last else "low"

    @property
    def trend(self) -> float:
        """Growth by the last sample, bytes per second; no I/O."""
        return self._last.trend if self._last else 0.0

    @property
    def last(self) -> Sample | None:
        """The last sample; None before the first; no I/O."""
        return self._last

    def sample(self) -> Sample:
        """A new sample.

        Every subscriber has seen it, unless a thread is just telling them of an earlier one: then that thread goes on
        with this, and nobody waits. A subscriber that samples gets what it asked for; the others are not told.

        Raises:
            FactoryError: A subscriber or a source raised; all other subscribers were called.

        *Cost*: 0.15 ms, and 0.06 ms per control group that has a limit.
        """
        with self._lock:
            sample = self._take()
        self._subscribers.tell(sample)
        return sample

    def expect(self, size_bytes: int) -> Sample:
        """The sample to decide by, told that somebody is about to take ``size_bytes``.

        It is a new one where, since the last, an eighth of what was free has been announced: so fast loaders are seen
        in time, however long the interval is.

        Raises:
            FactoryError: As ``sample``.

        *Cost*: 0.25 µs; a sample where one is due, which is at most 50 times per interval.
        """
        last = self._last
        if last is None:
            return self.sample()
        # Two threads may lose a part of it; the next call counts again.
        self._expected_bytes += size_bytes
        free = last.free_bytes
        if free is None or self._expected_bytes < free * EXPECTED_SHARE:
            return last
        if abs(self._clock() - last.time_seconds) < self.interval_seconds * MIN_GAP_SHARE:
            return last
        return self.sample()

    def figures(self) -> MonitorFigures:
        """What was done so far."""
        with self._lock:
            return MonitorFigures(
                self._samples, self._cpu_seconds, self._thread_seconds, self._failures, self._last_failure
            )

    # -- who has to know

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """A function that ends it: until then ``callback`` is called with every sample, by the thread that took it.

        Args:
            callback: Should be quick; what it raises goes to the caller of ``sample``, and is counted in ``figures``.
        """
        return self._subscribers.add(callback)

    def follow(self, store: Store, *, smallest_bytes: int | None = None, collect: bool = True) -> Following:
        """The store's hot cache follows memory from now on, until ``stop`` of what is returned.

        Args:
            store: Its bound of now is the largest it will have.
            smallest_bytes: What the hot cache always keeps; None is 8 MiB.
            collect: Whether Python's collector runs when the level becomes ``critical``.

        Raises:
            InvalidInputError: ``smallest_bytes`` is no number of bytes.
            FactoryError: As ``sample``; one is taken, so that the bound fits before the first content is read.
        """
        following = Following(
            store,
            self.subscribe,
            give_back=self._give_back,
            limits=self.limits,
            smallest_bytes=smallest_bytes,
            collect=collect,
        )
        try:
            self.sample()
        except BaseException:
            following.stop()
            raise
        return following

    def give_back(self, freed_bytes: int) -> bool:
        """Whether memory was handed back to the system now, after somebody let go ``freed_bytes``.

        *Cost*: 0.5 µs; now and then, at most 5 % of the time, that of ``malloc_trim``: 0.1 ms per MiB.
        """
        return self._give_back(freed_bytes)

    # -- the thread

    @property
    def is_running(self) -> bool:
        """Whether a thread takes samples."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> MemoryMonitor:
        """Starts a daemon thread that samples; returns the monitor. Done twice, it does nothing."""
        with self._control:
            if not self.is_running:
                self._stopping = threading.Event()
                self._sources.open()
                self._thread = threading.Thread(
                    target=_run,
                    args=(weakref.ref(self), self._sources, self._stopping),
                    name="casstore-memory",
                    daemon=True,
                )
                self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the thread, and waits for it unless it is the caller. Done twice, it does nothing."""
        with self._control:
            thread, self._thread = self._thread, None
            self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> MemoryMonitor:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take(self) -> Sample:
        began = time.thread_time()
        try:
            reading = self._sources.read()
        except (CasstoreError, MemoryError):
            raise
        except Exception as error:
            raise FactoryError(f"the source of memory figures raised {error!r}; correct its `read`.") from error
        self._last = sample = self._assessor.assess(self._clock(), reading)
        self._expected_bytes = 0
        self._samples += 1
        self._cost_seconds = time.thread_time() - began
        return sample

    def _tick(self) -> float:
        """Samples for the thread, whatever happens; returns the seconds to wait."""
        began = time.monotonic()
        try:
            self.sample()
        except CasstoreError as error:
            self._failures += 1
            self._last_failure = error
        except MemoryError as error:
            self._failures += 1
            self._last_failure = error.with_traceback(None)
            self._alarm()
        # What subscribers do is their affair: a monitor must not become slow while they give memory back.
        self._cpu_seconds += self._cost_seconds
        wait = max(self._pace(), self._cost_seconds / MAX_COST)
        self._thread_seconds += time.monotonic() - began + wait
        return wait

    def _alarm(self) -> None:
        """There is not even memory for a sample: that is one."""
        if self._last is not None:
            self._last = sample = replace(self._last, pressure=1.0, level=LEVELS[-1])
            try:
                self._subscribers.tell(sample)
            except (CasstoreError, MemoryError):
                self._failures += 1

    def _pace(self) -> float:
        last = self._last
        if last is None:
            return self.interval_seconds
        soon = last.seconds_to_limit is not None and last.seconds_to_limit < 4 * HASTE * self.interval_seconds
        return self.interval_seconds / HASTE if soon or last.level in LEVELS[2:] else self.interval_seconds


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _run(monitor: weakref.ref[MemoryMonitor], sources: Sources, stopping: threading.Event) -> None:
    # Holds the monitor only while it samples: who drops it without a stop ends the thread too.
    try:
        while True:
            alive = monitor()
            if alive is None:
                return
            wait = alive._tick()
            del alive
            if stopping.wait(wait):
                return
    finally:
        sources.close()


_monitors: weakref.WeakSet[MemoryMonitor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The thread stayed in the parent, which may have held the locks.
    for monitor in list(_monitors):
        monitor._lock = threading.Lock()
        monitor._control = threading.Lock()
        monitor._subscribers.renew_locks()
        monitor._stopping = threading.Event()
        monitor._thread = None


os.register_at_fork(after_in_child=_after_fork_in_child)
