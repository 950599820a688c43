# SPDX-License-Identifier: MIT
"""What a workspace's directory changed since its base."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from casstore.errors import NotFoundError
from casstore.format.posix import decode_posix, posix_path
from casstore.tree import Nodes, Root, diff
from casstore.workspace.part import FILES, POSIX

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.snapshots import Change, Snapshot
    from casstore.store import Store
    from casstore.workspace.report import LeftOut

_MAX_ANCESTORS: Final = 10_000


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
        ref_moved: That ref names neither the base now nor what the base came from, however far back within 10,000
            snapshots.
        ref_gone: That ref was deleted.
        changes: What leads from the base's files to the directory's, by path, as ``store.diff`` gives it.
        metadata_changes: Paths of which the metadata alone changed, where that is captured; of a folder more than its
            time.
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
    ref_gone: bool
    changes: tuple[Change, ...]
    metadata_changes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    interrupted: bool
    files: int

    @property
    def clean(self) -> bool:
        """Whether nothing changed and no switch is open."""
        return not (self.changes or self.metadata_changes or self.interrupted)

    @property
    def left_out_count(self) -> int:
        """How many paths the rules leave out."""
        return len(self.left_out)


def has_moved(store: Store, ref: str | None, base: Snapshot | None) -> bool:
    """Whether ``ref`` is there and names something that ``base`` neither is nor came from.

    *Cost*: where it does, a look at each of the last 10,000 snapshots that ``base`` came from.
    """
    named = None if ref is None else store.refs.id_of(ref)
    if named is None:
        return False
    if base is None:
        return True
    seen = {base.id}
    waiting = deque(seen)
    while named not in seen and waiting and len(seen) <= _MAX_ANCESTORS:
        # What was collected or given up ends its history there.
        with suppress(NotFoundError):
            parents = store.snapshots.fields(waiting.popleft()).parents
            waiting.extend(parent for parent in dict.fromkeys(parents) if parent not in seen)
            seen.update(parents)
    return named not in seen


def metadata_changes(nodes: Nodes, old: Mapping[str, Address], new: Mapping[str, Address]) -> tuple[str, ...]:
    """Paths of which only the metadata differs between two states that both have it."""
    if POSIX not in old or POSIX not in new:
        return ()
    changed = {key for key, _, _ in diff(nodes, old.get(FILES), new.get(FILES))}
    return changed_metadata(nodes, old[POSIX], new[POSIX], changed)


def changed_metadata(nodes: Nodes, old: Root, new: Root, changed: Collection[bytes]) -> tuple[str, ...]:
    """Paths that both trees of metadata have and that differ in more than a folder's time, but for ``changed`` ones."""
    found: list[str] = []
    for key, before, after in diff(nodes, old, new):
        path, directory = posix_path(key)
        if before is None or after is None or path in changed:
            continue
        if directory and before.inline is not None and after.inline is not None:
            one, other = decode_posix(before.inline), decode_posix(after.inline)
            if replace(one, mtime_ns=other.mtime_ns) == other:
                continue
        found.append(os.fsdecode(path) or ".")
    return tuple(found)
