# SPDX-License-Identifier: MIT
"""A store for the tests of snapshots and refs: one of each backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from tests.snapshots.driving import open_backend


@pytest.fixture(params=["segments", "files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[casstore.Store]:
    with open_backend(request.param, tmp_path / "store") as opened:
        yield opened
