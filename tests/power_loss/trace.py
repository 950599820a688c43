# SPDX-License-Identifier: MIT
"""The trace that ``recorder.c`` writes: compiling the library, preloading it, and reading what it wrote.

A trace is a file of lines: a header of 48 bytes, up to two paths below the watched folder, and data. Notes of the
program under test stand between the calls, at the moment when they were true.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent
_HEADER: Final = struct.Struct("<IIiiqqIIII")


class Kind(IntEnum):
    """What a line tells."""

    OPEN = 1
    CLOSE = 2
    DUP = 3
    WRITE = 4
    FTRUNCATE = 5
    TRUNCATE = 6
    FSYNC = 7
    RENAME = 8
    UNLINK = 9
    LINK = 10
    MKDIR = 11
    RMDIR = 12
    ALLOCATE = 13
    SYNC_ALL = 14
    UNMODELLED = 15
    NOTE = 16


EFFECTS: Final = frozenset(Kind) - {Kind.CLOSE, Kind.DUP, Kind.NOTE}
"""Lines after which a power loss may leave something else than before."""


class Line(NamedTuple):
    """One call, or a note.

    Attributes:
        kind: Which.
        pid: The process that made it.
        fd: Its descriptor, or -1.
        a: Flags of an open, offset of a write, length of a truncation, the copy of a descriptor.
        b: 1 where what was opened is a folder; length of an allocation.
        path: Below the watched folder; of an unmodelled call its name.
        second: The new name of a rename or link.
        data: What was written, or the note.
    """

    kind: Kind
    pid: int
    fd: int
    a: int
    b: int
    path: str
    second: str
    data: bytes

    @property
    def note(self) -> dict[str, Any]:
        """What a note says."""
        found: dict[str, Any] = json.loads(self.data)
        return found


def read_trace(path: Path) -> list[Line]:
    """All lines of a trace; one that a kill cut short at the end is left out."""
    data = path.read_bytes()
    lines: list[Line] = []
    place = 0
    while place + _HEADER.size <= len(data):
        length, kind, pid, fd, a, b, first, second, size, _ = _HEADER.unpack_from(data, place)
        if place + length > len(data):
            break
        one = place + _HEADER.size
        two, three = one + first, one + first + second
        lines.append(
            Line(
                Kind(kind),
                pid,
                fd,
                a,
                b,
                os.fsdecode(data[one:two]),
                os.fsdecode(data[two:three]),
                data[three : three + size],
            )
        )
        place += length
    return lines


def compiler() -> str | None:
    """A C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def why_not() -> str:
    """Why nothing can be recorded here; empty where it can."""
    if not sys.platform.startswith("linux"):
        return "calls are recorded by a library that is preloaded, which is made for Linux"
    return "" if compiler() else "there is no C compiler to make the recorder with"


def build(folder: Path) -> Path:
    """The recorder, compiled into ``folder``; made once."""
    target = folder / "recorder.so"
    if not target.exists():
        own = folder / f"recorder.{os.getpid()}.so"
        sources = [str(path) for path in sorted(HERE.glob("*.c"))]
        command = [compiler() or "cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(own), *sources, "-ldl"]
        subprocess.run([*command, "-lpthread"], check=True)
        own.rename(target)
    return target


def preloaded(recorder: Path, **more: str) -> dict[str, str]:
    """An environment in which programs run with the recorder."""
    # What a process of these does is not what coverage is to count, and counting would double its time.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "LD_PRELOAD": str(recorder), "PYTHONHASHSEED": "0", **more}


@cache
def recorder() -> ctypes.CDLL:
    """The recorder that this process was started with; use ``start`` and ``note``."""
    library = ctypes.CDLL(None)
    for name in ("power_loss_start", "power_loss_stop", "power_loss_note", "power_loss_kill"):
        getattr(library, name).restype = None
    library.power_loss_kill.argtypes = [ctypes.c_long]
    library.power_loss_note.argtypes = [ctypes.c_char_p, ctypes.c_uint64]
    library.power_loss_start.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    return library


def start(root: Path, trace: Path) -> None:
    """From here on, calls below ``root`` go to ``trace``."""
    recorder().power_loss_start(os.fsencode(root.resolve()), os.fsencode(trace))


def stop() -> None:
    """No more is recorded."""
    recorder().power_loss_stop()


def kill_after(calls: int) -> None:
    """The process ends, as if killed, after so many more calls that change files."""
    recorder().power_loss_kill(calls)


def note(**facts: Any) -> None:
    """Writes into the trace what is true at this moment."""
    data = json.dumps(facts).encode()
    recorder().power_loss_note(data, len(data))
