# SPDX-License-Identifier: MIT
"""Objects by address, on disk or in memory: records in segments, an index, and what keeps both true after a crash."""

from __future__ import annotations

from casstore.storage.backend import Backend, SegmentInfo
from casstore.storage.content import ContentFile
from casstore.storage.hot_cache import CacheStats, HotCache
from casstore.storage.ingest import Ingest
from casstore.storage.pins import Pin, PinHandle
from casstore.storage.storage import RecordInfo, Storage

__all__ = [
    "Backend",
    "CacheStats",
    "ContentFile",
    "HotCache",
    "Ingest",
    "Pin",
    "PinHandle",
    "RecordInfo",
    "SegmentInfo",
    "Storage",
]
