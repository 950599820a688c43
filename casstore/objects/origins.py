# SPDX-License-Identifier: MIT
"""Origins: from what a user names to the place and the key that stand for it. Refs to one state share one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from casstore.branches import Branch
from casstore.errors import InvalidInputError
from casstore.format.entry import OBJECT, SNAPSHOT, Entry, encode_entry
from casstore.objects.places import BranchPlace, EntryPlace, MadePlace, Place, SnapshotPlace

if TYPE_CHECKING:
    from casstore.objects.materializer import Materializer
    from casstore.store import State, Store

P = TypeVar("P", bound=Place)


def place_and_key(
    home: Materializer, target: Any, key: str | None, expected: type[Any] | None, size_bytes: int
) -> tuple[Place, Any]:
    """What a Ref is made of; see ``Materializer.register``."""
    loader = home._loader
    if isinstance(target, Entry):
        return entry_place(home, target, expected)
    if callable(target) and key is None:
        kept = ("made", expected, size_bytes)
        return _place(home, kept, lambda: MadePlace(home, loader, expected, size_bytes)), target
    if not isinstance(key, str):
        raise InvalidInputError(f"{key!r} is no key; give a state and the key of an object in it.")
    return place_of(home, target, expected), key


def entry_place(home: Materializer, entry: Entry, expected: type[Any] | None = None) -> tuple[EntryPlace, bytes]:
    """The place and the key of an entry, which is kept from the collector until somebody releases the key.

    Raises:
        InvalidInputError: It is no entry of an object or a snapshot.
        NotFoundError: The store does not have what it refers to.
    """
    store = _store(home)
    encode_entry(entry)
    if entry.kind not in (OBJECT, SNAPSHOT):
        raise InvalidInputError(f"an entry of kind {entry.kind} is no object; register one of kind {OBJECT}.")
    pattern = entry._replace(size=0, address=None, inline=None)
    inline = entry.address is None
    kept = ("entry", pattern, inline, expected)
    place = _place(home, kept, lambda: EntryPlace(home, home._loader, expected, store, pattern, inline))
    key: bytes = (entry.inline if entry.address is None else entry.address) or b""
    place.hold(key)
    return place, key


def place_of(
    home: Materializer, state: State | Branch, expected: type[Any] | None = None
) -> SnapshotPlace | BranchPlace:
    """What the Refs to a state share.

    Raises:
        NotFoundError: Nothing has that name.
        InvalidInputError: The materializer has no store, or the branch is one of another store.
    """
    store, loader = _store(home), home._loader
    if isinstance(state, Branch):
        branch = state
        if branch._context is not store.branches:
            raise InvalidInputError("the branch belongs to another opened store; import its state first.")
        # The place keeps the branch, so no other one gets its identity.
        return _place(
            home, ("branch", id(branch), expected), lambda: BranchPlace(home, loader, expected, store, branch)
        )
    snapshot = store.resolve(state)
    kept = (snapshot.id, expected)
    return _place(home, kept, lambda: SnapshotPlace(home, loader, expected, store, snapshot))


def _place(home: Materializer, kept: tuple[object, ...], make: Callable[[], P]) -> P:
    with home.places_lock:
        found = home.places.get(kept)
        if found is None:
            found = home.places[kept] = make()
        return found  # type: ignore[return-value]


def _store(home: Materializer) -> Store:
    if home.store is None:
        raise InvalidInputError("this materializer has no store; make it with one to load what a store holds.")
    return home.store
