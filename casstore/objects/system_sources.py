# SPDX-License-Identifier: MIT
"""The memory of this process, as the operating system tells it.

Linux is asked through its files; elsewhere ``psutil`` is, where it is installed. Nothing that is missing or odd is
fatal: what is not known is left out, and named.
"""

from __future__ import annotations

import importlib
import resource
import sys
from collections.abc import Callable
from typing import Any, Final

from casstore.objects import malloc
from casstore.objects.cgroup import Group, find_groups, read_bounds
from casstore.objects.kernel_files import KernelFiles, parse_number
from casstore.objects.psi import read_stalls
from casstore.objects.python_gc import CollectorWatch
from casstore.objects.reading import Bound, Reading

FIND_EVERY: Final = 64
"""Readings after which the own groups are looked up again: somebody may have moved the process."""
_STATM: Final = "/proc/self/statm"
_MEMINFO: Final = "/proc/meminfo"


class SystemSources:
    """What this process takes, and what it may take.

    *Thread safety*: for one thread at a time; a monitor sees to that.
    *Cost*: a reading opens four files, and three more per control group with a limit; see ``docs/tuning.md``.

    Args:
        root: The folder that stands for ``/``.
        page_bytes: Size of a page; None asks the system.
        get_rlimit: The soft limit of ``resource.RLIMIT_…``, or a negative number for none.
        count_faults: Pages that the process was given so far.
        free_in_heap: Bytes that are mapped but free.
    """

    def __init__(
        self,
        root: str = "/",
        *,
        page_bytes: int | None = None,
        get_rlimit: Callable[[int], int] | None = None,
        count_faults: Callable[[], int] | None = None,
        free_in_heap: Callable[[], int] = malloc.free_bytes,
    ) -> None:
        self._files = KernelFiles(root)
        self._page_bytes = page_bytes or resource.getpagesize()
        self._get_rlimit = get_rlimit or _soft_limit
        self._count_faults = count_faults or _minor_faults
        self._free_in_heap = free_in_heap
        self._collector = CollectorWatch()
        self._groups: tuple[Group, ...] = ()
        self._found_problems: dict[str, str] = {}
        self._until_found = 0

    def open(self) -> None:
        """Begins to watch Python's collector."""
        self._collector.open()

    def close(self) -> None:
        """Ends that."""
        self._collector.close()

    def read(self) -> Reading:
        """The state of now."""
        files = self._files
        files.problems.clear()
        if self._until_found <= 0:
            self._groups = find_groups(files)
            self._found_problems = dict(files.problems)
            self._until_found = FIND_EVERY
        self._until_found -= 1
        process = self._process()
        bounds = read_bounds(files, self._groups)
        if process is None:
            rss_bytes = self._rss_elsewhere()
        else:
            mapped, rss_bytes, data = process
            bounds += self._own_limits(mapped, data)
        bounds += self._system()
        stalls = read_stalls(files, self._groups)
        return Reading(
            rss_bytes=rss_bytes,
            bounds=tuple(bounds),
            stalled_us=stalls.total_us if stalls else None,
            stalled_share=stalls.average if stalls else None,
            faulted_bytes=self._count_faults() * self._page_bytes,
            collector=self._collector.figures(),
            problems=tuple({**self._found_problems, **files.problems}.values()),
        )

    def _process(self) -> tuple[int, int, int] | None:
        """Mapped, resident and private writable bytes."""
        text = self._files.text(_STATM, required=sys.platform == "linux")
        if text is None:
            return None
        numbers = [parse_number(part) for part in text.split()]
        if len(numbers) < 6 or None in numbers:
            self._files.note(_STATM, f"does not hold the sizes of a process but {text[:40]!r}")
            return None
        mapped, resident, data = (numbers[i] or 0 for i in (0, 1, 5))
        return mapped * self._page_bytes, resident * self._page_bytes, data * self._page_bytes

    def _own_limits(self, mapped: int, data: int) -> list[Bound]:
        found = []
        free: int | None = None
        for name, used in (("RLIMIT_AS", mapped), ("RLIMIT_DATA", data)):
            limit = self._get_rlimit(getattr(resource, name))
            if 0 <= limit < (1 << 62):
                if free is None:
                    free = self._free_in_heap()
                # What is free in the heap stays mapped, and is what the next allocation gets.
                found.append(Bound(name, max(0, used - free), max(1, limit)))
        return found

    def _system(self) -> list[Bound]:
        table = self._files.table(_MEMINFO, required=sys.platform == "linux")
        total = table.get("MemTotal", 0)
        available = table.get("MemAvailable")
        if available is None and "MemFree" in table:
            # Before Linux 3.14; a little too high, as shared memory is no cache.
            available = table["MemFree"] + table.get("Buffers", 0) + table.get("Cached", 0)
        if not table:
            psutil = _psutil()
            if psutil is None:
                return []
            memory = psutil.virtual_memory()
            total, available = int(memory.total), int(memory.available)
        if total < 1 or available is None:
            self._files.note(_MEMINFO, "does not say how much memory there is, and how much is available")
            return []
        return [Bound(_MEMINFO, max(0, total - available), total)]

    def _rss_elsewhere(self) -> int:
        psutil = _psutil()
        if psutil is not None:
            return int(psutil.Process().memory_info().rss)
        self._files.note("psutil", "is not installed: the largest size so far is taken for that of now")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _soft_limit(which: int) -> int:
    return resource.getrlimit(which)[0]


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _psutil() -> Any:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module("psutil")
    except ImportError:
        return None
