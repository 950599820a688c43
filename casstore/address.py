# SPDX-License-Identifier: MIT
"""Addresses: what every object is named by.

Content and chunks are named by plain BLAKE3-256 of their bytes, so ``b3sum FILE`` prints the same address. Metadata
(nodes, chunk lists, snapshots …) is named by keyed BLAKE3, one key per type, so user data can never pass for metadata.

Source: BLAKE3 specification, sections 2.3 (keyed_hash) and 2.3 (derive_key).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NewType

from blake3 import blake3

from casstore.errors import InvalidInputError

Address = NewType("Address", bytes)
"""32 bytes: a BLAKE3 digest."""

ADDRESS_BYTES: Final = 32

Buffer = bytes | bytearray | memoryview


def content_address(data: Buffer) -> Address:
    """The address of content or of a chunk: plain BLAKE3-256 of its bytes."""
    return Address(blake3(data).digest())


def type_key(type_name: str) -> bytes:
    """The 32-byte key of a metadata type: the derive-key of ``casstore v1 <type>`` over no material.

    On disk for ever: changing it changes every root and snapshot id.
    """
    return blake3(b"", derive_key_context=f"casstore v1 {type_name}").digest()


def keyed_address(type_name: str) -> Callable[[Buffer], Address]:
    """A function from the encoded bytes of one metadata type to their address."""
    key = type_key(type_name)

    def address_of(encoded: Buffer) -> Address:
        return Address(blake3(encoded, key=key).digest())

    return address_of


node_address: Final = keyed_address("node")
snapshot_address: Final = keyed_address("snapshot")
state_address: Final = keyed_address("state")
event_address: Final = keyed_address("event")


def parse_address(text: str) -> Address:
    """The address that 64 hex digits stand for.

    Raises:
        InvalidInputError: ``text`` is not 64 hex digits.
    """
    try:
        address = bytes.fromhex(text)
    except ValueError:
        address = b""
    if len(address) != ADDRESS_BYTES or len(text) != 2 * ADDRESS_BYTES:
        raise InvalidInputError(f"{text!r} is not an address; give 64 hex digits.")
    return Address(address)


def hex_address(value: object) -> Address | None:
    """The address that stands in canonical JSON as exactly 64 lower-case hex digits; None for anything else."""
    if isinstance(value, str) and len(value) == 2 * ADDRESS_BYTES:
        try:
            address = bytes.fromhex(value)
        except ValueError:
            return None
        # ``fromhex`` takes capitals and steps over spaces, so the digits are written out again.
        if address.hex() == value:
            return Address(address)
    return None


def check_address(address: object) -> Address:
    """``address`` itself, if it has the shape of one.

    Raises:
        InvalidInputError: It is not 32 bytes.
    """
    if not isinstance(address, bytes) or len(address) != ADDRESS_BYTES:
        what = f"{len(address)} bytes" if isinstance(address, bytes) else type(address).__name__
        raise InvalidInputError(f"an address is 32 bytes, not {what}; use the value that put() returned.")
    return Address(address)
