# SPDX-License-Identifier: MIT
"""Places: where the objects of Refs come from. Refs to one state share one place, so that each of them stays small.

A place of a snapshot or of an entry keeps it from the collector; a place lives as long as its Refs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from casstore.address import Address
from casstore.branches import Branch
from casstore.codecs.members import MEMBERS_TYPE
from casstore.errors import CasstoreError, FactoryError, InvalidInputError, NotFoundError
from casstore.format.entry import OBJECT, SNAPSHOT, Entry, encode_entry
from casstore.format.kinds import CHUNK, CHUNK_LIST
from casstore.objects.admission import check_priority

if TYPE_CHECKING:
    from casstore.objects.loading import Loader
    from casstore.objects.materializer import Materializer
    from casstore.snapshots import Snapshot
    from casstore.storage import PinHandle
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
    """

    __slots__ = ("__weakref__", "expected", "home", "loader")

    def __init__(self, home: Materializer, loader: Loader, expected: type | None) -> None:
        self.home = home
        self.loader = loader
        self.expected = expected

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

    def weight(self) -> float:
        """Priority of a Ref that was given none."""
        return 0.0

    def name(self, key: Any) -> str:
        """What messages call the object."""
        return repr(key)

    def check(self, value: Any, key: Any) -> None:
        """Raises where the value is of another type than was stated."""
        if self.expected is not None and not isinstance(value, self.expected):
            raise FactoryError(
                f"{self.name(key)} is {type(value).__qualname__}, and was registered as {self.expected.__qualname__}; "
                "register it with the type that its factory gives."
            )


class StoredPlace(Place):
    """Entries of a store; a Ref's key is a ``Pinned``."""

    __slots__ = ("_codecs", "store")

    def __init__(self, home: Materializer, loader: Loader, expected: type | None, store: Store) -> None:
        super().__init__(home, loader, expected)
        self.store = store
        self._codecs = store.branches.codecs

    def find(self, key: Any) -> Entry | None:
        entry: Entry = key.entry
        return entry

    def read(self, key: Any, entry: Entry | None) -> Any:
        if entry is None:
            raise NotFoundError(f"{self.name(key)} is not there any more; register what took its place.")
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

    def name(self, key: Any) -> str:
        entry: Entry = key.entry
        return f"the entry of {entry.size} bytes of type {entry.type_id!r}"


class SnapshotPlace(StoredPlace):
    """Objects of a snapshot; a Ref's key is theirs."""

    __slots__ = ("_objects", "snapshot")

    def __init__(
        self, home: Materializer, loader: Loader, expected: type | None, store: Store, snapshot: Snapshot
    ) -> None:
        super().__init__(home, loader, expected, store)
        self.snapshot = snapshot
        self._objects = store.branch(snapshot).objects

    def find(self, key: Any) -> Entry | None:
        entry = self._objects.entry(key)
        # The markers of all Members are equal, and what stands below them is not.
        return None if entry.type_id == MEMBERS_TYPE else entry

    def read(self, key: Any, entry: Entry | None) -> Any:
        return self._objects[key] if entry is None else super().read(key, entry)

    def weight(self) -> float:
        weigh = self.home.weigh
        return 0.0 if weigh is None else check_priority(weigh(self.snapshot.id))

    def keys(self, prefix: str) -> Iterable[str]:
        """Keys that begin with ``prefix``, in order."""
        return self._objects.list(prefix)

    def name(self, key: Any) -> str:
        return f"object {key!r}"


class BranchPlace(Place):
    """Objects of a branch, as they are when they are loaded; a Ref's key is theirs."""

    __slots__ = ("branch",)

    def __init__(self, home: Materializer, loader: Loader, expected: type | None, branch: Branch) -> None:
        super().__init__(home, loader, expected)
        self.branch = branch

    def find(self, key: Any) -> Entry | None:
        # What is found now may be replaced before it is read, so nobody may share by it.
        return None

    def read(self, key: Any, entry: Entry | None) -> Any:
        return self.branch.objects[key]

    def estimate(self, key: Any, entry: Entry | None) -> int:
        found = self.branch.objects.entry(key)
        return 0 if found.kind != OBJECT else self.branch._context.codecs.estimate_size(found)

    def keys(self, prefix: str) -> Iterable[str]:
        """Keys that begin with ``prefix``, in order."""
        return self.branch.objects.list(prefix)

    def name(self, key: Any) -> str:
        return f"object {key!r}"


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


class Pinned:
    """An entry that the collector does not touch while this lives."""

    __slots__ = ("_pin", "entry")

    def __init__(self, entry: Entry, pin: PinHandle | None) -> None:
        self.entry = entry
        self._pin = pin


def pinned(store: Store, entry: Entry) -> Pinned:
    """The entry, its content kept from the collector.

    Raises:
        InvalidInputError: It is no entry of an object or a snapshot.
        NotFoundError: The store does not have what it refers to.
    """
    encode_entry(entry)
    if entry.kind not in (OBJECT, SNAPSHOT):
        raise InvalidInputError(f"an entry of kind {entry.kind} is no object; register one of kind {OBJECT}.")
    address = entry.address
    if address is None:
        return Pinned(entry, None)
    # The pin comes before the look: a sweep that has decided by now learns of the hit, or the hit fails.
    pin = store.storage.pin("snapshot" if entry.kind == SNAPSHOT else "content", address)
    found = store.storage.backend.find(address)
    wanted = (CHUNK, CHUNK_LIST) if entry.kind == OBJECT else None
    if found is None or not store.storage.backend.hit(address, found) or (wanted and found.kind not in wanted):
        raise NotFoundError(f"nothing has the address {address.hex()}; put the content first.", address=address)
    return Pinned(entry, pin)
