# SPDX-License-Identifier: MIT
"""Collecting by itself: when, when not, how often; by a clock that the test moves."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.collection import plan as plan_module
from casstore.collection import survey_process
from casstore.collection.auto_collect import AGAIN_SECONDS, LEAST_BYTES, AutoCollector
from casstore.collection.dead_estimate import DeadEstimate
from casstore.collection.plan import GcPlan
from casstore.testing.model import noise

MIB = 2**20
NAME = "casstore-collect"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    with casstore.open(":memory:") as opened:
        opened.configure(grace_seconds=0, undo_keep_seconds=0)
        yield opened


def write(store: casstore.Store, ref: str, size: int, seed: int) -> None:
    branch = store.branch()
    branch.files["data"] = noise(size, seed)
    branch.commit(ref=ref)


def used(store: casstore.Store) -> int:
    return store.storage.backend.used_bytes()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def test_it_is_off_by_default(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "store") as store:
        write(store, "main", 1000, 1)
        assert threads() == []
        assert store.givers == ()


# -- why


def test_much_that_is_dead_is_collected_and_little_is_not(store: casstore.Store, clock: Clock) -> None:
    for number in range(8):
        write(store, f"try/{number}", MIB, number)
    collector = AutoCollector(store, clock=clock)
    assert collector.look() is None
    del store.refs["try/0"], store.refs["try/1"]
    assert collector.look() is None
    del store.refs["try/2"]
    assert collector.look() == "dead"
    assert used(store) < 5.2 * MIB
    status = collector.status()
    assert (status.surveys, status.collections, status.last_reason) == (1, 1, "dead")
    assert status.deleted_bytes >= 3 * MIB
    assert status.last_error is None
    assert not status.is_collecting
    assert not status.is_running
    assert sorted(store.refs) == [f"try/{number}" for number in range(3, 8)]
    store.verify()


def test_garbage_that_was_appended_counts(store: casstore.Store, clock: Clock) -> None:
    write(store, "main", 2 * MIB, 1)
    collector = AutoCollector(store, dead_share=0.5, clock=clock)
    store.put(noise(MIB, 2))
    assert collector.look() is None
    store.put(noise(2 * MIB, 3))
    assert collector.look() == "dead"
    assert used(store) < 2.1 * MIB


def test_a_look_never_walks_through_the_store(
    store: casstore.Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "main", 4 * MIB, 1)
    collector = AutoCollector(store, clock=clock)
    monkeypatch.setattr(store.storage.backend, "scan", None)
    monkeypatch.setattr(store.storage.backend, "segments", None)
    store.put(noise(1000, 2))
    assert collector.look() is None


def test_what_is_little_in_all_is_left(store: casstore.Store, clock: Clock) -> None:
    collector = AutoCollector(store, clock=clock)
    store.put(noise(LEAST_BYTES // 2, 1))
    assert collector.look() is None
    assert collector.status().expected_bytes > 0.9 * used(store)


def test_an_idle_store_is_looked_at_once(store: casstore.Store, clock: Clock) -> None:
    write(store, "main", 2 * MIB, 1)
    collector = AutoCollector(store, idle_seconds=60, clock=clock)
    loose = store.put(noise(200_000, 2))
    clock.now += 59
    assert collector.look() is None
    clock.now += 59
    # The first look saw that something was written.
    assert collector.look() is None
    clock.now += 1
    assert collector.look() == "idle"
    assert loose not in store
    clock.now += 600
    assert collector.look() is None
    clock.now += AGAIN_SECONDS
    assert collector.look() == "idle"
    assert collector.status().surveys == 2


def test_writing_keeps_it_from_being_idle(store: casstore.Store, clock: Clock) -> None:
    collector = AutoCollector(store, idle_seconds=60, clock=clock)
    for number in range(10):
        store.put(noise(100, number))
        clock.now += 50
        assert collector.look() is None


def test_what_was_too_young_counts_when_it_is_old(store: casstore.Store, clock: Clock) -> None:
    store.configure(grace_seconds=100, undo_keep_seconds=0)
    write(store, "main", MIB, 1)
    collector = AutoCollector(store, clock=clock, idle_seconds=10_000)
    store.put(noise(2 * MIB, 2))
    assert collector.look() == "dead"
    assert used(store) > 3 * MIB
    clock.now += 99
    assert collector.look() is None
    assert collector.status().expected_bytes == 0
    clock.now += 2
    store.configure(grace_seconds=0)
    collector._estimate.trust = 1.0
    assert collector.look() == "dead"
    assert used(store) < 1.1 * MIB


# -- the quota


def test_near_the_quota_it_asks_and_collects(store: casstore.Store, clock: Clock) -> None:
    store.configure(max_bytes=4 * MIB)
    for number in range(7):
        write(store, f"try/{number}", MIB // 2, number)
    collector = AutoCollector(store, clock=clock)
    assert collector.look() is None
    asked: list[int] = []

    def give_up(wanted: int) -> int:
        asked.append(wanted)
        del store.refs["try/0"]
        return MIB // 2

    leave = store.on_short_space(give_up)
    assert collector.look() is None
    store.put(noise(MIB // 5, 99))
    assert collector.look() == "quota"
    # Down to eight tenths of the quota, as far as what was just appended will not be enough.
    assert len(asked) == 1
    assert 0 < asked[0] < 0.4 * MIB
    assert used(store) < 3.1 * MIB
    assert collector.status().given_up_bytes == MIB // 2
    leave()
    assert store.givers == ()


def test_who_is_asked_next_is_asked_for_the_rest(store: casstore.Store, clock: Clock) -> None:
    store.configure(max_bytes=2 * MIB)
    collector = AutoCollector(store, clock=clock)
    write(store, "main", 2 * MIB - 100_000, 1)
    collector._estimate = DeadEstimate(used(store), 0)
    asked: list[tuple[str, int]] = []

    def giver(name: str, given: int) -> Callable[[int], int]:
        def give_up(wanted: int) -> int:
            asked.append((name, wanted))
            return given

        return give_up

    def bad(wanted: int) -> int:
        raise ZeroDivisionError("bad")

    store.on_short_space(bad)
    for name, given in (("first", 100_000), ("second", MIB), ("third", MIB)):
        store.on_short_space(giver(name, given))
    assert collector.look() == "quota"
    assert [name for name, _ in asked] == ["first", "second"]
    assert asked[1][1] == asked[0][1] - 100_000
    status = collector.status()
    assert isinstance(status.last_error, casstore.FactoryError)
    assert isinstance(status.last_error.__cause__, ZeroDivisionError)
    # It went on, and looked.
    assert (status.failures, status.surveys) == (1, 1)


def test_where_nobody_gives_anything_nothing_is_surveyed_again(store: casstore.Store, clock: Clock) -> None:
    store.configure(max_bytes=2 * MIB)
    write(store, "main", 2 * MIB - 100_000, 1)
    collector = AutoCollector(store, clock=clock)
    assert collector.look() == "quota"
    store.on_short_space(lambda wanted: 0)
    clock.now += 100
    assert collector.look() == "quota"
    assert collector.status().surveys == 1
    clock.now += AGAIN_SECONDS
    assert collector.look() == "quota"
    assert collector.status().surveys == 2


# -- how often, and never two


def slowly(store: casstore.Store, clock: Clock, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every survey take so many seconds."""
    plan = store.plan_gc

    def plan_gc(**words: Any) -> GcPlan:
        clock.now += seconds
        return plan(**words)

    monkeypatch.setattr(store, "plan_gc", plan_gc)


