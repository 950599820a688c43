# SPDX-License-Identifier: MIT
"""bundle: states leave one store in a file, and another store has them after verifying all of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import casstore
from tests.cli.looking import files, refs_of


@pytest.fixture
def other(history: Any, tmp_path: Path) -> Any:
    """The command on an empty second store."""
    command = type(history)(tmp_path / "other.cas")
    command("init")
    return command


@pytest.fixture
def bundle(history: Any, tmp_path: Path) -> Path:
    """``main`` and ``try`` in a bundle."""
    history("bundle", "export", tmp_path / "all.bundle", "main", "try")
    return tmp_path / "all.bundle"


def test_there_and_back(history: Any, other: Any, tmp_path: Path) -> None:
    path = tmp_path / "b"
    said = history.text("bundle", "export", path, "try")
    assert said.startswith(f"{path} brings 1 snapshot: ")
    lines = other.text("bundle", "adopt", path, "--ref", "mine").splitlines()
    assert lines[0].startswith("adopted 1 snapshot: ")
    assert lines[0].endswith("), 0 known")
    assert lines[1] == f"mine is {refs_of(history)['try'][:12]}"
    assert refs_of(other) == {"mine": refs_of(history)["try"]}
    assert files(other, "mine") == files(history, "try")
    assert [item["message"] for item in other.json("log", "mine")["snapshots"]] == ["tried X", "the start"]
    other("verify")
    other(*shlex.split(lines[2].removeprefix("undo: "))[3:])
    assert refs_of(other) == {}


def test_export_as_json_and_what_show_says(
    history: Any, bundle: Path, run: Callable[..., CompletedProcess[bytes]], tmp_path: Path
) -> None:
    refs = refs_of(history)
    made = history.json("bundle", "export", tmp_path / "b", "try", refs["main"][:12], "--exclude", "main")
    assert (made["tips"], made["refs"], made["excluded"]) == (
        [refs["try"], refs["main"]],
        {"try": refs["try"]},
        [refs["main"]],
    )
    assert made["bytes"] == (tmp_path / "b").stat().st_size
    assert made["records"] == sum(made["kinds"].values())
    shown = json.loads(run("bundle", "show", str(tmp_path / "b"), "--json", cwd=tmp_path).stdout)
    assert shown["command"] == "bundle show"
    for name in ("tips", "refs", "excluded", "records", "kinds", "bytes"):
        assert shown[name] == made[name], name
    assert shown["raw_bytes"] > 0
    said = history.text("bundle", "show", bundle).splitlines()
    assert said[0].split() == ["brings:", refs["main"], "main"]
    assert said[1].split() == ["brings:", refs["try"], "try"]
    assert any(line.split()[:2] == ["records", "snapshot:"] and line.endswith(" 2") for line in said)
    assert f"({bundle.stat().st_size:,} bytes)" in said[-2]


def test_what_the_receiver_has_is_left_out(history: Any, other: Any, bundle: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    made = history.json("bundle", "export", part, "try", "--exclude", "main")
    whole = history.json("bundle", "show", bundle)
    assert made["records"] < whole["records"]
    assert made["kinds"]["snapshot"] == 1
    assert f"a receiver must have {refs_of(history)['main'][:12]}" in history.text(
        "bundle", "export", part, "try", "--exclude", "main"
    )
    error = other.error("bundle", "adopt", part, code=3)
    assert error["address"] == refs_of(history)["main"]
    other("bundle", "adopt", bundle, "--refs")
    assert refs_of(other) == refs_of(history)
    done = other.json("bundle", "adopt", part, "--refs")
    assert (done["new_records"], done["moves"]) == (0, [])


def test_refs_stay_as_they_are_unless_told(history: Any, other: Any, bundle: Path) -> None:
    lines = other.text("bundle", "adopt", bundle).splitlines()
    assert refs_of(other) == {}
    assert lines[1] == "no ref was moved; name what is to stay longer than 1h:"
    words = shlex.split(lines[2])
    assert words[:6] == ["casstore", "--store", str(other.store), "refs", "set", "NAME"]
    other(*words[3:])
    assert refs_of(other) == {"NAME": refs_of(history)["main"]}
    done = other.json("bundle", "adopt", bundle)
    assert (done["new_records"], done["new_bytes"], done["moves"]) == (0, 0, [])
    assert done["refs"] == refs_of(history)
    assert done["known_records"] == history.json("bundle", "show", bundle)["records"]


def test_refs_are_made_and_moved_forward(history: Any, other: Any, bundle: Path, tmp_path: Path) -> None:
    refs = refs_of(history)
    history("bundle", "export", tmp_path / "first", "main")
    done = other.json("bundle", "adopt", tmp_path / "first", "--refs")
    assert [(move["name"], move["old"], move["new"]) for move in done["moves"]] == [("main", None, refs["main"])]
    other("refs", "rename", "main", "try")
    done = other.json("bundle", "adopt", bundle, "--refs")
    assert {move["name"]: move["old"] for move in done["moves"]} == {"main": None, "try": refs["main"]}
    assert refs_of(other) == refs
    for move in done["moves"]:
        other(*shlex.split(move["undo"])[3:])
    assert refs_of(other) == {"try": refs["main"]}


def test_a_ref_that_is_ahead_stays(history: Any, other: Any, bundle: Path, tmp_path: Path) -> None:
    refs = refs_of(history)
    other("bundle", "adopt", bundle, "--refs")
    other("refs", "set", "main", "try")
    said = other.text("bundle", "adopt", bundle, "--refs").splitlines()
    assert said[1:] == [
        f"main stays: it has all of {refs['main'][:12]}",
        f"try stays: it has all of {refs['try'][:12]}",
    ]
    assert refs_of(other) == {"main": refs["try"], "try": refs["try"]}


def test_a_ref_that_names_something_else_is_left_alone(
    history: Any, other: Any, bundle: Path, tree: Path, tmp_path: Path
) -> None:
    other("import", tree, "--ref", "try", "-m", "mine")
    before = refs_of(other)
    error = other.error("bundle", "adopt", bundle, "--refs", code=6)
    assert (error["path"], error["address"]) == ("try", before["try"])
    assert refs_of(history)["try"][:12] in error["message"]
    assert refs_of(other) == before
    assert other.json("log", refs_of(history)["try"])["snapshots"][0]["message"] == "tried X"


def test_one_name_for_several_snapshots_is_refused(history: Any, other: Any, bundle: Path) -> None:
    assert "--refs" in other.error("bundle", "adopt", bundle, "--ref", "x", code=10)["message"]
    assert other.error("log", refs_of(history)["main"], code=3)["kind"] == "not-found"
    assert other.error("bundle", "adopt", bundle, "--ref", "a b", code=10)["path"] == "a b"
    assert other("bundle", "adopt", bundle, "--ref", "x", "--refs", code=2).stdout == ""


def test_a_bundle_that_is_damaged_is_not_adopted(history: Any, other: Any, bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], b"", bytes((*data[:70], data[70] ^ 1, *data[71:]))):
        (tmp_path / "damaged").write_bytes(damaged)
        for words in (("bundle", "adopt", tmp_path / "damaged", "--refs"), ("bundle", "show", tmp_path / "damaged")):
            assert other.error(*words, code=4)["kind"] == "corruption"
    assert refs_of(other) == {}
    assert other.error("log", refs_of(history)["main"], code=3)["kind"] == "not-found"


def test_a_limit_on_what_it_unpacks_to(history: Any, other: Any, tmp_path: Path) -> None:
    top = tmp_path / "zeros"
    top.mkdir()
    (top / "x").write_bytes(bytes(8 << 20))
    history("import", top, "--ref", "zeros")
    history("bundle", "export", tmp_path / "b", "zeros")
    assert (tmp_path / "b").stat().st_size < 64 << 10
    assert other.error("bundle", "adopt", tmp_path / "b", "--limit", "100", code=10)["kind"] == "invalid-input"
    assert other.json("bundle", "adopt", tmp_path / "b", "--limit", "1GiB")["new_records"] > 0


def test_through_a_pipe(history: Any, other: Any) -> None:
    made = history.process("bundle", "export", "-", "try")
    assert (made.returncode, made.stderr) == (0, b"")
    shown = other.process("bundle", "show", "-", "--json", input=made.stdout)
    assert json.loads(shown.stdout)["refs"] == {"try": refs_of(history)["try"]}
    done = other.process("bundle", "adopt", "-", "--refs", input=made.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert refs_of(other) == {"try": refs_of(history)["try"]}
    assert other.process("bundle", "adopt", "-", "--ref", "x", input=made.stdout[:-1]).returncode == 4


def test_export_works_beside_a_writer(history: Any, tmp_path: Path) -> None:
    with casstore.open(history.store):
        assert history.json("bundle", "export", tmp_path / "b", "main")["records"] > 0
        assert history.error("bundle", "adopt", tmp_path / "b", "--timeout", "0", code=7)["kind"] == "locked"


def test_words_that_make_no_sense(command: Any, history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history("bundle", code=2).stdout == ""
    assert history("bundle", "export", tmp_path / "b", code=2).stdout == ""
    assert history("bundle", "export", "-", "main", "--json", code=2).stdout == ""
    assert history.error("bundle", "export", tmp_path / "b", "none", code=3)["kind"] == "not-found"
    assert history.error("bundle", "export", tmp_path / "b", "main", "--exclude", "none", code=3)["path"] == "none"
    assert history.error("bundle", "export", tmp_path / "no" / "b", "main", code=14)["kind"] == "storage"
    assert history.error("bundle", "adopt", tmp_path / "b", code=3)["path"] == str(tmp_path / "b")
    assert history.error("bundle", "show", tmp_path, code=10)["kind"] == "invalid-input"
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr("casstore_cli.output.Output.terminal", True)
    assert "name a FILE" in history("bundle", "export", "-", "main", code=2).stderr


def test_adopting_never_makes_a_store(bundle: Path, tmp_path: Path, history: Any) -> None:
    nowhere = type(history)(tmp_path / "nowhere.cas")
    assert "casstore init" in nowhere.error("bundle", "adopt", bundle, code=3)["message"]
    assert not nowhere.store.exists()
