# SPDX-License-Identifier: MIT
"""What the keys of a document say without its class: where it stands, and which keys belong to it.

::

    KEY/@document             {"type": type id, "version": version of the class}
    KEY/FIELD                 the value of a field
    KEY/FIELD/@0000000040     of a growing field: the elements from the 40th on, up to the next block

The header marks ``KEY`` as that of a document, as the marker of a ``Members`` does. Keys further down belong to other
documents.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from casstore.errors import InvalidInputError
from casstore.format.canonical import parse_canonical_json
from casstore.format.entry import Entry

HEADER: Final = "@document"
_BELOW: Final = "/" + HEADER
_is_block: Final = re.compile(r"@\d{10}", re.ASCII).fullmatch


class DocumentType(NamedTuple):
    """What a header says; an empty name where it cannot be read."""

    name: str
    version: int


def header_of(key: str) -> str:
    """The key of the header of a document at ``key``."""
    return key + _BELOW


def headed_by(name: str) -> str | None:
    """The key of the document that ``name`` is the header of; None where it is none."""
    return name[: -len(_BELOW)] if name.endswith(_BELOW) and len(name) > len(_BELOW) else None


def is_part(rest: str) -> bool:
    """Whether what follows ``KEY/`` in a key is the header, a field, or a block of one: not what lies further down."""
    _, slash, block = rest.partition("/")
    return not slash or _is_block(block) is not None


def document_of(name: str) -> str | None:
    """The key of the document that ``name`` belongs to, if to any: its folder, or that of the field of a block."""
    folder, slash, last = name.rpartition("/")
    if slash and _is_block(last):
        folder, slash, _ = folder.rpartition("/")
    return folder if slash else None


def document_type(entry: Entry) -> DocumentType:
    """The type that a header names, from its entry alone: a header of more than 127 bytes stays without a name."""
    try:
        found = parse_canonical_json(entry.inline or b"null") if entry.type_id == "json" else None
    except InvalidInputError:
        found = None
    name, version = (found.get("type"), found.get("version")) if isinstance(found, dict) else (None, None)
    if type(name) is not str or type(version) is not int or version < 0:
        return DocumentType("", 0)
    return DocumentType(name, version)
