# SPDX-License-Identifier: MIT
"""A real process under a real limit of address space: it dies without the monitor, and lives with it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

import casstore

CONTENT_BYTES = 65_536
CONTENTS = 2400
MORE_BYTES = 96 << 20
"""Of address space, beyond what a process has that opened the store: a third of what it is going to load."""
CHILD = Path(__file__).with_name("memory_child.py")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    path = str(tmp_path_factory.mktemp("limit") / "store")
    generator = random.Random(5)
    with casstore.open(path, config=casstore.Config(sync="off")) as store, store.storage.ingest() as ingest:
        addresses = [ingest.add(generator.randbytes(CONTENT_BYTES)) for _ in range(CONTENTS)]
    return path, "\n".join(address.hex() for address in addresses)


def run(filled: tuple[str, str], mode: str) -> subprocess.CompletedProcess[str]:
    path, addresses = filled
    root = str(Path(casstore.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, str(CHILD), path, mode, str(MORE_BYTES)],
        input=addresses,
        env={"PYTHONPATH": root, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep to RLIMIT_AS")
def test_without_a_monitor_it_dies(filled: tuple[str, str]) -> None:
    result = run(filled, "without")
    assert result.returncode != 0
    assert "MemoryError" in result.stderr or "allocate" in result.stderr, result.stderr[-2000:]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep to RLIMIT_AS")
def test_with_a_monitor_it_lives(filled: tuple[str, str]) -> None:
    result = run(filled, "with")
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout)
    assert report["read_bytes"] == 3 * CONTENTS * CONTENT_BYTES
    assert report["limit_name"] == "RLIMIT_AS"
    assert report["used_bytes"] < 0.95 * report["limit_bytes"]
    # It was not for want of need: both the cache and the loaded values had to go, more than once.
    assert report["unloaded"] > CONTENTS
    assert report["cache_let_go_bytes"] > 0
    assert (report["failures"], report["problems"]) == (0, [])
