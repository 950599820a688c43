# SPDX-License-Identifier: MIT
"""status, switch and undo."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import casstore
from tests.cli.looking import contents, lines_of, listing, refs_of, undo_words


def test_the_whole_story(command: Any, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command("init")
    command("import", tree, "--ref", "main")
    monkeypatch.chdir(tree)
    assert command.text("status") == ""
    first = contents(tree)
    (tree / "src" / "a.py").write_text("changed\n")
    (tree / "new.txt").write_text("new\n")
    (tree / "link").unlink()
    (tree / "run.sh").unlink()
    (tree / "run.sh").symlink_to("src/a.py")
    assert lines_of(command.text("status")) == ["D link", "A new.txt", "T run.sh", "M src/a.py"]
    changed = contents(tree)

    said = command.text("switch", "main")
    assert contents(tree) == first
    assert "changed since" in said
    assert command.text("status") == ""
    again = command.text(*undo_words(said)[2:])
    assert contents(tree) == changed
    command.text(*undo_words(again)[2:])
    assert contents(tree) == first

    command("fork", "main", "side", "--to", tree.parent / "side", "--method", "copy")
    assert contents(tree.parent / "side") == first
    listed = command.json("workspace", "list")["workspaces"]
    assert [(Path(item["path"]).name, item["kind"], item["state"]) for item in listed] == [
        ("side", "copy", "ok"),
        ("tree", "plain", "ok"),
    ]
    command("workspace", "remove", tree.parent / "side")
    assert contents(tree.parent / "side") == first
    monkeypatch.chdir(tree.parent)
    shutil.rmtree(tree)
    assert [item["state"] for item in command.json("workspace", "list")["workspaces"]] == ["missing"]
    command("workspace", "prune")
    assert command.json("workspace")["workspaces"] == []


def test_status_as_json(command: Any, project: Path) -> None:
    clean = command.json("status")
    assert clean["command"] == "status"
    assert (clean["directory"], clean["kind"], clean["base_ref"]) == (str(project), "plain", "main")
    assert clean["base"] == refs_of(command)["main"]
    assert (clean["clean"], clean["interrupted"], clean["ref_moved"]) == (True, False, False)
    assert (clean["ignore"], clean["keep_git"], clean["left_out_count"]) == ("nothing", True, 0)
    assert (clean["changes"], clean["files"]) == ([], 4)
    (project / "README.md").write_text("short")
    dirty = command.json("status")
    assert dirty["clean"] is False
    (change,) = dirty["changes"]
    assert (change["letter"], change["key"]) == ("M", "files/README.md")
    assert (change["old"]["size"], change["new"]["size"]) == (1690, 5)


def test_status_in_a_subfolder_is_that_of_the_workspace(
    command: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "new.txt").write_text("x")
    monkeypatch.chdir(project / "src" / "deep")
    assert command.text("status") == "A new.txt\n"
    monkeypatch.chdir(project.parent)
    assert command.text("status", "tree/src") == "A new.txt\n"


def test_status_changes_nothing(command: Any, project: Path) -> None:
    (project / "new.txt").write_text("x")
    before, refs = listing(project), refs_of(command)
    command("status")
    command("status", "--paranoid", "--ignored")
    assert (listing(project), refs_of(command)) == (before, refs)


def test_status_beside_a_writer(command: Any, project: Path) -> None:
    (project / "new.txt").write_text("x")
    with casstore.open(command.store):
        assert command.text("status") == "A new.txt\n"
        command.error("switch", "try", "--timeout", "0", code=7)
        command.error("undo", "--timeout", "0", code=7)
        assert len(command.json("workspace")["workspaces"]) == 1
    assert (project / "new.txt").exists()


def test_status_says_that_the_ref_has_moved(command: Any, project: Path) -> None:
    command("refs", "set", "main", "try")
    assert command.json("status")["ref_moved"] is True
    assert "casstore switch main" in command("status").stderr


def test_a_file_that_may_be_run_now_is_modified(command: Any, project: Path) -> None:
    (project / "README.md").chmod(0o755)
    assert command.text("status") == "M README.md\n"


@pytest.mark.parametrize("words", [["status"], ["switch", "main"], ["import", ".", "--ref", "main"]], ids=" ".join)
@pytest.mark.parametrize("paranoid", [False, True])
def test_everything_is_read_only_when_asked(
    command: Any, project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], paranoid: bool
) -> None:
    asked: list[bool] = []

    def note(*_: object, paranoid: bool, **__: object) -> None:
        asked.append(paranoid)
        raise casstore.InvalidInputError("reached.")

    monkeypatch.setattr("casstore.workspace.Workspace.status", note)
    monkeypatch.setattr("casstore.workspace.Workspace.plan_switch", note)
    monkeypatch.setattr("casstore.workspace.import_directory", note, raising=False)
    assert command.error(*words, *(["--paranoid"] if paranoid else []), code=10)["message"] == "reached."
    assert asked == [paranoid]


def test_ignored(command: Any, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / ".gitignore").write_text("*.log\nbuild/\n")
    (tree / "build").mkdir()
    (tree / "build" / "x.o").write_bytes(b"x")
    (tree / "a.log").write_text("log")
    (tree / ".git").mkdir()
    (tree / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    command("import", tree, "--ref", "main", "--ignore", "git", "--no-git")
    names = [entry["name"] for entry in command.json("ls", "main")["entries"]]
    assert ".gitignore" in names
    assert not {"build", "a.log", ".git"} & set(names)
    monkeypatch.chdir(tree)
    assert command.text("status") == ""
    shown = command.text("status", "--ignored").splitlines()
    assert [line.split(" ")[:2] for line in shown] == [["!", ".git"], ["!", "a.log"], ["!", "build"]]
    seen = command.json("status", "--ignored")
    assert (seen["left_out_count"], [item["path"] for item in seen["left_out"]]) == (3, [".git", "a.log", "build"])
    assert (seen["ignore"], seen["keep_git"]) == ("git", False)
    assert "left_out" not in command.json("status")
    everything = lines_of(command.text("status", "--ignore", "nothing"))
    assert everything == ["A .git/HEAD", "A a.log", "A build/x.o"]
    assert lines_of(command.text("status", "--ignore", "nothing", "--no-git")) == ["A a.log", "A build/x.o"]
    command("import", tree, "--ref", "main", "--ignore", "git")
    assert lines_of(command.text("status", "--no-git")) == ["D .git/HEAD"]
    # What is left out is never touched.
    (tree / "b.txt").write_text("b")
    command("switch", "main")
    assert (tree / "build" / "x.o").read_bytes() == b"x"
    assert not (tree / "b.txt").exists()


def test_switch_prints_its_plan(command: Any, project: Path) -> None:
    refs, before = refs_of(command), listing(project)
    said = command.text("switch", "try", "--dry-run")
    assert lines_of(said) == ["A new.txt", "D run.sh", "M src/a.py"]
    assert "2 files to write (10 B), 1 to delete" in said
    assert said.endswith("dry run: nothing was changed\n")
    assert "undo: " not in said
    assert (listing(project), refs_of(command)) == (before, refs)
    planned = command.json("switch", "try", "--dry-run")
    assert (listing(project), refs_of(command)) == (before, refs)
    done = command.json("switch", "try")
    shared = set(planned) - {"dry_run", "version", "command"}
    assert {name: done[name] for name in shared} == {name: planned[name] for name in shared}
    assert (planned["dry_run"], done["dry_run"]) == (True, False)
    after = listing(project)
    assert after["README.md"] == before["README.md"]
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == {
        "new.txt",
        "run.sh",
        "src/a.py",
    }


def test_switch_as_json(command: Any, project: Path) -> None:
    refs = refs_of(command)
    (project / "README.md").write_text("mine")
    done = command.json("switch", "try")
    assert (done["command"], done["directory"], done["target_ref"]) == ("switch", str(project), "try")
    assert (done["source"], done["target"]) == (refs["main"], refs["try"])
    assert [(item["letter"], item["key"]) for item in done["changes"]] == [
        ("M", "files/README.md"),
        ("A", "files/new.txt"),
        ("D", "files/run.sh"),
        ("M", "files/src/a.py"),
    ]
    assert [(item["letter"], item["key"]) for item in done["lost"]] == [("M", "files/README.md")]
    assert (done["written"], done["deleted"], done["warnings"]) == (3, 1, [])
    assert (done["files_written"], done["files_deleted"]) == (3, 1)
    assert command.text("cat", f"{done['saved']}:files/README.md") == "mine"
    assert done["undo_state"] == done["saved"]
    back = command.json(*shlex.split(done["undo"])[3:])
    assert (project / "README.md").read_text() == "mine"
    assert (back["command"], back["target"]) == ("undo", done["saved"])


def test_nothing_is_saved_where_nothing_would_be_lost(command: Any, project: Path) -> None:
    done = command.json("switch", "try")
    assert (done["saved"], done["lost"]) == (None, [])
    assert done["undo_state"] == done["source"]


def test_a_long_plan_is_cut_as_text_and_whole_as_json(command: Any, project: Path) -> None:
    for number in range(30):
        (project / f"{number:02}").write_text(str(number))
    said = command.text("switch", "main", "--dry-run")
    assert len(lines_of(said, "D")) == 20
    assert "... and 10 more (all of them with --json)" in said
    assert len(command.json("switch", "main", "--dry-run")["changes"]) == 30


def test_undo_with_dry_run_changes_nothing(command: Any, project: Path) -> None:
    command("switch", "try")
    before, refs = listing(project), refs_of(command)
    said = command.text("undo", "--dry-run")
    assert lines_of(said) == ["D new.txt", "A run.sh", "M src/a.py"]
    assert command.json("undo", "--dry-run")["target"] == refs["main"]
    assert (listing(project), refs_of(command)) == (before, refs)
    command("undo")
    assert command.text("status") == ""
    assert command.json("status")["base_ref"] == "main"


def test_undo_line_with_spaces_and_relative_names(
    command: Any, tree: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    spaced = tree.parent / "my $HOME 'project'"
    tree.rename(spaced)
    monkeypatch.chdir(spaced.parent)
    command("import", spaced.name, "--ref", "main")
    (spaced / "new").write_text("x")
    said = command.text("switch", "main", "--dir", spaced.name)
    assert not (spaced / "new").exists()
    words = undo_words(said)
    monkeypatch.chdir("/")
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (spaced / "new").read_text() == "x"


@pytest.mark.parametrize("back", [["undo"], ["switch", "main"]], ids=" ".join)
def test_an_interrupted_switch_is_named_and_ended(
    command: Any, project: Path, monkeypatch: pytest.MonkeyPatch, back: list[str]
) -> None:
    before = contents(project)

    def fail(*_: object) -> None:
        raise casstore.StorageError("the disk is full; free some space.")

    with monkeypatch.context() as broken:
        broken.setattr("casstore.workspace.changing.changer.Changer.run", fail)
        command.error("switch", "try", code=14)
    assert command.json("status")["interrupted"] is True
    assert "casstore undo" in command("status").stderr
    assert command.json("workspace")["workspaces"][0]["state"] == "interrupted"
    command(*back)
    assert command("status").stderr == ""
    assert command.json("status")["clean"] is True
    assert contents(project) == before


def test_names_that_are_not_utf8(command: Any, project: Path) -> None:
    name = os.path.join(os.fsencode(project), b"caf\xe9")
    try:
        with open(name, "wb") as file:
            file.write(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (project / "esc\x1b[2J").write_text("x")
    assert command.text("status") == "A caf\\xe9\nA esc\\x1b[2J\n"
    changed = command.json("status")["changes"]
    assert (changed[0]["key"], changed[0]["key_hex"]) == ("files/caf\\xe9", b"files/caf\xe9".hex())
    command("switch", "main")
    assert not os.path.lexists(name)
    command("undo")
    with open(name, "rb") as file:
        assert file.read() == b"x"


@pytest.mark.parametrize("words", [["status"], ["switch", "main"], ["undo"]], ids=" ".join)
def test_a_folder_that_is_no_workspace(
    history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    error = history.error(*words, code=3)
    assert error["kind"] == "not-found"
    assert "casstore checkout" in error["message"] or "casstore import" in error["message"]
    assert "(" not in error["message"].replace("(s)", "")


def test_a_state_that_is_not_there_or_only_a_part(command: Any, project: Path) -> None:
    before = listing(project)
    command.error("switch", "nothing", code=3)
    command.error("switch", "main:files/src", code=10)
    command.error("switch", "0000000", code=3)
    assert command("switch", code=2).stdout == ""
    assert listing(project) == before


def test_undo_where_nothing_was_switched(command: Any, tree: Path) -> None:
    command("import", tree, "--ref", "main")
    error = command.error("undo", "--dir", tree, code=3)
    assert "switch" in error["message"]


def test_a_store_that_cannot_be_written_can_still_be_asked(command: Any, project: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not here to take root's rights away")
    (project / "new.txt").write_text("x")
    for path in [command.store, *command.store.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    drop += ["--inh-caps", "-dac_override,-dac_read_search"] if drop else []
    words = [*drop, sys.executable, "-W", "ignore", "-m", "casstore_cli", "--store", str(command.store)]
    seen = subprocess.run([*words, "status"], capture_output=True, timeout=60, check=False)
    refused = subprocess.run([*words, "switch", "try", "--json"], capture_output=True, timeout=60, check=False)
    for path in [command.store, *command.store.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    assert (seen.returncode, seen.stdout) == (0, b"A new.txt\n"), seen.stderr
    assert refused.returncode in (8, 14)
    assert "error" in json.loads(refused.stderr)
    assert (project / "new.txt").exists()


def test_states_are_completed(command: Any, project: Path) -> None:
    def complete(line: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from casstore_cli.main import main; main()"],
            env={
                **os.environ,
                "_CASSTORE_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(line.split(" ")) - 1),
            },
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == b""
        return [shown.partition(",")[2] for shown in done.stdout.decode().splitlines() if shown]

    assert complete(f"casstore --store {command.store} switch t") == ["try"]
    assert complete(f"casstore --store {command.store} fork m") == ["main"]
    assert complete("casstore workspace pr") == ["prune"]


def test_status_loads_only_what_it_needs(command: Any, project: Path) -> None:
    script = (
        "import json, sys\n"
        "from casstore_cli.main import cli\n"
        "try:\n    cli.main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "json.dump(sorted(sys.modules), sys.stdout)"
    )
    words = [sys.executable, "-c", script, "--store", str(command.store), "status"]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert "casstore.workspace.status" in loaded
    heavy = {"rich", "numpy", "msgspec", "pyarrow", "watchfiles", "asyncio", "fastcdc"}
    unused = {"checking_out", "importing", "switching", "changing", "forking", "watching", "overlay", "preflight"}
    assert not loaded & (heavy | {f"casstore.workspace.{name}" for name in unused})
