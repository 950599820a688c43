# SPDX-License-Identifier: MIT
"""The model's collector: plan, mark, sweep and compaction, in the order in which the store does them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.compacting import COMPACTION, to
from tests.model.explorer import Step
from tests.model.keeping import (
    MET_NOTHING,
    is_kept,
    is_only_a_base,
    is_reached,
    mark_closure,
    mark_watched,
    young_below,
    young_marked,
)
from tests.model.protocol import (
    CHUNK,
    COLLECTOR,
    LIST,
    NO_WATCH,
    NODE,
    SNAPSHOT,
    Collector,
    Setup,
    State,
    Watch,
    appended,
    base_of,
    pins_of,
    place_of,
    synchronized,
    with_watch,
)


def collector_steps(state: State, setup: Setup) -> Iterator[Step[State]]:
    """What the collector can do next: one step, or none where it waits for the lock or has ended."""
    collector = state.collector
    step = collector.step
    if step in ("off", MET_NOTHING):
        return
    if state.lock and state.lock != COLLECTOR and step in _LOCKED:
        return
    text, reached = _STEPS[step](state, setup, collector)
    yield f"collector:{text}", reached


# -- plan


def _begin(state: State, setup: Setup, collector: Collector) -> Step[State]:
    slot = len(setup.programs)
    state = with_watch(state, slot, Watch(True, len(state.log)))
    return "opens its watch", to(state, collector, "refs")


def _refs(state: State, setup: Setup, collector: Collector) -> Step[State]:
    waiting = tuple(number for number in range(len(state.index)) if state.refs >> number & 1)
    return f"reads refs: {setup.graph.spell(state.refs) or 'none'}", to(state, collector, "pins", waiting=waiting)


def _pins(state: State, setup: Setup, collector: Collector) -> Step[State]:
    pins = pins_of(state) if setup.has("pins") else 0
    found = tuple(n for n in range(len(state.index)) if pins >> n & 1 and place_of(state, setup, n))
    waiting = tuple(sorted({*collector.waiting, *found}))
    step = "mark" if waiting and not setup.doomed else "capture"
    return "reads pins", to(state, collector, step, waiting=waiting)


def _mark(state: State, setup: Setup, collector: Collector) -> Step[State]:
    *waiting, number = collector.waiting
    place = place_of(state, setup, number)
    what = setup.graph.names[number]
    if not place:
        return f"misses {what}", to(state, collector, MET_NOTHING)
    bases = collector.bases
    if not collector.marked >> place & 1:
        waiting += setup.graph.below[number]
        base = base_of(state, place)
        if base >= 0 and setup.has("a mark on a delta marks its base"):
            below = place_of(state, setup, base)
            if not below:
                return f"misses the base of {what}", to(state, collector, MET_NOTHING)
            bases |= 1 << below
    step = "mark" if waiting else "watched" if setup.doomed else "capture"
    marked = collector.marked | 1 << place
    return f"marks {what}", to(state, collector, step, waiting=tuple(waiting), marked=marked, bases=bases)


def _capture(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Which operations run now: what they put and met counts for this collection, also once they have ended."""
    own = len(setup.programs)
    captured = 0
    for slot, watch in enumerate(state.watches):
        if watch.running and (slot == own or setup.has("watches of operations")):
            captured |= 1 << slot
    state = to(state, collector, "watched", captured=captured)
    if not setup.doomed:
        return "looks which operations run", state
    # What they met is noted now, and marked after the roots.
    met = chunks = 0
    for slot, watch in enumerate(state.watches):
        if captured >> slot & 1:
            met |= watch.parents
            chunks |= watch.chunks
    marked = collector.marked | chunks
    step = "mark" if collector.waiting else "watched"
    return "looks which operations run", to(state, state.collector, step, dead=met, marked=marked)


