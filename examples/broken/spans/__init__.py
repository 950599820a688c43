# SPDX-License-Identifier: MIT
"""Sets of whole numbers, written as ranges: ``"1-3,7"``. This copy has two bugs, for ``examples/repair.py``."""

from __future__ import annotations

from spans.ranges import contains, normalize, overlap, parse, size, subtract, text

__all__ = ["contains", "normalize", "overlap", "parse", "size", "subtract", "text"]
