# SPDX-License-Identifier: MIT
"""The shipped suites assert too, so pytest has to rewrite them before anything imports them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("casstore.testing.backends")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: crash sweeps open hundreds of stores, and what is synced is simulated."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="casstore-test-", dir=memory) as folder:
        yield Path(folder)
