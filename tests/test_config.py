# SPDX-License-Identifier: MIT
"""Config refuses what cannot be, with the name of the field and what it may hold."""

from __future__ import annotations

import dataclasses
import os

import pytest

from casstore.config import Config
from casstore.errors import InvalidInputError

GOOD = [
    {"backend": "segments"},
    {"backend": "files"},
    {"chunk_min_bytes": 64, "chunk_avg_bytes": 256, "chunk_max_bytes": 8 * 1024 * 1024},
    {"cache_bytes": 0},
    {"pending_bytes": 0},
    {"threads": 1},
    {"threads": 256},
    {"sync": "off"},
    {"segment_bytes": 4096},
    {"segment_bytes": 2**31},
    {"compression_level": 1},
    {"compression_level": 19},
    {"actor": "somebody"},
]
BAD = [
    ("backend", "leveldb"),
    ("backend", ["segments"]),
    ("chunk_min_bytes", 63),
    ("chunk_min_bytes", "64"),
    ("chunk_avg_bytes", 1.5),
    ("chunk_avg_bytes", "16384"),
    ("chunk_max_bytes", 8 * 1024 * 1024 + 1),
    ("chunk_max_bytes", True),
    ("cache_bytes", -1),
    ("cache_bytes", True),
    ("cache_bytes", None),
    ("pending_bytes", 1.0),
    ("threads", 0),
    ("threads", 257),
    ("sync", "maybe"),
    ("sync", None),
    ("segment_bytes", 4095),
    ("segment_bytes", 2**31 + 1),
    ("compression_level", 0),
    ("compression_level", 20),
    ("actor", 5),
]


@pytest.mark.parametrize("fields", GOOD)
def test_good_values(fields: dict[str, object]) -> None:
    config = Config(**fields)  # type: ignore[arg-type]
    assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} is .*; give "):
        Config(**{name: value})  # type: ignore[arg-type]


def test_frozen_and_by_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().threads = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Config("segments")  # type: ignore[misc]


def test_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config(threads=7).thread_count == 7
    for processors, wanted in ((1, 1), (2, 1), (3, 2), (64, 4), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=processors: count)
        assert Config().thread_count == wanted
