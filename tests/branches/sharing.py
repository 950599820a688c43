# SPDX-License-Identifier: MIT
"""What the tests of sharing have in common."""

from __future__ import annotations

from typing import Any

import casstore
from casstore.branches import Branch


def collect(store: casstore.Store) -> None:
    store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()


def used(store: casstore.Store) -> int:
    return store.branches.budget.used_bytes


def cells(branch: Branch) -> dict[str, Any]:
    state = branch._current()
    return {**state[2].keys, **state[3].keys}


def apart(size: int, letter: bytes = b"v") -> bytes:
    """Equal bytes, each time another object."""
    return b"".join([letter] * size)
