# SPDX-License-Identifier: MIT
"""Stores for the tests of directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore


@pytest.fixture
def store() -> Iterator[casstore.Store]:
    """A store in memory."""
    with casstore.open(":memory:") as opened:
        yield opened


@pytest.fixture
def disk_store(tmp_path: Path) -> Iterator[casstore.Store]:
    """A store on disk, at ``tmp_path/store``."""
    with casstore.open(str(tmp_path / "store")) as opened:
        yield opened
