# SPDX-License-Identifier: MIT
"""The interface behind which objects are kept: put, get, contains, delete, scan, sync, used bytes.

Three backends stand behind it and pass one conformance suite (``casstore.testing.backends``): segments, a file per
object, and memory. A backend knows records, not what they mean: verification, compression and chunk lists lie above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.index_entry import IndexEntry
from casstore.format.record import Record
from casstore.storage.watch import Watch

Prepared = tuple[Record, bytes]
"""A record, and its bytes as a backend writes them."""


class SegmentInfo(NamedTuple):
    """A segment as it lies on disk: its length in bytes, its records, and whether it is on its way out."""

    segment: int
    total_bytes: int
    records: int
    condemned: bool


class Backend(Protocol):
    """Records by address, and small facts beside them. All methods are thread-safe.

    *Durability*: what ``put`` took is readable at once and durable once ``sync`` returned.
    """

    read_only: bool
    max_bytes: int | None
    """The quota in force: a ``put`` that would pass it raises ``QuotaExceededError``."""
    sweeps: int
    """How often a sweep has begun or ended, or a compaction after one."""
    collecting: bool
    """Set from the beginning of a sweep to the end of its compaction: there is one at a time."""
    interrupted: bool
    """Whether a sweep ended in the middle, in this opening or by a crash: lists may stand without their pieces."""
    doomed: Callable[[IndexEntry], bool] | None
    """Tells records that refer to others and will be deleted by the sweep under way: no hit revives them any more."""
    sweeping: bool
    """Set while a collection deletes; decisions and deletions are made under ``write_lock``."""

    @property
    def hurt(self) -> bool:
        """Whether any record is known to be damaged or cut off."""

    @property
    def doubtful(self) -> bool:
        """Whether any record is known to be damaged or cut off: then a list in place does not prove its pieces are."""

    def put(self, records: Sequence[Record]) -> None:
        """Keeps records, in order. What still waits for a sync point is not written twice; callers ask for the rest.

        Raises:
            QuotaExceededError: They would pass the quota; none was kept.
        """

    def prepare(self, records: Sequence[Record]) -> list[Prepared]:
        """Records as they are to be written, checksums and all; does no I/O and takes no lock."""

    def put_prepared(self, prepared: Sequence[Prepared]) -> None:
        """The same as ``put``, for what ``prepare`` gave."""

    def get(self, address: Address) -> Record:
        """The record under ``address``, its header checked and its content not.

        Raises:
            NotFoundError: Nothing has that address.
            CorruptionError: Something else lies where the record should be.
        """

    def contains(self, address: Address) -> bool:
        """Whether a record that is not marked damaged lies under ``address``."""

    def find(self, address: Address) -> IndexEntry | None:
        """Where the record lies, or None; one that is marked damaged is found, with its flag."""

    def touch(self, address: Address, stamp: int) -> None:
        """Renews the time of the last hit, in seconds since 1970."""

    def mark_damaged(self, address: Address, lost_kind: int | None = None) -> None:
        """Remembers that the record's bytes are wrong, so that the next put of it writes it again.

        With ``lost_kind`` a record of that kind which is nowhere is remembered as lost.
        """

    def damaged(self, address: Address) -> CorruptionError:
        """Marks the record of ``address`` damaged; the error to raise for it."""

    def delete(self, addresses: Sequence[Address], *, durable: bool = True) -> int:
        """Forgets records, at once; returns how many there were. Space comes back by ``compact``.

        Without ``durable`` a crash may bring them back, until the next ``sync``.
        """

    def scan(self, prefix: bytes = b"") -> Iterator[tuple[Address, IndexEntry]]:
        """All records whose addresses begin with ``prefix``, in the order of their addresses."""

    def sync(self, facts: Mapping[bytes, bytes | None] | None = None) -> None:
        """Makes everything that was put durable, and ``facts`` with it in one step."""

    def fact(self, key: bytes) -> bytes | None:
        """A fact by its key in the index, or None."""

    def facts(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The facts whose keys begin with ``prefix``, in order."""

    def cache(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What ``put_cache`` kept under keys that begin with ``prefix``, in order."""

    def put_cache(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Keeps what can be computed anew, all at once; None forgets a key. A crash or a rebuild may lose it."""

    def next_event(self) -> int:
        """A number for the next event; call it with ``write_lock`` held."""

    def freeing(self) -> AbstractContextManager[None]:
        """What this thread writes in the context gives space back: no quota holds, and the reserve may be used."""

    def ordinary(self) -> AbstractContextManager[None]:
        """Within ``freeing``, what this thread writes as anybody does; call it with ``write_lock`` held."""

    def write_lock(self) -> AbstractContextManager[object]:
        """Held while several steps must not be mixed with other writers' steps; reentrant."""

    def watch(self) -> AbstractContextManager[Watch]:
        """A watch over what is put and hit until the context ends."""

    def watches(self) -> list[Watch]:
        """All watches that are open now."""

    def hit(self, address: Address, entry: IndexEntry, sweeps: int | None = None) -> bool:
        """A put met a record that was there already: all open watches learn of it, and of the base of a delta. False: a
        sweep took it meanwhile.

        ``sweeps`` is the count from before ``entry`` was looked up; with it, the record is looked up again only where a
        sweep could have taken it.
        """

    def segments(self) -> list[SegmentInfo]:
        """The segments as they are; one pseudo-segment for backends without segments."""

    def check_segments(self) -> Iterator[CorruptionError]:
        """Walks all files record by record; what is damaged and still referred to by the index."""

    def compact(self, segments: Sequence[int]) -> None:
        """Moves what the index still knows out of ``segments`` and gives their space back."""

    def used_bytes(self) -> int:
        """Bytes that records take, headers included and the dead among them too."""

    def close(self) -> None:
        """Makes everything durable and ends the use of the backend."""
