# SPDX-License-Identifier: MIT
"""A disk that is full before any step of a run: nothing durable is lost, and a collection gets space back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full_disk.disk import PAGE, Disk, ext4, tmpfs
from tests.full_disk.session import Session

STEPS = 16
MIB = 1024 * 1024


def run_on(disk: Disk, folder: Path, step: int, left: int) -> Session:
    session = Session(disk, folder)
    session.prepare()
    session.run(step, left)
    session.check()
    return session


def try_out(tmp_path: Path, step: int, left: int) -> Session:
    with tmpfs(tmp_path / "disk", 16 * MIB) as disk:
        return run_on(disk, tmp_path / "folder", step, left)


def test_a_run_that_meets_no_full_disk(tmp_path: Path) -> None:
    session = try_out(tmp_path, STEPS, 0)
    assert session.refused == []
    assert len(session.steps()) == STEPS


@pytest.mark.parametrize("step", range(STEPS))
def test_a_disk_that_is_full_before_a_step(tmp_path: Path, step: int) -> None:
    session = try_out(tmp_path, step, 0)
    # A collection may give back all that the rest of the run needs.
    assert session.refused or session.steps()[step].__name__ == "collect"


@pytest.mark.parametrize("pages", [1, 4, 16, 40])
def test_a_disk_with_some_pages_left(tmp_path: Path, pages: int) -> None:
    try_out(tmp_path, 0, pages * PAGE)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(STEPS))
def test_every_step_with_any_number_of_pages_left(tmp_path: Path, step: int) -> None:
    for pages in range(1, 100, 2):
        folder = tmp_path / str(pages)
        folder.mkdir()
        try_out(folder, step, pages * PAGE)


@pytest.fixture
def journalled(tmp_path: Path) -> Iterator[Disk]:
    with ext4(tmp_path / "disk", 32 * MIB) as disk:
        yield disk


@pytest.mark.slow
@pytest.mark.parametrize("step", range(STEPS))
def test_a_file_system_with_delayed_allocation(journalled: Disk, tmp_path: Path, step: int) -> None:
    run_on(journalled, tmp_path / "folder", step, 0)
