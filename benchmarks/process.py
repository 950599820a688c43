# SPDX-License-Identifier: MIT
"""Whole processes, measured from outside: wall time and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class BenchmarkError(Exception):
    """Something that a figure would depend on did not work; nothing is reported instead."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process."""

    seconds: float
    peak_bytes: int
    """Peak resident memory. Linux counts a child's memory from before its exec, so this is at least the parent's own:
    keep the benchmark's process small."""


def run(
    words: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None, good: int = 0
) -> Run:
    """Runs a program to its end.

    Raises:
        BenchmarkError: It ended with another exit code than ``good``.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**os.environ, **environment} if environment else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != good:
            errors.seek(0)
            text = errors.read().decode("utf-8", "replace").strip()
            raise BenchmarkError(f"{' '.join(words)}: exit code {process.returncode}\n{text}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_maxrss * unit)


def python(code: str, *words: str) -> str:
    """What a Python program prints, run in a fresh interpreter with ``words`` as its arguments."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"python -c …: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def casstore_command() -> list[str]:
    """The installed ``casstore`` command of this environment, or the same through ``python -m``."""
    script = Path(sys.executable).parent / "casstore"
    return [str(script)] if script.exists() else [sys.executable, "-m", "casstore_cli"]
