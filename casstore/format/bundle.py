# SPDX-License-Identifier: MIT
"""A bundle: states in a file of their own, which another store adopts.

::

    record …            chunks, chunk lists, nodes and snapshots (record.py), each after all it refers to
    record              the last one: an event, whose payload is the manifest

The manifest is canonical JSON (canonical.py), an object of exactly these members::

    {"digest": hex, "excluded": [hex id, …], "number": 0, "records": count, "refs": {name: hex id, …},
     "tips": [hex id, …], "type": "bundle", "version": 1}

or of these and ``"shallow": [hex id, …]``, which is not empty, with ``"version": 2``.

``digest`` is the plain BLAKE3 of all bytes before the manifest's record, ``records`` how many records they are.
``tips`` are the snapshots that the bundle brings, ``refs`` the names that some of them had, for information.
``excluded`` are snapshots that the receiver must have: what they lead to may be left out. ``shallow`` are snapshots
that the bundle brings without their parents, which were given up where it was made; a reader that knows nothing of
them would take the parents for missing, so the version tells it to refuse the bundle. A bundle that was cut
anywhere has no manifest, so nothing of it is ever used. The manifest is no event of any store: no receiver keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from casstore.address import Address, hex_address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.canonical import JsonValue, canonical_json
from casstore.format.event import parse_event

BUNDLE: Final = "bundle"
"""Type of the manifest's event."""
VERSION: Final = 1
SHALLOW_VERSION: Final = 2
"""Version of a bundle that has shallow snapshots."""
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
MAX_RECORDS: Final = 8 * 1024 * 1024
"""A receiver holds about 200 bytes for each."""
MAX_NAME_CHARACTERS: Final = 1024

_MEMBERS: Final = {"digest", "excluded", "number", "records", "refs", "tips", "type", "version"}
_SHALLOW_MEMBERS: Final = _MEMBERS | {"shallow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says about itself.

    Attributes:
        tips: Ids of the snapshots it brings (32 bytes each), at least one.
        refs: Names that some of the tips had where the bundle was made.
        excluded: Ids of the snapshots that a receiver must have.
        records: Number of records before the manifest.
        digest: BLAKE3 of all bytes before the manifest's record.
        shallow: Ids of the snapshots it brings without their parents, which were given up.
    """

    tips: tuple[Address, ...]
    refs: Mapping[str, Address]
    excluded: tuple[Address, ...]
    records: int
    digest: bytes
    shallow: tuple[Address, ...] = ()


def encode_manifest(manifest: Manifest) -> bytes:
    """The payload of the manifest's event.

    Raises:
        InvalidInputError: No reader would accept it: no tips, a name of something else, too many of anything.
    """
    problem = _problem(manifest)
    if problem:
        raise InvalidInputError(f"no such bundle can be made: {problem}.")
    shallow = [address.hex() for address in manifest.shallow]
    encoded = canonical_json(
        {
            "digest": manifest.digest.hex(),
            "excluded": [address.hex() for address in manifest.excluded],
            "number": 0,
            "records": manifest.records,
            "refs": {name: address.hex() for name, address in manifest.refs.items()},
            "tips": [address.hex() for address in manifest.tips],
            "type": BUNDLE,
            **({"shallow": list[JsonValue](shallow), "version": SHALLOW_VERSION} if shallow else {"version": VERSION}),
        }
    )
    if len(encoded) > MAX_MANIFEST_BYTES:
        raise InvalidInputError(
            f"a bundle names tips, refs and excluded snapshots in at most {MAX_MANIFEST_BYTES} bytes, not "
            f"{len(encoded)}; make several bundles."
        )
    return encoded


def decode_manifest(payload: bytes) -> Manifest:
    """What a bundle says about itself.

    Raises:
        CorruptionError: Not a manifest.
        FormatVersionError: That of a bundle of a later format.
    """
    if len(payload) > MAX_MANIFEST_BYTES:
        raise CorruptionError("a bundle's manifest is too large; have the bundle made again.")
    members = parse_event(payload)
    if members["type"] != BUNDLE or type(members.get("version")) is not int:
        raise CorruptionError("a bundle ends in something that is no manifest; have the bundle made again.")
    version = members["version"]
    if version not in (VERSION, SHALLOW_VERSION):
        raise FormatVersionError(
            f"a bundle of format {version}; this casstore reads formats {VERSION} and {SHALLOW_VERSION}, "
            "so use a later one."
        )
    refs, records, digest = members.get("refs"), members.get("records"), members.get("digest")
    if (
        members.keys() != (_MEMBERS if version == VERSION else _SHALLOW_MEMBERS)
        or members.get("shallow") == []
        or members["number"] != 0
        or not isinstance(refs, dict)
        or type(records) is not int
        or records < 0
    ):
        raise CorruptionError("a bundle's manifest is malformed; have the bundle made again.")
    manifest = Manifest(
        tips=_addresses(members["tips"]),
        refs={name: _address(value) for name, value in refs.items()},
        excluded=_addresses(members["excluded"]),
        records=records,
        digest=_address(digest),
        shallow=_addresses(members.get("shallow", [])),
    )
    problem = _problem(manifest)
    if problem:
        raise CorruptionError(f"a bundle's manifest is malformed: {problem}; have the bundle made again.")
    return manifest


def _problem(manifest: Manifest) -> str | None:
    tips = set(manifest.tips)
    if not tips:
        return "it has no tips"
    if any(len(set(named)) != len(named) for named in (manifest.tips, manifest.excluded, manifest.shallow)):
        return "it names a snapshot twice"
    if manifest.records > MAX_RECORDS:
        return f"it has {manifest.records} records, more than {MAX_RECORDS}"
    for name, address in manifest.refs.items():
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            return f"{name[:80]!r} names no ref"
        if address not in tips:
            return f"the ref {name!r} names none of its tips"
    return None


def _addresses(value: JsonValue) -> tuple[Address, ...]:
    if isinstance(value, list):
        return tuple(map(_address, value))
    raise CorruptionError("a bundle's manifest is malformed; have the bundle made again.")


def _address(value: JsonValue) -> Address:
    address = hex_address(value)
    if address is None:
        raise CorruptionError("a bundle's manifest names something that is no address; have the bundle made again.")
    return address
