# SPDX-License-Identifier: MIT
"""casstore: an embedded, content-addressable store with snapshots, for programs that try many futures of one state.

``casstore.open(path)`` gives a ``Store``. A state is an ordered map of keys to immutable content; a fork of it is one
pointer; a snapshot of it is one hash.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if sys.platform == "win32":
    raise ImportError("casstore runs on Linux and macOS: it needs flock, pread and atomic renames. Use WSL on Windows.")

from casstore.address import Address
from casstore.config import Config
from casstore.errors import (
    CasstoreError,
    ClosedError,
    ConflictError,
    CorruptionError,
    DeadlineError,
    FactoryError,
    FormatVersionError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    QuotaExceededError,
    ReadOnlyError,
    StorageError,
)
from casstore.format.settings import Settings
from casstore.snapshots import Change, RefMove, Refs, Snapshot
from casstore.storage import ContentFile, Pin, RecordInfo
from casstore.store import Store
from casstore.store import open_store as open  # noqa: A004  (the library is used as `casstore.open`)

if TYPE_CHECKING:
    from casstore.collection import Damage, GcPlan, GcReport, Stats, VerifyReport

__version__ = "0.1.0"

_LAZY = frozenset({"Damage", "GcPlan", "GcReport", "Stats", "VerifyReport"})


def __getattr__(name: str) -> object:
    if name in _LAZY:
        import casstore.collection

        return getattr(casstore.collection, name)
    raise AttributeError(f"module 'casstore' has no attribute {name!r}")


__all__ = [
    "Address",
    "CasstoreError",
    "Change",
    "ClosedError",
    "Config",
    "ConflictError",
    "ContentFile",
    "CorruptionError",
    "Damage",
    "DeadlineError",
    "FactoryError",
    "FormatVersionError",
    "GcPlan",
    "GcReport",
    "InvalidInputError",
    "LockedError",
    "NotFoundError",
    "Pin",
    "QuotaExceededError",
    "ReadOnlyError",
    "RecordInfo",
    "RefMove",
    "Refs",
    "Settings",
    "Snapshot",
    "Stats",
    "StorageError",
    "Store",
    "VerifyReport",
    "open",
]
