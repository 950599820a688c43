# SPDX-License-Identifier: MIT
"""Readers beside a writer: pins, index copies, and segments that stay while somebody may need them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import casstore
from casstore.errors import CasstoreError, LockedError, NotFoundError
from casstore.layout import parse_pin_name
from casstore.storage import readers
from casstore.storage.lock import FileLock
from casstore.storage.readers import ReaderCopy, live_pins
from tests.storage.stores import abandon, noise, open_small

READER = """
import sys, casstore
store = casstore.open(sys.argv[1], read_only=True)
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_reader_sees_the_moment_of_its_opening(scratch: Path) -> None:
    path = str(scratch / "store")
    writer = open_small(path)
    before = writer.storage.put(noise(1, 5000))
    writer.storage.sync()
    waiting = writer.storage.put(noise(2, 100))
    reader = open_small(path, read_only=True)
    assert reader.storage.get(before) == noise(1, 5000)
    assert not reader.storage.contains(waiting)
    writer.storage.sync()
    assert not reader.storage.contains(waiting)
    again = open_small(path, read_only=True)
    assert again.storage.get(waiting) == noise(2, 100)
    assert len(live_pins(path)) == 2
    reader.close()
    reader.close()
    assert len(live_pins(path)) == 1
    again.close()
    assert os.listdir(os.path.join(path, "readers")) == []
    writer.close()


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_reader_of_a_crashed_store_sees_what_was_synced(scratch: Path, backend: str) -> None:
    path = str(scratch / "store")
    writer = open_small(path, backend=backend)
    before = writer.storage.put(noise(1, 5000))
    writer.storage.sync()
    waiting = writer.storage.put(noise(2, 100))
    abandon(writer)
    reader = open_small(path, read_only=True)
    assert reader.storage.get(before) == noise(1, 5000)
    assert not reader.storage.contains(waiting)
    reader.close()


def test_a_condemned_segment_stays_while_a_reader_lives(scratch: Path) -> None:
    path = str(scratch / "store")
    writer = open_small(path)
    keep, drop = writer.storage.put(noise(1, 100)), writer.storage.put(noise(2, 3000))
    writer.storage.sync()
    reader = open_small(path, read_only=True)
    segment = os.path.join(path, "segments", "00000001.seg")
    backend = writer.storage.backend
    backend.delete([address for address, _ in backend.scan() if address != keep])
    backend.compact([1])
    assert os.path.exists(segment)
    assert [info.condemned for info in backend.segments() if info.segment == 1] == [True]
    # A later reader does not need it.
    late = open_small(path, read_only=True)
    assert late.storage.get(keep) == noise(1, 100)
    assert not late.storage.contains(drop)
    assert reader.storage.get(drop) == noise(2, 3000)
    assert reader.storage.get(keep) == noise(1, 100)
    backend.compact([])
    assert os.path.exists(segment)
    reader.close()
    backend.compact([])
    assert not os.path.exists(segment)
    assert writer.storage.get(keep) == late.storage.get(keep) == noise(1, 100)
    late.close()
    writer.close()


def test_a_condemned_segment_is_remembered_by_the_next_opening(scratch: Path) -> None:
    path = str(scratch / "store")
    writer = open_small(path)
    drop = writer.storage.put(noise(2, 3000))
    writer.storage.sync()
    reader = open_small(path, read_only=True)
    backend = writer.storage.backend
    backend.delete([address for address, _ in backend.scan()])
    backend.compact([1])
    # Condemned already: nothing is done twice.
    backend.compact([1, 99])
    writer.close()
    segment = os.path.join(path, "segments", "00000001.seg")
    for crash in (False, True):
        writer = open_small(path)
        assert os.path.exists(segment)
        assert not writer.storage.contains(drop)
        if crash:
            abandon(writer)
        else:
            writer.close()
    assert reader.storage.get(drop) == noise(2, 3000)
    reader.close()
    open_small(path).close()
    assert not os.path.exists(segment)


