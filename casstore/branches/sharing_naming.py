# SPDX-License-Identifier: MIT
"""Who shares a content: the largest ones that are held more than once, with their keys and their branches."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from typing import TYPE_CHECKING

from casstore.address import content_address
from casstore.branches.branch import Branch
from casstore.branches.cell import Cell
from casstore.branches.delta import Delta
from casstore.branches.keyed import FILES_SLOT
from casstore.branches.sharing_contents import Contents
from casstore.branches.sharing_report import MAX_NAMES, SharedContent
from casstore.format.entry import KIND_NAMES, OBJECT
from casstore.format.snapshot import FILES, OBJECTS

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.branches.context import BranchContext

_SHORT_DIGITS = 12


def holders_of(
    context: BranchContext,
    named: list[tuple[str | None, Branch]],
    deltas: Iterable[tuple[Delta, int, list[int]]],
    contents: Contents,
    held: Iterable[tuple[Cell, int]],
    listed: int,
) -> tuple[SharedContent, ...]:
    """The largest contents of ``held``, and who holds them.

    Args:
        context: The store's.
        named: Branches with the names that were given for them.
        deltas: Deltas with their slot and the places of their branches in ``named``.
        contents: Which cell stands for which.
        held: Cells that stand for a content, and how often it is held.
        listed: How many contents to return.
    """
    sized = ((entry.size, number, cell) for cell, number in held if (entry := cell.entry).size)
    largest = nlargest(listed, sized, key=lambda one: one[:2])
    keys: dict[int, set[str]] = {id(cell): set() for _, _, cell in largest}
    places: dict[int, set[int]] = {id(cell): set() for _, _, cell in largest}
    sizes = {size for size, _, _ in largest}
    for delta, slot, ats in deltas if largest else ():
        root = FILES if slot == FILES_SLOT else OBJECTS
        for key, cell in delta.keys.items():
            if cell is not None:
                data = cell.data
                if (cell.entry.size if data is None else len(data)) not in sizes:
                    continue
                one = id(contents.of(cell))
                if one in keys:
                    keys[one].add(f"{root}/{key}")
                    places[one].update(ats)
    names = _Names(context, named)
    found = []
    for size, number, cell in largest:
        entry = cell.addressed()
        found.append(
            SharedContent(
                address=entry.address or content_address(entry.inline or b""),
                bytes=size,
                type=entry.type_id if entry.kind == OBJECT else KIND_NAMES[entry.kind],
                values=number,
                keys=tuple(sorted(keys[id(cell)])[:MAX_NAMES]),
                branches=tuple(names.of(at) for at in sorted(places[id(cell)])[:MAX_NAMES]),
                branch_count=len(places[id(cell)]),
            )
        )
    return tuple(found)


class _Names:
    """What branches are called: by the name that was given, or by a ref or the id of the start and the place."""

    def __init__(self, context: BranchContext, named: list[tuple[str | None, Branch]]) -> None:
        self._context = context
        self._named = named
        self._refs: dict[Address, str] | None = None

    def of(self, at: int) -> str:
        """The name of the branch at a place of the list."""
        name, branch = self._named[at]
        if name is not None:
            return name
        state = branch._state
        if state is None or state[0] is None:
            return f"#{at}"
        if self._refs is None:
            self._refs = {}
            for ref, snapshot_id in self._context.refs.ids():
                self._refs.setdefault(snapshot_id, ref)
        start = state[0].id
        return f"{self._refs.get(start) or start.hex()[:_SHORT_DIGITS]}#{at}"
