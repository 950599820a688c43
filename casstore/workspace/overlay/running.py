# SPDX-License-Identifier: MIT
"""Commands in a user namespace of their own, in which an overlay is mounted: overlays without root.

Nobody else sees the mount, and it ends with the command: everything the command started is killed when it ends, since
a process left behind would go on changing the upper folder unseen. What was written is in the upper folder, where the
next command finds it. The user keeps its id; of other ids in the base only ``nobody`` is seen.

Renaming a folder that the base has gives ``EXDEV`` here, because a user namespace may not make redirects. ``mv`` and
the like then copy and delete, which costs more and leaves the same tree; programs that call rename(2) themselves must
expect the error, as they do across file systems.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from casstore.errors import CasstoreError, InvalidInputError, LockedError, StorageError
from casstore.workspace.overlay.mounting import OverlayMount

_START: Final = "import sys; sys.path[:] = {path!r}; from casstore.workspace.overlay.inside import main; main()"
_MAX_REPORT_BYTES: Final = 64 * 1024
_END_STEPS: Final = 200
_END_STEP_SECONDS: Final = 0.005


def run_private(overlay: OverlayMount, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """What ``command`` did, run in ``overlay.target`` where it sees the overlay.

    Args:
        overlay: A private overlay. One command at a time may have it.
        command: The program and its arguments; no shell.
        **options: Those of ``subprocess.run``, such as ``capture_output``, ``input``, ``env``, ``check``, ``timeout``.
            ``cwd`` is a folder below the target, relative to it.

    Raises:
        LockedError: Another command runs in the overlay.
        InvalidInputError: There are no user namespaces here, they may not mount, or the command is not there.
        StorageError: The system refused for another reason.
        subprocess.SubprocessError: As ``subprocess.run`` raises it.

    *Cost*: 60 ms more than the command: a process of Python makes the namespaces.
    """
    if not command or isinstance(command, (str, bytes)):
        raise InvalidInputError("give the command as a list: the program, then its arguments.")
    if options.get("shell") or "executable" in options or "preexec_fn" in options:
        raise InvalidInputError("shell, executable and preexec_fn cannot be used here; run ['/bin/sh', '-c', ...].")
    folder = os.path.join(overlay.target, os.fspath(options.pop("cwd", None) or ""))
    lock = _lock(overlay)
    reader, writer = os.pipe()
    try:
        task = {
            "overlay": asdict(overlay),
            "command": list(command),
            "folder": folder,
            "report": writer,
            # The namespace may outlive a helper that was killed; the lock then lasts as long.
            "lock": lock,
        }
        arguments = [sys.executable, "-c", _START.format(path=sys.path), json.dumps(task)]
        passed = (*options.pop("pass_fds", ()), writer, lock)
        check = options.pop("check", False)
        try:
            done = subprocess.run(arguments, pass_fds=passed, check=False, **options)
        except subprocess.TimeoutExpired as error:
            os.close(lock)
            lock = -1
            _await_end(overlay)
            raise subprocess.TimeoutExpired(list(command), error.timeout, error.output, error.stderr) from None
        finally:
            os.close(writer)
            writer = -1
        _raise_reported(os.read(reader, _MAX_REPORT_BYTES), overlay.target)
    finally:
        os.close(reader)
        if lock >= 0:
            os.close(lock)
    done.args = list(command)
    if check:
        done.check_returncode()
    return done


@contextmanager
def hold_private(overlay: OverlayMount) -> Iterator[None]:
    """No command runs in the overlay until the context ends.

    Raises:
        LockedError: One does now.
    """
    lock = _lock(overlay)
    try:
        yield
    finally:
        os.close(lock)


def _lock(overlay: OverlayMount) -> int:
    """The work folder, open and locked until it is closed."""
    try:
        fd = os.open(overlay.work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInputError(
            f"the delta of the workspace at {overlay.work!r} is gone; run `casstore workspace prune`.",
            path=overlay.work,
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LockedError(
            f"a command runs in {overlay.target!r}; a private overlay takes one at a time. Wait until it has ended.",
            path=overlay.target,
        ) from error
    return fd


def _await_end(overlay: OverlayMount) -> None:
    """Waits a little until the kernel has killed all that a killed command started, so that the next one may begin."""
    for _ in range(_END_STEPS):
        try:
            os.close(_lock(overlay))
            return
        except LockedError:
            time.sleep(_END_STEP_SECONDS)


def _raise_reported(report: bytes, target: str) -> None:
    """Raises what went wrong before the command began."""
    if not report:
        return
    step, number, text = json.loads(report)
    failures: dict[str, CasstoreError] = {
        "namespace": InvalidInputError(
            f"no user namespace can be made: {text}. Allow them (user.max_user_namespaces, and the rules of containers "
            "and AppArmor), or fork with another method.",
            path=target,
        ),
        "mount": InvalidInputError(
            f"no overlay can be mounted in a user namespace here: {text}. Fork with another method.", path=target
        ),
        "command": InvalidInputError(f"the command cannot be run in {target!r}: {text}.", path=target),
    }
    error = failures[step]
    if number in (errno.ENOSPC, errno.ENOMEM, errno.EAGAIN, errno.EIO):
        error = StorageError(f"the command was not run in {target!r}: {text}; try again later.", path=target)
    raise error from OSError(number, os.strerror(number))
