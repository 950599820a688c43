# SPDX-License-Identifier: MIT
"""The recorder sees every call that changes files, LevelDB's too: a replay of the trace gives the same folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.power_loss.disk import Unmodelled
from tests.power_loss.record import ROOT, Run, compare, python_path, record
from tests.power_loss.trace import Kind, Line, preloaded, read_trace

EVERY_CALL = """
import ctypes, os, shutil, sys
root = sys.argv[1]
def p(name): return os.path.join(root, name)
with open(p("stream"), "wb") as file:
    file.write(b"abc"); file.seek(1); file.write(b"XYZ"); file.flush(); os.fsync(file.fileno())
fd = os.open(p("data"), os.O_RDWR | os.O_CREAT)
os.write(fd, b"one"); os.writev(fd, [b"two", b"", b"three"]); os.pwrite(fd, b"P", 1); os.pwritev(fd, [b"Q", b"R"], 4)
os.ftruncate(fd, 9); os.ftruncate(fd, 12); os.posix_fallocate(fd, 0, 20); os.fdatasync(fd)
twin = os.dup(fd); os.lseek(twin, 30, 0); os.write(twin, b"behind a hole"); os.close(fd); os.write(twin, b"!")
other = os.open(p("copy"), os.O_RDWR | os.O_CREAT)
os.write(other, b"written"); os.sendfile(other, twin, 2, 6)
appending = os.open(p("copy"), os.O_WRONLY | os.O_APPEND); os.write(appending, b"appended"); os.close(appending)
third = os.open(p("range"), os.O_RDWR | os.O_CREAT)
try:
    os.copy_file_range(twin, third, 10, 0, 3)
except OSError:
    os.pwrite(third, b"not on this system", 3)
os.close(twin); os.close(other); os.close(third)
os.truncate(p("copy"), 5)
shutil.copyfile(p("copy"), p("copied"))
os.mkdir(p("folder")); folder = os.open(p("folder"), os.O_RDONLY)
os.close(os.open("inside", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
os.rename("inside", "renamed", src_dir_fd=folder, dst_dir_fd=folder)
os.link(p("data"), p("folder/linked")); os.rename(p("copied"), p("stream"))
os.mkdir("deep", dir_fd=folder); os.rename(p("folder/deep"), p("deep")); os.fsync(folder)
os.chdir(p("deep")); open("relative", "w").write("r"); os.chdir("/"); os.link(p("deep/relative"), p("./deep/../again"))
os.mkdir(p("gone")); open(p("gone/x"), "w").write("x"); os.mkdir(p("gone/y")); shutil.rmtree(p("gone"))
os.unlink(p("range")); os.rmdir(p("folder/none")) if os.path.exists(p("folder/none")) else None
with open(p("again"), "a") as file: file.write("more")
with open(p("stream"), "r+b") as file: file.truncate(2)
libc = ctypes.CDLL(None)
stream = libc.creat(os.fsencode(p("created")), 0o600); os.write(stream, b"by creat"); os.close(stream)
os.sync()
"""

UNKNOWN_CALLS = """
import mmap, os, sys
with open(os.path.join(sys.argv[1], "mapped"), "w+b") as file:
    file.write(bytes(4096)); file.flush()
    mmap.mmap(file.fileno(), 4096)[0] = 1
"""


def run(text: str, folder: Path, recorder: Path, **more: str) -> list[Line]:
    watched, trace = folder / "disk", folder / "trace"
    watched.mkdir(exist_ok=True)
    names = {"POWER_LOSS_ROOT": str(watched.resolve()), "POWER_LOSS_TRACE": str(trace)}
    environment = preloaded(recorder, **names, **more, PYTHONPATH=python_path())
    command = [sys.executable, "-c", text, str(watched)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == (137 if "POWER_LOSS_KILL" in more else 0), done.stderr
    return read_trace(trace)


def test_every_call_is_recorded(recorder: Path, tmp_path: Path) -> None:
    lines = run(EVERY_CALL, tmp_path, recorder)
    compare(lines, tmp_path / "disk")
    missing = set(Kind) - {line.kind for line in lines} - {Kind.NOTE, Kind.UNMODELLED}
    assert not missing
    # The comparison itself can fail: with any write left out it does.
    writes = [place for place, line in enumerate(lines) if line.kind is Kind.WRITE and line.data == b"behind a hole"]
    with pytest.raises(RuntimeError, match="data"):
        compare(lines[: writes[0]] + lines[writes[0] + 1 :], tmp_path / "disk")


def test_a_write_through_a_map_is_refused(recorder: Path, tmp_path: Path) -> None:
    lines = run(UNKNOWN_CALLS, tmp_path, recorder)
    with pytest.raises(Unmodelled, match="mmap"):
        compare(lines, tmp_path / "disk")


def test_a_kill_comes_after_so_many_calls(recorder: Path, tmp_path: Path) -> None:
    whole = run(EVERY_CALL, tmp_path, recorder)
    (tmp_path / "short").mkdir()
    lines = run(EVERY_CALL, tmp_path / "short", recorder, POWER_LOSS_KILL="7")
    counted = [line for line in lines if line.kind not in (Kind.CLOSE, Kind.DUP, Kind.NOTE)]
    assert len(counted) == 8 < len(whole)
    compare(lines, tmp_path / "short" / "disk")


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_run_is_recorded_with_the_files_of_leveldb(backend: str, recorder: Path, tmp_path: Path) -> None:
    # ``record`` compares the replay with the folder.
    lines = read_trace(record(Run(seed=50, backend=backend, lives=2, steps=25), tmp_path, recorder))
    paths = {line.path.removeprefix("store/") for line in lines if line.kind is Kind.OPEN}
    assert any(path.startswith("index/") and path.endswith(".log") for path in paths)
    assert any(path.startswith("index/MANIFEST-") for path in paths)
    assert any(path.startswith("index/") and path.endswith(".ldb") for path in paths)
    assert any(line.second == "store/index/CURRENT" for line in lines if line.kind is Kind.RENAME)
    names = {line.note["note"] for line in lines if line.kind is Kind.NOTE}
    assert {"synced", "moving", "moved", "put", "state"} <= names


def outside_index(lines: list[Line]) -> list[tuple[Kind, str, bytes]]:
    """What happened to everything but LevelDB's files: its own thread keeps its own time."""
    paths: dict[tuple[int, int], str] = {}
    found: list[tuple[Kind, str, bytes]] = []
    for line in lines:
        if line.kind is Kind.OPEN:
            paths[line.pid, line.fd] = line.path
        path = line.path or paths.get((line.pid, line.fd), "") if line.kind is not Kind.NOTE else ""
        if "/index" not in path and line.kind not in (Kind.CLOSE, Kind.DUP):
            found.append((line.kind, path, line.data))
    return found


def test_a_run_can_be_made_again(recorder: Path, tmp_path: Path) -> None:
    traces = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        # Killed after so many calls, LevelDB's among them, the rest would differ.
        traces.append(outside_index(read_trace(record(Run(seed=60, lives=1, steps=40), tmp_path / name, recorder))))
    assert len(traces[0]) > 200
    assert traces[0] == traces[1]
