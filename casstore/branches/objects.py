# SPDX-License-Identifier: MIT
"""The objects of a branch as a mutable mapping: key → Python value.

A value is encoded when it is set, so a later change of it by the caller cannot leak in; what is read is fresh or
immutable, so a change of it cannot leak back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casstore.branches.cell import Cell
from casstore.branches.delta import Delta
from casstore.branches.keyed import OBJECTS_SLOT, Keyed, check_key
from casstore.errors import InvalidInputError
from casstore.format.entry import INLINE_BYTES, OBJECT, SNAPSHOT, Entry, object_entry
from casstore.tree import Root, Summary

if TYPE_CHECKING:
    from casstore.branches.branch import State


class Objects(Keyed[Any]):
    """Python values of a branch, in the byte order of their keys.

    Taken are dict, list, int, float, bool and None (as JSON), str, bytes, NumPy arrays, and the types of registered
    factories. An entry of kind ``snapshot`` reads as the snapshot's id.

    *Thread safety*: any number of threads may read and write; each operation is atomic.
    """

    __slots__ = ()
    _slot = OBJECTS_SLOT

    def _root(self, state: State) -> Root:
        return state[1].objects

    def _delta(self, state: State) -> Delta:
        return state[OBJECTS_SLOT]

    def _counts(self, kind: int) -> bool:
        return True

    def _total(self, found: Summary) -> int:
        return found.entries

    def _content(self, found: Cell | Entry) -> Any:
        context = self._branch._context
        entry = found.entry if isinstance(found, Cell) else found
        if entry.kind == SNAPSHOT:
            return entry.address
        if isinstance(found, Cell):
            data = found.read(context.storage)
        elif entry.address is None:
            data = entry.inline or b""
        else:
            data = context.storage.get(entry.address)
        return context.codecs.decode(entry.type_id, entry.type_version, data)

    def __getitem__(self, key: str) -> Any:
        # While the state is at hand, no collection takes what its base refers to.
        state = self._state()
        found = self._find(state, key)
        if found is None:
            raise self._missing(key)
        return self._content(found)

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and self._find(self._state(), key) is not None
        except InvalidInputError:
            return False

    def __setitem__(self, key: str, value: Any) -> None:
        check_key(key)
        context = self._branch._context
        type_id, version, data = context.codecs.encode(value)
        size = len(data)
        entry = object_entry(type_id, version, size, None, data if size <= INLINE_BYTES else None)
        self._set(key, context.budget.cell(entry, data))

    def set_entry(self, key: str, entry: Entry, content: bytes | None = None) -> None:
        """Sets an entry as it is: a link to a snapshot, or an object that is in the store already.

        Raises:
            InvalidInputError: The entry is neither, or does not fit ``content``.
            NotFoundError: The store does not have what it refers to.
        """
        check_key(key)
        cell = self._branch._entry_cell(entry, content)
        if entry.kind not in (OBJECT, SNAPSHOT):
            raise InvalidInputError(f"an entry of kind {entry.kind} cannot stand among objects; use `files`.")
        self._set(key, cell)

    def _set(self, key: str, cell: Cell) -> None:
        branch = self._branch
        with branch._lock():
            state = self._state()
            branch._replace(OBJECTS_SLOT, state, state[OBJECTS_SLOT].with_cell(key, cell))

    def __repr__(self) -> str:
        return f"<objects of {self._branch!r}>"
