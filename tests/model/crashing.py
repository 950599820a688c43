# SPDX-License-Identifier: MIT
"""The model's reader, crashes and recovery, and the grace period that passes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.compacting import released
from tests.model.explorer import Step
from tests.model.protocol import (
    COPIED_EVENT,
    EVENT,
    LOST,
    NO_WATCH,
    Collector,
    Reader,
    Setup,
    State,
    Writer,
    place_of,
)


def reader_steps(state: State, setup: Setup) -> Iterator[Step[State]]:
    """A reader pins itself, copies the index, reads, and ends."""
    reader = state.reader
    if reader.step == "begin":
        yield "reader:takes its pin", state._replace(reader=Reader("copy", True))
    elif reader.step == "copy":
        places = tuple([place if place_of(state, setup, n) else 0 for n, place in enumerate(state.index)])
        yield "reader:copies the index", state._replace(reader=Reader("read", True, places, state.refs))
    elif reader.step == "read":
        yield "reader:ends", state._replace(reader=Reader("off"))


def time_steps(state: State, setup: Setup) -> Iterator[Step[State]]:
    """A tick, while nobody puts and no plan is being made or carried out: a plan has a moment of its own."""
    if setup.ticks is None or state.clock > setup.ticks + setup.grace[1]:
        return
    if state.collector.step not in ("begin", "off") or any(one.step or one.place for one in state.writers):
        return
    clock = state.clock + 1
    writers = []
    for slot, writer in enumerate(state.writers):
        # What was put outside of an operation is safe for the grace period, and no longer.
        safe = state.watches[slot].running or writer.pinned or clock <= writer.until
        writers.append(writer if safe else writer._replace(relied=0, until=0))
    yield "time:passes", state._replace(clock=clock, writers=tuple(writers))


def crash_steps(state: State, setup: Setup) -> Iterator[Step[State]]:
    """The process ends, or the machine does; the next opening takes over what is intact."""
    if not state.crashes:
        return
    first = 0 if setup.lying_disk else state.synced
    for kept in range(first, len(state.log) + 1):
        yield f"crash:leaves {kept} of {len(state.log)} records", _reopened(state, setup, kept)
        index = list(state.index)
        for back, (number, place) in enumerate(reversed(state.deleted), 1):
            index[number] = place
            undone = state._replace(index=tuple(index))
            text = f"crash:leaves {kept} of {len(state.log)} records, and takes back {back} deletions"
            yield text, _reopened(undone, setup, kept)


def _reopened(state: State, setup: Setup, kept: int) -> State:
    """Everybody has died but readers; the records up to ``kept`` are intact."""
    log = tuple([number if place <= kept else LOST for place, number in enumerate(state.log, 1)])
    index, refs, stamps = list(state.index), state.refs, list(state.stamps)
    # What lies in a condemned or removed segment is not adopted; a tail never does.
    for place in range(state.known_end + 1, kept + 1):
        number = log[place - 1]
        if EVENT <= number < COPIED_EVENT:
            refs |= 1 << (number - EVENT)
        elif 0 <= number < EVENT:
            index[number] = place
            stamps[number] = state.clock
    end, slots = len(log), range(len(state.writers))
    ends = state.ends if state.ends and state.ends[-1] == end else (*state.ends, end)
    state = state._replace(
        log=log,
        ends=ends,
        synced=end if setup.has("cut before adoption") else state.synced,
        index=tuple(index),
        known_end=end,
        pending=(0,) * len(index),
        stamps=tuple(stamps),
        refs=refs,
        blocked=state.condemned if state.reader.pinned else 0,
        hurt=kept < state.known_end or (state.fact and setup.has("a sweep is remembered")),
        deleted=(),
        lock=0,
        sweeping=False,
        sweeps=0,
        watches=(NO_WATCH,) * (len(setup.programs) + 1),
        writers=tuple(setup.writer(slot, False) if setup.last_waits else _ended(setup, slot) for slot in slots),
        collector=Collector("off"),
        crashes=state.crashes - 1,
    )
    return released(state)


def _ended(setup: Setup, slot: int) -> Writer:
    return Writer(len(setup.programs[slot]))
