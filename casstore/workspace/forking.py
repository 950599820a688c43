# SPDX-License-Identifier: MIT
"""A state as a new directory: an overlay over a frozen base, files that share their blocks, or a copy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from casstore.address import Address
from casstore.branches import Branch
from casstore.errors import InvalidInputError, NotFoundError, ReadOnlyError, StorageError
from casstore.format.workspace_files import COPY, OVERLAY_PRIVATE, REFLINK, Info
from casstore.snapshots import Snapshot, check_ref_name
from casstore.tree import Change
from casstore.workspace.overlay import (
    Upper,
    choose,
    hold_base,
    list_bases,
    list_mounts,
    run_private,
    small_delta,
    unmount,
)
from casstore.workspace.overlay.bases import EMPTY
from casstore.workspace.overlay.overlaid import upper_cache_key
from casstore.workspace.part import FILES, POSIX
from casstore.workspace.pruning import save_upper
from casstore.workspace.registration import Registration
from casstore.workspace.registry import OVERLAYS, Registry, base_ref_of, forget_refs, workspace_ref
from casstore.workspace.saving import snapshot_at
from casstore.workspace.scanning.scan import folder_name, is_inside, open_top
from casstore.workspace.selection import Selection
from casstore.workspace.workspace import Workspace

if TYPE_CHECKING:
    from casstore.store import State, Store

_TRIED_BASES: Final = 4
"""How many bases are compared with a state before a new one is made for it."""


def fork_to(
    store: Store,
    state: State | Branch,
    directory: str | os.PathLike[str],
    *,
    method: str | None = None,
    ref: str | None = None,
) -> Workspace:
    """A new directory that holds ``state``, as a workspace of its own.

    Args:
        store: An open store on disk, open for writing.
        state: A ref, snapshot, id or branch.
        directory: Must be empty, or is made.
        method: ``"overlay"``, ``"overlay-private"``, ``"reflink"`` or ``"copy"``; None takes the first that works of
            all but the second, in this order.
        ref: The ref that the workspace is said to be at; None is ``state`` where that is a ref.

    Raises:
        NotFoundError: There is no such state.
        InvalidInputError: The directory is not empty or lies in a workspace, the method cannot be had there, or nothing
            can have that name.
        StorageError: The system refused.

    *Cost*: an overlay whose base is there takes 2 ms, whatever its size, and 50 µs for each workspace that the store
    has; a base is made once.
    """
    if ref is not None:
        check_ref_name(ref)
    snapshot = snapshot_at(store, state)
    if ref is None and isinstance(state, str) and state in store.refs:
        ref = state
    return fork_state(store, snapshot, directory, method=method, ref=ref, keep=isinstance(state, Branch))


def fork_state(
    store: Store,
    snapshot: Snapshot,
    directory: str | os.PathLike[str],
    *,
    method: str | None,
    ref: str | None,
    keep: bool,
    lower: Address | None = None,
    selection: Selection | None = None,
) -> Workspace:
    """``fork_to`` of a snapshot; ``keep`` says that nothing else keeps it, ``lower`` which base its forerunner had."""
    if store.read_only:
        raise ReadOnlyError("the store is open read-only; open it for writing to fork a directory.")
    place = os.path.realpath(folder_name(directory))
    if is_inside(place, store.path):
        raise InvalidInputError(f"{place!r} belongs to the store itself; choose another folder.", path=place)
    registry = Registry(store)
    around = registry.around(place)
    if around is not None:
        raise InvalidInputError(
            f"{place!r} lies in the workspace {around.id} at {around.path!r}, which would capture the fork too; choose "
            "a folder outside of it.",
            path=place,
        )
    made = _empty_folder(place)
    with store.storage.operation(), ExitStack() as always, ExitStack() as undo:
        if made:
            undo.callback(_remove_folder, place)
        choice = choose(store.path, place, method)
        workspace = registry.new_id()
        undo.callback(registry.remove, workspace)
        # Nobody takes it for one that is damaged while it is being made.
        always.callback(registry.lock(workspace).release)
        info = Info(
            id=workspace,
            path=place,
            device=0,
            inode=0,
            kind=choice.method,
            base=snapshot.id,
            base_ref=ref,
            ignore="nothing" if choice.method in OVERLAYS or selection is None else selection.ignore,
            keep_git=selection is None or selection.keep_git,
            metadata="full" if choice.method == COPY and POSIX in snapshot.roots else "basic",
            created_ns=time.time_ns(),
        )
        root = snapshot.roots.get(FILES)
        if choice.method in OVERLAYS:
            lower, changes = _base_for(store, snapshot, lower)
            with hold_base(store, lower) as tree:
                upper = Upper(registry.folder(workspace), private=choice.method == OVERLAY_PRIVATE)
                upper.create()
                if changes:
                    upper.write(store, changes, base=tree, root=root)
                info = replace(info, lower=lower)
                registry.register(info)
                _keep_base(store, workspace, lower)
                undo.callback(forget_refs, store, workspace, "fork failed")
                if choice.method != OVERLAY_PRIVATE:
                    mount = upper.overlay(tree, place)
                    mount.mount()
                    undo.callback(mount.unmount)
        else:
            if choice.method == REFLINK:
                from casstore.workspace.copies import copy_tree

                with hold_base(store, root) as tree:
                    copy_tree(tree, place, reflink=True)
            else:
                _copy(store, snapshot, place)
            status = os.stat(place)
            info = replace(info, device=status.st_dev, inode=status.st_ino)
            registry.register(info)
        if keep:
            name = workspace_ref(workspace)
            store.refs.compare_and_set(name, store.refs.id_of(name), snapshot, reason="forked")
        else:
            store.sync()
        undo.pop_all()
    found = Workspace(store, place, _info=info)
    found.why = choice.why
    if POSIX in snapshot.roots and choice.method != COPY:
        found.why += "; the state's POSIX metadata is not shown"
    return found


def _keep_base(store: Store, workspace: str, lower: Address | None) -> None:
    """Keeps the files of an overlay's base from the collector; the same snapshot for all overlays of one base."""
    roots = {} if lower is None else {FILES: lower}
    snapshot = store.add_snapshot(roots=roots, message="base of overlays", time_ns=0)
    store.refs.compare_and_set(base_ref_of(workspace), None, snapshot, reason="forked")