def test_what_a_dead_reader_left_is_removed(scratch: Path) -> None:
    path = str(scratch / "store")
    writer = casstore.open(path)
    writer.put(b"content")
    writer.sync()
    with subprocess.Popen(
        [sys.executable, "-c", READER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        assert [pin.what for pin in writer.pins()] == ["reader"]
        assert len(os.listdir(os.path.join(path, "readers"))) == 2
        reader.send_signal(signal.SIGKILL)
        reader.wait()
    assert writer.pins() == []
    assert os.listdir(os.path.join(path, "readers")) == []
    writer.close()


def test_a_pin_is_removed_only_while_its_lock_is_held(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a reader could take the file between the look and the unlink, and be invisible from then on."""
    store = str(scratch)
    folder = scratch / "readers"
    folder.mkdir()
    pin = folder / f"{'ab' * 16}.pin"
    pin.write_bytes(b"")
    seen: list[bool] = []

    def look(path: str, **_: object) -> None:
        try:
            FileLock(str(pin)).release()
            seen.append(False)
        except LockedError:
            seen.append(True)

    monkeypatch.setattr(readers.shutil, "rmtree", look)
    assert live_pins(store) == set()
    assert seen == [True]
    assert not pin.exists()


def test_a_pin_that_was_swept_before_it_was_locked_is_taken_again(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class Unlucky(FileLock):
        def __init__(self, path: str, timeout: float = 0.0) -> None:
            made.append(path)
            if len(made) == 1:
                raise LockedError("a writer is just looking")
            super().__init__(path, timeout)
            if len(made) == 2:
                os.unlink(path)

    monkeypatch.setattr(readers, "FileLock", Unlucky)
    pin, lock = readers._take_pin(str(scratch))
    assert made[2] == lock.path == str(scratch / f"{pin}.pin")
    assert parse_pin_name(os.path.basename(lock.path)) == pin
    assert live_pins(str(scratch.parent)) == set()
    lock.release()


def test_foreign_files_beside_the_pins_are_left_alone(scratch: Path) -> None:
    (scratch / "readers").mkdir()
    (scratch / "readers" / "notes.txt").write_text("mine")
    assert live_pins(str(scratch)) == set()
    assert (scratch / "readers" / "notes.txt").exists()
    assert live_pins(str(scratch / "absent")) == set()


def test_a_store_that_takes_no_writes_is_read_without_a_pin(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(scratch / "store")
    writer = open_small(path)
    address = writer.storage.put(noise(1, 3000))
    writer.close()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)

    def refuse(readers: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(readers, "_take_pin", refuse)
    with pytest.warns(RuntimeWarning, match="without a pin"):
        reader = open_small(path, read_only=True)
    assert reader.storage.get(address) == noise(1, 3000)
    assert reader.copy is not None
    assert reader.copy.pin is None
    copies = [name for name in os.listdir(scratch) if name.startswith("casstore-reader-")]
    assert len(copies) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        reader.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert reader.storage.get(address) == noise(1, 3000)
    assert [name for name in os.listdir(scratch) if name.startswith("casstore-reader-")] == copies
    reader.close()
    assert not [name for name in os.listdir(scratch) if name.startswith("casstore-reader-")]


def test_a_reader_of_a_store_without_an_index_leaves_nothing(scratch: Path) -> None:
    path = str(scratch / "store")
    writer = open_small(path)
    writer.storage.put(b"content")
    writer.close()
    shutil.rmtree(os.path.join(path, "index"))
    with pytest.raises(CasstoreError):
        open_small(path, read_only=True)
    assert os.listdir(os.path.join(path, "readers")) == []


def test_release_is_harmless_when_done_twice(scratch: Path) -> None:
    path = str(scratch / "store")
    open_small(path).close()
    copy = ReaderCopy(path)
    assert not copy.forked
    copy.release()
    copy.release()
    assert os.listdir(os.path.join(path, "readers")) == []


def test_files_stay_while_a_reader_lives(scratch: Path) -> None:
    path = str(scratch / "store")
    writer = open_small(path, backend="files")
    keep, drop = writer.storage.put(b"keep"), writer.storage.put(b"drop")
    writer.storage.sync()
    reader = open_small(path, read_only=True)
    backend = writer.storage.backend
    backend.delete([drop])
    backend.compact([])
    assert reader.storage.get(drop) == b"drop"
    reader.close()
    used = backend.used_bytes()
    backend.compact([])
    assert backend.used_bytes() < used
    assert writer.storage.get(keep) == b"keep"
    with pytest.raises(NotFoundError):
        writer.storage.get(drop)
    writer.close()
