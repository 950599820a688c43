# SPDX-License-Identifier: MIT
"""refs and fork: names move, everything that moves can be taken back with the command that was printed."""

from __future__ import annotations

import json
import shlex
from typing import Any

import casstore
from casstore.address import parse_address
from tests.cli.looking import refs_of


def undo(command: Any, printed: str) -> None:
    """Runs the command that was printed."""
    words = shlex.split(printed)
    assert words[:3] == ["casstore", "--store", str(command.store)]
    command(*words[3:])


def printed_undo(said: str) -> str:
    return next(line.removeprefix("undo: ") for line in said.splitlines() if line.startswith("undo: "))


def test_list(history: Any) -> None:
    listed = history.json("refs", "list")
    assert [item["name"] for item in listed["refs"]] == ["main", "try"]
    assert [item["message"] for item in listed["refs"]] == ["the start", "tried X"]
    rows = [line.split("\t") for line in history.text("refs").splitlines()]
    assert [(row[0], row[3]) for row in rows] == [("main", "the start"), ("try", "tried X")]
    assert rows[0][1] == listed["refs"][0]["id"][:12]


def test_a_snapshot_that_cannot_be_read_hides_no_other_ref(history: Any) -> None:
    identity = refs_of(history)["try"]
    with casstore.open(history.store, read_only=True) as store:
        place = store.storage.locate(parse_address(identity))
    segment = history.store / "segments" / f"{place.segment:08d}.seg"
    data = bytearray(segment.read_bytes())
    data[place.offset + 60] ^= 1
    segment.write_bytes(data)
    said = history("refs", code=4)
    assert [line.split("\t")[0] for line in said.stdout.splitlines()] == ["main", "try"]
    assert said.stdout.splitlines()[1] == f"try\t{identity[:12]}\t\tcannot be read"
    assert "run `casstore repair`" in said.stderr
    said = history("refs", "--json", code=4)
    assert [(one["name"], one.get("lost")) for one in json.loads(said.stdout)["refs"]] == [
        ("main", None),
        ("try", True),
    ]
    assert json.loads(said.stdout)["refs"][1]["id"] == identity
    assert json.loads(said.stderr)["error"]["kind"] == "corruption"


def test_list_of_nothing(command: Any) -> None:
    command("init")
    assert command.json("refs")["refs"] == []
    assert command.text("refs") == ""


def test_set_and_its_undo(history: Any) -> None:
    before = refs_of(history)
    done = history.json("refs", "set", "main", "try")
    assert (done["old"], done["new"]) == (before["main"], before["try"])
    assert refs_of(history)["main"] == before["try"]
    undo(history, done["undo"])
    assert refs_of(history) == before
    undo(history, printed_undo(history.text("refs", "set", "new", "main")))
    assert refs_of(history) == before


def test_delete_and_its_undo(history: Any) -> None:
    before = refs_of(history)
    said = history.text("refs", "delete", "try")
    assert said.startswith(f"try is deleted (was {before['try'][:12]})\n")
    assert set(refs_of(history)) == {"main"}
    undo(history, printed_undo(said))
    assert refs_of(history) == before
    history.error("refs", "delete", "nothing", code=3)


def test_rename_and_its_undo(history: Any) -> None:
    before = refs_of(history)
    said = history.text("refs", "rename", "try", "best")
    assert refs_of(history) == {"main": before["main"], "best": before["try"]}
    undo(history, printed_undo(said))
    assert refs_of(history) == before
    assert history.error("refs", "rename", "try", "main", code=6)["kind"] == "conflict"
    history.error("refs", "rename", "nothing", "other", code=3)
    assert refs_of(history) == before


def test_undo_can_be_undone(history: Any) -> None:
    before = refs_of(history)
    history("refs", "delete", "try")
    done = history.json("refs", "undo", "try")
    assert (done["old"], done["new"]) == (None, before["try"])
    undo(history, done["undo"])
    assert set(refs_of(history)) == {"main"}
    history("refs", "undo", "try")
    said = history.text("refs", "undo", "try")
    assert printed_undo(said)
    history.error("refs", "undo", "never", code=3)


def test_history(history: Any) -> None:
    history("refs", "set", "main", "try")
    moves = history.json("refs", "history", "main")["moves"]
    assert [move["reason"] for move in moves] == ["refs set", "import"]
    assert moves[0]["old"] == moves[1]["new"]
    assert moves[0]["number"] > moves[1]["number"]
    assert moves[0]["actor"]
    rows = [line.split("\t") for line in history.text("refs", "history", "main").splitlines()]
    assert [row[-1] for row in rows] == ["refs set", "import"]
    assert rows[1][2] == "-" * 12


def test_names_follow_gits_rules(history: Any) -> None:
    for name in ("a b", "a..b", "x:y", "/x", "x~", "deadbeef", "a.lock"):
        assert history.error("refs", "set", name, "main", code=10)["kind"] == "invalid-input"
    history("refs", "set", "search/node-7", "main")


def test_fork(history: Any) -> None:
    done = history.json("fork", "try", "more")
    assert done["id"] == refs_of(history)["try"] == refs_of(history)["more"]
    assert "a fork of main" in history.text("fork", "main", "again")
    assert history.error("fork", "main", "try", code=6)["kind"] == "conflict"
    assert history.error("fork", "nothing", "other", code=3)["kind"] == "not-found"
    assert history.json("refs", "history", "more")["moves"][0]["reason"] == "fork of try"
    identity = refs_of(history)["main"]
    assert history.json("fork", identity[:10], "by-id")["id"] == identity


def test_ids_that_are_too_short_or_fit_nothing(history: Any) -> None:
    identity = refs_of(history)["main"]
    code = history("log", identity[:3], code=3).exit_code
    assert code == 3
    assert history.json("log", identity[:4])["snapshots"][0]["id"] == identity
