# SPDX-License-Identifier: MIT
"""Which cell stands for a content, among all cells that a deduplication looked at.

Cells are told apart by what is cheap first: an address is computed only where two cells have one type and one size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casstore.branches.cell import Cell
from casstore.branches.sharing_handles import Twin
from casstore.format.entry import Entry

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.branches.context import BranchContext

Place = tuple[int, int]
"""Id of the pattern of a type, which the budget keeps for ever, and the size."""


class Contents:
    """From each cell to the one that stands for its content; two cells of one content have equal entries.

    Attributes:
        handles: Of shared values; their cells stand for their contents, whatever else there is.
    """

    __slots__ = ("_budget", "_groups", "_handled", "_short", "handles")

    def __init__(self, context: BranchContext) -> None:
        self._budget = context.budget
        self._short: dict[Entry, Cell] = {}
        self._groups: dict[Place, Cell | dict[Address | None, Cell]] = {}
        self.handles = context.shared.all()
        self._handled: set[int] = set()
        for handle in self.handles:
            self.add(handle._cell)
            self._handled.add(id(handle._cell))

    def _place(self, cell: Cell) -> Place | Entry:
        """The entry of what is whole in it, else what contents of the cell's type and size have in common."""
        # In this order: once the bytes are gone, the entry has its address.
        data, pattern = cell.data, cell._pattern
        if data is not None and pattern is not None:
            return id(pattern), len(data)
        entry = cell.entry
        if data is None and entry.address is None:
            return entry
        return id(pattern or self._budget.pattern(entry)), entry.size if data is None else len(data)

    def add(self, cell: Cell) -> None:
        """Takes a cell into account."""
        place = self._place(cell)
        if isinstance(place, Entry):
            self._short.setdefault(place, cell)
            return
        group = self._groups.setdefault(place, cell)
        if group is cell:
            return
        if isinstance(group, Cell):
            first = group
            group = self._groups[place] = {_address(first): first}
        # Cells of one place differ by nothing but this.
        address = _address(cell)
        known = group.setdefault(address, cell)
        if known is cell:
            return
        if id(known) in self._handled:
            pin = cell._pin
            if known.data is not None and cell.data is None and pin is not None and address is not None:
                # The store has it, and that cell's pin keeps it, so the handle need not wait with bytes of its own.
                self._budget.settle(known, address, pin)
        elif _rank(cell) < _rank(known):
            group[address] = cell

    def of(self, cell: Cell) -> Cell:
        """The cell that stands for the content of ``cell``; itself where none was added."""
        place = self._place(cell)
        if isinstance(place, Entry):
            return self._short.get(place, cell)
        group = self._groups.get(place)
        return group.get(_address(cell), cell) if isinstance(group, dict) else cell


def _address(cell: Cell) -> Address | None:
    entry = cell._entry
    address = None if entry is None else entry.address
    return cell.addressed().address if address is None else address


def _rank(cell: Cell) -> int:
    """What is in the store takes no memory, and the bytes of a twin are held anyway."""
    if cell.data is None:
        return 0
    return 1 if isinstance(cell, Twin) else 2
