# SPDX-License-Identifier: MIT
"""The examples keep what they promise: each exits with 1 where its claim is false."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name", ["repair", "transpositions", "workspace_search", pytest.param("puzzle", marks=pytest.mark.slow)]
)
def test_an_example(name: str) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) > 5
