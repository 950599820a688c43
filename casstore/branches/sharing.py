# SPDX-License-Identifier: MIT
"""Deduplication of branches: values that became equal after they were created become one cell in memory.

Nothing that a branch shows changes: a cell takes the place of an equal one, a map that of an equal map, a base that of
one with equal roots. Each branch's tuple is replaced as a whole, and only where it is still the one that was looked at.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from immutables import Map

from casstore.branches.base import Base
from casstore.branches.branch import Branch, State
from casstore.branches.cell import Cell
from casstore.branches.delta import MISS, Change, Delta
from casstore.branches.keyed import FILES_SLOT, OBJECTS_SLOT
from casstore.branches.sharing_contents import Contents
from casstore.branches.sharing_naming import holders_of
from casstore.branches.sharing_report import DEFAULT_LISTED, SharedContent, SharingReport
from casstore.errors import InvalidInputError

if TYPE_CHECKING:
    from casstore.branches.context import BranchContext

_TRIES: Final = 3
"""A branch that moved while it was looked at is looked at again this often, then left as it is."""

Branches = Mapping[str, Branch] | Iterable[Branch] | Branch


def deduplicate(context: BranchContext, branches: Branches, listed: int = DEFAULT_LISTED) -> SharingReport:
    """Makes equal values, deltas and bases of branches one each; see ``Store.deduplicate``."""
    context.check_open()
    if type(listed) is not int or listed < 0:
        raise InvalidInputError(f"listed is {listed!r}; give the number of contents to list, 0 or more.")
    named = _named(context, branches)
    # Weak, and whatever is strong is local to `_Run`: what is replaced must be gone when bytes are counted again.
    cells: list[weakref.ref[Cell]] = []
    sizes: list[int] = []
    run = _Run(context, named)
    run.look(cells, sizes)
    run.replace()
    changed, skipped, values, distinct = run.changed, run.skipped, run.values, run.distinct
    shared = run.shared(listed)
    del run
    after = sum(size for ref, size in zip(cells, sizes) if (cell := ref()) is not None and cell.data is not None)
    cells.clear()
    context.budget.tidy()
    return SharingReport(
        branches=len(named),
        changed=changed,
        skipped=skipped,
        values=values,
        distinct=distinct,
        held_bytes_before=sum(sizes),
        held_bytes_after=after,
        shared=shared,
    )


def _named(context: BranchContext, branches: Branches) -> list[tuple[str | None, Branch]]:
    """The branches, each once, with the names that were given for them."""
    pairs: Iterator[tuple[str | None, object]]
    if isinstance(branches, Branch):
        pairs = iter([(None, branches)])
    elif isinstance(branches, Mapping):
        pairs = ((str(name), branch) for name, branch in branches.items())
    else:
        try:
            pairs = zip(iter(lambda: None, 0), branches)
        except TypeError:
            raise InvalidInputError(
                f"{branches!r} are no branches; give a list of them, or a dict of names to them. A store does not "
                "know its branches: a fork is two references, and nothing else."
            ) from None
    found: dict[int, tuple[str | None, Branch]] = {}
    for name, branch in pairs:
        if not isinstance(branch, Branch):
            raise InvalidInputError(f"{branch!r} is no branch; give what store.branch(…) or fork() returned.")
        if branch._context is not context:
            raise InvalidInputError("a branch belongs to another store; deduplicate each store's branches apart.")
        found.setdefault(id(branch), (name, branch))
    return list(found.values())


class _Run:
    """One deduplication: it looks at all branches first, and replaces then.

    Attributes:
        changed: Branches that got another state.
        skipped: Branches that were discarded, or never stood still.
        values: Keys that are set.
        distinct: Different values among them.
    """

    def __init__(self, context: BranchContext, named: list[tuple[str | None, Branch]]) -> None:
        self._context = context
        self._named = named
        self._states: list[State | None] = [branch._state for _, branch in named]
        self._contents = Contents(context)
        # Delta by its id, with its slot and its branches' places. Forks that changed nothing have one delta.
        self._deltas: dict[int, tuple[Delta, int, list[int]]] = {}
        self._edits: dict[int, list[tuple[str, Cell]]] = {}
        # Made for an old delta, by its id; the old one is kept, so that no other gets its id.
        self._made: dict[int, tuple[Delta, Delta]] = {}
        self._equal: dict[tuple[object, ...], Delta] = {}
        self._bases: dict[tuple[object, ...], Base] = {}
        self._last: dict[tuple[int, int], Map[str, Change]] = {}
        self._held: dict[Cell, int] = {}
        self.changed = self.skipped = self.values = self.distinct = 0

    def look(self, cells: list[weakref.ref[Cell]], sizes: list[int]) -> None:
        """Finds the cell that stands for each content, and lists all that hold bytes."""
        contents = self._contents
        pending: set[int] = set()

        def note(cell: Cell) -> None:
            holder: Cell = getattr(cell, "of", cell)
            data = holder.data
            if data is not None and id(holder) not in pending:
                pending.add(id(holder))
                cells.append(weakref.ref(holder))
                sizes.append(len(data))

        for handle in contents.handles:
            note(handle._cell)
        for at, state in enumerate(self._states):
            if state is None:
                continue
            for slot in (FILES_SLOT, OBJECTS_SLOT):
                delta = state[slot]
                if not delta:
                    continue
                known = self._deltas.get(id(delta))
                if known is not None:
                    known[2].append(at)
                    continue
                self._deltas[id(delta)] = (delta, slot, [at])
                for cell in delta.keys.values():
                    if cell is not None:
                        contents.add(cell)
                        if cell.data is not None:
                            note(cell)
        self._count()

    def _count(self) -> None:
        """How often each content is held, and where another cell is to stand for it."""
        held, of = self._held, self._contents.of
        for delta, _, ats in self._deltas.values():
            times = len(ats)
            edits = []
            for key, cell in delta.keys.items():
                if cell is not None:
                    one = of(cell)
                    held[one] = held.get(one, 0) + times
                    if one is not cell:
                        edits.append((key, one))
            self._edits[id(delta)] = edits
        self.distinct = len(held)
        self.values = sum(held.values())

    def replace(self) -> None:
        """Gives each branch the state that is made of the cells, maps and bases that stand for all equal ones."""
        for at, (_, branch) in enumerate(self._named):
            state, self._states[at] = self._states[at], None
            for _ in range(_TRIES):
                if state is None:
                    self.skipped += 1
                    break
                new = self._joined(state)
                if new is state:
                    break
                with branch._lock():
                    now = branch._state
                    if now is state:
                        branch._state = new
                        self.changed += 1
                        break
                # Somebody wrote to it: what is there now counts.
                state = now
            else:
                self.skipped += 1

    def _joined(self, state: State) -> State:
        start, base, files, objects, merged = state
        same = self._bases.setdefault(tuple(sorted(base.roots.items())), base)
        new_files, new_objects = self._delta(files, FILES_SLOT, same), self._delta(objects, OBJECTS_SLOT, same)
        if same is base and new_files is files and new_objects is objects:
            return state
        return (start, same, new_files, new_objects, merged)

    def _delta(self, delta: Delta, slot: int, base: Base) -> Delta:
        if not delta:
            return delta
        made = self._made.get(id(delta))
        if made is None:
            keys = self._keys(delta, (slot, id(base)))
            new = delta if keys is delta.keys else Delta(keys, delta.marks, delta.folders)
            # The maps know their hash, and compare by keys and by the identity of cells.
            new = self._equal.setdefault((new.keys, new.marks, new.folders), new)
            made = self._made[id(delta)] = (delta, new)
        return made[1]

    def _keys(self, delta: Delta, family: tuple[int, int]) -> Map[str, Change]:
        """The map with the cells that stand for its own.

        It is made of the map before it in the family, where fewer changes lead from there: forks that shared most of a
        map do so still, and others begin to.
        """
        keys = delta.keys
        edits = self._edits.pop(id(delta), None)
        if edits is None:
            of = self._contents.of
            edits = [(key, one) for key, cell in keys.items() if cell is not None and (one := of(cell)) is not cell]
        last = self._last.get(family)
        if edits and last is not None:
            wanted: dict[str, Change] = dict(edits)
            common = 0
            others: list[tuple[str, Change]] = []
            for key, cell in keys.items():
                new, there = wanted.get(key, cell), last.get(key, MISS)
                if there is not MISS:
                    common += 1
                if there is not new:
                    others.append((key, new))
            if len(others) + len(last) - common < len(edits):
                gone = [key for key in last if key not in keys] if common < len(last) else []
                keys = _edited(last, others, gone)
                edits = []
        if edits:
            keys = _edited(keys, edits, [])
        self._last[family] = keys
        return keys

    def shared(self, listed: int) -> tuple[SharedContent, ...]:
        """The contents that are held more than once, the largest first."""
        found = ((cell, number) for cell, number in self._held.items() if number > 1)
        return holders_of(self._context, self._named, self._deltas.values(), self._contents, found, listed)


def _edited(keys: Map[str, Change], edits: Iterable[tuple[str, Change]], gone: Iterable[str]) -> Map[str, Change]:
    with keys.mutate() as editing:
        for key in gone:
            del editing[key]
        for key, cell in edits:
            editing[key] = cell
        edited: Map[str, Change] = editing.finish()
    return edited
