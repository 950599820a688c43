# SPDX-License-Identifier: MIT
"""Handles of shared values: one encoding for any number of branches.

A handle holds one cell, and setting the handle somewhere puts that very cell there. Equal values give the same handle
while it lives: the table knows handles weakly, by type and content.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from casstore.address import Address, content_address
from casstore.branches.cell import Cell
from casstore.codecs.members import Members
from casstore.codecs.plain import BytesFactory
from casstore.errors import InvalidInputError
from casstore.format.entry import INLINE_BYTES, Entry, file_entry, object_entry

if TYPE_CHECKING:
    from casstore.branches.context import BranchContext
    from casstore.storage import Storage


class Twin(Cell):
    """A cell that shows another's content under another kind of entry; bytes, account and pin are the other's."""

    __slots__ = ("of",)

    def __init__(self, of: Cell, pattern: Entry) -> None:
        self.of = of
        self._entry = None
        self._pattern = pattern
        self._budget = None
        self._pin = None

    @property
    def data(self) -> bytes | None:  # type: ignore[override]
        """The other's bytes, or None where they are in the store."""
        return self.of.data

    def _shown(self, entry: Entry) -> Entry:
        pattern = self._pattern
        return entry if pattern is None else pattern._replace(size=entry.size, address=entry.address)

    @property
    def entry(self) -> Entry:
        """What the key maps to. While ``data`` is set, an address in it may still be missing (``None``)."""
        return self._shown(self.of.entry)

    def addressed(self) -> Entry:
        """The entry with its address."""
        return self._shown(self.of.addressed())

    def store(self, storage: Storage, like: Address | None = None) -> Entry:
        """The entry, its content in the store and pinned for as long as the other cell lives."""
        return self._shown(self.of.store(storage, like))

    def read(self, storage: Storage) -> bytes:
        """The content."""
        return self.of.read(storage)


class Shared:
    """A value that is encoded and held once, for any number of branches. ``store.share`` makes them.

    Set it like the value itself: ``branch.objects[key] = handle``, as a member of ``codecs.Members``, and
    ``branch.files[path] = handle`` where the value is bytes. Each costs a pointer, and no encoding. The content is kept
    from the collector while the handle lives.

    *Thread safety*: any number of threads may use a handle.
    """

    __slots__ = ("__weakref__", "_cell", "_context", "_files", "_key")

    def __init__(self, context: BranchContext, key: Entry, cell: Cell) -> None:
        self._context = context
        self._key = key
        self._cell = cell
        self._files: dict[bool, Cell] = {}

    @property
    def address(self) -> Address:
        """32 bytes: BLAKE3 of the encoded value."""
        return self._key.address or content_address(self._key.inline or b"")

    @property
    def type(self) -> str:
        """Type id of the factory that encoded it."""
        return self._key.type_id

    @property
    def nbytes(self) -> int:
        """Bytes of the encoded value."""
        return self._key.size

    def get(self) -> Any:
        """The value: fresh, or immutable. For one loaded object for all, register ``entry()`` with a Materializer.

        Raises:
            FactoryError: Its factory failed.
            CorruptionError: Its bytes are damaged.
        """
        context, key = self._context, self._key
        context.codecs.check_size(key)
        return context.codecs.decode(key.type_id, key.type_version, self._cell.read(context.storage))

    def entry(self) -> Entry:
        """The tree's entry of the value, whose content is in the store from now on.

        Raises:
            ReadOnlyError: The store is open read-only, so nothing can be put into it.
            StorageError: It could not be written.

        *Durability*: from the next ``sync``, or the next move of a ref.
        """
        self._context.check_open()
        return self._cell.store(self._context.storage)

    # -- for the mappings of a branch

    def as_object(self, context: BranchContext) -> Cell:
        """The cell that stands for the value among objects.

        Raises:
            InvalidInputError: The handle belongs to another store.
        """
        if context is not self._context:
            raise InvalidInputError("the shared value belongs to another store; share it with this one's `share`.")
        return self._cell

    def as_file(self, context: BranchContext, executable: bool) -> Cell:
        """The cell that stands for the value among files.

        Raises:
            InvalidInputError: The value is no bytes, or the handle belongs to another store.
        """
        of = self.as_object(context)
        found = self._files.get(executable)
        if found is None:
            size, inline = self._key.size, self._key.inline
            if self._key.type_id != BytesFactory.type_id:
                raise InvalidInputError(
                    f"a file's content is bytes, and this is shared as {self.type!r}; encode first."
                )
            if inline is not None:
                found = Cell(file_entry(size, None, inline, executable))
            else:
                found = Twin(of, context.budget.pattern(file_entry(size, executable=executable)))
            found = self._files.setdefault(executable, found)
        return found

    def __repr__(self) -> str:
        return f"<Shared {self.type}, {self.nbytes} bytes, {self.address.hex()[:12]}>"


class SharedTable:
    """The handles of a store that live, by type and content."""

    __slots__ = ("_handles", "_lock")

    def __init__(self) -> None:
        self._handles: weakref.WeakValueDictionary[Entry, Shared] = weakref.WeakValueDictionary()
        # Reentrant, as Python's collector may run somebody's destructor here, and that may share a value.
        self._lock = threading.RLock()

    def find(self, key: Entry) -> Shared | None:
        """The handle of a content, where one lives."""
        with self._lock:
            return self._handles.get(key)

    def keep(self, handle: Shared) -> Shared:
        """The handle that counts: this one, or an equal one that came first."""
        with self._lock:
            return self._handles.setdefault(handle._key, handle)

    def all(self) -> list[Shared]:
        """Those that live now."""
        with self._lock:
            return list(self._handles.values())


def share(context: BranchContext, component: object) -> Shared:
    """The handle of a value; see ``Store.share``."""
    context.check_open()
    if isinstance(component, Shared):
        component.as_object(context)
        return component
    if isinstance(component, Members):
        raise InvalidInputError("Members are several entries; share the members one by one, and make Members of them.")
    type_id, version, data = context.codecs.encode(component)
    size = len(data)
    # Equal contents of one type are equal entries: 1, 1.0 and True have three encodings, and types stand in the entry.
    if size <= INLINE_BYTES:
        key = object_entry(type_id, version, size, None, data)
    else:
        key = object_entry(type_id, version, size, content_address(data))
    found = context.shared.find(key)
    if found is not None:
        return found
    # Outside the lock, as it may spill others.
    cell = context.budget.cell(key, data)
    if size > INLINE_BYTES:
        # Known already, so nobody has to hash it again.
        cell._entry = key
    return context.shared.keep(Shared(context, key, cell))
