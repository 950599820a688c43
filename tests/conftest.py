# SPDX-License-Identifier: MIT
"""What every test shares: Hypothesis profiles, and an environment in which nothing of the user's leaks in."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

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
