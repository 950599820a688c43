# SPDX-License-Identifier: MIT
"""The model of a collection beside writers, a reader and crashes: who takes part, and what must hold in every state."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.collecting import collector_steps
from tests.model.crashing import crash_steps, reader_steps, time_steps
from tests.model.explorer import Exploration, Model, Step, explore
from tests.model.keeping import MET_NOTHING
from tests.model.protocol import LIST, Setup, State, Watch, is_readable, place_of, readable
from tests.model.writing import writer_steps


def successors(state: State, setup: Setup) -> Iterator[Step[State]]:
    """Everything that can happen next."""
    for slot in range(len(state.writers)):
        yield from writer_steps(state, setup, slot)
    yield from collector_steps(state, setup)
    yield from reader_steps(state, setup)
    yield from time_steps(state, setup)
    yield from crash_steps(state, setup)


def problem(state: State, setup: Setup) -> str | None:
    """What is wrong with a state, in words."""
    graph = setup.graph
    there = readable(state)
    spell = graph.spell
    lost = graph.closure(state.refs) & ~there
    if lost and not (setup.lying_disk and state.crashes < setup.crashes):
        return f"a ref leads to {spell(state.refs)}, and {spell(lost)} is gone"
    if state.promised & ~state.refs and not setup.lying_disk:
        return "a ref that was durable is gone"
    for number, writer in enumerate(state.writers, 1):
        lost = graph.closure(writer.relied) & ~there
        if lost:
            return f"writer {number} relies on {spell(writer.relied)}, and {spell(lost)} is gone"
    if state.collector.step == MET_NOTHING:
        return "the collector met a reference to something that is missing"
    reader = state.reader
    if reader.step == "read":
        for number, place in enumerate(reader.index):
            if place and not is_readable(state, place):
                return f"a reader saw {graph.names[number]}, and its segment is gone"
    if not state.lock and not state.hurt and not (setup.doomed and state.sweeping):
        # Lists only: whoever puts a node has put what is below it, whoever puts a content asks for its list first.
        for number, kind in enumerate(graph.kinds):
            if kind == LIST and place_of(state, setup, number) and graph.closures[number] & ~there:
                return f"{graph.names[number]} is in the index without {spell(graph.closures[number] & ~there)}"
    return None


def has_ended(state: State, setup: Setup) -> bool:
    """Whether everybody came to the end of what they do."""
    writers = all(writer.at >= len(program) for writer, program in zip(state.writers, setup.programs))
    return writers and not state.lock and state.collector.step == "off" and state.reader.step == "off"


def canonical(state: State, setup: Setup) -> State:
    """Writers with the same program are the same but for their numbers."""
    programs = setup.programs
    if len(programs) != 2 or programs[0] != programs[1] or setup.last_waits:
        return state
    first, second = zip(state.writers, state.watches)
    if first <= second:
        return state
    captured = state.collector.captured
    swapped = captured & ~3 | (captured & 1) << 1 | captured >> 1 & 1
    watches: tuple[Watch, ...] = (second[1], first[1], *state.watches[2:])
    return state._replace(
        writers=(second[0], first[0]),
        watches=watches,
        lock={1: 2, 2: 1}.get(state.lock, state.lock),
        collector=state.collector._replace(captured=swapped),
    )


def model_of(setup: Setup) -> Model[State]:
    """The model that a setup describes."""
    return Model(
        initial=setup.first_states(),
        successors=lambda state: successors(state, setup),
        problem=lambda state: problem(state, setup),
        may_end=lambda state: has_ended(state, setup),
        canonical=lambda state: canonical(state, setup),
    )


def run(setup: Setup, *, max_states: int = 5_000_000) -> Exploration:
    """Explores a setup."""
    return explore(model_of(setup), max_states=max_states)
