# SPDX-License-Identifier: MIT
"""``series``: ten releases of one project stored one after another, the last one restored; peers in the same run."""

from __future__ import annotations

import filecmp
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import environment, releases
from benchmarks.options import Options
from benchmarks.process import BenchmarkError, Run
from benchmarks.scratch import scratch
from benchmarks.table import Result, Table, megabytes, met, seconds
from benchmarks.tools import TOOLS, Tool

PEERS = ("restic", "borg", "git", "casync")


@dataclass(slots=True)
class Samples:
    """One tool's figures, one item per repeat."""

    first: list[float] = field(default_factory=list)
    further: list[float] = field(default_factory=list)
    restore: list[float] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        lists = {name: getattr(self, name) for name in ("first", "further", "restore", "stored", "peak")}
        return {name: statistics.median(values) for name, values in lists.items() if values}


def run(options: Options) -> Result:
    """Runs the whole series ``options.repeat`` times for each installed tool, in turns."""
    folders = releases.releases(options.cache, options.releases)
    files, size = releases.warm(folders)
    versions = {tool.name: version for tool in TOOLS if (version := tool.version()) is not None}
    tools = [tool for tool in TOOLS if tool.name in versions and (not options.only or tool.name in options.only)]
    samples = {tool.name: Samples() for tool in tools}
    with scratch(options.work, "series") as work:
        for number in range(options.repeat):
            for tool in tools:
                options.progress(f"series: {tool.name}, {number + 1} of {options.repeat}")
                folder = work / f"{number}-{tool.name.replace(' ', '')}"
                folder.mkdir()
                measure(tool(folder), folders, samples[tool.name], check=number == 0)
    found = {name: sample.medians() for name, sample in samples.items()}
    workload = [
        f"Ten releases of Django ({', '.join(folder.name for folder in folders)}): {files:,} files, "
        f"{size / 1e6:.0f} MB, each in a folder of its own, stored one after another; then the last one is restored "
        "into an empty folder, and compared (not timed).",
        "Wall time of whole processes, start-up included; the input is in the page cache; `sync` before each command, "
        f"not timed. Medians of {options.repeat}. Stored: bytes of all files of the repository. Peak memory: of the "
        "largest process.",
        *(f"{tool.name}: {tool.settings}. {versions[tool.name]}".rstrip() for tool in tools),
    ]
    missing = [name for name in PEERS if name not in versions]
    if missing:
        workload.append(f"Not installed, so not measured: {', '.join(missing)}.")
    figures = {
        name: {"median": found[name], "samples": raw(samples[name]), "version": versions[name]} for name in found
    }
    tables = [peers_table(found)]
    if "casstore" in found and any(name in found for name in PEERS):
        tables.insert(0, goals_table(found))
    return Result("series", workload, environment.describe(options.work), tables, figures)


def raw(sample: Samples) -> dict[str, list[float]]:
    return {name: list(getattr(sample, name)) for name in ("first", "further", "restore", "stored", "peak")}


def measure(tool: Tool, folders: list[Path], samples: Samples, *, check: bool) -> None:
    """One run of the series by one tool."""
    tool.prepare()
    runs: list[list[Run]] = []
    for folder in folders:
        os.sync()
        runs.append(tool.store(folder))
    peak = [item.peak_bytes for each in runs for item in each]
    if runs[0]:
        samples.first.append(sum(item.seconds for item in runs[0]))
        samples.further.append(sum(item.seconds for each in runs[1:] for item in each))
        samples.stored.append(tool.stored_bytes())
    target = tool.folder / "restored"
    target.mkdir()
    os.sync()
    restore = tool.restore(folders[-1], target)
    samples.restore.append(sum(item.seconds for item in restore))
    samples.peak.append(max(peak + [item.peak_bytes for item in restore]))
    if check:
        compare(folders[-1], tool.restored(folders[-1], target), tool.name)


def compare(expected: Path, found: Path, name: str) -> None:
    """Every file is there, with the same bytes.

    Raises:
        BenchmarkError: One is not.
    """
    count = 0
    for here, _, files in os.walk(expected):
        for file in files:
            path = Path(here, file)
            other = found / path.relative_to(expected)
            if not other.is_file() or not filecmp.cmp(path, other, shallow=False):
                raise BenchmarkError(f"{name} did not restore {path.relative_to(expected)}.")
            count += 1
    if count != sum(len(files) for _, _, files in os.walk(found)):
        raise BenchmarkError(f"{name} restored more files than were stored.")


def goals_table(found: dict[str, dict[str, float]]) -> Table:
    """casstore against its bars and aims; ratios against the fastest peer of the same run."""
    ours = found["casstore"]
    peers = {name: found[name] for name in PEERS if name in found}
    table = Table("Goals", ["what", "casstore", "fastest peer", "ratio", "bar", "met", "aim", "met"])

    def row(what: str, key: str, against: tuple[str, ...], bar_text: str, aim: float | None, aim_text: str) -> None:
        times = {name: values[key] for name, values in peers.items() if name in against}
        best = min(times, key=lambda name: times[name])
        limit = times[best] / 2 if aim is None else aim
        cells = [what, seconds(ours[key]), f"{best} {seconds(times[best])}", f"{ours[key] / times[best]:.2f}"]
        table.rows.append([*cells, bar_text, met(ours[key], times[best]), aim_text, met(ours[key], limit)])

    row("first import", "first", PEERS, "faster than every peer", None, "half of the fastest")
    row("nine further imports", "further", PEERS, "faster than every peer", None, "half of the fastest")
    if any(name in peers for name in ("restic", "borg", "git")):
        copy = found.get("cp -a", {}).get("restore", 0.0)
        against = ("restic", "borg", "git")
        row("restore of the last", "restore", against, "faster than restic, borg, git", copy, f"cp -a: {seconds(copy)}")
    smallest = min(peers, key=lambda name: peers[name]["stored"])
    stored, least = ours["stored"], peers[smallest]["stored"]
    cells = ["stored bytes", megabytes(stored), f"{smallest} {megabytes(least)}", f"{stored / least:.2f}"]
    table.rows.append([*cells, "below 17 MB", met(stored, 17e6), "below 14 MB", met(stored, 14e6)])
    least = min(values["peak"] for values in peers.values())
    cells = ["peak memory", megabytes(ours["peak"]), megabytes(least), f"{ours['peak'] / least:.2f}"]
    table.rows.append([*cells, "150 MB", met(ours["peak"], 150e6), "100 MB", met(ours["peak"], 100e6)])
    return table


def peers_table(found: dict[str, dict[str, float]]) -> Table:
    """All tools side by side."""
    keys = {"first": seconds, "further": seconds, "restore": seconds, "stored": megabytes, "peak": megabytes}
    headers = ["tool", "first import", "nine further", "restore of the last", "stored", "peak memory"]
    table = Table("All tools", headers)
    for name, values in found.items():
        table.rows.append([name, *(show(values[key]) if key in values else "–" for key, show in keys.items())])
    return table
