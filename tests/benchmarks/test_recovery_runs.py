# SPDX-License-Identifier: MIT
"""The benchmark of recovery runs, at sizes at which its figures mean nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks import recovery
from benchmarks.options import Options


@pytest.mark.parametrize("part", recovery.MODULES)
def test_part_runs(part: str, tmp_path: Path) -> None:
    options = Options(tmp_path, tmp_path, 1, None, (part,), 2**20, 10, quiet=True, quick=True)
    result = recovery.run(options)
    assert any(line.startswith(f"{part}: ") for line in result.workload)
    goals = result.figures["goals"]
    assert goals
    assert all(math.isfinite(goal["value"]) and goal["value"] >= 0 for goal in goals.values())
    assert not list(tmp_path.iterdir())
