# SPDX-License-Identifier: MIT
"""gc --explain, and keep rules on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import casstore


@pytest.fixture
def line(command: Any, tree: Path) -> Any:
    """``main`` at the last of four snapshots, each with its own 40,000 bytes; ``other`` at the first."""
    for number in range(4):
        (tree / "data.bin").write_bytes(os.urandom(40_000))
        command("import", tree, "--ref", "main", "-m", f"v{number}")
        if not number:
            command("refs", "set", "other", "main")
    return command


def ids(command: Any) -> list[str]:
    return [item["id"] for item in command.json("log", "main")["snapshots"]]


def test_explain_the_store(line: Any) -> None:
    before = line.json("stats")["stats"]
    found = line.json("gc", "--explain", "--grace", "0", "--undo-keep", "0")["explanation"]
    shares = {(item["sort"], item["name"]): item for item in (*found["sorts"], *found["roots"])}
    assert shares["ref", "main"]["exclusive"]["bytes"] > 120_000
    assert shares["ref", "main"]["reached"]["bytes"] > 160_000
    assert shares["ref", "other"]["exclusive"]["objects"] == 0
    assert ("history", "main") not in shares
    kept = line.json("gc", "--explain", "--grace", "0")["explanation"]
    (history,) = [item for item in kept["roots"] if (item["sort"], item["name"]) == ("history", "main")]
    assert (history["roots"], history["exclusive"]["objects"]) == (7, 0)
    assert 7 * 86400 - 60 < history["free_in_seconds"] <= 7 * 86400
    said = line.text("gc", "--explain")
    assert "grace period\tall" in said
    assert "to be compacted:" in said
    # Nothing was changed.
    assert line.json("stats")["stats"]["record_bytes"] == before["record_bytes"]


def test_explain_one_thing(line: Any) -> None:
    newest, *_, oldest = ids(line)
    kept = line.json("gc", "--explain", "main:files/data.bin", "--grace", "0", "--undo-keep", "0")["object"]
    assert kept["free_in_seconds"] is None
    (chain,) = kept["chains"]
    assert chain["root"] == "ref main"
    assert [step["kind"] for step in chain["steps"][:2]] == ["snapshot", "node"]
    assert chain["steps"][0]["address"] == newest
    assert [chain["steps"][place]["how"] for place in (0, 1, -1)] == ["keeps", "files", "data.bin"]
    said = line.text("gc", "--explain", oldest[:12], "--grace", "0", "--undo-keep", "0")
    assert "  ref other\n    keeps: snapshot" in said
    assert "parent: snapshot" in said
    # By address too; what is in a node is explained as the node; a root, too.
    assert line.json("gc", "--explain", kept["address"])["object"]["address"] == kept["address"]
    assert line.json("gc", "--explain", "main:files/src/a.py")["object"]["kind"] == "node"
    assert line.json("gc", "--explain", "main:files")["object"]["kind"] == "node"
    # No handle of the command's own is among what keeps it.
    assert "handle" not in line.text("gc", "--explain", "main")


def test_explain_what_goes(line: Any) -> None:
    newest, *_ = ids(line)
    line("refs", "delete", "main")
    assert line.json("gc", "--explain", newest, "--grace", "0")["object"]["free_in_seconds"] > 6 * 86400
    young = line.text("gc", "--explain", newest, "--undo-keep", "0")
    assert "goes in 1h" in young or "goes in 59m" in young
    assert "nothing keeps snapshot" in line.text("gc", "--explain", newest, "--undo-keep", "0", "--grace", "0")
    line("gc", "--undo-keep", "0", "--grace", "0")
    assert "is not in the store" in line.text("gc", "--explain", newest)


def test_explain_is_given_sense_only(line: Any) -> None:
    line.error("gc", "--explain", "nowhere", code=3)
    line.error("gc", "--explain", "main:files/none", code=3)
    line.error("gc", "--explain", "main:objects/x", code=3)
    line.error("gc", "--explain", "main:wrong", code=10)
    line.error("gc", "--explain", "main", "--keep-last", "1", code=2)


def test_keep_last_and_undo(line: Any) -> None:
    line("refs", "delete", "other")
    line("gc", "--undo-keep", "0", "--grace", "0")
    before = ids(line)
    planned = line.json("gc", "--keep-last", "2", "--dry-run")
    assert planned["retention"]["plan"]["dropped"] == before[2:]
    assert planned["retention"]["plan"]["kept"] == {before[0]: ["ref main", "last 2"], before[1]: ["last 2"]}
    assert planned["retention"]["report"] is None
    assert planned["retention"]["plan"]["freed"]["bytes"] > 80_000
    assert ids(line) == before
    said = line.text("gc", "--keep-last", "2", "--grace", "0")
    (undo,) = [row for row in said.splitlines() if row.startswith("undo: ")]
    assert f"keep\t{before[1][:12]}\tlast 2" in said
    line(*undo.split()[4:])
    line("gc", "--undo-keep", "0", "--grace", "0")
    assert ids(line) == before
    line("refs", "delete", undo.split()[-1])
    line("gc", "--undo-keep", "0", "--grace", "0")
    assert ids(line) == before[:2]
    line("verify")
    assert [item["id"] for item in line.json("inspect", "graph")["snapshots"]] == before[:2]


def test_the_base_of_a_workspace_stays(line: Any, tmp_path: Path) -> None:
    before = ids(line)
    line("checkout", before[2], tmp_path / "work")
    line("refs", "delete", "other")
    plan = line.json("gc", "--keep-last", "1", "--undo-keep", "0", "--grace", "0", "--yes")["retention"]["plan"]
    assert plan["kept"][before[2]][0].startswith("base of workspace ")
    assert plan["dropped"] == [before[1], before[3]]
    assert line.text("status", tmp_path / "work") == ""
    assert line.error("gc", "--explain", before[1][:12], code=3)


def test_what_cannot_be_undone_is_asked_for(line: Any) -> None:
    line("refs", "delete", "other")
    before = ids(line)
    error = line.error("gc", "--keep-last", "1", "--undo-keep", "0", "--save", code=2)
    assert "--yes" in error["message"]
    assert line.json("gc", "--dry-run")["retention"] is None
    assert ids(line) == before
    line("gc", "--keep-last", "1", "--undo-keep", "0", "--grace", "0", "--yes")
    assert ids(line) == before[:1]
    # With nothing to cut, nothing is asked.
    line("gc", "--keep-last", "1", "--undo-keep", "0")


def test_rules_are_remembered(line: Any) -> None:
    line("gc", "--keep-last", "3", "--ref", "other", "--save")
    line("gc", "--keep-best", "2:score", "--keep-within", "7d", "--keep-bytes", "1G", "--save")
    with casstore.open(line.store, read_only=True) as store:
        assert [str(rule) for rule in store.settings.retention] == [
            "other: keep last 3",
            "*: keep within 604800 s, newest in 1073741824 bytes, best 2 by score",
        ]
    assert len(line.json("gc", "--dry-run")["retention"]["plan"]["rules"]) == 2
    # A rule for the same refs takes the place of the one before; one that is typed stands alone, unless it is saved.
    assert len(line.json("gc", "--keep-last", "9", "--dry-run")["retention"]["plan"]["rules"]) == 1
    line("gc", "--keep-last", "4", "--ref", "other", "--save")
    line("gc", "--forget-rules", "--ref", "*")
    with casstore.open(line.store, read_only=True) as store:
        assert [str(rule) for rule in store.settings.retention] == ["other: keep last 4"]
    line("gc", "--forget-rules")
    assert line.json("gc", "--dry-run")["retention"] is None


def test_rules_are_given_sense_only(line: Any) -> None:
    for words in (
        ("--keep-best", "score"),
        ("--keep-best", "x:score"),
        ("--keep-best", "2:"),
        ("--keep-last", "-1"),
        ("--keep-within", "soon"),
        ("--keep-bytes", "lots"),
        ("--save",),
        ("--ref", "main"),
        ("--ref", "", "--keep-last", "1"),
        ("--forget-rules", "--keep-last", "1"),
    ):
        assert line("gc", *words, code=2).stdout == ""


def test_json_is_one_object(line: Any) -> None:
    done = line.json("gc", "--keep-last", "2", "--grace", "0")
    assert {"dry_run", "plan", "report", "retention"} <= done.keys()
    assert done["retention"]["report"]["dropped"] == 0  # history still needs them all
    assert json.dumps(done)