def test_it_rests_for_its_share_of_the_time(
    store: casstore.Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(store, clock, 2.0, monkeypatch)
    write(store, "main", MIB, 1)
    collector = AutoCollector(store, time_share=0.05, clock=clock)
    for number in range(3):
        store.put(noise(2 * MIB, 10 + number))
        assert collector.look() == "dead"
        assert collector.status().rest_seconds == pytest.approx(38)
        store.put(noise(2 * MIB, 20 + number))
        clock.now += 37
        assert collector.look() is None
        clock.now += 2
    assert collector.status().seconds == pytest.approx(6)


def test_where_space_is_short_it_rests_less(
    store: casstore.Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(store, clock, 20.0, monkeypatch)
    store.configure(max_bytes=4 * MIB)
    write(store, "main", MIB, 1)
    collector = AutoCollector(store, clock=clock)
    store.put(noise(2 * MIB, 2))
    assert collector.look() == "dead"
    store.put(noise(2 * MIB + MIB // 2, 3))
    store.put(noise(MIB // 4, 4))
    clock.now += 19
    assert collector.look() is None
    clock.now += 2
    assert collector.look() == "quota"


def test_a_store_that_keeps_what_it_writes_is_surveyed_more_and_more_rarely(
    store: casstore.Store, clock: Clock
) -> None:
    collector = AutoCollector(store, dead_share=0.3, clock=clock, idle_seconds=1e6)
    seen = []
    for number in range(40):
        write(store, f"try/{number}", MIB, number)
        clock.now += 1000
        if collector.look() is not None:
            seen.append(number)
    assert collector.status().collections == 0
    assert collector.status().trust < 0.6
    assert len(seen) <= 6
    assert seen[-1] - seen[-2] > seen[1] - seen[0]


def test_it_gives_way_to_another_collection(
    store: casstore.Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "main", MIB, 1)
    collector = AutoCollector(store, clock=clock)
    store.put(noise(2 * MIB, 2))
    backend = store.storage.backend
    backend.collecting = True
    assert collector.look() is None
    backend.collecting = False

    def execute(plan: GcPlan) -> None:
        raise casstore.ConflictError("another collection is deleting right now.")

    with monkeypatch.context() as patch:
        patch.setattr(GcPlan, "execute", execute)
        assert collector.look() == "dead"
    status = collector.status()
    assert (status.conflicts, status.failures, status.last_error, status.collections) == (1, 0, None, 0)
    # Its plan is given up, or its watch would stay open for ever.
    assert backend.watches() == []
    clock.now += 10
    assert collector.look() == "dead"
    assert used(store) < 1.1 * MIB


def test_a_survey_beside_another_collection_finds_no_damage(
    store: casstore.Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was a root when the plan began may be gone: its handle was dropped, and another collection took it."""
    write(store, "main", MIB, 1)
    collector = AutoCollector(store, clock=clock)
    store.put(noise(2 * MIB, 2))
    handle = store.branch().commit("soon gone")
    pinned = [store.storage.pin("snapshot", handle.id)]
    del handle
    survey = survey_process.make_survey

    def make_survey(storage: Any, task: Any, path: Any) -> Any:
        pinned.clear()
        monkeypatch.setattr(plan_module, "make_survey", survey)
        other.append(store.plan_gc().execute())
        return survey(storage, task, path)

    other: list[Any] = []
    monkeypatch.setattr(plan_module, "make_survey", make_survey)
    assert collector.look() == "dead"
    assert other[0].deleted_objects > 0
    status = collector.status()
    assert (status.failures, status.last_error) == (0, None)
    # Where nobody deleted anything, it is damage.
    backend = store.storage.backend
    backend.delete([store.refs["main"].id])
    with pytest.raises(casstore.CorruptionError, match="missing"):
        store.plan_gc()


def test_two_looks_never_collect_at_once(store: casstore.Store, clock: Clock) -> None:
    store.configure(max_bytes=2 * MIB)
    write(store, "main", 2 * MIB - 100_000, 1)
    collector = AutoCollector(store, clock=clock)
    inner: list[Any] = []

    def give_up(wanted: int) -> int:
        assert collector.status().is_collecting
        thread = threading.Thread(target=lambda: inner.append(collector.look()))
        thread.start()
        thread.join(10)
        return 0

    store.on_short_space(give_up)
    assert collector.look() == "quota"
    assert inner == [None]
    assert collector.status().surveys == 1


def test_after_failures_it_rests_twice_as_long_each_time(
    store: casstore.Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "main", MIB, 1)
    collector = AutoCollector(store, interval_seconds=5, clock=clock)
    store.put(noise(2 * MIB, 2))
    wanted = casstore.CorruptionError("damaged; run `casstore verify`.")

    def plan_gc() -> GcPlan:
        raise wanted

    with monkeypatch.context() as patch:
        patch.setattr(store, "plan_gc", plan_gc)
        for rest in (10, 20, 40):
            assert collector.look() == "dead"
            status = collector.status()
            assert status.last_error is wanted
            assert status.rest_seconds == pytest.approx(rest)
            clock.now += rest
    assert collector.status().failures == 3
    assert collector.look() == "dead"
    assert used(store) < 1.1 * MIB
    # What went wrong before can still be seen.
    assert collector.status().last_error is wanted
    assert collector.status().rest_seconds == pytest.approx(5)


# -- the thread


def test_the_thread_collects_and_ends_with_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = casstore.open(tmp_path / "store")
    store.configure(grace_seconds=0, undo_keep_seconds=0)
    collector = store.auto_collect(interval_seconds=0.005, idle_seconds=1000)
    assert [thread.daemon for thread in threads()] == [True]
    write(store, "main", 100_000, 1)
    store.put(noise(2 * MIB, 2))
    end = time.monotonic() + 20
    while collector.status().collections == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert collector.status().collections == 1
    assert used(store) < 300_000
    other = store.auto_collect(interval_seconds=1000)
    assert not collector.status().is_running
    assert other.status().is_running
    assert len(threads()) == 1
    store.close()
    assert not other.status().is_running
    assert threads() == []
    with pytest.raises(casstore.ClosedError):
        other.look()


def test_who_drops_the_store_ends_the_thread() -> None:
    store = casstore.open(":memory:")
    store.auto_collect(interval_seconds=0.005)
    (thread,) = threads()
    store._opened.close()
    alive = weakref.ref(store)
    del store
    thread.join(10)
    # By counting references alone: it would be a long wait for Python's collector.
    assert alive() is None
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_no_thread_and_does_not_wait_for_it(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "store") as store:
        collector = store.auto_collect(interval_seconds=0.001)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                collector.look()
            except casstore.ClosedError:
                collector.stop()
                store.close()
                code = 2 if collector.status().is_running else 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert collector.status().is_running


def test_it_stops_between_the_survey_and_the_deletion(
    store: casstore.Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "main", MIB, 1)
    collector = AutoCollector(store, clock=clock)
    loose = store.put(noise(2 * MIB, 2))
    plan = store.plan_gc

    def plan_gc(**words: Any) -> GcPlan:
        collector._stopping.set()
        return plan(**words)

    monkeypatch.setattr(store, "plan_gc", plan_gc)
    assert collector.look() == "dead"
    assert loose in store
    assert collector.status().collections == 0


def test_arguments_are_checked(store: casstore.Store, tmp_path: Path) -> None:
    for name in ("dead_share", "quota_share", "time_share"):
        for wrong in (0, 1.5, -1, True, "a", float("nan")):
            with pytest.raises(casstore.InvalidInputError, match=name):
                store.auto_collect(**{name: wrong})  # type: ignore[arg-type]
    for name in ("idle_seconds", "interval_seconds"):
        for wrong in (0, -1, True, "a", float("inf"), float("nan")):
            with pytest.raises(casstore.InvalidInputError, match=name):
                store.auto_collect(**{name: wrong})  # type: ignore[arg-type]
    assert threads() == []
    casstore.open(tmp_path / "store").close()
    with casstore.open(tmp_path / "store", read_only=True) as reader, pytest.raises(casstore.ReadOnlyError):
        reader.auto_collect()
