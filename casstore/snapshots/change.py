# SPDX-License-Identifier: MIT
"""Changes: what differs between two states, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from casstore.address import Address
from casstore.format.entry import Entry
from casstore.format.snapshot import STATE_ROOTS
from casstore.snapshots.view import decode_key
from casstore.tree import Nodes, diff


class Change(NamedTuple):
    """One key that differs between two states.

    Attributes:
        key: Root and key, as ``"files/src/a.py"``.
        old: What the key mapped to, None where it was added.
        new: What it maps to, None where it was deleted.
    """

    key: str
    old: Entry | None
    new: Entry | None

    @property
    def letter(self) -> str:
        """``A`` added, ``M`` modified, ``D`` deleted."""
        return "A" if self.old is None else "D" if self.new is None else "M"


def diff_roots(nodes: Nodes, old: Mapping[str, Address], new: Mapping[str, Address]) -> Iterator[Change]:
    """The changes of files and objects from one table of roots to another, in key order."""
    for name in STATE_ROOTS:
        for change in diff(nodes, old.get(name), new.get(name)):
            yield Change(f"{name}/{decode_key(change.key)}", change.old, change.new)
