# SPDX-License-Identifier: MIT
"""What a store, a factory or a caller may get wrong, seen by who loads objects: a named error, and all goes on."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import casstore
from casstore.codecs import Registry, StructFactory
from casstore.errors import DeadlineError, FactoryError, InvalidInputError, NotFoundError
from casstore.format.entry import object_entry
from casstore.objects import Materializer, Prefetcher, Ref, Status
from tests.objects.loading_fakes import LONG, Gate, Monitor, begun, until


@pytest.fixture
def home(store: casstore.Store) -> Iterator[Materializer]:
    found = Materializer(store, threads=1)
    yield found
    found.close(discard=True)


class Own:
    """A factory of a test's own, for the type ``own``."""

    type_id, version = "own", 1

    def __init__(self, decode: Callable[[bytes], Any], size: Any = None) -> None:
        self._decode, self._size = decode, size

    def encode(self, value: object) -> bytes:
        return b"x" * 300

    def decode(self, data: bytes) -> Any:
        return self._decode(data)

    def estimate_size(self, entry: object) -> Any:
        return entry.size if self._size is None else self._size()  # type: ignore[attr-defined]


def ref_to(home: Materializer, decode: Callable[[bytes], Any], size: Any = None, **options: Any) -> Ref[Any]:
    store = home.store
    assert store is not None
    store.branches.codecs.register(Own(decode, size))
    data = b"x" * 300
    return home.register(object_entry("own", 1, len(data), store.put(data)), **options)


def goes_on(home: Materializer) -> None:
    """The next load is served, in this thread and in the pool."""
    assert home.register(lambda: 7).get() == 7
    assert home.register(lambda: 8).get(timeout=LONG) == 8
    assert not home._loader._flights
    assert not home._loader._waiting


@pytest.mark.parametrize("error", [ValueError("no"), RecursionError(), KeyError("x"), OSError(5, "io")])
@pytest.mark.parametrize("timeout", [None, LONG])
def test_a_factory_that_raises(home: Materializer, error: Exception, timeout: float | None) -> None:
    def fail(data: bytes) -> Any:
        raise error

    ref = ref_to(home, fail)
    with pytest.raises(FactoryError, match="own"):
        ref.get(timeout)
    assert ref.status is Status.FAILED
    assert home.status().failures == 1
    goes_on(home)


@pytest.mark.parametrize("size", [lambda: 1 / 0, lambda: "many", lambda: math.nan, lambda: None])
def test_a_factory_that_cannot_say_how_large(home: Materializer, size: Any) -> None:
    ref = ref_to(home, bytes, size)
    with pytest.raises(FactoryError, match="estimate"):
        ref.get()
    goes_on(home)


def test_a_factory_that_gives_the_wrong_type(home: Materializer) -> None:
    ref = ref_to(home, lambda data: "text", type=dict)
    with pytest.raises(FactoryError, match="registered as dict"):
        ref.get()
    assert home.status().loaded == 0
    goes_on(home)


def test_a_factory_that_never_returns(home: Materializer) -> None:
    gate = Gate()
    ref = ref_to(home, lambda data: gate())
    begun(home, ref, gate)
    with pytest.raises(DeadlineError):
        ref.get(timeout=0.01)
    status = home.status()
    assert (status.abandoned, status.abandoned_ever, status.late, status.threads) == (1, 1, 1, 0)
    assert isinstance(ref.error, DeadlineError)
    goes_on(home)
    gate.go.set()
    until(lambda: home.status().abandoned == 0)
    assert home.status().abandoned_ever == 1


def test_a_thread_that_dies_in_a_factory(home: Materializer) -> None:
    def die(data: bytes) -> Any:
        raise SystemExit

    ref = ref_to(home, die)
    with pytest.raises(FactoryError, match="ended"):
        ref.get(timeout=LONG)
    until(lambda: home.status().died == 1)
    goes_on(home)


def test_who_waits_for_a_thread_that_dies(home: Materializer) -> None:
    gate = Gate()

    def die(data: bytes) -> Any:
        gate()
        raise KeyboardInterrupt

    ref = ref_to(home, die)
    errors: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(FactoryError) as error:
            ref.get()
        errors.append(error.value)

    ticket = home.preload([ref], priority=1.0)
    assert gate.started.wait(LONG)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(home._loader._waiting) == 3)
    gate.go.set()
    for thread in threads:
        thread.join(LONG)
    assert ticket.wait(LONG)
    assert len(errors) == 3
    goes_on(home)


