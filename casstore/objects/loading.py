# SPDX-License-Identifier: MIT
"""The loader: one load in flight for each object, whoever asks, and everything that is loaded, counted.

Invariants: an object is loaded by one thread at a time; nobody waits for a thread that waits for him; no value is
dropped, and no factory runs, while the lock is held.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

from casstore.errors import (
    CasstoreError,
    ClosedError,
    DeadlineError,
    FactoryError,
    InvalidInputError,
    NotFoundError,
)
from casstore.objects.held import MISSING, Failure, Flight, Held, is_shareable, size_of
from casstore.objects.residents import Residents

if TYPE_CHECKING:
    from casstore.format.entry import Entry
    from casstore.objects.ref import Ref

RECENT: Final = 0.05
"""Weight of the newest load in the mean time of a load, and of the newest touch in the hit rate."""


class Loader:
    """Loads objects, and lets them go.

    Args:
        max_bytes: Bound of what is loaded, by estimate.
        max_object_bytes: Bound of one object.

    Attributes:
        clock: Ticks with every load.
        ahead: Objects that were loaded ahead and not asked for, by entry; a prefetcher fills and bounds it.
        observer: Called with a Ref and whether it was loaded, at each touch that counts; or None.
        claimed: Called with an object that was loaded ahead and then asked for, whether it was still there, and how
            many seconds he who asked had to wait for it; the lock is held.
        arrived: Called with an object that was just loaded ahead, before anybody learns of it; the lock is held. What
            it returns is dropped without it.
        overtaken: Called with the entry of an object that somebody loads himself now.
        pressed_bytes: What pressure takes its share of; 0 where there is none.
        pressure: That of which it was taken.
        pending: What was asked for ahead and has not come, by entry; a prefetcher fills it.
        now: Seconds, for the time of loads.
        expect: Called with the bytes that a load is about to take; or None.
        give_back: Called with the bytes that were let go; or None.
        before_room: Called before objects have to leave, to bring priorities up to date; or None.
    """

    __slots__ = (
        "__weakref__",
        "_flights",
        "_waiting",
        "ahead",
        "allowed_bytes",
        "arrived",
        "before_room",
        "claimed",
        "clock",
        "closed",
        "dirty",
        "expect",
        "failures",
        "give_back",
        "hit_rate",
        "hits",
        "load_seconds",
        "loads",
        "lock",
        "max_bytes",
        "max_object_bytes",
        "now",
        "observer",
        "overtaken",
        "pending",
        "pressed_bytes",
        "pressure",
        "residents",
    )

    def __init__(self, max_bytes: int, max_object_bytes: int) -> None:
        self.max_bytes = self.allowed_bytes = max_bytes
        self.max_object_bytes = max_object_bytes
        # Reentrant, as Python's collector may run somebody's destructor here, and that may use a Ref.
        self.lock = threading.RLock()
        self.residents = Residents()
        self.clock = 1
        self.hits = self.loads = self.failures = 0
        self.load_seconds = 0.0
        self.hit_rate = 1.0
        self.closed = False
        self.dirty: dict[int, Ref[Any]] = {}
        self.ahead: dict[Entry, Held] = {}
        self.observer: Callable[[Ref[Any], bool], None] | None = None
        self.claimed: Callable[[Held, bool, float], None] | None = None
        self.arrived: Callable[[Held], object] | None = None
        self.overtaken: Callable[[Entry], object] | None = None
        self.pending: dict[Entry, Any] = {}
        self.now: Callable[[], float] = time.perf_counter
        self.pressed_bytes = 0
        self.pressure = 0.0
        self.expect: Callable[[int], object] | None = None
        self.give_back: Callable[[int], object] | None = None
        self.before_room: Callable[[], object] | None = None
        self._flights: dict[Hashable, Flight] = {}
        self._waiting: dict[int, Flight] = {}
        _loaders.add(self)

    # -- touches

    def touched(self, ref: Ref[Any], held: Held) -> None:
        """Notes that a loaded object was used; the counts are approximate, as nothing is locked."""
        held.used = self.clock
        self.hits += 1
        self.hit_rate += (1 - self.hit_rate) * RECENT
        if self.observer is not None:
            self.observer(ref, True)

    # -- loading

    def bring(
        self, ref: Ref[Any], *, asked: bool = True, deadline: float | None = None, entry: Entry | None = None
    ) -> Any:
        """The object, loaded in this thread, or by whoever is loading it already.

        Args:
            ref: What to load; what it needs is loaded by now.
            asked: Whether somebody wants it now; else it is loaded ahead, and that is no touch.
            deadline: By ``time.monotonic``, for waiting for another thread; None is for ever.
            entry: What it is read from, where the caller has looked it up.
        """
        place, key = ref._place, ref._key
        if self.closed:
            raise ClosedError("the materializer is closed, or the parent's of a forked process; make another one.")
        if entry is None:
            try:
                entry = place.find(key)
            except CasstoreError as error:
                self._failed(ref, None, error)
                raise
        identity: Hashable = id(ref) if entry is None else entry
        waited = 0.0
        while True:
            with self.lock:
                held = self._at_hand(ref, entry, asked, waited)
                value = MISSING if held is None else held.value
                flight = self._flights.get(identity) if held is None else None
                if held is None and flight is None:
                    mine = self._flights[identity] = Flight(ref)
                    ref._held = mine
                    overtakes = asked and entry in self.pending
                    break
                if flight is not None:
                    if not asked:
                        # Whoever asked has it soon, and nobody waits for this.
                        return MISSING
                    ref._held = flight
            if flight is not None:
                began = self.now()
                self._join(ref, flight, deadline)
                waited += self.now() - began
            elif held is not None:
                # Not under the lock, as the observer may ask for more.
                if asked:
                    if held.fresh:
                        # So far it mattered as much as it was likely; from now on, as much as who holds it says.
                        held.fresh = False
                        held.priority = ref._priority(key)
                    self.touched(ref, held)
                return value
        if asked:
            self.hit_rate -= self.hit_rate * RECENT
        if overtakes and entry is not None and self.overtaken is not None:
            # It waits in the queue: who is here first loads it.
            self.overtaken(entry)
        try:
            value = self._fly(ref, entry, identity, mine, asked)
        except NotFoundError:
            if entry is None or place.find(key) == entry:
                raise
            # On a branch it was replaced, and then collected, between the look and the reading.
            return self.bring(ref, asked=asked, deadline=deadline)
        if not asked:
            return value
        if self.observer is not None:
            # Not before: what it asks for ahead would compete with what is wanted now.
            self.observer(ref, False)
        return value

    def _at_hand(self, ref: Ref[Any], entry: Entry | None, asked: bool, waited: float) -> Held | None:
        """The object where it needs no loading; the lock is held."""
        held = ref._held
        if type(held) is Held and (held.value is not MISSING or self._brought_back(held)):
            return held
        if entry is None:
            return None
        found = self.residents.find(entry)
        if found is not None and not found.shareable:
            found = None
        waiting = self.ahead.pop(entry, None) if asked else None
        if waiting is not None and self.claimed is not None:
            self.claimed(waiting, waiting.value is not MISSING, waited)
        if found is None:
            found = waiting
        if found is None or found.value is MISSING or not ref._place.fits(found.value):
            return None
        found.attach(ref)
        ref._held = found
        return found

    def _brought_back(self, held: Held) -> bool:
        if held.bring_back():
            self.residents.add(held)
            return True
        return False

    def _join(self, ref: Ref[Any], flight: Flight, deadline: float | None) -> None:
        """Waits for another thread's flight; what it raised is raised here too."""
        me = threading.get_ident()
        with self.lock:
            owner = flight.owner
            while owner != me:
                other = self._waiting.get(owner)
                if other is None:
                    break
                owner = other.owner
            else:
                # Waiting would never end: factories that load each other.
                raise FactoryError(
                    f"loading {ref._place.name(ref._key)} needs itself; state what it needs as `ref.needs`, or keep "
                    "Refs in the object and load them when they are used."
                )
            self._waiting[me] = flight
        try:
            landed = flight.wait(None if deadline is None else deadline - time.monotonic())
        finally:
            with self.lock:
                self._waiting.pop(me, None)
        if ref._held is flight:
            ref._held = None if flight.error is None else Failure(flight.error)
        if not landed:
            raise DeadlineError(f"{ref._place.name(ref._key)} was not loaded in the time allowed; ask again.")
        if flight.error is not None and (flight.ref is ref or not flight.misfit):
            raise flight.error
        # Else the other Ref stated a type that it is not, and this one has its own to state.

    def _fly(self, ref: Ref[Any], entry: Entry | None, identity: Hashable, flight: Flight, asked: bool) -> Any:
        place, key = ref._place, ref._key
        start = self.now()
        try:
            guess = place.estimate(key, entry)
            if guess > self.max_object_bytes:
                raise self._too_large(ref, guess)
            priority = ref._priority(key)
            if self.expect is not None:
                self.expect(guess)
            try:
                value = place.read(key, entry)
            except MemoryError:
                # What is loaded can be loaded again; what is asked for now, nobody else can give.
                self.make_room(0)
                value = place.read(key, entry)
            flight.misfit = True
            place.check(value, key)
            flight.misfit = False
            size = size_of(value, guess)
            if size > self.max_object_bytes:
                raise self._too_large(ref, size)
        except BaseException as error:
            # Whoever waits learns of it too, also where this thread ends.
            self._failed(ref, flight, error, identity)
            raise
        seconds = self.now() - start
        held = Held(value, entry, size, seconds, priority)
        held.fresh = not asked
        held.shareable = entry is not None and is_shareable(value)
        held.attach(ref)
        with self.lock:
            if flight.deserted:
                raise DeadlineError(f"{place.name(key)} came too late; nobody waits for it any more.")
            self.clock += 1
            held.used = self.clock
            self.loads += 1
            self.load_seconds += (seconds - self.load_seconds) * (RECENT if self.loads > 1 else 1)
            self.residents.add(held)
            ref._held = held
            del self._flights[identity]
            # Before those who wait go on, or they would load it once more.
            dropped = self.arrived(held) if not asked and self.arrived is not None else None
            full = self.residents.used_bytes > self.allowed_bytes
        flight.land()
        del dropped
        if full:
            if self.before_room is not None:
                self.before_room()
            # The value is in our hands, so it is not what goes.
            self.make_room()
        return value

    def _too_large(self, ref: Ref[Any], size: int) -> FactoryError:
        return FactoryError(
            f"{ref._place.name(ref._key)} takes {size} bytes, more than the bound of {self.max_object_bytes}; load a "
            "part of it with `materializer.slice`, or raise `max_object_bytes`."
        )

    def _failed(
        self, ref: Ref[Any], flight: Flight | None, error: BaseException, identity: Hashable | None = None
    ) -> None:
        shown: BaseException = error
        if not isinstance(error, CasstoreError):
            # A factory that ends its thread (SystemExit) must not end those who wait.
            shown = FactoryError(f"the thread that loaded {ref._place.name(ref._key)} ended: {error!r}; load it again.")
        with self.lock:
            self.failures += 1
            if flight is not None:
                if flight.deserted:
                    return
                flight.error = shown
                del self._flights[identity]
            if type(ref._held) is not Held or ref._held.value is MISSING:
                ref._held = Failure(shown)
        if flight is not None:
            flight.land()

    def is_loaded(self, entry: Entry) -> bool:
        """Whether a value of the entry is in memory, or on its way; the lock is held."""
        found = self.residents.find(entry)
        return (found is not None and found.value is not MISSING) or entry in self._flights

    def desert(self, owner: int) -> None:
        """Gives up the flights of a thread that never comes back; those who wait get a ``DeadlineError``."""
        with self.lock:
            lost = [(identity, flight) for identity, flight in self._flights.items() if flight.owner == owner]
            for identity, flight in lost:
                del self._flights[identity]
                flight.deserted = True
                name = flight.ref._place.name(flight.ref._key)
                flight.error = DeadlineError(f"loading {name} did not end; mend its factory, and load again.")
                if flight.ref._held is flight:
                    flight.ref._held = Failure(flight.error)
        for _, flight in lost:
            flight.land()

    # -- letting go and changing

    def unload(self, ref: Ref[Any]) -> int:
        """See ``Ref.unload``."""
        with self.lock:
            held = ref._held
            if type(held) is Failure:
                ref._held = None
            if type(held) is not Held or held.value is MISSING:
                return 0
            if held.dirty:
                raise InvalidInputError(
                    f"{ref._place.name(ref._key)} has changes; `save` or `discard` them before it is unloaded."
                )
            if len(held.refs()) > 1:
                held.detach(ref)
                ref._held = None
                return 0
            self.residents.remove(held)
            value = held.let_go()
            if held.weak is None:
                ref._held = None
        del value
        return held.size

    def make_room(self, allowed_bytes: int | None = None) -> int:
        """Lets objects go until the others fit into ``allowed_bytes``; returns how many went."""
        allowed = self.allowed_bytes if allowed_bytes is None else allowed_bytes
        with self.lock:
            before = self.residents.used_bytes
            dropped = self.residents.make_room(allowed)
            freed = before - self.residents.used_bytes
        number = len(dropped)
        del dropped
        if number and self.give_back is not None:
            self.give_back(freed)
        return number

    def _own(self, ref: Ref[Any]) -> Held:
        """The record of a loaded object, of this Ref alone; the lock is held."""
        held = ref._held
        if type(held) is not Held or (held.value is MISSING and not self._brought_back(held)):
            raise InvalidInputError(
                f"{ref._place.name(ref._key)} is not loaded, so its changes are lost; keep what `get` returned while "
                "you change it, and call `mark_dirty` before you let it go."
            )
        if len(held.refs()) > 1:
            held.detach(ref)
            held = self._put(ref, held.value, held.size)
        self.residents.forget_entry(held)
        return held

    def _put(self, ref: Ref[Any], value: Any, size: int) -> Held:
        held = Held(value, None, size, 0.0, ref.priority)
        held.attach(ref)
        held.used = self.clock
        self.residents.add(held)
        ref._held = held
        return held

    def mark_dirty(self, ref: Ref[Any]) -> None:
        """See ``Ref.mark_dirty``."""
        with self.lock:
            self._own(ref).dirty = True
            self.dirty[id(ref)] = ref

    def set(self, ref: Ref[Any], value: Any) -> None:
        """See ``Ref.set``."""
        ref._place.check(value, ref._key)
        with self.lock:
            held = ref._held
            if type(held) is Flight:
                raise InvalidInputError(f"{ref._place.name(ref._key)} is loading; set it when that is done.")
            if type(held) is Held and held.value is not MISSING:
                held.detach(ref)
                if not held.refs():
                    self.residents.remove(held)
            self._put(ref, value, size_of(value, 0)).dirty = True
            self.dirty[id(ref)] = ref

    def saved(self, ref: Ref[Any], entry: Entry | None, value: Any) -> None:
        """Notes that what a Ref holds is saved as ``entry``; not if it was changed again meanwhile."""
        with self.lock:
            held = ref._held
            if type(held) is Held and held.value is value:
                held.dirty = False
                held.entry = entry
                self.dirty.pop(id(ref), None)

    def discard(self, ref: Ref[Any]) -> None:
        """See ``Ref.discard``."""
        with self.lock:
            held = ref._held
            self.dirty.pop(id(ref), None)
            if type(held) is not Held:
                return
            held.detach(ref)
            ref._held = None
            if not held.refs():
                self.residents.remove(held)
        del held


_loaders: weakref.WeakSet[Loader] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held the lock; and the threads that load are the parent's.
    for loader in list(_loaders):
        loader.lock = threading.RLock()
        loader.closed = True


os.register_at_fork(after_in_child=_after_fork_in_child)
