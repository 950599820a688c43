# SPDX-License-Identifier: MIT
"""The benchmark of collections runs, in a tiny size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import collection
from benchmarks.options import Options


@pytest.mark.parametrize("part", sorted(collection.MODULES))
def test_each_part_runs(part: str, tmp_path: Path) -> None:
    options = Options(tmp_path, tmp_path, 1, None, (part,), 2**20, 10, quiet=True, quick=True)
    result = collection.run(options)
    rows = [row for table in result.tables for row in table.rows]
    assert len(rows) == {"sweep": 4, "writers": 2}[part]
    assert all(row[1] for row in rows)
