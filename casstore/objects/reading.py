# SPDX-License-Identifier: MIT
"""What is known of a process's memory at one moment, before anything is concluded from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit, and how much of it is taken.

    Attributes:
        name: The file or call that states it.
        used_bytes: What counts against it and cannot be given back by the kernel alone.
        limit_bytes: 1 or more.
    """

    name: str
    used_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class CollectorFigures:
    """What Python's own collector did since it is watched."""

    collections: tuple[int, int, int] = (0, 0, 0)
    seconds: float = 0.0
    longest_seconds: float = 0.0


NOT_WATCHED: Final = CollectorFigures()
"""Figures of nobody who looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at the sources.

    Attributes:
        rss_bytes: Resident size of the process.
        bounds: Every limit that was found.
        stalled_us: Microseconds, since some start, in which a task waited for memory (PSI ``some``); None: not known.
        stalled_share: The system's own average of that over 10 seconds, 0 to 1; None: not known.
        faulted_bytes: Bytes of pages that the process was given since its start; None: not known.
        collector: Python's collector.
        problems: What could not be read, and why.
    """

    rss_bytes: int
    bounds: tuple[Bound, ...] = ()
    stalled_us: int | None = None
    stalled_share: float | None = None
    faulted_bytes: int | None = None
    collector: CollectorFigures = NOT_WATCHED
    problems: tuple[str, ...] = ()


class Sources(Protocol):
    """Where readings come from; a test gives its own."""

    def open(self) -> None:
        """Begins to watch what can only be watched; called when a monitor's thread starts."""

    def close(self) -> None:
        """Ends that."""

    def read(self) -> Reading:
        """The state of now."""
