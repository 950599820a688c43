# SPDX-License-Identifier: MIT
"""One writer: the lock, what releases it, and what a forked child may not do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import casstore
from casstore.errors import ClosedError, LockedError
from casstore.storage.lock import FileLock, remove_dead
from tests.storage.stores import noise

HOLDER = """
import sys, casstore
store = casstore.open(sys.argv[1])
address = store.put(b"put by the holder")
store.sync()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_the_store(scratch: Path) -> None:
    path = str(scratch / "store")
    with casstore.open(path) as store:
        address = store.put(b"content")
        with pytest.raises(LockedError, match="open for writing") as caught:
            casstore.open(path)
        assert caught.value.pid == os.getpid()
        assert caught.value.path == os.path.join(path, "lock")
        assert store.get(address) == b"content"
    casstore.open(path).close()


def test_a_second_writer_waits_as_long_as_it_is_told(scratch: Path) -> None:
    path = str(scratch / "store")
    first = casstore.open(path)
    start = time.monotonic()
    with pytest.raises(LockedError):
        casstore.open(path, timeout=0.15)
    assert 0.15 <= time.monotonic() - start < 5
    timer = threading.Timer(0.1, first.close)
    timer.start()
    with casstore.open(path, timeout=30) as second:
        assert not second.read_only
    timer.join()


def test_a_killed_writer_holds_nothing(scratch: Path) -> None:
    path = str(scratch / "store")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(LockedError) as caught:
            casstore.open(path)
        assert caught.value.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with casstore.open(path) as store:
            assert store.get(casstore.open(":memory:").put(b"put by the holder")) == b"put by the holder"


def test_the_lock_itself(scratch: Path) -> None:
    path = str(scratch / "lock")
    lock = FileLock(path)
    Path(path).write_bytes(b"nonsense")
    with pytest.raises(LockedError, match="another process") as caught:
        FileLock(path)
    assert caught.value.pid is None
    lock.release()
    lock.release()
    again = FileLock(path)
    assert Path(path).read_text().split() == [str(os.getpid())]
    removed: list[str] = []
    assert not remove_dead(path, lambda: removed.append(path))
    again.release()
    assert remove_dead(path, lambda: removed.append(path))
    assert removed == [path]
    assert remove_dead(str(scratch / "absent"), lambda: removed.append("absent"))
    assert removed == [path]


def test_a_file_of_another_user_counts_as_alive(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert not remove_dead(str(scratch / "lock"), lambda: pytest.fail("removed"))


def in_child(action: Callable[[], None]) -> str:
    """What ``action`` says in a forked child: the name of the error that it raised, or nothing."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        said = ""
        # A child that hangs dies of it.
        signal.alarm(20)
        try:
            action()
        except BaseException as error:
            said = type(error).__name__
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    said = os.read(reading, 100).decode()
    os.close(reading)
    return said if status == 0 else f"died of {status}"


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_forked_child_owns_nothing(scratch: Path, backend: str, read_only: bool) -> None:
    path = str(scratch / "store")
    config = casstore.Config(backend=backend)  # type: ignore[arg-type]
    with casstore.open(path, config=config) as store:
        hot = store.put(noise(1, 100))
        pending = store.put(noise(2, 100_000))
        store.refs["main"] = store.add_snapshot(roots={})
    store = casstore.open(path, config=config, read_only=read_only)
    if not read_only:
        pending = store.put(noise(3, 100))
    snapshot = store.snapshot("main")
    assert store.get(hot) == noise(1, 100)
    names = sorted(os.listdir(os.path.join(path, "readers")))
    actions: list[Callable[[], object]] = [
        lambda: store.get(hot),
        lambda: store.get(pending),
        lambda: hot in store,
        lambda: store.put(b"from the child"),
        lambda: store.storage.put(b"from the child"),
        lambda: store.storage.ingest().__enter__().add(b"from the child" * 9),
        lambda: store.open_content(hot).read(),
        lambda: list(store.storage.backend.scan()),
        lambda: list(store.storage.backend.facts(b"r")),
        lambda: store.refs["main"],
        lambda: list(store.refs),
        lambda: store.refs.__setitem__("other", snapshot),
        store.sync,
        store.stats,
        store.plan_gc,
    ]
    for action in actions:
        said = in_child(action)  # type: ignore[arg-type]
        assert said == "ClosedError" or (read_only and said == "ReadOnlyError"), action
    assert in_child(store.close) == ""
    assert sorted(os.listdir(os.path.join(path, "readers"))) == names
    # The parent goes on, and nobody has taken its lock.
    assert store.get(hot) == noise(1, 100)
    if not read_only:
        with pytest.raises(LockedError):
            casstore.open(path)
        assert store.get(store.put(b"from the parent")) == b"from the parent"
    store.close()


def test_a_forked_child_cannot_open_a_store_anew(scratch: Path) -> None:
    """LevelDB's thread stays behind in the parent: closing the index would wait for it for ever."""
    path = str(scratch / "store")
    casstore.open(path).close()
    for read_only in (False, True):
        assert in_child(lambda mode=read_only: casstore.open(path, read_only=mode)) == "StorageError"  # type: ignore[misc]
    assert os.listdir(os.path.join(path, "readers")) == []
    casstore.open(path).close()


def test_a_child_of_a_busy_parent_does_not_hang(scratch: Path) -> None:
    """Threads of the parent hold its locks at the fork; they do not exist in the child."""
    store = casstore.open(str(scratch / "store"))
    address = store.put(b"content")
    backend = store.storage.backend
    with backend.write_lock(), store.storage.cache._lock:
        for action in (lambda: store.get(address), lambda: store.storage.put(b"more"), backend.sync):
            assert in_child(action) == "ClosedError"  # type: ignore[arg-type]
    store.close()


def test_a_store_in_memory_is_the_childs_own(scratch: Path) -> None:
    store = casstore.open(":memory:")
    address = store.put(b"content")

    def use() -> None:
        if store.get(address) != b"content" or store.get(store.put(b"more")) != b"more":
            raise RuntimeError

    with store.storage.backend.write_lock():
        assert in_child(use) == ""
    assert store.get(address) == b"content"
    store.close()
    with pytest.raises(ClosedError):
        store.get(address)


@pytest.mark.parametrize("place", ["store", ":memory:"])
def test_every_error_of_a_closed_store_is_one_of_ours(scratch: Path, place: str) -> None:
    store = casstore.open(place if place == ":memory:" else scratch / place)
    address = store.put(b"content")
    snapshot = store.add_snapshot(roots={})
    store.refs["main"] = snapshot
    store.close()
    for action in (
        lambda: store.get(address),
        lambda: address in store,
        lambda: store.put(b"more"),
        lambda: store.open_content(address),
        lambda: list(store.storage.get_many([address])),
        lambda: store.refs["main"],
        lambda: list(store.refs),
        lambda: store.refs.__setitem__("other", snapshot),
        store.sync,
    ):
        with pytest.raises(ClosedError):
            action()
