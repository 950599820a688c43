# SPDX-License-Identifier: MIT
"""The model of segments, index batches and recovery: one writer, a crash at any point, also while recovering.

Finer than the model of a collection where the disk is concerned: a crash may leave any prefix of what was not synced,
LevelDB may have lost any run of synced batches (with all that a batch held, also in the middle), and every step of an
opening may be the last. Coarser elsewhere: what goes, and what is put, is a fixed script.

``b`` and the list ``m`` of it are dead, ``c`` and the snapshot ``r`` of it are named by a ref. The collection deletes
``m`` and ``b`` and compacts the first segment; the commit puts ``a``, a list ``l`` of it and the snapshot ``s``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.explorer import Exploration, Model, Step, explore

BELOW = {"a": "", "b": "", "c": "", "l": "a", "m": "b", "r": "c", "s": "l"}
LISTS = "lm"

SAFEGUARDS = {
    "fsync before the batch": "a segment is synced before the index says so",
    "lists before chunks": "the deletion of lists is durable before that of chunks",
    "batch before unlink": "the new places are in the index before the old segment goes",
    "numbers of batches": "a batch that is missing in the middle leads to a rebuild",
    "missing segments": "a segment that is gone and was not condemned leads to a rebuild",
    "cut before adoption": "what is adopted is synced before the index says so",
    "incomplete lists": "a rebuild forgets lists whose pieces are gone",
    "the batch holds the ref": "a ref moves in the batch that says that its records are durable",
}

Change = tuple[str, object]
Batch = tuple[Change, ...]


class Segment(NamedTuple):
    """Records in order, how many of them were synced, and whether the file is there."""

    records: tuple[str, ...]
    synced: int
    there: bool = True


class State(NamedTuple):
    """The disk, and where the process is: in its script (``at`` from 0), opening the store, or done with it."""

    phase: str
    at: int
    segments: tuple[Segment, ...]
    base: Batch
    batches: tuple[Batch | None, ...]
    promised: str
    crashes: int


@dataclass(frozen=True)
class Setup:
    """What is explored.

    Attributes:
        script: The writer's steps.
        crashes: How many there are at most.
        damage: Whether a crash may take synced batches with it.
        lose_index: Whether it may take the whole index.
        without: Safeguards that are left out.
    """

    script: tuple[str, ...]
    crashes: int = 2
    damage: bool = False
    lose_index: bool = False
    without: frozenset[str] = frozenset()

    def has(self, safeguard: str) -> bool:
        """Whether a safeguard is in place."""
        return safeguard not in self.without


COLLECT = ("delete m", "delete b", "copy c", "fsync", "condemn", "unlink", "forget")
COMMIT = ("append a", "append l", "append s", "append >s", "fsync", "batch", "promise s")


def first_state(setup: Setup) -> State:
    """Two segments that are durable, and an empty one."""
    base = {"o:b": (0, 0), "o:c": (0, 1), "o:m": (1, 0), "o:r": (1, 1), ">r": True, "s:0": 2, "s:1": 3}
    segments = (Segment(("b", "c"), 2), Segment(("m", "r", ">r"), 3), Segment((), 0))
    return State("script", 0, segments, tuple(sorted(base.items())), (), "r", setup.crashes)


def index_of(state: State) -> dict[str, object]:
    """The index, as LevelDB shows it."""
    index = dict(state.base)
    for batch in state.batches:
        for key, value in batch or ():
            if value is None:
                index.pop(key, None)
            else:
                index[key] = value
    return index


def written(state: State, changes: dict[str, object]) -> State:
    """One synced batch more."""
    return state._replace(batches=(*state.batches, tuple(sorted(changes.items()))))


def with_segment(state: State, number: int, segment: Segment) -> State:
    """Another segment in a place."""
    segments = state.segments
    return state._replace(segments=(*segments[:number], segment, *segments[number + 1 :]))


def tail_of(state: State, number: int, durable: int) -> dict[str, object]:
    """The entries of the records of a segment from ``durable`` on, and how long it is."""
    changes: dict[str, object] = {}
    records = state.segments[number].records
    for place in range(durable, len(records)):
        record = records[place]
        changes.update({record: True} if record.startswith(">") else {f"o:{record}": (number, place)})
    changes[f"s:{number}"] = len(records)
    return changes


# -- the script


def script_step(state: State, setup: Setup) -> Step[State]:
    """The next step of the writer."""
    word, _, what = setup.script[state.at].partition(" ")
    after = state._replace(at=state.at + 1)
    newest = len(state.segments) - 1
    segment = state.segments[newest]
    if word in ("append", "copy"):
        after = with_segment(after, newest, segment._replace(records=(*segment.records, what)))
    elif word == "delete":
        after = written(after, {f"o:{what}": None})
    elif word == "fsync":
        if setup.has("fsync before the batch"):
            after = with_segment(after, newest, segment._replace(synced=len(segment.records)))
    elif word in ("batch", "condemn"):
        durable = index_of(state).get(f"s:{newest}", 0)
        assert isinstance(durable, int)
        changes = tail_of(state, newest, durable)
        if not setup.has("the batch holds the ref"):
            changes.pop(">s", None)
        after = written(after, changes | ({"s:0": "condemned"} if word == "condemn" else {}))
    elif word == "unlink":
        after = with_segment(after, 0, state.segments[0]._replace(there=False))
    elif word == "forget":
        after = written(after, {"s:0": None})
    else:
        after = after._replace(promised=after.promised + what)
    return f"writer:{setup.script[state.at]}", after


# -- a crash, and the next opening


def crashes(state: State, setup: Setup) -> Iterator[Step[State]]:
    """What a crash leaves: any prefix of what was not synced, and an index that may be damaged."""
    newest = len(state.segments) - 1
    segment = state.segments[newest]
    for kept in range(segment.synced, len(segment.records) + 1):
        cut = with_segment(state, newest, segment._replace(records=segment.records[:kept]))
        cut = cut._replace(phase="look", at=0, crashes=state.crashes - 1)
        lost = len(segment.records) - kept
        yield f"crash:loses {lost} records", cut
        if setup.lose_index:
            yield f"crash:loses {lost} records and the index", cut._replace(phase="rebuild")
        if setup.damage:
            for first in range(len(state.batches)):
                for end in range(first + 1, len(state.batches) + 1):
                    # What is missing at the end leaves no gap.
                    gap = (None,) * (end - first) if end < len(state.batches) else ()
                    batches = (*state.batches[:first], *gap, *state.batches[end:])
                    yield (
                        f"crash:loses {lost} records and the batches {first + 1} to {end}",
                        cut._replace(batches=batches),
                    )


def opening_step(state: State, setup: Setup) -> Step[State]:
    """The next step of an opening for writing."""
    index = index_of(state)
    if state.phase == "look":
        gap = any(batch is None for batch in state.batches) and setup.has("numbers of batches")
        lacking = any(
            not segment.there and index.get(f"s:{number}", "condemned") != "condemned"
            for number, segment in enumerate(state.segments)
        )
        rebuild = gap or (lacking and setup.has("missing segments"))
        return "opening:looks at the index", state._replace(phase="rebuild" if rebuild else "cut")
    if state.phase == "rebuild":
        return "opening:makes the index anew", rebuilt(state, setup)
    if state.phase == "cut":
        if setup.has("cut before adoption"):
            for number, segment in enumerate(state.segments):
                state = with_segment(state, number, segment._replace(synced=len(segment.records)))
        return "opening:cuts and syncs the tails", state._replace(phase="adopt")
    if state.phase == "adopt":
        changes: dict[str, object] = {}
        for number, segment in enumerate(state.segments):
            durable = index.get(f"s:{number}", 0)
            if segment.there and isinstance(durable, int) and durable < len(segment.records):
                changes.update(tail_of(state, number, durable))
        return "opening:adopts what is intact", (written(state, changes) if changes else state)._replace(
            phase="release"
        )
    for number in range(len(state.segments)):
        if index.get(f"s:{number}") == "condemned":
            state = with_segment(state, number, state.segments[number]._replace(there=False))
            state = written(state, {f"s:{number}": None})
    return "opening:removes condemned segments", state._replace(phase="open")


def rebuilt(state: State, setup: Setup) -> State:
    """A new index of all that the segments hold, swapped in when it is whole."""
    index: dict[str, object] = {}
    for number, segment in enumerate(state.segments):
        if segment.there:
            state = with_segment(state, number, segment._replace(synced=len(segment.records)))
            index.update(tail_of(state, number, 0))
    if setup.has("incomplete lists"):
        for name in LISTS:
            if any(f"o:{piece}" not in index for piece in BELOW[name]):
                index.pop(f"o:{name}", None)
    return state._replace(phase="open", base=tuple(sorted(index.items())), batches=())


# -- what must hold


def is_readable(state: State, index: dict[str, object], name: str) -> bool:
    """Whether an object and all below it can be read."""
    place = index.get(f"o:{name}")
    if not isinstance(place, tuple):
        return False
    segment = state.segments[place[0]]
    there = segment.there and place[1] < len(segment.records)
    return there and all(is_readable(state, index, piece) for piece in BELOW[name])


def problem(state: State) -> str | None:
    """What is wrong with a store that is in use: what refs name, and what a put would believe."""
    if state.phase not in ("open", "script"):
        return None
    index = index_of(state)
    for name in state.promised:
        if f">{name}" not in index:
            return f"the ref to {name} was durable, and is gone"
    for key in index:
        if key[0] == ">" and not is_readable(state, index, key[1:]):
            return f"a ref names {key[1:]}, which cannot be read whole"
    for name in LISTS:
        if f"o:{name}" in index and state.phase == "open" and not is_readable(state, index, name):
            place = index[f"o:{name}"]
            assert isinstance(place, tuple)
            if place[1] < len(state.segments[place[0]].records):
                return f"a put would take {name} for its content, which cannot be read whole"
    return None


def run(setup: Setup) -> Exploration:
    """Explores a setup."""

    def successors(state: State) -> Iterator[Step[State]]:
        if state.phase == "script" and state.at < len(setup.script):
            yield script_step(state, setup)
        elif state.phase not in ("script", "open"):
            yield opening_step(state, setup)
        if state.crashes:
            yield from crashes(state, setup)

    return explore(Model(initial=[first_state(setup)], successors=successors, problem=problem))
