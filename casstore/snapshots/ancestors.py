# SPDX-License-Identifier: MIT
"""Where two histories meet: the best common ancestors of two snapshots."""

from __future__ import annotations

from collections.abc import Iterable

from casstore.address import Address
from casstore.errors import NotFoundError
from casstore.snapshots.snapshot import Snapshots


def best_common_ancestors(snapshots: Snapshots, ours: Iterable[Address], theirs: Iterable[Address]) -> list[Address]:
    """Common ancestors of two sets of snapshots that are no ancestors of another common one, sorted by id.

    A snapshot counts as its own ancestor. What was given up on purpose ends a history there.

    *Cost*: reads the history of both sides once.
    """
    parents: dict[Address, tuple[Address, ...]] = {}
    reached = [_ancestors(snapshots, list(side), parents) for side in (ours, theirs)]
    common = reached[0] & reached[1]
    # With a snapshot all its ancestors are common, so a parent of a common one is never among the best.
    beaten = {parent for snapshot in common for parent in parents[snapshot]}
    return sorted(common - beaten)


def _ancestors(
    snapshots: Snapshots, waiting: list[Address], parents: dict[Address, tuple[Address, ...]]
) -> set[Address]:
    found: set[Address] = set()
    while waiting:
        snapshot = waiting.pop()
        if snapshot in found:
            continue
        if snapshot not in parents:
            try:
                parents[snapshot] = snapshots.fields(snapshot).parents
            except NotFoundError:
                continue
        found.add(snapshot)
        waiting.extend(parents[snapshot])
    return found
