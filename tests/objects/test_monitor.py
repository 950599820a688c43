# SPDX-License-Identifier: MIT
"""MemoryMonitor: samples, subscribers, announcements, its thread, and a store's cache that follows."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable

import pytest

import casstore
from casstore.errors import FactoryError, InvalidInputError, StorageError
from casstore.objects.assessing import Sample
from casstore.objects.following import RESTS, SMALLEST_BYTES, TRIM_BYTES, GiveBack
from casstore.objects.memory_levels import Limits
from casstore.objects.monitor import EXPECTED_SHARE, MAX_COST, MemoryMonitor
from tests.objects.memory_fakes import MIB, FakeClock, FakeSources


def monitor_of(
    used: float = 0, limit: float | None = 1000, **others: float
) -> tuple[MemoryMonitor, FakeSources, FakeClock]:
    sources, clock = FakeSources(used, limit), FakeClock()
    return MemoryMonitor(sources, Limits(**others), interval_seconds=0.25, clock=clock), sources, clock  # type: ignore[arg-type]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_before_the_first_sample_and_after() -> None:
    monitor, sources, clock = monitor_of(900)
    assert (monitor.pressure, monitor.level, monitor.trend, monitor.last) == (0.0, "low", 0.0, None)
    sample = monitor.sample()
    assert (monitor.pressure, monitor.level, monitor.last) == (sample.pressure, "high", sample)
    assert sample.pressure == pytest.approx(5 / 6)
    assert sample.time_seconds == clock.now
    for _ in range(8):
        clock.now += 1
        sources.used -= 10
        monitor.sample()
    assert monitor.trend == pytest.approx(-10 * MIB)
    assert monitor.figures().samples == 9


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_an_interval_that_is_none(wrong: object) -> None:
    with pytest.raises(InvalidInputError):
        MemoryMonitor(FakeSources(), interval_seconds=wrong)  # type: ignore[arg-type]


def test_subscribers_see_every_sample_until_they_leave() -> None:
    monitor, _, _ = monitor_of()
    seen: list[tuple[str, Sample]] = []
    leave_a = monitor.subscribe(lambda sample: seen.append(("a", sample)))
    leave_b = monitor.subscribe(lambda sample: seen.append(("b", sample)))
    first = monitor.sample()
    leave_a()
    leave_a()
    second = monitor.sample()
    leave_b()
    monitor.sample()
    assert seen == [("a", first), ("b", first), ("b", second)]


def test_a_subscriber_that_raises_does_not_stop_the_others() -> None:
    monitor, _, _ = monitor_of()
    seen: list[Sample] = []

    def broken(sample: Sample) -> None:
        raise ZeroDivisionError("mine")

    monitor.subscribe(broken)
    monitor.subscribe(seen.append)
    with pytest.raises(FactoryError, match=r"broken.*ZeroDivisionError.*correct it") as caught:
        monitor.sample()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert seen == [monitor.last]


def test_a_source_that_raises() -> None:
    monitor, sources, _ = monitor_of()
    sources.error = KeyError("x")
    with pytest.raises(FactoryError, match="source"):
        monitor.sample()
    sources.error = StorageError("mine")
    with pytest.raises(StorageError, match="mine"):
        monitor.sample()
    assert monitor.figures().samples == 0


def test_a_subscriber_may_sample_subscribe_and_leave() -> None:
    monitor, sources, _ = monitor_of(100)
    inner: list[Sample] = []
    seen: list[Sample] = []

    def busy(sample: Sample) -> None:
        sources.used = 200
        inner.append(monitor.sample())
        leave()
        monitor.subscribe(seen.append)

    leave = monitor.subscribe(busy)
    outer = monitor.sample()
    assert outer.used_bytes == 100 * MIB
    assert inner[0].used_bytes == 200 * MIB
    assert seen == []
    monitor.sample()
    assert len(inner) == len(seen) == 1


def test_who_samples_while_another_tells_does_not_wait() -> None:
    monitor, sources, _ = monitor_of(100)
    mine = threading.Lock()
    seen: list[int] = []
    inside, go_on = threading.Event(), threading.Event()

    def subscriber(sample: Sample) -> None:
        inside.set()
        go_on.wait(10)
        with mine:
            seen.append(sample.used_bytes // MIB)

    monitor.subscribe(subscriber)
    thread = threading.Thread(target=monitor.sample)
    thread.start()
    assert inside.wait(10)
    with mine:  # a lock that the subscriber wants too
        for sources.used in (200, 300):
            assert monitor.sample().used_bytes == sources.used * MIB
        go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    # The thread that was telling went on with the newest.
    assert seen == [100, 300]


def test_announced_memory_makes_a_sample_stale() -> None:
    monitor, sources, clock = monitor_of(200)
    assert monitor.expect(1) is monitor.last
    assert monitor.figures().samples == 1
    step = int(800 * MIB * EXPECTED_SHARE) // 4
    clock.now += 1
    for _ in range(3):
        monitor.expect(step)
    assert monitor.figures().samples == 1
    sources.used = 900
    assert monitor.expect(step).level == "high"
    assert monitor.figures().samples == 2
    # Now little is left; but not more often than fifty times per interval.
    for _ in range(100):
        clock.now += 0.001
        monitor.expect(100 * MIB)
    assert 2 + 15 <= monitor.figures().samples <= 2 + 20
    sources.used = 200
    monitor.sample()
    count = monitor.figures().samples
    clock.now += 1
    monitor.expect(step)
    assert monitor.figures().samples == count
    free, _, later = monitor_of(200, None)
    free.expect(1)
    later.now += 1
    free.expect(1 << 50)
    assert free.figures().samples == 1


# -- the thread


def test_the_thread_samples_until_it_is_stopped() -> None:
    sources = FakeSources(100)
    monitor = MemoryMonitor(sources, interval_seconds=0.01)
    seen = threading.Event()
    monitor.subscribe(lambda sample: seen.set())
    assert not monitor.is_running
    with monitor as same:
        assert same is monitor
        assert monitor.start() is monitor
        assert monitor.is_running
        assert seen.wait(10)
        assert sources.calls == ["open"]
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "casstore-memory"] == [True]
        wait_for(lambda: monitor.figures().samples >= 5)
    assert not monitor.is_running
    assert sources.calls == ["open", "close"]
    monitor.stop()
    count = monitor.figures().samples
    time.sleep(0.05)
    assert monitor.figures().samples == count
    with monitor:
        wait_for(lambda: monitor.figures().samples > count)
    assert sources.calls == ["open", "close"] * 2


def test_the_thread_outlives_failures_and_lack_of_memory() -> None:
    sources = FakeSources(100)
    monitor = MemoryMonitor(sources, interval_seconds=0.01)
    levels: list[str] = []
    raising = True

    def subscriber(sample: Sample) -> None:
        levels.append(sample.level)
        if raising:
            raise ValueError("mine")

    monitor.subscribe(subscriber)
    with monitor:
        wait_for(lambda: monitor.figures().failures >= 2)
        assert isinstance(monitor.figures().last_failure, FactoryError)
        assert set(levels) == {"low"}
        raising = False
        sources.error = MemoryError()
        wait_for(lambda: "critical" in levels)
        assert monitor.pressure == 1.0
        assert isinstance(monitor.figures().last_failure, MemoryError)
        sources.error = None
        wait_for(lambda: monitor.pressure == 0.0)


def test_a_subscriber_may_stop_the_thread() -> None:
    monitor = MemoryMonitor(FakeSources(), interval_seconds=0.01)
    monitor.subscribe(lambda sample: monitor.stop())
    monitor.start()
    wait_for(lambda: not any(thread.name == "casstore-memory" for thread in threading.enumerate()))
    assert not monitor.is_running
    assert monitor.figures().failures == 0


def test_who_drops_a_monitor_ends_its_thread() -> None:
    sources = FakeSources()
    seen = threading.Event()
    monitor = MemoryMonitor(sources, interval_seconds=0.01)
    monitor.subscribe(lambda sample: seen.set())
    gone = weakref.ref(monitor.start())
    assert seen.wait(10)
    del monitor
    wait_for(lambda: gone() is None)
    wait_for(lambda: sources.calls == ["open", "close"])


def test_where_memory_is_short_it_looks_more_often() -> None:
    monitor, sources, clock = monitor_of(100)
    monitor._tick()
    assert monitor._pace() == 0.25
    sources.used = 860
    monitor._tick()
    assert monitor._pace() == 0.05
    # What is far from full, but will be full in five seconds.
    monitor, sources, clock = monitor_of(0)
    for _ in range(8):
        clock.now += 1
        sources.used += 62
        monitor._tick()
    assert monitor.level == "low"
    assert monitor.last is not None
    assert monitor.last.seconds_to_limit == pytest.approx(8.1, rel=0.01)
    assert monitor._pace() == 0.25
    sources.used += 190
    clock.now += 3
    monitor._tick()
    assert monitor._pace() == 0.05


def test_the_thread_keeps_to_one_percent_of_a_processor() -> None:
    class Dear(FakeSources):
        def read(self):  # type: ignore[no-untyped-def]
            end = time.thread_time() + 0.004
            while time.thread_time() < end:
                pass
            return super().read()

    monitor = MemoryMonitor(Dear(), interval_seconds=0.001)
    assert monitor._tick() >= 0.004 / MAX_COST
    with MemoryMonitor(interval_seconds=0.01) as real:
        wait_for(lambda: real.figures().samples >= 20)
    figures = real.figures()
    assert figures.failures == 0
    assert figures.thread_cpu_seconds <= 1.5 * 0.01 * figures.thread_seconds
    # What subscribers do is not held against sampling, or it would slow down just when it is needed.
    slow = MemoryMonitor(FakeSources(), interval_seconds=0.001)
    slow.subscribe(lambda sample: Dear().read())
    assert slow._tick() < 0.004 / MAX_COST


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_no_thread_and_can_start_one() -> None:
    monitor = MemoryMonitor(FakeSources(100), interval_seconds=0.01).start()
    wait_for(lambda: monitor.last is not None)
    with (
        monitor._lock,
        monitor._control,
        monitor._subscribers._lock,
        monitor._stopping._cond,
    ):  # as another thread may hold them
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if not monitor.is_running and monitor.sample().used_bytes == 100 * MIB:
                    monitor.stop()
                    monitor.start()
                    code = 0 if monitor.is_running else 2
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert monitor.is_running
    monitor.stop()


# -- a store's cache


def filled_store(cache_mib: int = 64) -> casstore.Store:
    """A store in memory whose hot cache holds 40 MiB of contents; 48 MiB is its bound where 64 are asked for."""
    store = casstore.open(":memory:", config=casstore.Config(cache_bytes=cache_mib * MIB))
    for i in range(40):
        store.storage.cache.put(i.to_bytes(32, "big"), bytes(1), MIB)
    return store


def test_the_cache_takes_what_is_left_and_no_more() -> None:
    monitor, sources, clock = monitor_of(100, hold_seconds=0.0)
    with filled_store() as store:
        following = monitor.follow(store)
        cache = store.storage.cache
        assert cache.stats().max_bytes == 48 * MIB
        held = cache.stats().bytes
        # 10 MiB below where medium begins: half of them.
        sources.used = 690
        monitor.sample()
        assert cache.stats().max_bytes == pytest.approx(held + 5 * MIB, abs=2)
        # 12 MiB beyond: exactly so much goes.
        sources.used = 712
        clock.now += 10
        monitor.sample()
        assert cache.stats().max_bytes == pytest.approx(held - 12 * MIB, abs=2)
        assert held - 14 * MIB < cache.stats().bytes <= held - 12 * MIB
        # The more it holds out, the more goes, but never everything.
        for _ in range(5):
            clock.now += 10
            monitor.sample()
        assert cache.stats().max_bytes == SMALLEST_BYTES
        figures = following.figures()
        assert (figures.full_bytes, figures.bound_bytes) == (48 * MIB, SMALLEST_BYTES)
        assert figures.let_go_bytes == held - cache.stats().bytes
        # Room again: it grows by steps, to its full bound.
        sources.used = 600
        for _ in range(8):
            clock.now += 10
            monitor.sample()
        assert cache.stats().max_bytes == 48 * MIB
        following.stop()


def test_a_bound_fits_before_anything_is_read() -> None:
    monitor, _, _ = monitor_of(60, 100)
    with casstore.open(":memory:", config=casstore.Config(cache_bytes=1 << 30)) as store:
        with monitor.follow(store, smallest_bytes=0):
            assert store.storage.cache.stats().max_bytes == pytest.approx(5 * MIB, abs=2)
        assert store.storage.cache.stats().max_bytes == 768 * MIB


def test_waiting_for_memory_shrinks_it_wherever_the_limits_are() -> None:
    monitor, sources, clock = monitor_of(10, None, window_seconds=1.0)
    sources.stalled_us = 0
    with filled_store() as store, monitor.follow(store):
        bounds = []
        for stalled in (0.05, 0.05, 0.25, 0.25, 0.25, 1.0, 1.0, 0.0):
            clock.now += 1
            sources.stalled_us += int(stalled * 1e6)
            monitor.sample()
            bounds.append(store.storage.cache.stats().max_bytes // MIB)
        # Below medium nothing; at high it halves, time after time; at critical it is least.
        assert bounds == [48, 48, 20, 10, 8, 8, 8, 48]


def test_at_critical_it_gives_everything_back_that_comes_back_by_itself() -> None:
    monitor, sources, _ = monitor_of(100)
    store = casstore.open(":memory:", config=casstore.Config(cache_bytes=64 * MIB))
    branch = store.branch()
    for i in range(200):
        branch.files[f"{i}"] = bytes([i]) * 100
    branch.commit("x", ref="main")
    assert store.snapshot("main").files["7"] == bytes([7]) * 100
    runs: list[str] = []
    gc.callbacks.append(lambda phase, info: runs.append(phase) if info["generation"] == 2 else None)
    try:
        following = monitor.follow(store)
        assert store.nodes.used_bytes > 0
        runs.clear()
        sources.used = 960
        monitor.sample()
        assert store.nodes.used_bytes == 0
        assert runs == ["start", "stop"]
        assert following.figures().trims == 1
        # Once: a collection of a large heap takes long, and what is at work is needed.
        assert store.snapshot("main").files["8"] == bytes([8]) * 100
        monitor.sample()
        assert len(runs) == 2
        assert store.nodes.used_bytes > 0
        following.stop()
        quiet = monitor.follow(store, collect=False)
        quiet.stop()
        assert len(runs) == 2
    finally:
        gc.callbacks.pop()
        store.close()


def test_a_store_that_is_gone_is_not_kept_and_followed_no_more() -> None:
    monitor, _, _ = monitor_of(100)
    store = filled_store()
    following = monitor.follow(store)
    gone = weakref.ref(store)
    store.close()
    del store
    gc.collect()
    assert gone() is None
    monitor.sample()
    assert len(monitor._subscribers) == 0
    following.stop()


def test_a_stopped_following_moves_nothing() -> None:
    monitor, sources, _ = monitor_of(100)
    with filled_store() as store:
        following = monitor.follow(store)
        following.stop()
        following.stop()
        sources.used = 990
        following.apply(monitor.sample())
        assert store.storage.cache.stats().max_bytes == 48 * MIB
        with following._lock:  # as a fork may leave it
            following.apply(monitor.sample())
        for wrong in (-1, 1.5, True):
            with pytest.raises(InvalidInputError):
                monitor.follow(store, smallest_bytes=wrong)  # type: ignore[arg-type]
        assert len(monitor._subscribers) == 0


def test_following_that_cannot_begin_leaves_nothing() -> None:
    monitor, sources, _ = monitor_of(690)
    sources.error = StorageError("mine")
    with filled_store() as store:
        with pytest.raises(StorageError):
            monitor.follow(store)
        assert len(monitor._subscribers) == 0
        assert store.storage.cache.stats().max_bytes == 48 * MIB


def test_giving_back_takes_a_rest_after_it() -> None:
    now = 0.0
    trims: list[float] = []

    def trim() -> bool:
        nonlocal now
        trims.append(now)
        now += 2.0
        return True

    give_back = GiveBack(lambda: now, trim)
    assert not give_back(TRIM_BYTES - 1)
    assert give_back(1)
    assert not give_back(TRIM_BYTES)
    now += 2.0 * RESTS - 0.1
    assert not give_back(1)
    now += 0.1
    assert give_back(0)  # what was let go meanwhile was remembered
    assert trims == [0.0, 2.0 + 2.0 * RESTS]
    assert (give_back.times, give_back.seconds) == (2, 4.0)
    now += 1000
    with give_back._lock:  # another thread is at it
        assert not give_back(TRIM_BYTES)
    monitor, _, _ = monitor_of()
    assert not monitor.give_back(1)
    assert monitor.give_back(TRIM_BYTES)
