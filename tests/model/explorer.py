# SPDX-License-Identifier: MIT
"""An explicit-state explorer: every state that a small model can reach, and the shortest way to one that is wrong.

A state is any hashable value. A model says which states there are at first, what each can become, and what is wrong
with one. The search is breadth-first, so the first counterexample is among the shortest. It does not reduce anything
by itself: a model merges steps that nobody else can see, and gives ``canonical`` where states are the same but for
names.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

Step = tuple[str, S]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Generic[S]):
    """What is to be explored.

    Attributes:
        initial: The states to begin with.
        successors: What a state can become, each with the name of the step.
        problem: What is wrong with a state, or None.
        may_end: Whether a state from which nothing goes on is one that should be; None allows all.
        canonical: A representative of all states that are alike but for names.
    """

    initial: Iterable[S]
    successors: Callable[[S], Iterable[Step[S]]]
    problem: Callable[[S], str | None]
    may_end: Callable[[S], bool] | None = None
    canonical: Callable[[S], S] | None = None


@dataclass(slots=True)
class Exploration:
    """What was found.

    Attributes:
        states: Different states that were reached.
        steps: Steps that were tried.
        depth: The longest of the shortest ways.
        ends: States from which nothing goes on.
        complete: Whether every reachable state was seen.
        problem: What is wrong with the last state of ``trace``; None where nothing is.
        trace: The steps to it, first step first.
        taken: How often each step was taken, by its name up to the first blank.
    """

    states: int = 0
    steps: int = 0
    depth: int = 0
    ends: int = 0
    complete: bool = True
    problem: str | None = None
    trace: list[str] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.states} states, {self.steps} steps, depth {self.depth}, {self.ends} ends"
        if not self.complete:
            text += ", not complete"
        if self.problem is None:
            return text
        lines = [f"{text}: {self.problem}"]
        lines += [f"  {number:>3}. {step}" for number, step in enumerate(self.trace, 1)]
        return "\n".join(lines)


def explore(model: Model[S], *, max_states: int = 5_000_000, max_depth: int | None = None) -> Exploration:
    """Every state that ``model`` reaches, up to the first one that is wrong.

    Args:
        model: What is to be explored.
        max_states: Stops there; ``complete`` is then False.
        max_depth: No way has more steps than this; every one that has as many is seen.

    Cost: memory for every state; some 10 µs a step beside what the model takes.
    """
    # Millions of tuples without a cycle: looking for one among them takes a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _explored(model, max_states, max_depth)
    finally:
        if collecting:
            gc.enable()


def _explored(model: Model[S], max_states: int, max_depth: int | None) -> Exploration:
    found = Exploration()
    canonical = model.canonical or _same
    # State → the state before it and the step between; None for those at the beginning.
    came_from: dict[S, tuple[S, str] | None] = {}
    frontier: list[S] = []
    for state in map(canonical, model.initial):
        if state not in came_from:
            came_from[state] = None
            frontier.append(state)
    for state in frontier:
        if (problem := model.problem(state)) is not None:
            return _ended(found, came_from, state, problem)
    taken = found.taken
    while frontier and found.depth != max_depth:
        following: list[S] = []
        for state in frontier:
            goes_on = False
            for step, reached in model.successors(state):
                goes_on = True
                found.steps += 1
                name = step.partition(" ")[0]
                taken[name] = taken.get(name, 0) + 1
                reached = canonical(reached)
                if reached in came_from:
                    continue
                came_from[reached] = (state, step)
                if (problem := model.problem(reached)) is not None:
                    return _ended(found, came_from, reached, problem)
                following.append(reached)
            if not goes_on:
                found.ends += 1
                if model.may_end is not None and not model.may_end(state):
                    return _ended(found, came_from, state, "nothing goes on, and not all have come to their end")
        if len(came_from) > max_states:
            found.complete = False
            break
        frontier = following
        found.depth += bool(following)
    found.states = len(came_from)
    return found


def _same(state: S) -> S:
    return state


def _ended(found: Exploration, came_from: dict[S, tuple[S, str] | None], state: S, problem: str) -> Exploration:
    found.states = len(came_from)
    found.problem = problem
    while (before := came_from[state]) is not None:
        state, step = before
        found.trace.append(step)
    found.trace.reverse()
    return found
