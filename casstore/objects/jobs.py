# SPDX-License-Identifier: MIT
"""Requests to load an object in a thread of the pool, and the ticket for several of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

from casstore.objects.held import MISSING

if TYPE_CHECKING:
    from casstore.format.entry import Entry
    from casstore.objects.pool import Pool, Worker
    from casstore.objects.ref import Ref


class Job:
    """One request; several callers may share it.

    Attributes:
        ref: What to load.
        priority: Its rank in the queue.
        waited: Whether somebody waits for it.
        asked: Whether it is a touch; what is loaded ahead is none.
        entry: What it is to be read from, where that is known already.
        deadline: When it is of no use any more, by ``time.monotonic``; None is never.
        interest: How many callers share it.
        value: What was loaded, or ``MISSING``.
        error: Why it was not.
        worker: The thread that runs it.
    """

    __slots__ = (
        "_callbacks",
        "_done",
        "asked",
        "deadline",
        "entry",
        "error",
        "interest",
        "priority",
        "ref",
        "value",
        "waited",
        "worker",
    )

    def __init__(
        self, ref: Ref[Any], priority: float, *, waited: bool, asked: bool = True, deadline: float | None = None
    ) -> None:
        self.ref = ref
        self.priority = priority
        self.waited = waited
        self.asked = asked
        self.deadline = deadline
        self.entry: Entry | None = None
        self.interest = 1
        self.value: Any = MISSING
        self.error: BaseException | None = None
        self.worker: Worker | None = None
        self._done = Event()
        self._callbacks: list[Callable[[Job], None]] = []

    @property
    def is_done(self) -> bool:
        """Whether it ended, one way or the other."""
        return self._done.is_set()

    def finish(self, value: Any, error: BaseException | None, pool: Pool) -> bool:
        """Ends it; whether it had not ended before."""
        with pool.lock:
            if self._done.is_set():
                return False
            self.value, self.error = value, error
            self._done.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        return True

    def on_done(self, callback: Callable[[Job], None], pool: Pool) -> None:
        """Has ``callback(job)`` called when it ends, in whichever thread; at once where it has ended."""
        with pool.lock:
            if not self._done.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    def wait(self, seconds: float | None) -> bool:
        """Whether it ended in that time."""
        return self._done.wait(seconds)


class Preload:
    """A ticket for objects that were asked for ahead. Dropping it withdraws nothing.

    Attributes:
        admitted: Refs that are loaded already, or wait in the queue.
        rejected: Refs whose priority is below the threshold.
    """

    __slots__ = ("_jobs", "_pool", "admitted", "rejected")

    def __init__(
        self, pool: Pool, jobs: Sequence[Job], admitted: Sequence[Ref[Any]], rejected: Sequence[Ref[Any]]
    ) -> None:
        self._pool = pool
        self._jobs = list(jobs)
        self.admitted = tuple(admitted)
        self.rejected = tuple(rejected)

    @property
    def is_done(self) -> bool:
        """Whether every request ended: loaded, failed (``ref.error`` says why), or withdrawn."""
        return all(job.is_done for job in self._jobs)

    def wait(self, timeout: float | None = None) -> bool:
        """Whether every request ended within ``timeout`` seconds; None waits for ever."""
        end = None if timeout is None else time.monotonic() + timeout
        return all(job.wait(None if end is None else max(0.0, end - time.monotonic())) for job in self._jobs)

    def cancel(self) -> int:
        """Withdraws what no thread has taken and nobody else asked for; returns how many requests that were."""
        jobs, self._jobs = self._jobs, []
        return sum(self._pool.give_up(job) for job in jobs)

    def __repr__(self) -> str:
        return f"<Preload of {len(self.admitted)}, {len(self.rejected)} rejected>"
