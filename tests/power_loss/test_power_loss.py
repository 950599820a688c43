# SPDX-License-Identifier: MIT
"""Power is lost at thousands of points of long random runs, and once more while the store is opened again.

A failure names the seed, the point, the variant, and the command that does it again. More points:
``python -m tests.power_loss --points 100000 --seed 1``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power_loss.jobs import Job, start
from tests.power_loss.record import Run

RUNS = 10
POINTS = 510
"""In each run: more than 5,000 in all, within about a minute on two cores."""


def run_job(job: Job, recorder: Path) -> None:
    outcome = start(job, recorder)
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.points == job.points
    assert outcome.again > job.points // 20


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_power_loss_loses_nothing_durable(seed: int, recorder: Path, tmp_path: Path) -> None:
    # The trace of a failure outlives the folders of the test by pytest's own rule: the last three are kept.
    run_job(Job(run=Run(seed=seed), points=POINTS, keep=tmp_path), recorder)


@pytest.mark.parametrize("seed", [20, 21])
def test_a_power_loss_with_a_file_per_object(seed: int, recorder: Path, tmp_path: Path) -> None:
    # Under POSIX an index that was removed by hand comes back; test_found.py has the case.
    run = Run(seed=seed, backend="files", lives=2, steps=20)
    run_job(Job(run=run, points=60, rules="JOURNAL,LOOSE", keep=tmp_path), recorder)


@pytest.mark.parametrize("seed", [30, 32])
def test_a_power_loss_and_a_flipped_bit_in_the_log_of_the_index(seed: int, recorder: Path, tmp_path: Path) -> None:
    """LevelDB drops what follows the damage without a word; the index is made anew, and nothing is lost."""
    run = Run(seed=seed, lives=1, steps=120, calm=True)
    outcome = start(Job(run=run, points=120, mode="bad-log", keep=tmp_path), recorder)
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.points == 120


def test_after_a_disk_that_lied_what_is_put_again_is_there(recorder: Path, tmp_path: Path) -> None:
    """Segments were never synced, whatever the store was told: what is lost is lost, and can be put again."""
    run = Run(seed=40, mutant="segment_not_synced")
    outcome = start(Job(run=run, points=150, mode="lying", keep=tmp_path), recorder)
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.points == 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1025))
def test_a_power_loss_at_every_call_of_a_run(seed: int, recorder: Path, tmp_path: Path) -> None:
    run_job(Job(run=Run(seed=seed), points=4000, keep=tmp_path), recorder)
