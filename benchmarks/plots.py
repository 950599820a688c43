# SPDX-License-Identifier: MIT
"""Curves as PNG files. matplotlib is imported when something is drawn."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.process import BenchmarkError

if TYPE_CHECKING:
    from benchmarks.parts import Curve

_SIZE_INCHES = (8.0, 5.0)
_DOTS_PER_INCH = 110
_MARKERS = "osD^vPX*"


def check() -> None:
    """Raises ``BenchmarkError`` where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchmarkError("plots need matplotlib; install it (pip install matplotlib), or leave --plots out.")


def plain(value: float, place: object = None) -> str:
    """A number as people write it."""
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def draw(curve: Curve, folder: Path) -> Path:
    """The file that was drawn, ``folder/NAME.png``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (label, points) in enumerate(curve.lines.items()):
        xs, ys = zip(*points)
        axes.plot(xs, ys, marker=_MARKERS[number % len(_MARKERS)], markersize=5, linewidth=1.5, label=label)
    if curve.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
        # Never less than a decade and a half: noise on a flat line must not look like growth.
        low, high = axes.get_ylim()
        if high / low < 30:
            middle = (low * high) ** 0.5
            axes.set_ylim(middle / 30**0.5, middle * 30**0.5)
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            if high / low < 300:  # powers of ten alone would leave one or two numbers
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
    axes.set_title(curve.title, fontsize=11)
    axes.set_xlabel(curve.x)
    axes.set_ylabel(curve.y)
    axes.grid(which="major", alpha=0.4)
    axes.grid(which="minor", alpha=0.12)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    path = folder / f"{curve.name}.png"
    figure.savefig(path, metadata={"Software": None})
    return path
