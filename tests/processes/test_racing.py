# SPDX-License-Identifier: MIT
"""Two processes that want the same store: to make it, to write it, to configure it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import casstore
from casstore.errors import LockedError
from casstore.storage.lock import FileLock
from tests.workspace.switching import ROOT, child

MAKER = """
import json, os, time, casstore
from casstore.errors import CasstoreError
path, backend = sys.argv[1:3]
casstore.open(":memory:").close()
print("ready", flush=True)
sys.stdin.readline()
try:
    with casstore.open(path, timeout=20, config=casstore.Config(backend=backend or None)) as store:
        store.refs[f"from/{os.getpid()}"] = store.add_snapshot(roots={}, message=backend)
        said = [store.store_id, store.format_fields["backend"]]
except CasstoreError as error:
    said = [type(error).__name__, str(error)]
print(json.dumps(said), flush=True)
"""

HOLDER = """
import casstore
store = casstore.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
store.close()
print("closed", flush=True)
sys.stdin.read()
"""


def line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    said = process.stdout.readline().decode().strip()
    assert said, process.stderr and process.stderr.read().decode()
    return said


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def test_a_store_that_several_make_at_once_is_made_once(tmp_path: Path) -> None:
    """They replaced each other's superblock, or failed on each other's files."""
    wanted = ("", "segments", "files", "")
    makers = [(backend, child(MAKER, str(tmp_path / "store"), backend)) for backend in wanted]
    for _, process in makers:
        assert line(process) == "ready"
    for _, process in makers:
        go(process)
    said = [(backend, process, json.loads(line(process))) for backend, process in makers]
    for _, process, _ in said:
        process.communicate()
    with casstore.open(tmp_path / "store") as store:
        kind = store.format_fields["backend"]
        for backend, process, answer in said:
            if backend in ("", kind):
                assert answer == [store.store_id, kind]
                assert f"from/{process.pid}" in store.refs
            else:
                assert answer[0] == "InvalidInputError"
                assert "backend of this store is" in answer[1]
        store.verify()


def test_making_waits_for_another_maker_and_never_replaces(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    lock = FileLock(str(path / "lock"))
    with pytest.raises(LockedError) as caught:
        casstore.open(path)
    assert caught.value.pid == os.getpid()
    assert [place.name for place in path.iterdir()] == ["lock"]
    timer = threading.Timer(0.1, lock.release)
    timer.start()
    with casstore.open(path, timeout=20) as store:
        assert store.refs.keys() == set()
    timer.join()


def test_who_waits_is_told_by_whom_and_as_long_as_it_wants(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    casstore.open(path).close()
    holder = child(HOLDER, path)
    assert line(holder) == "ready"
    start = time.monotonic()
    with pytest.raises(LockedError) as caught:
        casstore.open(path, timeout=0.2)
    assert time.monotonic() - start >= 0.2
    assert caught.value.pid == holder.pid
    assert f"process {holder.pid} has the store open" in str(caught.value)
    with pytest.raises(LockedError):
        casstore.migrate(path) if casstore.migrate(path, dry_run=True).missing else casstore.open(path)
    # The same on the command line.
    command = [sys.executable, "-m", "casstore_cli", "--store", path, "gc", "--timeout", "0.1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stderr)["error"]["pid"] == holder.pid
    go(holder)
    with casstore.open(path, timeout=20) as store:
        assert line(holder) == "closed"
        assert not store.read_only
    holder.communicate()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_the_pid_of_a_dead_holder_locks_nobody_out_and_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "store"
    casstore.open(path).close()
    holder = child(HOLDER, str(path))
    assert line(holder) == "ready"
    holder.kill()
    holder.communicate()
    assert (path / "lock").read_text().split() == [str(holder.pid)]
    with casstore.open(path):
        assert (path / "lock").read_text().split() == [str(os.getpid())]
        with pytest.raises(LockedError) as caught:
            casstore.open(path)
        assert caught.value.pid == os.getpid()
    # Another number, a longer one, or none at all changes nothing for who comes next.
    for text in (str(2**40), "1", "", "nonsense " * 9):
        (path / "lock").write_text(text)
        casstore.open(path).close()


def test_settings_that_a_waiting_writer_did_not_see_are_not_lost(tmp_path: Path) -> None:
    """A writer read them before it waited for the lock: the next setting took the quota of another one back."""
    path = tmp_path / "store"
    first = casstore.open(path)
    opened: list[casstore.Store] = []
    thread = threading.Thread(target=lambda: opened.append(casstore.open(path, timeout=20)))
    thread.start()
    time.sleep(0.2)
    first.configure(max_bytes=10**9)
    first.close()
    thread.join()
    with opened.pop() as second:
        assert second.settings.max_bytes == 10**9
        assert second.storage.backend.max_bytes == 10**9
        second.configure(grace_seconds=5)
    with casstore.open(path) as third:
        assert (third.settings.max_bytes, third.settings.grace_seconds) == (10**9, 5)
