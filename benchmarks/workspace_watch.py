# SPDX-License-Identifier: MIT
"""Snapshots and switches of a directory that is watched, so that a scan's work is what was reported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError
from benchmarks.scratch import scratch
from benchmarks.workspace_checks import Neighbours, check_snapshot
from benchmarks.workspace_rounds import alone, alternate, rounds_of, syncs, timed
from benchmarks.workspace_trees import Editor, Tree, chosen, copy, describe, generated, real

BAR, AIM = 10e-3, 2e-3


def workload(options: Options) -> str:
    if reason := unavailable():
        return f"not measured: {reason}"
    return (
        f"{describe(options)}. `Workspace(store, directory, watch=True)`: `snapshot()` with nothing changed, and after "
        "one file was rewritten (each time the same one); `switch` between two snapshots that differ in one file. A "
        "full scan that falls into the rounds counts. Every snapshot that has something new, and every switch, syncs: "
        f"the row of one sync says what this disk takes for one. {rounds_of(options)} rounds."
    )


def unavailable() -> str | None:
    """Why nothing can be watched here; None where it can."""
    if importlib.util.find_spec("watchfiles") is None:
        return "watchfiles is not installed (pip install 'casstore[watch]')."
    return None


def measure(options: Options) -> Measured:
    found = Measured([])
    if reason := unavailable():
        options.progress(f"workspace: watch is not measured: {reason}")
        return found
    with scratch(options.work, "watch") as work:
        for number, tree in enumerate((real(options), generated(options))):
            options.progress(f"workspace: watch of {tree.name}")
            folder = work / f"tree-{number}"
            folder.mkdir()
            watch(found, rounds_of(options), folder, tree)
        syncs(found, "watch", rounds_of(options), work)
    return found


def watch(found: Measured, rounds: int, work: Path, tree: Tree) -> None:
    """The rows of one tree."""
    import casstore
    from casstore.workspace import Workspace

    ours = tree.make(work / "ours")
    expected = work / "expected"
    copy(ours, expected)
    path, other = chosen(ours, 2)
    with casstore.open(str(work / "store")) as store:
        with Workspace(store, str(ours), watch=True) as workspace:
            first = last = workspace.snapshot("start")
            editor = Editor(ours, [other])

            def unchanged(_: int) -> float:
                took, snapshot = timed(workspace.snapshot)
                if snapshot.roots != first.roots:
                    raise BenchmarkError("a snapshot of an unchanged directory has another content.")
                return took

            def changed(number: int) -> float:
                nonlocal last
                editor.change(number)
                took, snapshot = timed(workspace.snapshot)
                check_snapshot(store, last, snapshot, editor, number)
                last = snapshot
                return took

            samples = alternate(rounds, {"unchanged": unchanged})
            alone(found, f"watch: snapshot, nothing changed, {tree.name}", samples["unchanged"], BAR, AIM)
            samples = alternate(rounds, {"changed": changed})
            alone(found, f"watch: snapshot, 1 changed, {tree.name}", samples["changed"], BAR, AIM)
            (expected / other).write_bytes((ours / other).read_bytes())
            pair = Neighbours(store, workspace, expected, path)
            samples = alternate(rounds, {"switch": pair.switch})
            alone(found, f"watch: switch, 1 file differs, {tree.name}", samples["switch"], BAR, AIM)
        with Workspace(store, str(ours)) as workspace:
            if not workspace.status(paranoid=True).clean:
                raise BenchmarkError("a full reading found changes that the watched scans had missed.")
