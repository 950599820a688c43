# SPDX-License-Identifier: MIT
"""The process that ``run_private`` starts: it makes the namespaces, mounts, runs the command, and ends as it does.

Three processes follow one another: this one waits for the first process of the new namespaces, which waits for the
command and adopts what the command leaves behind. When that first process ends the kernel kills all the others. What
goes wrong before the command runs is written to a pipe as JSON: the step, the error's number, the text.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from types import FrameType
from typing import Any, Final, NoReturn

from casstore.errors import CasstoreError
from casstore.workspace.overlay import syscalls
from casstore.workspace.overlay.mounting import OverlayMount

_FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# The terminal sends these to all processes, the command among them; whoever waits for it must not die of them.
_IGNORED: Final = (signal.SIGINT, signal.SIGQUIT)
_NOT_RUN: Final = 127


def main() -> NoReturn:
    """Does what the first argument says: the overlay, the command, its folder, and where to report."""
    task = json.loads(sys.argv[1])
    report = task["report"]
    for fd in (report, task["lock"]):
        os.set_inheritable(fd, False)
    step = "namespace"
    try:
        _make_namespaces()
        step = "mount"
        OverlayMount(**task["overlay"]).mount_unchecked()
        step = "command"
        os.chdir(task["folder"])
    except (CasstoreError, OSError) as error:
        _fail(report, step, error)
    reader, writer = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(reader)
        _be_first(report, writer, task["command"])
    os.close(writer)
    os.close(report)
    _wait(first)
    _end_like(reader)


def _make_namespaces() -> None:
    """A mount namespace in which this user may mount, whose processes are killed with the first one of them."""
    user, group = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    # Without it the kernel takes no map of groups from somebody without rights.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    syscalls.mount(b"none", b"/", None, syscalls.MS_REC | syscalls.MS_PRIVATE, None)


def _be_first(report: int, writer: int, command: list[str]) -> NoReturn:
    """The first process of the namespaces: runs the command and says how it ended."""
    syscalls.die_with_parent(signal.SIGKILL)
    child = os.fork()
    if child == 0:
        os.close(writer)
        for number in (signal.SIGPIPE, *_IGNORED):
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            _fail(report, "command", error)
    os.close(report)
    status = _wait(child)
    os.write(writer, str(status).encode())
    os._exit(0)


def _wait(child: int) -> int:
    """How ``child`` ended. Signals that ask to end are passed on to it; other children are only seen off."""

    def forward(number: int, frame: FrameType | None) -> None:
        """Passes a signal on."""
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass

    handlers: dict[signal.Signals, Any] = dict.fromkeys(_FORWARDED, forward) | dict.fromkeys(_IGNORED, signal.SIG_IGN)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _end_like(reader: int) -> NoReturn:
    """Ends this process as the command ended."""
    text = os.read(reader, 64)
    # Nothing was said: the first process was killed, and everything with it.
    status = int(text) if text else signal.SIGKILL
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _fail(report: int, step: str, error: CasstoreError | OSError) -> NoReturn:
    cause = error.__cause__ if isinstance(error, CasstoreError) else error
    number, text = (cause.errno, cause.strerror) if isinstance(cause, OSError) else (0, str(error))
    os.write(report, json.dumps([step, number or 0, text or str(error)]).encode())
    os._exit(_NOT_RUN)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
