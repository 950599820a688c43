# SPDX-License-Identifier: MIT
"""A child's own changes: listed, or as a branch of its parent's snapshot.

The delta of a branch counts from the branch's base, which a deep node shares with all its ancestors; to store every
node from there would cost the whole path each time. Branches of one base hold the same cells where they agree, so what
a child changed is found by comparing references.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from immutables import Map

from casstore.branches.cell import Cell
from casstore.branches.delta import Delta
from casstore.format.entry import Entry
from casstore.format.snapshot import FILES, OBJECTS
from casstore.snapshots import Change, encode_key
from casstore.tree import Root, lookup

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.store import Store
    from casstore.tree import Nodes


def rebased(store: Store, child: Branch, parent: Branch, onto: Branch) -> Branch | None:
    """A branch with the child's state that begins where ``onto`` does.

    Args:
        store: The store of all of them.
        child: The state that is wanted.
        parent: What it was forked from.
        onto: A branch of a snapshot of ``parent``'s state, without changes; it is used up.

    Returns:
        The branch; None where the child does not show what it changed (the two do not share a base, or a prefix was
        deleted).

    *Cost*: 0.1 µs per key that differs from the base.
    """
    own, above, below = child._current(), parent._current(), onto._current()
    base = own[1]
    if base is not above[1] or below[2] or below[3]:
        return None
    files = _own_changes(store.nodes, base.files, own[2], above[2])
    objects = _own_changes(store.nodes, base.objects, own[3], above[3])
    if files is None or objects is None:
        return None
    merged = tuple(snapshot for snapshot in own[4] if snapshot not in above[4])
    onto._state = (below[0], below[1], files, objects, merged)
    return onto


def own_changes(store: Store, child: Branch, parent: Branch) -> list[Change] | None:
    """What a child changed, in no order; None where it does not show.

    *Cost*: as of ``rebased``, and one look-up for each key that the child changed.
    """
    own, above = child._current(), parent._current()
    base = own[1]
    if base is not above[1]:
        return None
    found = []
    for name, root, ours, theirs in (
        (FILES, base.files, own[2], above[2]),
        (OBJECTS, base.objects, own[3], above[3]),
    ):
        delta = _own_changes(store.nodes, root, ours, theirs)
        if delta is None:
            return None
        for key, cell in delta.keys.items():
            held = theirs.find(key)
            if isinstance(held, Cell):
                old: Entry | None = held.addressed()
            else:
                old = None if held is None else lookup(store.nodes, root, encode_key(key))
            new = None if cell is None else cell.addressed()
            if old != new:
                found.append(Change(f"{name}/{key}", old, new))
    return found


def _own_changes(nodes: Nodes, root: Root, own: Delta, above: Delta) -> Delta | None:
    """What leads from the state of one delta to that of the other, both on ``root``."""
    if own is above:
        return Delta()
    if own.marks != above.marks:
        return None
    theirs = above.keys
    changed: dict[str, Cell | None] = {}
    common = 0
    for key, cell in own.keys.items():
        if key not in theirs:
            changed[key] = cell
        else:
            common += 1
            if theirs[key] is not cell:
                changed[key] = cell
    if common < len(theirs):
        for key in theirs:
            if key not in own.keys:
                # Set above, and forgotten here: it is gone, unless the base shows through again.
                if not own.is_marked(key) and lookup(nodes, root, encode_key(key)) is not None:
                    return None
                changed[key] = None
    return Delta(Map(changed))
