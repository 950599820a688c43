# SPDX-License-Identifier: MIT
"""What people and programs see of a status and of a plan: keys, letters, text."""

from __future__ import annotations

from pathlib import Path

import casstore
from casstore.workspace import Workspace
from casstore.workspace.shown import letter_of
from tests.workspace.switching import OTHER, START, Made, become, state_of
from tests.workspace.trees import Tree

LETTERS = {
    "files/d": "A",
    "files/d/deep/er/file": "D",
    "files/d/one": "D",
    "files/d/two": "D",
    "files/empty": "D",
    "files/empty/no more": "A",
    "files/link": "M",
    "files/new/in/folder": "A",
    "files/small": "M",
    "files/tool": "M",
}


def letters(changes: tuple[casstore.Change, ...]) -> dict[str, str]:
    return {change.key: letter_of(change) for change in changes}


def test_a_status_speaks_as_a_diff_does(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    become(directory, OTHER)
    status = workspace.status()
    assert letters(status.changes) == LETTERS
    other = state_of(store, OTHER, tmp_path / "other")
    assert status.changes == tuple(store.diff("main", other))
    plan = workspace.plan_switch("main")
    assert plan.lost == status.changes
    assert plan.changes == tuple(store.diff(other, "main"))
    plan.drop()
    assert [change.letter for change in plan.lost] == [LETTERS[change.key] for change in plan.lost]


def test_another_type_has_a_letter_of_its_own(made: Made) -> None:
    _, directory, workspace = made
    become(
        directory, {**START, b"small": ("->", b"same"), b"link": b"a file", b"empty": b"too", b"tool": b"#!/bin/sh\n"}
    )
    changes = workspace.status().changes
    wanted = {"files/empty": "T", "files/link": "T", "files/small": "T", "files/tool": "M"}
    assert letters(changes) == wanted
    assert {change.letter for change in changes} == {"M"}, "as in a diff"


def test_names_that_are_no_text(made: Made) -> None:
    _, directory, workspace = made
    tree: Tree = {**START, b"caf\xe9": b"latin", b"line\nend": b"two"}
    become(directory, tree)
    changes = workspace.status().changes
    assert letters(changes) == {"files/caf\udce9": "A", "files/line\nend": "A"}
    lines = str(workspace.plan_switch("main")).split("\n")[2:]
    assert lines == ["D 'caf\\udce9'", "D 'line\\nend'"]


def test_a_plan_as_text(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    start = store.refs["main"].id.hex()[:12]
    other = state_of(store, OTHER, tmp_path / "other")
    store.refs["other"] = other
    (directory / "small").write_bytes(b"mine")
    (directory / "mine").write_bytes(b"mine")
    plan = workspace.plan_switch("other")
    first, figures, *lines = str(plan).split("\n")
    assert first == f"{directory}: {start} -> other ({other.id.hex()[:12]})"
    assert figures == "6 written (1,011 bytes), 5 deleted, 2 saved first"
    assert lines == [
        *("A d", "D d/deep/er/file", "D d/one", "D d/two", "D empty", "A empty/no more", "M link", "D mine"),
        *("A new/in/folder", "M small", "M tool"),
    ]
    assert repr(plan) == f"<SwitchPlan {str(directory)!r} -> 'other', 11 changes>"
    plan.drop()
    assert str(plan).startswith(first), "also when it is given up"
    assert str(workspace.plan_switch(other)).startswith(f"{directory}: {start} -> {other.id.hex()[:12]}\n")


def test_a_long_plan_is_cut(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    many = state_of(store, {**START, **{b"%04d" % number: b"x" for number in range(1021)}}, tmp_path / "many")
    lines = str(workspace.plan_switch(many)).split("\n")
    assert lines[1] == "1,021 written (1,021 bytes), 0 deleted, 0 saved first"
    assert lines[2:] == [*(f"A {number:04}" for number in range(20)), "... and 1,001 more"]
    assert str(workspace.plan_switch("main")) == (
        f"{directory}: {store.refs['main'].id.hex()[:12]} -> main ({store.refs['main'].id.hex()[:12]})\n"
        "0 written (0 bytes), 0 deleted, 0 saved first"
    )


def test_from_and_to_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    directory.mkdir()
    with casstore.open(str(tmp_path / "store")) as store, Workspace(store, directory) as workspace:
        state = state_of(store, {b"a": b"1"}, tmp_path / "a")
        plan = workspace.plan_switch(state)
        assert str(plan).startswith(f"{directory}: the empty state -> {state.id.hex()[:12]}\n1 written (1 bytes)")
        plan.execute()
        undo = workspace.plan_undo()
        assert str(undo).startswith(f"{directory}: {state.id.hex()[:12]} -> the empty state\n")
        assert repr(undo) == f"<SwitchPlan {str(directory)!r} -> 'the empty state', 1 changes>"
