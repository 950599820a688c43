# SPDX-License-Identifier: MIT
"""The model's compaction: live records are copied, one batch condemns the old segment, then readers are asked."""

from __future__ import annotations

from collections.abc import Callable

from tests.model.explorer import Step
from tests.model.protocol import (
    COLLECTOR,
    COPIED_EVENT,
    EVENT,
    LOST,
    Collector,
    Setup,
    State,
    appended,
    base_of,
    place_of,
    segment_of,
    synchronized,
)


def to(state: State, collector: Collector, step: str, **changes: object) -> State:
    """The collector with another step, and other changes."""
    return state._replace(collector=collector._replace(step=step, **changes))  # type: ignore[arg-type]


def _compact(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Which segments have dead bytes."""
    segments = 0
    for place in range(1, len(state.log) + 1):
        segment = segment_of(state, place)
        number = state.log[place - 1]
        dead = number != LOST and (number >= EVENT or place_of(state, setup, number) != place)
        if dead and not (state.condemned | state.removed) >> segment & 1:
            segments |= 1 << segment
    # An event is live; a segment of events alone stays.
    for segment in range(len(state.ends) + 1):
        records = [n for p, n in enumerate(state.log, 1) if segment_of(state, p) == segment]
        if all(number >= EVENT for number in records):
            segments &= ~(1 << segment)
    return "chooses segments", to(state, collector, "segment", segments=segments)


def _segment(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """The next segment; if it is written just now, it ends here."""
    if not collector.segments:
        return "has compacted all", to(state, collector, "release")
    segment = (collector.segments & -collector.segments).bit_length() - 1
    if segment == len(state.ends):
        state = synchronized(state, setup)
        state = state._replace(ends=(*state.ends, len(state.log)))
    return f"begins with segment {segment}", to(state, collector, "move", place=0)


def _move(state: State, setup: Setup, collector: Collector) -> Step[State]:
    """Copies the next live record to the newest segment."""
    segment = (collector.segments & -collector.segments).bit_length() - 1
    for place in range(collector.place + 1, len(state.log) + 1):
        if segment_of(state, place) != segment:
            continue
        number = state.log[place - 1]
        if number >= EVENT or (number != LOST and place_of(state, setup, number) == place):
            copied = number if number < EVENT else COPIED_EVENT + number % EVENT
            moved = appended(state, [copied], {number: base_of(state, place)}, moved=True)
            name = "an event" if number >= EVENT else setup.graph.names[number]
            return f"moves {name}", to(moved, collector, "move", place=place)
    first = "condemn" if setup.has("pins after the batch") else "ask"
    lock = COLLECTOR if setup.has("pins after the batch") else 0
    return "has moved all", to(state._replace(lock=lock), collector, first, place=segment)


def _condemn(state: State, setup: Setup, collector: Collector) -> Step[State]:
    bit = 1 << collector.place
    if not setup.has("batch before unlink"):
        # The wrong order: the file goes at once, and the batch follows with some later sync.
        gone = to(state._replace(removed=state.removed | bit, lock=0), collector, "segment")
        return "removes the segment before its batch", _next_segment(gone)
    state = synchronized(state, setup)._replace(condemned=state.condemned | bit, lock=COLLECTOR)
    step = "ask" if setup.has("pins after the batch") else "unlink"
    return "condemns the segment", to(state, collector, step)


def _ask(state: State, setup: Setup, collector: Collector) -> Step[State]:
    blocked = state.reader.pinned and setup.has("readers' pins")
    bit = 1 << collector.place
    state = state._replace(blocked=state.blocked | bit if blocked else state.blocked)
    step = "unlink" if setup.has("pins after the batch") else "condemn"
    return "reads the readers' pins", to(state._replace(lock=COLLECTOR), collector, step)


def _unlink(state: State, setup: Setup, collector: Collector) -> Step[State]:
    state = _next_segment(to(state._replace(lock=0), collector, "segment"))
    return "removes what no reader needs", released(state)


def released(state: State) -> State:
    """Removes condemned segments that no reader holds."""
    blocked = state.blocked if state.reader.pinned else 0
    gone = state.condemned & ~blocked
    return state._replace(removed=state.removed | gone, condemned=state.condemned & ~gone, blocked=blocked)


def _next_segment(state: State) -> State:
    collector = state.collector
    rest = collector.segments & (collector.segments - 1)
    return state._replace(collector=collector._replace(segments=rest, place=0))


def _release(state: State, setup: Setup, collector: Collector) -> Step[State]:
    return "looks for readers once more", to(released(state), collector, "over")


COMPACTION: dict[str, Callable[[State, Setup, Collector], Step[State]]] = {
    "compact": _compact,
    "segment": _segment,
    "move": _move,
    "condemn": _condemn,
    "ask": _ask,
    "unlink": _unlink,
    "release": _release,
}
