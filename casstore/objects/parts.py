# SPDX-License-Identifier: MIT
"""Parts of objects: a slice of an array, read without the rest where its codec can do that."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from casstore.errors import CasstoreError, InvalidInputError
from casstore.objects.held import MISSING
from casstore.objects.places import BranchPlace, StoredPlace

if TYPE_CHECKING:
    from casstore.objects.ref import Ref


def part_of(ref: Ref[Any], part: Any) -> Any:
    """See ``Materializer.slice``."""
    place = ref._place
    held = ref._held
    view = None
    if (held is None or held.value is MISSING) and isinstance(place, StoredPlace):
        view = _view(place, ref._key)
    try:
        if view is not None:
            with contextlib.closing(view):
                return view[part]
        return ref.get()[part]
    except CasstoreError:
        raise
    except (TypeError, LookupError, ValueError) as error:
        raise InvalidInputError(f"{place.name(ref._key)} has no part {part!r}: {error}.") from error


def _view(place: StoredPlace, key: Any) -> Any | None:
    """What the codec opens; None where it opens nothing, or the content is still in memory only."""
    entry = place.branch.objects.entry(key) if isinstance(place, BranchPlace) else place.find(key)
    store = place.home.store
    if entry is None or store is None:
        return None
    codecs = store.branches.codecs
    if not hasattr(codecs.factory_for(entry.type_id, entry.type_version), "open"):
        return None
    if entry.inline is not None:
        content: Any = io.BytesIO(entry.inline)
    elif entry.address is None or (isinstance(place, BranchPlace) and entry.address not in store):
        return None
    else:
        content = store.open_content(entry.address)
    try:
        return codecs.open(entry.type_id, entry.type_version, content)
    except BaseException:
        content.close()
        raise
