# SPDX-License-Identifier: MIT
"""Which way a fork becomes a directory on this machine: each one is tried out, and the choice says why it was made."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from casstore import layout
from casstore.errors import CasstoreError, InvalidInputError
from casstore.workspace.copies import why_no_reflinks
from casstore.workspace.overlay.mounting import OverlayMount, list_mounts, unmount
from casstore.workspace.overlay.removing import remove_tree
from casstore.workspace.overlay.upper import Upper

Method = Literal["overlay", "overlay-private", "reflink", "copy"]
METHODS: Final[tuple[Method, ...]] = ("overlay", "overlay-private", "reflink", "copy")
"""In the order in which they are preferred."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How a fork becomes a directory.

    Attributes:
        method: ``overlay`` (mounted, seen by all), ``overlay-private`` (in a user namespace: seen only by commands that
            the workspace runs), ``reflink`` (files share their blocks) or ``copy``.
        why: The reason, in words.
    """

    method: Method
    why: str


def choose(store_path: str, directory: str, wanted: str | None = None) -> Choice:
    """How a fork is best shown at ``directory``.

    An overlay that others can see comes first, then reflinks, copies last. A private overlay is chosen only if it is
    wanted, because who forks to a directory expects to find files in it.

    Args:
        store_path: The store's folder.
        directory: Where the fork is to be; it need not exist.
        wanted: One of ``METHODS``: that, or an error.

    Raises:
        InvalidInputError: There is no such method, or it cannot be had here; the message says why and what can.

    *Cost*: the first call tries what it must (an overlay takes 2 ms, a user namespace 60 ms); results last for the
    process.
    """
    if wanted is not None and wanted not in METHODS:
        raise InvalidInputError(f"there is no method {wanted!r}; use one of {', '.join(METHODS)}.")
    reasons: dict[Method, str] = {}
    store = os.path.abspath(store_path)
    tries: dict[Method, Callable[[], str]] = {
        "overlay": lambda: why_no_overlay(store),
        "overlay-private": lambda: why_no_private_overlay(store),
        "reflink": lambda: why_no_reflinks(store, directory),
        "copy": lambda: "",
    }
    for method in METHODS:
        if wanted is None and method == "overlay-private":
            continue
        reason = tries[method]()
        if not reason and wanted in (None, method):
            return Choice(method, _success(method, reasons))
        reasons[method] = reason
    possible = ", ".join(method for method, reason in reasons.items() if not reason)
    raise InvalidInputError(
        f"a fork at {directory!r} cannot be made by {wanted}: {reasons[_method(wanted)]}. Possible here: {possible}.",
        path=directory,
    )


def _method(wanted: str | None) -> Method:
    return next(method for method in METHODS if method == wanted)


def _success(method: Method, reasons: dict[Method, str]) -> str:
    what = {
        "overlay": "overlayfs: mounted by this process",
        "overlay-private": "overlayfs: mounted in a user namespace, for the commands that the workspace runs",
        "reflink": "reflinks: files share their blocks until they change",
        "copy": "copy",
    }[method]
    return f"{what}; {'; '.join(reason for reason in reasons.values() if reason)}" if any(reasons.values()) else what


def why_no_overlay(store: str) -> str:
    """Why this process cannot mount overlays with layers in the store's folder, in words; nothing if it can."""
    return _cached(store, private=False)


def why_no_private_overlay(store: str) -> str:
    """The same for overlays inside of user namespaces."""
    return _cached(store, private=True)


def _cached(store: str, *, private: bool) -> str:
    what = "no private overlayfs" if private else "no overlayfs"
    if sys.platform != "linux":
        return f"{what}: this system is not Linux"
    try:
        status = os.stat(store)
    except OSError as error:
        return f"{what}: the store has no folder on disk ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return f"{what}: the store has no folder on disk"
    # By identity: a path may lead to another file system tomorrow.
    reason = _try(store, status.st_dev, status.st_ino, private)
    return f"{what}: {reason}" if reason else ""


