# SPDX-License-Identifier: MIT
"""The plot of the soak: memory, files and threads, size, and latency against hours. matplotlib is imported on use."""

from __future__ import annotations

from pathlib import Path

from benchmarks.soak_samples import PARTS, Samples

_SIZE_INCHES = (10.0, 11.0)
_DOTS_PER_INCH = 110

_PANELS: tuple[tuple[str, float, bool, dict[str, str]], ...] = (
    (
        "memory, MB",
        1e6,
        False,
        {
            "rss": "the writer",
            "anon": "of it anonymous",
            "helpers_rss": "processes it starts",
            "own_rss": "the soak itself",
        },
    ),
    ("number", 1, False, {"fds": "file descriptors", "threads": "threads", "segment_files": "segments"}),
    ("store, MB", 1e6, False, {part: part for part in ("store", "live", *PARTS)}),
    (
        "latency, µs",
        1e-6,
        True,
        {
            "commit p50": "commit p50",
            "commit p99": "commit p99",
            "commit beside gc p99": "commit beside gc p99",
            "merge p50": "merge p50",
            "read p50": "read p50",
            "read p99": "read p99",
            "fork p50": "fork p50",
            "fork p99": "fork p99",
        },
    ),
)


def draw(samples: Samples, hours: float, folder: Path) -> Path:
    """The file that was drawn, ``folder/soak.png``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    scale, unit = (60.0, "minutes") if hours <= 2 else (1.0, "hours")
    for number, (title, divisor, logarithmic, lines) in enumerate(_PANELS):
        axes = figure.add_subplot(len(_PANELS), 1, number + 1)
        for name, label in lines.items():
            points = samples.line(name, divisor)
            if points:
                axes.plot([x * scale for x, _ in points], [y for _, y in points], linewidth=0.9, label=label)
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        if number == 0:
            axes.set_title(f"Soak: {hours:g} h of commits, forks, merges, searches, collections, readers and kills")
        if number == len(_PANELS) - 1:
            axes.set_xlabel(unit)
    path = folder / "soak.png"
    figure.savefig(path, metadata={"Software": None})
    return path
