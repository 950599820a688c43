# SPDX-License-Identifier: MIT
"""A search whose states are shown in one directory, where programs edit and test them.

A small module has four bugs, and a script that checks it. A node of the search is a state of the whole directory, with
what was done to it as an object beside the files. To try something, the directory is switched to a node, a program
edits the module there, another runs the checks, and what both left becomes a new node. The best node is tried next. So
one directory goes back and forth between states all the time, at the cost of what differs between them: a large file
that no state changes is never written again.

The directory is an overlay where that can be had, else it shares blocks with the store's tree, else it is a copy.

Exits with 1 unless it finds a state that passes every check, every state can be shown again, and nothing is lost.
"""

from __future__ import annotations

import io
import os
import random
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import casstore
from casstore.mcts import Node, StateTree
from casstore.workspace import Workspace, fork_to

MODULE = """\
from tables import LETTERS, VALUES


def to_roman(number):
    text = ""
    for value, letters in LETTERS:
        while number > value:
            text += letters
            number -= value
    return text


def from_roman(text):
    total = 0
    for place in range(len(text)):
        value = VALUES[text[place]]
        after = VALUES[text[place + 2]] if place + 1 < len(text) else 0
        total += value if value > after else -value
    return total


def is_roman(text):
    known = all(letter in VALUES for letter in text)
    return known and 1 < from_roman(text) < 4000 and to_roman(from_roman(text)) == text
"""
TABLES = """\
NUMBERS = [1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1]
LETTERS = list(zip(NUMBERS, "M CM D CD C XC L XL X IX V IV I".split()))
VALUES = {letters: number for number, letters in LETTERS if len(letters) == 1}
"""
CHECKS = """\
from roman import from_roman, is_roman, to_roman

CHECKS = [
    lambda: to_roman(1) == "I",
    lambda: to_roman(1990) == "MCMXC",
    lambda: to_roman(3888) == "MMMDCCCLXXXVIII",
    lambda: from_roman("V") == 5,
    lambda: from_roman("II") == 2,
    lambda: from_roman("XIV") == 14,
    lambda: from_roman("MCMXC") == 1990,
    lambda: from_roman("MMXXVI") == 2026,
    lambda: is_roman("I"),
    lambda: is_roman("MMXXVI"),
    lambda: not is_roman("IIX"),
    lambda: not is_roman("hello"),
]


def passes(check):
    try:
        return bool(check())
    except Exception:
        return False


with open("report.txt", "w") as report:
    for number, check in enumerate(CHECKS):
        print(number, "passes" if passes(check) else "fails", file=report)
"""
EDITOR = """\
import sys

name, row, start, end, word = sys.argv[1:]
with open(name) as file:
    lines = file.readlines()
line = lines[int(row) - 1]
lines[int(row) - 1] = line[: int(start)] + word + line[int(end) :]
with open(name, "w") as file:
    file.writelines(lines)
"""
LARGE = random.Random(1).randbytes(4_000_000)

PYTHON = (sys.executable, "-I", "-S", "-B")
RUN_CHECKS = (*PYTHON, "-c", "import sys; sys.path.insert(0, '.'); import check")
EXCHANGES = {">": [">="], "<": ["<="], "+": ["-"], "0": ["1"], "1": ["0"], "2": ["1"], "==": ["!="]}
"""Every patch exchanges one word of the module for one of these."""
MOST_STATES = 400