@cache
def _try(store: str, device: int, inode: int, private: bool) -> str:
    """Why an overlay does not work with layers in ``store``; nothing if it does. Device and inode are for the cache."""
    above = os.path.join(store, layout.WORKSPACES)
    try:
        os.makedirs(above, 0o700, exist_ok=True)
        probing = _hold(above, fcntl.LOCK_SH)
        try:
            return _try_below(above, private)
        finally:
            os.close(probing)
    except OSError as error:
        return f"the store's folder cannot be written to ({error.strerror})"


def _try_below(above: str, private: bool) -> str:
    scratch = tempfile.mkdtemp(prefix=PROBE, dir=above)
    try:
        return _try_in(scratch, private)
    except (CasstoreError, OSError) as error:
        return _words(error)
    finally:
        remove_tree(scratch)


PROBE: Final = "probe-"
"""Beginning of the name of a folder below ``workspaces/`` in which an overlay is tried; a crash may leave one.

Who tries one out has a shared ``flock`` on ``workspaces/`` meanwhile.
"""


def _hold(above: str, how: int) -> int:
    """The folder ``workspaces/``, locked until it is closed. Raises ``OSError``."""
    fd = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
    except BaseException:
        os.close(fd)
        raise
    return fd


def left_probes(store: str) -> tuple[str, ...]:
    """Names of the folders in which an overlay was tried out, and that a crash left; none while anybody tries one."""
    above = os.path.join(store, layout.WORKSPACES)
    try:
        probing = _hold(above, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            return _probes(above)
        finally:
            os.close(probing)
    except OSError:
        return ()  # There are none, or somebody is at it.


def remove_probes(store: str) -> tuple[str, ...]:
    """Deletes what ``left_probes`` names, and returns its names.

    Raises:
        StorageError: The system refused.
    """
    above = os.path.join(os.path.realpath(store), layout.WORKSPACES)
    try:
        probing = _hold(above, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return ()
    try:
        names = _probes(above)
        folders = [os.path.join(above, name) for name in names]
        for mounted in list_mounts(store):
            if mounted.source in folders:
                unmount(mounted.target, lazy=True)
        for folder in folders:
            remove_tree(folder)
        return names
    finally:
        os.close(probing)


def _probes(above: str) -> tuple[str, ...]:
    return tuple(sorted(name for name in os.listdir(above) if name.startswith(PROBE)))


def _try_in(scratch: str, private: bool) -> str:
    base, target = os.path.join(scratch, "base"), os.path.join(scratch, "target")
    os.makedirs(os.path.join(base, "old"))
    os.mkdir(target)
    with open(os.path.join(base, "gone"), "wb"):
        pass
    upper = Upper(scratch, private=private)
    upper.create()
    overlay = upper.overlay(base, target)
    if private:
        return _try_private(overlay)
    overlay.mount_unchecked()
    try:
        # The kernel mounts read-only, and says so only in its log, what cannot carry an upper folder.
        os.unlink(os.path.join(target, "gone"))
        os.rename(os.path.join(target, "old"), os.path.join(target, "new"))
    except OSError as error:
        return f"mounted, but a file or folder of the base cannot be changed ({error.strerror})"
    finally:
        overlay.unmount(lazy=True)
    return "" if _is_whiteout(os.path.join(upper.path, "gone")) else "it leaves no whiteouts"


def _try_private(overlay: OverlayMount) -> str:
    from casstore.workspace.overlay.running import run_private

    done = run_private(overlay, ["/bin/sh", "-c", "rm gone && rmdir old"], capture_output=True)
    if done.returncode:
        return "a command in a user namespace could not change it"
    return "" if _is_whiteout(os.path.join(overlay.upper, "gone")) else "it leaves no whiteouts"


def _is_whiteout(path: str) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _words(error: CasstoreError | OSError) -> str:
    """The reason alone, without what to do about a mount that is only tried."""
    cause = error.__cause__ if isinstance(error, CasstoreError) else error
    if not isinstance(cause, OSError):
        return str(error)
    if cause.errno == errno.EPERM:
        return f"this process may not ({cause.strerror})"
    return cause.strerror or str(error)