def test_a_type_that_nobody_registered_and_a_newer_version(home: Materializer, store: casstore.Store) -> None:
    @dataclass
    class Point:
        x: int

    newer = Registry()
    newer.register(StructFactory(Point, "point", version=2), types=[Point])
    type_id, version, data = newer.encode(Point(1))
    alien = home.register(object_entry(type_id, version, len(data), None, data))
    with pytest.raises(FactoryError, match="point"):
        alien.get()
    store.branches.codecs.register(StructFactory(Point, "point", version=1))
    with pytest.raises(FactoryError, match="2"):
        home.register(object_entry(type_id, version, len(data), None, data)).get()
    with pytest.raises(FactoryError, match="99"):
        home.register(object_entry("json", 99, 2, None, b"{}")).get()
    goes_on(home)


def test_a_decoded_size_beyond_the_bound(store: casstore.Store) -> None:
    with Materializer(store, max_bytes=10_000) as home:
        ref = ref_to(home, lambda data: bytes(20_000))
        with pytest.raises(FactoryError, match="max_object_bytes"):
            ref.get()
        stated = ref_to(home, lambda data: pytest.fail("it was read"), lambda: 20_000)
        with pytest.raises(FactoryError, match="max_object_bytes"):
            stated.get()
        negative = ref_to(home, bytes, lambda: -5)
        assert negative.get() == b"x" * 300
        assert home.status().loaded_bytes > 0
        goes_on(home)


@pytest.mark.parametrize("bad", [-1, -1e-300, math.nan, math.inf, -math.inf, True, "1", None, [1]])
def test_priorities_that_are_none(home: Materializer, store: casstore.Store, bad: Any) -> None:
    ref = home.register(lambda: 1)
    if bad is not None:
        with pytest.raises(InvalidInputError):
            ref.priority = bad
        with pytest.raises(InvalidInputError):
            home.register(lambda: 1, priority=bad)
        with pytest.raises(InvalidInputError):
            home.preload([ref], priority=bad)
    with pytest.raises(InvalidInputError):
        home.set_threshold(bad)
    ahead = Prefetcher(home)
    with pytest.raises(InvalidInputError):
        ahead.expect([(store.branch(), bad)], ["x"])
    asked = home.register(lambda: 1, priority=lambda: bad)
    with pytest.raises(InvalidInputError):
        home.preload([asked])
    home.weigh = lambda state: bad
    with pytest.raises(InvalidInputError):
        home.register(store.branch().commit(), "x").priority  # noqa: B018
    goes_on(home)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -3.0, 17.0])
def test_a_monitor_that_talks_nonsense(bad: float) -> None:
    monitor = Monitor()
    with Materializer(max_bytes=10**6, monitor=monitor) as home:
        monitor.say(bad, trend=bad)
        status = home.status()
        assert status.pressure == (0.0 if bad < 0 else 1.0)
        assert not math.isnan(status.threshold)
        assert 0 < status.allowed_bytes <= 10**6
        assert home.register(lambda: 7).get() == 7


def test_what_is_not_there(home: Materializer, store: casstore.Store) -> None:
    for target in (store.branch(), store.branch().commit()):
        ref = home.register(target, "missing")
        with pytest.raises(NotFoundError):
            ref.get()
        with pytest.raises(NotFoundError):
            ref.get(timeout=LONG)
        assert ref.status is Status.FAILED
        ticket = home.preload([ref])
        assert ticket.wait(LONG)
    with pytest.raises(NotFoundError):
        home.register(object_entry("bytes", 1, 300, b"a" * 32))
    assert not [pin for pin in store.pins() if pin.what == "content"]
    goes_on(home)


@pytest.mark.parametrize("bad", [None, 7, "tree", object()])
def test_what_is_no_search(home: Materializer, store: casstore.Store, bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="no search"):
        home.follow(bad)
    with pytest.raises(InvalidInputError, match="no search"):
        Prefetcher(home).follow(bad)
    if bad is not None:
        with pytest.raises(InvalidInputError, match="no search"):
            Materializer(store, tree=bad)
