# SPDX-License-Identifier: MIT
"""Prefetch pays or is off: accounts by the shape of keys, what is too small or hot, who takes over whose load."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import casstore
from casstore.errors import InvalidInputError
from casstore.objects import Materializer, Prefetcher
from casstore.objects.accounts import (
    CREDIT_SECONDS,
    HALF_SECONDS,
    LEAST_CREDIT_SECONDS,
    LEAST_SECONDS,
    MAX_REST_TOUCHES,
    MOST_SECONDS,
    OUTLIER,
    REST_TOUCHES,
    SEEN_SECONDS,
    Account,
    Accounts,
)
from casstore.objects.held import Held
from casstore.objects.paying import Payoff
from casstore.objects.places import SnapshotPlace
from tests.objects.loading_fakes import LONG, blocked, until


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    # No hot cache: what is in it is never loaded ahead.
    with casstore.open(":memory:", config=casstore.Config(cache_bytes=0)) as store:
        yield store


def steps(store: casstore.Store, number: int, name: str = "step") -> casstore.Snapshot:
    branch = store.branch()
    for place in range(number):
        branch.objects[f"{name}/{place:03d}"] = {"text": name * 300, "step": place}
    return branch.commit()


class Clock:
    """Each look at it takes as long as is stated."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.time = 0.0

    def __call__(self) -> float:
        self.time += self.seconds
        return self.time


def prefetcher(home: Materializer, load_seconds: float, think_seconds: float = 0.0, **options: Any) -> Prefetcher:
    """One for which loads, and thinking, take as long as is stated."""
    home._loader.now = Clock(load_seconds)
    ahead = Prefetcher(home, clock=Clock(think_seconds), **{"busy": 1.0, **options})
    # What waking takes is measured by the clock of loads, of which each look takes a load's time.
    ahead._wake = lambda: wake(home, ahead)  # type: ignore[method-assign]
    return ahead


def wake(home: Materializer, ahead: Prefetcher) -> None:
    if not ahead._called:
        ahead._called = True
        home._pool.think(ahead._call)


def read(home: Materializer, state: casstore.Snapshot, keys: list[str]) -> None:
    for key in keys:
        assert home.register(state, key).get()["text"]
        until(lambda: not home._pool.is_at_work)


def keys_of(number: int, name: str = "step") -> list[str]:
    return [f"{name}/{place:03d}" for place in range(number)]


# -- accounts


def test_an_account_that_does_not_pay_rests_longer_each_time() -> None:
    account = Account()
    rests, credits_ = [], []
    for _ in range(12):
        credits_.append(account.credit)
        account.book(-account.credit / 2)
        assert not account.resting
        account.book(-2 * account.credit)
        rests.append(account.resting)
        while account.rests():
            pass
    assert credits_ == [max(LEAST_CREDIT_SECONDS, CREDIT_SECONDS / 2**number) for number in range(12)]
    assert rests == [min(MAX_REST_TOUCHES, REST_TOUCHES * 2**number) for number in range(12)]
    assert account.switches == 12
    for _ in range(20):
        account.book(MOST_SECONDS / 10)
    assert account.credit == MOST_SECONDS, "what was saved long ago does not count for ever"
    account.book(-2 * MOST_SECONDS)
    assert account.resting == REST_TOUCHES, "it had paid meanwhile"
    assert account.credit == CREDIT_SECONDS / 2


def test_the_mean_of_loads_follows_and_is_not_turned_by_one() -> None:
    account = Account()
    for _ in range(40):
        account.loaded(0.001)
    account.loaded(1.0)
    assert account.seconds == pytest.approx(0.001 * (1 + (OUTLIER - 1) / 16))
    for _ in range(100):
        account.loaded(0.0001)
    assert account.seconds == pytest.approx(0.0001, rel=0.05)


def test_what_is_worth_a_guess() -> None:
    accounts = Accounts(2, 2.0)
    quick, slow = accounts.of("quick/1"), accounts.of("slow/1")
    assert accounts.of("slow/2") is slow
    quick.loaded(LEAST_SECONDS / 2)
    slow.loaded(LEAST_SECONDS * 2)
    assert (accounts.is_worth(quick), accounts.is_worth(slow)) == (False, True)
    accounts.thought(quick, LEAST_SECONDS, LEAST_SECONDS / 2)
    assert accounts.least_seconds == LEAST_SECONDS * 3
    assert not accounts.is_worth(slow), "guessing costs more than half of a load"
    accounts.of("third/1")
    assert accounts.of("quick/1") is not quick, "bounded"
    free = Accounts(2, 0.0)
    free.thought(free.of("any"), 100.0, 0.0)
    free.wasted(free.of("any"), 100.0)
    assert free.is_worth(free.of("any"))
    assert free.resting == 0