def _watched(state: State, setup: Setup, collector: Collector) -> Step[State]:
    if setup.doomed:
        return _surveyed(state, setup, collector)
    state = mark_watched(state, setup)
    if state.collector.step == MET_NOTHING:
        return "misses something below what an operation met", state
    state = to(state, state.collector, "planned", young=state.collector.marked)
    state = young_marked(state, setup)
    return "marks what operations met, and looks for the dead", to(state, state.collector, "planned")


def _surveyed(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """The rest of a survey: what operations met, what is young; what may go, and which deltas become full."""
    places, bases, _ = mark_closure(state, setup, collector.dead)
    marked = collector.marked | places
    state = to(state, collector, "planned", marked=marked, bases=collector.bases | bases, young=marked, dead=0)
    state = young_marked(state, setup)
    collector = state.collector
    candidates = 0
    for number in range(len(state.index)):
        place = place_of(state, setup, number)
        if place and not is_kept(state, setup, number, place):
            candidates |= 1 << number
    _, state = _count(state, setup, collector)
    return "makes its survey", to(state, state.collector, "planned", candidates=candidates)


# -- sweep


def _planned(state: State, setup: Setup, collector: Collector) -> Step[State]:
    state = state._replace(sweeping=True, sweeps=state.sweeps + 1)
    return "begins to sweep", to(state, collector, "expire")


def _expire(state: State, setup: Setup, collector: Collector) -> Step[State]:
    state = synchronized(state, setup)
    if setup.doomed:
        state = state._replace(fact=True)
        return "syncs, and notes that a sweep is under way", to(state, collector, "full" if collector.full else "doom")
    return "syncs", to(state, collector, "count" if setup.deltas else "scan")


def _doom(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """From here on what is not kept and refers to others cannot be revived."""
    state = mark_watched(state, setup)
    if state.collector.step == MET_NOTHING:
        return "misses something below what an operation met", state
    return "settles what is doomed", to(state, state.collector, "decide", place=0)


def _order(state: State, setup: Setup) -> list[int]:
    """What is deleted in turn; a chunk below zero only where it is a delta."""
    kinds = setup.graph.kinds
    numbers = [number for kind in (SNAPSHOT, NODE, LIST) for number, one in enumerate(kinds) if one == kind]
    chunks = [number for number, kind in enumerate(kinds) if kind == CHUNK]
    if setup.backwards:
        chunks.reverse()
    if not setup.has("deletions in order"):
        return chunks + numbers[::-1]
    if setup.deltas and setup.has("deltas before bases"):
        return numbers + [~number for number in chunks] + chunks
    return numbers + chunks


def _decide(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """The next of what may go, under the lock."""
    order = _order(state, setup)
    for at in range(collector.place, len(order)):
        number = order[at] if order[at] >= 0 else ~order[at]
        place = place_of(state, setup, number)
        if not collector.candidates >> number & 1 or not place:
            continue
        if (order[at] < 0 and base_of(state, place) < 0) or is_kept(state, setup, number, place):
            continue
        reached = to(state._replace(lock=COLLECTOR), collector, "take away", dead=1 << number, place=at + 1)
        return f"decides that {setup.graph.names[number]} goes", reached
    return "has deleted all", to(state, collector, "clean")


def _take_away(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Deletes without a sync: a crash may take the last deletions back."""
    number = collector.dead.bit_length() - 1
    if state.pending[number]:
        state = synchronized(state, setup)
    deleted = (*state.deleted, (number, state.index[number]))
    state = _deleted(state, setup, collector.dead)._replace(lock=0, deleted=deleted)
    return f"deletes {setup.graph.names[number]}", to(state, collector, "decide", dead=0)


def _clean(state: State, setup: Setup, collector: Collector) -> Step[State]:
    return "syncs, and notes that the sweep is over", to(
        synchronized(state, setup)._replace(fact=False), collector, "swept"
    )


def _deltas(state: State, setup: Setup) -> list[tuple[int, int, int, int]]:
    """Number and place of each delta whose base nothing else keeps, and number and place of the base."""
    found = []
    for number in range(len(state.index)):
        place = place_of(state, setup, number)
        base = base_of(state, place) if place else -1
        below = place_of(state, setup, base) if base >= 0 else 0
        if below and is_only_a_base(state, setup, base, below):
            found.append((number, place, base, below))
    return found


def _count(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Which deltas are made full: those that are reached, and alone need their base."""
    needed = [below for number, place, _, below in _deltas(state, setup) if is_kept(state, setup, number, place)]
    full = 0
    for number, place, _, below in _deltas(state, setup):
        alone = needed.count(below) <= 1 or not setup.has("only the last delta")
        # There is room for one in each collection, as a store has room for a segment's worth.
        if alone and not full and is_reached(state, setup, place):
            full |= 1 << number
    text = f"chooses what becomes full: {setup.graph.spell(full) or 'nothing'}"
    return text, to(state, collector, "full" if full else "scan", full=full)


def _full(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Appends full records; the bases are marked as given up with the next step."""
    dead, todo = 0, []
    for number in range(len(state.index)):
        place = place_of(state, setup, number)
        if collector.full >> number & 1 and place and base_of(state, place) >= 0:
            base = base_of(state, place)
            below = place_of(state, setup, base)
            if below and is_only_a_base(state, setup, base, below):
                dead |= 1 << below
                todo.append(number)
    state = appended(state, todo, {})
    return "appends full records", to(state, collector, "give up", dead=dead, full=0)


def _give_up(state: State, setup: Setup, collector: Collector) -> Step[State]:
    if setup.has("full before its base goes"):
        state = synchronized(state, setup)
    bases, young_bases = collector.bases & ~collector.dead, collector.young_bases & ~collector.dead
    given_up = 0
    for number in range(len(state.index)):
        place = place_of(state, setup, number)
        given_up |= 1 << number if place and collector.dead >> place & 1 else 0
    reached = to(
        state,
        collector,
        "doom" if setup.doomed else "scan",
        dead=0,
        bases=bases,
        young_bases=young_bases,
        candidates=collector.candidates | given_up,
    )
    return "syncs, and gives the bases up", reached


def _scan(state: State, setup: Setup, collector: Collector) -> Step[State]:
    state = young_marked(state, setup)
    step = "settle" if setup.has("parents before chunks") else "chunk"
    names = setup.graph.spell(state.collector.candidates) or "nothing"
    return f"looks for the dead: {names}", to(state, state.collector, step)


def _settle(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Takes the lock and decides again."""
    state = mark_watched(state, setup)
    if state.collector.step == MET_NOTHING:
        return "misses something below what an operation met", state
    collector = state.collector
    kept = 0
    for number in range(len(state.index)):
        place = place_of(state, setup, number)
        if collector.candidates >> number & 1 and place and is_kept(state, setup, number, place):
            kept |= 1 << number
    state = young_below(state, setup, kept)._replace(lock=COLLECTOR)
    return "takes the lock and decides again", to(state, state.collector, "batch", place=0)


def batches(setup: Setup) -> list[tuple[int, ...]]:
    """What refers to others, in the batches in which it is deleted: snapshots, each node, all lists."""
    of = {kind: [n for n, one in enumerate(setup.graph.kinds) if one == kind] for kind in (SNAPSHOT, NODE, LIST, CHUNK)}
    found = [tuple(of[SNAPSHOT]), *((node,) for node in of[NODE])]
    lists = [tuple(of[LIST])] if setup.has("lists in one batch") else [(one,) for one in of[LIST]]
    found += lists
    return found


def _batch(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Decides about one batch."""
    todo = batches(setup)
    if collector.place == len(todo):
        step = "chunk" if setup.has("parents before chunks") else "swept"
        return "gives the lock back", to(state._replace(lock=0), collector, step, place=0)
    dead = _dead(state, setup, todo[collector.place])
    lock = COLLECTOR if setup.has("decide under the lock") else 0
    reached = to(state._replace(lock=lock), collector, "delete", dead=dead)
    return f"decides that {setup.graph.spell(dead) or 'nothing'} goes", reached


def _dead(state: State, setup: Setup, numbers: tuple[int, ...]) -> int:
    dead = 0
    for number in numbers:
        place = place_of(state, setup, number)
        if state.collector.candidates >> number & 1 and place and not is_kept(state, setup, number, place):
            dead |= 1 << number
    return dead


def _delete(state: State, setup: Setup, collector: Collector) -> Step[State]:
    lock = COLLECTOR if setup.has("parents in one step") else 0
    state = _deleted(state, setup, collector.dead)._replace(lock=lock)
    text = f"deletes {setup.graph.spell(collector.dead) or 'nothing'}"
    return text, to(state, collector, "batch", dead=0, place=collector.place + 1)


def _deleted(state: State, setup: Setup, dead: int) -> State:
    if any(state.pending[number] for number in range(len(state.index)) if dead >> number & 1):
        state = synchronized(state, setup)
    index = tuple([0 if dead >> number & 1 else place for number, place in enumerate(state.index)])
    return state._replace(index=index)


def _chunk(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Takes the lock and decides about the next chunk."""
    chunks = [number for number, kind in enumerate(setup.graph.kinds) if kind == CHUNK]
    if setup.backwards:
        chunks.reverse()
    if setup.deltas and setup.has("deltas before bases"):
        # Deltas go in a round of their own.
        chunks = [~number for number in chunks] + chunks
    if collector.place == len(chunks):
        step = "swept" if setup.has("parents before chunks") else "settle"
        return "has seen all chunks", to(state, collector, step, place=0)
    number = chunks[collector.place]
    deltas_only = number < 0
    number = ~number if deltas_only else number
    place = place_of(state, setup, number)
    passed = deltas_only and place and base_of(state, place) < 0
    if not place or passed or is_kept(state, setup, number, place):
        return f"keeps {setup.graph.names[number]}", to(state, collector, "chunk", place=collector.place + 1)
    lock = COLLECTOR if setup.has("decide under the lock") else 0
    reached = to(state._replace(lock=lock), collector, "delete chunk", dead=1 << number)
    return f"decides that {setup.graph.names[number]} goes", reached


def _delete_chunk(state: State, setup: Setup, collector: Collector) -> Step[State]:
    state = _deleted(state, setup, collector.dead)._replace(lock=0)
    text = f"deletes {setup.graph.spell(collector.dead)}"
    return text, to(state, collector, "chunk", dead=0, place=collector.place + 1)


def _swept(state: State, setup: Setup, collector: Collector) -> Step[State]:
    # The watch ends with the sweep, and what was captured from operations that have ended is forgotten.
    watches = [watch if watch.running else NO_WATCH for watch in state.watches[: len(setup.programs) + 1]]
    watches[len(setup.programs)] = NO_WATCH
    state = state._replace(watches=tuple(watches), sweeping=False, sweeps=state.sweeps + 1)
    ended = Collector("compact" if setup.compact else "over", round=collector.round)
    return "ends its sweep", state._replace(collector=ended)


def _over(state: State, setup: Setup, collector: Collector) -> Step[State]:
    count = collector.round + 1
    step = "begin" if count < setup.collections else "off"
    return "is done", state._replace(collector=Collector(step, round=count))


_STEPS = COMPACTION | {
    "begin": _begin,
    "refs": _refs,
    "pins": _pins,
    "mark": _mark,
    "capture": _capture,
    "watched": _watched,
    "planned": _planned,
    "expire": _expire,
    "count": _count,
    "full": _full,
    "give up": _give_up,
    "doom": _doom,
    "decide": _decide,
    "take away": _take_away,
    "clean": _clean,
    "scan": _scan,
    "settle": _settle,
    "batch": _batch,
    "delete": _delete,
    "chunk": _chunk,
    "delete chunk": _delete_chunk,
    "swept": _swept,
    "over": _over,
}
_LOCKED = set(_STEPS) - {"refs", "pins", "mark", "capture", "watched", "count", "scan", "compact", "over"}
