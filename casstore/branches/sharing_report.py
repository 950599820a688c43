# SPDX-License-Identifier: MIT
"""What branches share: the report of ``store.deduplicate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casstore.address import Address
from casstore.format.canonical import JsonValue

MAX_NAMES: Final = 100
"""Keys and branches that are listed for one content."""

DEFAULT_LISTED: Final = 20
"""Contents that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedContent:
    """A content that several keys or branches hold.

    Attributes:
        address: BLAKE3 of the content, 32 bytes.
        bytes: Its size.
        type: Type id of a value; ``"file"``, ``"executable"`` or ``"symlink"`` among files.
        values: How often it is held: each key of each branch counts.
        keys: Root and key, as ``"objects/tools"``, in order; 100 at the most.
        branches: What the branches are called, in the order they were given; 100 at the most.
        branch_count: How many branches there are, listed or not.
    """

    address: Address
    bytes: int
    type: str
    values: int
    keys: tuple[str, ...]
    branches: tuple[str, ...]
    branch_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingReport:
    """What was looked at, and what came of it. Bytes are those of values that wait in memory for a commit or a spill.

    Attributes:
        branches: Branches that were looked at.
        changed: Those whose values, deltas or bases were replaced by equal ones.
        skipped: Those that were discarded, or that others changed again and again meanwhile; they are as they were.
        values: Keys that are set on these branches; each branch counts its own.
        distinct: Different values among them. Equal bytes of different type are different values.
        held_bytes_before: Bytes that waited in memory for these branches and for handles of ``store.share``.
        held_bytes_after: What of that is still in memory.
        shared: Contents that are held more than once, the largest first.
    """

    branches: int
    changed: int
    skipped: int
    values: int
    distinct: int
    held_bytes_before: int
    held_bytes_after: int
    shared: tuple[SharedContent, ...]

    @property
    def saved_bytes(self) -> int:
        """Bytes that are free now. A fork that was not given, or a reader at work, may still keep others."""
        return self.held_bytes_before - self.held_bytes_after

    def plain(self) -> dict[str, JsonValue]:
        """The same for ``json.dumps``: addresses in hex."""
        shared: list[JsonValue] = [
            {
                "address": one.address.hex(),
                "bytes": one.bytes,
                "type": one.type,
                "values": one.values,
                "keys": list(one.keys),
                "branches": list(one.branches),
                "branch_count": one.branch_count,
            }
            for one in self.shared
        ]
        return {
            "branches": self.branches,
            "changed": self.changed,
            "skipped": self.skipped,
            "values": self.values,
            "distinct": self.distinct,
            "held_bytes_before": self.held_bytes_before,
            "held_bytes_after": self.held_bytes_after,
            "saved_bytes": self.saved_bytes,
            "shared": shared,
        }
