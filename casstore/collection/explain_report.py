# SPDX-License-Identifier: MIT
"""What an explanation of a collection says: reports, and how they print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from casstore.address import Address
from casstore.quantities import count, duration

_SHOWN: Final = 30


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of objects, and the bytes of their records."""

    objects: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return f"{count(self.objects, 'object')}, {self.bytes:,} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one root keeps, or all roots of one sort.

    Attributes:
        sort: ``"ref"``, ``"history"`` (of a ref, while undo needs it), ``"pin"`` (a live handle of this process),
            ``"operation"`` (what runs, and everything put since the plan was made), ``"event"``, ``"grace period"``.
        name: The ref, or who holds the pin; empty for a whole sort.
        address: What a pin holds, 32 bytes.
        roots: How many roots this stands for: states in a history, handles of a pin.
        reached: All that it leads to.
        exclusive: What nothing else leads to: it would come free if this alone went.
        with_history: Of a ref, what would come free if it and its history went; None for others.
        free_in_seconds: When it stops keeping anything if nothing changes; None where no clock ends it.
    """

    sort: str
    name: str = ""
    address: Address | None = None
    roots: int = 1
    reached: Amount
    exclusive: Amount
    with_history: Amount | None = None
    free_in_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class FreeSoon:
    """What only the grace period keeps and is free within so many seconds, but not within those of the one before."""

    within_seconds: int
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class KindShare:
    """Objects of one kind: kept, too young, and free with this collection."""

    kind: str
    live: Amount
    young: Amount
    dead: Amount


@dataclass(frozen=True, slots=True)
class SegmentShare:
    """Bytes of one segment; ``free_bytes`` is what its compaction gives back, 0 where it is not worth it.

    ``dead_bytes`` counts also what earlier collections took out of the index and left in the file.
    """

    segment: int
    total_bytes: int
    live_bytes: int
    young_bytes: int
    dead_bytes: int
    free_bytes: int
    condemned: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """A read-only opener: its pin, and its process as far as that is known. It holds whole segments, not objects."""

    pin: str
    pid: int | None
    for_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a collection keeps, why, and what it frees.

    Attributes:
        grace_seconds: What was put or hit more recently is kept.
        undo_keep_seconds: How long the history of refs keeps states.
        sorts: What all roots of each sort keep; ``exclusive`` of ``history`` is what ``undo_keep_seconds=0`` would
            free, that of ``grace period`` what ``grace_seconds=0`` would.
        roots: Refs, the history of each, pins and operations; what keeps most alone comes first.
        soon: What the grace period alone keeps, by the time when it goes.
        kinds: By kind of object.
        segments: By segment.
        readers: Who reads beside this process.
        reader_bytes: Segments that are on their way out and wait for readers.
        bases: What is kept only because something is stored against it.
        memory_bytes: Memory that the explanation took.
        seconds: How long it took.
    """

    grace_seconds: int
    undo_keep_seconds: int
    sorts: tuple[Share, ...]
    roots: tuple[Share, ...]
    soon: tuple[FreeSoon, ...]
    kinds: tuple[KindShare, ...]
    segments: tuple[SegmentShare, ...]
    readers: tuple[Reader, ...]
    reader_bytes: int
    bases: Amount
    memory_bytes: int
    seconds: float

    @property
    def freed_bytes(self) -> int:
        """Bytes that compaction would give back to the file system."""
        return sum(segment.free_bytes for segment in self.segments)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield "kept by                               reached bytes  alone bytes"
        for share in (*self.sorts, *self.roots[:_SHOWN]):
            name = f"  {share.sort} {share.name}".rstrip() if share.name else f"all of {share.sort}"
            times = f" ×{share.roots}" if share.roots > 1 else ""
            line = f"{name + times:<36} {share.reached.bytes:>14,} {share.exclusive.bytes:>12,}"
            if share.with_history is not None and share.with_history != share.exclusive:
                line += f"  ({share.with_history.bytes:,} with its history)"
            if share.free_in_seconds is not None:
                line += f"  until in {duration(share.free_in_seconds)}"
            yield line
        if len(self.roots) > _SHOWN:
            yield f"  … and {len(self.roots) - _SHOWN} more"
        for soon in self.soon:
            amount = f"{soon.bytes:,} bytes ({count(soon.objects, 'object')})"
            yield f"too young: {amount} go within {duration(soon.within_seconds)}"
        for kind in self.kinds:
            yield f"{kind.kind:<10} live {kind.live} · too young {kind.young} · free {kind.dead}"
        free = [segment for segment in self.segments if segment.free_bytes]
        segments = count(len(self.segments), "segment")
        yield f"{len(free)} of {segments} are to be compacted for {self.freed_bytes:,} bytes"
        if self.bases.objects:
            yield f"kept only as bases of deltas: {self.bases}"
        for reader in self.readers:
            who = "a process" if reader.pid is None else f"process {reader.pid}"
            yield f"{who} has been reading for {duration(reader.for_seconds)}"
        if self.reader_bytes:
            yield f"{self.reader_bytes:,} bytes of segments wait for readers to close"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain: how the one above leads here, what is here (a kind), and its address (32 bytes)."""

    how: str
    kind: str
    address: Address

    def __str__(self) -> str:
        return f"{self.how}: {self.kind} {self.address.hex()[:12]}"


@dataclass(frozen=True, slots=True)
class Chain:
    """A shortest way from one root down to an object; ``free_in_seconds`` is when the root lets go, None for never."""

    root: str
    steps: tuple[Step, ...]
    free_in_seconds: int | None = None

    def __str__(self) -> str:
        head = self.root if self.free_in_seconds is None else f"{self.root} (for {duration(self.free_in_seconds)} more)"
        return " → ".join([head, *map(str, self.steps)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Why one object is kept, or that nothing keeps it.

    Attributes:
        address: 32 bytes.
        kind: ``"chunk"``, ``"node"``, ``"snapshot"`` …; empty where nothing has the address.
        bytes: Bytes of its record.
        chains: The shortest way from each root that leads to it, shortest first, those that only keep what is young
            last; bounded in number.
        more_roots: Further roots that lead to it.
        deltas: Records that are stored against this one, so that it must stay while they do.
        base: What it is stored against itself.
        free_in_seconds: When it goes if nothing changes: 0 is with this collection; None where no clock ends it.
    """

    address: Address
    kind: str
    bytes: int
    chains: tuple[Chain, ...]
    more_roots: int
    deltas: int
    base: Address | None
    free_in_seconds: int | None

    @property
    def is_kept(self) -> bool:
        """Whether this collection leaves it."""
        return bool(self.chains)

    def __str__(self) -> str:
        name = f"{self.kind or 'object'} {self.address.hex()[:12]}"
        if not self.kind:
            return f"{name} is not in the store: it was never put, or was collected"
        lines = [f"{name}, {self.bytes:,} bytes"]
        if not self.chains:
            lines[0] += ": nothing keeps it; it goes with this collection"
        elif self.free_in_seconds is not None:
            lines[0] += f": goes in {duration(self.free_in_seconds)} if nothing changes"
        lines += [f"  {chain}" for chain in self.chains]
        if self.more_roots:
            lines.append(f"  … and {self.more_roots} more roots")
        if self.deltas:
            lines.append(f"  held by {count(self.deltas, 'delta')} stored against it")
        return "\n".join(lines)
