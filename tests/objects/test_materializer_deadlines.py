# SPDX-License-Identifier: MIT
"""Loads that do not end, threads that die, requests that are withdrawn, coroutines."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from casstore.errors import ClosedError, DeadlineError, FactoryError, InvalidInputError
from casstore.objects import Materializer, Status
from tests.objects.loading_fakes import LONG, Gate, begun, blocked, until


@pytest.fixture
def home() -> Iterator[Materializer]:
    found = Materializer(threads=1)
    yield found
    found.close(discard=True)


# -- deadlines


def test_a_factory_that_does_not_return_is_abandoned_and_replaced(home: Materializer) -> None:
    gate = Gate()
    ref = home.register(gate)
    begun(home, ref, gate)
    with pytest.raises(DeadlineError, match=r"0\.01 seconds"):
        ref.get(timeout=0.01)
    assert isinstance(ref.error, DeadlineError)
    assert ref.status is Status.FAILED
    status = home.status()
    assert (status.abandoned, status.abandoned_ever, status.late) == (1, 1, 1)
    # The next one is served, by another thread; and the same object may be tried again.
    assert home.register(lambda: 7).get(timeout=LONG) == 7
    assert home.status().threads == 1
    gate.started.clear()
    again = Gate("second")
    ref._move(ref._place, again)
    again.go.set()
    assert ref.get(timeout=LONG) == "second"
    gate.go.set()
    until(lambda: home.status().abandoned == 0)
    # What came too late changes nothing.
    assert ref.get() == "second"
    assert home.status().abandoned_ever == 1


def test_what_waits_in_vain_for_a_thread_is_withdrawn(home: Materializer) -> None:
    gate = blocked(home)
    calls: list[int] = []
    ref = home.register(lambda: calls.append(1))
    with pytest.raises(DeadlineError):
        ref.get(timeout=0)
    assert home.status().queued == 0
    gate.go.set()
    assert home.register(lambda: 1).get(timeout=LONG) == 1
    assert not calls


def test_a_deadline_for_all_loads() -> None:
    with Materializer(threads=1, load_seconds=0.3) as home:
        gate = Gate()
        with pytest.raises(DeadlineError):
            home.register(gate).get()
        gate.go.set()
        silent = Gate()
        home.preload([home.register(silent)], priority=1.0)
        assert silent.started.wait(LONG)
        until(lambda: home.status().abandoned_ever == 2)
        silent.go.set()


def test_who_is_late_does_not_take_it_from_who_waits(home: Materializer) -> None:
    gate = Gate()
    ref = home.register(gate)
    found: list[Any] = []
    patient = threading.Thread(target=lambda: found.append(ref.get(timeout=LONG)))
    patient.start()
    assert gate.started.wait(LONG)
    with pytest.raises(DeadlineError):
        ref.get(timeout=0.001)
    assert home.status().abandoned == 0
    gate.go.set()
    patient.join(LONG)
    assert found == ["value"]


def test_who_waits_in_his_own_thread_learns_that_it_was_given_up(home: Materializer) -> None:
    gate = Gate()
    ref = home.register(gate)
    caught: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(DeadlineError) as error:
            ref.get()
        caught.append(error.value)

    begun(home, ref, gate)
    other = threading.Thread(target=ask)
    other.start()
    until(lambda: len(home._loader._waiting) == 1)
    with pytest.raises(DeadlineError):
        ref.get(timeout=0.01)
    other.join(LONG)
    assert len(caught) == 1
    gate.go.set()


def test_threads_that_never_come_back_are_bounded() -> None:
    with Materializer(threads=1, max_abandoned=2) as home:
        gates = [Gate() for _ in range(3)]
        for gate in gates:
            ref = home.register(gate)
            begun(home, ref, gate)
            with pytest.raises(DeadlineError):
                ref.get(timeout=0.01)
        assert home.status().abandoned == 3
        with pytest.raises(DeadlineError, match="never came back"):
            home.register(lambda: 1).get(timeout=LONG)
        assert home.register(lambda: 1).get() == 1, "who waits loads by himself"
        for gate in gates:
            gate.go.set()
        until(lambda: home.status().abandoned == 0)
        assert home.register(lambda: 1).get(timeout=LONG) == 1


def test_a_thread_that_dies_is_counted_and_replaced(home: Materializer) -> None:
    def die() -> None:
        raise SystemExit("out")

    ref = home.register(die)
    with pytest.raises(FactoryError, match="ended"):
        ref.get(timeout=LONG)
    assert isinstance(ref.error, FactoryError)
    until(lambda: home.status().died == 1)
    assert home.register(lambda: 1).get(timeout=LONG) == 1
    with pytest.raises(SystemExit):
        ref.get()
    with pytest.raises(FactoryError):
        asyncio.run(home.load(ref))


def test_times_that_are_none(home: Materializer) -> None:
    for bad in (-1.0, float("nan"), "soon"):
        with pytest.raises(InvalidInputError):
            home.register(lambda: 1).get(timeout=bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            Materializer(load_seconds=bad)  # type: ignore[arg-type]


# -- cancellation and asyncio


def test_a_request_is_withdrawn(home: Materializer) -> None:
    gate = blocked(home)
    calls: list[int] = []
    refs = [home.register(lambda: calls.append(1), priority=1.0) for _ in range(3)]
    ticket, other = home.preload(refs), home.preload(refs[:1])
    assert ticket.cancel() == 2, "somebody else asked for the first"
    assert ticket.cancel() == 0
    gate.go.set()
    assert other.wait(LONG)
    assert calls == [1]
    assert home.status().cancelled == 2


def test_a_task_that_is_cancelled_withdraws_its_request(home: Materializer) -> None:
    gate = blocked(home)
    calls: list[int] = []
    ref = home.register(lambda: calls.append(1))

    async def run() -> None:
        task = asyncio.ensure_future(home.load(ref))
        while not home.status().queued:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert home.status().queued == 0
    gate.go.set()
    assert home.register(lambda: 1).get(timeout=LONG) == 1
    assert not calls


def test_asyncio_loads_many_at_once_and_is_never_held_up() -> None:
    with Materializer(threads=4) as home:
        barrier = threading.Barrier(4)
        refs = [home.register(lambda number=number: (barrier.wait(LONG), number)[1]) for number in range(4)]

        async def run() -> list[int]:
            return await asyncio.gather(*map(home.load, refs))

        assert asyncio.run(run()) == [0, 1, 2, 3]
        gate = Gate()

        async def late() -> None:
            with pytest.raises(DeadlineError):
                await home.load(home.register(gate), timeout=0.01)

        asyncio.run(late())
        gate.go.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_in_a_forked_child_it_is_closed(home: Materializer) -> None:
    gate = blocked(home)
    loaded, other = home.register(lambda: 7), home.register(lambda: 8)
    assert loaded.get() == 7
    with warnings.catch_warnings():
        # Later interpreters warn of a fork beside threads; that is what is tested.
        warnings.simplefilter("ignore")
        with home._loader.lock, home._pool.lock:
            child = os.fork()
            if child == 0:
                asks: list[Callable[[], Any]] = [other.get, lambda: other.get(timeout=5), lambda: home.preload([other])]
                # In another thread, as this one holds the locks that another would have held.
                threads = [threading.Thread(target=lambda ask=ask: answers.append(closed(ask))) for ask in asks]
                answers: list[bool] = []
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(5)
                good = answers == [True] * 3 and loaded.get() == 7
                os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    gate.go.set()


def closed(ask: Callable[[], Any]) -> bool:
    """Whether it raises that the materializer is closed."""
    try:
        ask()
    except ClosedError:
        return True
    return False
