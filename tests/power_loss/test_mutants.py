# SPDX-License-Identifier: MIT
"""Each safeguard is taken away once, and losing power shows it: the crash points can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.power_loss.jobs import Job, start
from tests.power_loss.mutants import MUTANTS
from tests.power_loss.record import Run

SEEDS = (2, 4, 6, 8)
"""Tried one after the other until one shows it: most need the first only."""
JOBS: dict[str, Callable[[int], Job]] = {
    "adopted_without_cut": lambda seed: Job(
        run=Run(seed=seed, lives=8, steps=20, mutant="adopted_without_cut"), points=400
    ),
    "removed_before_condemned": lambda seed: Job(run=Run(seed=seed, mutant="removed_before_condemned"), points=400),
    "batches_not_counted": lambda seed: Job(
        run=Run(seed=seed, lives=1, steps=150, calm=True, mutant="batches_not_counted"), points=200, mode="bad-log"
    ),
    "ends_not_compared": lambda seed: Job(
        run=Run(seed=seed, mutant="segment_not_synced+ends_not_compared"), points=100, mode="lying"
    ),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_missing_safeguard_is_caught(name: str, recorder: Path) -> None:
    def plain(seed: int) -> Job:
        return Job(run=Run(seed=seed, mutant=name), points=200)

    failures: list[str] = []
    for seed in SEEDS:
        failures = start(replace(JOBS.get(name, plain)(seed), most=1), recorder).failures
        if failures:
            break
    assert failures, "no point shows a difference without the safeguard"
    # The jobs themselves went well: what failed are stores after a power loss.
    assert all(", point " in failure and "the job ended" not in failure for failure in failures)
