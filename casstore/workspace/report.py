# SPDX-License-Identifier: MIT
"""What an import and a checkout report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.snapshots import Snapshot

Progress = Callable[[str, int, int | None], None]
"""Called with the phase, how many files are done, and how many there are (``None`` where that is not known)."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not kept.

    Attributes:
        path: The path below the imported or checked-out directory; bytes that are not UTF-8 are surrogate escapes.
        why: The reason, in words.
    """

    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        snapshot: The state of the directory: the new snapshot, or the one the ref already named.
        moved: The ref was created or moved. False without a ref, and where nothing had changed.
        files: Regular files.
        directories: Directories, without the imported one itself.
        symlinks: Symlinks.
        bytes: Content of all regular files.
        new_bytes: The part of it that the store did not have yet; small files inside tree nodes are not counted.
        left_out: What is not in the snapshot: FIFOs, sockets, devices, and what was unreadable.
        warnings: Metadata that could not be read (``metadata="full"``); the path itself was kept.
    """

    snapshot: Snapshot
    moved: bool
    files: int
    directories: int
    symlinks: int
    bytes: int
    new_bytes: int
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutReport:
    """What a checkout wrote.

    Attributes:
        files: Regular files.
        directories: Directories created, or already there and used.
        symlinks: Symlinks.
        bytes: Content of all regular files.
        warnings: Metadata that could not be restored; the content was written.
        workspace: Id of the workspace that the directory is now; None after a part of a state, or where the store
            cannot keep workspaces.
    """

    files: int
    directories: int
    symlinks: int
    bytes: int
    warnings: tuple[LeftOut, ...] = ()
    workspace: str | None = None
