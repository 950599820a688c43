# SPDX-License-Identifier: MIT
"""Store: what users open. Everything else hangs on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from casstore.address import ADDRESS_BYTES, Address
from casstore.config import Config
from casstore.errors import ClosedError, InvalidInputError, ReadOnlyError
from casstore.format.canonical import JsonValue
from casstore.format.settings import KeepRule, Settings
from casstore.format.superblock import BACKEND_NAMES, DELTAS
from casstore.snapshots import Change, Refs, Snapshot, Snapshots, diff_roots, log
from casstore.storage import ContentFile, Storage
from casstore.storage.opening import MEMORY, OpenStorage, open_storage
from casstore.storage.recovery import Recovered
from casstore.storage.views import OldViews
from casstore.tree import Nodes
from casstore.upkeep import Progress as Progress
from casstore.upkeep import Upkeep

if TYPE_CHECKING:
    # Imported on use: opening a store and reading from it needs none of it.
    from casstore.branches import Branch, BranchContext, MergeReport, Resolver, Shared, SharingReport
    from casstore.collection.bundle import AdoptReport, BundleReport

State = Snapshot | Address | str
"""What names a state: a snapshot, its id (32 bytes), a ref's name, or the beginning of an id in hex."""


class Store(Upkeep):
    """An open store. Thread-safe.

    Attributes:
        path: Its folder, or ``":memory:"``.
        config: What it was opened with.
        storage: Contents and records by address.
        nodes: The nodes of its trees.
        snapshots: Its snapshots, by id.
        refs: Its refs, a mutable mapping of names to snapshots.
    """

    def __init__(self, opened: OpenStorage, config: Config) -> None:
        self._closed = False
        self._views = OldViews()
        self._context: BranchContext | None = None
        self._changing_view = threading.Lock()
        self.path = opened.path
        self.config = config
        self._show(opened)

    def _show(self, opened: OpenStorage) -> None:
        storage = opened.storage
        nodes = Nodes(storage, self.config.cache_bytes // 4)
        snapshots = Snapshots(storage, nodes)
        refs = Refs(snapshots, self.config.actor)
        self._opened = opened
        self.storage: Storage = storage
        self.nodes = nodes
        self.snapshots = snapshots
        self.refs = refs
        self._apply_settings(opened.settings)

    # -- the store as a whole

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return self.storage.read_only

    @property
    def recovered(self) -> Recovered | None:
        """What opening it for writing had to make anew, in words by ``str``; None where all was in order."""
        return self._opened.recovered

    @property
    def store_id(self) -> str:
        """32 hex digits, random, given when the store was made."""
        return self._opened.superblock.store_id.hex()

    @property
    def format_fields(self) -> Mapping[str, str | int]:
        """What was fixed when the store was made: backend, chunk sizes in bytes, time of creation."""
        block = self._opened.superblock
        return {
            "backend": "memory" if self.path == MEMORY else BACKEND_NAMES[block.backend],
            "chunk_min_bytes": block.chunk_min_bytes,
            "chunk_avg_bytes": block.chunk_avg_bytes,
            "chunk_max_bytes": block.chunk_max_bytes,
            "deltas": bool(block.features & DELTAS),
            "created_ns": block.created_ns,
        }

    @property
    def settings(self) -> Settings:
        """Quota, grace period and retention, kept in the store."""
        return self._opened.settings

    def configure(self, **changes: int | Sequence[KeepRule] | None) -> Settings:
        """Changes settings of the store, durably; returns them all.

        Args:
            **changes: ``max_bytes`` (None is no quota), ``grace_seconds``, ``undo_keep_seconds``, ``retention``.

        Raises:
            InvalidInputError: No such setting, or no such value.
            ReadOnlyError: The store is open read-only.
        """
        self._check_open()
        if self.read_only:
            raise ReadOnlyError("the store is open read-only; open it for writing to configure it.")
        known = {"max_bytes", "grace_seconds", "undo_keep_seconds", "retention"}
        unknown = changes.keys() - known
        if unknown:
            raise InvalidInputError(f"there is no setting {sorted(unknown)[0]!r}; use {', '.join(sorted(known))}.")
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        self._opened.save_settings(settings)
        self._apply_settings(settings)
        return settings

    def _apply_settings(self, settings: Settings) -> None:
        self.storage.renew_after_seconds = settings.grace_seconds // 2

    def _check_open(self) -> None:
        if self._opened.forked:
            raise ClosedError(
                "this store belongs to the parent of a forked process; spawn the child and open it there."
            )
        if self._closed:
            raise ClosedError("the store is closed; open it again.")

    def sync(self) -> None:
        """Makes everything that was put durable.

        Raises:
            StorageError: The operating system refused; what was not durable before may be lost.
        """
        self._check_open()
        self.storage.sync()

    def refresh(self) -> None:
        """Lets a store that is open read-only show what is there now; one that is open for writing always does.

        Snapshots, branches and open contents that came from it before go on showing what they showed; what only they
        need is kept from the collector until they are gone. Factories that were registered stay.

        Raises:
            NotFoundError, FormatVersionError, CorruptionError, StorageError: The store cannot be opened any more; it
                shows what it showed before.

        *Cost*: that of opening it read-only: some milliseconds, and a hot cache that begins anew.
        *Thread safety*: handles from before are not touched. A call of the store itself that runs meanwhile may meet
        both views; where it raises ``NotFoundError`` for what was collected between them, make it again.
        """
        self._check_open()
        if not self.read_only:
            return
        opened = open_storage(self.path, read_only=True, timeout=0.0, config=self.config, files=self._opened.files)
        with self._changing_view:
            if self._closed:
                opened.close()
                self._check_open()
            old = self._opened
            self._show(opened)
            known = self._context
            if known is not None:
                context = self._new_context()
                context.codecs, context.fold_keys = known.codecs, known.fold_keys
                self._context = context
            self._views.leave(old)

    def close(self) -> None:
        """Makes everything durable and gives the store up. Done twice, it does nothing."""
        if self._closed or self._opened.forked:
            return
        self._end_auto_collect()
        with self._changing_view:
            done, self._closed = self._closed, True
        if not done:
            try:
                self._opened.close()
            finally:
                self._views.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.path!r}{' closed' if self._closed else ''}>"

    # -- contents

    def put(self, source: bytes | bytearray | memoryview | BinaryIO) -> Address:
        """Keeps content, given as bytes or as a binary file; returns its address (as ``b3sum`` prints it).

        Raises:
            InvalidInputError: ``source`` is neither.
            StorageError: It could not be written.

        *Durability*: from the next ``sync``, or the next move of a ref. The address alone keeps the content for the
        grace period.
        """
        self._check_open()
        return self.storage.put(source)

    def get(self, address: Address) -> bytes:
        """The whole content of ``address``, verified.

        Raises:
            NotFoundError: Nothing has that address.
            CorruptionError: Its bytes are damaged; putting the same content again heals it.
        """
        return self.storage.get(address)

    def open_content(self, address: Address) -> ContentFile:
        """The content as a seekable, read-only, buffered binary file that reads only the chunks it needs.

        Raises:
            NotFoundError: Nothing has that address.
            CorruptionError: Also later, by any read that meets damage.
        """
        self._check_open()
        return self.storage.open_content(address)

    def __contains__(self, address: Address) -> bool:
        return self.storage.contains(address)

    # -- states

    def resolve(self, state: State) -> Snapshot:
        """The snapshot that ``state`` names; a ref wins over the beginning of an id.

        Raises:
            NotFoundError: Nothing has that name.
            InvalidInputError: Several ids begin so, or ``state`` is no name at all.
        """
        self._check_open()
        if isinstance(state, Snapshot):
            return state
        if isinstance(state, bytes) and len(state) == ADDRESS_BYTES:
            return self.snapshots.get(Address(state))
        if not isinstance(state, str):
            raise InvalidInputError(f"{state!r} names no state; give a ref, a snapshot, or an id.")
        if state in self.refs:
            return self.refs[state]
        return self.snapshots.get(self.snapshots.find(state))

    def snapshot(self, state: State) -> Snapshot:
        """The same as ``resolve``: a read-only view of a state."""
        return self.resolve(state)

    def add_snapshot(
        self,
        *,
        roots: Mapping[str, Address],
        parents: Sequence[State] = (),
        message: str = "",
        meta: Mapping[str, JsonValue] | None = None,
        time_ns: int | None = None,
    ) -> Snapshot:
        """A snapshot of trees that are in the store; durable once a ref names it or ``sync`` returned.

        Args:
            roots: ``files``, ``objects`` and ``posix``, as far as they are not empty → 32-byte root.
            parents: The states it came from.
            message: Text.
            meta: JSON values.
            time_ns: Nanoseconds since 1970; None is now.

        Raises:
            InvalidInputError: A field cannot be stored.
            NotFoundError: A root or parent is not in the store.
        """
        self._check_open()
        origins = [self.resolve(parent) for parent in parents]
        ids = [origin.id for origin in origins]
        return self.snapshots.add(roots=roots, parents=ids, message=message, meta=meta, time_ns=time_ns)

    def log(self, state: State) -> Iterator[Snapshot]:
        """The snapshot and all it came from, each once, newest first.

        Raises:
            NotFoundError: Nothing has that name.
            CorruptionError: An ancestor is missing.
        """
        return log(self.snapshots, self.resolve(state))

    def diff(self, a: State, b: State) -> Iterator[Change]:
        """The changes of files and objects that lead from ``a`` to ``b``, in key order.

        *Cost*: O(changes · log n) node reads; none where the states are equal.
        """
        old, new = self.resolve(a), self.resolve(b)
        return diff_roots(self.nodes, old.roots, new.roots)

    # -- branches

    @property
    def branches(self) -> BranchContext:
        """What all branches of this store share: factories, the pending budget."""
        context = self._context
        if context is None:
            with self._changing_view:
                context = self._context or self._new_context()
                self._context = context
        return context

    def _new_context(self) -> BranchContext:
        from casstore.branches import BranchContext

        return BranchContext(self.snapshots, self.refs, self.config.pending_bytes)

    def branch(self, state: State | Branch | None = None) -> Branch:
        """A mutable state in memory that starts as ``state``.

        Args:
            state: A ref, snapshot, id, or another branch (which is forked); None is the empty state.

        Raises:
            NotFoundError: Nothing has that name.
        """
        from casstore.branches import Branch

        self._check_open()
        if isinstance(state, Branch):
            return state.fork()
        return Branch(self.branches, None if state is None else self.resolve(state))

    def merge(
        self,
        ours: State | Branch,
        theirs: State | Branch,
        *,
        base: State | Branch | None = None,
        resolve: Resolver | None = None,
    ) -> tuple[Branch, MergeReport]:
        """A new branch of ``ours`` with what ``theirs`` changed since the two were one, and what became of it.

        Neither state changes. With conflicts that nothing resolved the branch is ``ours``, and the report names them.

        Args:
            ours: The state to merge into.
            theirs: The state to merge in.
            base: What both came from; None finds it through history.
            resolve: ``"ours"``, ``"theirs"``, or a function from a conflict to what the key is to map to.

        Raises:
            NotFoundError: Nothing has that name.
            ConflictError: History has no common ancestor, or several that are equally good; name one as ``base``.
        """
        branch = self.branch(ours)
        report = branch.merge(self._side(theirs), base=None if base is None else self._side(base), resolve=resolve)
        return branch, report

    def _side(self, state: State | Branch) -> Snapshot | Branch:
        from casstore.branches import Branch

        return state if isinstance(state, Branch) else self.resolve(state)

    def share(self, component: object) -> Shared:
        """A handle of a value that is encoded and held once, for any number of branches to set.

        Args:
            component: What ``branch.objects`` takes, ``codecs.Members`` apart. Equal values of equal type give the
                same handle while it lives.

        Raises:
            FactoryError: No factory takes it.
            InvalidInputError: It cannot be encoded.
            QuotaExceededError: The store is read-only, so nothing that waits can make room for it.
        """
        from casstore.branches.sharing_handles import share

        return share(self.branches, component)

    def deduplicate(self, branches: Mapping[str, Branch] | Iterable[Branch], *, listed: int = 20) -> SharingReport:
        """Makes values of branches that became equal one value in memory; no branch shows anything else than before.

        Args:
            branches: Those to look at, by name or as they come. A store does not know its branches.
            listed: How many shared contents the report lists, the largest first.

        Raises:
            InvalidInputError: They are no branches of this store.

        *Cost*: 3 to 12 µs for each key that is set, and hashing where types and sizes are equal; up to 450 bytes of
        memory for each meanwhile.
        *Thread safety*: beside writers; a branch that others change meanwhile is looked at again, or left as it is.
        """
        from casstore.branches.sharing import deduplicate

        return deduplicate(self.branches, branches, listed)

    def prove(self, state: State | Branch, name: str) -> bytes:
        """A proof of what a state holds at ``name``, for ``casstore.verify_proof``, which needs no store.

        Args:
            state: A ref, snapshot, id, or branch.
            name: Root and key, as ``"files/src/a.py"``; with ``/`` at the end, all keys below.

        Raises:
            NotFoundError: Nothing has that name.
            InvalidInputError: ``name`` names no key.
        """
        from casstore.tree.proof import prove

        side = self._side(state)
        if isinstance(side, Snapshot):
            return prove(self.nodes, side.roots, name)
        fields, scratch, _ = side.snapshot_fields()
        return prove(scratch, fields.roots, name)

    # -- bundles

    def export_bundle(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        states: Sequence[State | Branch],
        *,
        exclude: Sequence[State] = (),
    ) -> BundleReport:
        """Writes states with all they lead to as one file that another store adopts: for backup, exchange, and workers.

        Args:
            target: Path of the bundle, which is replaced, or a binary file.
            states: Refs (whose names go with them), snapshots, ids, or branches, which need not be committed.
            exclude: States that the receiver has, with all they lead to.

        Raises:
            NotFoundError: Nothing has that name.
            InvalidInputError: No states are given.
            CorruptionError: Something that belongs in the bundle is damaged.
            StorageError: The bundle could not be written; what was at ``target`` is as before.
        """
        from casstore.collection.branch_overlay import export_states

        self._check_open()
        if isinstance(states, (str, bytes)):
            raise InvalidInputError(f"states is a list of states, not {states!r}; give [{states!r}].")
        names = [state for state in states if isinstance(state, str) and state in self.refs]
        return export_states(
            self.storage,
            target,
            [self._side(state) for state in states],
            exclude=[self.resolve(state) for state in exclude],
            names={name: self.resolve(name).id for name in names},
        )

    def adopt_bundle(self, source: str | os.PathLike[str] | BinaryIO) -> AdoptReport:
        """Takes what a bundle brings into the store after verifying all of it; moves no ref.

        Args:
            source: Path of the bundle, or a binary file that can seek.

        Raises:
            NotFoundError: There is no such file, or the bundle builds on a snapshot that the store lacks.
            CorruptionError: It is torn, damaged, or not what its maker should have made. Nothing was put.
            ReadOnlyError: The store is open read-only.

        *Durability*: from the next ``sync``, or the next move of a ref. The report keeps what came until then.
        """
        from casstore.collection.bundle import adopt_bundle

        self._check_open()
        return adopt_bundle(self.storage, self.nodes, source)
