# SPDX-License-Identifier: MIT
"""What the workers of the tests run; a module of its own, so that spawned processes can import it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import casstore
from tests.storage.stores import noise

_store: casstore.Store | None = None


def start(path: str) -> None:
    """Opens the store once for each worker process."""
    global _store
    _store = casstore.open(path, read_only=True)


def explore(job: tuple[int, str]) -> tuple[int, bytes]:
    """Tries something on a branch, and leaves it as a bundle; returns the state that it should bring."""
    number, target = job
    assert _store is not None
    branch = _store.branch("main")
    assert branch.files["f"] == noise(1, 9000)
    branch.files[f"by/{number}"] = noise(1000 + number, 40_000)
    branch.objects["number"] = number
    try:
        branch.commit("a reader cannot")
    except casstore.ReadOnlyError:
        pass
    else:
        raise RuntimeError("a reader committed")
    _store.export_bundle(target, [branch], exclude=["main"])
    return number, branch.state_id()


def export_and_die(path: str, target: str, at: int, streamed: bool) -> None:
    """Exports a branch and is killed before its write number ``at``; half of that write happens."""
    start(path)
    assert _store is not None
    branch = _store.branch("main")
    for number in range(60):
        branch.files[f"large/{number}"] = noise(number, 60_000)
    writes = 0
    real_write, real_writev, real_rename = os.write, os.writev, os.rename

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(fd: int, data: bytes) -> int:
        nonlocal writes
        writes += 1
        if writes == at:
            real_write(fd, bytes(data)[: len(data) // 2])
            die()
        return real_write(fd, data)

    def counted_parts(fd: int, parts: list[bytes]) -> int:
        nonlocal writes
        writes += 1
        if writes == at:
            real_writev(fd, [b"".join(parts)[: sum(map(len, parts)) // 2]])
            die()
        return real_writev(fd, parts)

    def renamed(source: str, to: str, **options: int) -> None:
        if at == 0:
            die()
        real_rename(source, to, **options)

    os.write, os.writev, os.rename = counted, counted_parts, renamed  # type: ignore[assignment]
    if not streamed:
        _store.export_bundle(target, [branch], exclude=["main"])
        return

    class File:
        """As a pipe to the writer would be."""

        def __init__(self, fd: int) -> None:
            self._fd = fd

        def write(self, data: bytes) -> int:
            return os.write(self._fd, data)

    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    _store.export_bundle(File(fd), [branch], exclude=["main"])  # type: ignore[arg-type]
    if at == 0:
        die()


def use_inherited(store_path: str) -> str:
    """In a child of a process that has used a store: opening is refused by name, whatever the way."""
    try:
        casstore.open(Path(store_path), read_only=True).close()
    except casstore.CasstoreError as error:
        return f"{type(error).__name__}: {error}"
    return "opened"
