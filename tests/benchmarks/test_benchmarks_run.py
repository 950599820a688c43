# SPDX-License-Identifier: MIT
"""The benchmarks of branches and search trees run, at sizes at which their figures mean nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import branches, tree
from benchmarks.__main__ import main
from benchmarks.branch_agents import r_squared
from benchmarks.parts import Curve, Measured
from benchmarks.timing import best, spread

PARTS = [("branches", part) for part in branches.MODULES] + [("tree", part) for part in tree.MODULES]


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_part_runs(name: str, part: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    words = [name, "--quick", "--repeat", "1", "--only", part, "--cache", str(tmp_path), "--json", str(result)]
    assert main(words) == 0
    found = json.loads(result.read_text("utf-8"))
    assert found["benchmark"] == name
    assert any(line.startswith(f"{part}: ") for line in found["workload"])
    assert "quick run" in found["workload"][0]
    goals = found["figures"]["goals"]
    assert any(goal["bar"] is not None for goal in goals.values())
    assert all(math.isfinite(goal["value"]) for goal in goals.values())
    assert not list((tmp_path / "work").iterdir())


def test_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    from benchmarks.plots import draw

    curve = Curve("name", "title", "x", "µs", {"a": [(1, 1.0), (10, 1.1)], "b": [(1, 2.0), (10, 900.0)]})
    assert draw(curve, tmp_path / "plots").read_bytes().startswith(b"\x89PNG")


def test_straight_line() -> None:
    assert r_squared([[1, 5.0], [2, 7.0], [3, 9.0]]) == pytest.approx(1)
    assert r_squared([[1, 5.0], [2, 7.0], [3, 5.0]]) == pytest.approx(0)


def test_best_repetition_is_the_one_with_the_lowest_percentile() -> None:
    quiet, disturbed = spread([1.0] * 200), spread([1.0] * 100 + [9.0] * 100)
    assert best([disturbed, quiet]) is quiet
    assert quiet["count"] == 200
    assert disturbed["p95"] == 9.0


def test_parts_have_a_workload_and_a_measurement() -> None:
    from importlib import import_module

    for modules in (branches.MODULES, tree.MODULES):
        for module in modules.values():
            found = import_module(f"benchmarks.{module}")
            assert callable(found.workload)
            assert callable(found.measure)
    assert Measured([]).curves == []
