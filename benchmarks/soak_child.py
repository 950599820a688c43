# SPDX-License-Identifier: MIT
"""A child process of the soak that answers lines of JSON, and may be killed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.process import BenchmarkError

ANSWER_SECONDS = 900.0
_ROOT = Path(__file__).resolve().parent.parent


class Fault(BenchmarkError):
    """Something was lost, wrong, or did not end."""


class Child:
    """``python -m MODULE WORDS``, in a session of its own, so that whatever it starts can be told from others."""

    def __init__(self, module: str, words: list[str], errors: Path) -> None:
        self._errors = errors
        with errors.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])},
            )
        self._input = cast(IO[bytes], self._process.stdin)
        self._output = cast(IO[bytes], self._process.stdout)
        self._buffer = b""
        self.module = module

    @property
    def pid(self) -> int:
        return self._process.pid

    def say(self, words: dict[str, Any]) -> None:
        """Sends a line."""
        try:
            self._input.write(json.dumps(words).encode() + b"\n")
        except BrokenPipeError:
            raise Fault(f"{self.module} died by itself: {self._last_words()}") from None

    def answer(self) -> dict[str, Any]:
        """The next line.

        Raises:
            Fault: It died, failed, or took too long.
        """
        line = self._line(ANSWER_SECONDS)
        if line is None:
            raise Fault(f"{self.module} died by itself or said nothing: {self._last_words()}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise Fault(f"{self.module} failed: {found['error']}\n{self._last_words()}")
        return found

    def ask(self, words: dict[str, Any]) -> dict[str, Any]:
        """The answer to a line."""
        self.say(words)
        return self.answer()

    def _line(self, seconds: float) -> bytes | None:
        end = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._output], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._output.fileno(), 65536) if ready else b""
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def kill(self) -> dict[str, Any] | None:
        """Kills it, without warning; what it had still answered, if anything.

        Raises:
            Fault: What it had started did not end with it.
        """
        os.kill(self.pid, signal.SIGKILL)
        line = self._line(60.0)
        self._reap()
        end = time.monotonic() + 20.0
        while _lives(self.pid):
            if time.monotonic() > end:
                raise Fault(f"20 seconds after {self.module} was killed, a process that it started still runs.")
            time.sleep(0.02)
        return None if line is None else json.loads(line)

    def stop(self) -> None:
        """Ends it at once, where it still runs, with what it started."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._reap()

    def end(self) -> int:
        """Ends it in order; its exit code."""
        self._input.close()
        return self._reap()

    def _reap(self) -> int:
        code = self._process.wait(ANSWER_SECONDS)
        self._input.close()
        self._output.close()
        return code

    def _last_words(self) -> str:
        return self._errors.read_text("utf-8", "replace")[-4_000:]


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
