# SPDX-License-Identifier: MIT
"""Switching a plain directory to a neighbour where one file differs, with a full scan, against git."""

from __future__ import annotations

from pathlib import Path

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.workspace_checks import Neighbours
from benchmarks.workspace_git import Repository
from benchmarks.workspace_rounds import OURS, Samples, against, alternate, pause, rounds_of, timed
from benchmarks.workspace_trees import Editor, chosen, copy, describe, real, set_back

CHECKOUT, SEQUENCE = "git checkout", "git clean + reset + checkout"
NEW = "new-file.txt"


def workload(options: Options) -> str:
    return (
        f"the first tree ({describe(options)}). `Workspace.switch(snapshot)` with a full scan, to and fro between two "
        f"snapshots that differ in one file; against `{CHECKOUT}` between two commits, and against `git clean -fd`, "
        "`git reset --hard` and `git checkout` one after another, in a work tree of its own. Nothing else changed; in "
        "a row of its own another file was edited and a new one made before each switch (casstore saves both in a "
        f"snapshot, git throws them away). {rounds_of(options)} rounds."
    )


def measure(options: Options) -> Measured:
    import casstore
    from casstore.workspace import Workspace

    found = Measured([])
    tree = real(options)
    rounds = rounds_of(options)
    with scratch(options.work, "switch") as work:
        ours = tree.make(work / "ours")
        expected = work / "expected"
        copy(ours, expected)
        path, other = chosen(ours, 2)
        peers = [WorkTree(tree.make(work / f"theirs-{number}"), path) for number in range(2)]
        with casstore.open(str(work / "store")) as store, Workspace(store, str(ours)) as workspace:
            pair = Neighbours(store, workspace, expected, path)
            sides = {OURS: pair.switch, CHECKOUT: peers[0].checkout, SEQUENCE: peers[1].clean_reset_checkout}
            what = f"switch to a neighbour, 1 file differs, {tree.name}"
            samples = alternate(rounds, sides)
            against(found, what, samples, CHECKOUT, 2.0, 1.0)
            against(found, what, samples, SEQUENCE, 1.0, 0.5)
            dirty(found, rounds, what, pair, peers[1], other)
    return found


class WorkTree:
    """A work tree with two commits that differ in one file."""

    def __init__(self, folder: Path, path: str) -> None:
        self.repository = Repository(folder)
        self.folder = folder
        self._path = path
        first = self.repository.save()
        editor = Editor(folder, [path])
        self._contents = ((folder / path).read_bytes(), editor.data(path, 1))
        editor.change(1)
        self._commits = (first, self.repository.save())

    def checkout(self, number: int) -> float:
        pause()
        return self._check(self.repository.checkout(self._commits[number % 2]), number)

    def clean_reset_checkout(self, number: int) -> float:
        pause()
        return self._check(self.repository.clean_reset_checkout(self._commits[number % 2]), number)

    def _check(self, took: float, number: int) -> float:
        if (self.folder / self._path).read_bytes() != self._contents[number % 2]:
            raise BenchmarkError("git did not check out the other commit.")
        return took


def dirty(found: Measured, rounds: int, what: str, pair: Neighbours, peer: WorkTree, other: str) -> None:
    """The same with changes in the way."""

    def soil(folder: Path, number: int) -> None:
        with open(folder / other, "ab") as file:
            file.write(b"# edited in round %d\n" % number)
        (folder / NEW).write_bytes(b"new in round %d\n" % number)
        set_back(folder, (other, NEW))

    def ours(number: int) -> float:
        soil(pair.folder, number)
        edited = (pair.folder / other).read_bytes()
        target = pair.states[number % 2]
        took, report = timed(lambda: pair.workspace.switch(target))
        if report.saved is None or report.saved.files[other] != edited or NEW not in report.saved.files:
            raise BenchmarkError("the edit was not saved before the switch.")
        if report.snapshot != target:
            raise BenchmarkError("the directory was not switched.")
        pair.compare(number, kept=False)
        return took

    def theirs(number: int) -> float:
        soil(peer.folder, number)
        took = peer.clean_reset_checkout(number)
        if (peer.folder / NEW).exists():
            raise BenchmarkError("git left the new file there.")
        return took

    samples: Samples = alternate(rounds, {OURS: ours, SEQUENCE: theirs})
    against(found, f"{what}, an edit and a new file in the way", samples, SEQUENCE, None, None)
