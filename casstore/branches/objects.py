# SPDX-License-Identifier: MIT
"""The objects of a branch as a mutable mapping: key → Python value.

A value is encoded when it is set, so a later change of it by the caller cannot leak in; what is read is fresh or
immutable, so a change of it cannot leak back.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from casstore.branches.cell import Cell
from casstore.branches.delta import Delta
from casstore.branches.keyed import OBJECTS_SLOT, Keyed, check_key
from casstore.errors import InvalidInputError
from casstore.format.entry import INLINE_BYTES, OBJECT, SNAPSHOT, Entry, encode_entry, object_entry
from casstore.tree import Root, summary

if TYPE_CHECKING:
    from casstore.branches.branch import State


class Objects(Keyed, MutableMapping[str, Any]):
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

    def __getitem__(self, key: str) -> Any:
        found = self._find(self._state(), key)
        if found is None:
            raise self._missing(key)
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

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(self._state(), key) is not None

    def __iter__(self) -> Iterator[str]:
        return self.list()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with ``prefix``, in order, as they are now."""
        return (key for key, _ in self._listing(self._state(), prefix))

    def __len__(self) -> int:
        state = self._state()
        if not state[OBJECTS_SLOT]:
            return summary(self._branch._context.nodes, self._root(state)).entries
        return sum(1 for _ in self)

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
        if entry.kind not in (OBJECT, SNAPSHOT):
            raise InvalidInputError(f"an entry of kind {entry.kind} cannot stand among objects; use `files`.")
        cell = self._branch._entry_cell(entry, content)
        encode_entry(cell.addressed())
        self._set(key, cell)

    def _set(self, key: str, cell: Cell) -> None:
        branch = self._branch
        with branch._lock():
            state = self._state()
            branch._replace(OBJECTS_SLOT, state, state[OBJECTS_SLOT].with_cell(key, cell))

    def __delitem__(self, key: str) -> None:
        self._delete(key)

    def clear(self) -> None:
        """Deletes everything."""
        self.delete_prefix("")

    def __repr__(self) -> str:
        return f"<objects of {self._branch!r}>"
