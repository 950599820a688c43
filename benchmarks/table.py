# SPDX-License-Identifier: MIT
"""Tables: the same one for a terminal and for RESULTS.md."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Table:
    """Columns of text under headers."""

    title: str
    headers: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def render(self) -> str:
        """As Markdown, its columns aligned so that it reads well in a terminal too."""
        cells = [list(self.headers), *(list(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.headers))]
        lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return f"**{self.title}**\n\n" + "\n".join(lines)


@dataclass(slots=True)
class Result:
    """What one benchmark found."""

    name: str
    workload: Sequence[str]
    """The workload and its limits, a line each; printed before any number."""
    environment: dict[str, Any]
    tables: list[Table]
    figures: dict[str, Any]
    """Everything measured, for the JSON file; times in seconds, sizes in bytes."""

    def render(self) -> str:
        place = self.environment
        packages = ", ".join(f"{name} {version}" for name, version in place["packages"].items())
        lines = [
            *(f"- {line}" for line in self.workload),
            f"- Machine: {place['cpu']}, {place['processors']} processors, {place['memory_bytes'] / 2**30:.0f} GiB "
            f"memory, {place['kernel']}, {place['file_system']}; fsync: {place['fsync']}.",
            f"- Commit {place['commit']}, {place['time']}, Python {place['python']}, {packages}.",
            "",
        ]
        return "\n".join(lines) + "\n" + "\n\n".join(table.render() for table in self.tables) + "\n"

    def save_json(self, path: Path) -> None:
        value = {
            "benchmark": self.name,
            "workload": list(self.workload),
            "environment": self.environment,
            "figures": self.figures,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", "utf-8")

    def save_markdown(self, path: Path) -> None:
        """Replaces this benchmark's part of ``path``, between its two comment lines, or adds one at the end."""
        start, end = f"<!-- {self.name} -->", f"<!-- /{self.name} -->"
        part = f"{start}\n{self.render()}{end}"
        text = path.read_text("utf-8") if path.exists() else "# Results\n"
        pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        if pattern.search(text):
            text = pattern.sub(lambda _: part, text)
        else:
            text = f"{text.rstrip()}\n\n## {self.name}\n\n{part}\n"
        path.write_text(text, "utf-8")


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of at least 100 samples."""
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


def met(value: float, bar: float, *, higher: bool = False) -> str:
    """``yes`` or ``no``."""
    return "yes" if (value >= bar if higher else value <= bar) else "no"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def microseconds(value: float) -> str:
    return f"{value * 1e6:.1f} µs"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


@dataclass(slots=True)
class Goal:
    """One figure against its bar and its aim. A figure without a bar is context."""

    what: str
    value: float
    show: Callable[[float], str]
    bar: float | None = None
    aim: float | None = None
    higher: bool = False
    """Whether more is better."""
    detail: dict[str, Any] = field(default_factory=dict)
    """Everything else that was measured; goes to the JSON file."""
    note: str = ""

    def cells(self) -> list[str]:
        cells = [self.what, self.show(self.value)]
        for limit in (self.bar, self.aim):
            cells += ["", ""] if limit is None else [self.show(limit), met(self.value, limit, higher=self.higher)]
        return [*cells, self.note]


GOAL_HEADERS = ("what", "measured", "bar", "met", "aim", "met", "notes")


def gigabytes_per_second(value: float) -> str:
    return f"{value / 1e9:.2f} GB/s"


def per_second(value: float) -> str:
    return f"{value:,.0f} /s"


def milliseconds(value: float) -> str:
    return f"{value * 1e3:.1f} ms"