def test_how_busy_others_are_is_found_out_and_what_happened_long_ago_is_forgotten() -> None:
    accounts = Accounts(2, 2.0, None)
    assert (accounts.busy, accounts.is_idle) == (1.0, False), "nothing is known yet"
    accounts.look(100.0, 7.0)
    accounts.look(100.0 + SEEN_SECONDS, 7.0)
    assert accounts.busy == 1.0, "too short to tell"
    for step in range(1, 100):
        accounts.look(101.0 + step, 7.0 + 0.2 * step)
    assert accounts.busy == pytest.approx(0.2)
    assert accounts.is_idle
    now, others = 200.0, 7.0 + 0.2 * 99
    accounts.look(now + HALF_SECONDS, others + HALF_SECONDS)
    # Of a long past, as much is left as HALF_SECONDS / ln 2, and now only half of that.
    assert 0.5 < accounts.busy < 0.7
    for step in range(2, 12):
        # Several threads, of which those of the pool were counted late.
        accounts.look(now + step, others + 3 * step)
    assert accounts.busy == 1.0
    for step in range(12, 30):
        accounts.look(now + step, others)
    assert accounts.busy == 0.0, "what the pool did is not counted on others"
    fixed = Accounts(2, 2.0, 0.3)
    fixed.look(0.0, 0.0)
    fixed.look(1.0, 1.0)
    assert fixed.busy == 0.3


def test_what_the_pool_does_costs_as_much_as_others_compute() -> None:
    for busy, even in ((1.0, 0.5), (0.25, 0.2), (0.0, 0.0)):
        accounts = Accounts(2, 2.0, busy)
        account = accounts.of("step/1")
        accounts.thought(account, 0.004, 0.001)
        assert account.credit == pytest.approx(CREDIT_SECONDS - 0.004 * busy - 0.001)
        assert accounts.guess_seconds == pytest.approx(0.004 * busy + 0.001)
        accounts.wasted(account, 0.008)
        accounts.saved(account, 0.002)
        assert account.credit == pytest.approx(CREDIT_SECONDS - 0.012 * busy + 0.001)
        # So many hits in a hundred, of loads that take one second, are worth the others.
        assert accounts.even == even == pytest.approx(busy * (1 - even))


@pytest.mark.parametrize("busy", [-0.1, 1.5, float("nan")])
def test_how_busy_others_are_is_a_share(store: casstore.Store, busy: float) -> None:
    with Materializer(store) as home, pytest.raises(InvalidInputError, match="0 to 1"):
        Prefetcher(home, busy=busy)


def test_a_source_is_judged_by_what_a_waste_costs() -> None:
    cheap, dear = Payoff(), Payoff()
    cheap.even = 0.1
    for number in range(200):
        for payoff in (cheap, dear):
            if payoff.active:
                payoff.judge(number % 4 == 0)
    assert (cheap.active, dear.active) == (True, False)


# -- where it pays, and where it does not


def test_slow_loads_are_loaded_ahead(store: casstore.Store) -> None:
    with Materializer(store) as home:
        ahead = prefetcher(home, load_seconds=0.01)
        read(home, steps(store, 40), keys_of(40))
        status = ahead.status()
        assert status.hits > 25
        assert status.saved_seconds == pytest.approx(0.01 * status.hits)
        assert status.resting == status.switches == 0


def test_quick_loads_are_not_even_thought_about(store: casstore.Store) -> None:
    with Materializer(store) as home:
        ahead = prefetcher(home, load_seconds=LEAST_SECONDS / 2)
        read(home, steps(store, 40), keys_of(40))
        status = ahead.status()
        assert (status.issued, status.keys, status.shapes) == (0, 0, 0)
        assert home._pool.alive == 0, "no thread was ever woken"


def test_where_thinking_costs_more_than_it_saves_it_is_off_for_these_keys_only(store: casstore.Store) -> None:
    with Materializer(store) as home:
        ahead = prefetcher(home, load_seconds=0.001, margin=0.05)
        state, other = steps(store, 60), steps(store, 60, "other")
        clock = ahead._clock
        assert isinstance(clock, Clock)
        read(home, state, keys_of(20))
        assert ahead.status().hits > 10
        # From now on each thought takes longer than the loads that it saves, but less than ``margin`` forbids.
        clock.seconds = 0.01
        for key in itertools.islice(itertools.cycle(keys_of(60)), 60):
            read(home, state, [key])
            if ahead.status().resting:
                break
        assert (ahead.status().resting, ahead.status().switches) == (1, 1)
        issued = ahead.status().issued
        read(home, state, keys_of(60))
        assert ahead.status().issued == issued
        clock.seconds = 0.0
        read(home, other, keys_of(30, "other"))
        assert ahead.status().issued > issued + 15, "keys of another shape are not touched by it"
        for _ in range(5):
            read(home, state, keys_of(60))
        assert ahead.status().resting == 0, "it tries again"


