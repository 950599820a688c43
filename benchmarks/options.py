# SPDX-License-Identifier: MIT
"""What was asked for on the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Options that benchmarks share."""

    cache: Path
    """Downloads and stores that take long to build are kept here."""
    work: Path
    """Everything else is written here, and removed again."""
    repeat: int
    releases: Path | None
    only: tuple[str, ...]
    """Tools or parts to measure; all when empty."""
    large_bytes: int
    objects: int
    quiet: bool = False
    quick: bool = False
    """Cut every size down, to see that a benchmark runs; its figures then mean nothing."""
    plots: Path | None = None
    """Folder for plots; None draws none."""
    hours: float | None = None
    """How long a soak runs; None as long as it says."""

    def pick(self, full: int, quick: int) -> int:
        """A size: the stated one, or the small one of a quick run."""
        return quick if self.quick else full

    def progress(self, text: str) -> None:
        """Says on stderr what is being measured."""
        if not self.quiet:
            print(f"… {text}", file=sys.stderr, flush=True)

    def wants(self, part: str) -> bool:
        """Whether a part was asked for."""
        return not self.only or part in self.only
