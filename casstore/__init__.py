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
from casstore.format.settings import KeepRule, Settings
from casstore.opening import open_store as open  # noqa: A004  (the library is used as `casstore.open`)
from casstore.snapshots import Change, RefMove, Refs, Snapshot
from casstore.storage import ContentFile, Pin, RecordInfo
from casstore.store import Store

if TYPE_CHECKING:
    from casstore.branches import Branch, Conflict, MergeReport, Shared, SharedContent, SharingReport
    from casstore.collection import Damage, GcPlan, GcReport, Stats, VerifyReport
    from casstore.collection.repair import drop_quarantine, repair
    from casstore.collection.repair_report import Hurt, RepairReport
    from casstore.storage.migrating import MigrationReport, migrate
    from casstore.tree.proof import Proven, verify_proof

__version__ = "0.1.0"

_LAZY = {
    "Branch": "casstore.branches",
    "Conflict": "casstore.branches",
    "MergeReport": "casstore.branches",
    "Shared": "casstore.branches",
    "SharedContent": "casstore.branches",
    "SharingReport": "casstore.branches",
    "Damage": "casstore.collection",
    "Hurt": "casstore.collection.repair_report",
    "RepairReport": "casstore.collection.repair_report",
    "MigrationReport": "casstore.storage.migrating",
    "drop_quarantine": "casstore.collection.repair",
    "migrate": "casstore.storage.migrating",
    "repair": "casstore.collection.repair",
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
    "Hurt",
    "InvalidInputError",
    "KeepRule",
    "LockedError",
    "MergeReport",
    "MigrationReport",
    "NotFoundError",
    "Pin",
    "Proven",
    "QuotaExceededError",
    "ReadOnlyError",
    "RecordInfo",
    "RefMove",
    "Refs",
    "RepairReport",
    "Settings",
    "Shared",
    "SharedContent",
    "SharingReport",
    "Snapshot",
    "Stats",
    "StorageError",
    "Store",
    "VerifyReport",
    "drop_quarantine",
    "migrate",
    "open",
    "repair",
    "verify_proof",
]
