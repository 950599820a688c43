# SPDX-License-Identifier: MIT
"""States with a name: snapshots, the refs that name them, and their history."""

from __future__ import annotations

from casstore.format.event import RefMove
from casstore.snapshots.ancestors import best_common_ancestors
from casstore.snapshots.change import Change, diff_roots
from casstore.snapshots.history import history_cut, log, shallow_ids, shallow_of
from casstore.snapshots.refs import Refs, check_ref_name, is_ref_name
from casstore.snapshots.snapshot import Snapshot, Snapshots
from casstore.snapshots.view import FilesView, decode_key, encode_key

__all__ = [
    "Change",
    "FilesView",
    "RefMove",
    "Refs",
    "Snapshot",
    "Snapshots",
    "best_common_ancestors",
    "check_ref_name",
    "decode_key",
    "diff_roots",
    "encode_key",
    "history_cut",
    "is_ref_name",
    "log",
    "shallow_ids",
    "shallow_of",
]