def test_what_is_small_or_hot_is_not_loaded_ahead() -> None:
    with casstore.open(":memory:") as store, Materializer(store) as home:
        ahead = prefetcher(home, load_seconds=0.01)
        branch = store.branch()
        for place in range(20):
            branch.objects[f"small/{place:03d}"] = {"text": "x"}
        read(home, branch.commit(), keys_of(20, "small"))
        assert ahead.status().issued == 0
        hot = steps(store, 20)
        for key in keys_of(20):
            assert store.branch(hot).objects[key]
        read(home, hot, keys_of(20))
        assert ahead.status().issued == 0
        store.storage.cache.clear()
        for _ in range(2):
            read(home, steps(store, 20, "cold"), keys_of(20, "cold"))
            store.storage.cache.clear()
        assert ahead.status().issued > 0


def touched_without_loading(store: casstore.Store, busy: float) -> int:
    """How often somebody thinks about the reads of loaded objects."""
    state = steps(store, 30)
    with Materializer(store) as home:
        refs = [home.register(state, key) for key in keys_of(30)]
        for ref in refs:
            ref.get()
        ahead = prefetcher(home, load_seconds=0.01, busy=busy)
        thoughts = 0
        for ref in refs:
            home._loader.clock += 1
            ahead._accounts.of(ref._key).loaded(0.01)
            ref.get()
            thoughts += ahead._called
            until(lambda: not home._pool.is_at_work)
        return thoughts


def test_beside_idle_readers_every_touch_is_thought_about_at_once(store: casstore.Store) -> None:
    assert touched_without_loading(store, 1.0) < 8
    assert touched_without_loading(store, 0.1) > 20


def test_what_was_loaded_ahead_matters_as_much_as_its_ref_says_once_it_is_asked_for(store: casstore.Store) -> None:
    state = steps(store, 40)
    with Materializer(store) as home:
        ahead = prefetcher(home, load_seconds=0.01)
        refs = [home.register(state, key, priority=0.25) for key in keys_of(40)]
        for ref in refs:
            assert ref.get()["text"]
            until(lambda: not home._pool.is_at_work)
        assert ahead.status().hits > 25
        assert {held.priority for ref in refs if type(held := ref._held) is Held} == {0.25}


# -- who loads


def test_a_load_that_waits_in_the_queue_is_taken_over(store: casstore.Store) -> None:
    state = steps(store, 5)
    with Materializer(store, threads=1) as home:
        ahead = Prefetcher(home, margin=0)
        gate = blocked(home)
        assert ahead.expect([(state, 1.0)], keys_of(3)) == 3
        # The only thread of the pool is busy for as long as we like, and nobody waits for it.
        assert home.register(state, "step/001").get()["step"] == 1
        status = ahead.status()
        assert (status.overtaken, status.hits, status.wasted) == (1, 0, 0)
        gate.go.set()
        until(lambda: not home._pool.is_at_work)
        assert ahead.status().waiting == 2
        assert not home._loader.pending
        assert home.status().loads == 1 + 1 + 2, "the gate, ours, and the two that were not asked for"


def test_a_load_that_runs_is_waited_for_and_is_not_done_twice(
    store: casstore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = steps(store, 3)
    began, go = threading.Event(), threading.Event()
    whole = SnapshotPlace.read
    reads = []

    def slow(place: SnapshotPlace, key: Any, entry: Any) -> Any:
        reads.append(key)
        began.set()
        assert go.wait(LONG)
        return whole(place, key, entry)

    monkeypatch.setattr(SnapshotPlace, "read", slow)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        ahead.expect([(state, 1.0)], ["step/000"])
        assert began.wait(LONG)
        found: list[Any] = []
        reader = threading.Thread(target=lambda: found.append(home.register(state, "step/000").get()))
        reader.start()
        until(lambda: bool(home._loader._waiting))
        go.set()
        reader.join(LONG)
        assert found[0]["step"] == 0
        # A dict is nobody else's, so it is the very one that was loaded ahead.
        assert reads == ["step/000"]
        status = ahead.status()
        assert (status.hits, status.waiting, status.overtaken) == (1, 0, 0)


def test_waiting_for_a_load_is_taken_off_what_it_saved(store: casstore.Store) -> None:
    with Materializer(store) as home:
        ahead = Prefetcher(home)
        ahead.expect([(steps(store, 1), 1.0)], ["step/000"])
        until(lambda: not home._pool.is_at_work)
        loader = home._loader
        (held,) = loader.ahead.values()
        account = ahead._visits
        before = account.credit
        seconds = ahead._waiting[held.entry].seconds  # type: ignore[index]
        with loader.lock:
            ahead._claimed(held, True, seconds + 0.001)
        assert ahead.status().saved_seconds == pytest.approx(-0.001)
        assert account.credit == pytest.approx(before - 0.001)


def test_readers_wait_for_no_thought(store: casstore.Store) -> None:
    state = steps(store, 30)
    with Materializer(store) as home:
        ahead = Prefetcher(home, margin=0)
        with ahead._mind:
            # Somebody thinks all the time; what is noted meanwhile is bounded.
            for _, key in zip(range(200), itertools.cycle(keys_of(30)), strict=False):
                assert home.register(state, key).get()["text"]
            assert len(ahead._noted) <= 64
        until(lambda: not home._pool.is_at_work)
        assert not ahead._noted
