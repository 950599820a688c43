# SPDX-License-Identifier: MIT
"""Explaining a collection: what each root keeps, alone and with others, what is too young, what comes free.

Every root, or group of roots, is one bit. Bits flow down from a record to what it leads to, in an order in which every
record comes after all that lead to it; so one pass for each 64 bits says exactly which roots lead to each record, and a
record with a single bit is kept by that root alone.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from casstore.address import Address
from casstore.collection.explain_graph import RecordNumbers, Walk, references
from casstore.collection.explain_report import Amount, Explanation, FreeSoon, KindShare, Reader, SegmentShare, Share
from casstore.collection.roots import EVENTS, HISTORIES, PINS, REFS, Root
from casstore.format.index_entry import IndexEntry
from casstore.format.kinds import KIND_NAMES
from casstore.layout import READERS, pin_name
from casstore.storage import Storage
from casstore.storage.readers import live_pins
from casstore.storage.watch import Bitmap, Watch

SORTS: Final = ("ref", "history", "pin", "operation", "event", "grace period")
MAX_GROUPS: Final = 256
"""Roots that are told apart; of further ones only their sort's sum is known."""
SHARED: Final = 2**32 - 1
_GRACE: Final = 1 << SORTS.index("grace period")
_WORD: Final = 64
_ONES: Final = 2**_WORD - 1
_FURTHER: Final = "(further ones)"
_OWN: Final = {REFS: "ref", HISTORIES: "history", PINS: "pin", EVENTS: "event"}
_BUCKETS: Final = 6
_MANY: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a plan decided by.

    Attributes:
        storage: The store's storage.
        shallow: Tells the snapshots whose parents are not followed.
        roots: What the mark began from.
        watches: Of running operations, and the plan's own.
        oldest: Stamps above this are too young to go, seconds since 1970.
        grace_seconds: The grace period.
        undo_keep_seconds: How long history keeps states.
        compacted: Segments that are worth compacting, and the bytes that each gives back.
    """

    storage: Storage
    shallow: Callable[[Address], bool]
    roots: Sequence[Root]
    watches: Sequence[Watch]
    oldest: int
    grace_seconds: int
    undo_keep_seconds: int
    compacted: dict[int, int]

    def is_young(self, entry: IndexEntry) -> bool:
        """Whether the grace period keeps the record."""
        return entry.stamp > self.oldest

    def relies_on(self, watch: Watch, entry: IndexEntry) -> bool:
        """Whether a running operation keeps the record itself, by having written or met it."""
        return watch.is_new(entry.segment, entry.ordinal) or (entry.segment, entry.ordinal) in watch.chunks

    def free_in(self, entry_stamp: int) -> int:
        """Seconds until a stamp is too old to keep anything."""
        return max(1, entry_stamp + self.grace_seconds + 1 - int(time.time()))

    def starts(self) -> Iterator[Address]:
        """Where the walk begins: roots, what operations rely on, and what is young."""
        yield from (root.address for root in self.roots)
        for watch in self.watches:
            yield from list(watch.parents)
        for address, entry in self.storage.backend.scan():
            if self.is_young(entry) or any(self.relies_on(watch, entry) for watch in self.watches):
                yield address


@dataclass(slots=True)
class _Group:
    """Roots that are told of together."""

    sort: str
    name: str = ""
    address: Address | None = None
    roots: int = 0
    until_ns: int | None = 0
    reached: list[int] = field(default_factory=lambda: [0, 0])
    exclusive: list[int] = field(default_factory=lambda: [0, 0])

    def take(self, root: Root) -> None:
        """One root more."""
        self.roots += root.number if root.sort == PINS else 1
        if root.until_ns is None or self.until_ns is None:
            self.until_ns = None
        else:
            self.until_ns = max(self.until_ns, root.until_ns)


class _Groups:
    """Bit → group. The first bits are the sorts as a whole; each root has the bit of its sort and that of its group."""

    def __init__(self, grounds: Grounds) -> None:
        self.all = [_Group(sort) for sort in SORTS]
        self.seeds: dict[Address, int] = defaultdict(int)
        self._bits: dict[tuple[str, str, Address | None], int] = {}
        self.grace = self._mask("grace period")
        self.watched: list[int] = []
        for number in range(len(grounds.watches)):
            last = number == len(grounds.watches) - 1
            name = "what was put or met since the plan was made" if last else f"running operation {number + 1}"
            self.watched.append(self._mask("operation", name))
            self._group_of(self.watched[-1]).roots = 1
        order = {REFS: 0, PINS: 1, HISTORIES: 2, EVENTS: 3}
        for root in sorted(grounds.roots, key=lambda root: order[root.sort]):
            address = root.address if root.sort == PINS else None
            mask = self._mask(_OWN[root.sort], "" if root.sort == EVENTS else root.name, address)
            self.seeds[root.address] |= mask
            self.all[SORTS.index(_OWN[root.sort])].take(root)
            self._group_of(mask).take(root)
        lines: dict[str, list[int]] = {}
        for bit, group in enumerate(self.all):
            if bit >= len(SORTS) and group.sort in ("ref", "history") and group.name != _FURTHER:
                lines.setdefault(group.name, []).append(bit)
        self.lines = {name: bits for name, bits in lines.items() if self.all[bits[0]].sort == "ref"}
        self.line_of = {bit: number for number, bits in enumerate(self.lines.values()) for bit in bits}

    def _mask(self, sort: str, name: str = "", address: Address | None = None) -> int:
        """The bits of a group and of its sort; the group is made if it is new."""
        key = (sort, name, address)
        if key not in self._bits and len(self.all) >= MAX_GROUPS:
            key = (sort, _FURTHER, None)
        if key not in self._bits:
            self._bits[key] = len(self.all)
            self.all.append(_Group(*key))
        return 1 << self._bits[key] | 1 << SORTS.index(sort)

    def _group_of(self, mask: int) -> _Group:
        return self.all[mask.bit_length() - 1]

    def owner(self, mask: int) -> int:
        """Who alone has these bits: a group's bit, a line's number behind all bits, or ``SHARED``; 0 for nobody."""
        owner = 0
        mask &= -1 << len(SORTS)
        while mask and owner != SHARED:
            bit = mask.bit_length() - 1
            mask ^= 1 << bit
            owner = self.joined(owner, bit)
        return owner

    def joined(self, one: int, other: int) -> int:
        """Who alone has what two owners have together."""
        if not one or not other or one == other:
            return one or other
        first, second = (self.line_of.get(owner, owner - len(self.all)) for owner in (one, other))
        if first == second and SHARED not in (one, other):
            return len(self.all) + first
        return SHARED


def explain(grounds: Grounds) -> Explanation:
    """What a collection keeps, why, and what it frees. Changes nothing.

    Raises:
        CorruptionError: Something that must be kept is damaged.

    *Cost*: reads twice what a mark reads, and once more for each 64 groups of roots beyond the first 58; passes over
    the index four times, and twice more for each 64. Memory: 17 bytes for each record, 32 more for each that refers to
    others. Do not execute a collection meanwhile.
    """
    return _Explainer(grounds).run()


class _Explainer:
    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds
        self._started = time.monotonic()
        self._groups = _Groups(grounds)
        self._latest = RecordNumbers("I")
        self._owner = RecordNumbers("I")
        self._direct = Bitmap()
        self._as_base = Bitmap()
        self._kinds: dict[int, list[list[int]]] = {}
        self._segments: dict[int, list[int]] = {}
        self._soon: dict[int, list[int]] = {}
        self._bases = [0, 0]
        self._with_history: dict[str, list[int]] = {}

    def run(self) -> Explanation:
        grounds, groups = self._grounds, self._groups
        walk = Walk(grounds.storage, grounds.shallow, keep_order=True)
        for start in grounds.starts():
            walk.visit(start)
        memory_bytes = 0
        for word in range(0, len(groups.all), _WORD):
            masks = self._flow(walk, word)
            self._count(masks, word)
            memory_bytes = max(memory_bytes, masks.memory_bytes)
        self._count_owners()
        memory_bytes += len(walk.order)
        for part in (walk.seen, self._latest, self._owner, self._direct, self._as_base):
            memory_bytes += part.memory_bytes
        return self._report(memory_bytes)

    def _flow(self, walk: Walk, word: int) -> RecordNumbers:
        """64 bits from ``word`` on, for every record."""
        grounds, masks, latest, direct = self._grounds, RecordNumbers("Q"), self._latest, self._direct
        find = grounds.storage.backend.find

        def seed(entry: IndexEntry | None, mask: int) -> None:
            if entry is not None:
                direct.add(entry.segment, entry.ordinal)
                masks.join(entry, mask >> word & _ONES)

        for address, mask in self._groups.seeds.items():
            seed(find(address), mask)
        watched = list(zip(grounds.watches, self._groups.watched))
        for watch, mask in watched:
            for address in list(watch.parents):
                seed(find(address), mask)
        for _, entry in grounds.storage.backend.scan():
            mask = 0
            for watch, bits in watched:
                if grounds.relies_on(watch, entry):
                    mask |= bits
            if grounds.is_young(entry):
                mask |= self._groups.grace
                latest.set(entry, max(entry.stamp, latest.get(entry)))
            if mask:
                seed(entry, mask)
        for address, entry in walk.parents_first():
            mask = masks.get(entry)
            stamp = latest.get(entry)
            if not mask and word:
                continue
            for child in references(grounds.storage, address, entry, grounds.shallow):
                found = find(child)
                if found is not None:
                    masks.join(found, mask)
                    if not word:
                        if stamp > latest.get(found):
                            latest.set(found, stamp)
                        (self._as_base if child == entry.base else direct).add(found.segment, found.ordinal)
        return masks

    def _count(self, masks: RecordNumbers, word: int) -> None:
        """Adds up what 64 bits say."""
        groups, owner = self._groups, self._owner
        tallies: dict[int, list[int]] = {}
        owners: dict[int, int] = {}
        for _, entry in self._grounds.storage.backend.scan():
            mask = masks.get(entry)
            if not word:
                self._sort_out(entry, mask & (1 << len(SORTS)) - 1)
            if not mask:
                continue
            if mask not in tallies:
                if len(tallies) >= _MANY:
                    self._settle(tallies, word)
                    owners.clear()
                tallies[mask] = [0, 0]
                owners[mask] = groups.owner(mask << word)
            _add(tallies[mask], entry)
            owner.set(entry, groups.joined(owner.get(entry), owners[mask]))
        self._settle(tallies, word)

    def _settle(self, tallies: dict[int, list[int]], word: int) -> None:
        for mask, tally in tallies.items():
            rest = mask
            while rest:
                bit = rest.bit_length() - 1
                rest ^= 1 << bit
                _join(self._groups.all[word + bit].reached, tally)
            sorts = mask & (1 << len(SORTS)) - 1
            if not word and sorts and not sorts & (sorts - 1):
                _join(self._groups.all[sorts.bit_length() - 1].exclusive, tally)
        tallies.clear()

    def _count_owners(self) -> None:
        tallies: dict[int, list[int]] = {}
        for _, entry in self._grounds.storage.backend.scan():
            owner = self._owner.get(entry)
            if owner and owner != SHARED:
                _add(tallies.setdefault(owner, [0, 0]), entry)
        groups = self._groups
        for owner, tally in tallies.items():
            if owner < len(groups.all):
                _join(groups.all[owner].exclusive, tally)
        self._with_history = {
            name: [
                sum(tallies.get(owner, (0, 0))[part] for owner in (*bits, len(groups.all) + number)) for part in (0, 1)
            ]
            for number, (name, bits) in enumerate(groups.lines.items())
        }

    def _sort_out(self, entry: IndexEntry, sorts: int) -> None:
        """Live, too young or dead; and what only deltas hold."""
        part = 2 if not sorts else 1 if sorts == _GRACE else 0
        _add(self._kinds.setdefault(entry.kind, [[0, 0], [0, 0], [0, 0]])[part], entry)
        self._segments.setdefault(entry.segment, [0, 0, 0])[part] += entry.record_bytes
        if part == 1:
            seconds = self._grounds.free_in(self._latest.get(entry))
            # What was put this second goes a second after the grace period; nobody wants to read "1h1s".
            grace = max(1, self._grounds.grace_seconds)
            step = -(-grace // _BUCKETS)
            _add(self._soon.setdefault(min(-(-seconds // step) * step, grace), [0, 0]), entry)
        record = (entry.segment, entry.ordinal)
        if part < 2 and record in self._as_base and record not in self._direct:
            _add(self._bases, entry)

    def _report(self, memory_bytes: int) -> Explanation:
        grounds, groups = self._grounds, self._groups
        roots = [
            self._share(group)
            for group in groups.all[len(SORTS) :]
            if group.sort not in ("event", "grace period") and group.reached[0]
        ]
        roots.sort(key=lambda share: (-max(share.exclusive.bytes, _bytes(share.with_history)), share.sort, share.name))
        readers, reader_bytes = _readers(grounds.storage)
        return Explanation(
            grace_seconds=grounds.grace_seconds,
            undo_keep_seconds=grounds.undo_keep_seconds,
            sorts=tuple(self._share(group) for group in groups.all[: len(SORTS)] if group.reached[0]),
            roots=tuple(roots),
            soon=tuple(FreeSoon(seconds, *tally) for seconds, tally in sorted(self._soon.items())),
            kinds=tuple(
                KindShare(KIND_NAMES[kind], *(Amount(*part) for part in parts))
                for kind, parts in sorted(self._kinds.items())
            ),
            segments=tuple(self._segment_shares()),
            readers=readers,
            reader_bytes=reader_bytes,
            bases=Amount(*self._bases),
            memory_bytes=memory_bytes,
            seconds=time.monotonic() - self._started,
        )

    def _share(self, group: _Group) -> Share:
        with_history = self._with_history.get(group.name) if group.sort == "ref" and group.name else None
        return Share(
            sort=group.sort,
            name=group.name,
            address=group.address,
            roots=max(1, group.roots),
            reached=Amount(*group.reached),
            exclusive=Amount(*group.exclusive),
            with_history=None if with_history is None else Amount(*with_history),
            free_in_seconds=seconds_until(group.until_ns) if group.until_ns else None,
        )

    def _segment_shares(self) -> Iterator[SegmentShare]:
        for info in self._grounds.storage.backend.segments():
            live, young, _ = self._segments.get(info.segment, (0, 0, 0))
            dead = max(0, info.total_bytes - live - young)
            free = self._grounds.compacted.get(info.segment, 0)
            yield SegmentShare(info.segment, info.total_bytes, live, young, dead, free, info.condemned)


def seconds_until(time_ns: int) -> int:
    """Whole seconds from now until a time in nanoseconds since 1970, rounded up."""
    return max(0, -(-(time_ns - time.time_ns()) // 10**9))


def _add(tally: list[int], entry: IndexEntry) -> None:
    tally[0] += 1
    tally[1] += entry.record_bytes


def _join(tally: list[int], more: Sequence[int]) -> None:
    tally[0] += more[0]
    tally[1] += more[1]


def _bytes(amount: Amount | None) -> int:
    return 0 if amount is None else amount.bytes


def _readers(storage: Storage) -> tuple[tuple[Reader, ...], int]:
    """Who reads beside this process, and the bytes of segments that wait for them."""
    path = getattr(storage.backend, "path", None)
    if path is None:
        return (), 0
    found = []
    for pin in sorted(live_pins(path)):
        try:
            with open(os.path.join(path, READERS, pin_name(pin)), "rb") as file:
                text = file.read(32).strip()
                began = os.fstat(file.fileno()).st_mtime
        except OSError:
            continue
        found.append(Reader(pin, int(text) if text.isdigit() else None, max(0, int(time.time() - began))))
    waiting = sum(info.total_bytes for info in storage.backend.segments() if info.condemned)
    return tuple(found), waiting
