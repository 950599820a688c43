# SPDX-License-Identifier: MIT
"""Stores for the tests of directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.workspace.changing import renaming


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


@pytest.fixture(params=["renameat2", "plain"])
def every_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's swap, and without."""
    if request.param == "plain":
        monkeypatch.setattr(renaming, "_renameat2", lambda: None)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "top"