def _copy(store: Store, snapshot: Snapshot, place: str) -> None:
    from casstore.workspace.checking_out import write_part
    from casstore.workspace.part import Part
    from casstore.workspace.registering import save_checkout
    from casstore.workspace.scanning.recording import Recorder

    recorder = Recorder()
    write_part(store, Part(store.nodes, snapshot.roots), place, open_top(place), recorder=recorder)
    store.sync()
    recorder.settle()
    save_checkout(store, place, snapshot, recorder.folders)


def _base_for(store: Store, snapshot: Snapshot, lower: Address | None) -> tuple[Address | None, Sequence[Change]]:
    """The base that a fork of ``snapshot`` is mounted on, and its delta: one that is there, or a new one without."""
    root = snapshot.roots.get(FILES)
    names = set(list_bases(store.path))
    if (EMPTY if root is None else root.hex()) in names:
        return root, ()
    for candidate in _candidates(store, snapshot, lower, names):
        with contextlib.suppress(NotFoundError):  # its tree was collected; the base on disk is pruned one day
            changes = small_delta(store.nodes, candidate, root)
            if changes is not None:
                return candidate, changes
    return root, ()


def _candidates(store: Store, snapshot: Snapshot, lower: Address | None, names: set[str]) -> Iterator[Address | None]:
    """Roots whose bases are there: the forerunner's, those of the nearest ancestors, then those used last."""
    tried: set[str] = set()
    if lower is not None and lower.hex() in names:
        tried.add(lower.hex())
        yield lower
    for origin in snapshot.parents[:_TRIED_BASES]:
        with contextlib.suppress(NotFoundError):  # a parent may be gone, being shallow
            root = store.snapshots.fields(origin).roots.get(FILES)
            if root is not None and root.hex() in names - tried:
                tried.add(root.hex())
                yield root
    rest = sorted(names - tried - {EMPTY}, key=lambda name: _last_used(store, name), reverse=True)
    for name in rest[:_TRIED_BASES]:
        root = Address(bytes.fromhex(name))
        if root in store:
            yield root


