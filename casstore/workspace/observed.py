# SPDX-License-Identifier: MIT
"""What a workspace's directory holds now, and where that knowledge comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import os

    from casstore.address import Address
    from casstore.snapshots import Snapshot
    from casstore.tree import Change, Nodes
    from casstore.workspace.report import LeftOut, Progress
    from casstore.workspace.scanning.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of a directory.

    Attributes:
        roots: ``files``, and ``posix`` where metadata is captured; absent ones are empty.
        nodes: Where their nodes are: the store's, or some in memory above them.
        left_out: What is not captured, with reasons.
        leftovers: Temporary names that an interrupted switch left.
        vanished: Inodes of folders that were there at the scan before.
    """

    roots: Mapping[str, Address]
    nodes: Nodes
    left_out: tuple[LeftOut, ...]
    leftovers: frozenset[bytes] = frozenset()
    vanished: frozenset[int] = frozenset()


class Changes(Protocol):
    """What was done to a directory (a ``Changer`` after its run)."""

    written: list[tuple[bytes, os.stat_result]]
    touched: set[bytes]


class Directory(Protocol):
    """One way in which a directory is captured and known again."""

    def observe(
        self,
        *,
        keep: bool,
        known: Mapping[str, Address] | None = None,
        paranoid: bool = False,
        progress: Progress | None = None,
    ) -> Observed:
        """What the directory holds.

        Args:
            keep: Put contents and nodes into the store; else it takes nothing in.
            known: Roots of a state that is in the store, and that the directory may well have.
            paranoid: Read every file, whatever it looks like.
            progress: Called with ``"reading"``, the files read, and None.

        Raises:
            InvalidInputError: Something is unreadable, or the directory is gone.
            ConflictError: Something changed each time it was read.
        """

    def relist(self) -> None:
        """Has the next ``observe`` list every folder, whatever it looks like."""

    def expected(self, path: bytes) -> Fingerprint | None:
        """What the last ``observe`` saw of the file or symlink at ``path``; None for nothing."""

    def require_same(self, status: os.stat_result) -> None:
        """Passes when ``status`` is that of the directory that was observed.

        Raises:
            ConflictError: Another one took its place.
        """

    def saved(self, snapshot: Snapshot) -> None:
        """The state that was observed last is that of ``snapshot``, durably."""

    def switched(
        self, snapshot: Snapshot, changes: Changes, names: Sequence[Change], spared: Collection[bytes]
    ) -> None:
        """The directory was changed into the state of ``snapshot``, by the changes of its files ``names``.

        Files at ``spared`` are there and not in the state.
        """

    def close(self) -> None:
        """Gives up what is open."""
