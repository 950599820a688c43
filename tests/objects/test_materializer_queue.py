# SPDX-License-Identifier: MIT
"""The queue against a plain sorted list, and admission as a function."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.errors import InvalidInputError
from casstore.objects.admission import Admission, check_priority, check_seconds
from casstore.objects.jobs import Job
from casstore.objects.queue import JobQueue

PRIORITIES = st.sampled_from([0.0, 0.1, 0.5, 0.5, 1.0, 7.0])
STEPS = st.one_of(
    st.tuples(st.just("push"), PRIORITIES, st.booleans()),
    st.tuples(st.just("pop")),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("change"), st.integers(0, 30), PRIORITIES),
    st.tuples(st.just("wait"), st.integers(0, 30)),
)


class Model:
    """What the queue should do, by sorting everything every time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.jobs: list[tuple[Job, int]] = []
        self.turn = 0

    def ranked(self) -> list[Job]:
        return [job for job, turn in sorted(self.jobs, key=lambda one: (not one[0].waited, -one[0].priority, one[1]))]

    def push(self, job: Job) -> Job | None:
        self.jobs.append((job, self.turn))
        self.turn += 1
        unwaited = [job for job in self.ranked() if not job.waited]
        if len(unwaited) > self.most:
            self.remove(unwaited[-1])
            return unwaited[-1]
        return None

    def remove(self, job: Job) -> bool:
        before = len(self.jobs)
        self.jobs = [one for one in self.jobs if one[0] is not job]
        return len(self.jobs) < before


@given(st.integers(1, 6), st.lists(STEPS, max_size=120))
def test_the_queue_is_a_sorted_list(most: int, steps: list[Any]) -> None:
    queue, model = JobQueue(most), Model(most)
    made: list[Job] = []
    for word, *rest in steps:
        if word == "push":
            job = Job(SimpleNamespace(), rest[0], waited=rest[1])  # type: ignore[arg-type]
            made.append(job)
            assert queue.push(job) is model.push(job)
        elif word == "pop":
            ranked = model.ranked()
            found = queue.pop()
            assert found is (ranked[0] if ranked else None)
            if found is not None:
                model.remove(found)
        elif made:
            job = made[rest[0] % len(made)]
            if word == "remove":
                assert queue.remove(job) == model.remove(job)
            elif word == "change":
                queue.change(job, priority=rest[1])
            elif job in queue:
                queue.change(job, waited=True)
        assert len(queue) == len(model.jobs)
        assert all(job in queue for job, _ in model.jobs)
    assert [queue.pop() for _ in range(len(queue))] == model.ranked()
    assert queue.pop() is None


def test_a_storm_leaves_no_trace() -> None:
    queue = JobQueue(10)
    for number in range(10_000):
        job = Job(SimpleNamespace(), number % 7, waited=number % 3 == 0)  # type: ignore[arg-type]
        queue.push(job)
        if number % 2 or job.waited:
            queue.remove(job)
    assert len(queue) <= 10
    assert len(queue._first) + len(queue._last) < 300
    assert len(queue._by_number) == len(queue)


SHARE = st.floats(0, 1)


@given(SHARE, SHARE, st.floats(0, 1e3), st.floats(0, 1e3), SHARE, SHARE, st.floats(0, 2))
def test_admission_never_goes_the_wrong_way(
    low: float, high: float, quick: float, slow: float, few: float, many: float, base: float
) -> None:
    low, high = sorted((low, high))
    quick, slow = sorted((quick, slow))
    few, many = sorted((few, many))
    rule = Admission(base=base)
    assert rule.threshold(low, quick, few) <= rule.threshold(high, quick, few)
    assert rule.threshold(low, slow, few) <= rule.threshold(low, quick, few)
    assert rule.threshold(low, quick, many) <= rule.threshold(low, quick, few)
    assert rule.allowed_bytes(low, 10**9) >= rule.allowed_bytes(high, 10**9) > 0
    assert rule.expected(low, 1e9 * few, 10**9) <= rule.expected(low, 1e9 * many, 10**9) <= 1


def test_admission_at_its_ends() -> None:
    rule = Admission()
    assert rule.threshold(0.0, 0.0, 1.0) == 0.0
    assert rule.threshold(1.0, 0.0, 1.0) == math.inf
    assert 0 < rule.threshold(0.9, 0.0, 1.0) < 1
    assert rule.threshold(0.9, 0.0, 0.0) > rule.threshold(0.9, 0.0, 1.0)
    assert rule.threshold(0.9, 0.1, 1.0) < rule.threshold(0.9, 0.0, 1.0)
    assert Admission(base=0.5).threshold(0.0, 0.0, 0.0) == 0.5
    assert rule.allowed_bytes(0.2, 1000) == 1000
    assert rule.allowed_bytes(1.0, 1000) == 100
    assert rule.expected(0.5, 100.0, 1000) == pytest.approx(0.6)
    assert rule.expected(0.5, 10_000.0, 1000) == pytest.approx(0.75)
    assert rule.expected(0.5, -100.0, 1000) == 0.5
    assert rule.expected(0.5, math.nan, 1000) == 0.5
    assert rule.expected(math.nan, 0.0, 1000) == 1.0
    assert rule.expected(-1, 0.0, 1000) == 0.0
    assert rule.expected(2, 0.0, 1000) == 1.0


def test_numbers_that_are_none() -> None:
    for bad in (-1, math.nan, math.inf, True, "1", None):
        with pytest.raises(InvalidInputError, match="finite"):
            check_priority(bad)
    for bad in (-1, math.nan, True, "1"):
        with pytest.raises(InvalidInputError, match="seconds"):
            check_seconds(bad)  # type: ignore[arg-type]
    assert check_seconds(None) is check_seconds(math.inf) is None
    assert check_seconds(2) == 2.0
    for fields in ({"base": -1}, {"easy": 0.5, "full": 0.5}, {"full": 1.5}, {"smallest_share": 2}, {"top": math.nan}):
        with pytest.raises(InvalidInputError):
            Admission(**fields)
