# SPDX-License-Identifier: MIT
"""What the tests of loading share: factories that wait, memory pressure by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from casstore.objects import Materializer, Ref

LONG = 20.0
"""Seconds after which a test has failed; none ever waits so long."""


class Gate:
    """A factory that says when it begins and goes on when it is told to."""

    def __init__(self, value: Any = "value") -> None:
        self.started = threading.Event()
        self.go = threading.Event()
        self.value = value
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        self.started.set()
        assert self.go.wait(LONG)
        return self.value


class Monitor:
    """Memory pressure by hand."""

    def __init__(self) -> None:
        self.pressure = 0.0
        self.trend = 0.0
        self.callbacks: list[Callable[[Any], None]] = []

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def say(self, pressure: float, trend: float = 0.0) -> None:
        self.pressure, self.trend = pressure, trend
        for callback in self.callbacks:
            callback(self)


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread is about to do and tells nobody of."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0)


def blocked(home: Materializer) -> Gate:
    """Keeps the one thread of the pool busy until its gate opens."""
    gate = Gate()
    home.preload([home.register(gate)], priority=10**9)
    assert gate.started.wait(LONG)
    return gate


def begun(home: Materializer, ref: Ref[Any], gate: Gate) -> None:
    """Lets a thread of the pool begin with a load that nobody waits for; so a timeout can be as short as one likes."""
    ticket = home.preload([ref], priority=10**9)
    assert gate.started.wait(LONG)
    assert ticket.cancel() == 0
