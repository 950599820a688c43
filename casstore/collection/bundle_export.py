# SPDX-License-Identifier: MIT
"""Export: states and all they lead to, in a bundle, without what the receiver has.

One walk from the tips, which writes each record after all it refers to. What the receiver has (the excluded snapshots
and all below them) is passed over in lockstep: a subtree that a state shares with its parent or with an excluded state
at the same place is never read. A bundle may bring a little more than the receiver lacks (content that is also
somewhere else in an excluded state), never less.

A snapshot whose parents were given up is shallow in the bundle too: they are not looked for, whether they are still
there or not, and the manifest says so.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from casstore.address import Address, check_address
from casstore.collection.bundle_file import is_binary
from casstore.collection.bundle_output import BundleOutput, writer
from casstore.collection.bundle_reader import LEVEL, ReaderRecords, RecordReader, ShallowReader, stored_records
from casstore.collection.lockstep import bases_below
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError, StorageError
from casstore.format.bundle import Manifest, encode_manifest
from casstore.format.chunk_list import MAX_DEPTH, decode_chunk_list
from casstore.format.entry import SNAPSHOT as SNAPSHOT_ENTRY
from casstore.format.entry import Entry
from casstore.format.kinds import CHUNK, CHUNK_LIST, KIND_NAMES, SNAPSHOT
from casstore.format.node import Node
from casstore.format.snapshot import OBJECTS, SnapshotFields, decode_snapshot
from casstore.osfile import OsFiles
from casstore.tree import Nodes, diff, walk_nodes

_NODE_CACHE_BYTES: Final = 8 * 1024 * 1024
_MAX_BASES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleReport:
    """What was written.

    Attributes:
        tips: Ids of the snapshots that the bundle brings (32 bytes each).
        excluded: Ids of the snapshots that a receiver must have.
        records: Number of records, the manifest not counted.
        bytes: Length of the bundle.
        kinds: Number of records by kind.
        shallow: Ids of the snapshots that are in it without their parents, which were given up.
    """

    tips: tuple[Address, ...]
    excluded: tuple[Address, ...]
    records: int
    bytes: int
    kinds: Mapping[str, int]
    shallow: tuple[Address, ...] = ()


def export_bundle(
    reader: RecordReader,
    target: str | os.PathLike[str] | BinaryIO,
    tips: Sequence[Address],
    *,
    exclude: Sequence[Address] = (),
    refs: Mapping[str, Address] | None = None,
    same_chunks: bool = False,
    files: OsFiles | None = None,
) -> BundleReport:
    """Writes the snapshots ``tips``, their history and all they lead to, as far as it is not in ``exclude``.

    Args:
        reader: Where the records are. Keep the tips from the collector meanwhile.
        target: Path of the bundle, which is replaced; or a binary file, to which it is written.
        tips: Snapshot ids, 32 bytes each.
        exclude: Ids of snapshots that the receiver has, with all they lead to.
        refs: Names of some tips, for information.
        same_chunks: The receiver keeps what it has in the same chunks: it is the same store, or has it from bundles of
            this one. Then unchanged chunks of a changed content are left out too.
        files: The operating system's files.

    Raises:
        InvalidInputError: No tips, or a name for something else.
        NotFoundError: A snapshot, or something that one leads to, is not there.
        CorruptionError: Something is damaged.
        StorageError: The bundle could not be written; what was at ``target`` is as before.

    *Durability*: durable under its name on return; a binary file is the caller's to sync.

    *Cost*: reads what it writes, and the nodes beside it. Memory: about 100 bytes per record.
    """
    chosen = tuple(dict.fromkeys(map(check_address, tips)))
    excluded = tuple(dict.fromkeys(map(check_address, exclude)))
    names = {name: check_address(address) for name, address in (refs or {}).items()}
    # Refused before anything is written rather than at the end.
    encode_manifest(Manifest(tips=chosen, refs=names, excluded=excluded, records=0, digest=bytes(32)))
    if not isinstance(target, (str, os.PathLike)):
        if not is_binary(target, "write"):
            raise InvalidInputError(f"cannot write to {type(target).__name__}; give a path, or a file in binary mode.")
        return _export(reader, BundleOutput(writer(target)), chosen, excluded, names, same_chunks)
    files = files or OsFiles()
    path = os.fspath(target)
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    try:
        fd = files.create(temporary)
        try:
            try:
                output = BundleOutput(partial(files.append, fd))
                report = _export(reader, output, chosen, excluded, names, same_chunks)
                files.sync(fd)
            finally:
                os.close(fd)
            files.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                files.unlink(temporary)
            raise
        files.sync_folder(os.path.dirname(path) or ".")
    except OSError as error:
        raise StorageError(
            f"the bundle could not be written ({error}); free space and try again.", path=path
        ) from error
    return report


def _export(
    reader: RecordReader,
    output: BundleOutput,
    tips: tuple[Address, ...],
    excluded: tuple[Address, ...],
    refs: Mapping[str, Address],
    same_chunks: bool,
) -> BundleReport:
    walk = _Export(reader, output, excluded, same_chunks)
    walk.leave_out(tips)
    for tip in tips:
        walk.snapshot(tip)
    shallow = tuple(walk.given_up)
    output.finish(tips, refs, excluded, shallow)
    return BundleReport(
        tips=tips,
        excluded=excluded,
        records=output.records,
        bytes=output.bytes,
        kinds={KIND_NAMES[kind]: count for kind, count in sorted(output.kinds.items())},
        shallow=shallow,
    )


class _Export:
    """The walk. ``_seen`` has what was written and what the receiver is known to have, snapshots included.

    Attributes:
        given_up: Ids of the shallow snapshots that were written.
    """

    __slots__ = (
        "_excluded",
        "_links_known",
        "_nodes",
        "_output",
        "_reader",
        "_same_chunks",
        "_seen",
        "_shallow",
        "_stored",
        "given_up",
    )

    def __init__(
        self, reader: RecordReader, output: BundleOutput, excluded: Sequence[Address], same_chunks: bool
    ) -> None:
        self._reader = reader
        self._stored = stored_records(reader, LEVEL)
        self._output = output
        self._excluded = excluded
        self._same_chunks = same_chunks
        self._links_known = False
        self._shallow: Set[Address] | None = None
        self.given_up: list[Address] = []
        self._seen: set[Address] = set()
        self._nodes = Nodes(ReaderRecords(reader), _NODE_CACHE_BYTES)

    def _fields(self, snapshot: Address) -> SnapshotFields:
        try:
            return decode_snapshot(self._reader.get_record(SNAPSHOT, snapshot))
        except NotFoundError:
            raise NotFoundError(
                f"the snapshot {snapshot.hex()} is not there, and nothing says that it was given up; run `casstore "
                "verify`, or exclude it if the receiver has it.",
                address=snapshot,
            ) from None

    def _parents(self, snapshot: Address, fields: SnapshotFields) -> tuple[Address, ...]:
        """The parents that belong to the history of a snapshot: none where they were given up."""
        # What the receiver has by name is there, whatever became of it here.
        if all(parent in self._excluded for parent in fields.parents):
            return fields.parents
        if self._shallow is None:
            self._shallow = self._reader.shallow() if isinstance(self._reader, ShallowReader) else frozenset()
        return () if snapshot in self._shallow else fields.parents

    def leave_out(self, tips: Sequence[Address]) -> None:
        """Finds what of the tips' history is the excluded snapshots' too.

        Both histories are followed newest first, until only what is excluded is left to follow. Where clocks went
        wrong, something may be taken that could have been left out.
        """
        gone: dict[Address, bool] = {}
        heap: list[tuple[int, Address, tuple[Address, ...]]] = []
        wanted: set[Address] = set()

        def meet(snapshot: Address, is_gone: bool) -> None:
            before = gone.get(snapshot)
            if before is None or (is_gone and not before):
                gone[snapshot] = is_gone
                fields = self._fields(snapshot)
                heapq.heappush(heap, (-fields.time_ns, snapshot, self._parents(snapshot, fields)))
            if gone[snapshot]:
                wanted.discard(snapshot)
            elif before is None:
                wanted.add(snapshot)

        for snapshot in self._excluded:
            meet(snapshot, True)
        if heap:
            for snapshot in tips:
                meet(snapshot, False)
        while wanted:
            _, snapshot, parents = heapq.heappop(heap)
            wanted.discard(snapshot)
            is_gone = gone[snapshot]
            for parent in parents:
                try:
                    meet(parent, is_gone)
                except NotFoundError:
                    # The receiver's own history need not be whole here.
                    if not is_gone:
                        raise
        self._seen.update(snapshot for snapshot, is_gone in gone.items() if is_gone)

    def snapshot(self, snapshot: Address) -> None:
        """Writes a snapshot and all it leads to, as far as that was not done."""
        if snapshot in self._seen:
            return
        self._seen.add(snapshot)
        # One generator per snapshot on the way down; each asks for the snapshots that must be written before it.
        waiting = [self._snapshot(snapshot)]
        while waiting:
            wanted = next(waiting[-1], None)
            if wanted is None:
                waiting.pop()
            elif wanted not in self._seen and not self._is_linked(wanted):
                self._seen.add(wanted)
                waiting.append(self._snapshot(wanted))

    def _is_linked(self, snapshot: Address) -> bool:
        """Whether an excluded state links the snapshot among its objects, as a saved search tree does."""
        if not self._links_known:
            self._links_known = True
            for excluded in self._excluded:
                root = self._fields(excluded).roots.get(OBJECTS)
                for _, node in walk_nodes(self._nodes, root):
                    self._seen.update(node.snapshots)
        return snapshot in self._seen

    def _snapshot(self, snapshot: Address) -> Iterator[Address]:
        fields = self._fields(snapshot)
        parents = self._parents(snapshot, fields)
        if parents != fields.parents:
            self.given_up.append(snapshot)
        yield from parents
        for name, root in sorted(fields.roots.items()):
            bases: list[Address] = []
            for other in (*parents, *self._excluded)[:_MAX_BASES]:
                base = self._fields(other).roots.get(name)
                if base is not None and base not in bases:
                    bases.append(base)
            if root not in bases and root not in self._seen:
                for base in bases:
                    for change in diff(self._nodes, base, root):
                        if change.old is not None:
                            self._have(change.old)
                nodes = [self._nodes.get(base) for base in bases]
                yield from self._subtree(root, self._nodes.get(root), nodes, None)
        self._output.add(self._stored(snapshot))

    def _have(self, entry: Entry) -> None:
        """The receiver has what an entry of a base refers to: nothing of it needs to be written."""
        address = entry.address
        if address is None or address in self._seen:
            return
        self._seen.add(address)
        if self._same_chunks and entry.kind != SNAPSHOT_ENTRY:
            waiting = [address]
            while waiting:
                content = waiting.pop()
                if self._reader.kind_of(content) == CHUNK_LIST:
                    raw = self._reader.get_record(CHUNK_LIST, content)
                    for piece, _ in decode_chunk_list(content, raw).pieces:
                        if piece not in self._seen:
                            self._seen.add(piece)
                            waiting.append(piece)

    def _subtree(self, address: Address, node: Node, bases: Sequence[Node], after: bytes | None) -> Iterator[Address]:
        seen = self._seen
        seen.add(address)
        beside = [base for base in bases if base.height == node.height]
        if node.height:
            had = {child for base in beside for child in base.children}
            for i, child in enumerate(node.children):
                if child not in seen and child not in had:
                    below = bases_below(self._nodes, bases, node.height - 1, after, node.keys[i])
                    yield from self._subtree(child, self._nodes.child(node, i), below, after)
                after = node.keys[i]
        else:
            had = {reference for base in beside for reference in base.references}
            yield from [snapshot for snapshot in node.snapshots if snapshot not in had]
            for content in node.contents:
                if content not in seen and content not in had:
                    seen.add(content)
                    self._content(content, 0)
        self._output.add(self._stored(address))

    def _content(self, address: Address, depth: int) -> None:
        record = self._stored(address)
        if record.kind == CHUNK_LIST:
            if depth == MAX_DEPTH:
                raise CorruptionError(f"the chunk lists of {address.hex()} nest too deep.", address=address)
            raw = self._reader.get_record(CHUNK_LIST, address)
            for piece, _ in decode_chunk_list(address, raw).pieces:
                if piece not in self._seen:
                    self._seen.add(piece)
                    self._content(piece, depth + 1)
        elif record.kind != CHUNK:
            raise CorruptionError(f"{address.hex()} is a {KIND_NAMES[record.kind]}, no content.", address=address)
        self._output.add(record)
