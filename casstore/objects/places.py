# SPDX-License-Identifier: MIT
"""Places: where the objects of Refs come from. Refs to one state share one place, so that each of them stays small.

A place of a snapshot or of an entry keeps it from the collector; a place lives as long as its Refs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from casstore.address import Address
from casstore.branches import Branch
from casstore.codecs.members import MEMBERS_TYPE
from casstore.errors import CasstoreError, FactoryError, InvalidInputError, NotFoundError
from casstore.format.entry import OBJECT, SNAPSHOT, Entry
from casstore.format.kinds import CHUNK, CHUNK_LIST
from casstore.objects.admission import check_priority

if TYPE_CHECKING:
    from casstore.objects.loading import Loader
    from casstore.objects.materializer import Materializer
    from casstore.snapshots import Snapshot
    from casstore.store import Store

Weigher = Callable[[Address], float]
"""From a snapshot's or a state's id to how likely it is to be needed; ``StateTree.weigher()`` gives one."""


def reached_by(weigh: Weigher, states: Iterable[Address]) -> Callable[[], float]:
    """A priority: the sum of the weights of the states that reach an object, as they are when it is asked.

    Args:
        weigh: For example ``tree.weigher()``.
        states: Ids of snapshots or states, 32 bytes each.
    """
    ids = tuple(dict.fromkeys(states))
    return lambda: sum(map(weigh, ids))


class Place:
    """What Refs of one origin have in common.

    Attributes:
        home: The materializer.
        loader: Its loader; a hit looks at its clock.
        expected: The type that values must have, or None.
        packs: Whether keys that are bytes are packed ones.
    """

    __slots__ = ("__weakref__", "expected", "home", "loader")
    packs: ClassVar[bool] = False

    def __init__(self, home: Materializer, loader: Loader, expected: type | None) -> None:
        self.home = home
        self.loader = loader
        self.expected = expected

    def pack(self, key: Any) -> Any:
        """A key as a Ref keeps it."""
        return key

    def release(self, key: Any) -> None:
        """Called when an ``EntryRef`` dies, or stands for another object; safe in ``__del__``."""

    def find(self, key: Any) -> Entry | None:
        """What the object is read from; equal entries have equal values. None where that can change.

        Raises:
            NotFoundError: It is not there, or not any more.
        """
        raise NotImplementedError

    def read(self, key: Any, entry: Entry | None) -> Any:
        """The value, fresh or immutable.

        Raises:
            CasstoreError: It cannot be read.
        """
        raise NotImplementedError

    def estimate(self, key: Any, entry: Entry | None) -> int:
        """Bytes that the value will take; 0 where nothing is known."""
        return 0

    def weight(self, key: Any) -> float:
        """Priority of a Ref that was given none."""
        return 0.0

    def origin(self, key: Any) -> object:
        """Equal where the weight of two Refs is that of the same nodes."""
        return self

    def name(self, key: Any) -> str:
        """What messages call the object."""
        return repr(key)

    def fits(self, value: Any) -> bool:
        """Whether the value is of the type that was stated."""
        return self.expected is None or isinstance(value, self.expected)

    def check(self, value: Any, key: Any) -> None:
        """Raises where the value is of another type than was stated."""
        if self.expected is not None and not isinstance(value, self.expected):
            raise FactoryError(
                f"{self.name(key)} is {type(value).__qualname__}, and was registered as {self.expected.__qualname__}; "
                "register it with the type that its factory gives."
            )


class StoredPlace(Place):
    """What a store holds."""

    __slots__ = ("_codecs", "store")

    def __init__(self, home: Materializer, loader: Loader, expected: type | None, store: Store) -> None:
        super().__init__(home, loader, expected)
        self.store = store
        self._codecs = store.branches.codecs

    def read(self, key: Any, entry: Entry | None) -> Any:
        if entry is None:
            raise InvalidInputError(f"{self.name(key)} has no entry; register what it is read from.")
        if entry.kind == SNAPSHOT:
            return entry.address
        if entry.inline is not None or entry.address is None:
            data = entry.inline or b""
        else:
            data = self.store.storage.get(entry.address)
        return self._codecs.decode(entry.type_id, entry.type_version, data)

    def estimate(self, key: Any, entry: Entry | None) -> int:
        if entry is None or entry.kind != OBJECT:
            return 0
        self._codecs.check_size(entry)
        return self._codecs.estimate_size(entry)


class EntryPlace(StoredPlace):
    """Entries of one type; a Ref's key is what they differ in, the address or the inline bytes, and it pins that."""

    __slots__ = ("_inline", "_pattern", "_what")

    def __init__(
        self, home: Materializer, loader: Loader, expected: type | None, store: Store, pattern: Entry, inline: bool
    ) -> None:
        super().__init__(home, loader, expected, store)
        self._pattern = pattern
        self._inline = inline
        self._what = "snapshot" if pattern.kind == SNAPSHOT else "content"

    def find(self, key: Any) -> Entry | None:
        if self._inline:
            return self._pattern._replace(size=len(key), inline=key)
        size = 0 if self._pattern.kind == SNAPSHOT else self.store.storage.content_size(key)
        return self._pattern._replace(size=size, address=key)

    def hold(self, key: Any) -> None:
        """Keeps what the key refers to from the collector, until ``release``.

        Raises:
            NotFoundError: The store does not have it.
        """
        if self._inline:
            return
        # The pin comes before the look: a sweep that has decided by now learns of the hit, or the hit fails.
        self.store.storage.pins.add(self._what, key)
        backend = self.store.storage.backend
        found = backend.find(key)
        wanted = (CHUNK, CHUNK_LIST) if self._pattern.kind == OBJECT else None
        if found is None or not backend.hit(key, found) or (wanted and found.kind not in wanted):
            self.release(key)
            raise NotFoundError(f"nothing has the address {key.hex()}; put the content first.", address=key)

    def release(self, key: Any) -> None:
        if not self._inline:
            self.store.storage.pins.drop(self._what, key)

    def name(self, key: Any) -> str:
        words = f"of {len(key)} bytes" if self._inline else f"at {key.hex()[:12]}"
        return f"the entry {words} of type {self._pattern.type_id!r}"


