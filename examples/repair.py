# SPDX-License-Identifier: MIT
"""A search that repairs a package: it tries patches, runs the package's tests, and goes back where that did not help.

``examples/broken`` holds a small package with two bugs, each in a place of its own. A node of the search is a state of
the whole folder; an edge is one small patch of its source (an operator, a comparison or a constant exchanged). A state
is judged by checking it out into a directory of its own and running the tests there. Lines that failing tests ran more
than passing ones did are tried first (spectrum-based fault localization: Abreu et al., "An evaluation of similarity
coefficients for software fault localization", 2006).

Exits with 1 unless it finds a state that passes every test.
"""

from __future__ import annotations

import io
import json
import math
import random
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import casstore
from casstore.branches import Branch
from casstore.mcts import Node, StateTree, path, search
from casstore.workspace import checkout, import_directory

BROKEN = Path(__file__).resolve().parent / "broken"
SOURCE = "spans/"
TESTS = "tests/test_ranges.py"

EXCHANGES = {
    "<": ["<="],
    "<=": ["<"],
    ">": [">="],
    ">=": [">"],
    "==": ["!="],
    "!=": ["=="],
    "+": ["-"],
    "-": ["+"],
    "and": ["or"],
    "or": ["and"],
    "0": ["1"],
    "1": ["0", "2"],
}
"""Every patch exchanges one word of the source for one of these."""


def patches(source: str) -> Iterator[tuple[int, str, str, str]]:
    """Line, old word, new word and the whole new source of every patch."""
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        for word in EXCHANGES.get(token.string, ()):
            row, start = token.start
            line = lines[row - 1]
            changed = line[:start] + word + line[token.end[1] :]
            yield row, token.string, word, "".join([*lines[: row - 1], changed, *lines[row:]])


class Repair:
    """What the search asks: which patches there are, and how good a state is."""

    def __init__(self, store: casstore.Store, scratch: Path) -> None:
        self.store = store
        self.scratch = scratch
        self.reports: dict[bytes, dict[str, Any]] = {}
        self.runs = 0

    def report(self, branch: Branch) -> dict[str, Any]:
        """What the tests say of a state; they run once for each."""
        state = branch.state_id()
        if state not in self.reports:
            self.runs += 1
            with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
                checkout(self.store, branch.fork().commit("to be tested"), folder)
                self.reports[state] = run_tests(Path(folder))
        return self.reports[state]

    def evaluate(self, branch: Branch) -> float:
        """The share of tests that pass."""
        report = self.report(branch)
        total = report["passed"] + len(report["failed"])
        return report["passed"] / total if total else 0.0

    def expand(self, branch: Branch, rng: random.Random) -> Iterator[tuple[str, dict[str, bytes], float]]:
        """Patches of lines that failing tests ran, the most suspicious lines first."""
        report = self.report(branch)
        failing = len(report["failed"])
        for name in list(branch.files.list(SOURCE)):
            source = branch.files[name].decode()
            for row, old, new, changed in patches(source):
                good, bad = report["lines"].get(f"{name}:{row}", (0, 0))
                if bad:
                    suspicion = bad / math.sqrt(failing * (good + bad))
                    yield f"{name}:{row}: {old} becomes {new}", {f"files/{name}": changed.encode()}, suspicion**3


def run_tests(folder: Path) -> dict[str, Any]:
    """The report of the folder's own ``run_tests.py``; a state that does not even run passes nothing."""
    command = [sys.executable, "-I", "-S", "-B", str(folder / "run_tests.py")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return {"passed": 0, "failed": ["everything"], "lines": {}}
    return found


def main() -> int:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="casstore-repair-") as folder:
        store = casstore.open(Path(folder) / "state.cas")
        import_directory(store, BROKEN, ref="broken", message="as it was found")
        repair = Repair(store, Path(folder))
        tree = StateTree(store, "broken", merge_transpositions=True)
        first = repair.report(tree.backtrack_to(tree.root))
        total = first["passed"] + len(first["failed"])
        print(f"{BROKEN.name}: {first['passed']} of {total} tests pass; these fail:")
        for name in first["failed"]:
            print(f"    {name}")

        def tell(node: Node, branch: Branch) -> None:
            mark = "better" if node.parent is not None and node.stats["value"] > value_of(node.parent) else "back"
            passing = round(node.stats["value"] * total)
            print(f"  try {node.id:>3} (depth {node.depth})  {passing:>2} pass, {mark:<6}  {node.action}")

        def value_of(node: Node) -> float:
            return float(node.stats.get("value", first["passed"] / total))

        tree.on("evaluated", tell)
        result = search(
            tree, repair.expand, repair.evaluate, iterations=400, exploration=0.25, target=1.0, threads=2, batch=4
        )
        seconds = time.perf_counter() - start
        best = result.best
        if best is None or not result.reached:
            print(f"No repair was found after {repair.runs} runs of the tests in {seconds:.1f} s.")
            return 1
        print(f"\nRepaired after {repair.runs} runs of the tests in {seconds:.1f} s, {len(tree)} states:")
        for node in best.path[1:]:
            print(f"    {node.action}")
        plan = tree.plan_prune(path(best))
        print(f"Giving up {len(plan.dropped)} other states, {plan.own_bytes:,} bytes of their own.")
        plan.execute()
        tree.save("search", "the way to the repair")
        repaired = tree.backtrack_to(best).commit("repaired", ref=None)
        store.refs["repaired"] = repaired
        changed = [change.key for change in store.diff("broken", "repaired")]
        target = Path(folder) / "repaired"
        checkout(store, "repaired", target)
        final = run_tests(target)
        print(f"Checked out again: {final['passed']} of {total} tests pass; changed: {', '.join(changed)}")
        untouched = (target / TESTS).read_bytes() == (BROKEN / TESTS).read_bytes()
        store.close()
        if final["failed"] or final["passed"] != total or changed != ["files/spans/ranges.py"] or not untouched:
            print("That is not what was claimed.")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
