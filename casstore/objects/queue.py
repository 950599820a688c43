# SPDX-License-Identifier: MIT
"""The queue of requests: those somebody waits for first, then by priority, equals in the order they came.

Bounded: a storm pushes out what matters least, never what somebody waits for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.objects.jobs import Job

_First = tuple[bool, float, int, int]
_Last = tuple[float, int, int]


class JobQueue:
    """Not thread-safe: the pool's lock is held by whoever calls.

    Two heaps over the same requests, one for each end. They hold numbers, by which the request is found: what was taken
    at one end, or has another rank by now, is not found any more when its number comes up at the other.

    Args:
        max_length: Bound of the requests that nobody waits for.
    """

    __slots__ = ("_by_number", "_first", "_last", "_numbers", "_places", "_unwaited", "max_length")

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._first: list[_First] = []
        self._last: list[_Last] = []
        self._by_number: dict[int, Job] = {}
        self._places: dict[Job, tuple[int, int]] = {}
        self._numbers = count()
        self._unwaited = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, job: object) -> bool:
        return job in self._places

    @property
    def is_waited(self) -> bool:
        """Whether somebody waits for one of the requests."""
        return len(self._places) > self._unwaited

    def push(self, job: Job) -> Job | None:
        """Queues a request; returns what no longer has room, perhaps ``job`` itself."""
        number = next(self._numbers)
        self._enter(job, number, number)
        if self._unwaited <= self.max_length:
            return None
        while True:
            worst = self._by_number.get(heapq.heappop(self._last)[2])
            if worst is not None:
                self.remove(worst)
                return worst

    def _enter(self, job: Job, turn: int, number: int) -> None:
        self._places[job] = (turn, number)
        self._by_number[number] = job
        heapq.heappush(self._first, (not job.waited, -job.priority, turn, number))
        if not job.waited:
            self._unwaited += 1
            heapq.heappush(self._last, (job.priority, -turn, number))

    def pop(self) -> Job | None:
        """Takes the first request out; None where there is none."""
        while self._first:
            job = self._by_number.get(heapq.heappop(self._first)[3])
            if job is not None:
                self.remove(job)
                return job
        return None

    def remove(self, job: Job) -> bool:
        """Takes a request out, wherever it stands; whether it was there."""
        found = self._places.pop(job, None)
        if found is None:
            return False
        del self._by_number[found[1]]
        if not job.waited:
            self._unwaited -= 1
        # What is skipped must not outnumber what is there, or a storm of withdrawn requests would fill memory.
        if len(self._first) > 64 and len(self._first) > 2 * len(self._places):
            self._first = [item for item in self._first if item[3] in self._by_number]
            heapq.heapify(self._first)
        if len(self._last) > 64 and len(self._last) > 2 * len(self._places):
            self._last = [item for item in self._last if item[2] in self._by_number]
            heapq.heapify(self._last)
        return True

    def change(self, job: Job, *, priority: float | None = None, waited: bool | None = None) -> None:
        """Gives a request another rank; it keeps its turn among equals."""
        found = self._places.get(job)
        if found is not None:
            self.remove(job)
        if priority is not None:
            job.priority = priority
        if waited is not None:
            job.waited = waited
        if found is not None:
            self._enter(job, found[0], next(self._numbers))

    def jobs(self) -> Iterable[Job]:
        """All requests, in no order."""
        return list(self._places)
