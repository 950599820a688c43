# SPDX-License-Identifier: MIT
"""Monitor, admission, materializer and hot cache together, in a process whose memory is a number: no clock, no luck."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

import casstore
from casstore.objects import Following, Limits, Materializer, MemoryMonitor, Ref
from casstore.objects.admission import Admission
from casstore.objects.assessing import Sample
from casstore.objects.pressing import follow, trend_of
from casstore.objects.reading import Bound, Reading
from tests.objects.loading_fakes import LONG, Monitor, blocked, until
from tests.objects.memory_fakes import FakeClock

MB = 1_000_000
LIMIT = 20 * MB
SMALLEST = MB // 2


class Process:
    """What others take, what the cache holds, and what is loaded: memory that really comes free when it is let go."""

    def __init__(self, store: casstore.Store) -> None:
        self.store = store
        self.home: Materializer | None = None
        self.others = 4 * MB

    def open(self) -> None:
        return

    def close(self) -> None:
        return

    def read(self) -> Reading:
        loaded = 0 if self.home is None else self.home._loader.residents.used_bytes
        used = self.others + self.store.storage.cache.stats().bytes + loaded
        return Reading(rss_bytes=used, bounds=(Bound("fake", used, LIMIT),))


class Whole:
    """Everything, put together as a user would."""

    def __init__(self, store: casstore.Store, number: int = 60, max_bytes: int = 4 * MB) -> None:
        branch = store.branch()
        for place in range(number):
            branch.objects[f"k/{place:02d}"] = f"{place:02d}" * 25_000
        snapshot = branch.commit()
        del branch
        store.storage.cache.clear()
        self.process = Process(store)
        self.clock = FakeClock()
        self.monitor = MemoryMonitor(self.process, Limits(), clock=self.clock)
        self.following: Following = self.monitor.follow(store, smallest_bytes=SMALLEST)
        self.home = self.process.home = Materializer(store, max_bytes=max_bytes, threads=1, monitor=self.monitor)
        self.refs: list[Ref[Any]] = self.home.members(snapshot)
        for place, ref in enumerate(self.refs):
            ref.priority = place / number
        self.history: list[tuple[float, int, int, int]] = []

    def step(self, others: float, seconds: float = 1.0) -> None:
        """Time passes, others take what they take, and the monitor looks."""
        self.process.others = int(others)
        self.clock.now += seconds
        self.monitor.sample()
        status = self.home.status()
        # Not the threshold, which depends on how long loads took.
        bound = self.following.figures().bound_bytes
        self.history.append((status.pressure, status.allowed_bytes, status.loaded_bytes, bound))

    def rest(self) -> None:
        """Waits until no thread loads any more."""
        until(lambda: self.home.status().queued == self.home.status().running == 0)

    def turns(self, column: int) -> int:
        """How often a figure went the other way than before."""
        moves = [after[column] - before[column] for before, after in pairwise(self.history)]
        signs = [move > 0 for move in moves if not math.isnan(move) and move]
        return sum(one != other for one, other in pairwise(signs))


@pytest.fixture
def whole() -> Iterator[Whole]:
    with casstore.open(":memory:", config=casstore.Config(cache_bytes=4 * MB)) as store:
        found = Whole(store)
        yield found
        found.home.close(discard=True)
        found.following.stop()


def test_memory_gets_short_and_comes_back(whole: Whole) -> None:
    home, monitor = whole.home, whole.monitor
    for ref in whole.refs:
        ref.get()
    assert home.status().loaded == 60
    whole.step(4 * MB)
    assert (home.status().pressure, home.threshold) == (pytest.approx(0.0, abs=0.34), 0.0)
    before = whole.history[-1]
    thresholds = []
    # Others take more and more.
    while whole.process.others < 19 * MB:
        whole.step(whole.process.others + MB / 2)
        assert home.status().loaded_bytes <= home.status().allowed_bytes
        thresholds.append(threshold := home.threshold)
        admitted = home.preload(whole.refs)
        loaded = {ref for ref in whole.refs if ref.is_loaded}
        # In order: none is refused while a lesser one is admitted, but for what is there already.
        assert all(ref.priority < threshold for ref in admitted.rejected)
        assert all(ref.priority >= threshold or ref in loaded for ref in admitted.admitted)
        admitted.cancel()
        whole.rest()
    assert monitor.level == "critical"
    assert home.threshold == math.inf
    assert any(0 < one < math.inf for one in thresholds), "it rises on the way, not at the end alone"
    pressures = [one[0] for one in whole.history]
    assert pressures == sorted(pressures)
    assert [one[1] for one in whole.history] == sorted((one[1] for one in whole.history), reverse=True)
    assert home.status().allowed_bytes < before[1] / 5
    assert whole.following.figures().bound_bytes == SMALLEST
    assert whole.process.store.storage.cache.stats().bytes <= SMALLEST
    # What matters most stayed; who waits is served all the same.
    left = [ref.priority for ref in whole.refs if ref.is_loaded]
    assert left
    assert min(left) > max(ref.priority for ref in whole.refs if not ref.is_loaded)
    assert whole.refs[0].get() == "00" * 25_000
    # And it comes back, all of it, in one direction.
    whole.history.clear()
    while whole.process.others > 4 * MB:
        whole.step(whole.process.others - MB / 2)
    for _ in range(10):
        whole.step(4 * MB)
    assert monitor.level in ("low", "medium")
    status = home.status()
    assert (status.threshold, status.allowed_bytes) == (0.0, status.max_bytes)
    assert whole.following.figures().bound_bytes == whole.following.figures().full_bytes > 2 * MB
    assert whole.turns(0) == whole.turns(1) == 0
    assert home.preload(whole.refs).wait(LONG)
    assert home.status().loaded == 60


def test_what_waits_when_memory_gets_short_is_refused_from_below(whole: Whole) -> None:
    gate = blocked(whole.home)
    ticket = whole.home.preload(whole.refs)
    assert len(ticket.admitted) == 60
    while whole.monitor.pressure < 0.8:
        whole.step(whole.process.others + MB / 2)
    threshold = whole.home.threshold
    assert 0 < threshold < 1
    gate.go.set()
    assert ticket.wait(LONG)
    rejected = [ref for ref in whole.refs if ref.priority < threshold]
    assert rejected
    assert not any(ref.is_loaded for ref in rejected)
    # The others were loaded, though not all of them fit; loads that are quick may raise the threshold on the way.
    status = whole.home.status()
    assert status.rejected >= len(rejected) > 10
    assert status.loads == 1 + 60 - status.rejected > 1
    assert whole.home.status().loaded_bytes <= whole.home.status().allowed_bytes


@pytest.mark.parametrize("edge", [0.70, 0.85, 0.95])
def test_memory_that_flutters_about_an_edge_moves_little(whole: Whole, edge: float) -> None:
    for ref in whole.refs[:20]:
        ref.get()
    rest = whole.process.read().rss_bytes - whole.process.others
    for number in range(60):
        whole.step(edge * LIMIT - rest + (0.01 if number % 2 else -0.01) * LIMIT, 0.5)
        for ref in whole.refs[:5]:
            ref.get()
    whole.history = whole.history[4:]
    assert whole.turns(1) <= 2
    assert whole.turns(0) <= 2


def test_the_trend_counts_once(whole: Whole) -> None:
    for _ in range(8):
        whole.step(whole.process.others + MB, 0.5)
    assert whole.monitor.trend > MB
    assert trend_of(whole.monitor) == 0.0, "the monitor's pressure has it already"
    assert whole.home._trend == 0.0
    status = whole.home.status()
    rule = Admission()
    assert status.threshold == rule.threshold(status.pressure, status.load_seconds, status.hit_rate)
    # A monitor that does not foresee leaves it to admission.
    plain = Monitor()
    plain.pressure, plain.trend = 0.5, 300_000.0
    assert trend_of(plain) == 300_000.0
    with Materializer(max_bytes=MB, monitor=plain) as home:
        assert home.threshold > rule.threshold(0.5, 0.0, 1.0)


def test_a_level_holds_pressure_up_until_it_falls() -> None:
    class Levelled(Monitor):
        level = "low"

    monitor = Levelled()
    with Materializer(max_bytes=MB, monitor=monitor) as home:
        for level, pressure, expected in (
            ("low", 0.2, 0.2),
            ("high", 0.9, 0.9),
            ("high", 0.87, 0.9),
            ("high", 0.1, 2 / 3),
            ("medium", 0.1, 1 / 3),
            ("critical", 0.1, 1.0),
            ("unheard of", 0.1, 0.1),
            ("low", 0.0, 0.0),
            ("low", float("nan"), 1.0),
        ):
            monitor.level = level
            monitor.say(pressure)
            assert home.status().pressure == pytest.approx(expected)


def test_a_bound_beyond_all_memory_is_one_nevertheless() -> None:
    with casstore.open(":memory:") as store:
        # What waits for 1,000 times the limit would not be bounded by any share of it.
        whole = Whole(store, max_bytes=1000 * LIMIT)
        with whole.home as home:
            for ref in whole.refs:
                ref.get()
            loaded = home.status().loaded_bytes
            whole.step(4 * MB)
            assert home.status().allowed_bytes == 1000 * LIMIT, "nothing presses"
            others = 0.9 * LIMIT - loaded
            whole.step(others)
            first = home.status()
            assert first.pressure > 1 / 3
            assert first.allowed_bytes < loaded + 0.1 * LIMIT
            assert first.loaded_bytes <= first.allowed_bytes
            for number in range(30):
                whole.step(others + (number % 2) * 0.002 * LIMIT)
            assert whole.turns(1) <= 2
            whole.step(LIMIT)
            assert home.status().loaded_bytes < loaded / 4
            for _ in range(20):
                whole.step(MB)
            assert home.status().allowed_bytes == 1000 * LIMIT


def test_where_only_waiting_is_known_the_bound_is_of_what_was_loaded_then() -> None:
    with Materializer(max_bytes=1000 * MB) as home:
        refs = [home.register(lambda: bytes(MB)) for _ in range(10)]
        for ref in refs:
            ref.get()
        loader = home._loader
        used = loader.residents.used_bytes

        def sample(pressure: float) -> Sample:
            return Sample(time_seconds=0.0, level="low", pressure=pressure, rss_bytes=20 * MB)

        follow(loader, home.admission, 0.2, sample(0.2))
        assert loader.allowed_bytes == 1000 * MB
        for _ in range(5):
            follow(loader, home.admission, 2 / 3, sample(2 / 3))
            # Not less and less with every sample.
            assert loader.allowed_bytes == pytest.approx(used * 0.55, abs=2)
        assert 0 < loader.residents.used_bytes <= loader.allowed_bytes
        follow(loader, home.admission, 0.0, sample(0.0))
        assert loader.allowed_bytes == 1000 * MB
        home._loader.make_room(2 * MB)
        less = loader.residents.used_bytes
        assert 0 < less < used / 2
        follow(loader, home.admission, 2 / 3, sample(2 / 3))
        assert loader.allowed_bytes == pytest.approx(less * 0.55, abs=2), (
            "what was loaded before it was calm is forgotten"
        )
