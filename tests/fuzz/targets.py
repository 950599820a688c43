# SPDX-License-Identifier: MIT
"""Every fuzz target by its name."""

from __future__ import annotations

from typing import Final

from tests.fuzz.target import MIB, Target
from tests.fuzz.targets_cli import run_cli
from tests.fuzz.targets_codecs import CODEC_TARGETS
from tests.fuzz.targets_format import FORMAT_TARGETS
from tests.fuzz.targets_states import run_states
from tests.fuzz.targets_store import STORE_TARGETS

TARGETS: Final[dict[str, Target]] = {
    **FORMAT_TARGETS,
    **CODEC_TARGETS,
    **STORE_TARGETS,
    "states": Target(run=run_states, base_bytes=64 * MIB, factor=4096, seconds=10.0),
    "cli": Target(run=run_cli, base_bytes=96 * MIB, factor=4096, seconds=20.0),
}
