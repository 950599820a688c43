# SPDX-License-Identifier: MIT
"""Saving what a Ref holds: to the branch it came from, to another branch, or to the store as an entry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casstore.branches import Branch
from casstore.errors import InvalidInputError
from casstore.format.entry import INLINE_BYTES, Entry, object_entry
from casstore.objects.origins import entry_place, place_of
from casstore.objects.places import BranchPlace, EntryPlace, StatePlace

if TYPE_CHECKING:
    from casstore.objects.ref import Ref


def save(ref: Ref[Any], to: Branch | None, key: str | None) -> Entry:
    """See ``Ref.save``."""
    place = ref._place
    value = ref.get()
    if to is None and isinstance(place, BranchPlace):
        to = place.branch
    if to is not None:
        if not isinstance(to, Branch):
            raise InvalidInputError(f"{to!r} is no branch; give what store.branch(…) returned.")
        known = ref._key if isinstance(place, StatePlace) else None
        name = known if key is None else key
        if name is None:
            raise InvalidInputError("the object has no key yet; give one as `save(branch, key)`.")
        to.objects[name] = value
        before = ref._key
        ref._move(place_of(place.home, to, place.expected), name)
        place.release(before)
        place.loader.saved(ref, None, value)
        return to.objects.entry(name)
    if not isinstance(place, EntryPlace):
        raise InvalidInputError(
            f"{place.name(ref._key)} came from what never changes; say where to with `save(branch)`, or `discard` it."
        )
    store = place.store
    type_id, version, data = store.branches.codecs.encode(value)
    with store.storage.operation():
        if len(data) <= INLINE_BYTES:
            entry = object_entry(type_id, version, len(data), None, data)
        else:
            entry = object_entry(type_id, version, len(data), store.put(data))
        before = ref._key
        ref._move(*entry_place(place.home, entry, place.expected))
    place.release(before)
    place.loader.saved(ref, entry, value)
    return entry
