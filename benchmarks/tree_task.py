# SPDX-License-Identifier: MIT
"""The task that searches work on: a project of files, of which every action rewrites one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.branches import Branch
    from casstore.mcts import StateTree

FILES = 100
ACTIONS = 8
SOME = 10
LARGEST_BYTES = 32_768
Reads = Callable[["Branch", str], bytes]

KEYS = [f"src/module{number % 7}/file_{number:03d}.py" for number in range(FILES)]
# Some files are rewritten far more often than others, as in any project.
_WEIGHTS = list(accumulate(1 / (rank + 1) for rank in range(FILES)))


def text(rng: random.Random) -> bytes:
    """A file: 3 KB in the middle, 1 to 9 KB mostly."""
    return rng.randbytes(min(LARGEST_BYTES, max(200, int(rng.lognormvariate(8.0, 0.7)))))


class Task:
    """Functions for ``search``. A state's value is the mean of what its files are worth, each by its first byte.

    Args:
        read: Called for every file that is read.
        whole: An evaluation reads the whole state, as running tests in a folder does; else the files that differ from
            the start, and ten others.
    """

    def __init__(self, read: Reads | None = None, *, whole: bool = True) -> None:
        self.read: Reads = read or (lambda branch, key: branch.files[key])
        self.whole = whole

    def start(self, store: Store) -> Snapshot:
        """The state that the search begins with."""
        rng = random.Random(1)
        branch = store.branch()
        for key in KEYS:
            branch.files[key] = text(rng)
        branch.objects["changed"] = []
        return branch.commit("start")

    def expand(self, branch: Branch, rng: random.Random) -> Iterator[tuple[Any, dict[str, Any], float]]:
        """Eight actions; each reads one file and rewrites it."""
        changed = branch.objects["changed"]
        for number in range(ACTIONS):
            key = rng.choices(KEYS, cum_weights=_WEIGHTS)[0]
            self.read(branch, key)
            edits = {f"files/{key}": text(rng), "objects/changed": sorted({*changed, key})}
            yield [number, key], edits, rng.random()

    def evaluate(self, branch: Branch) -> float:
        """The state's value, 0 to 1."""
        if self.whole:
            return sum(self.read(branch, key)[0] for key in KEYS) / (255 * FILES)
        changed = branch.objects["changed"]
        rng = random.Random(f"{len(changed)}:{changed}")
        chosen = changed + rng.sample([key for key in KEYS if key not in set(changed)], SOME)
        return sum(self.read(branch, key)[0] for key in chosen) / (255 * len(chosen))

    def grow(self, tree: StateTree, nodes: int) -> None:
        """Searches until the tree has that many nodes."""
        from casstore.mcts import search

        while len(tree) < nodes:
            search(
                tree, self.expand, self.evaluate, iterations=max(1, (nodes - len(tree)) // 4), exploration=0.3, seed=3
            )
