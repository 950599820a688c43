# SPDX-License-Identifier: MIT
"""Objects on demand: handles that load when touched, loading that follows memory, changes tracked by field."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.objects.admission import Admission, Pressure
    from casstore.objects.document import Document
    from casstore.objects.jobs import Preload
    from casstore.objects.materializer import Materializer
    from casstore.objects.monitor import MemoryMonitor
    from casstore.objects.places import reached_by
    from casstore.objects.prefetch import Prefetcher
    from casstore.objects.ref import Ref
    from casstore.objects.report import MaterializerStatus, PrefetchStatus, Status
    from casstore.objects.tracking import StateTracker

__all__ = [
    "Admission",
    "Document",
    "Materializer",
    "MaterializerStatus",
    "MemoryMonitor",
    "PrefetchStatus",
    "Prefetcher",
    "Preload",
    "Pressure",
    "Ref",
    "StateTracker",
    "Status",
    "reached_by",
]

_MODULES = {
    "Admission": "admission",
    "Document": "document",
    "Materializer": "materializer",
    "MaterializerStatus": "report",
    "MemoryMonitor": "monitor",
    "PrefetchStatus": "report",
    "Prefetcher": "prefetch",
    "Preload": "jobs",
    "Pressure": "admission",
    "Ref": "ref",
    "StateTracker": "tracking",
    "Status": "report",
    "reached_by": "places",
}
"""Imported on use: who tracks fields need not pay for threads, nor the other way round."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
