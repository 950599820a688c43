# SPDX-License-Identifier: MIT
"""merge: two states of one origin become one, or their conflicts are named and nothing moves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import casstore
from tests.cli.looking import files, refs_of

TAKEN = ["A new.txt", "D run.sh", "M src/a.py", "M src/deep/b.bin"]
"""What ``try`` changed since ``main``."""


@pytest.fixture
def change(history: Any) -> Callable[..., str]:
    """Makes a ref of a state with some files changed; None deletes one."""

    def make(ref: str, start: str, edits: Mapping[str, bytes | None], *merged: str) -> str:
        with casstore.open(history.store) as store:
            branch = store.branch(start)
            for state in merged:
                branch.merge(store.resolve(state), resolve="theirs")
            for path, data in edits.items():
                if data is None:
                    del branch.files[path]
            for path, data in edits.items():
                if data is not None:
                    branch.files[path] = data
            snapshot = branch.commit(f"made {ref}")
            store.refs[ref] = snapshot
            return snapshot.id.hex()

    return make


def test_merge_takes_over_what_the_other_side_changed(history: Any, change: Any) -> None:
    change("mine", "main", {"README.md": b"mine\n", "own.txt": b"own\n"})
    before = refs_of(history)
    done = history.json("merge", "mine", "try", "-m", "both")
    assert (done["ours"], done["theirs"], done["ref"], done["outcome"]) == ("mine", "try", "mine", "merged")
    assert (done["old"], done["base"], done["changed"]) == (before["mine"], before["main"], 4)
    assert (done["resolved"], done["dry_run"]) == ([], False)
    assert refs_of(history) == {**before, "mine": done["new"]}
    merged = history.json("log", "mine", "-n", "1")["snapshots"][0]
    assert merged["parents"] == [before["mine"], before["try"]]
    assert (merged["message"], merged["state_id"]) == ("both", done["state_id"])
    assert history.text("diff", before["mine"], "mine").splitlines() == TAKEN
    assert files(history, "mine") == {**files(history, "try"), "README.md": b"mine\n", "own.txt": b"own\n"}
    move = history.json("refs", "history", "mine")["moves"][0]
    assert (move["old"], move["new"], move["reason"]) == (before["mine"], done["new"], "merge of try")


def test_merge_says_what_it_did_and_how_to_take_it_back(history: Any, change: Any) -> None:
    old = change("mine", "main", {"own.txt": b"own\n"})
    first, undo = history.text("merge", "mine", "try").splitlines()
    new = refs_of(history)["mine"]
    assert first == f"mine is {new[:12]} (was {old[:12]}): merged, 4 keys taken over from try"
    assert history.json("log", "mine", "-n", "1")["snapshots"][0]["message"] == "merge of try into mine"
    words = shlex.split(undo.removeprefix("undo: "))
    assert words[:3] == ["casstore", "--store", str(history.store)]
    history(*words[3:])
    assert refs_of(history)["mine"] == old


def test_a_ref_that_is_behind_moves_forward(history: Any) -> None:
    before = refs_of(history)
    done = history.json("merge", "main", "try")
    assert (done["outcome"], done["new"], done["changed"]) == ("fast-forward", before["try"], 4)
    assert refs_of(history)["main"] == before["try"]
    history("refs", "undo", "main")
    asked = history.json("merge", "main", "try", "-m", "on purpose")
    assert asked["outcome"] == "merged"
    assert asked["state_id"] == done["state_id"]
    assert history.json("log", "main", "-n", "1")["snapshots"][0]["parents"] == [before["main"], before["try"]]


def test_a_ref_that_is_ahead_stays(history: Any) -> None:
    before = refs_of(history)
    done = history.json("merge", "try", "main", "-m", "words")
    assert (done["outcome"], done["old"], done["new"], done["undo"]) == (
        "up-to-date",
        before["try"],
        before["try"],
        None,
    )
    assert history.text("merge", "try", "try") == f"try has all of try already and stays at {before['try'][:12]}\n"
    assert refs_of(history) == before
    assert len(history.json("refs", "history", "try")["moves"]) == 2


def test_into_a_new_ref(history: Any, change: Any) -> None:
    identity = change("mine", "main", {"own.txt": b"own\n"})
    history("refs", "delete", "mine")
    before = refs_of(history)
    error = history.error("merge", identity[:10], "try", code=10)
    assert "--into NEWREF" in error["message"]
    done = history.json("merge", identity[:10], "try", "--into", "both")
    assert (done["ref"], done["old"], done["outcome"]) == ("both", None, "merged")
    assert refs_of(history) == {**before, "both": done["new"]}
    history(*shlex.split(done["undo"])[3:])
    assert refs_of(history) == before
    assert history.json("merge", "try", "main", "--into", "same")["new"] == before["try"]
    assert history.error("merge", "main", "try", "--into", "same", code=6)["path"] == "same"
    assert history.error("merge", "main", "try", "--into", "a b", code=10)["path"] == "a b"
    assert history.error("merge", "main", "try", "--into", "a b", "--dry-run", code=10)["path"] == "a b"
    assert refs_of(history) == {**before, "same": before["try"]}


def test_dry_run_says_what_would_come_and_moves_nothing(history: Any, change: Any) -> None:
    change("mine", "main", {"own.txt": b"own\n"})
    before = refs_of(history)
    lines = history.text("merge", "mine", "try", "--dry-run").splitlines()
    assert lines == [*TAKEN, "dry run: nothing was changed (merged)"]
    planned = history.json("merge", "mine", "try", "--dry-run")
    assert [f"{item['letter']} {item['key'].removeprefix('files/')}" for item in planned["changes"]] == TAKEN
    assert planned["changes"][0]["old"] is None
    assert planned["changes"][0]["new"]["size"] == 4
    assert planned["dry_run"] is True
    assert refs_of(history) == before
    assert planned["state_id"] == history.json("merge", "mine", "try")["state_id"]


def test_dry_run_works_beside_a_writer(history: Any, change: Any) -> None:
    change("mine", "main", {"own.txt": b"own\n"})
    with casstore.open(history.store):
        assert len(history.json("merge", "mine", "try", "--dry-run")["changes"]) == 4
        assert history.error("merge", "mine", "try", "--timeout", "0", code=7)["kind"] == "locked"


def test_conflicts_are_listed_and_nothing_moves(history: Any, change: Any) -> None:
    change("mine", "main", {"src/a.py": b"ours!\n", "run.sh": b"changed", "new.txt": b"mine"})
    before = refs_of(history)
    said = history("merge", "mine", "try", code=6)
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    assert rows == [
        ["content", "new.txt", "-", "file, 4 B", "file, 4 B"],
        ["content", "run.sh", "executable, 10 B", "executable, 7 B", "deleted"],
        ["content", "src/a.py", "file, 14 B", "file, 6 B", "file, 12 B"],
    ]
    assert said.stderr.startswith("casstore: 3 conflicts, so nothing was moved; ")
    assert "--resolve ours or --resolve theirs" in said.stderr
    error = history.error("merge", "mine", "try", code=6)
    assert error["kind"] == "conflict"
    assert error["report"]["base"] == before["main"]
    conflicts = {item["key"]: item for item in error["report"]["conflicts"]}
    assert list(conflicts) == ["files/new.txt", "files/run.sh", "files/src/a.py"]
    assert conflicts["files/run.sh"]["theirs"] is None
    assert conflicts["files/run.sh"]["ours"]["kind"] == "executable"
    assert conflicts["files/src/a.py"]["base"]["size"] == 14
    assert history("merge", "mine", "try", "--dry-run", code=6).stdout == said.stdout
    assert refs_of(history) == before


def test_a_file_in_the_place_of_a_directory(history: Any, change: Any) -> None:
    change("folder", "main", {"new.txt/below": b"1", "new.txt/more/x": b"2"})
    assert history("merge", "folder", "try", code=6).stdout == "path\tnew.txt\t-\tdirectory of 2 keys\tfile, 4 B\n"
    conflict = history.error("merge", "folder", "try", code=6)["report"]["conflicts"][0]
    assert (conflict["kind"], conflict["ours"], conflict["theirs"]["size"]) == ("path", None, 4)
    assert conflict["below"] == [{"key": "files/new.txt/below"}, {"key": "files/new.txt/more/x"}]
    history("fork", "folder", "other")
    history("merge", "folder", "try", "--resolve", "theirs")
    assert files(history, "folder") == files(history, "try")
    history("merge", "other", "try", "--resolve", "ours")
    rest = {path: data for path, data in files(history, "try").items() if path != "new.txt"}
    assert files(history, "other") == {**rest, "new.txt/below": b"1", "new.txt/more/x": b"2"}


@pytest.mark.parametrize(("side", "text"), [("ours", b"ours!\n"), ("theirs", b"one\n2\nthree\n")])
def test_resolve(history: Any, change: Any, side: str, text: bytes) -> None:
    change("mine", "main", {"src/a.py": b"ours!\n"})
    lines = history.text("merge", "mine", "try", "--resolve", side, "--dry-run").splitlines()
    assert "resolved src/a.py" in lines
    done = history.json("merge", "mine", "try", "--resolve", side)
    assert [item["key"] for item in done["resolved"]] == ["files/src/a.py"]
    assert done["changed"] == (3 if side == "ours" else 4)
    assert files(history, "mine") == {**files(history, "try"), "src/a.py": text}
    assert history("merge", "mine", "try", "--resolve", "both", code=2).stdout == ""


def test_several_common_ancestors_are_named(history: Any, change: Any) -> None:
    one = change("one", "main", {"1": b"1"})
    two = change("two", "main", {"2": b"2"})
    change("left", "one", {"left": b""}, "two")
    change("right", "two", {"right": b""}, "one")
    before = refs_of(history)
    error = history.error("merge", "left", "right", code=6)
    assert sorted(error["report"]["bases"]) == sorted([one, two])
    assert one[:12] in error["message"]
    assert two[:12] in error["message"]
    assert "--base" in error["message"]
    assert refs_of(history) == before
    done = history.json("merge", "left", "right", "--base", "two")
    assert (done["base"], done["outcome"]) == (two, "merged")
    assert {"1", "2", "left", "right"} <= set(files(history, "left"))


def test_histories_that_never_met(history: Any) -> None:
    with casstore.open(history.store) as store:
        branch = store.branch()
        branch.files["elsewhere"] = b"x"
        store.refs["alien"] = branch.commit("alien")
    error = history.error("merge", "alien", "main", code=6)
    assert error["report"] == {"bases": []}
    assert "--no-base" in error["message"]
    expected = {**files(history, "main"), "elsewhere": b"x"}
    assert history.json("merge", "alien", "main", "--no-base")["base"] is None
    assert files(history, "alien") == expected
    assert history("merge", "alien", "main", "--no-base", "--base", "main", code=2).stdout == ""


def test_objects_are_merged_too(history: Any) -> None:
    with casstore.open(history.store) as store:
        for ref, name in (("left", "a"), ("right", "b")):
            branch = store.branch("main")
            branch.objects[name] = {"by": ref}
            branch.objects["both"] = ref
            store.refs[ref] = branch.commit(ref)
    said = history("merge", "left", "right", code=6).stdout
    assert said == "content\tobjects/both\t-\tobject text, 4 B\tobject text, 5 B\n"
    history("merge", "left", "right", "--resolve", "theirs")
    with casstore.open(history.store) as store:
        assert dict(store.branch("left").objects) == {"a": {"by": "left"}, "b": {"by": "right"}, "both": "right"}


def test_what_cannot_be_merged(history: Any) -> None:
    assert history.error("merge", "nothing", "main", code=3)["kind"] == "not-found"
    assert history.error("merge", "main", "nothing", code=3)["kind"] == "not-found"
    assert history.error("merge", "main", "try", "--base", "nothing", code=3)["kind"] == "not-found"
    assert history("merge", "main", code=2).stdout == ""


def test_in_a_process_of_its_own(history: Any, change: Any) -> None:
    change("mine", "main", {"src/a.py": b"ours!\n"})
    done = history.process("merge", "mine", "try", "--json")
    assert (done.returncode, done.stdout) == (6, b"")
    assert len(json.loads(done.stderr)["error"]["report"]["conflicts"]) == 1
    done = history.process("merge", "mine", "try", "--resolve", "ours", env={"FORCE_COLOR": "1"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert done.stdout.startswith(b"resolved src/a.py\nmine is ")
