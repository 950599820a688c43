# SPDX-License-Identifier: MIT
"""Runs the tests below ``tests/`` and prints, as JSON, what failed and which lines of the package each result ran."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "spans"


def main() -> None:
    sys.path[:0] = [str(HERE), str(HERE / "tests")]
    passed = 0
    failed: list[str] = []
    lines: dict[str, list[int]] = {}
    for name, test in collect():
        seen: set[str] = set()
        good = run(test, seen)
        passed += good
        if not good:
            failed.append(name)
        for line in seen:
            lines.setdefault(line, [0, 0])[0 if good else 1] += 1
    print(json.dumps({"passed": passed, "failed": failed, "lines": lines}))


def collect() -> list[tuple[str, Callable[[], None]]]:
    found = []
    for path in sorted((HERE / "tests").glob("test_*.py")):
        module = __import__(path.stem)
        found += [(name, test) for name, test in vars(module).items() if name.startswith("test_")]
    return found


def run(test: Callable[[], None], seen: set[str]) -> bool:
    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        path = Path(frame.f_code.co_filename)
        if path.parent != PACKAGE:
            return None
        if event == "line":
            seen.add(f"spans/{path.name}:{frame.f_lineno}")
        return trace

    sys.settrace(trace)
    try:
        test()
    except Exception:
        return False
    finally:
        sys.settrace(None)
    return True


if __name__ == "__main__":
    main()
