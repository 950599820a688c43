# SPDX-License-Identifier: MIT
"""Plays a recorded trace on a store: the same reads of states, with the same thoughts in between."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.objects_traces import Read, Trace

if TYPE_CHECKING:
    import casstore
    from casstore.objects import Materializer, Ref

LONGEST_US = 5_000
"""Longer thoughts are cut to this, computing first: no load takes as long, so nothing is lost by it."""


@dataclass(frozen=True, slots=True)
class Played:
    """Seconds: waiting for objects, everything, processor time of all threads without thoughts; and loads."""

    waited: float
    whole: float
    cpu: float
    loads: int


def content(raw: int, compressed: int, seed: str) -> bytes:
    """Bytes of a size, of which zstandard leaves about the given rest; another seed gives others."""
    generator = random.Random(seed)
    part = generator.randbytes(max(1, min(raw, compressed - 20)))
    return (part * (raw // len(part) + 1))[:raw] if raw else b""


def build(store: casstore.Store, trace: Trace) -> list[casstore.Snapshot]:
    """A snapshot for each state, which has what was read from it, and of all other keys what was read of them last."""
    contents = [content(*sizes, f"{trace.run} {number}") for number, sizes in enumerate(trace.contents)]
    number = 1 + max(read.state for read in trace.reads)
    own: list[dict[int, int]] = [{} for _ in range(number)]
    order: list[int] = []
    for read in trace.reads:
        if not own[read.state]:
            order.append(read.state)
        own[read.state].setdefault(read.key, read.content)
    made: dict[int, casstore.Snapshot] = {}
    branch = store.branch()
    for state in order:
        for key, value in own[state].items():
            branch.objects[trace.keys[key]] = contents[value]
        made[state] = branch.commit(f"{trace.run} {state}", ref=f"{trace.run}-{state}")
    return [made[state] for state in range(number)]


def states_of(store: casstore.Store, trace: Trace) -> list[casstore.Snapshot]:
    """What ``build`` made, in a store that was opened again."""
    number = 1 + max(read.state for read in trace.reads)
    return [store.refs[f"{trace.run}-{state}"] for state in range(number)]


def think(read: Read) -> None:
    """Computes and waits as long as was recorded before a read."""
    busy = min(read.busy_us, LONGEST_US)
    idle = min(read.idle_us, LONGEST_US - busy)
    until = time.thread_time() + busy / 1e6
    while time.thread_time() < until:
        sum(range(20))
    if idle:
        time.sleep(idle / 1e6)


After = Callable[["casstore.Snapshot", str], None]
"""Called after each read; what it takes counts as waiting."""


def play(
    home: Materializer,
    states: list[casstore.Snapshot],
    trace: Trace,
    after: After | None = None,
    refs: dict[tuple[bytes, str], Ref[Any]] | None = None,
) -> Played:
    """Reads what the trace says; every Ref stays at hand, so that it is the bound that lets objects leave."""
    refs = {} if refs is None else refs
    waited = 0.0
    loads = home.status().loads
    thought = 0.0
    began, worked = time.perf_counter(), time.process_time()
    for read in trace.reads:
        start = time.thread_time()
        think(read)
        thought += time.thread_time() - start
        state, key = states[read.state], trace.keys[read.key]
        ref = refs.get((state.id, key))
        if ref is None:
            ref = refs[state.id, key] = home.register(state, key)
        start = time.perf_counter()
        ref.get()
        if after is not None:
            after(state, key)
        waited += time.perf_counter() - start
    cpu = time.process_time() - worked - thought
    return Played(waited, time.perf_counter() - began, cpu, home.status().loads - loads)


class Siblings:
    """Loads the keys that come next in order, always."""

    def __init__(self, home: Materializer, trace: Trace, count: int) -> None:
        self.refs: dict[tuple[bytes, str], Ref[Any]] = {}
        self._home = home
        self._keys = sorted(trace.keys)
        self._places = {key: number for number, key in enumerate(self._keys)}
        self._count = count

    def __call__(self, state: casstore.Snapshot, key: str) -> None:
        after = self._places[key] + 1
        wanted = []
        for other in self._keys[after : after + self._count]:
            ref = self.refs.get((state.id, other))
            if ref is None:
                ref = self.refs[state.id, other] = self._home.register(state, other)
            wanted.append(ref)
        self._home.preload(wanted, priority=1.0)


def forget_pages(folder: Path) -> None:
    """Asks the system to drop the files of a closed store from its page cache, so that reads go to the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
