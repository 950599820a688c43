# SPDX-License-Identifier: MIT
"""The model of a collection and a real store, driven through the same steps, which must hold the same objects.

What two threads would do at once is done in turn where a seam lets another in: between the instructions of a writer,
between a plan and its execution, beside an open reader, at a crash (the folder is copied as it is). In the model every
instruction is run to its end, step by step, by the same functions that the explorer uses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import casstore
from casstore.address import Address
from casstore.errors import NotFoundError
from casstore.format.entry import file_entry
from casstore.format.kinds import NODE, SNAPSHOT
from casstore.testing.model import noise
from casstore.tree import build
from tests.model.collecting import collector_steps
from tests.model.crashing import crash_steps, reader_steps
from tests.model.explorer import Step
from tests.model.keeping import MET_NOTHING
from tests.model.protocol import (
    CHUNK,
    LIST,
    Collector,
    Graph,
    Reader,
    Setup,
    State,
    Writer,
    appended,
    base_of,
    graph,
    place_of,
    synchronized,
)
from tests.model.protocol import NODE as NODES
from tests.model.protocol import SNAPSHOT as SNAPSHOTS
from tests.model.setups import Program
from tests.model.writing import writer_steps
from tests.snapshots.driving import SMALL, copy_open_store

GRAPH = graph(
    a=(CHUNK, ""),
    b=(CHUNK, ""),
    l=(LIST, "ab"),
    n=(NODES, "l"),
    p=(NODES, "b"),
    s=(SNAPSHOTS, "n"),
    t=(SNAPSHOTS, "p"),
)
A, B, L, N, P, S, T = range(7)

PROGRAMS: tuple[Program, ...] = (
    (("begin", 0), ("content", L), ("record", N), ("record", S), ("ref", S), ("end", 0)),
    (("begin", 0), ("content", B), ("record", P), ("record", T), ("ref", T), ("end", 0)),
    (("begin", 0), ("content", L), ("record", N), ("record", S), ("end", 0)),
    (("begin", 0), ("content", B), ("record", P), ("end", 0)),
    (("begin", 0), ("content", L), ("end", 0)),
    (("begin", 0), ("content", A), ("content", B), ("end", 0)),
    (("begin", 0), ("use", N), ("record", S), ("ref", S), ("end", 0)),
    (("begin", 0), ("use", L), ("record", N), ("end", 0)),
    (("content", L),),
    (("content", B),),
    (("ref", S),),
    (("ref", T),),
    (("pin", L), ("unpin", L)),
    (("pin", B), ("unpin", B)),
)


DELTA_GRAPH = graph(
    b=(CHUNK, ""),
    d=(CHUNK, ""),
    e=(CHUNK, ""),
    n=(NODES, "d"),
    p=(NODES, "e"),
    s=(SNAPSHOTS, "n"),
    t=(SNAPSHOTS, "p"),
)
DELTA_PROGRAMS: tuple[Program, ...] = (
    (("begin", 0), ("content", 1), ("record", N), ("record", S), ("ref", S), ("end", 0)),
    (("begin", 0), ("content", 2), ("record", P), ("record", T), ("ref", T), ("end", 0)),
    (("begin", 0), ("content", 1), ("record", N), ("end", 0)),
    (("begin", 0), ("content", 0), ("content", 1), ("content", 2), ("end", 0)),
    (("begin", 0), ("use", N), ("record", S), ("ref", S), ("end", 0)),
    (("content", 0),),
    (("content", 0),),
    (("ref", S),),
    (("ref", T),),
    (("pin", 1), ("unpin", 1)),
    (("pin", 0), ("unpin", 0)),
)


class Things(NamedTuple):
    """The objects as they are in a store: address by number, bytes of contents, records of nodes and snapshots.

    ``like`` is what a content may be stored against.
    """

    graph: Graph
    programs: tuple[Program, ...]
    addresses: tuple[Address, ...]
    contents: dict[int, bytes]
    records: dict[int, tuple[int, bytes]]
    like: dict[int, int]


def make_things() -> Things:
    """Objects that refer to each other as those of the model do."""
    with casstore.open(":memory:", config=SMALL) as store:
        for seed in range(1000):
            data = noise(2100, seed)
            found = store.storage.chunk_list(store.put(data))
            if found is not None and len(found.pieces) == 2:
                break
        assert found is not None
        (a, _), (b, _) = found.pieces
        contents = {A: store.get(a), B: store.get(b), L: data}
        return _things(store, GRAPH, PROGRAMS, contents, (L, B), {})


def make_deltas() -> Things:
    """A chunk, and two that are like it."""
    base = noise(1000, 1)
    contents = {0: base, 1: base[:500] + b"one" + base[500:], 2: base[:700] + b"other" + base[700:]}
    with casstore.open(":memory:", config=SMALL) as store:
        return _things(store, DELTA_GRAPH, DELTA_PROGRAMS, contents, (1, 2), {1: 0, 2: 0})


def _things(
    store: casstore.Store,
    shape: Graph,
    programs: tuple[Program, ...],
    contents: dict[int, bytes],
    named: tuple[int, int],
    like: dict[int, int],
) -> Things:
    """The contents, a node for each of two, and a snapshot for each node."""
    addresses = [store.put(data) for _, data in sorted(contents.items())]
    records = {}
    for number, content in enumerate(named):
        entry = file_entry(len(contents[content]), addresses[content])
        node = build(store.nodes, [(b"%d" % number, entry)])
        assert node is not None
        snapshot = store.add_snapshot(roots={"files": node}, time_ns=1).id
        records[N + number] = (NODE, node, store.storage.get_record(NODE, node))
        records[S + number] = (SNAPSHOT, snapshot, store.storage.get_record(SNAPSHOT, snapshot))
    addresses += [address for _, (_, address, _) in sorted(records.items())]
    kept = {number: (kind, raw) for number, (kind, _, raw) in records.items()}
    return Things(shape, programs, tuple(addresses), contents, kept, like)


class Pair:
    """A store and its model.

    Args:
        things: The objects.
        folder: An empty folder for the store; None for one in memory.
    """

    def __init__(self, things: Things, folder: Path | None) -> None:
        self._things = things
        self._folder = folder
        self._path = None if folder is None else folder / "0"
        if folder is not None:
            folder.mkdir()
        self.store = self._open()
        self._names = things.graph.names
        self._setup = Setup(graph=things.graph, programs=((), ()), deltas=bool(things.like), begin_with=(0,))
        self.state = self._setup.first_states()[0]
        self._held: list[ExitStack] = [ExitStack(), ExitStack()]
        self._plan: casstore.GcPlan | None = None
        self._reader: casstore.Store | None = None
        self.done: list[str] = []

    def _open(self) -> casstore.Store:
        store = casstore.open(self._path if self._path is not None else ":memory:", config=SMALL)
        store.storage.deltas = bool(self._things.like)
        return store

    def close(self) -> None:
        """Ends everything."""
        for held in self._held:
            held.close()
        if self._plan is not None:
            self._plan.drop()
        if self._reader is not None:
            self._reader.close()
        self.store.close()

    # -- steps of both

    def choices(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What can be done now."""
        for slot in (0, 1):
            program, at = self._setup.programs[slot], self.state.writers[slot].at
            if at < len(program):
                yield f"{slot + 1} {program[at][0]} {self._names[program[at][1]]}", lambda slot=slot: self._go_on(slot)
            else:
                for number, program in enumerate(self._things.programs):
                    yield f"{slot + 1} begins {number}", lambda slot=slot, one=program: self._start(slot, one)
        if self._plan is None:
            yield "plan", self._make_plan
        else:
            yield "execute", self._execute
        for number in (S, T):
            if self.state.refs >> number & 1:
                yield f"delete ref {self._names[number]}", lambda number=number: self._delete_ref(number)
        if self._folder is not None:
            yield "crash", self._crash
            if self._reader is None:
                yield "reader opens", self._open_reader
            else:
                yield "reader ends", self._end_reader

    def _start(self, slot: int, program: Program) -> None:
        programs = list(self._setup.programs)
        programs[slot] = program
        self._setup = replace(self._setup, programs=tuple(programs))
        writers = list(self.state.writers)
        writers[slot] = Writer()
        self.state = self.state._replace(writers=tuple(writers))
        self._go_on(slot)

    def _go_on(self, slot: int) -> None:
        at = self.state.writers[slot].at
        order, number = self._setup.programs[slot][at]
        failed = False
        try:
            self._do(slot, order, number)
        except NotFoundError:
            failed = True
            self._held[slot].close()
        base = self._things.like.get(number, 0)
        ending = f"looks at {self._names[base]} as its base" if number in self._bases() else ""
        while self.state.writers[slot].at == at:
            self._take(writer_steps(self.state, self._setup, slot), ending)
        # The last instruction of a program ends it either way.
        stopped = self.state.writers[slot].at != at + 1 or at + 1 == len(self._setup.programs[slot])
        assert stopped or not failed, f"the store has no {self._names[number]}, and the model has, after {self.done}"

    def _bases(self) -> set[int]:
        """The objects that are stored as deltas."""
        found = set()
        for number, address in enumerate(self._things.addresses):
            entry = self.store.storage.backend.find(address)
            if entry is not None and entry.base is not None:
                found.add(number)
        return found

    def _do(self, slot: int, order: str, number: int) -> None:
        store, held, address = self.store, self._held[slot], self._things.addresses[number]
        if order == "begin":
            held.enter_context(store.storage.operation())
        elif order in ("end", "unpin"):
            held.close()
        elif order == "content":
            like = self._things.like.get(number)
            other = None if like is None else self._things.addresses[like]
            assert store.storage.put(self._things.contents[number], other) == address
        elif order == "record":
            kind, raw = self._things.records[number]
            store.storage.put_record(kind, address, raw)
        elif order == "ref":
            store.refs[self._names[number] + "/ref"] = address  # type: ignore[assignment]
        elif order == "use":
            entry = store.storage.backend.find(address)
            if entry is None or not store.storage.backend.hit(address, entry):
                raise NotFoundError("nothing to refer to", address=address)
        else:
            held.enter_context(store.open_content(address))

    def _take(self, steps: Iterator[Step[State]], ending: str = "") -> None:
        """The only step, or of several the one that ends so: the model leaves open what becomes a delta of what."""
        (_, reached), *others = steps
        for name, other in others:
            if ending and name.endswith(ending):
                reached = other
        self.state = reached

    def _make_plan(self) -> None:
        self.state = self.state._replace(collector=Collector("begin"))
        while self.state.collector.step not in ("planned", MET_NOTHING):
            self._take(collector_steps(self.state, self._setup))
        assert self.state.collector.step == "planned"
        self._plan = self.store.plan_gc(grace_seconds=0, undo_keep_seconds=0)

    def _execute(self) -> None:
        while self.state.collector.step not in ("off", MET_NOTHING):
            self._take(collector_steps(self.state, self._setup))
        assert self.state.collector.step == "off"
        assert self._plan is not None
        before = self._places()
        self._plan.execute()
        self._plan = None
        # Which segments are worth compacting depends on bytes, which the model has not; what was moved was put anew for
        # every operation that runs.
        moved = [number for number, place in self._places().items() if place != before.get(number, place)]
        bases = {number: self._things.like[number] for number in self._bases()}
        self.state = synchronized(appended(self.state, moved, bases, moved=True), self._setup)

    def _places(self) -> dict[int, tuple[int, int]]:
        """Where the objects that are there lie: segment and ordinal."""
        found = {number: self.store.storage.backend.find(one) for number, one in enumerate(self._things.addresses)}
        return {number: (entry.segment, entry.ordinal) for number, entry in found.items() if entry is not None}

    def _delete_ref(self, number: int) -> None:
        bit = 1 << number
        state = synchronized(self.state, self._setup)
        self.state = state._replace(refs=state.refs & ~bit, promised=state.promised & ~bit)
        del self.store.refs[self._names[number] + "/ref"]

    def _open_reader(self) -> None:
        self.state = self.state._replace(reader=Reader("begin"))
        for _ in range(2):
            self._take(reader_steps(self.state, self._setup))
        assert self._path is not None
        self._reader = casstore.open(self._path, read_only=True, config=SMALL)

    def _end_reader(self) -> None:
        self._take(reader_steps(self.state, self._setup))
        assert self._reader is not None
        self._reader.close()
        self._reader = None

    def _crash(self) -> None:
        """The process is killed: what was written is there. A new one opens the store."""
        assert self._folder is not None
        assert self._path is not None
        if self._reader is not None:
            self._end_reader()
        target = self._folder / str(int(self._path.name) + 1)
        copy_open_store(self._path, target)
        *_, (_, self.state) = crash_steps(self.state._replace(crashes=1), self._setup)
        for held in self._held:
            held.close()
        if self._plan is not None:
            self._plan.drop()
            self._plan = None
        self.store.close()
        self._path = target
        self.store = self._open()

    # -- what must be the same

    def check(self) -> None:
        """The store has what the model has, and it can be read."""
        found = self._present(self.store)
        wanted = [bool(place_of(self.state, self._setup, number)) for number in range(len(self._names))]
        assert found == wanted, f"the store has {found}, the model {wanted}, after {self.done}"
        places = [place_of(self.state, self._setup, number) for number in range(len(self._names))]
        deltas = {number for number, place in enumerate(places) if place and base_of(self.state, place) >= 0}
        assert self._bases() == deltas, f"deltas are {self._bases()}, in the model {deltas}, after {self.done}"
        refs = {name for name, _ in self.store.refs.ids()}
        assert refs == {self._names[number] + "/ref" for number in (S, T) if self.state.refs >> number & 1}
        if self._reader is not None:
            index = self.state.reader.index
            assert self._present(self._reader) == [bool(place) for place in index], f"the reader, after {self.done}"

    def _present(self, store: casstore.Store) -> list[bool]:
        backend = store.storage.backend
        found = []
        for number, address in enumerate(self._things.addresses):
            entry = backend.find(address)
            found.append(entry is not None)
            if entry is not None:
                raw = store.storage.get_record(entry.kind, address)
                assert number not in self._things.records or raw == self._things.records[number][1]
        return found


def run_trace(things: Things, folder: Path | None, seed: int, steps: int) -> list[str]:
    """Drives both through random steps; what was done.

    Raises:
        AssertionError: They differ.
    """
    chosen = random.Random(seed)
    pair = Pair(things, folder)
    try:
        for _ in range(steps):
            choices = list(pair.choices())
            # Beginnings are many and crashes few, so that plans are made and carried out in the middle of everything.
            weights = [0.3 if "begins" in name else 0.4 if name == "crash" else 2 for name, _ in choices]
            name, action = chosen.choices(choices, weights)[0]
            pair.done.append(name)
            action()
            pair.check()
        pair.store.verify()
    finally:
        pair.close()
    return pair.done
