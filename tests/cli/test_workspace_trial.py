# SPDX-License-Identifier: MIT
"""What somebody who tries workspaces for the first time runs into: saving, running, mounting, and messages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from casstore_cli.names import printable, shell_join

import casstore
from tests.cli.looking import lines_of, listing, refs_of


def fork_or_skip(command: Any, side: Path, method: str) -> None:
    from casstore.workspace.overlay import choose

    try:
        choose(str(command.store), str(side), method)
    except casstore.InvalidInputError as error:
        pytest.skip(str(error))
    command("fork", "main", "--to", side, "--method", method)


@pytest.fixture
def overlay(history: Any, tmp_path: Path) -> Iterator[Path]:
    """An overlay fork of ``main`` with a file of its own, not mounted."""
    from casstore.workspace.overlay import list_mounts, unmount

    side = tmp_path / "side"
    fork_or_skip(history, side, "overlay")
    (side / "mine").write_text("mine")
    unmount(str(side))
    yield side
    for mounted in list_mounts():
        if mounted.target.startswith(str(tmp_path)):
            unmount(mounted.target, lazy=True)


# -- snapshot


def test_snapshot_under_the_workspace_s_own_ref(command: Any, project: Path) -> None:
    (project / "new.txt").write_text("x")
    before = listing(project)
    said = command.text("workspace", "snapshot", "-m", "tried")
    assert listing(project) == before
    seen = command.json("status")
    assert (seen["clean"], seen["base_ref"]) == (True, "main")
    assert seen["base"] in said
    assert f"kept under workspace/{seen['workspace']}\n" in said
    assert command.json("log", seen["base"])["snapshots"][0]["message"] == "tried"
    again = command.json("workspace", "snapshot")
    assert (again["new"], again["id"], again["workspace"]) == (False, seen["base"], seen["workspace"])
    assert again["refs"] == [f"workspace/{seen['workspace']}"]
    assert "nothing changed" in command.text("workspace", "snapshot")


def test_snapshot_under_a_ref(command: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "new.txt").write_text("x")
    monkeypatch.chdir(project.parent)
    made = command.json("workspace", "snapshot", "--dir", project / "src", "--ref", "best")
    assert (made["new"], made["refs"], made["directory"]) == (True, ["best"], str(project))
    assert refs_of(command)["best"] == made["id"]
    assert command.text("cat", "best:files/new.txt") == "x"
    (project / "new.txt").write_text("y")
    # It names something else than the base.
    command.error("workspace", "snapshot", "--dir", project, "--ref", "main", code=6)
    assert command.text("status", project) == "M new.txt\n"


def test_snapshot_of_a_state_that_has_a_ref_or_had_one(command: Any, project: Path) -> None:
    identity = refs_of(command)["try"]
    command("switch", "try")
    assert command.json("workspace", "snapshot")["refs"] == ["try"]
    command("refs", "delete", "try")
    made = command.json("workspace", "snapshot")
    assert (made["new"], made["id"], made["refs"]) == (False, identity, [f"workspace/{made['workspace']}"])


def test_snapshot_of_a_private_overlay(history: Any, tmp_path: Path) -> None:
    side = tmp_path / "side"
    fork_or_skip(history, side, "overlay-private")
    history.process("workspace", "run", "--dir", side, "--", "sh", "-c", "echo x > new; rm run.sh")
    made = history.json("workspace", "snapshot", "--dir", side, "--ref", "tried")
    assert history.text("diff", "main", made["id"]) == "A new\nD run.sh\n"
    assert history.text("status", side) == ""
    side.rmdir()
    assert f"mkdir -p {side}" in history.error("status", side, code=10)["message"]
    side.mkdir()
    assert history.text("status", side) == ""


# -- run


def test_the_program_may_write_the_store(command: Any, project: Path) -> None:
    words = [sys.executable, "-m", "casstore_cli", "--store", command.store, "fork", "main", "inner", "--timeout", "0"]
    done = command.process("workspace", "run", "--dir", project, "--", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "inner" in refs_of(command)


def test_run_beside_a_writer(command: Any, project: Path) -> None:
    with casstore.open(command.store):
        done = command.process("workspace", "run", "--timeout", "0", "--dir", project, "--", "cat", "src/a.py")
    assert (done.returncode, done.stdout) == (0, (project / "src" / "a.py").read_bytes())


def test_an_overlay_is_mounted_for_the_program(history: Any, overlay: Path) -> None:
    assert not (overlay / "mine").exists()
    inner = f"{sys.executable} -m casstore_cli --store {history.store} refs set inner main --timeout 0"
    done = history.process("workspace", "run", "--dir", overlay, "--", "sh", "-c", f"cat mine; {inner} >&2; exit 5")
    assert (done.returncode, done.stdout) == (5, b"mine"), done.stderr
    assert "inner" in refs_of(history)


def test_where_the_options_of_the_program_go(command: Any, project: Path) -> None:
    assert "[OPTIONS] -- COMMAND..." in command.text("workspace", "run", "--help")
    error = command.error("workspace", "run", "ls", "-l", code=2)["message"]
    assert "`--`" in error
    assert "-l" in error
    assert "run -- COMMAND" in command("workspace", "run", "--frob", code=2).stderr
    assert command.process("workspace", "run", "--", "ls", "-1", cwd=project).stdout.startswith(b"README.md\n")
    assert "chmod" in command("workspace", "run", "--", "./README.md", code=10).stderr


# -- mount, and directories that are gone


def test_an_overlay_whose_folder_is_gone_is_made_again(history: Any, overlay: Path) -> None:
    overlay.rmdir()
    for words in (["status", overlay], ["switch", "main", "--dir", overlay], ["workspace", "remove", overlay]):
        message = history.error(*words, code=10)["message"]
        assert f"casstore workspace mount {overlay}" in message
        assert "prune" not in message
    assert history.json("workspace", "mount", overlay, "--dry-run")["mounted"] is True
    assert not overlay.exists()
    assert history.json("workspace", "mount", overlay)["mounted"] is True
    assert (overlay / "mine").read_text() == "mine"


def test_a_folder_that_cannot_be_mounted_is_not_left_behind(
    history: Any, overlay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise casstore.StorageError("no.")

    overlay.rmdir()
    monkeypatch.setattr("casstore.workspace.Workspace.mount", fail)
    history.error("workspace", "mount", overlay, code=14)
    assert not overlay.exists()


def test_status_of_an_overlay_that_is_not_mounted(history: Any, overlay: Path) -> None:
    done = history("status", overlay)
    assert done.stdout == "A mine\n"
    assert "not mounted" in done.stderr
    assert f"workspace mount {overlay}" in done.stderr
    assert history.json("status", overlay)["mounted"] is False
    history("workspace", "mount", overlay)
    assert history("status", overlay).stderr == ""
    assert history.json("status", overlay)["mounted"] is True


@pytest.mark.parametrize("below", ["", "src"])
def test_a_directory_that_is_gone(command: Any, project: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    monkeypatch.chdir(project.parent)
    shutil.rmtree(project)
    place = project / below
    words: list[list[Any]] = [
        ["status", place],
        ["switch", "main", "--dir", place],
        ["undo", "--dir", place],
        ["workspace", "snapshot", "--dir", place],
        ["workspace", "run", "--dir", place, "true"],
        ["workspace", "remove", place],
    ]
    for line in words:
        error = command.error(*line, code=10)
        assert "directory is gone" in error["message"]
        assert "casstore workspace prune" in error["message"]
        assert error["path"] == str(project)
    assert "no folder" in command.error("status", project.parent / "other", code=10)["message"]


# -- status


def test_a_ref_that_is_gone(command: Any, project: Path) -> None:
    base = refs_of(command)["main"]
    command("refs", "delete", "main")
    said = command("status").stderr
    assert "main" in said
    assert "gone" in said
    assert "casstore switch main" not in said
    assert "casstore diff" not in said
    assert f"casstore refs set main {base[:12]}" in said
    command("refs", "set", "main", base[:12])
    assert command("status").stderr == ""


def test_a_base_that_is_ahead_of_its_ref_is_nothing_to_say(command: Any, project: Path) -> None:
    (project / "new.txt").write_text("x")
    command("workspace", "snapshot")
    done = command("status")
    assert (done.stdout, done.stderr) == ("", "")
    command("refs", "set", "main", "try")
    assert "main has moved" in command("status").stderr


def test_metadata_that_changed(command: Any, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command("import", tree, "--ref", "main", "--metadata", "full")
    monkeypatch.chdir(tree)
    assert command.text("status") == ""
    (tree / "README.md").chmod(0o600)
    assert command.text("status") == "m README.md\n"
    seen = command.json("status")
    assert (seen["clean"], seen["changes"], seen["metadata"]) == (False, [], [{"path": "README.md"}])
    planned = command.text("switch", "main", "--dry-run")
    assert lines_of(planned, "m") == ["m README.md"]
    assert "nothing to write" not in planned
    done = command.json("switch", "main")
    assert done["metadata"] == [{"path": "README.md"}]
    assert command.text("status") == ""


# -- dry runs, undo lines, messages


def test_dry_runs_need_no_lock(command: Any, project: Path) -> None:
    (project / "new.txt").write_text("x")
    before = listing(project)
    with casstore.open(command.store):
        assert lines_of(command.text("switch", "main", "--dry-run", "--timeout", "0")) == ["D new.txt"]
        assert command.json("undo", "--dry-run", "--timeout", "0")["dry_run"] is True
    assert listing(project) == before


def test_dry_run_of_an_overlay_with_edits(history: Any, overlay: Path) -> None:
    history("workspace", "mount", overlay)
    assert lines_of(history.text("switch", "main", "--dir", overlay, "--dry-run")) == ["D mine"]
    history("switch", "main", "--dir", overlay)
    assert lines_of(history.text("undo", "--dir", overlay, "--dry-run")) == ["A mine"]
    assert not (overlay / "mine").exists()


@pytest.mark.parametrize(
    "name", [b"caf\xe9", b"a'b\\\n\x1b[2J", "rtl\u202e x".encode(), "schön und gut".encode(), b"plain"]
)
def test_undo_lines_can_be_pasted(
    command: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    place = os.path.join(os.fsencode(tmp_path), name)
    try:
        os.rename(tree, place)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    monkeypatch.chdir(tmp_path)
    command.store = Path("state.cas")
    directory = os.fsdecode(place)
    command("import", directory, "--ref", "main")
    with open(place + b"/new", "w") as file:
        file.write("x")
    lines = command.text("switch", "main", "--dir", directory).splitlines()
    (line,) = [line.removeprefix("undo: ") for line in lines if line.startswith("undo: ")]
    line = line.replace("casstore ", f"{sys.executable} -m casstore_cli ", 1)
    assert not os.path.exists(place + b"/new")
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd="/", timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b""), line
    assert os.path.exists(place + b"/new")


def test_shell_words_are_what_they_were() -> None:
    words = ["", "a b", "it's", "tab\t1", "back\\slash\n", "\udcff0", "\u202e", "ä", "$HOME"]
    line = shell_join(words)
    assert printable(line) == line
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, timeout=60, check=True)
    assert [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]] == words


def test_a_locked_store_names_the_option(command: Any, project: Path) -> None:
    with casstore.open(command.store):
        message = command.error("switch", "try", "--timeout", "0", code=7)["message"]
        assert "`--timeout SECONDS`" in message
        assert "read-only" not in message
        assert "--timeout SECONDS" in command("undo", "--timeout", "0", code=7).stderr


def test_switching_again_keeps_the_way_back(command: Any, project: Path) -> None:
    """Of `switch A; switch A` the second undoes nothing, so `undo` takes back the first."""
    (project / "new.txt").write_text("mine")
    command("switch", "main")
    command("switch", "main")
    command("undo")
    assert (project / "new.txt").read_text() == "mine"
    command("switch", "try")
    command("switch", "try")
    command("undo")
    assert json.loads(command("status", "--json").stdout)["changes"][0]["key"] == "files/new.txt"
