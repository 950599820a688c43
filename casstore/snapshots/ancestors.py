# SPDX-License-Identifier: MIT
"""Where two histories meet: the best common ancestors of two snapshots."""

from __future__ import annotations

from collections.abc import Iterable

from casstore.address import Address
from casstore.errors import CorruptionError, NotFoundError
from casstore.snapshots.history import shallow_ids
from casstore.snapshots.snapshot import Snapshots


def best_common_ancestors(snapshots: Snapshots, ours: Iterable[Address], theirs: Iterable[Address]) -> list[Address]:
    """Common ancestors of two sets of snapshots that are no ancestors of another common one, sorted by id.

    A snapshot counts as its own ancestor. What was given up on purpose ends a history there.

    Raises:
        CorruptionError: An ancestor is missing that nobody gave up; a base found without it could be a wrong one.

    *Cost*: reads the history of both sides once.
    """
    parents: dict[Address, tuple[Address, ...]] = {}
    shallow = shallow_ids(snapshots.storage)
    reached = [_ancestors(snapshots, list(side), parents, shallow) for side in (ours, theirs)]
    common = reached[0] & reached[1]
    # With a snapshot all its ancestors are common, so a parent of a common one is never among the best.
    beaten = {parent for snapshot in common for parent in parents[snapshot]}
    return sorted(common - beaten)


def _ancestors(
    snapshots: Snapshots,
    waiting: list[Address],
    parents: dict[Address, tuple[Address, ...]],
    shallow: set[Address],
) -> set[Address]:
    found: set[Address] = set()
    given_up: list[Address] = []
    while waiting:
        snapshot = waiting.pop()
        if snapshot in found:
            continue
        above = _parents_of(snapshots, snapshot, parents)
        if above is None:
            raise CorruptionError(
                f"the snapshot {snapshot.hex()} of this history is missing; name the base, or verify.",
                address=snapshot,
            )
        found.add(snapshot)
        (given_up if snapshot in shallow else waiting).extend(above)
    # What was given up is there until a collection takes it, one snapshot after the other; so it may end anywhere.
    while given_up:
        snapshot = given_up.pop()
        if snapshot not in found and (above := _parents_of(snapshots, snapshot, parents)) is not None:
            found.add(snapshot)
            given_up.extend(above)
    return found


def _parents_of(
    snapshots: Snapshots, snapshot: Address, parents: dict[Address, tuple[Address, ...]]
) -> tuple[Address, ...] | None:
    """The parents of a snapshot, remembered in ``parents``; None where it is not there."""
    if snapshot not in parents:
        try:
            parents[snapshot] = snapshots.fields(snapshot).parents
        except NotFoundError:
            return None
    return parents[snapshot]
