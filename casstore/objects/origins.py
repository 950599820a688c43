# SPDX-License-Identifier: MIT
"""Origins: from what a user names to the place and the key that stand for it. Refs to one state share one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from casstore.branches import Branch
from casstore.errors import InvalidInputError
from casstore.format.entry import Entry
from casstore.objects.places import BranchPlace, MadePlace, Place, SnapshotPlace, StoredPlace, pinned

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
        store = _store(home)
        own = pinned(store, target)
        return _place(home, ("entry", expected), lambda: StoredPlace(home, loader, expected, store)), own
    if callable(target) and key is None:
        kept = ("made", expected, size_bytes)
        return _place(home, kept, lambda: MadePlace(home, loader, expected, size_bytes)), target
    if not isinstance(key, str):
        raise InvalidInputError(f"{key!r} is no key; give a state and the key of an object in it.")
    return place_of(home, target, expected), key


def place_of(
    home: Materializer, state: State | Branch, expected: type[Any] | None = None
) -> SnapshotPlace | BranchPlace:
    """What the Refs to a state share.

    Raises:
        NotFoundError: Nothing has that name.
        InvalidInputError: The materializer has no store, or the branch is one of another store.
    """
    store = _store(home)
    if isinstance(state, Branch):
        branch = state
        if branch._context is not store.branches:
            raise InvalidInputError("the branch belongs to another opened store; import its state first.")
        # The place keeps the branch, so no other one gets its identity.
        return _place(home, ("branch", id(branch), expected), lambda: BranchPlace(home, home._loader, expected, branch))
    snapshot = store.resolve(state)
    kept = (snapshot.id, expected)
    return _place(home, kept, lambda: SnapshotPlace(home, home._loader, expected, store, snapshot))


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
