# SPDX-License-Identifier: MIT
"""Documents as wholes: for ``cat``, and for ``diff``, which shows one line of keys for all parts of a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from casstore.format.snapshot import OBJECTS

from .names import display_key, json_name, key_bytes, key_text
from .places import Place
from .session import Call
from .units import format_count, format_size

if TYPE_CHECKING:
    from casstore import Change, Store
    from casstore.codecs.describe import DescribedChange
    from casstore.format.entry import Entry
    from casstore.tree import Root

Parts = dict[str, "Entry"]


class DocumentChange(NamedTuple):
    """A document that differs: what stands in ``diff`` for the changes of its parts.

    Attributes:
        key: Root and key, as ``"objects/agents/one"``.
        old: Its parts before; None where there was no such document.
        new: Its parts now; None where there is none.
    """

    key: str
    old: Parts | None
    new: Parts | None

    @property
    def letter(self) -> str:
        """``A`` added, ``M`` modified, ``D`` deleted."""
        return "A" if self.old is None else "D" if self.new is None else "M"


def document_parts(store: Store, root: Root, path: str) -> Parts | None:
    """The parts of the document at a path of the objects; None where there is none.

    *Cost*: a look-up; of a document, a listing of what lies below it.
    """
    from casstore.codecs.describe_documents import parts_of
    from casstore.codecs.documents import header_of
    from casstore.tree import lookup, scan

    if not path or lookup(store.nodes, root, key_bytes(header_of(path))) is None:
        return None
    prefix = key_bytes(path) + b"/"
    return parts_of((key_text(key[len(prefix) :]), entry) for key, entry in scan(store.nodes, root, prefix=prefix))


def with_documents(
    store: Store, changes: Iterator[Change], roots: tuple[Root, Root], within: str
) -> Iterator[Change | DocumentChange]:
    """The changes, with one in place of all those of parts of a document, where the first of these stands.

    Args:
        store: Whose.
        changes: What differs between two states, in key order.
        roots: The objects of both.
        within: What the comparison is restricted to; a part of a document that is asked for stands for itself.
    """
    from casstore.codecs.documents import document_of

    known: dict[str, DocumentChange | None] = {}
    for change in changes:
        root, _, name = change.key.partition("/")
        path = document_of(name) if root == OBJECTS else None
        key = f"{OBJECTS}/{path}"
        if path is None or (within and key != within and not key.startswith(f"{within}/")):
            yield change
            continue
        if path not in known:
            old, new = (document_parts(store, one, path) for one in roots)
            found = known[path] = None if old is None and new is None else DocumentChange(key, old, new)
            if found is not None:
                yield found
        document = known[path]
        # What was no part of a document before, or is none now, is not told by adding or deleting that.
        if document is None or (document.letter not in ("M", change.letter)):
            yield change


def document_json(parts: Parts | None) -> dict[str, Any] | None:
    """A document in place of an entry, as JSON."""
    if parts is None:
        return None
    name, version = _type_of(parts)
    return {"kind": "document", "size": _size(parts), "type_id": name, "type_version": version, "parts": len(parts)}


def document_fields(store: Store, change: DocumentChange, limit: int | None) -> Iterator[DescribedChange]:
    """What differs between the two states of a document that is in both."""
    from casstore.codecs.describe_documents import document_changes

    from .fields import content_of, limits_for

    if change.old is None or change.new is None:
        return iter(())
    return document_changes(
        change.old, change.new, lambda entry: content_of(store, entry), limits_for(limit), max_bytes=limit
    )


def print_document(call: Call, store: Store, place: Place, parts: Parts, *, limit: int | None, show_all: bool) -> None:
    """Prints what a document is and its fields.

    Raises:
        casstore.CorruptionError: A part is damaged.
        casstore.FactoryError: A part is larger than the limit.
    """
    from casstore.codecs.describe_documents import assemble
    from casstore.codecs.describe_json import JsonValues
    from casstore.codecs.describe_outline import outline
    from casstore.codecs.describe_text import type_text

    from .fields import content_of, line_width
    from .objects import MAX_JSON_VALUE_BYTES
    from .views import MAX_LISTED

    document = assemble(parts, lambda entry: content_of(store, entry), max_bytes=limit)
    if call.out.as_json:
        values = JsonValues(None if show_all else MAX_JSON_VALUE_BYTES)
        value = values.value(document.plain)
        shown = {**json_name("key", place.key), "entry": document_json(parts)}
        call.out.json(**shown, value=value, truncated=values.truncated)
        return
    words = type_text(document.type_id, document.version)
    call.out.line(f"{display_key(place.key)}: {words}, {format_count(len(parts), 'key')}, {format_size(_size(parts))}")
    if document.plain:
        for line in outline(document.plain, width=line_width(False) or 0, most=None if show_all else MAX_LISTED):
            call.out.line(line)


def _type_of(parts: Parts) -> tuple[str, int]:
    from casstore.codecs.describe_documents import type_name

    return type_name(parts)


def _size(parts: Parts) -> int:
    return sum(entry.size for entry in parts.values())
