# SPDX-License-Identifier: MIT
"""States with a name: snapshots, the refs that name them, and their history."""

from __future__ import annotations

from casstore.format.event import RefMove
from casstore.snapshots.history import is_shallow, log
from casstore.snapshots.refs import Refs, check_ref_name
from casstore.snapshots.snapshot import Snapshot, Snapshots
from casstore.snapshots.view import FilesView, decode_key, encode_key

__all__ = [
    "FilesView",
    "RefMove",
    "Refs",
    "Snapshot",
    "Snapshots",
    "check_ref_name",
    "decode_key",
    "encode_key",
    "is_shallow",
    "log",
]
