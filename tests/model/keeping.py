# SPDX-License-Identifier: MIT
"""What the model's collector keeps: what it marked, what is young, what operations put and met."""

from __future__ import annotations

from tests.model.compacting import to
from tests.model.protocol import Setup, State, base_of, is_young, pins_of, place_of

MET_NOTHING = "missing"
"""The step of a collector that met a reference to something missing."""


def mark_closure(state: State, setup: Setup, numbers: int) -> tuple[int, int, bool]:
    """The places of objects and all below them, and those of bases among them; False where something is missing."""
    wanted = setup.graph.closure(numbers) if setup.has("revival is transitive") else numbers
    places, bases, whole = 0, 0, True
    for number in range(len(state.index)):
        if wanted >> number & 1:
            place = place_of(state, setup, number)
            places |= 1 << place if place else 0
            whole = whole and bool(place)
            base = base_of(state, place) if place else -1
            if base >= 0 and setup.has("a mark on a delta marks its base"):
                below = place_of(state, setup, base)
                bases |= 1 << below if below else 0
                whole = whole and bool(below)
    return places, bases, whole


def mark_watched(state: State, setup: Setup) -> State:
    """Marks what operations that were captured and pins rely on, with all below it."""
    collector = state.collector
    found = pins_of(state) if setup.has("pins") else 0
    marked = collector.marked
    for slot, watch in enumerate(state.watches):
        if collector.captured >> slot & 1:
            found |= watch.parents
            marked |= watch.chunks
    found &= ~collector.expanded & sum(1 << n for n in range(len(state.index)) if place_of(state, setup, n))
    places, bases, whole = mark_closure(state, setup, found)
    return to(
        state,
        collector,
        collector.step if whole else MET_NOTHING,
        marked=marked | places,
        bases=collector.bases | bases,
        expanded=collector.expanded | found,
    )


def _is_watched(state: State, setup: Setup, place: int) -> bool:
    for slot, watch in enumerate(state.watches):
        if state.collector.captured >> slot & 1:
            if watch.chunks >> place & 1:
                return True
            if place > watch.start and setup.has("barrier"):
                return True
    return False


def is_reached(state: State, setup: Setup, place: int) -> bool:
    """Whether a record stays for more than its age."""
    collector = state.collector
    return bool((collector.marked | collector.bases) >> place & 1) or _is_watched(state, setup, place)


def is_kept(state: State, setup: Setup, number: int, place: int) -> bool:
    """Whether a record stays, for whatever reason."""
    if setup.has("grace") and is_young(state, setup, number):
        return True
    collector = state.collector
    return bool((collector.young | collector.young_bases) >> place & 1) or is_reached(state, setup, place)


def is_only_a_base(state: State, setup: Setup, number: int, place: int) -> bool:
    """Whether nothing but deltas keeps a record."""
    collector = state.collector
    young = setup.has("grace") and is_young(state, setup, number)
    return not (young or (collector.marked | collector.young) >> place & 1 or _is_watched(state, setup, place))


def young_marked(state: State, setup: Setup) -> State:
    """Marks what lies below all that is kept; what may go becomes the candidates."""
    collector = state.collector
    kept = candidates = bases = 0
    for number in range(len(state.index)):
        place = place_of(state, setup, number)
        if not place:
            continue
        if setup.graph.parents >> number & 1:
            if collector.young >> place & 1:
                # Marked before, with all below it.
                continue
            if is_kept(state, setup, number, place):
                kept |= 1 << number
            else:
                candidates |= 1 << number
        elif base_of(state, place) >= 0 and setup.has("a young delta keeps its base"):
            below = place_of(state, setup, base_of(state, place))
            if below and is_kept(state, setup, number, place):
                bases |= 1 << below
    state = young_below(state, setup, kept, bases)
    return to(state, state.collector, collector.step, candidates=candidates)


def young_below(state: State, setup: Setup, kept: int, bases: int = 0) -> State:
    """Everything below ``kept`` stays, and so do ``bases``."""
    collector = state.collector
    places = below = 0
    if setup.has("young below"):
        places, below, _ = mark_closure(state, setup, kept)
    return to(
        state,
        collector,
        collector.step,
        young=collector.young | places,
        young_bases=collector.young_bases | below | bases,
    )
