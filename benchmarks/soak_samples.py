# SPDX-License-Identifier: MIT
"""What the soak measures on the way, in memory that does not grow: histograms, and samples that get sparser."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MOST_SAMPLES = 4_000
PARTS = ("segments", "index", "readers", "workspaces", "reserve")
_SMALLEST = 1e-8
_RATIO = math.log(1.04)


class Times:
    """How long things took: counts per bucket, each 4 % wide."""

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.buckets[max(0, int(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _RATIO))] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def at(self, share: float) -> float:
        """Seconds that this share of all did not pass."""
        wanted, seen = share * self.count, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(self.longest, _SMALLEST * math.exp((bucket + 1) * _RATIO))
        return self.longest


class Samples:
    """At most ``MOST_SAMPLES`` samples: when there are more, every other one goes, and fewer are taken in."""

    def __init__(self) -> None:
        self.kept: list[dict[str, float]] = []
        self._stride = 1
        self._number = 0

    def add(self, sample: dict[str, float]) -> None:
        """One more."""
        if self._number % self._stride == 0:
            self.kept.append(sample)
            if len(self.kept) >= MOST_SAMPLES:
                del self.kept[1::2]
                self._stride *= 2
        self._number += 1

    def line(self, name: str, scale: float = 1.0) -> list[tuple[float, float]]:
        """Hours against a figure."""
        return [(sample["hours"], sample[name] / scale) for sample in self.kept if name in sample]


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Growth per hour, by least squares; 0 of fewer than three points."""
    found = list(points)
    if len(found) < 3:
        return 0.0
    middle_x = sum(x for x, _ in found) / len(found)
    middle_y = sum(y for _, y in found) / len(found)
    spread = sum((x - middle_x) ** 2 for x, _ in found)
    return sum((x - middle_x) * (y - middle_y) for x, y in found) / spread if spread else 0.0


def process_figures(pid: int) -> dict[str, float]:
    """Memory in bytes, file descriptors and threads of a process, and the memory of those in its session.

    Anonymous memory is what the process took for itself; the rest are pages of mapped files, such as LevelDB's tables,
    which the system takes back when it wants them. From ``/proc``; nothing elsewhere, or when it is gone.
    """
    try:
        found: dict[str, float] = {
            "rss": _rss(pid),
            "anon": _anonymous(pid),
            "fds": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": len(os.listdir(f"/proc/{pid}/task")),
        }
        names = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return {}
    helpers = 0
    for other in names:
        try:
            if other != pid and os.getsid(other) == pid:
                helpers += _rss(other)
        except OSError:
            continue
    return {**found, "helpers_rss": helpers}


def _rss(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _anonymous(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:")), 0)


def store_figures(path: Path) -> dict[str, float]:
    """Bytes of the store by part, and its number of segments.

    Each file counts once, however many names it has: a reader's copy of the index links the tables of the index.
    """
    seen: set[tuple[int, int]] = set()
    found: dict[str, float] = {part: _bytes(path / part, seen) for part in PARTS}
    found["store"] = sum(found.values()) + _bytes(path, seen)
    found["segment_files"] = sum(1 for _ in (path / "segments").glob("*.seg"))
    return found


def _bytes(path: Path, seen: set[tuple[int, int]]) -> int:
    """Bytes of what others change meanwhile: a file, or all files below a folder, without those that were ``seen``."""
    found = 0
    names = [path] if path.is_file() else [Path(here) / name for here, _, files in os.walk(path) for name in files]
    for name in names:
        try:
            status = os.lstat(name)
        except FileNotFoundError:
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            found += status.st_size
    return found


def own_rss() -> float:
    """Memory of this process, in bytes."""
    from benchmarks.agents_child import resident_bytes

    return resident_bytes()


def most(samples: Iterable[Mapping[str, Any]], name: str) -> float:
    """The largest of a figure."""
    return max((float(sample[name]) for sample in samples if name in sample), default=0.0)
