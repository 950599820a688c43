# SPDX-License-Identifier: MIT
"""Copies of a LevelDB folder while another process writes 100,000 entries a second to it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

import plyvel
import pytest

from casstore.osfile import OsFiles
from casstore.storage import leveldb_copy
from casstore.storage.leveldb_copy import copy_index, live_files

SLOTS = 20_000
COPIES = 60
OPTIONS = {"write_buffer_size": 1 << 20, "compression": None, "paranoid_checks": True}

# Put number i goes to slot i % SLOTS and overwrites the one before, so that tables overlap and are compacted all the
# time, and a copy can be checked for each of its last SLOTS puts without reading millions.
WRITER = """
import hashlib, os, sys, time, plyvel
folder, progress, slots = sys.argv[1], sys.argv[2], int(sys.argv[3])
keys = [hashlib.blake2b(b"%d" % slot, digest_size=33).digest() for slot in range(slots)]
db = plyvel.DB(folder, create_if_missing=True, write_buffer_size=1 << 20, compression=None)
fd = os.open(progress, os.O_WRONLY | os.O_CREAT)
number, start = 0, time.monotonic()
while not os.path.exists(progress + ".stop"):
    with db.write_batch() as batch:
        for number in range(number, number + 100):
            batch.put(keys[number % slots], b"%0200d" % number)
    number += 1
    os.pwrite(fd, b"%020d" % number, 0)
    time.sleep(max(0.0, start + number / 100_000 - time.monotonic()))
db.close()
print(number, time.monotonic() - start)
"""


def _slot_of_each_put(folder: str) -> int:
    """Opens a folder that the writer (or a copy of it) left; how many puts it holds, none missing among the last."""
    db = plyvel.DB(folder, **OPTIONS)
    try:
        numbers = sorted(int(value) for value in db.iterator(include_key=False, verify_checksums=True))
    finally:
        db.close()
    end = numbers[-1] + 1 if numbers else 0
    assert numbers == list(range(max(0, end - SLOTS), end))
    return end


def _wait_until_written(writer: subprocess.Popen[bytes], progress: str) -> None:
    deadline = time.monotonic() + 20
    while not os.path.exists(progress) or os.path.getsize(progress) < 20:
        assert writer.poll() is None, writer.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sixty_copies_beside_a_writer(tmp_path: pathlib.Path) -> None:
    source, progress = str(tmp_path / "index"), str(tmp_path / "progress")
    command = [sys.executable, "-c", WRITER, source, progress, str(SLOTS)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        _wait_until_written(writer, progress)
        versions = set()
        for copy in range(COPIES):
            target = str(tmp_path / f"copy{copy}")
            before = int(pathlib.Path(progress).read_bytes())
            copy_index(source, target)
            versions.add(live_files(target).tables)
            assert _slot_of_each_put(target) >= before
        assert writer.poll() is None, writer.communicate()
        pathlib.Path(progress + ".stop").touch()
        out, err = writer.communicate(timeout=20)
    finally:
        if writer.poll() is None:
            writer.kill()
            writer.wait()
    assert writer.returncode == 0, err
    assert len(versions) > 10, "the writer changed its tables too seldom for this test to mean anything"
    written = int(out.split()[0])
    assert _slot_of_each_put(source) == written


def test_a_killed_writer_leaves_what_can_be_copied(tmp_path: pathlib.Path) -> None:
    source, progress = str(tmp_path / "index"), str(tmp_path / "progress")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, source, progress, str(SLOTS)])
    try:
        _wait_until_written(writer, progress)
        time.sleep(0.3)
    finally:
        writer.kill()
        writer.wait()
    copy_index(source, str(tmp_path / "copy"))
    assert _slot_of_each_put(str(tmp_path / "copy")) >= int(pathlib.Path(progress).read_bytes())


def test_a_log_that_grows_as_fast_as_it_is_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(100))

    class Growing(OsFiles):
        def append(self, fd: int, parts: Sequence[bytes]) -> int:
            if source.stat().st_size < 1_000:
                with source.open("ab") as file:
                    file.write(bytes(10))
            return super().append(fd, parts)

    monkeypatch.setattr(leveldb_copy, "_FILES", Growing())
    monkeypatch.setattr(leveldb_copy, "_COPY_BYTES", 10)
    leveldb_copy._copy_file(str(source), str(target))
    assert target.stat().st_size == 100
    assert source.stat().st_size == 200
