# SPDX-License-Identifier: MIT
"""The benchmark of tracking runs, at sizes at which its figures mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import tracking
from benchmarks.__main__ import main


@pytest.mark.parametrize("part", tracking.MODULES)
def test_part_runs(part: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    words = ["tracking", "--quick", "--repeat", "1", "--only", part, "--cache", str(tmp_path), "--json", str(result)]
    assert main(words) == 0
    found = json.loads(result.read_text("utf-8"))
    assert found["benchmark"] == "tracking"
    assert any(line.startswith(f"{part}: ") for line in found["workload"])
    goals = found["figures"]["goals"]
    assert any(goal["bar"] is not None for goal in goals.values())
    assert not list((tmp_path / "work").iterdir())
