# SPDX-License-Identifier: MIT
"""The model of a store while it is collected: its state, and what its parts do in one step each.

What is one step here is in the store one that no other thread can see the middle of: something that is done under the
write lock, or one look-up, or one look at a variable. Time goes in ticks.

Objects are small numbers, and sets of them are bits. A record's place is its number in the log, from 1; the log is cut
into segments. A chunk may be stored as a delta against another one, its base. What is left out on purpose stands in
``Setup.without``: each safeguard by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

CHUNK, LIST, NODE, SNAPSHOT = "chunk", "list", "node", "snapshot"
LOST = -1
EVENT = 100
"""A record with this and an object's number says that a ref names the object."""
COPIED_EVENT = 200
"""A copy of such a record, made by compaction: it moves no ref again."""
COLLECTOR = 9
"""Who holds the lock: a writer's number and 1, this, or nobody with 0."""

SAFEGUARDS = {
    "barrier": "what was put since the plan counts as live",
    "hit revives": "a hit on something that was there is told to every watch",
    "revival is transitive": "what lies below a hit is live too",
    "recheck": "a hit during a sweep looks again behind the lock",
    "sweep counter": "so does a hit between whose look-up and report a sweep began and ended",
    "decide under the lock": "a batch is decided and deleted under one lock",
    "parents before chunks": "what refers to chunks goes before them",
    "parents in one step": "nobody else's lock comes between the deletions of what refers to others",
    "lists in one batch": "no crash comes between the deletions of lists",
    "young below": "what lies below something young is kept with it",
    "watches of operations": "what running operations put and met before the plan is kept",
    "pins": "what is pinned is kept",
    "a pin hits": "who pins something reports a hit, and learns of it when it is too late",
    "grace": "what was put or hit within the grace period is kept",
    "children first": "what is referred to is appended before what refers to it",
    "fsync before the batch": "the segment is synced before the index says so",
    "batch before unlink": "the new places are durable before the old segment goes",
    "pins after the batch": "readers' pins are read after the batch that condemns a segment",
    "readers' pins": "a segment that a reader may need is not removed",
    "cut before adoption": "recovery syncs what it takes over before the index says so",
    "reachable": "an index entry that points behind the end of its segment counts as absent",
    "lists are checked": "where a segment was cut off, a list counts only with all its pieces",
    "a base is whole": "a base is no delta itself",
    "a put hits its base": "who stores a delta reports a hit on its base",
    "a delta counts with its base": "a delta whose base is gone counts as absent",
    "a hit on a delta hits its base": "and tells every watch of both",
    "a mark on a delta marks its base": "whatever keeps a delta by reference keeps its base",
    "a young delta keeps its base": "also where the delta is kept for its age alone",
    "deltas before bases": "no crash comes between a base's deletion and its delta's",
    "only the last delta": "a base is given up only where a single delta needs it",
    "full before its base goes": "what replaces a delta is durable before the base is deleted",
    "the doomed are refused": "a hit on what refers to others and is about to go comes too late",
    "a renewal hits": "who renews a stamp tells every watch in the same step",
    "a sweep is remembered": "after a crash in a sweep a list counts only with all its pieces",
    "deletions in order": "what refers to others goes before what it refers to, also where a crash takes the last back",
}


