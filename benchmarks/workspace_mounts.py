# SPDX-License-Identifier: MIT
"""Mounts that a benchmark made: whether overlays can be mounted, and that none is left."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MOUNTS = "/proc/self/mounts"


def unavailable(work: Path) -> str | None:
    """Why no overlay can be mounted with its upper folder in ``work``; None where one can."""
    if sys.platform != "linux":
        return "overlayfs is part of Linux."
    if os.geteuid():
        return "mounting an overlay that this process itself sees takes root."
    with tempfile.TemporaryDirectory(prefix="probe-", dir=work) as name:
        folders = {part: Path(name, part) for part in ("lower", "upper", "work", "target")}
        for folder in folders.values():
            folder.mkdir()
        options = f"lowerdir={folders['lower']},upperdir={folders['upper']},workdir={folders['work']}"
        words = ["mount", "-t", "overlay", "overlay", "-o", options, str(folders["target"])]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "the command mount is not installed."
        if done.returncode:
            return f"no overlay can be mounted here: {done.stderr.strip()}"
        unmount(folders["target"])
    return None


def mounted_below(folder: Path) -> list[str]:
    """Mount points below ``folder``, the innermost first."""
    start = str(folder.resolve()) + "/"
    points = []
    with open(MOUNTS, "rb") as file:
        for line in file:
            # Blanks, tabs, line ends and backslashes are written as \ooo.
            point = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), line.split()[1]))
            if point.startswith(start):
                points.append(point)
    return sorted(points, key=len, reverse=True)


def unmount(target: Path | str) -> None:
    """Unmounts, at once from sight where something still uses it."""
    for words in (["umount", str(target)], ["umount", "--lazy", str(target)]):
        if not subprocess.run(words, capture_output=True, check=False).returncode:
            return


@contextlib.contextmanager
def unmounting(folder: Path) -> Iterator[None]:
    """Unmounts what is mounted below ``folder`` in the end, so that it can be removed."""
    try:
        yield
    finally:
        for point in mounted_below(folder):
            unmount(point)
