# SPDX-License-Identifier: MIT
"""Pressure stall information: for which share of the time did tasks wait for memory.

The own group's file is preferred: on the whole system's, a neighbour that meets its own limit looks like a shortage of
ours.

*Source*: Linux, ``Documentation/accounting/psi.rst``. ``some`` (at least one task waits) is taken, as it rises first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from casstore.objects.cgroup import Group
from casstore.objects.kernel_files import KernelFiles, parse_number

SYSTEM_PATH: Final = "/proc/pressure/memory"


@dataclass(frozen=True, slots=True)
class Stalls:
    """The ``some`` line of a pressure file.

    Attributes:
        path: The file.
        average: Share of the last 10 seconds in which a task waited for memory, 0 to 1; None: not stated.
        total_us: Microseconds so waited since the start; None: not stated.
    """

    path: str
    average: float | None
    total_us: int | None


def read_stalls(files: KernelFiles, groups: tuple[Group, ...]) -> Stalls | None:
    """The stalls of the own group, else of the system; None where the kernel does not count them.

    *Cost*: one or two small files.
    """
    own = [f"{group.folder}/memory.pressure" for group in groups if group.own and group.version == 2]
    for path in [*own, SYSTEM_PATH]:
        text = files.text(path)
        if text is not None:
            found = parse_stalls(path, text)
            if found is not None:
                return found
            files.note(path, f"has no line of stalls: {text[:40]!r}")
    return None


def parse_stalls(path: str, text: str) -> Stalls | None:
    """What the ``some`` line of ``text`` says; None where there is no such line, or nothing in it."""
    for line in text.splitlines():
        kind, *rest = line.split() or [""]
        if kind == "some":
            values = dict(part.split("=", 1) for part in rest if "=" in part)
            total = parse_number(values.get("total", ""))
            average = _percent(values.get("avg10", ""))
            return None if total is None and average is None else Stalls(path, average, total)
    return None


def _percent(text: str) -> float | None:
    try:
        value = float(text) / 100
    except ValueError:
        return None
    return min(1.0, value) if math.isfinite(value) and value >= 0 else None
