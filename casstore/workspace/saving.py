# SPDX-License-Identifier: MIT
"""What was observed in a directory, as a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from casstore.snapshots import Snapshot
from casstore.workspace.part import OBJECTS, POSIX
from casstore.workspace.registry import workspace_ref

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.branches import Branch
    from casstore.format.canonical import JsonValue
    from casstore.store import State, Store
    from casstore.workspace.observed import Observed
    from casstore.workspace.registration import Registration


def snapshot_at(store: Store, state: State | Branch) -> Snapshot:
    """The snapshot of a state; of a branch that was changed, a new one, not yet durable."""
    if isinstance(state, Snapshot | bytes | str):
        return store.resolve(state)
    return state.unchanged or state.fork().commit("shown in a directory")


def snapshot_of(
    known: Registration, observed: Observed, message: str, meta: Mapping[str, JsonValue] | None = None
) -> Snapshot:
    """The directory's state: its base where that has the same files, else a new snapshot, not yet durable."""
    base = known.base
    roots = _roots_of(observed, base)
    # Where no metadata is captured, what the base has of it says nothing about the directory.
    if base is not None and roots == {
        name: root for name, root in base.roots.items() if name != POSIX or POSIX in observed.roots
    }:
        return base
    return known.store.add_snapshot(
        roots=roots,
        parents=() if base is None else (base.id,),
        message=message,
        meta={**known.selection.meta(observed.left_out), **(meta or {})},
    )


def save_lost(
    known: Registration, observed: Observed, base: Snapshot | None, goal: str, before: Address | None = None
) -> Snapshot:
    """The safety snapshot of a directory that is about to be switched, durable under the workspace's ref.

    ``before`` is what an interrupted switch had saved: it stays reachable from what is saved now.
    """
    roots = _roots_of(observed, base)
    last = known.snapshot(known.store.refs.id_of(workspace_ref(known.registered().id)))
    if last is not None and dict(last.roots) == roots:
        return last
    origins = [origin for origin in (before, None if base is None else base.id) if origin is not None]
    saved = known.store.add_snapshot(
        roots=roots,
        parents=[origin for origin in dict.fromkeys(origins) if known.snapshot(origin) is not None],
        message=f"saved before the switch to {goal}",
        meta=known.selection.meta(observed.left_out),
    )
    known.keep(saved, "saved before a switch")
    return saved


def _roots_of(observed: Observed, base: Snapshot | None) -> dict[str, Address]:
    """What a snapshot of the directory holds: its files, and the objects that came with its base."""
    roots = dict(observed.roots)
    if base is not None and OBJECTS in base.roots:
        roots[OBJECTS] = base.roots[OBJECTS]
    return roots
