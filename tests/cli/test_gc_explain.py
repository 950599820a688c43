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
    said = line.text("gc", "--keep-best", "2:score", "--keep-within", "7d", "--keep-bytes", "1G", "--save", "--yes")
    assert "saved: *: keep within " in said
    with casstore.open(line.store, read_only=True) as store:
        assert [str(rule) for rule in store.settings.retention] == [
            "other: keep last 3",
            "*: keep within 7d, newest in 1 GiB, best 2 by score",
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


def test_saved_rules_are_shown(line: Any) -> None:
    assert line.json("gc", "--keep-last", "3", "--ref", "other", "--save")["saved"]["last"] == 3
    line("gc", "--keep-last", "9", "--save")
    rules = line.json("config")["settings"]["retention"]
    assert [(rule["ref"], rule["last"]) for rule in rules] == [("other", 3), ("*", 9)]
    assert "retention" not in line.json("config", "grace")["settings"]
    for words in (("config",), ("inspect", "store")):
        said = line.text(*words)
        assert "other: keep last 3" in said
        assert "*: keep last 9" in said
    assert line.json("inspect", "store")["settings"]["retention"][0]["ref"] == "other"
    assert "would forget: other: keep last 3" in line.text("gc", "--forget-rules", "--dry-run")
    assert "no rule for exactly 'main' is saved" in line.text("gc", "--forget-rules", "--ref", "main")
    assert "forgot: other: keep last 3" in line.text("gc", "--forget-rules", "--ref", "other")
    assert [rule["last"] for rule in line.json("gc", "--forget-rules")["forgot"]] == [9]
    assert "no rule is saved" in line.text("gc", "--forget-rules")
    assert "keep rule" not in line.text("config")


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (("--keep-best", "2:score"), "no snapshot in the lines of '*' has a number 'score'"),
        (("--keep-last", "2", "--ref", "tyr/*"), "no ref is named 'tyr/*'"),
    ],
)
def test_a_rule_that_matches_nothing(line: Any, words: tuple[str, ...], warning: str) -> None:
    before = ids(line)
    assert f"warning: {warning}" in line.text("gc", *words, "--dry-run")
    (said,) = line.json("gc", *words, "--dry-run")["retention"]["plan"]["warnings"]
    assert said.startswith(warning)
    error = line.error("gc", *words, "--save", code=10)
    assert warning in error["message"]
    assert "--yes" in error["message"]
    assert line.json("config")["settings"]["retention"] == []
    assert ids(line) == before
    line("gc", *words, "--save", "--yes")
    assert len(line.json("config")["settings"]["retention"]) == 1


def test_the_log_says_where_a_line_was_cut(line: Any) -> None:
    line("refs", "delete", "other")
    line("gc", "--undo-keep", "0", "--grace", "0")
    before = ids(line)
    assert all(not item["shallow"] for item in line.json("log", "main")["snapshots"])
    said = line.text("gc", "--keep-last", "2", "--grace", "0")
    assert "the line itself stays cut" in said
    rows = line.text("log", "main").splitlines()
    assert [len(row.split("\t")) for row in rows] == [4, 5, 4, 4]
    assert rows[1].endswith("\tcut here: what came before stays only while undo or another ref keeps it")
    line("gc", "--undo-keep", "0", "--grace", "0")
    rows = line.text("log", "main").splitlines()
    assert [row[:12] for row in rows] == [identity[:12] for identity in before[:2]]
    assert rows[1].endswith("\thistory before this was given up")
    assert [item["shallow"] for item in line.json("log", "main")["snapshots"]] == [False, True]


def test_a_bundle_of_a_line_that_was_cut(line: Any, tmp_path: Path) -> None:
    line("refs", "delete", "other")
    line("gc", "--undo-keep", "0", "--grace", "0")
    line("gc", "--keep-last", "2", "--undo-keep", "0", "--grace", "0", "--yes")
    end = ids(line)[1]
    bundle = tmp_path / "main.bundle"
    said = line.text("bundle", "export", bundle, "main")
    assert f"history before {end[:12]} was given up" in said
    assert f"history ends at:    {end}" in line.text("bundle", "show", bundle)
    assert line.json("bundle", "show", bundle)["shallow"] == [end]
    with casstore.open(tmp_path / "other.cas") as other:
        assert [address.hex() for address in other.adopt_bundle(bundle).shallow] == [end]
    assert line.json("bundle", "adopt", bundle)["shallow"] == []


def test_when_what_is_cut_comes_free(line: Any) -> None:
    line("refs", "delete", "other")
    line("gc", "--undo-keep", "0", "--grace", "0")
    for words, seconds, said in (
        (("--undo-keep", "7d"), 7 * 86400, "in 7d"),
        # A hit renews a stamp only after half of the store's grace period, which is 1 h.
        (("--undo-keep", "0", "--grace", "2h"), 9000, "in 2h30m"),
        (("--undo-keep", "1h", "--grace", "0"), 3600, "in 1h"),
        (("--undo-keep", "0", "--grace", "0"), 0, "with this gc"),
    ):
        plan = line.json("gc", "--keep-last", "1", "--dry-run", *words)["retention"]["plan"]
        assert seconds - 60 < plan["free_in_seconds"] <= seconds + 60
        assert plan["freed"]["bytes"] > 120_000
        assert (plan["freed_now"]["bytes"] > 0) is not seconds
        text = line.text("gc", "--keep-last", "1", "--dry-run", *words)
        (row,) = [row for row in text.splitlines() if row.startswith("come free:")]
        assert said in row
