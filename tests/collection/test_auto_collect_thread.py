# SPDX-License-Identifier: MIT
"""Collecting by itself: how long its thread waits."""

from __future__ import annotations

import time

import pytest

import casstore
from casstore.collection.auto_collect import AutoCollector


def test_a_collection_is_no_reason_to_look_away(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it rests is known to the collector, and where the quota is near that is less; only looks are spared."""
    collector = AutoCollector(store, interval_seconds=0.01, time_share=0.05)
    reasons: list[str | None] = ["quota", None]

    def look(_: AutoCollector) -> str | None:
        time.sleep(0.05)
        return reasons.pop(0)

    monkeypatch.setattr(AutoCollector, "look", look)
    assert collector._step() == 0.01
    assert (collector._step() or 0) >= 0.05 / 0.05
