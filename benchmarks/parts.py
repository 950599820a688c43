# SPDX-License-Identifier: MIT
"""A benchmark of several parts: what each of them found, put together as one result, with plots."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import environment, plots
from benchmarks.options import Options
from benchmarks.table import GOAL_HEADERS, Goal, Result, Table
from benchmarks.units import times

Points = list[tuple[float, float]]


@dataclass(slots=True)
class Peer:
    """What somebody else takes for the same."""

    what: str
    name: str
    value: float
    ours: float
    show: Callable[[float], str]
    note: str = ""

    def cells(self) -> list[str]:
        ratio = times(self.value / self.ours) if self.ours else "–"
        return [self.what, self.name, self.show(self.value), self.show(self.ours), ratio, self.note]


PEER_HEADERS = ("what", "peer", "peer takes", "casstore takes", "peer / casstore", "notes")


@dataclass(slots=True)
class Curve:
    """One plot: a figure against a size, in several lines."""

    name: str
    title: str
    x: str
    y: str
    lines: dict[str, Points]
    logarithmic: bool = True


@dataclass(slots=True)
class Measured:
    """What one part found."""

    goals: list[Goal]
    peers: list[Peer] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def run_parts(name: str, modules: Mapping[str, str], limits: Sequence[str], options: Options) -> Result:
    """Runs the parts that were asked for.

    Args:
        name: The benchmark's.
        modules: Part → module of this package, which has ``workload(options)`` and ``measure(options)``.
        limits: What holds for all parts, said first.
        options: From the command line.
    """
    if options.plots:
        plots.check()
    workload = list(limits)
    if options.quick:
        workload.insert(
            0, "A quick run with sizes cut down: it shows that the benchmark works, its figures mean nothing."
        )
    goals: list[Goal] = []
    peers: list[Peer] = []
    curves: list[Curve] = []
    for part, module_name in modules.items():
        if not options.wants(part):
            continue
        options.progress(f"{name}: {part}")
        module = importlib.import_module(f"benchmarks.{module_name}")
        workload.append(f"{part}: {module.workload(options)}")
        found: Measured = module.measure(options)
        goals += found.goals
        peers += found.peers
        curves += found.curves
    tables = [Table("Goals", GOAL_HEADERS, [goal.cells() for goal in goals])]
    if peers:
        tables.append(Table("Peers in the same run", PEER_HEADERS, [peer.cells() for peer in peers]))
    if options.plots and curves:
        for curve in curves:
            plots.draw(curve, options.plots)
    figures = {
        "goals": {goal.what: {"value": goal.value, "bar": goal.bar, "aim": goal.aim, **goal.detail} for goal in goals},
        "peers": {f"{peer.what}: {peer.name}": {"value": peer.value, "casstore": peer.ours} for peer in peers},
        "curves": {curve.name: curve.lines for curve in curves},
    }
    return Result(name, workload, environment.describe(options.work), tables, figures)