def _last_used(store: Store, name: str) -> float:
    from casstore.workspace.overlay.bases import base_path

    try:
        return os.stat(os.path.dirname(base_path(store.path, name))).st_mtime
    except OSError:
        return 0.0


def _empty_folder(place: str) -> bool:
    """Makes the folder where it is missing; whether it did.

    Raises:
        InvalidInputError: Something is there that is no empty folder.
        StorageError: The system refused.
    """
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.mkdir(place)
        return True
    except FileExistsError:
        try:
            if not os.listdir(place):
                return False
        except NotADirectoryError:
            pass
        raise InvalidInputError(f"{place!r} is not empty; choose an empty or new folder.", path=place) from None
    except OSError as error:
        raise StorageError(f"{place!r} cannot be made: {error.strerror}; choose another folder.", path=place) from error


def _remove_folder(place: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(place)


# -- what a fork needs later


def mount_again(known: Registration) -> None:
    """Shows an overlay whose mount is gone; nothing for others. See ``Workspace.mount``."""
    info = known.info
    if info is None or info.kind not in OVERLAYS:
        return
    if info.kind == OVERLAY_PRIVATE:
        raise InvalidInputError(
            f"{known.directory!r} is seen only by what `Workspace.run` runs; fork with the method overlay to have "
            "others see it.",
            path=known.directory,
        )
    upper = Upper(known.folder)
    target = known.directory
    source = os.path.realpath(upper.folder)
    if any(mounted.source == source and mounted.target == target for mounted in list_mounts()):
        return
    _require_bare(target)
    with hold_base(known.store, info.lower) as tree:
        upper.overlay(tree, target).mount()


def _require_bare(target: str) -> None:
    """Passes where nothing would be hidden by a mount; the folder is made where it is missing."""
    try:
        os.makedirs(target, exist_ok=True)
        if not os.listdir(target):
            return
        what = "is not empty, and a mount would hide what is in it; move away what is in it"
    except (FileExistsError, NotADirectoryError):
        what = "is no folder; move it away"
    except OSError as error:
        raise StorageError(
            f"{target!r} cannot be mounted at: {error.strerror}; give yourself access to it.", path=target
        ) from error
    raise InvalidInputError(f"{target!r} {what}, then mount again.", path=target)


def run_in_private(
    known: Registration, command: Sequence[str], options: dict[str, Any]
) -> subprocess.CompletedProcess[Any]:
    """Runs a program where a private overlay can be seen."""
    upper = Upper(known.folder, private=True)
    with hold_base(known.store, known.registered().lower) as tree:
        return run_private(upper.overlay(tree, known.directory), command, **options)


def remove_workspace(known: Registration) -> None:
    """Forgets a workspace; see ``Workspace.remove``. Its lock is held."""
    store, info, registry = known.store, known.registered(), known.registry
    if info.kind in OVERLAYS:
        # First nobody may write to it any more; then it is saved.
        source = os.path.realpath(registry.folder(info.id))
        for mounted in list_mounts():
            if mounted.source == source:
                unmount(mounted.target)
        save_upper(store, info, registry.folder(info.id))
        key = upper_cache_key(info.id)
        upper = Upper(registry.folder(info.id), private=info.kind == OVERLAY_PRIVATE, cache_key=key)
        upper.forget(store.storage)
        upper.remove()
        _remove_folder(info.path)
    forget_refs(store, info.id, "workspace removed")
    registry.remove(info.id)
