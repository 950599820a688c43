# SPDX-License-Identifier: MIT
"""Ref: a handle to one object, which is loaded when it is touched and leaves when memory is short.

A Ref is small: what it shares with others of its state is in their place, its key is packed, what few have is apart,
and what is loaded is in a record that exists only while it is loaded. Who has no Ref and no value keeps nothing in
memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from casstore.objects.admission import check_priority
from casstore.objects.held import MISSING, Failure, Flight, Held
from casstore.objects.report import Status

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.format.entry import Entry
    from casstore.objects.places import Place

T = TypeVar("T")

Priority = float | Callable[[], float] | None


class Own:
    """What few Refs have: a priority of their own, or objects to load before them."""

    __slots__ = ("key", "needs", "priority")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.priority: Priority = None
        self.needs: tuple[Ref[Any], ...] = ()


class Ref(Generic[T]):
    """A handle to one object. ``Materializer.register`` makes them.

    What ``get`` returns is the Ref's own, or immutable and shared: change it, then call ``mark_dirty``. It is the same
    object until it is unloaded, and after that for as long as anybody keeps it, where its type allows weak references
    (dict, list, str and bytes do not).

    *Thread safety*: any number of threads may use a Ref; one of them loads. Changing the value is for one thread.
    """

    __slots__ = ("__weakref__", "_held", "_own", "_place")

    def __init__(self, place: Place, key: Any, priority: Priority = None) -> None:
        self._place = place
        self._own: Any = place.pack(key)
        self._held: Held | Flight | Failure | None = None
        if priority is not None:
            self._apart().priority = priority

    # -- what it is made of, for the parts of this layer

    @property
    def _key(self) -> Any:
        own = self._own
        if type(own) is Own:
            own = own.key
        return own.decode() if type(own) is bytes and self._place.packs else own

    def _move(self, place: Place, key: Any) -> None:
        """Lets the Ref stand for another object; its priority and its needs stay."""
        packed = place.pack(key)
        if type(self._own) is Own:
            self._own.key = packed
        else:
            self._own = packed
        self._place = place

    def _priority(self, key: Any) -> float:
        stated = self._own.priority if type(self._own) is Own else None
        if stated is None:
            return self._place.weight(key)
        return check_priority(stated()) if callable(stated) else stated

    def _apart(self) -> Own:
        own = self._own
        if type(own) is not Own:
            own = self._own = Own(own)
        return own

    # -- what it is

    @property
    def is_loaded(self) -> bool:
        """Whether ``get`` returns at once."""
        held = self._held
        return held is not None and held.value is not MISSING

    @property
    def status(self) -> Status:
        """Unloaded, loading, loaded, dirty, or failed."""
        held = self._held
        if type(held) is Flight:
            return Status.LOADING
        if type(held) is Failure:
            return Status.FAILED
        if type(held) is not Held or held.value is MISSING:
            return Status.UNLOADED
        return Status.DIRTY if held.dirty else Status.LOADED

    @property
    def error(self) -> BaseException | None:
        """Why the last load failed; None in any other status."""
        held = self._held
        return held.error if type(held) is Failure else None

    @property
    def ref_count(self) -> int:
        """How many Refs stand for the loaded object, this one included; 0 where it is not loaded.

        Immutable values of equal content are loaded once for all of a materializer's Refs to them.
        """
        held = self._held
        return len(held.refs()) if type(held) is Held and held.value is not MISSING else 0

    @property
    def key(self) -> Any:
        """Key of the object in its state; of another origin, what stands for it."""
        return self._key

    @property
    def priority(self) -> float:
        """How likely the object is to be needed, 0 or more: what was stated, or what the search says of it.

        That is the sum of the weights of the nodes that reach the object, where the materializer follows a tree; as of
        when they were taken over last. Else it is the weight of the Ref's state by ``Materializer(weigh=…)``.

        Raises:
            InvalidInputError: A function that was stated as the priority gave none.
        """
        return self._priority(self._key)

    @priority.setter
    def priority(self, value: Priority) -> None:
        checked = value if value is None or callable(value) else check_priority(value)
        if checked is not None or type(self._own) is Own:
            self._apart().priority = checked

    @property
    def has_own_priority(self) -> bool:
        """Whether a priority was stated; else it follows the search."""
        return type(self._own) is Own and self._own.priority is not None

    @property
    def needs(self) -> tuple[Ref[Any], ...]:
        """The objects that are loaded before this one; they may need each other in circles."""
        return self._own.needs if type(self._own) is Own else ()

    @needs.setter
    def needs(self, refs: tuple[Ref[Any], ...]) -> None:
        own = tuple(refs)
        if own or type(self._own) is Own:
            self._apart().needs = own

    # -- loading

    def get(self, timeout: float | None = None) -> T:
        """The object, loaded if need be.

        Args:
            timeout: Seconds; None waits for ever, and loads in this thread.

        Raises:
            NotFoundError: It is not there any more.
            FactoryError: Its factory failed, is not registered, or gave another type than was stated.
            CorruptionError: Its bytes are damaged.
            DeadlineError: It was not done in ``timeout`` seconds.
            ClosedError: The materializer is closed, or the store.

        *Cost*: 0.2 µs where it is loaded; else one look-up, reading, and decoding.
        """
        held = self._held
        if held is not None:
            value: T | Any = held.value
            if value is not MISSING:
                loader = self._place.loader
                # The clock ticks with every load, so touches in between cost no more than this look.
                if held.used != loader.clock:  # type: ignore[union-attr]
                    loader.touched(self, held)  # type: ignore[arg-type]
                return value
        return self._place.home.materialize(self, timeout=timeout)

    def load(self, timeout: float | None = None) -> T:
        """The same as ``get``."""
        return self.get(timeout)

    def unload(self) -> int:
        """Gives the object's memory back; returns the bytes, by estimate.

        It is 0 where the object is not loaded, or where other Refs keep it. What somebody else holds lives on.

        Raises:
            InvalidInputError: It has changes; `save` or `discard` them.
        """
        return self._place.loader.unload(self)

    # -- changing

    def mark_dirty(self) -> None:
        """Says that the value was changed: it stays in memory until it is saved or discarded.

        Raises:
            InvalidInputError: It is not loaded, so nobody can have changed it.
        """
        self._place.loader.mark_dirty(self)

    def set(self, value: T) -> None:
        """Puts another value in place, dirty.

        Raises:
            FactoryError: It is of another type than was stated.
        """
        self._place.loader.set(self, value)

    def save(self, to: Branch | None = None, key: str | None = None) -> Entry:
        """Writes the value; returns the entry that it became.

        Args:
            to: The branch to set it on, which the Ref stands for from now on; None is where it came from: a branch, or
                the store, where an entry of its own replaces the one of before.
            key: Its key there; None is the same as before.

        Raises:
            InvalidInputError: It came from a snapshot, which never changes, and no branch is given; or no key is known.
            FactoryError: It cannot be encoded.

        *Durability*: that of a branch, or of a put.
        """
        from casstore.objects.saving import save

        return save(self, to, key)

    def discard(self) -> None:
        """Drops the changes: the object is unloaded, and loads as it was saved last."""
        self._place.loader.discard(self)

    def __repr__(self) -> str:
        return f"<Ref to {self._place.name(self._key)}, {self.status}>"


class EntryRef(Ref[T]):
    """A Ref that keeps what its entry refers to from the collector, by itself: a handle for it would be as large."""

    __slots__ = ()

    def __del__(self) -> None:
        self._place.release(self._key)
