# SPDX-License-Identifier: MIT
"""Which workspaces a store has: the one around a path, all of them, and those that are of no use any more."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from casstore.errors import (
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
)
from casstore.format.workspace_files import Info
from casstore.workspace.registry import OVERLAYS, Registry
from casstore.workspace.scanning.scan import folder_name
from casstore.workspace.scanning.stat_cache import StatCache
from casstore.workspace.shown import MAX_LISTED, shown_path
from casstore.workspace.workspace import Workspace

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.store import Store
    from casstore.workspace.overlay.mounting import Mounted

WorkspaceState = Literal["ok", "missing", "unmounted", "interrupted", "damaged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceInfo:
    """One registered workspace.

    Attributes:
        id: 8 hex digits.
        path: Where its directory is, or was; empty where that cannot be read any more.
        kind: ``"plain"``, ``"overlay"``, ``"overlay-private"``, ``"reflink"`` or ``"copy"``.
        base: Id of the snapshot that the directory was last made from or saved as.
        base_ref: The ref that was named then.
        state: ``"missing"``: the directory is gone, or another one took its place. ``"unmounted"``: an overlay whose
            mount is gone, as after a restart. ``"interrupted"``: a switch began and did not end. ``"damaged"``: what
            the store knows of it cannot be read.
    """

    id: str
    path: str
    kind: str
    base: Address | None
    base_ref: str | None
    state: WorkspaceState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspacePruneReport:
    """What a pruning did.

    Attributes:
        removed: Ids of the workspaces that were forgotten.
        saved: Workspace id → id of the snapshot that keeps what it alone had.
        bases: Frozen bases that were deleted.
        probes: Folders that a crashed trial of overlays had left, and that were deleted.
    """

    removed: tuple[str, ...]
    saved: dict[str, Address]
    bases: tuple[str, ...]
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class WorkspacePrunePlan:
    """What pruning would forget; nothing changes until it is executed.

    Attributes:
        dead: Workspaces whose directory is gone.
        bases: Frozen bases that no other workspace uses.
        probes: Folders of the store in which an overlay was tried out, left by a crash.
    """

    store: Store
    dead: tuple[WorkspaceInfo, ...]
    bases: tuple[str, ...]
    probes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.store.path}: {len(self.dead):,} workspaces to forget, {len(self.bases):,} bases and "
            f"{len(self.probes):,} leftovers to delete",
            *(f"{one.state} {one.kind} {one.id} {shown_path(one.path)}" for one in self.dead[:MAX_LISTED]),
        ]
        if len(self.dead) > MAX_LISTED:
            lines.append(f"... and {len(self.dead) - MAX_LISTED:,} more")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<WorkspacePrunePlan: {len(self.dead)} dead, {len(self.bases)} bases, {len(self.probes)} leftovers>"

    def execute(self) -> WorkspacePruneReport:
        """Forgets the dead ones, after what an overlay alone had was saved, and deletes bases that nobody uses.

        What changed since the plan was made is left alone.

        Raises:
            ReadOnlyError: The store is open read-only.
            StorageError: The system refused.
        """
        from casstore.workspace.overlay import remove_base
        from casstore.workspace.overlay.probing import remove_probes
        from casstore.workspace.pruning import forget, is_dead

        if self.store.read_only:
            raise ReadOnlyError("the store is open read-only; open it for writing to prune its workspaces.")
        removed: list[str] = []
        saved: dict[str, Address] = {}
        registry = Registry(self.store)
        dead = {one.id for one in list_workspaces(self.store) if is_dead(registry, one)}
        for info in self.dead:
            if info.id not in dead:
                continue
            try:
                snapshot = forget(self.store, info.id)
            except LockedError:
                continue
            removed.append(info.id)
            if snapshot is not None:
                saved[info.id] = snapshot.id
        bases: list[str] = []
        for name in _unused(self.store, set()):
            if name in self.bases:
                remove_base(self.store.path, name, is_used=self._is_used)
                bases.append(name)
        probes = remove_probes(self.store.path) if self.probes else ()
        return WorkspacePruneReport(removed=tuple(removed), saved=saved, bases=tuple(bases), probes=probes)

    def _is_used(self, base: str) -> bool:
        used = _used(self.store, set())
        return used is None or base in used


def find_workspace(store: Store, path: str | os.PathLike[str] = ".") -> Workspace:
    """The workspace around ``path``: the nearest folder, from there upwards, that was checked out, forked or imported.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: ``path`` is no folder.
    """
    place = os.path.realpath(folder_name(path))
    if not os.path.isdir(place):
        raise InvalidInputError(f"{place!r} is no folder; give one.", path=place)
    registry = Registry(store)
    known = list(registry.all())
    paths = {info.path for info in known}
    identities = {(info.device, info.inode) for info in known}
    folder = place
    while True:
        try:
            status = os.stat(folder)
        except OSError:
            break
        known_here = folder in paths or (status.st_dev, status.st_ino) in identities
        if known_here and registry.find(folder, status) is not None:
            return Workspace(store, folder)
        cache = StatCache(store, folder, status)
        if cache.saved_snapshot() is not None and cache.in_place:
            return Workspace(store, folder)
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    raise NotFoundError(
        f"neither {place!r} nor a folder above it is a workspace of this store; make one with `casstore checkout STATE "
        "DIR`, or snapshot a directory with `casstore import DIR --ref NAME`.",
        path=place,
    )


def list_workspaces(store: Store) -> list[WorkspaceInfo]:
    """All registered workspaces, in the order of their paths."""
    registry = Registry(store)
    mounts = _mounts(store)
    found: list[WorkspaceInfo] = []
    for workspace in registry.ids():
        try:
            info = registry.info(workspace)
        except (CorruptionError, FormatVersionError):
            found.append(_damaged(workspace))
            continue
        if info is not None:
            found.append(_described(registry, info, mounts))
        elif not registry.is_held(workspace):  # else it is being made right now
            found.append(_damaged(workspace))
    return sorted(found, key=lambda one: (one.path, one.id))


def plan_prune_workspaces(store: Store) -> WorkspacePrunePlan:
    """What pruning would forget: workspaces whose directory is gone, and bases that no living one uses."""
    from casstore.workspace.overlay.probing import left_probes
    from casstore.workspace.pruning import is_dead

    registry = Registry(store)
    dead = tuple(one for one in list_workspaces(store) if is_dead(registry, one))
    return WorkspacePrunePlan(store, dead, tuple(_unused(store, {one.id for one in dead})), left_probes(store.path))


def _unused(store: Store, without: set[str]) -> list[str]:
    """Bases that no workspace but those in ``without`` uses."""
    from casstore.workspace.overlay import unused_bases

    used = _used(store, without)
    return [] if used is None else unused_bases(store.path, used)


def _used(store: Store, without: set[str]) -> set[str] | None:
    """Bases that workspaces use, but for those in ``without``; None where that cannot be known."""
    from casstore.workspace.overlay.bases import base_name
    from casstore.workspace.pruning import has_delta

    registry = Registry(store)
    used = set()
    for workspace in registry.ids():
        try:
            info = registry.info(workspace)
        except (CorruptionError, FormatVersionError):
            if has_delta(registry, workspace):
                return None  # Nobody knows which base that is a delta of.
            continue
        if info is not None and info.kind in OVERLAYS and workspace not in without:
            used.add(base_name(info.lower))
    return used


def _described(registry: Registry, info: Info, mounts: list[Mounted]) -> WorkspaceInfo:
    state: WorkspaceState = "ok"
    try:
        status = os.stat(info.path)
        there = info.kind in OVERLAYS or (status.st_dev, status.st_ino) == (info.device, info.inode)
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except OSError:
        there = True  # Nobody can tell; it must not be forgotten for that.
    try:
        interrupted = registry.is_interrupted(info.id)
    except (CorruptionError, FormatVersionError):
        interrupted, state = False, "damaged"
    if not there:
        state = "missing"
    elif interrupted:
        state = "interrupted"
    elif state == "ok" and info.kind == "overlay":
        source = os.path.realpath(registry.folder(info.id))
        if not any(mounted.source == source for mounted in mounts):
            state = "unmounted"
    return WorkspaceInfo(
        id=info.id, path=info.path, kind=info.kind, base=info.base, base_ref=info.base_ref, state=state
    )


def _damaged(workspace: str) -> WorkspaceInfo:
    return WorkspaceInfo(id=workspace, path="", kind="plain", base=None, base_ref=None, state="damaged")


def _mounts(store: Store) -> list[Mounted]:
    from casstore.workspace.overlay import list_mounts

    return list_mounts(store.path)
