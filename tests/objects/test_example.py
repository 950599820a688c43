# SPDX-License-Identifier: MIT
"""The example keeps what it promises: it exits with 1 where its claim is false."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_an_agent_whose_state_outgrows_memory() -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "agent_memory.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "unloads" in done.stdout
    assert len(done.stdout.splitlines()) > 15