class StatePlace(StoredPlace):
    """Objects of a state; a Ref's key is theirs, packed."""

    __slots__ = ("_objects",)
    packs = True

    def __init__(self, home: Materializer, loader: Loader, expected: type | None, store: Store, state: Branch) -> None:
        super().__init__(home, loader, expected, store)
        self._objects = state.objects

    @property
    def state(self) -> Snapshot | Branch:
        """The state."""
        raise NotImplementedError

    def pack(self, key: Any) -> Any:
        # A third less; other letters take as much either way. ``Ref`` unpacks it.
        return key.encode() if type(key) is str and key.isascii() else key

    def read(self, key: Any, entry: Entry | None) -> Any:
        return self._objects[key] if entry is None else super().read(key, entry)

    def weight(self, key: Any) -> float:
        search = self.home.search
        return search.weight(self._objects, key) if search.reaches else 0.0

    def origin(self, key: Any) -> object:
        return key

    def keys(self, prefix: str) -> Iterable[str]:
        """Keys that begin with ``prefix``, in order."""
        return self._objects.list(prefix)

    def name(self, key: Any) -> str:
        return f"object {key!r}"


class SnapshotPlace(StatePlace):
    """Objects of a snapshot."""

    __slots__ = ("snapshot",)

    def __init__(
        self, home: Materializer, loader: Loader, expected: type | None, store: Store, snapshot: Snapshot
    ) -> None:
        super().__init__(home, loader, expected, store, store.branch(snapshot))
        self.snapshot = snapshot

    @property
    def state(self) -> Snapshot | Branch:
        return self.snapshot

    def find(self, key: Any) -> Entry | None:
        entry = self._objects.entry(key)
        # The markers of all Members are equal, and what stands below them is not.
        return None if entry.type_id == MEMBERS_TYPE else entry

    def weight(self, key: Any) -> float:
        weigh = self.home.weigh
        if weigh is None or self.home.search.reaches:
            return StatePlace.weight(self, key)
        return check_priority(weigh(self.snapshot.id))

    def origin(self, key: Any) -> object:
        return key if self.home.weigh is None or self.home.search.reaches else self.snapshot.id


class BranchPlace(StatePlace):
    """Objects of a branch, as they are when they are loaded."""

    __slots__ = ("branch",)

    def __init__(self, home: Materializer, loader: Loader, expected: type | None, store: Store, branch: Branch) -> None:
        super().__init__(home, loader, expected, store, branch)
        self.branch = branch

    @property
    def state(self) -> Snapshot | Branch:
        return self.branch

    def find(self, key: Any) -> Entry | None:
        found = self._objects.settled(key)
        # Of what waits in memory the address costs as much as reading it.
        return None if found is None or found.type_id == MEMBERS_TYPE else found

    def estimate(self, key: Any, entry: Entry | None) -> int:
        return super().estimate(key, self._objects.entry(key) if entry is None else entry)


class MadePlace(Place):
    """Objects that functions make; a Ref's key is the function, without arguments."""

    __slots__ = ("size_bytes",)

    def __init__(self, home: Materializer, loader: Loader, expected: type | None, size_bytes: int) -> None:
        super().__init__(home, loader, expected)
        self.size_bytes = size_bytes

    def find(self, key: Any) -> Entry | None:
        return None

    def read(self, key: Any, entry: Entry | None) -> Any:
        try:
            return key()
        except (CasstoreError, MemoryError):
            raise
        except Exception as error:
            raise FactoryError(f"{self.name(key)} failed: {error!r}; mend it, and load again.") from error

    def estimate(self, key: Any, entry: Entry | None) -> int:
        return self.size_bytes

    def name(self, key: Any) -> str:
        return f"the function {getattr(key, '__qualname__', key)!s}"
