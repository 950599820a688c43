# SPDX-License-Identifier: MIT
"""How the changed fields of a document get to a branch: all of them or none, and never over somebody else's change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from casstore.address import content_address
from casstore.branches.delta import ancestors
from casstore.codecs.documents import HEADER, headed_by, header_of, is_part
from casstore.errors import CasstoreError, ConflictError
from casstore.format.entry import INLINE_BYTES, Entry, object_entry
from casstore.objects.document_fields import block_key

if TYPE_CHECKING:
    from casstore.branches import Branch

JOIN_BYTES: Final = 2048
"""A growing list's last block that is shorter, encoded, is written again with what was appended. Fewer blocks make
smaller tree nodes: 200 saves of 1.3 kB each stored 646 kB without it, 603 kB so, 627 kB with 4096, 764 kB with 8192."""

Parts = dict[str, dict[str, Entry]]
"""Field → parts of keys → entries, as ``stored_at`` gives them."""


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What a save did.

    Attributes:
        key: The document's.
        written: Fields that were written, in the order of their keys; not those that the branch held so already.
        deleted: Fields of which something was deleted.
        written_bytes: Bytes of the encoded values that were written, before compression.
    """

    key: str
    written: tuple[str, ...]
    deleted: tuple[str, ...]
    written_bytes: int


def blocks(
    field: str,
    values: Sequence[Any],
    starts: Sequence[int],
    stored: int,
    changed: Sequence[int] | None,
    *,
    join: bool = False,
) -> tuple[dict[str, list[Any]], list[int]]:
    """The blocks of a growing field that are to be written, and where all its blocks start then.

    Args:
        field: Its name.
        values: Its elements.
        starts: Where the blocks start that are stored, sorted.
        stored: The number of elements in them.
        changed: Indexes of elements that are no longer as they are stored, sorted; None for all.
        join: Write what was appended into the last block, as that is short.
    """
    length = len(values)
    if not length:
        return {block_key(field, 0): []}, [0]
    kept = [start for start in starts if start < min(length, stored)]
    touched = set(range(len(kept)))
    if changed is not None and kept:
        touched = {bisect_right(kept, place) - 1 for place in changed if place < min(length, stored)}
        if length < stored:
            touched.add(len(kept) - 1)
    ends = [*kept[1:], min(length, stored)]
    tail = stored if kept else 0
    if join and kept and length > tail:
        touched.add(len(kept) - 1)
        ends[-1] = tail = length
    found = {block_key(field, kept[at]): list(values[kept[at] : ends[at]]) for at in sorted(touched)}
    if length > tail:
        found[block_key(field, tail)] = list(values[tail:])
        kept.append(tail)
    return found, kept


def encode(branch: Branch, field: str, value: Any) -> tuple[Entry, bytes]:
    """A value as an entry with its content.

    Raises:
        FactoryError: No factory takes it.
        InvalidInputError: It cannot be encoded.
    """
    try:
        type_id, version, data = branch._context.codecs.encode(value)
    except CasstoreError as error:
        name, _, start = field.partition("/@")
        block = f" (its elements from {int(start)} on)" if start else ""
        raise type(error)(f"the field {name!r} cannot be saved{block}: {error.message}") from error
    size = len(data)
    if size <= INLINE_BYTES:
        return object_entry(type_id, version, size, None, data), data
    return object_entry(type_id, version, size, content_address(data)), data


def write(
    branch: Branch,
    key: str,
    values: Mapping[str, Any],
    drops: Sequence[str],
    known: Mapping[str, Entry],
    *,
    overwrite: bool,
    replace: bool = False,
) -> tuple[dict[str, Entry], SaveReport]:
    """Writes parts of a document; the entries that the branch has for ``values`` then, and what was done.

    Args:
        branch: Where to.
        key: The document's.
        values: Part of a key → value.
        drops: Parts of keys to delete, if they are there.
        known: The entries that the branch had when it was last looked at; a part that it lacks was not there.
        overwrite: Write also over entries that are others by now.
        replace: Take away everything else at and below the key.

    Raises:
        ConflictError: Somebody else changed one of these parts since, or something stands there that is no part of this
            document. Nothing was written.
        FactoryError: No factory takes a value. Nothing was written.
    """
    encoded = {part: encode(branch, part, value) for part, value in values.items()}
    # Writers to a branch hold this lock, so nothing gets between the look and the write.
    with branch._lock():
        objects = branch.objects
        before = branch._current()
        if not replace:
            _check_place(branch, key, encoded, overwrite=overwrite)
        changed: list[str] = []
        deleted: list[str] = []
        conflicts = []
        for part in (*encoded, *drops):
            place = f"{key}/{part}"
            now = objects.entry(place) if place in objects else None
            wanted = encoded[part][0] if part in encoded else None
            if now == wanted:
                continue
            if now != known.get(part):
                conflicts.append(part)
            (deleted if wanted is None else changed).append(part)
        if conflicts and not (overwrite or replace):
            raise ConflictError(
                f"{', '.join(conflicts)} of {key!r} changed on the branch since this document was loaded or saved; "
                "load it again and repeat the change, or save with overwrite=True.",
                path=key,
            )
        try:
            if replace:
                objects.delete_prefix(key + "/")
                if key in objects:
                    del objects[key]
            for part in encoded if replace else changed:
                entry, data = encoded[part]
                objects.set_entry(f"{key}/{part}", entry, data)
            for part in () if replace else deleted:
                del objects[f"{key}/{part}"]
        except BaseException:
            # A branch's state is one immutable tuple, so that putting the old one back undoes all of it.
            branch._state = before
            raise
    written_bytes = sum(len(encoded[part][1]) for part in changed)
    report = SaveReport(key, _fields(changed), _fields(deleted), written_bytes)
    return {part: entry for part, (entry, _) in encoded.items()}, report


def _check_place(branch: Branch, key: str, parts: Collection[str], *, overwrite: bool) -> None:
    """Refuses to write where something else stands: it would be taken for a part of the document, or be hidden by it.

    *Cost*: a look-up for each part; where there is no document yet, a listing of what lies below the key.
    """
    objects = branch.objects
    way_out = "delete that first, choose another key, or save with replace=True, which takes all of it away."
    if header_of(key) not in objects:
        if not parts:
            return
        if HEADER not in parts:
            raise ConflictError(
                f"the document {key!r} was deleted from the branch since it was loaded or saved; save with "
                "overwrite=True to write all of it again.",
                path=key,
            )
        if key in objects:
            raise ConflictError(f"{key!r} holds a value that is no document; {way_out}", path=key)
        # Over a document of its own that others deleted: what lies further down was no part of it.
        names = [name for name in objects.list(key + "/") if not overwrite or is_part(name[len(key) + 1 :])]
        others = {other for name in names if (other := headed_by(name)) is not None}
        for name in names:
            if not others or not any(folder in others for folder in ancestors(name)):
                raise ConflictError(f"{name!r} lies below {key!r} and is part of no document; {way_out}", path=name)
    for part in parts:
        if header_of(place := f"{key}/{part}") in objects:
            raise ConflictError(f"{place!r} holds a document, and would be a field of {key!r}; {way_out}", path=place)


def _fields(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.partition("/")[0] for part in sorted(parts) if not part.startswith("@")))
