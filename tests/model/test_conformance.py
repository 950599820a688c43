# SPDX-License-Identifier: MIT
"""The real store does what its model does, on random schedules; so what was shown of the model says something of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import casstore.collection.sweep as sweep
from casstore.errors import CorruptionError
from casstore.storage.indexed import IndexedBackend
from casstore.storage.watch import Watch
from tests.model.conformance import Things, make_deltas, make_things, run_trace


@pytest.fixture(scope="module")
def things() -> Things:
    return make_things()


def test_a_store_in_memory_does_what_its_model_does(things: Things) -> None:
    run_traces(things, 150)


def test_a_store_on_disk_does_what_its_model_does(things: Things, tmp_path: Path) -> None:
    for seed in range(8):
        run_trace(things, tmp_path / str(seed), seed, 40)


def test_deltas_are_kept_as_in_their_model(tmp_path: Path) -> None:
    deltas = make_deltas()
    for seed in range(100):
        run_trace(deltas, None, seed, 40)
    for seed in range(5):
        run_trace(deltas, tmp_path / str(seed), seed, 40)


@pytest.mark.parametrize(
    ("owner", "name", "instead"),
    [
        (Watch, "hit", lambda self, address, entry: None),
        (IndexedBackend, "watches", lambda self: list(self._watches[-1:])),
        (sweep.Sweep, "mark_watched", lambda self: 0),
    ],
)
def test_a_store_without_a_safeguard_is_told_from_its_model(
    things: Things, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, instead: object
) -> None:
    monkeypatch.setattr(owner, name, instead)
    with pytest.raises((AssertionError, CorruptionError)):
        run_traces(things, 100)


def run_traces(things: Things, count: int) -> None:
    for seed in range(count):
        run_trace(things, None, seed, 40)


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_things, make_deltas])
def test_a_store_does_what_its_model_does_for_long(make: Callable[[], Things], tmp_path: Path) -> None:
    things = make()
    for seed in range(1000, 1400):
        run_trace(things, None, seed, 200)
        run_trace(things, tmp_path / str(seed), seed, 80)
