# SPDX-License-Identifier: MIT
"""All three backends pass the conformance suite that is shipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casstore.compression import decompress
from casstore.osfile import OsFiles
from casstore.storage.backend import Backend
from casstore.storage.file_backend import FileBackend, open_file_index
from casstore.storage.memory_backend import MemoryBackend
from casstore.storage.recovery import open_index
from casstore.storage.segment_backend import SegmentBackend
from casstore.testing.backends import BackendSuite


@pytest.fixture
def tmp_path(scratch: Path) -> Path:
    return scratch


class TestSegments(BackendSuite):
    segment_bytes = 1 << 20

    def open(self, folder: str) -> Backend:
        os.makedirs(os.path.join(folder, "segments"), exist_ok=True)
        index = open_index(folder, OsFiles(), decompress, sync=False)
        return SegmentBackend(folder, index, OsFiles(), segment_bytes=self.segment_bytes, sync=False)


class TestSmallSegments(TestSegments):
    """Every few records begin a new segment."""

    segment_bytes = 300


class TestFiles(BackendSuite):
    trusts = False

    def open(self, folder: str) -> Backend:
        for name in ("objects", "refs"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        index = open_file_index(folder, decompress, sync=False)
        return FileBackend(folder, index, OsFiles(), decompress, sync=False)


class TestMemory(BackendSuite):
    durable = False

    def open(self, folder: str) -> Backend:
        return MemoryBackend()
