# SPDX-License-Identifier: MIT
"""Starts one job: a run and its power losses, in a process of its own that has the recorder preloaded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.power_loss.record import ROOT, Run, python_path
from tests.power_loss.trace import preloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run, and what is to be tried on it.

    Attributes:
        run: What happens before power is lost.
        points: At how many points it is lost.
        rules: Rules of names to choose from, with commas between.
        mode: ``power``, ``bad-log`` or ``lying``.
        keep: Where the trace of a run with failures goes; None keeps none.
        trace: A trace to use instead of making the run.
        point: The one line to lose power after; None is ``points`` of them.
        variant: In which way it is lost there.
        most: After so many failures it ends.
    """

    run: Run
    points: int = 1
    rules: str = "JOURNAL,LOOSE,POSIX"
    mode: str = "power"
    keep: Path | None = None
    trace: Path | None = None
    point: int | None = None
    variant: int = 0
    most: int = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: points tried, of them with a second loss, seconds, and what was wrong."""

    points: int
    again: int
    seconds: float
    failures: list[str]


def start(job: Job, recorder: Path) -> Outcome:
    """The outcome of a job, once it is done."""
    run = job.run
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.power_loss.sweep", "--recorder", str(recorder)]
    command += ["--seed", str(run.seed), "--backend", run.backend, "--mutant", run.mutant, "--lives", str(run.lives)]
    command += ["--steps", str(run.steps), "--rules", job.rules, "--mode", job.mode, "--points", str(job.points)]
    command += ["--calm"] if run.calm else []
    for name in ("keep", "trace", "point", "variant", "most"):
        value = getattr(job, name)
        command += [] if value is None else [f"--{name}", str(value)]
    environment = preloaded(recorder, PYTHONPATH=python_path())
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("at ")), "before the first")
        name = signal.Signals(-done.returncode).name if done.returncode < 0 else f"code {done.returncode}"
        text = f"seed {run.seed}: the job ended with {name} {last}\n{done.stderr[-3000:]}"
        return Outcome(0, 0, 0.0, [text])
    found = json.loads(done.stdout)
    return Outcome(found["points"], found["again"], found["seconds"], found["failures"])
