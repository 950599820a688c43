# SPDX-License-Identifier: MIT
"""The pool: a bounded number of threads that take requests from the queue.

A thread cannot be stopped from outside. One whose factory does not return is abandoned: counted, replaced, and left to
end by itself, whereupon what it still finds is dropped. Threads are daemons, as such a factory must not keep the
process from ending.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from casstore.errors import CasstoreError, ClosedError, DeadlineError, FactoryError
from casstore.objects.held import MISSING
from casstore.objects.jobs import Job
from casstore.objects.queue import JobQueue


class Worker:
    """One thread of the pool."""

    __slots__ = ("abandoned", "ident", "job", "thread")

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.ident = 0
        self.job: Job | None = None
        self.abandoned = False


class Pool:
    """Threads and their queue.

    Args:
        threads: How many at the most; they are started on need.
        max_queue: Requests that nobody waits for, at the most.
        max_abandoned: Threads that may be given up at one time; beyond, none is replaced.
        run: What loads a request's object.
        desert: Called with the identity of a thread that is given up.
    """

    def __init__(
        self,
        threads: int,
        max_queue: int,
        max_abandoned: int,
        run: Callable[[Job], Any],
        desert: Callable[[int], None],
    ) -> None:
        self.lock = threading.RLock()
        self.queue = JobQueue(max_queue)
        self.jobs: dict[int, Job] = {}
        """Requests that have not ended, by the identity of their Ref."""
        self.threads = threads
        self.max_abandoned = max_abandoned
        self.abandoned = self.abandoned_ever = self.died = 0
        self.rejected = self.cancelled = self.late = 0
        self.computed_seconds = 0.0
        """Processor time that its threads took, but for what they do now."""
        self._run = run
        self._desert = desert
        self._wake = threading.Condition(self.lock)
        self._workers: set[Worker] = set()
        self._thoughts: deque[Callable[[], object]] = deque()
        self._thinking = 0
        self._idle = 0
        self._stopped = False
        self._inside = threading.local()
        _pools.add(self)

    # -- requests

    def submit(self, job: Job) -> bool:
        """Queues a request; whether there was room. What falls out of a full queue ends as rejected.

        Raises:
            ClosedError: The pool was stopped.
            DeadlineError: So many threads never came back that none is left.
        """
        with self._wake:
            if self._stopped:
                raise ClosedError("the materializer is closed, or the parent's of a forked process; make another one.")
            self.reap()
            self._grow()
            if not self._workers:
                raise DeadlineError(
                    f"{self.abandoned} loads never came back, so no thread is left; mend the factory, or raise "
                    "`max_abandoned`."
                )
            self.jobs[id(job.ref)] = job
            out = self.queue.push(job)
            if out is not None:
                self.rejected += 1
                self.jobs.pop(id(out.ref), None)
            if out is not job and not (len(self.queue) == 1 and getattr(self._inside, "thinks", False)):
                # Who thinks is about to look for a request himself: waking another one for it would only disturb.
                self._wake.notify()
        if out is not None:
            out.finish(MISSING, DeadlineError("the queue was full of what matters more; ask again."), self)
        return out is not job

    def think(self, thought: Callable[[], object]) -> None:
        """Has ``thought()`` called by a thread that is idle, before requests that nobody waits for. It must not raise.

        *Cost*: some microseconds.
        """
        with self._wake:
            if not self._stopped:
                self._thoughts.append(thought)
                self._grow()
                self._wake.notify()

    @property
    def is_at_work(self) -> bool:
        """Whether a request or a thought has not ended."""
        with self.lock:
            return bool(self.jobs or self._thoughts or self._thinking)

    def _grow(self) -> None:
        """Starts a thread where the idle ones do not do; the lock is held."""
        room = len(self._workers) < self.threads and self.abandoned <= self.max_abandoned
        if room and self._idle <= len(self.queue) and not self._stopped:
            worker = Worker()
            self._workers.add(worker)
            worker.thread = threading.Thread(target=self._work, args=(worker,), name="casstore-load", daemon=True)
            worker.thread.start()

    def take(self, job: Job) -> bool:
        """Whether a request was still waiting; the caller runs it now."""
        with self.lock:
            return self.queue.remove(job)

    def give_up(self, job: Job, *, late: bool = False) -> bool:
        """One caller fewer; the last one withdraws the request, or abandons its thread where he waited in vain.

        Returns:
            Whether the request was withdrawn before a thread took it.
        """
        with self.lock:
            job.interest -= 1
            if late:
                self.late += 1
            if job.interest > 0 or job.is_done:
                return False
            withdrawn = self.queue.remove(job)
            if withdrawn:
                self.cancelled += not late
            elif late and job.worker is not None:
                self._abandon(job.worker)
            elif not late:
                return False
            self.jobs.pop(id(job.ref), None)
        words = "was not done in the time allowed" if late else "was withdrawn"
        job.finish(MISSING, DeadlineError(f"the request {words}; ask again."), self)
        return withdrawn

    def reap(self) -> None:
        """Abandons threads whose requests are past their deadline; the lock is held."""
        now = time.monotonic()
        for worker in list(self._workers):
            job = worker.job
            if job is not None and job.deadline is not None and job.deadline < now:
                self.late += 1
                self._abandon(worker)

    def _abandon(self, worker: Worker) -> None:
        job = worker.job
        if worker.abandoned or job is None:
            return
        worker.abandoned = True
        self._workers.discard(worker)
        self.abandoned += 1
        self.abandoned_ever += 1
        self.jobs.pop(id(job.ref), None)
        self._desert(worker.ident)
        job.finish(MISSING, DeadlineError("loading did not end in the time allowed; mend the factory."), self)
        if len(self.queue):
            self._grow()

    # -- threads

    @property
    def is_inside(self) -> bool:
        """Whether this is a thread of the pool."""
        return getattr(self._inside, "worker", None) is not None

    @property
    def running(self) -> int:
        """Requests that threads work on."""
        return sum(worker.job is not None for worker in self._workers)

    @property
    def alive(self) -> int:
        """Threads of the pool, abandoned ones left out."""
        return len(self._workers)

    def _work(self, worker: Worker) -> None:
        self._inside.worker = worker
        worker.ident = threading.get_ident()
        computed = 0.0
        while True:
            before, computed = computed, time.thread_time()
            with self._wake:
                self.computed_seconds += computed - before
                job = self._next(worker)
                if job is None:
                    self._workers.discard(worker)
                    return
                if isinstance(job, Job):
                    worker.job, job.worker = job, worker
                else:
                    self._thinking += 1
            if not isinstance(job, Job):
                self._think(job)
                del job
                continue
            value, error, ended = self._try(job)
            with self._wake:
                worker.job = job.worker = None
                if self.jobs.get(id(job.ref)) is job:
                    del self.jobs[id(job.ref)]
                if worker.abandoned:
                    self.abandoned -= 1
                    return
                if ended:
                    self.died += 1
                    self._workers.discard(worker)
                    if len(self.queue):
                        self._grow()
            job.finish(value, error, self)
            if ended:
                return
            # Else an idle thread would keep the last object it loaded.
            del job, value, error

    def _think(self, thought: Callable[[], object]) -> None:
        self._inside.thinks = True
        try:
            thought()
        finally:
            self._inside.thinks = False
            with self.lock:
                self._thinking -= 1

    def _next(self, worker: Worker) -> Job | Callable[[], object] | None:
        self._idle += 1
        try:
            while not self._stopped and not worker.abandoned:
                if self._thoughts and not self.queue.is_waited:
                    return self._thoughts.popleft()
                job = self.queue.pop()
                if job is not None:
                    return job
                self._wake.wait()
            return None
        finally:
            self._idle -= 1

    def _try(self, job: Job) -> tuple[Any, BaseException | None, bool]:
        """What a request gave, or raised, and whether the thread must end."""
        try:
            return self._run(job), None, False
        except CasstoreError as error:
            return MISSING, error, False
        except Exception as error:
            return MISSING, FactoryError(f"loading failed: {error!r}; mend the factory."), False
        except BaseException as error:
            return MISSING, FactoryError(f"the thread that loaded ended: {error!r}; load again."), True

    def stop(self, seconds: float = 1.0) -> None:
        """Ends the threads; what waits is withdrawn. Waits for running loads, that many seconds at the most."""
        with self._wake:
            self._stopped = True
            self._thoughts.clear()
            waiting = list(self.queue.jobs())
            for job in waiting:
                self.queue.remove(job)
                self.jobs.pop(id(job.ref), None)
            self._wake.notify_all()
            threads = [worker.thread for worker in self._workers if worker.thread is not None]
        for job in waiting:
            job.finish(MISSING, ClosedError("the materializer was closed meanwhile; make another one."), self)
        end = time.monotonic() + seconds
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The threads are the parent's, and one of them may have held the lock.
    for pool in list(_pools):
        pool.lock = threading.RLock()
        pool._wake = threading.Condition(pool.lock)
        pool._stopped = True
        pool._workers = set()


os.register_at_fork(after_in_child=_after_fork_in_child)
