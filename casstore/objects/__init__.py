# SPDX-License-Identifier: MIT
"""Objects on demand: handles that load when touched, loading that follows memory, changes tracked by field."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.objects.admission import Admission, Pressure
    from casstore.objects.assessing import Sample
    from casstore.objects.document import Document
    from casstore.objects.document_fields import UnsetFieldError, growing
    from casstore.objects.document_saving import SaveReport
    from casstore.objects.following import Following, FollowingFigures
    from casstore.objects.jobs import Preload
    from casstore.objects.materializer import Materializer
    from casstore.objects.memory_levels import Level, Limits
    from casstore.objects.monitor import MemoryMonitor, MonitorFigures
    from casstore.objects.places import Weigher, reached_by
    from casstore.objects.prefetch import Prefetcher
    from casstore.objects.reach import Reach, SearchTree
    from casstore.objects.reading import Bound, CollectorFigures, Reading, Sources
    from casstore.objects.ref import Priority, Ref
    from casstore.objects.report import MaterializerStatus, PrefetchStatus, Status
    from casstore.objects.subscribers import Callback
    from casstore.objects.tracking import MISSING, FieldChange, Missing, Path, StateTracker, TrackedDict, TrackedList

__all__ = [
    "MISSING",
    "Admission",
    "Bound",
    "Callback",
    "CollectorFigures",
    "Document",
    "FieldChange",
    "Following",
    "FollowingFigures",
    "Level",
    "Limits",
    "Materializer",
    "MaterializerStatus",
    "MemoryMonitor",
    "Missing",
    "MonitorFigures",
    "Path",
    "PrefetchStatus",
    "Prefetcher",
    "Preload",
    "Pressure",
    "Priority",
    "Reach",
    "Reading",
    "Ref",
    "Sample",
    "SaveReport",
    "SearchTree",
    "Sources",
    "StateTracker",
    "Status",
    "TrackedDict",
    "TrackedList",
    "UnsetFieldError",
    "Weigher",
    "growing",
    "reached_by",
]

_MODULES = {
    "Admission": "admission",
    "Bound": "reading",
    "Callback": "subscribers",
    "CollectorFigures": "reading",
    "Document": "document",
    "FieldChange": "tracking",
    "Following": "following",
    "FollowingFigures": "following",
    "Level": "memory_levels",
    "Limits": "memory_levels",
    "MISSING": "tracking",
    "Materializer": "materializer",
    "MaterializerStatus": "report",
    "MemoryMonitor": "monitor",
    "Missing": "tracking",
    "MonitorFigures": "monitor",
    "Path": "tracking",
    "PrefetchStatus": "report",
    "Prefetcher": "prefetch",
    "Preload": "jobs",
    "Pressure": "admission",
    "Priority": "ref",
    "Reach": "reach",
    "Reading": "reading",
    "Ref": "ref",
    "Sample": "assessing",
    "SaveReport": "document_saving",
    "SearchTree": "reach",
    "Sources": "reading",
    "StateTracker": "tracking",
    "Status": "report",
    "TrackedDict": "tracking",
    "TrackedList": "tracking",
    "UnsetFieldError": "document_fields",
    "Weigher": "places",
    "growing": "document_fields",
    "reached_by": "places",
}
"""Imported on use: who tracks fields need not pay for threads, nor the other way round."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
