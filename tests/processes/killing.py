# SPDX-License-Identifier: MIT
"""Commands that are killed: what they do, and a process that runs them in children and ends those at a chosen point.

A child counts its calls of the file system and ends before the n-th, without a word: nothing is flushed, nothing is
cleaned up, all its locks go. What it had written stays, as after ``kill -9``. Or ``SIGKILL`` comes after some time,
which may be within LevelDB too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import casstore
import casstore.branches.folding
import casstore.collection.plan
import casstore.collection.survey_process
import casstore.storage.migrating
import casstore.workspace.changing.changer
import casstore.workspace.switching
from casstore.workspace import Workspace, import_directory
from tests.snapshots.driving import SMALL
from tests.workspace.switching import child

CONFIG = replace(SMALL, threads=1, cache_bytes=1024 * 1024, actor="test")
STEPS = 3
KILLED = 9
Ack = Callable[[int], None]


def import_again(store: str, directory: str, ack: Ack) -> None:
    with casstore.open(store, config=CONFIG) as opened:
        import_directory(opened, directory, ref="imported")
        ack(1)


def commit_some(store: str, _: str, ack: Ack) -> None:
    """Some commits, each of which is durable once it was acknowledged."""
    with casstore.open(store, config=CONFIG) as opened:
        branch = opened.branch("main")
        text = branch.files["text"]
        for number in range(STEPS):
            branch.files[f"step/{number}"] = b"%d " % number * 400
            branch.files["text"] = text.replace(b"line 3", b"line three, changed in %d" % number)
            branch.objects["step"] = {"number": number, "text": "x" * 300}
            branch.commit(f"step {number}", ref="main")
            ack(number + 1)


def collect_all(store: str, _: str, ack: Ack) -> None:
    with casstore.open(store, config=CONFIG) as opened:
        opened.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        ack(1)


def collect_elsewhere(store: str, directory: str, ack: Ack) -> None:
    """As large stores do it, where another process marks."""
    casstore.collection.survey_process.FEW_RECORDS = 0  # type: ignore[misc]
    collect_all(store, directory, ack)


def switch(store: str, directory: str, ack: Ack) -> None:
    with casstore.open(store, config=CONFIG) as opened, Workspace(opened, directory) as workspace:
        workspace.switch("target")
        ack(1)


def migrate(store: str, _: str, ack: Ack) -> None:
    casstore.migrate(store)
    ack(1)
    # What the migration is for must be possible after it.
    with casstore.open(store, config=CONFIG) as opened:
        branch = opened.branch("main")
        branch.files["text"] = branch.files["text"].replace(b"line 5", b"line five")
        branch.commit("migrated", ref="main")


COMMANDS: dict[str, Callable[[str, str, Ack], None]] = {
    "import": import_again,
    "commit": commit_some,
    "gc": collect_all,
    "gc elsewhere": collect_elsewhere,
    "switch": switch,
    "migrate": migrate,
}

# -- the process that runs them

_WRITES = ("write", "pwrite", "writev")
_CALLS = (*_WRITES, "open", "rename", "replace", "link", "unlink", "rmdir", "mkdir", "chmod", "fchmod", "symlink",
          "fsync", "fdatasync", "ftruncate", "truncate", "utime", "posix_fallocate")  # fmt: skip


class _Counter:
    def __init__(self, limit: int, acknowledgements: int) -> None:
        self.count = 0
        self._limit = limit
        self._own = acknowledgements

    def install(self) -> None:
        for name in _CALLS:
            if hasattr(os, name):
                setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "write" and arguments[0] == self._own:
                return real(*arguments)
            self.count += 1
            if self.count == self._limit:
                if name in _WRITES:
                    # Also half of a write may have happened.
                    data = b"".join(arguments[1]) if name == "writev" else bytes(arguments[1])
                    half = data[: len(data) // 2]
                    real(arguments[0], [half] if name == "writev" else half, *arguments[2:])
                os._exit(KILLED)
            return real(*arguments, **options)

        return call


def _run(command: str, store: str, directory: str, number: int, answer: int) -> None:
    counter = _Counter(number, answer)
    counter.install()
    try:
        COMMANDS[command](store, directory, lambda done: os.write(answer, b"ack %d\n" % done) and None)
        os.write(answer, b"calls %d\n" % counter.count)
    except BaseException as error:
        os.write(answer, f"error {error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def serve() -> None:
    """Reads what to run, line by line, and answers what became of it."""
    for line in sys.stdin:
        command, store, directory, number = line.rstrip("\n").split("\t")
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            _run(command, store, directory, int(number), writing)
        os.close(writing)
        if int(number) < 0:
            time.sleep(-int(number) / 1e6)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with open(reading, "rb") as answer:
            said = answer.read().decode().replace("\n", ";")
        print(os.waitstatus_to_exitcode(status), said, sep="\t", flush=True)


class Outcome(NamedTuple):
    """How a child ended: its exit code, the last step that it acknowledged, how many calls it made, its error."""

    code: int
    acknowledged: int
    calls: int
    error: str

    @property
    def killed(self) -> bool:
        return self.code in (KILLED, -signal.SIGKILL)


class Killer:
    """The process of ``serve``, from outside."""

    def __init__(self) -> None:
        self._process = child("from tests.processes.killing import serve; serve()")

    def run(self, command: str, store: Path, directory: Path, number: int) -> Outcome:
        """Runs a command that ends before its call ``number`` (0: not; below: after so many microseconds)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\t{store}\t{directory}\t{number}\n".encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline().decode()
        assert line, self._process.stderr and self._process.stderr.read().decode()
        code, said = line.rstrip("\n").split("\t")
        words = [part.split(" ", 1) for part in said.split(";") if part]
        error = " ".join(text for kind, text in words if kind == "error")
        assert not error, error
        acknowledged = max((int(text) for kind, text in words if kind == "ack"), default=0)
        calls = max((int(text) for kind, text in words if kind == "calls"), default=0)
        return Outcome(int(code), acknowledged, calls, error)

    def close(self) -> None:
        self._process.communicate()
