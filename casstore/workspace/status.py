# SPDX-License-Identifier: MIT
"""What a workspace's directory changed since its base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.snapshots import Change, Snapshot
    from casstore.workspace.report import LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceStatus:
    """The state of a workspace.

    Attributes:
        id: Of the workspace; None where the directory is not registered yet.
        directory: Its path.
        kind: ``"plain"``, ``"overlay"``, ``"overlay-private"``, ``"reflink"`` or ``"copy"``.
        base: The snapshot that the directory was last made from or saved as; None for the empty state, and where that
            snapshot is lost.
        base_lost: The snapshot is known by its id only: it was collected.
        base_ref: The ref that was named then.
        ref_moved: That ref names another snapshot now, or is gone.
        changes: What leads from the base's files to the directory's, by path, as ``store.diff`` gives it.
        left_out: What the rules leave out, with reasons.
        interrupted: A switch began and did not end.
        files: Regular files in the directory.
    """

    id: str | None
    directory: str
    kind: str
    base: Snapshot | None
    base_lost: bool
    base_ref: str | None
    ref_moved: bool
    changes: tuple[Change, ...]
    left_out: tuple[LeftOut, ...]
    interrupted: bool
    files: int

    @property
    def clean(self) -> bool:
        """Whether nothing changed and no switch is open."""
        return not self.changes and not self.interrupted

    @property
    def left_out_count(self) -> int:
        """How many paths the rules leave out."""
        return len(self.left_out)