def patches(source: str) -> Iterator[tuple[str, list[str]]]:
    """What every patch does, and the arguments that the editor needs for it."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        for word in EXCHANGES.get(token.string, ()):
            row, start = token.start
            what = f"line {row}, {token.string} becomes {word}: {token.line.strip()}"
            yield what, [str(row), str(start), str(token.end[1]), word]


class Search:
    """A search that always goes on from the best state that was not tried yet."""

    def __init__(self, tree: StateTree, workspace: Workspace) -> None:
        self.tree = tree
        self.workspace = workspace
        self.switches = 0
        self.seconds = 0.0

    def show(self, node: Node) -> casstore.Branch:
        """A fork of the node's state, whose files are those of the directory now."""
        start = time.perf_counter()
        branch = self.tree.backtrack_to(node, workspace=self.workspace)
        self.seconds += time.perf_counter() - start
        self.switches += 1
        return branch

    def check(self) -> float:
        """The share of checks that pass in the directory; the program leaves a report there."""
        report = Path(self.workspace.directory, "report.txt")
        report.unlink(missing_ok=True)
        self.workspace.run(RUN_CHECKS, timeout=60, capture_output=True)
        lines = report.read_text().splitlines() if report.exists() else []
        return sum(line.endswith("passes") for line in lines) / max(len(lines), 1)

    def try_patches(self, node: Node) -> Iterator[Node]:
        """A new node for every patch of a node's module."""
        for what, arguments in patches(self.tree.backtrack_to(node).files["roman.py"].decode()):
            branch = self.show(node)
            self.workspace.run([*PYTHON, "-c", EDITOR, "roman.py", *arguments], check=True)
            value = self.check()
            branch.objects["done"] = [*branch.objects["done"], what]
            yield self.tree.create_node(node, self.workspace.capture(branch), action=what, value=value)

    def run(self) -> Node:
        """The best node."""
        best = self.tree.root
        waiting = [best]
        while waiting and value_of(best) < 1 and len(self.tree) < MOST_STATES:
            node = max(waiting, key=value_of)
            waiting.remove(node)
            for child in self.try_patches(node):
                waiting.append(child)
                if value_of(child) > value_of(best):
                    best = child
                    print(f"  {value_of(best):4.0%}  try {child.id:>3}, from state {node.id:>3}  {child.action}")
        return best


def value_of(node: Node) -> float:
    """The share of checks that pass in a node."""
    return float(node.stats["value"])


def is_shown(branch: casstore.Branch, directory: str) -> bool:
    """Whether the directory has exactly the branch's files."""
    found = {name: Path(directory, name).read_bytes() for name in os.listdir(directory)}
    return found == dict(branch.files)


def main() -> int:
    start = time.perf_counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="casstore-workspace-")))
        store = stack.enter_context(casstore.open(folder / "state.cas"))
        branch = store.branch()
        branch.files.update(
            {"roman.py": MODULE.encode(), "tables.py": TABLES.encode(), "check.py": CHECKS.encode(), "data": LARGE}
        )
        branch.objects["done"] = []
        branch.commit("as it was found", ref="broken")

        workspace = stack.enter_context(fork_to(store, "broken", folder / "work"))
        stack.callback(workspace.remove)
        data = Path(workspace.directory, "data")
        inode = data.stat().st_ino
        print(f"The directory is made by {workspace.why}.")

        tree = StateTree(store, "broken")
        search = Search(tree, workspace)
        tree.root.stats["value"] = search.check()
        print(f"Of the checks pass:\n  {value_of(tree.root):4.0%}  as it was found")
        best = search.run()
        print(
            f"{len(tree)} states in {time.perf_counter() - start:.1f} s; {search.switches} switches of the directory, "
            f"{search.seconds / search.switches * 1000:.1f} ms each."
        )
        print("What led there:")
        for what in tree.backtrack_to(best).objects["done"]:
            print(f"    {what}")
        good = value_of(best) == 1

        chance = random.Random(2)
        for node in chance.choices(list(tree), k=20):
            good &= is_shown(search.show(node), workspace.directory)
        good &= data.stat().st_ino == inode
        print("20 of the states were shown once more, each as it was; the large file was never written again.")

        Path(workspace.directory, "roman.py").write_text("by hand, and saved nowhere\n")
        search.show(best)
        workspace.undo()
        good &= Path(workspace.directory, "roman.py").read_text() == "by hand, and saved nowhere\n"
        print("An edit by hand was switched away from, and undo brought it back.")

        tree.save("search")
        store.refs["repaired"] = tree.backtrack_to(best).commit("repaired")
        workspace.switch("repaired")
        good &= search.check() == 1
        changed = [change.key for change in store.diff("broken", "repaired") if change.key.startswith("files/")]
        good &= changed == ["files/report.txt", "files/roman.py"]
        print(f"The best state is kept under the ref repaired; changed: {', '.join(changed)}.")
    if not good:
        print("That is not what was claimed.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
