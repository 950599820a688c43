# SPDX-License-Identifier: MIT
"""What is probably dead, from figures that cost nothing."""

from __future__ import annotations

from typing import Any

import pytest

from casstore.collection.dead_estimate import LEAST_TRUST, DeadEstimate


def looked(estimate: DeadEstimate, possible: int, dead: int, **words: Any) -> None:
    given = {"live_bytes": 100, "young_bytes": 0, "ripe_at": 0.0, "used_bytes": 100, "deleted_refs": 0, **words}
    estimate.looked(possible_bytes=possible, dead_bytes=dead, **given)


def test_what_may_be_dead() -> None:
    estimate = DeadEstimate(1000, 5)
    assert estimate.possible(1000, 5, 10, 0) == 0
    assert estimate.possible(1300, 5, 10, 0) == 300
    # Two of twelve refs are gone, and with them a sixth of what there was.
    assert estimate.possible(1300, 7, 10, 0) == 300 + 1000 * 2 // 12
    # Somebody else collected: what is appended from there on counts.
    assert estimate.possible(600, 5, 10, 0) == 0
    assert estimate.possible(700, 5, 10, 0) == 100
    looked(estimate, 100, 50, young_bytes=40, ripe_at=10.0, used_bytes=800, deleted_refs=7)
    assert estimate.possible(800, 7, 10, 9) == 0
    assert estimate.possible(800, 7, 10, 10) == 40
    # Never more than there is.
    assert estimate.possible(30, 7, 10, 10) == 30


def test_what_is_believed() -> None:
    estimate = DeadEstimate(100, 0)
    looked(estimate, 100, 0)
    # The first survey says nothing: what it found may have died before.
    assert estimate.trust == 1.0
    looked(estimate, 100, 0)
    assert estimate.trust == 0.5
    assert estimate.expected(200, 0, 1, 0) == 50
    for _ in range(10):
        looked(estimate, 100, 0)
    assert estimate.trust == LEAST_TRUST
    for _ in range(10):
        looked(estimate, 100, 300)
    assert estimate.trust == pytest.approx(1.0, abs=0.01)
    looked(estimate, 0, 0)
    assert estimate.trust == pytest.approx(1.0, abs=0.01)
