# SPDX-License-Identifier: MIT
"""Makes the trace of a random run, and shows that it tells everything: replayed, it gives the folder that there is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.power_loss.disk import Disk
from tests.power_loss.loss import LOGS_OF_LEVELDB
from tests.power_loss.mutants import STORE
from tests.power_loss.trace import EFFECTS, Line, preloaded, read_trace

ROOT = Path(__file__).absolute().parent.parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What makes a run.

    Attributes:
        seed: Where all chance comes from.
        backend: ``segments`` or ``files``.
        lives: Processes, one after the other; all but the last are killed at some call.
        steps: Operations in each.
        mutant: A fault that is put into the store, or "".
        calm: No collections and openings, so that LevelDB's log grows long.
    """

    seed: int
    backend: str = "segments"
    lives: int = 4
    steps: int = 60
    mutant: str = ""
    calm: bool = False


def record(run: Run, folder: Path, recorder: Path) -> Path:
    """The trace of a run, made below ``folder``, which is empty, with the compiled ``recorder``.

    Raises:
        RuntimeError: A process of the run failed, or the trace does not tell all.
    """
    watched, trace = folder / "disk", folder / "trace"
    watched.mkdir()
    random = Random(f"{run.seed}/kills")
    environment = preloaded(
        recorder, POWER_LOSS_ROOT=str(watched.resolve()), POWER_LOSS_TRACE=str(trace), PYTHONPATH=python_path()
    )
    for life in range(run.lives):
        kill = random.choice((0, random.randrange(30, random.choice((100, 300, 1000)))))
        if life == run.lives - 1:
            kill = -1
        # The least buffer makes LevelDB's own thread work in the middle of a run, at moments of its own choice.
        arguments = [str(watched / STORE), str(trace), run.backend, run.seed, life, run.steps, kill, run.mutant]
        arguments += [run.seed % 2 * (not run.calm), int(run.calm)]
        command = [sys.executable, "-m", "tests.power_loss.session", *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != (0 if kill < 0 else 137) and not (kill >= 0 and done.returncode == 0):
            raise RuntimeError(f"life {life} of {run} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    compare(read_trace(trace), watched)
    return trace


def compare(lines: list[Line], watched: Path) -> None:
    """Does nothing where the trace, replayed, gives the folder that it was recorded from."""
    disk = Disk()
    for line in lines:
        disk.apply(line)
    found = {
        str(path.relative_to(watched)): None if path.is_dir() else path.read_bytes()
        for path in watched.rglob("*")
        if path.name not in LOGS_OF_LEVELDB
    }
    replayed = {path: data for path, data in disk.now().items() if path.rpartition("/")[2] not in LOGS_OF_LEVELDB}
    wrong = sorted(path for path in found.keys() | replayed.keys() if found.get(path, b"-") != replayed.get(path, b"-"))
    if wrong:
        raise RuntimeError(f"the trace does not tell all that happened to {', '.join(wrong[:5])}")


def points_of(lines: list[Line]) -> list[int]:
    """The numbers of lines after which power may be lost."""
    return [place for place, line in enumerate(lines) if line.kind in EFFECTS]


def python_path() -> str:
    """Where processes find the packages that this one found."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
