# SPDX-License-Identifier: MIT
"""A proof as bytes: what leads from a ``state_id`` to an entry, to its absence, or to everything below a prefix.

::

    magic               8 bytes "CASproof"
    version             u8, 1
    mode                u8: 1 a key, 2 a prefix
    root name           length varint | ASCII, "files" or "objects"
    key or prefix       length varint | bytes, at most MAX_KEY_BYTES
    table of roots      length varint | canonical JSON {name: hex root, …} without empty roots: what ``state_id`` hashes
    nodes               count varint | count times: length varint | encoded node (node.py)
    digest              keyed BLAKE3 ("casstore v1 proof") of everything before, 32 bytes

Nodes stand in the order in which the walk from the root meets them: a parent before its children, children in key
order. There are none when the table does not name the root.

Invariant: one proof has one encoding. The digest is against chance alone, as whoever forges a proof can compute it too;
that a proof holds is shown by ``casstore.tree.verify_proof``, from the ``state_id`` down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from casstore.address import ADDRESS_BYTES, Address, keyed_address, parse_address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.canonical import canonical_json, parse_canonical_json
from casstore.format.key import MAX_KEY_BYTES, keys_problem
from casstore.format.kinds import MAX_RAW_BYTES
from casstore.format.snapshot import STATE_ROOTS
from casstore.format.varint import decode_varint, encode_varint

MAGIC: Final = b"CASproof"
VERSION: Final = 1
"""On disk for ever, as are the limits and the modes."""
KEY_MODE: Final = 1
PREFIX_MODE: Final = 2
MAX_TABLE_BYTES: Final = 256

_HEADER_BYTES: Final = len(MAGIC) + 2
_digest = keyed_address("proof")


class ProofFields(NamedTuple):
    """What a proof says; nothing of it is proven yet.

    Attributes:
        table: The encoded table of roots.
        root_name: ``"files"`` or ``"objects"``.
        mode: ``KEY_MODE`` or ``PREFIX_MODE``.
        key: The key, or the prefix.
        nodes: Encoded nodes, parents before their children.
    """

    table: bytes
    root_name: str
    mode: int
    key: bytes
    nodes: tuple[bytes, ...]


def encode_table(roots: Mapping[str, Address]) -> bytes:
    """The bytes whose address is the ``state_id`` of these roots."""
    return canonical_json({name: roots[name].hex() for name in STATE_ROOTS if name in roots})


def decode_table(data: bytes) -> dict[str, Address]:
    """The roots that ``data`` is the table of.

    Raises:
        CorruptionError: It is no such table.
    """
    table = parse_canonical_json(data)
    if not isinstance(table, dict):
        raise _malformed("its table of roots is no table")
    roots: dict[str, Address] = {}
    for name, root in table.items():
        try:
            roots[name] = parse_address(root if isinstance(root, str) else "")
        except InvalidInputError:
            raise _malformed("its table of roots names no address") from None
    # Also finds capital digits, and names that a state does not have.
    if encode_table(roots) != data:
        raise _malformed("its table of roots is not in its one form")
    return roots


def encode_proof(fields: ProofFields) -> bytes:
    """The one encoding of ``fields``.

    Raises:
        InvalidInputError: No reader would accept them.
    """
    table, root_name, mode, key, nodes = fields
    problem = _problem(fields)
    if problem:
        raise InvalidInputError(f"this proof cannot be written: {problem}.")
    parts = [MAGIC, bytes((VERSION, mode))]
    for part in (root_name.encode("ascii"), key, table):
        parts += (encode_varint(len(part)), part)
    parts.append(encode_varint(len(nodes)))
    for node in nodes:
        parts += (encode_varint(len(node)), node)
    encoded = b"".join(parts)
    return encoded + _digest(encoded)


def decode_proof(data: bytes) -> ProofFields:
    """What a proof's bytes say. Cost: O(bytes); memory for as many bytes again.

    Raises:
        CorruptionError: They are no proof.
        FormatVersionError: They are one of a later format.
    """
    if data[: len(MAGIC)] != MAGIC or len(data) < _HEADER_BYTES + ADDRESS_BYTES:
        raise _malformed("it does not begin as one, or is cut short")
    version, mode = data[len(MAGIC)], data[len(MAGIC) + 1]
    if version != VERSION:
        raise FormatVersionError(f"a proof of format {version}; this casstore reads format {VERSION}: update casstore.")
    body = data[:-ADDRESS_BYTES]
    if _digest(body) != data[-ADDRESS_BYTES:]:
        raise _malformed("its bytes have changed")
    name, at = _part(body, _HEADER_BYTES)
    key, at = _part(body, at)
    table, at = _part(body, at)
    count, at = decode_varint(body, at)
    nodes: list[bytes] = []
    for _ in range(count):
        node, at = _part(body, at)
        if not node:  # or a list of them would take eight times the memory of its bytes
            raise _malformed("a node is empty")
        nodes.append(node)
    if at != len(body):
        raise _malformed("it does not end where it should")
    fields = ProofFields(table, name.decode("ascii", "replace"), mode, key, tuple(nodes))
    problem = _problem(fields)
    if problem:
        raise _malformed(problem)
    return fields


def _part(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = decode_varint(data, at)
    # Positions only grow, so a part that is cut short shows at the latest where the whole should end.
    return data[at : at + length], at + length


def _problem(fields: ProofFields) -> str | None:
    table, root_name, mode, key, nodes = fields
    if mode not in (KEY_MODE, PREFIX_MODE):
        return f"{mode} is neither a key nor a prefix"
    if root_name not in STATE_ROOTS:
        return f"a state has no root but {' and '.join(STATE_ROOTS)}"
    if len(key) > MAX_KEY_BYTES:
        return f"a key is longer than {MAX_KEY_BYTES} bytes"
    if mode == KEY_MODE and (problem := keys_problem((key,))):
        return problem
    if len(table) > MAX_TABLE_BYTES:
        return "its table of roots is too long"
    if not all(1 <= len(node) <= MAX_RAW_BYTES for node in nodes):
        return f"a node is empty or longer than {MAX_RAW_BYTES} bytes"
    return None


def _malformed(why: str) -> CorruptionError:
    return CorruptionError(f"this is no proof: {why}; have it made again with `casstore prove`.")
