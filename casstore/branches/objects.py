# SPDX-License-Identifier: MIT
"""The objects of a branch as a mutable mapping: key → Python value.

A value is encoded when it is set, so a later change of it by the caller cannot leak in; what is read is fresh or
immutable, so a change of it cannot leak back.

A ``Members`` under ``key`` is a marker at ``key`` and an entry ``key/NAME`` for each member; a document has its header
at ``key/@document``. Setting or deleting the key takes all that is below with it, in the same step.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from casstore.branches.cell import Cell
from casstore.branches.delta import MISS, Delta
from casstore.branches.keyed import OBJECTS_SLOT, Keyed, begins, check_key
from casstore.branches.markers import is_marker
from casstore.branches.sharing_handles import Shared
from casstore.codecs.documents import header_of
from casstore.codecs.members import MEMBERS_ENTRY, MEMBERS_TYPE, Members, is_members
from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.entry import INLINE_BYTES, OBJECT, SNAPSHOT, Entry
from casstore.snapshots import encode_key
from casstore.tree import Root, Summary, lookup

if TYPE_CHECKING:
    from casstore.branches.branch import State

_make = tuple.__new__


class Objects(Keyed[Any]):
    """Python values of a branch, in the byte order of their keys.

    Taken are dict, list, int, float, bool and None (as JSON), str, bytes, NumPy arrays, Arrow tables, ``codecs.Packed``
    (MessagePack), ``codecs.Members`` (members apart), declared classes, and the types of registered factories. An entry
    of kind ``snapshot`` reads as the snapshot's id.

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

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        state = self._state()
        return ((key, self._value(state, key, found)) for key, found in self._listing(state, ""))

    def _value(self, state: State, key: str, found: Cell | Entry) -> Any:
        context = self._branch._context
        entry = found.entry if isinstance(found, Cell) else found
        if entry.kind == SNAPSHOT:
            return entry.address
        if entry.type_id == MEMBERS_TYPE:
            return Members.over(_Below(self, state, key))
        if isinstance(found, Cell):
            data = found.read(context.storage)
        elif entry.address is None:
            data = entry.inline or b""
        else:
            context.codecs.check_size(entry)
            data = context.storage.get(entry.address)
        return context.codecs.decode(entry.type_id, entry.type_version, data)

    def __getitem__(self, key: str) -> Any:
        # While the state is at hand, no collection takes what its base refers to.
        state = self._state()
        found = self._find(state, key)
        if found is None:
            raise self._missing(key)
        return self._value(state, key, found)

    def settled(self, key: str) -> Entry | None:
        """What ``key`` maps to, by which it can be read from the store; None where its content waits in memory yet.

        Raises:
            NotFoundError: Nothing has that key.
        """
        found = self._find(self._state(), key)
        if found is None:
            raise self._missing(key)
        if not isinstance(found, Cell):
            return found
        # In this order: once the bytes are gone, the entry has its address.
        return None if found.data is not None else found.entry

    def open(self, key: str) -> Any:
        """A view of a value that is not loaded: of an array, one whose slices read only the chunks they need.

        Close it, or use it as a context manager; it shows the value as it was, and keeps it from the collector.

        Raises:
            NotFoundError: Nothing has that key.
            FactoryError: Values of this type are read whole only.
        """
        state = self._state()
        found = self._find(state, key)
        if found is None:
            raise self._missing(key)
        context = self._branch._context
        data = found.data if isinstance(found, Cell) else None
        entry = found.entry if isinstance(found, Cell) else found
        if entry.kind != OBJECT:
            raise InvalidInputError(f"{key!r} links a snapshot; open it with store.snapshot(objects[{key!r}]).")
        file: BinaryIO
        if data is None and entry.address is not None:
            file = context.storage.open_content(entry.address)
        else:
            file = io.BytesIO(data if data is not None else entry.inline or b"")
        try:
            return context.codecs.open(entry.type_id, entry.type_version, file)
        except BaseException:
            file.close()
            raise

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and self._find(self._state(), key) is not None
        except InvalidInputError:
            return False

    def __setitem__(self, key: str, value: Any) -> None:
        check_key(key)
        if not isinstance(value, Members):
            self._set(key, self._encoded(value))
            return
        # All is encoded before anything is changed.
        cells = list(self._cells_of(key, value))
        branch = self._branch
        with branch._lock():
            state = self._state()
            delta = self._without_below(state, key)
            for name, cell in cells:
                delta = delta.with_cell(name, cell)
            branch._replace(OBJECTS_SLOT, state, delta)

    def _encoded(self, value: Any) -> Cell:
        context = self._branch._context
        if type(value) is Shared:
            return value.as_object(context)
        type_id, version, data = context.codecs.encode(value)
        size = len(data)
        inline = data if size <= INLINE_BYTES else None
        # As ``object_entry`` makes it, without a function of Python's for it.
        entry: Entry = _make(Entry, (OBJECT, size, None, inline, type_id, version))
        return Cell(entry) if inline is not None else context.budget.cell(entry, data)

    def _cells_of(self, key: str, members: Members) -> Iterator[tuple[str, Cell]]:
        """The key of a ``Members`` and those below it, with what they are to map to."""
        yield key, Cell(MEMBERS_ENTRY)
        source = members._source
        if isinstance(source, _Below) and source.objects._branch._context is self._branch._context:
            # From this store, so neither loaded nor encoded again.
            for below, found in source.entries():
                yield f"{key}/{below}", found if isinstance(found, Cell) else self._branch._entry_cell(found, None)
            return
        for name, value in members.items():
            below = f"{key}/{name}"
            check_key(below)
            if isinstance(value, Members):
                yield from self._cells_of(below, value)
            else:
                yield below, self._encoded(value)

    def _without_below(self, state: State, key: str) -> Delta:
        """The delta without anything below ``key``."""
        delta = state[OBJECTS_SLOT]
        in_base = begins(self._branch._context.nodes, self._root(state), key + "/")
        return delta.without_prefix(key + "/", in_base=in_base) if in_base or key in delta.folders else delta

    def _holds_members(self, state: State, key: str) -> bool:
        delta = state[OBJECTS_SLOT]
        found = delta.keys.get(key, MISS)
        if found is not MISS:
            return isinstance(found, Cell) and is_marker(found)
        context = self._branch._context
        markers = context.markers.of(context.nodes, state[1].objects)
        if markers is not None:
            return key in markers and not delta.is_marked(key)
        base = self._find(state, key)
        return isinstance(base, Entry) and is_members(base)

    def _holds_document(self, state: State, key: str) -> bool:
        header = header_of(key)
        delta = state[OBJECTS_SLOT]
        found = delta.keys.get(header, MISS) if delta.keys else MISS
        if found is not MISS:
            return found is not None
        context = self._branch._context
        markers = context.markers.of(context.nodes, state[1].objects)
        if markers is not None:
            return header in markers and not delta.is_marked(header)
        return self._find(state, header) is not None

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
            delta = state[OBJECTS_SLOT]
            is_whole = self._holds_members(state, key) and (cell.data is not None or not is_members(cell.entry))
            if is_whole or self._holds_document(state, key):
                delta = self._without_below(state, key)
            branch._replace(OBJECTS_SLOT, state, delta.with_cell(key, cell))

    def _delete(self, key: str) -> None:
        branch = self._branch
        with branch._lock():
            state = self._state()
            if not (self._holds_members(state, key) or self._holds_document(state, key)):
                super()._delete(key)
                return
            in_base = lookup(branch._context.nodes, self._root(state), encode_key(key)) is not None
            delta = self._without_below(state, key).without(key, in_base=in_base)
            branch._replace(OBJECTS_SLOT, state, delta)

    def __repr__(self) -> str:
        return f"<objects of {self._branch!r}>"


class _Below(Mapping[str, Any]):
    """The members of a ``Members`` in a state, each loaded when it is asked for."""

    __slots__ = ("_prefix", "objects")

    def __init__(self, objects: Objects, state: State, key: str) -> None:
        # A fork that nobody else has never changes, and keeps its state from the collector.
        fork = objects._branch.fork()
        fork._state = state
        self.objects = Objects(fork)
        self._prefix = key + "/"

    def entries(self) -> Iterator[tuple[str, Cell | Entry]]:
        """Everything below, by what follows the key."""
        start = len(self._prefix)
        found = self.objects._listing(self.objects._state(), self._prefix)
        return ((key[start:], one) for key, one in found)

    def __getitem__(self, name: str) -> Any:
        if type(name) is not str or not name or "/" in name:
            raise NotFoundError(f"there is no member {name!r}.", path=str(name))
        return self.objects[self._prefix + name]

    def __contains__(self, name: object) -> bool:
        return type(name) is str and "/" not in name and self._prefix + name in self.objects

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.entries() if "/" not in name)

    def __len__(self) -> int:
        return sum(1 for _ in self)
