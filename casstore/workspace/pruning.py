# SPDX-License-Identifier: MIT
"""Forgetting a workspace whose directory is gone, without losing what only it had."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casstore import layout
from casstore.errors import CorruptionError, FormatVersionError, NotFoundError
from casstore.format.workspace_files import OVERLAY_PRIVATE, Info
from casstore.workspace.overlay.private import OLD
from casstore.workspace.part import FILES, OBJECTS
from casstore.workspace.registry import OVERLAYS, Registry, forget_refs, workspace_ref
from casstore.workspace.selection import Selection

if TYPE_CHECKING:
    from casstore.snapshots import Snapshot
    from casstore.store import Store
    from casstore.workspace.finding import WorkspaceInfo


def is_dead(registry: Registry, one: WorkspaceInfo) -> bool:
    """Whether a workspace is of no use any more, and can be forgotten without losing anything."""
    if one.state == "missing":
        return True
    if one.state != "damaged":
        return False
    try:
        registry.info(one.id)
    except FormatVersionError:
        return False  # A later casstore knows it.
    except CorruptionError:
        return not has_delta(registry, one.id)
    return True


def has_delta(registry: Registry, workspace: str) -> bool:
    """Whether the folder of a workspace holds what an overlay changed."""
    for name in (layout.UPPER, OLD):
        try:
            if os.listdir(os.path.join(registry.folder(workspace), name)):
                return True
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False


def forget(store: Store, workspace: str) -> Snapshot | None:
    """Forgets a workspace; the snapshot that keeps what an overlay alone had, if it had anything.

    Raises:
        LockedError: Somebody is changing it.
        CorruptionError: It is an overlay of which nothing is known but what it changed.
        FormatVersionError: A later casstore knows it.
        StorageError: The system refused.
    """
    registry = Registry(store)
    lock = registry.lock(workspace)
    try:
        try:
            info = registry.info(workspace)
        except CorruptionError:
            if has_delta(registry, workspace):
                raise
            info = None
        saved = None
        if info is None or info.kind in OVERLAYS:
            from casstore.workspace.overlay import Upper, list_mounts, unmount
            from casstore.workspace.overlay.overlaid import upper_cache_key

            folder = registry.folder(workspace)
            private = info is not None and info.kind == OVERLAY_PRIVATE
            upper = Upper(folder, private=private, cache_key=upper_cache_key(workspace))
            if info is not None:
                # Not lazily: what has files open there would go on writing after the delta was saved.
                source = os.path.realpath(folder)
                for mounted in list_mounts():
                    if mounted.source == source:
                        unmount(mounted.target)
                if os.path.isdir(upper.path) or has_delta(registry, workspace):
                    saved = save_upper(store, info, folder)
                upper.remove()
            # After that: what was saved was noted there.
            upper.forget(store.storage)
        forget_refs(store, workspace, "workspace pruned")
        registry.remove(workspace)
        return saved
    finally:
        lock.release()


def save_upper(store: Store, info: Info, folder: str) -> Snapshot | None:
    """Keeps what an overlay alone has under the workspace's ref, durably; None where it has nothing of its own."""
    from casstore.workspace.overlay.overlaid import OverlaidDirectory

    with store.storage.operation():
        selection = Selection(keep_git=info.keep_git)
        directory = OverlaidDirectory(store, info.id, folder, info.path, info.kind, info.lower, selection)
        observed = directory.observe(keep=True)
        try:
            base = None if info.base is None else store.snapshots.get(info.base)
        except NotFoundError:
            base = None
        if base is not None and observed.roots.get(FILES) == base.roots.get(FILES):
            return None
        roots = dict(observed.roots)
        if base is not None and OBJECTS in base.roots:
            roots[OBJECTS] = base.roots[OBJECTS]
        snapshot = store.add_snapshot(
            roots=roots,
            parents=() if base is None else (base.id,),
            message=f"saved from {info.path} before it was forgotten",
        )
        name = workspace_ref(info.id)
        store.refs.compare_and_set(name, store.refs.id_of(name), snapshot, reason="saved before pruning")
        return snapshot
