# SPDX-License-Identifier: MIT
"""The recorder, compiled once for each test process; where that cannot be done, the tests say why and are left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power_loss.trace import build, why_not


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library to preload."""
    if why_not():
        pytest.skip(why_not())
    return build(tmp_path_factory.mktemp("recorder"))