@dataclass(frozen=True)
class Graph:
    """Objects by number, children before parents: their kinds, and what they refer to."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    below: tuple[tuple[int, ...], ...]

    @cached_property
    def closures(self) -> tuple[int, ...]:
        """Each object with all below it, as bits."""
        found: list[int] = []
        for number, children in enumerate(self.below):
            bits = 1 << number
            for child in children:
                bits |= found[child]
            found.append(bits)
        return tuple(found)

    @cached_property
    def parents(self) -> int:
        """Everything but chunks, as bits."""
        return sum(1 << number for number, kind in enumerate(self.kinds) if kind != CHUNK)

    def closure(self, bits: int) -> int:
        """The objects of ``bits`` with all below them."""
        found = 0
        for number, closed in enumerate(self.closures):
            if bits >> number & 1:
                found |= closed
        return found

    def order(self, top: int) -> tuple[int, ...]:
        """What a put of ``top`` asks for: itself, then all below, children first."""
        below = [number for number in range(top) if self.closures[top] >> number & 1]
        return (top, *below)

    def spell(self, bits: int) -> str:
        """The names of the objects in ``bits``."""
        return ",".join(name for number, name in enumerate(self.names) if bits >> number & 1)


def graph(**objects: tuple[str, str]) -> Graph:
    """A graph from names, each with its kind and the names below it as one text."""
    names = tuple(objects)
    return Graph(
        names,
        tuple(kind for kind, _ in objects.values()),
        tuple(tuple(names.index(child) for child in below) for _, below in objects.values()),
    )


TREE = graph(a=(CHUNK, ""), l=(LIST, "a"), n=(NODE, "l"), s=(SNAPSHOT, "n"))
NESTED = graph(a=(CHUNK, ""), l=(LIST, "a"), m=(LIST, "l"), s=(SNAPSHOT, "m"))
WIDE = graph(a=(CHUNK, ""), b=(CHUNK, ""), l=(LIST, "ab"), s=(SNAPSHOT, "l"))
SMALL = graph(a=(CHUNK, ""), l=(LIST, "a"), s=(SNAPSHOT, "l"))


class Watch(NamedTuple):
    """What one operation put (all from ``start`` on) and met: chunks by place, others by number."""

    running: bool = False
    start: int = 0
    parents: int = 0
    chunks: int = 0


class Writer(NamedTuple):
    """Where a writer is in its program, and what it relies on."""

    at: int = 0
    step: str = ""
    place: int = 0
    sweeps: int = 0
    missing: int = 0
    bases: tuple[tuple[int, int], ...] = ()
    relied: int = 0
    until: int = 0
    pinned: int = 0


class Collector(NamedTuple):
    """Where the collection is, what it marked (places), and what it found."""

    step: str = "off"
    round: int = 0
    waiting: tuple[int, ...] = ()
    marked: int = 0
    bases: int = 0
    young: int = 0
    young_bases: int = 0
    expanded: int = 0
    captured: int = 0
    candidates: int = 0
    dead: int = 0
    full: int = 0
    place: int = 0
    segments: int = 0


class Reader(NamedTuple):
    """Another process: whether it is pinned, and its copy of the index."""

    step: str = "off"
    pinned: bool = False
    index: tuple[int, ...] = ()
    refs: int = 0


class State(NamedTuple):
    """A store, and everybody who uses it."""

    log: tuple[int, ...]
    bases: tuple[int, ...]
    ends: tuple[int, ...]
    synced: int
    index: tuple[int, ...]
    known_end: int
    pending: tuple[int, ...]
    stamps: tuple[int, ...]
    clock: int
    refs: int
    promised: int
    removed: int
    condemned: int
    blocked: int
    hurt: bool
    fact: bool
    deleted: tuple[tuple[int, int], ...]
    lock: int
    sweeping: bool
    sweeps: int
    watches: tuple[Watch, ...]
    writers: tuple[Writer, ...]
    collector: Collector
    reader: Reader
    crashes: int


NO_WATCH = Watch()


@dataclass(frozen=True)
class Setup:
    """What is explored: who takes part, with which programs, and which safeguards are left out.

    Attributes:
        graph: The objects.
        programs: One per writer: instructions with the object that each is about.
        collections: How many collections there are, one after another; 0 for none.
        compact: Whether a collection compacts too.
        reader: Whether another process reads.
        crashes: How many there are at most.
        last_waits: The last writer begins only after a crash; the others end with it.
        lying_disk: A crash may lose what was synced, too.
        ticks: How long it lasts; None where there is no grace period.
        grace: A hit renews a stamp that is older than the first number of ticks; the second is how long records stay.
        deltas: Whether a chunk may be stored against another one.
        begin_with: Sets of objects that are there at first and not referred to; None for all that are whole.
        begin_refs: What refs name at first.
        begin_ends: Where the first segments end, in records; None for one segment.
        doomed: Whether what goes is settled in one moment, and deleted later in batches that are not synced.
        backwards: Scans go from the last object to the first.
        without: Safeguards that are left out.
    """

    graph: Graph
    programs: tuple[tuple[tuple[str, int], ...], ...]
    collections: int = 1
    compact: bool = False
    reader: bool = False
    crashes: int = 0
    last_waits: bool = False
    lying_disk: bool = False
    ticks: int | None = None
    grace: tuple[int, int] = (0, 0)
    deltas: bool = False
    begin_with: tuple[int, ...] | None = None
    begin_refs: int = 0
    begin_ends: tuple[int, ...] | None = None
    doomed: bool = False
    backwards: bool = False
    without: frozenset[str] = frozenset()

    def has(self, safeguard: str) -> bool:
        """Whether a safeguard is in place."""
        return safeguard not in self.without

    def writer(self, slot: int, before_crash: bool) -> Writer:
        """A writer at the beginning of its program, or at the end where it has nothing to do yet, or any more."""
        last = slot == len(self.programs) - 1
        return Writer(len(self.programs[slot])) if self.last_waits and last == before_crash else Writer()

    def first_states(self) -> list[State]:
        """Every state to begin with: some whole objects in one segment, durable, old."""
        found = []
        count = len(self.graph.names)
        sets = range(1 << count) if self.begin_with is None else self.begin_with
        for present in sets:
            if self.graph.closure(present | self.begin_refs) != present:
                continue
            objects = [number for number in range(count) if present >> number & 1]
            found.append(self._first(objects, (-1,) * len(objects)))
            chunks = [number for number in objects if self.graph.kinds[number] == CHUNK]
            if self.deltas and len(chunks) > 1:
                # All other chunks are stored against the first.
                bases = [chunks[0] if number in chunks[1:] else -1 for number in objects]
                found.append(self._first(objects, tuple(bases)))
        return found

    def _first(self, objects: list[int], bases: tuple[int, ...]) -> State:
        """Some objects in one segment, durable; old, where there is a grace period."""
        count, numbers = len(objects), range(len(self.graph.names))
        places = tuple(objects.index(number) + 1 if number in objects else 0 for number in numbers)
        clock = 0 if self.ticks is None else self.grace[1] + 1
        return State(
            log=tuple(objects),
            bases=bases,
            ends=self.begin_ends or ((count,) if count else ()),
            synced=count,
            index=places,
            known_end=count,
            pending=(0,) * len(places),
            stamps=(0,) * len(places),
            clock=clock,
            refs=self.begin_refs,
            promised=self.begin_refs,
            removed=0,
            condemned=0,
            blocked=0,
            hurt=False,
            fact=False,
            deleted=(),
            lock=0,
            sweeping=False,
            sweeps=0,
            watches=(NO_WATCH,) * (len(self.programs) + 1),
            writers=tuple(self.writer(slot, self.last_waits) for slot in range(len(self.programs))),
            collector=Collector("begin" if self.collections else "off"),
            reader=Reader("begin" if self.reader else "off"),
            crashes=self.crashes,
        )


# -- look-ups


def segment_of(state: State, place: int) -> int:
    """The segment that a record lies in."""
    return sum(place > end for end in state.ends)


def place_of(state: State, setup: Setup, number: int) -> int:
    """Where the store finds an object; 0 where it does not."""
    place = state.pending[number] or state.index[number]
    if not place:
        return 0
    return place if is_readable(state, place) or not setup.has("reachable") else 0


def is_readable(state: State, place: int) -> bool:
    """Whether the bytes of a record are there."""
    if not place or state.log[place - 1] == LOST:
        return False
    return not state.removed or not state.removed >> segment_of(state, place) & 1


def base_of(state: State, place: int) -> int:
    """The object that the record in a place is stored against; -1 where it is no delta."""
    return state.bases[place - 1]


def readable(state: State) -> int:
    """Everything that can be read, as bits."""
    found = deltas = 0
    for number, places in enumerate(zip(state.pending, state.index)):
        place = places[0] or places[1]
        if is_readable(state, place):
            found |= 1 << number
            if state.bases[place - 1] >= 0:
                deltas |= 1 << number
    if not deltas:
        return found
    whole = found & ~deltas
    for number, places in enumerate(zip(state.pending, state.index)):
        if deltas >> number & 1 and not whole >> state.bases[(places[0] or places[1]) - 1] & 1:
            found &= ~(1 << number)
    return found


def is_young(state: State, setup: Setup, number: int) -> bool:
    """Whether a record is within the grace period."""
    return setup.ticks is not None and state.clock - state.stamps[number] <= setup.grace[1]


def pins_of(state: State) -> int:
    """Everything that is pinned in this process, as bits."""
    found = 0
    for writer in state.writers:
        found |= writer.pinned
    return found


# -- changes


def with_item(items: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    """The tuple with another value in one place."""
    return (*items[:at], value, *items[at + 1 :])


def appended(state: State, numbers: list[int], bases: dict[int, int], *, moved: bool = False) -> State:
    """Records at the end of the log, their entries waiting for the next sync; moved ones keep their stamps."""
    log, pending, stamps = list(state.log), list(state.pending), list(state.stamps)
    for number in numbers:
        log.append(number)
        if number < EVENT:
            pending[number] = len(log)
            if not moved:
                stamps[number] = state.clock
    against = tuple([bases.get(number, -1) for number in numbers])
    return state._replace(log=tuple(log), bases=state.bases + against, pending=tuple(pending), stamps=tuple(stamps))


def synchronized(state: State, setup: Setup) -> State:
    """A sync point: the segment first, then one batch of the index."""
    log, pending = state.log, state.pending
    refs = state.refs
    for record in log[state.known_end :]:
        if EVENT <= record < COPIED_EVENT:
            refs |= 1 << (record - EVENT)
    return state._replace(
        synced=len(log) if setup.has("fsync before the batch") else state.synced,
        index=tuple([waiting or place for waiting, place in zip(pending, state.index)]),
        known_end=len(log),
        pending=(0,) * len(pending),
        refs=refs,
        deleted=(),
    )


def hit(state: State, setup: Setup, number: int, place: int) -> State:
    """Every watch learns that somebody relies on an object."""
    if not setup.has("hit revives") or not place:
        return state
    base = base_of(state, place)
    if base >= 0 and setup.has("a hit on a delta hits its base"):
        state = hit(state, setup, base, place_of(state, setup, base))
    is_parent = setup.graph.parents >> number & 1
    watches = []
    for watch in state.watches:
        if not watch.running:
            watches.append(watch)
        elif is_parent:
            watches.append(watch._replace(parents=watch.parents | 1 << number))
        else:
            watches.append(watch._replace(chunks=watch.chunks | 1 << place))
    return state._replace(watches=tuple(watches))


def with_watch(state: State, slot: int, watch: Watch) -> State:
    """The state with another watch in a slot."""
    watches = state.watches
    return state._replace(watches=(*watches[:slot], watch, *watches[slot + 1 :]))


def open_watch(state: State, slot: int) -> State:
    """An operation begins; what a collection captured from an earlier one of the same writer gets a slot of its own."""
    collector, old = state.collector, state.watches[slot]
    if collector.captured >> slot & 1:
        captured = collector.captured & ~(1 << slot) | 1 << len(state.watches)
        state = state._replace(watches=(*state.watches, old), collector=collector._replace(captured=captured))
    return with_watch(state, slot, Watch(True, len(state.log)))


def close_watch(state: State, slot: int) -> State:
    """A watch ends. A collection that captured it goes on seeing what it saw."""
    if state.collector.captured >> slot & 1:
        return with_watch(state, slot, state.watches[slot]._replace(running=False))
    return with_watch(state, slot, NO_WATCH)
