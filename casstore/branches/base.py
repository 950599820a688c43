# SPDX-License-Identifier: MIT
"""Base: the roots under a branch's delta. Forks share one, and while it lives its roots are pinned."""

from __future__ import annotations

from collections.abc import Mapping

from casstore.address import Address
from casstore.format.snapshot import FILES, OBJECTS, POSIX
from casstore.storage import PinHandle, Storage
from casstore.tree import Root


class Base:
    """Roots of one state, by name; absent roots are empty."""

    __slots__ = ("_pins", "roots")

    def __init__(self, storage: Storage, roots: Mapping[str, Address]) -> None:
        self.roots = roots
        self._pins: tuple[PinHandle, ...] = tuple(storage.pin("root", root) for root in roots.values())

    @property
    def files(self) -> Root:
        """Root of the files."""
        return self.roots.get(FILES)

    @property
    def objects(self) -> Root:
        """Root of the objects."""
        return self.roots.get(OBJECTS)

    @property
    def posix(self) -> Root:
        """Root of the files' metadata."""
        return self.roots.get(POSIX)
