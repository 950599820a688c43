# SPDX-License-Identifier: MIT
"""A progress bar for what takes long: on stderr, on a terminal only, and only after half a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ProgressCallback = Callable[[str, int, int | None], None]

DELAY_SECONDS: Final = 0.5
_INTERVAL_SECONDS: Final = 0.05


class Bar:
    """Shows ``(phase, done, total)`` reports as one bar per phase, once the command has run for half a second."""

    __slots__ = ("_next", "_progress", "_tasks")

    def __init__(self) -> None:
        self._next = time.monotonic() + DELAY_SECONDS
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """Takes one report; cheap enough to be called for each file."""
        now = time.monotonic()
        if now < self._next and not (self._progress is not None and done == total):
            return
        self._next = now + _INTERVAL_SECONDS
        progress = self._progress or self._start()
        if phase not in self._tasks:
            for task in self._tasks.values():
                progress.remove_task(task)
            self._tasks = {phase: progress.add_task(phase, total=total, count="")}
        count = f"{done:,}" if total is None else f"{done:,} of {total:,}"
        progress.update(self._tasks[phase], completed=done, total=total, count=count)

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.start()
        return self._progress

    def close(self) -> None:
        """Takes the bar off the terminal."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


@contextmanager
def progress(*, as_json: bool) -> Iterator[ProgressCallback | None]:
    """A callback that shows a bar, or None where nobody could see one."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.close()
