# SPDX-License-Identifier: MIT
"""What every test shares: Hypothesis profiles, a store, and an environment in which nothing of the user's leaks in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

import casstore

# `ci` is repeatable and bounded; `thorough` (--hypothesis-profile=thorough, make test-slow) searches anew each time.
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=2000,
    stateful_step_count=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _no_store_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CLI reads ``CASSTORE_*``: a test must not find the user's own store there."""
    for name in [name for name in os.environ if name.startswith("CASSTORE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    """A store in memory."""
    with casstore.open(":memory:") as opened:
        yield opened


@pytest.fixture
def hurry() -> Iterator[Callable[[], None]]:
    """Makes threads change places after every few steps, until the test ends.

    It is called when all of them run, as the ``action`` of a barrier: threads cannot start in such a hurry while
    somebody traces them, as those do who measure coverage.
    """
    before = sys.getswitchinterval()
    yield lambda: sys.setswitchinterval(1e-6)
    sys.setswitchinterval(before)
