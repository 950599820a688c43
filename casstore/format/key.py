# SPDX-License-Identifier: MIT
"""Keys of a tree: which bytes can be one, which can stand together, and which end a node.

A key is a relative path in bytes: components of any bytes but NUL and `/`, none of them empty, `.` or `..`. Its level
is the number of leading base-Q zero digits of its BLAKE3: level n or more has probability Q**-n, and whoever has the
key knows it.

Source: Attic Labs, Noms, "Prolly Trees" (boundaries by a rolling hash over entries; we hash each key instead, so that
an edit of a value never moves a boundary); Auvolat & Taïani, "Merkle Search Trees", SRDS 2019 (level of a key by
leading zero digits; there the keys of a level live on it, here all are in the leaves).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from operator import lt
from typing import Final

from blake3 import blake3

# On disk for ever: every root depends on these.
Q_BITS: Final = 4
"""Bits of one digit."""
Q: Final = 1 << Q_BITS
"""Mean number of entries in a node."""
BOUNDARY_LIMIT: Final = 256 >> Q_BITS
"""A key has level 1 or more when the first byte of its BLAKE3 is below this."""

MAX_KEY_BYTES: Final = 4096


def key_level(key: bytes) -> int:
    """Number of leading base-Q zero digits of the key's BLAKE3."""
    digest = blake3(key).digest()
    if digest[0] >= BOUNDARY_LIMIT:
        return 0
    return (256 - int.from_bytes(digest).bit_length()) // Q_BITS


def keys_problem(keys: Sequence[bytes]) -> str | None:
    """What is wrong with the first keys of ``keys`` that cannot stand in one tree; None for valid keys in order.

    Cost: about 0.2 µs per key; nothing is done per key in Python.
    """
    if not keys:
        return None
    # One `/` on both sides of each key and a NUL between, so that one search finds a fault in any of them.
    joined = b"/%b/" % b"/\0/".join(keys)
    if joined.count(0) != len(keys) - 1:
        return "a key holds NUL"
    if b"//" in joined:
        return "a key is empty, begins or ends with `/`, or has an empty component"
    if b"/./" in joined or b"/../" in joined:
        return "a key has a component `.` or `..`"
    if len(joined) > MAX_KEY_BYTES and len(max(keys, key=len)) > MAX_KEY_BYTES:
        return f"a key is longer than {MAX_KEY_BYTES} bytes"
    if not all(map(lt, keys, islice(keys, 1, None))):
        return "keys are not in strictly ascending order"
    return None


def tree_problem(keys: Sequence[bytes], opened: list[bytes]) -> str | None:
    """Why ``keys``, in order, cannot stand in one directory tree: one of them is a path prefix of another.

    Args:
        keys: Valid keys in ascending order, following those of earlier calls.
        opened: The earlier keys that a later key may still begin with; empty at first, updated here.

    Cost: O(keys) over all calls; about 0.1 µs per key when none begins with its predecessor.
    """
    # Every key between `a` and `a/b` begins with `a`. So a key matters only as long as its successors begin with it.
    before = (*opened, *keys)
    if not any(map(bytes.startswith, islice(before, 1, None), before)):
        opened[:] = before[-1:]
        return None
    for key in keys:
        while opened and not key.startswith(opened[-1]):
            opened.pop()
        for shorter in opened:
            if key[len(shorter)] == 47:
                return f"{shorter!r} cannot be beside {key!r}: a path is either a directory or an entry"
        opened.append(key)
    return None
