# SPDX-License-Identifier: MIT
"""casstore: an embedded, content-addressable store with snapshots, for programs that try many futures of one state.

``casstore.open(path)`` gives a ``Store``. A state is an ordered map of keys to immutable content; a fork of it is one
pointer; a snapshot of it is one hash.
"""

from __future__ import annotations

import importlib
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
    from casstore.branches import Branch, Conflict, MergeReport
    from casstore.collection import Damage, GcPlan, GcReport, Stats, VerifyReport
    from casstore.tree.proof import Proven, verify_proof

__version__ = "0.1.0"

_LAZY = {
    "Branch": "casstore.branches",
    "Conflict": "casstore.branches",
    "MergeReport": "casstore.branches",
    "Damage": "casstore.collection",
    "GcPlan": "casstore.collection",
    "GcReport": "casstore.collection",
    "Stats": "casstore.collection",
    "VerifyReport": "casstore.collection",
    "Proven": "casstore.tree.proof",
    "verify_proof": "casstore.tree.proof",
}
"""What is imported on use: opening a store and reading from it needs none of it."""


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in ("branches", "codecs", "collection", "mcts", "workspace"):
        return importlib.import_module(f"casstore.{name}")
    raise AttributeError(f"module 'casstore' has no attribute {name!r}")


__all__ = [
    "Address",
    "Branch",
    "CasstoreError",
    "Change",
    "ClosedError",
    "Config",
    "Conflict",
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
    "MergeReport",
    "NotFoundError",
    "Pin",
    "Proven",
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
    "verify_proof",
]
