# SPDX-License-Identifier: MIT
"""What stands behind a Ref that is not unloaded: a loaded object, a load in flight, or a failure.

All three have a ``value``, so that the one look of a hit tells them apart. A Ref holds what stands behind it; nobody
else does for long. So an object goes when its Refs go, also where objects hold Refs to each other in circles, which
Python's collector takes apart as it does any others.
"""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from casstore.format.entry import Entry
    from casstore.objects.ref import Ref


@final
class Missing:
    """The type of ``MISSING``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""Stands where there is no value; None is a value."""

PLAIN_TYPES: Final = frozenset({bytes, str, int, float, bool, type(None), complex})
"""Immutable and without parts: they can be shared, and are not worth being kept for who holds them anyway."""


class Held:
    """A loaded object.

    Attributes:
        value: The object, or ``MISSING`` once it left.
        entry: What it was read from; None where it has changed, or was never in a store.
        size: Bytes it takes, by estimate.
        used: The loader's clock at the last touch.
        priority: Of its Refs when it was loaded, or at the last ``reprioritize``.
        seconds: What loading took.
        dirty: Whether it has changes that nobody saved.
        fresh: Whether it was loaded ahead, and nobody touched it yet.
        resident: What counts it; None while it is not counted.
        shareable: Whether several Refs may hand out the value, as nobody can change it.
    """

    __slots__ = (
        "__weakref__",
        "_first",
        "_more",
        "dirty",
        "entry",
        "fresh",
        "priority",
        "resident",
        "seconds",
        "shareable",
        "size",
        "used",
        "value",
        "weak",
    )

    def __init__(self, value: Any, entry: Entry | None, size: int, seconds: float, priority: float) -> None:
        self.value = value
        self.entry = entry
        self.size = size
        self.seconds = seconds
        self.priority = priority
        self.used = 0
        self.dirty = False
        self.fresh = False
        self.shareable = False
        self.resident: weakref.ref[Held] | None = None
        self.weak: weakref.ref[Any] | None = None
        self._first: weakref.ref[Ref[Any]] | None = None
        self._more: weakref.WeakSet[Ref[Any]] | None = None

    def attach(self, ref: Ref[Any]) -> None:
        """Lets a Ref stand for the object; the loader's lock is held."""
        # Nearly every object has one Ref, and a WeakSet costs as much as a load from the hot cache.
        if self._first is None or self._first() in (None, ref):
            self._first = weakref.ref(ref)
        else:
            if self._more is None:
                self._more = weakref.WeakSet()
            self._more.add(ref)

    def detach(self, ref: Ref[Any]) -> None:
        """The opposite of ``attach``."""
        if self._first is not None and self._first() is ref:
            self._first = None
        elif self._more is not None:
            self._more.discard(ref)

    def refs(self) -> list[Ref[Any]]:
        """The Refs that stand for the object."""
        found = [] if self._first is None else [self._first()]
        return [ref for ref in (*found, *(self._more or ())) if ref is not None]

    def let_go(self) -> Any:
        """Takes the value out and returns it; where the type allows, who still holds it can bring it back."""
        value, self.value = self.value, MISSING
        if type(value) not in PLAIN_TYPES:
            try:
                self.weak = weakref.ref(value)
            except TypeError:
                self.weak = None
        return value

    def bring_back(self) -> bool:
        """Whether somebody kept the value since it was let go; it is in place again then."""
        value = None if self.weak is None else self.weak()
        if value is None:
            return False
        self.value, self.weak = value, None
        return True

    @property
    def is_held_outside(self) -> bool:
        """Whether somebody beside the Refs holds the value: then letting it go would give no memory back."""
        value = self.value
        return type(value) not in PLAIN_TYPES and sys.getrefcount(value) > _OWN_REFERENCES


def is_shareable(value: object) -> bool:
    """Whether nobody can change the value, so that several Refs may hand out one."""
    kind = type(value)
    if kind in PLAIN_TYPES:
        return True
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        flags = value.flags  # type: ignore[attr-defined]
        base = value
        while type(getattr(base, "base", None)) is kind:
            base = base.base  # type: ignore[attr-defined]
        return not flags.writeable and type(getattr(base, "base", None)) is bytes
    return False


def size_of(value: object, guess: int) -> int:
    """Bytes that a value takes; ``guess`` where it does not say so itself."""
    if type(value) in PLAIN_TYPES:
        return sys.getsizeof(value)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes + sys.getsizeof(value, 0) - (nbytes if getattr(value, "base", None) is None else 0)
    return guess or sys.getsizeof(value, 64)


class Failure:
    """A load that raised; the next one tries again."""

    __slots__ = ("error",)
    value: Final = MISSING

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Flight:
    """A load in flight; at most one for each object.

    Attributes:
        owner: Identity of the thread that loads.
        deserted: Whether the others gave it up; what it still finds is dropped.
        error: What it raised.
        misfit: Whether that is so because the object is of another type than this Ref stated.
    """

    __slots__ = ("_latch", "deserted", "error", "misfit", "owner", "ref")
    value: Final = MISSING

    def __init__(self, ref: Ref[Any]) -> None:
        self.owner = threading.get_ident()
        self.ref = ref
        self.deserted = self.misfit = False
        self.error: BaseException | None = None
        # A bare lock: an Event is made of three objects, and most flights have nobody waiting.
        self._latch = threading.Lock()
        self._latch.acquire()

    def land(self) -> None:
        """Lets those who wait go on; once."""
        self._latch.release()

    def wait(self, seconds: float | None) -> bool:
        """Whether it landed in that time; None is for ever."""
        if not self._latch.acquire(timeout=-1 if seconds is None else max(0.0, seconds)):
            return False
        self._latch.release()
        return True


def _own_references() -> int:
    # Counted rather than known: later interpreters borrow references that earlier ones counted.
    held = Held([], None, 0, 0.0, 0.0)
    value = held.value
    return sys.getrefcount(value)


_OWN_REFERENCES: Final = _own_references()
