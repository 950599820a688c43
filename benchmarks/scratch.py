# SPDX-License-Identifier: MIT
"""Folders to measure in.

On ext4, making files takes up to twenty times longer in block groups where many files were removed in the last minutes
(``cp -a`` of 3,668 files: 5.0 s there, 0.24 s elsewhere), so what one measurement removes would slow down the next. So
nothing is removed before a benchmark ends, and folders are spread over the disk.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder below ``parent``, removed with all it holds when the benchmark ends."""
    spread(parent)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}-", dir=parent) as name:
        spread(Path(name))
        yield Path(name)


def spread(folder: Path) -> None:
    """Asks ext4 to put each folder made in this one somewhere else on the disk; elsewhere it does nothing."""
    if shutil.which("chattr"):
        subprocess.run(["chattr", "+T", str(folder)], capture_output=True, check=False)
