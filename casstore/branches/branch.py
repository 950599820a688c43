# SPDX-License-Identifier: MIT
"""Branch: a mutable state in memory.

A branch is one immutable tuple, replaced whole: the snapshot it started from, the base under its deltas, a delta of the
files, a delta of the objects, and the snapshots merged in since. A fork copies the reference to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import RLock
from typing import Any

from casstore.address import Address
from casstore.branches.base import Base
from casstore.branches.cell import Cell
from casstore.branches.context import BranchContext
from casstore.branches.delta import EMPTY, Delta
from casstore.branches.files import Files
from casstore.branches.folding import ScratchNodes, roots_of
from casstore.branches.keyed import FILES_SLOT
from casstore.branches.merging import MergeReport, Resolver, merge_into
from casstore.branches.objects import Objects
from casstore.errors import ClosedError, InvalidInputError, ReadOnlyError
from casstore.format.entry import INLINE_BYTES, SNAPSHOT, Entry, encode_entry
from casstore.format.snapshot import SnapshotFields, state_id_of
from casstore.snapshots import Change, Snapshot, diff_roots

State = tuple[Snapshot | None, Base, Delta, Delta, tuple[Snapshot, ...]]


class Branch:
    """A mutable state. Make one with ``store.branch(state)`` or ``fork``.

    *Isolation*: what a branch sees never changes because of another.
    *Thread safety*: any number of threads may read, write, fork and commit.
    *Durability*: none until ``commit(ref=…)``, or ``commit`` and ``store.sync()``.
    """

    __slots__ = ("__weakref__", "_context", "_state")
    _context: BranchContext
    _state: State | None

    def __init__(self, context: BranchContext, start: Snapshot | None) -> None:
        roots = {} if start is None else start.roots
        self._context = context
        self._state = (start, Base(context.storage, roots), EMPTY, EMPTY, ())

    # -- state, for the parts of this layer

    def _lock(self) -> RLock:
        return self._context.lock_of(self)

    def _current(self) -> State:
        state = self._state
        if state is None:
            raise ClosedError("this branch was discarded; fork another one.")
        return state

    def _replace(self, slot: int, state: State, delta: Delta) -> None:
        """Puts a new delta in place; the lock is held."""
        start, base, files, objects, merged = state
        if slot == FILES_SLOT:
            self._put_in_place((start, base, delta, objects, merged))
        else:
            self._put_in_place((start, base, files, delta, merged))

    def _put_in_place(self, state: State) -> None:
        """Makes ``state`` the branch's; the lock is held. Where that fails, the branch is as before.

        Large deltas are folded into the base first.
        """
        context = self._context
        context.check_open()
        limit = context.fold_keys
        for delta in (state[2], state[3]):
            if len(delta.keys) + len(delta.marks) > limit and not context.storage.read_only:
                state = (state[0], self._folded(state), EMPTY, EMPTY, state[4])
                break
        self._state = state

    def _entry_cell(self, entry: Entry, content: bytes | None) -> Cell:
        """A cell for an entry as it is given, its content kept from the collector."""
        context = self._context
        if not isinstance(entry, Entry):
            raise InvalidInputError(f"{entry!r} is no entry; make one with casstore.format.entry.")
        if content is not None:
            if not isinstance(content, (bytes, bytearray, memoryview)):
                raise InvalidInputError(f"an entry's content is bytes, not {type(content).__qualname__}.")
            content = bytes(content)
            if len(content) != entry.size or (entry.inline is not None and entry.inline != content):
                raise InvalidInputError(f"the entry says {entry.size} bytes, the content has {len(content)}.")
            inline = content if len(content) <= INLINE_BYTES else None
            cell = context.budget.cell(entry._replace(address=None, inline=inline), content)
            found = cell.addressed()
            if entry.address is not None and found.address != entry.address:
                raise InvalidInputError("the entry's address is not that of the content.")
            encode_entry(found)
            return cell
        encode_entry(entry)
        cell = Cell(entry)
        if entry.address is not None:
            cell.hold(context.storage)
            if entry.kind != SNAPSHOT and context.storage.content_size(entry.address) != entry.size:
                raise InvalidInputError(
                    f"the entry says {entry.size} bytes, which is not the size of the content it refers to."
                )
        return cell

    # -- the state

    @property
    def files(self) -> Files:
        """Regular files, as a mutable mapping of path to bytes."""
        return Files(self)

    @property
    def objects(self) -> Objects:
        """Python values, as a mutable mapping."""
        return Objects(self)

    @property
    def start(self) -> Snapshot | None:
        """The snapshot that the branch started from, or was last committed as."""
        return self._current()[0]

    def fork(self) -> Branch:
        """Another branch with the same state; from now on they differ by what each is given.

        *Cost*: two references, whatever the state's size or depth.
        """
        state = self._state
        if state is None:
            raise ClosedError("this branch was discarded; fork another one.")
        fork = _new(Branch)
        fork._context = self._context
        fork._state = state
        return fork

    def discard(self) -> None:
        """Gives the state up; using the branch raises ``ClosedError`` from now on. Forks are not concerned."""
        with self._lock():
            self._state = None

    def fold(self) -> None:
        """Applies the deltas to the base, unsynced: reads stay as cheap as on a fresh branch, and memory is freed.

        Raises:
            ReadOnlyError: The store is open read-only.
        """
        context = self._context
        if context.storage.read_only:
            raise ReadOnlyError("the store is open read-only, so nothing can be folded into it.")
        with self._lock():
            state = self._current()
            if state[2] or state[3]:
                self._state = (state[0], self._folded(state), EMPTY, EMPTY, state[4])

    def _folded(self, state: State) -> Base:
        context = self._context
        with context.storage.operation():
            base = Base(context.storage, roots_of(context, context.nodes, state, keep=True))
        context.markers.folded(state[1].objects, state[3], base.objects)
        return base

    def state_id(self) -> Address:
        """32 bytes, equal for equal files and objects, in any store. Writes nothing.

        *Cost*: the nodes that the changes touch.
        """
        return state_id_of(self._scratch_roots(self._current())[0])

    def _scratch_roots(self, state: State) -> tuple[dict[str, Address], ScratchNodes]:
        context = self._context
        context.check_open()
        scratch = ScratchNodes(context.nodes)
        scratch.held.append(state)
        return roots_of(context, scratch, state, keep=False), scratch

    def changes(self) -> Iterator[Change]:
        """What differs from ``start``, in key order: the whiteout delta.

        *Cost*: the nodes that the changes touch.
        """
        state = self._current()
        roots, scratch = self._scratch_roots(state)
        return diff_roots(scratch, {} if state[0] is None else state[0].roots, roots)

    def diff(self, other: Branch | Snapshot) -> Iterator[Change]:
        """The changes that lead from this state to ``other``, in key order."""
        roots, scratch = self._scratch_roots(self._current())
        if isinstance(other, Snapshot):
            scratch.held.append(other)
            return diff_roots(scratch, roots, other.roots)
        self._check_store(other)
        theirs, more = other._scratch_roots(other._current())
        scratch.join(more)
        return diff_roots(scratch, roots, theirs)

    def _check_store(self, other: object) -> None:
        if not isinstance(other, Branch):
            raise InvalidInputError(f"{other!r} is no state; give what store.branch(…) or store.snapshot(…) returned.")
        if other._context is not self._context:
            raise InvalidInputError("the other branch belongs to another store; bring it over as a bundle.")

    # -- history

    @property
    def unchanged(self) -> Snapshot | None:
        """The snapshot that the branch started from, where nothing was changed since; else None."""
        state = self._current()
        start = state[0]
        if start is None or state[2] or state[3] or state[4] or dict(state[1].roots) != dict(start.roots):
            return None
        return start

    def commit(self, message: str = "", *, ref: str | None = None, **meta: Any) -> Snapshot:
        """A snapshot of the state; the branch goes on from it.

        Args:
            message: Text.
            ref: Move this ref, by compare-and-set, from the snapshot that the branch started from; a ref that never
                existed is made.
            **meta: JSON values that are kept with the snapshot, for example ``score=0.7``.

        Raises:
            ReadOnlyError: The store is open read-only; export a bundle instead.
            ConflictError: The ref names another snapshot by now. Nothing was moved, and the branch is as before.
            InvalidInputError: ``meta`` holds what JSON cannot.

        *Durability*: with ``ref``, durable on return; else from the next ``store.sync()``.
        """
        context = self._context
        if context.storage.read_only:
            raise ReadOnlyError("the store is open read-only; export the branch as a bundle, or open it for writing.")
        with self._lock(), context.storage.operation():
            state = self._current()
            base = self._folded(state) if state[2] or state[3] else state[1]
            snapshot = context.snapshots.add(
                roots=base.roots, parents=parents_of(state), message=message, meta=meta or None
            )
            if ref is not None:
                # A name that never was is made; one that was deleted meanwhile is a conflict.
                expected = state[0] if ref in context.refs or context.refs.history(ref) else None
                context.refs.compare_and_set(ref, expected, snapshot, reason="commit")
            self._state = (snapshot, base, EMPTY, EMPTY, ())
        return snapshot

    def merge(
        self,
        other: Branch | Snapshot | Address | str,
        *,
        base: Branch | Snapshot | Address | str | None = None,
        resolve: Resolver | None = None,
    ) -> MergeReport:
        """Takes over what ``other`` changed since the two states were one.

        Args:
            other: The state to merge in: a branch, a snapshot, its id, or the name of a ref. It stays as it is.
            base: What both came from, likewise; None finds it through history.
            resolve: ``"ours"``, ``"theirs"``, or a function from a ``Conflict`` to what the key is to map to.

        Returns:
            What changed. With conflicts that nothing resolved, the branch is as before and the report names them.

        Raises:
            NotFoundError: Nothing has that name.
            InvalidInputError: A state is none, or belongs to another store.
            ConflictError: History has no common ancestor, or several that are equally good; name one as ``base``.
        """
        theirs, common = self._side(other), None if base is None else self._side(base)
        with self._lock():
            return merge_into(self, theirs, common, resolve)

    def _side(self, state: Branch | Snapshot | Address | str) -> Branch | Snapshot:
        if isinstance(state, (bytes, str)):
            return self._context.resolve(state)
        if not isinstance(state, Snapshot):
            self._check_store(state)
        return state

    def snapshot_fields(
        self, message: str = "", **meta: Any
    ) -> tuple[SnapshotFields, ScratchNodes, dict[Address, bytes]]:
        """What a commit would store, without storing it: for bundles of workers, whose store is read-only.

        Returns:
            The snapshot's fields, the nodes that the store lacks, and pending contents by address.
        """
        import time

        state = self._current()
        roots, scratch = self._scratch_roots(state)
        contents: dict[Address, bytes] = {}
        for delta in (state[2], state[3]):
            for cell in delta.keys.values():
                data = None if cell is None else cell.data
                if cell is not None and data is not None:
                    address = cell.addressed().address
                    if address is not None:
                        contents[address] = data
        fields = SnapshotFields(
            roots=roots, parents=tuple(parents_of(state)), message=message, meta=meta, time_ns=time.time_ns()
        )
        return fields, scratch, contents

    def __repr__(self) -> str:
        state = self._state
        if state is None:
            return "<Branch, discarded>"
        start = "nothing" if state[0] is None else state[0].id.hex()[:12]
        return f"<Branch of {start}, {len(state[2].keys)} files and {len(state[3].keys)} objects changed>"


def parents_of(state: State) -> list[Address]:
    """Ids of the snapshots that a commit of this state comes from."""
    return list(dict.fromkeys(snapshot.id for snapshot in (state[0], *state[4]) if snapshot is not None))


_new = Branch.__new__
