# SPDX-License-Identifier: MIT
"""Stores for the tests of directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import casstore
from casstore.workspace.changing import renaming
from tests.workspace.overlays import MakeOverlay, Overlay, bare_overlay, overlay_maker
from tests.workspace.switching import Made, opened, unmounting


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


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """A store, a directory saved as ``main``, its workspace."""
    store, directory, workspace = opened(tmp_path)
    with store, workspace, unmounting(tmp_path):
        yield store, directory, workspace


@pytest.fixture
def make_overlay(store: casstore.Store, tmp_path: Path) -> MakeOverlay:
    return overlay_maker(store, tmp_path)


@pytest.fixture
def bare(store: casstore.Store, tmp_path: Path) -> Overlay:
    return bare_overlay(store, tmp_path)
