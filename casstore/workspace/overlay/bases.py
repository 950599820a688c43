# SPDX-License-Identifier: MIT
"""Bases: one frozen tree on disk per state of files, shared by all forks that start there.

::

    STORE/bases/HEX/tree     the files of the root HEX (`empty` where there are none); nobody writes there
    STORE/bases/new-*/       one that is being made, or was when its maker died

A base is made beside its place, written through to the disk, and renamed: what has the name is complete. Its folder is
private to the user, so that nobody changes it by accident; a change would show in every fork.

Who makes or uses one holds a shared lock on its folder, which the kernel drops when the process ends. Only what nobody
holds is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from casstore import layout
from casstore.errors import InvalidInputError, LockedError, StorageError
from casstore.workspace.overlay.removing import remove_tree
from casstore.workspace.overlay.syscalls import sync_file_system
from casstore.workspace.report import Progress

if TYPE_CHECKING:
    from casstore.store import Store
    from casstore.tree import Root

TREE: Final = "tree"
EMPTY: Final = "empty"
_NEW: Final = "new-"
_NAME = re.compile(r"[0-9a-f]{64}|" + EMPTY)
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY})


def base_name(root: Root) -> str:
    """Name of the folder of a files root's base."""
    return EMPTY if root is None else root.hex()


def base_path(store_path: str, name: str) -> str:
    """The tree of the base ``name``, whether it is there or not."""
    return os.path.join(store_path, layout.BASES, name, TREE)


def ensure_base(store: Store, root: Root, *, progress: Progress | None = None) -> str:
    """The folder that holds the files of ``root``, made if it is missing. Never write there.

    Several processes may make the same one: the first to finish wins, the others drop theirs. Nothing keeps it from
    ``remove_base`` until a workspace is known to use it: hold it (``hold_base``) meanwhile.

    Raises:
        InvalidInputError: The store is not on disk.
        StorageError: The system refused to write.
        CorruptionError: A content or node is damaged.

    *Durability*: the whole base is on disk before it has its name.

    *Cost*: 10 µs if it is there; else that of a checkout, and of writing out the file system's caches.
    """
    with hold_base(store, root, progress=progress) as tree:
        return tree


@contextmanager
def hold_base(store: Store, root: Root, *, progress: Progress | None = None) -> Iterator[str]:
    """``ensure_base``, and the base is not removed until the context ends."""
    if not os.path.isdir(store.path):
        raise InvalidInputError(f"the store {store.path!r} has no folder on disk, so it has no bases; use one on disk.")
    place = os.path.join(store.path, layout.BASES, base_name(root))
    held = _hold(place)
    while held < 0:
        _make(store, root, place, progress)
        held = _hold(place)
    try:
        yield os.path.join(place, TREE)
    finally:
        os.close(held)


def list_bases(store_path: str) -> list[str]:
    """Names of the bases that are complete, sorted."""
    return sorted(name for name in _names(store_path) if _NAME.fullmatch(name))


def unused_bases(store_path: str, used: Container[str]) -> list[str]:
    """Names below the bases' folder that ``remove_base`` may remove: not in ``used``, held by nobody, or half made."""
    found = []
    for name in _names(store_path):
        if name in used or not (_NAME.fullmatch(name) or name.startswith(_NEW)):
            continue
        fd = _lock(os.path.join(store_path, layout.BASES, name), fcntl.LOCK_EX)
        if fd >= 0:
            os.close(fd)
            found.append(name)
    return sorted(found)


def remove_base(store_path: str, name: str, is_used: Callable[[str], bool] = lambda _: False) -> None:
    """Deletes a base, or what is left of one that was being made. Nothing happens if it is gone already.

    Raises:
        InvalidInputError: That is no name of a base.
        LockedError: Somebody holds it.
        StorageError: The system refused.
    """
    if not (_NAME.fullmatch(name) or (name.startswith(_NEW) and "/" not in name)):
        raise InvalidInputError(f"{name!r} names no base; see `casstore workspace list`.")
    place = os.path.join(store_path, layout.BASES, name)
    fd = _lock(place, fcntl.LOCK_EX)
    if fd < 0:
        if os.path.lexists(place):
            raise LockedError(f"the base {name} is in use; try again when that has ended.", path=place)
        return
    try:
        # Held now, so nobody can begin to use it; but somebody may have begun before.
        if is_used(name):
            return
        doomed = place
        if not name.startswith(_NEW):
            # Under its own name it is whole or not there.
            doomed = tempfile.mkdtemp(prefix=_NEW, dir=os.path.dirname(place))
            os.rename(place, doomed)
        remove_tree(doomed)
    except OSError as error:
        raise StorageError(f"the base {name} cannot be removed: {error.strerror}.", path=place) from error
    finally:
        os.close(fd)


def _names(store_path: str) -> list[str]:
    try:
        return os.listdir(os.path.join(store_path, layout.BASES))
    except FileNotFoundError:
        return []


def _hold(place: str) -> int:
    """The base's folder, open and held; -1 if there is none."""
    while True:
        fd = _lock(place, fcntl.LOCK_SH)
        if fd >= 0 or not os.path.lexists(place):
            return fd


def _lock(place: str, kind: int) -> int:
    """The folder ``place``, open and locked; -1 if it is gone or somebody else's lock forbids it."""
    try:
        fd = os.open(place, _FOLDER_FLAGS)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        # It may have been removed, and made anew, between the two.
        if os.path.samestat(os.fstat(fd), os.stat(place, follow_symlinks=False)):
            return fd
    except OSError:
        pass
    os.close(fd)
    return -1


def _make(store: Store, root: Root, place: str, progress: Progress | None) -> None:
    """Makes the base, unless somebody else does so first."""
    above = os.path.dirname(place)
    try:
        os.makedirs(above, 0o700, exist_ok=True)
        new = tempfile.mkdtemp(prefix=_NEW, dir=above)
        fd = os.open(new, _FOLDER_FLAGS)
    except OSError as error:
        raise StorageError(
            f"{above!r} cannot be written to: {error.strerror}; free some space, or fork by copying.", path=above
        ) from error
    renamed = False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        _check_out(store, root, os.path.join(new, TREE), progress)
        sync_file_system(fd)
        try:
            os.rename(new, place)
            renamed = True
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        _sync_folder(above)
    except OSError as error:
        raise StorageError(f"the base at {place!r} cannot be made: {error.strerror}.", path=place) from error
    finally:
        os.close(fd)
        if not renamed:
            remove_tree(new)


def _check_out(store: Store, root: Root, directory: str, progress: Progress | None) -> None:
    from casstore.workspace.checking_out import write_part
    from casstore.workspace.part import FILES, Part

    os.mkdir(directory)
    fd = os.open(directory, _FOLDER_FLAGS)
    write_part(store, Part(store.nodes, {} if root is None else {FILES: root}), directory, fd, progress=progress)


def _sync_folder(path: str) -> None:
    fd = os.open(path, _FOLDER_FLAGS)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
