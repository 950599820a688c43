# SPDX-License-Identifier: MIT
"""The model's writers: programs of a few instructions, each taken apart into the steps that others can see.

``begin`` and ``end`` open and close an operation; ``content`` is a put of bytes, which asks for the whole first and for
its pieces then; ``record`` puts a node or a snapshot; ``use`` refers to something by its address; ``ref`` moves a ref
to a snapshot; ``pin`` opens a content, and ``unpin`` closes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explorer import Step
from tests.model.keeping import is_kept
from tests.model.protocol import (
    CHUNK,
    EVENT,
    LIST,
    Setup,
    State,
    Writer,
    appended,
    base_of,
    close_watch,
    hit,
    open_watch,
    place_of,
    synchronized,
    with_item,
)


def writer_steps(state: State, setup: Setup, slot: int) -> Iterator[Step[State]]:
    """What a writer can do next: one step, or none where it waits for the lock or has ended."""
    writer = state.writers[slot]
    program = setup.programs[slot]
    if writer.at >= len(program):
        return
    order, number = program[writer.at]
    if state.lock and state.lock != slot + 1 and _needs_lock(writer, order):
        return
    name = f"writer-{slot + 1}"
    if order == "begin":
        opened = open_watch(state, slot)
        yield f"{name}:begins an operation", _next(opened, slot, writer)
    elif order == "end":
        closed = close_watch(state, slot)
        yield f"{name}:ends its operation", _next(closed, slot, writer._replace(relied=0))
    elif order == "ref":
        yield _ref(state, setup, slot, writer, number)
    elif order == "use":
        yield _use(state, setup, slot, writer, number)
    elif order == "pin":
        yield _pin(state, setup, slot, writer, number)
    elif order == "unpin":
        yield f"{name}:unpins {setup.graph.names[number]}", _next(state, slot, writer._replace(pinned=0, relied=0))
    else:
        yield from _put(state, setup, slot, writer, number, order == "record")


def _needs_lock(writer: Writer, order: str) -> bool:
    if order in ("content", "record"):
        return writer.step.rpartition("/")[2] in ("touch", "again", "append", "open", "close")
    return not (order in ("pin", "use") and not writer.step)


def _set(state: State, slot: int, writer: Writer) -> State:
    writers = state.writers
    return state._replace(writers=(*writers[:slot], writer, *writers[slot + 1 :]))


def _next(state: State, slot: int, writer: Writer) -> State:
    """On to the next instruction."""
    return _set(state, slot, Writer(writer.at + 1, relied=writer.relied, until=writer.until, pinned=writer.pinned))


def _stopped(state: State, setup: Setup, slot: int) -> State:
    """The writer met an error that its user sees: the operation ends."""
    ended = Writer(len(setup.programs[slot]))
    return _set(close_watch(state, slot), slot, ended)


def _ref(state: State, setup: Setup, slot: int, writer: Writer, number: int) -> Step[State]:
    """A ref moves: under the lock the target is hit and the event appended; then all is synced."""
    name, what = f"writer-{slot + 1}", setup.graph.names[number]
    if not writer.step:
        place = place_of(state, setup, number)
        if not place or _is_doomed(state, setup, number, place):
            return f"{name}:finds no {what} for its ref", _stopped(state, setup, slot)
        moved = appended(hit(state, setup, number, place), [EVENT + number], {})
        return f"{name}:appends the event of a ref to {what}", _set(
            moved._replace(lock=slot + 1), slot, writer._replace(step="sync")
        )
    moved = synchronized(state, setup)
    moved = moved._replace(promised=moved.promised | 1 << number, lock=0)
    return f"{name}:syncs, its ref names {what}", _next(moved, slot, writer)


def _use(state: State, setup: Setup, slot: int, writer: Writer, number: int) -> Step[State]:
    """Something is referred to by its address: found, then hit behind the lock."""
    name, what = f"writer-{slot + 1}", setup.graph.names[number]
    place = place_of(state, setup, number)
    if not place:
        return f"{name}:finds no {what} to refer to", _stopped(state, setup, slot)
    if writer.step and _is_doomed(state, setup, number, place):
        return f"{name}:learns that {what} is doomed", _stopped(_missed(state, number), setup, slot)
    if not writer.step:
        return f"{name}:finds {what}", _set(hit(state, setup, number, place), slot, writer._replace(step="again"))
    told = hit(state, setup, number, place)
    return f"{name}:refers to {what}", _next(told, slot, writer._replace(relied=writer.relied | 1 << number))


def _pin(state: State, setup: Setup, slot: int, writer: Writer, number: int) -> Step[State]:
    """A content is opened: pinned, then hit."""
    name, what = f"writer-{slot + 1}", setup.graph.names[number]
    bit = 1 << number
    if not writer.step:
        if not place_of(state, setup, number):
            return f"{name}:finds no {what} to open", _stopped(state, setup, slot)
        pinned = writer._replace(pinned=bit, step="hit")
        return f"{name}:pins {what}", _set(state, slot, pinned)
    if setup.has("a pin hits"):
        place = place_of(state, setup, number)
        if not place or _is_doomed(state, setup, number, place):
            return f"{name}:learns that {what} is gone", _stopped(state, setup, slot)
        state = hit(state, setup, number, place)
    return f"{name}:has {what} open", _next(state, slot, writer._replace(relied=writer.relied | bit))


def _put(state: State, setup: Setup, slot: int, writer: Writer, top: int, single: bool) -> Iterator[Step[State]]:
    """A put: ask for the whole, then for its pieces; append what is missing."""
    order = (top,) if single else setup.graph.order(top)
    name = f"writer-{slot + 1}"
    if writer.step == "open":
        # A put outside of an operation opens one of its own for its pieces.
        opened = open_watch(state, slot)
        yield f"{name}:begins an operation for its pieces", _set(opened, slot, writer._replace(step=""))
    elif writer.step == "close":
        yield f"{name}:ends the operation of its put", _next(close_watch(state, slot), slot, writer)
    elif writer.step == "append":
        yield _append(state, setup, slot, writer, order)
    elif writer.step.startswith("base"):
        # The chunk itself is missing; the same questions are asked about the base it may be stored against.
        base = int(writer.step.partition("/")[0].split()[1])
        for text, reached, answer in _ask(state, setup, slot, writer, base):
            after = reached.writers[slot]
            if answer is None:
                yield f"{name}:{text}", reached
                continue
            bases = (*writer.bases, (order[writer.place], base)) if answer else writer.bases
            yield f"{name}:{text}", _answered(reached, setup, slot, after._replace(bases=bases), order, False)
    else:
        number = order[writer.place]
        for text, reached, answer in _ask(state, setup, slot, writer, number):
            after = reached.writers[slot]
            if answer is None:
                yield f"{name}:{text}", reached
                continue
            yield f"{name}:{text}", _answered(reached, setup, slot, after, order, answer)
            if answer or not setup.deltas or setup.graph.kinds[number] != CHUNK:
                continue
            for base in _bases_for(reached, setup, number):
                looks = f"{name}:{text}, and looks at {setup.graph.names[base]} as its base"
                yield looks, _set(reached, slot, after._replace(step=f"base {base}/"))


def _bases_for(state: State, setup: Setup, number: int) -> Iterator[int]:
    """The chunks that one may be stored against."""
    for base, kind in enumerate(setup.graph.kinds):
        if kind == CHUNK and base != number:
            place = place_of(state, setup, base)
            if place and (base_of(state, place) < 0 or not setup.has("a base is whole")):
                yield base


def _found(state: State, setup: Setup, number: int, as_base: bool) -> int:
    """Where an object lies that a put may leave out, or take as a base; 0 where it may not."""
    place = place_of(state, setup, number)
    if not place:
        return 0
    base = base_of(state, place)
    if base >= 0 and as_base and setup.has("a base is whole"):
        return 0
    if base >= 0 and setup.has("a delta counts with its base") and not place_of(state, setup, base):
        return 0
    if state.hurt and setup.has("lists are checked") and not _is_sound(state, setup, number):
        return 0
    return place


def _ask(
    state: State, setup: Setup, slot: int, writer: Writer, number: int
) -> Iterator[tuple[str, State, bool | None]]:
    """The next step of asking whether something is known: its name, what follows, and the answer once there is one."""
    what = setup.graph.names[number]
    stage, slash, step = writer.step.rpartition("/")

    def to(following: str, state: State = state) -> State:
        return _set(state, slot, writer._replace(step=f"{stage}{slash}{following}"))

    if not step:
        place = _found(state, setup, number, bool(stage))
        if not place:
            yield f"finds no {what}", _set(state, slot, writer._replace(sweeps=state.sweeps)), False
            return
        writer = writer._replace(sweeps=state.sweeps)
        if stage and not setup.has("a put hits its base"):
            yield f"takes {what}", _set(state, slot, writer), True
            return
        renew = setup.ticks is not None and state.clock - state.stamps[number] > setup.grace[0]
        # The place is remembered: the hit is reported with what the look-up found.
        yield f"finds {what}", to("touch" if renew else f"hit@{place}"), None
    elif step == "touch":
        place = place_of(state, setup, number)
        if place and not _is_doomed(state, setup, number, place):
            if setup.doomed and setup.has("a renewal hits"):
                state = hit(state, setup, number, place)
            state = state._replace(
                stamps=with_item(state.stamps, number, state.clock), pending=with_item(state.pending, number, place)
            )
        # Where it is gone by now, the hit is reported all the same, of a place that is nowhere.
        yield f"renews {what}", to(f"hit@{place}", state), None
    elif step.startswith("hit@"):
        yield f"reports its hit on {what}", to("check", hit(state, setup, number, int(step[4:]))), None
    elif step == "check":
        sweeping = state.sweeping or (setup.has("sweep counter") and writer.sweeps != state.sweeps)
        if sweeping and setup.has("recheck"):
            yield f"sees a sweep, so asks for {what} again", to("again"), None
        else:
            yield f"takes {what} as known", state, True
    else:
        place = _found(state, setup, number, bool(stage))
        if not place or _is_doomed(state, setup, number, place):
            place, state = 0, _missed(state, number) if setup.doomed else state
        text = f"finds {what if place else 'no ' + what} behind the lock"
        yield text, hit(state, setup, number, place), bool(place)


def _is_doomed(state: State, setup: Setup, number: int, place: int) -> bool:
    """Whether a sweep that is under way has settled that an object goes; asked under the lock."""
    if state.collector.step not in ("decide", "take away", "clean") or not setup.has("the doomed are refused"):
        return False
    return setup.graph.kinds[number] != CHUNK and not is_kept(state, setup, number, place)


def _missed(state: State, number: int) -> State:
    """Every watch takes back what it was told of something that is gone."""
    watches = tuple([watch._replace(parents=watch.parents & ~(1 << number)) for watch in state.watches])
    return state._replace(watches=watches)


def _is_sound(state: State, setup: Setup, number: int) -> bool:
    """Whether all pieces of a list are there, where some may not be."""
    if setup.graph.kinds[number] != LIST:
        return True
    return all(place_of(state, setup, piece) and _is_sound(state, setup, piece) for piece in setup.graph.below[number])


def _answered(state: State, setup: Setup, slot: int, writer: Writer, order: tuple[int, ...], known: bool) -> State:
    """On with the put, now that it is settled whether the object that was asked for is there."""
    number = order[writer.place]
    writer = writer._replace(step="", sweeps=0)
    if known:
        until = state.clock + setup.grace[1] - setup.grace[0]
        writer = writer._replace(relied=writer.relied | 1 << number, until=_earlier(writer.until, until, setup))
        if writer.place == 0:
            return _next(state, slot, writer)
    else:
        writer = writer._replace(missing=writer.missing | 1 << number)
    writer = writer._replace(place=writer.place + 1)
    if writer.place == len(order):
        return _set(state, slot, writer._replace(step="append"))
    if writer.place == 1 and not state.watches[slot].running:
        return _set(state, slot, writer._replace(step="open"))
    return _set(state, slot, writer)


def _earlier(until: int, other: int, setup: Setup) -> int:
    """How long something is safe that is safe for two reasons; 0 stands for no reason yet."""
    if setup.ticks is None:
        return 0
    return min(until or other, other)


def _append(state: State, setup: Setup, slot: int, writer: Writer, order: tuple[int, ...]) -> Step[State]:
    """One step, in the lock: what waits already is not kept twice, unless it is a delta."""
    missing = [number for number in (*order[1:], order[0]) if writer.missing >> number & 1]
    if not setup.has("children first"):
        missing.reverse()
    bases = dict(writer.bases)
    fresh = []
    for number in missing:
        waits = state.pending[number]
        if not waits or base_of(state, waits) >= 0:
            fresh.append(number)
    kept = appended(state, fresh, bases)
    until = _earlier(writer.until, state.clock + setup.grace[1], setup)
    done = writer._replace(relied=writer.relied | writer.missing, until=until)
    names = [_spelled(setup, number, bases) for number in fresh]
    text = f"writer-{slot + 1}:appends {', '.join(names) or 'nothing'}"
    # A put of several records outside of an operation has one of its own, which ends here.
    own = len(order) > 1 and not any(order == "begin" for order, _ in setup.programs[slot][: writer.at])
    if own:
        return text, _set(kept, slot, done._replace(step="close"))
    return text, _next(kept, slot, done)


def _spelled(setup: Setup, number: int, bases: dict[int, int]) -> str:
    names = setup.graph.names
    return f"{names[number]} against {names[bases[number]]}" if number in bases else names[number]
