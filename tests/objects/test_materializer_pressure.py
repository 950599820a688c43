# SPDX-License-Identifier: MIT
"""Admission, memory pressure and bounds; parts of objects; everything at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import casstore
from casstore.errors import CasstoreError, ClosedError, InvalidInputError
from casstore.objects import Admission, Materializer, Status
from tests.objects.loading_fakes import LONG, Monitor, blocked, until


@pytest.fixture
def home() -> Iterator[Materializer]:
    found = Materializer(threads=1)
    yield found
    found.close(discard=True)


# -- admission and pressure


def test_what_nobody_waits_for_needs_the_threshold(home: Materializer) -> None:
    home.set_threshold(0.5)
    assert home.threshold == home.status().threshold == 0.5
    low, high = home.register(lambda: 1, priority=0.4), home.register(lambda: 2, priority=0.5)
    ticket = home.preload([low, high])
    assert (ticket.admitted, ticket.rejected) == ((high,), (low,))
    assert ticket.wait(LONG)
    assert (low.is_loaded, high.is_loaded) == (False, True)
    assert low.get() == 1
    assert home.preload([low], priority=0.0).admitted == (low,), "it is loaded already"
    for bad in (-1.0, float("nan")):
        with pytest.raises(InvalidInputError):
            home.set_threshold(bad)
        with pytest.raises(InvalidInputError):
            home.preload([low], priority=bad)
    assert home.status().rejected == 1


def test_pressure_raises_the_threshold_and_unloads_the_least() -> None:
    monitor = Monitor()
    with Materializer(threads=1, max_bytes=100_000, monitor=monitor) as home:
        refs = [home.register(lambda: bytearray(8000), size_bytes=8000, priority=number) for number in range(11)]
        for ref in refs:
            ref.get()
        assert home.status().loaded == 11
        before = home.threshold
        monitor.say(0.8)
        assert home.threshold > before
        status = home.status()
        assert status.allowed_bytes < 40_000
        assert status.loaded_bytes <= status.allowed_bytes
        assert [ref.is_loaded for ref in refs] == [False] * (11 - status.loaded) + [True] * status.loaded
        assert status.unloads == 11 - status.loaded > 0
        # Who waits gets it all the same.
        assert refs[0].get()
        monitor.say(1.0)
        ticket = home.preload([refs[1]], priority=10**9)
        assert ticket.rejected == (refs[1],)
        # A little less changes nothing; much less does.
        monitor.say(0.97)
        assert home.status().pressure == 1.0
        monitor.say(0.1)
        assert (home.status().pressure, home.status().allowed_bytes) == (0.1, 100_000)
        assert home.preload([refs[1]], priority=1.0).wait(LONG)
        assert refs[1].is_loaded
    assert not monitor.callbacks


def test_a_trend_counts_before_it_arrives() -> None:
    monitor = Monitor()
    with Materializer(max_bytes=10**6, monitor=monitor, admission=Admission(ahead_seconds=1.0)) as home:
        monitor.say(0.5)
        calm = home.threshold
        monitor.say(0.5, trend=300_000.0)
        assert home.threshold > calm
        monitor.say(float("nan"))
        assert home.status().pressure == 1.0


def test_pressure_that_comes_while_a_request_waits() -> None:
    monitor = Monitor()
    with Materializer(threads=1, monitor=monitor) as home:
        gate = blocked(home)
        calls: list[int] = []
        ticket = home.preload([home.register(lambda: calls.append(1), priority=0.1)])
        assert ticket.admitted
        monitor.say(1.0)
        gate.go.set()
        assert ticket.wait(LONG)
        assert not calls
        assert home.status().rejected == 1


def test_the_bound_holds_and_the_least_recent_leave() -> None:
    with Materializer(max_bytes=50_000) as home:
        refs = [home.register(lambda: bytearray(9000), size_bytes=9000) for _ in range(20)]
        for ref in refs:
            ref.get()
            refs[0].get()
            assert home.status().loaded_bytes <= 50_000
        assert refs[0].is_loaded, "it was touched all the time"
        assert refs[19].is_loaded
        assert not refs[1].is_loaded


def test_priority_counts_before_age() -> None:
    with Materializer(max_bytes=50_000) as home:
        first = home.register(lambda: bytearray(9000), size_bytes=9000, priority=1.0)
        first.get()
        refs = [home.register(lambda: bytearray(9000), size_bytes=9000) for _ in range(10)]
        for ref in refs:
            ref.get()
        assert first.is_loaded
        first.priority = 0.0
        refs[-1].priority = 0.5
        home.reprioritize()
        for _ in range(6):
            refs.append(home.register(lambda: bytearray(9000), size_bytes=9000))
            refs[-1].get()
        assert not first.is_loaded
        assert refs[9].is_loaded


def test_memory_that_runs_out_is_made_free() -> None:
    with Materializer() as home:
        others = [home.register(lambda: bytearray(9000), size_bytes=9000) for _ in range(5)]
        for other in others:
            other.get()
        tries: list[int] = []

        def make() -> int:
            tries.append(home.status().loaded)
            if len(tries) == 1:
                raise MemoryError
            return 7

        assert home.register(make).get() == 7
        assert tries == [5, 0]


# -- parts


def test_a_part_of_a_state() -> None:
    with casstore.open(":memory:") as store, Materializer(store) as home:
        branch = store.branch()
        for key in ("agent/plan", "agent/log/1", "agent/log/2", "other"):
            branch.objects[key] = key
        snapshot = branch.commit()
        for state in (snapshot, branch):
            found = home.members(state, "agent/log/", type=str)
            assert [ref.key for ref in found] == ["agent/log/1", "agent/log/2"]
            assert home.preload(found).wait(LONG)
            assert [ref.get() for ref in found] == ["agent/log/1", "agent/log/2"]
        assert len(home.members(snapshot)) == 4


def test_a_slice_reads_only_what_it_needs() -> None:
    numpy = pytest.importorskip("numpy", reason="arrays need numpy")
    with casstore.open(":memory:") as store, Materializer(store) as home:
        branch = store.branch()
        whole = numpy.random.default_rng(1).random((4000, 100))
        branch.objects["array"] = whole
        pending = home.register(branch, "array")
        assert (home.slice(pending, slice(10, 12)) == whole[10:12]).all()
        snapshot = branch.commit()
        ref = home.register(snapshot, "array")
        asked: list[Any] = []
        get = store.storage.backend.get
        store.storage.backend.get = lambda address: asked.append(address) or get(address)  # type: ignore[method-assign,func-returns-value]
        try:
            store.storage.cache.clear()
            assert (home.slice(ref, (slice(10, 12), 5)) == whole[10:12, 5]).all()
            few = len(asked)
            assert ref.status is Status.UNLOADED
            ref.get()
            assert few < 8 < len(asked)
        finally:
            store.storage.backend.get = get  # type: ignore[method-assign]
        assert (home.slice(ref, 3) == whole[3]).all()
        with pytest.raises(InvalidInputError, match="no part"):
            home.slice(ref, 10**6)
        listed = home.register(lambda: [1, 2, 3])
        assert home.slice(listed, slice(1, None)) == [2, 3]
        with pytest.raises(InvalidInputError):
            home.slice(listed, "x")


def test_a_storm_of_threads_ends_in_order() -> None:
    """Everything at once, on a bound that holds a tenth: nothing hangs, nothing is wrong, the bound holds."""
    with casstore.open(":memory:") as store:
        branch = store.branch()
        for number in range(60):
            branch.objects[f"k/{number}"] = {"number": number, "text": "x" * 2000}
        snapshot = branch.commit()
        with Materializer(store, max_bytes=20_000, threads=3, max_queue=8) as home:
            refs = home.members(snapshot)
            wrong: list[Any] = []

            def play(seed: int) -> None:
                place = seed
                for turn in range(300):
                    place = (place * 31 + turn) % 60
                    ref = refs[place]
                    try:
                        if turn % 7 == 0:
                            home.preload(refs[place : place + 5], priority=turn)
                        if turn % 5 == 0:
                            ref.unload()
                        value = ref.get(timeout=LONG) if turn % 3 else ref.get()
                        if f"k/{value['number']}" != ref.key:
                            wrong.append(value)
                    except CasstoreError as error:
                        wrong.append(error)

            threads = [threading.Thread(target=play, args=(seed,)) for seed in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LONG)
                assert not thread.is_alive()
            assert not wrong
            until(lambda: home.status().queued == home.status().running == 0)
            home._loader.make_room()
            assert home.status().loaded_bytes <= 20_000
            assert not home._loader._flights
            assert not home._loader._waiting


def test_close_withdraws_what_waits() -> None:
    home = Materializer(threads=1)
    gate = blocked(home)
    ref = home.register(lambda: 1)
    errors: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(ClosedError) as caught:
            ref.get(timeout=LONG)
        errors.append(caught.value)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: home.status().queued == 1)
    closer = threading.Thread(target=home.close)
    closer.start()
    thread.join(LONG)
    gate.go.set()
    closer.join(LONG)
    assert len(errors) == 1
    assert "Materializer" in repr(home)
