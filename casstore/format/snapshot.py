# SPDX-License-Identifier: MIT
"""A snapshot: the roots of one state, where it came from, and what its maker said about it.

Canonical JSON (canonical.py), an object of exactly these members::

    {"message": text, "meta": {…}, "parents": [hex id, …], "roots": {name: hex root, …}, "time_ns": number,
     "version": 1}

``id`` is the keyed BLAKE3 ("casstore v1 snapshot") of these bytes. ``state_id`` is the keyed BLAKE3 ("casstore v1
state") of the canonical JSON of the roots ``files`` and ``objects`` alone; an empty root is left out of both tables, so
it equals an absent one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from casstore.address import Address, hex_address, state_address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.canonical import JsonValue, canonical_json, parse_canonical_json

VERSION: Final = 1
FILES: Final = "files"
OBJECTS: Final = "objects"
POSIX: Final = "posix"
ROOT_NAMES: Final = (FILES, OBJECTS, POSIX)
STATE_ROOTS: Final = (FILES, OBJECTS)
MAX_PARENTS: Final = 1024
MAX_SNAPSHOT_BYTES: Final = 4 * 1024 * 1024

_MEMBERS: Final = {"message", "meta", "parents", "roots", "time_ns", "version"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFields:
    """What a snapshot says. ``roots`` maps names to 32-byte addresses, ``time_ns`` is since 1970."""

    roots: Mapping[str, Address]
    parents: tuple[Address, ...]
    message: str
    meta: Mapping[str, JsonValue]
    time_ns: int


def encode_snapshot(fields: SnapshotFields) -> bytes:
    """The snapshot's bytes.

    Raises:
        InvalidInputError: A field has the wrong type, or the whole is larger than 4 MiB.
    """
    unknown = set(fields.roots) - set(ROOT_NAMES)
    if unknown:
        raise InvalidInputError(f"a snapshot has no root {sorted(unknown)[0]!r}; use {', '.join(ROOT_NAMES)}.")
    if len(fields.parents) > MAX_PARENTS:
        raise InvalidInputError(f"{len(fields.parents)} parents; a snapshot has at most {MAX_PARENTS}.")
    if type(fields.message) is not str or type(fields.time_ns) is not int:
        raise InvalidInputError("a snapshot's message is a str and its time a whole number of nanoseconds.")
    encoded = canonical_json(
        {
            "message": fields.message,
            "meta": dict(fields.meta),
            "parents": [parent.hex() for parent in fields.parents],
            "roots": _hex_roots(fields.roots),
            "time_ns": fields.time_ns,
            "version": VERSION,
        }
    )
    if len(encoded) > MAX_SNAPSHOT_BYTES:
        raise InvalidInputError("message and meta are larger than 4 MiB; keep such values as objects of the state.")
    return encoded


def decode_snapshot(data: bytes) -> SnapshotFields:
    """What a snapshot's bytes say.

    Raises:
        CorruptionError: Not a snapshot.
        FormatVersionError: A snapshot of a later format.
    """
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise CorruptionError("a snapshot is too large; run `casstore verify`.")
    members = parse_canonical_json(data)
    if not isinstance(members, dict) or type(members.get("version")) is not int:
        raise CorruptionError("a snapshot is malformed; run `casstore verify`.")
    if members["version"] != VERSION:
        raise FormatVersionError(f"a snapshot of format {members['version']}; this casstore reads format 1.")
    message, meta, parents, roots, time_ns = (
        members.get(name) for name in ("message", "meta", "parents", "roots", "time_ns")
    )
    if (
        members.keys() != _MEMBERS
        or not isinstance(message, str)
        or not isinstance(meta, dict)
        or not isinstance(parents, list)
        or len(parents) > MAX_PARENTS
        or not isinstance(roots, dict)
        or type(time_ns) is not int
        or not roots.keys() <= set(ROOT_NAMES)
    ):
        raise CorruptionError("a snapshot is malformed; run `casstore verify`.")
    return SnapshotFields(
        roots={name: _parse(root) for name, root in roots.items()},
        parents=tuple(_parse(parent) for parent in parents),
        message=message,
        meta=meta,
        time_ns=time_ns,
    )


def state_id_of(roots: Mapping[str, Address]) -> Address:
    """The id that equal states share, whatever their history, messages and metadata."""
    return state_address(canonical_json(_hex_roots({name: roots[name] for name in STATE_ROOTS if name in roots})))


def _hex_roots(roots: Mapping[str, Address]) -> dict[str, JsonValue]:
    return {name: root.hex() for name, root in roots.items()}


def _parse(value: JsonValue) -> Address:
    address = hex_address(value)
    if address is None:
        raise CorruptionError("a snapshot names something that is no address; run `casstore verify`.")
    return address
