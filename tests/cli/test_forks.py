# SPDX-License-Identifier: MIT
"""fork and workspace: directories that show a state, and the list of those that a store knows."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import casstore
from tests.cli.looking import contents, listing, refs_of, undo_words


def test_fork_to_a_directory(history: Any, tmp_path: Path) -> None:
    side = tmp_path / "my side"
    refs = refs_of(history)
    planned = history.json("fork", "main", "--to", side, "--method", "copy", "--dry-run")
    assert not side.exists()
    assert refs_of(history) == refs
    assert history.json("workspace")["workspaces"] == history.json("workspace", "list")["workspaces"]
    done = history.json("fork", "main", "--to", side, "--method", "copy")
    assert (done["directory"], done["method"], done["name"], done["id"]) == (str(side), "copy", None, refs["main"])
    assert (planned["method"], planned["why"]) == (done["method"], done["why"])
    assert history.text("status", side) == ""
    assert contents(side) != contents(tmp_path / "tree")
    (side / "README.md").write_text("x")
    assert "README.md" in history.text("status", side)
    assert (tmp_path / "tree" / "README.md").read_text() != "x"
    assert "undo" not in done


def test_fork_names_and_directory_at_once(history: Any, tmp_path: Path) -> None:
    side = tmp_path / "side"
    planned = history.text("fork", "main", "side", "--dry-run")
    assert "dry run: nothing was made" in planned
    assert "side" not in refs_of(history)
    history("fork", "main", "side", "--to", side, "--method", "copy")
    assert refs_of(history)["side"] == refs_of(history)["main"]
    assert history.json("status", side)["base_ref"] == "side"


def test_fork_refuses_what_makes_no_sense(history: Any, tmp_path: Path) -> None:
    side = tmp_path / "side"
    refs = refs_of(history)
    assert history("fork", "main", code=2).stdout == ""
    assert history("fork", "main", "side", "--method", "copy", code=2).stdout == ""
    assert history("fork", "main", "--to", side, "--method", "magic", code=2).stdout == ""
    history.error("fork", "main", "try", "--to", side, "--method", "copy", code=6)
    history.error("fork", "main", "all hex?", "--to", side, "--method", "copy", code=10)
    history.error("fork", "nothing", "--to", side, code=3)
    assert not side.exists()
    history.error("fork", "main", "side", "--to", tmp_path / "tree", "--method", "copy", code=10)
    assert refs_of(history) == refs


def test_workspace_list_is_lines_in_a_pipe(command: Any, project: Path) -> None:
    (line,) = command.text("workspace").splitlines()
    (listed,) = command.json("workspace")["workspaces"]
    assert set(listed) == {"path", "id", "kind", "base", "base_ref", "state"}
    assert line.split("\t") == [listed["id"], "plain", "ok", listed["base"][:12], "main", str(project)]


def test_workspace_list_of_none_says_how_to_make_one(command: Any) -> None:
    command("init")
    for words in (["workspace"], ["workspace", "list"]):
        said = command(*words)
        assert said.stdout == ""
        assert "casstore checkout STATE DIR" in said.stderr
        assert command.json(*words)["workspaces"] == []


def test_workspace_prune_deletes_what_a_crash_left(command: Any, project: Path) -> None:
    left = command.store / "workspaces" / "probe-crashed"
    left.mkdir(parents=True)
    planned = command.json("workspace", "prune", "--dry-run")
    assert (planned["dead"], planned["probes"]) == ([], ["probe-crashed"])
    said = command.text("workspace", "prune", "--dry-run")
    assert "0 workspaces to forget, 0 shared trees and 1 leftover of a crash to delete" in said
    assert left.exists()
    assert "0 shared trees and 1 leftover of a crash deleted" in command.text("workspace", "prune")
    assert not left.exists()
    assert command.text("workspace", "prune").startswith("nothing to forget")
    assert command.json("status", project)["clean"] is True


def test_workspace_remove_of_a_plain_directory_leaves_it(command: Any, project: Path) -> None:
    before = listing(project)
    planned = command.json("workspace", "remove", project, "--dry-run")
    assert (planned["dry_run"], planned["deletes"]) == (True, False)
    assert len(command.json("workspace")["workspaces"]) == 1
    error = command.error("workspace", "remove", project / "src", code=10)
    assert str(project) in error["message"]
    command("workspace", "remove", project)
    assert listing(project) == before
    assert command.json("workspace")["workspaces"] == []


@pytest.fixture
def overlay(history: Any, tmp_path: Path) -> Iterator[Path]:
    """An overlay fork of ``main`` with a file of its own."""
    from casstore.workspace.overlay import choose, list_mounts, unmount

    try:
        choose(str(history.store), str(tmp_path / "side"), "overlay")
    except casstore.InvalidInputError as error:
        pytest.skip(str(error))
    side = tmp_path / "side"
    history("fork", "main", "--to", side, "--method", "overlay")
    (side / "mine").write_text("mine")
    yield side
    for mounted in list_mounts():
        if mounted.target.startswith(str(tmp_path)):
            unmount(mounted.target, lazy=True)


def test_workspace_remove_of_an_overlay_saves_what_it_holds(history: Any, overlay: Path) -> None:
    before = listing(overlay)
    planned = history.text("workspace", "remove", overlay, "--dry-run")
    assert "1 added" in planned
    assert listing(overlay) == before
    done = history.json("workspace", "remove", overlay)
    assert not overlay.exists()
    assert history.text("cat", f"{done['saved']}:files/mine") == "mine"
    assert [item["key"] for item in done["changes"]] == ["files/mine"]
    history(*shlex.split(done["undo"])[3:])
    assert (overlay / "mine").read_text() == "mine"
    history("workspace", "remove", overlay)
    assert not overlay.exists()


def test_an_overlay_is_a_workspace_like_others(history: Any, overlay: Path) -> None:
    assert history.text("status", overlay) == "A mine\n"
    said = history.text("switch", "try", "--dir", overlay)
    assert (overlay / "new.txt").exists()
    assert not (overlay / "mine").exists()
    history(*undo_words(said)[2:])
    assert (overlay / "mine").read_text() == "mine"
    made = history.json("fork", "try", "--to", f"{overlay} 2", "--method", "overlay")
    assert undo_words(f"undo: {made['undo']}")[2:] == ["workspace", "remove", f"{overlay} 2"]
    history(*undo_words(f"undo: {made['undo']}")[2:])
    assert not Path(f"{overlay} 2").exists()
    history("workspace", "remove", overlay)


def test_an_overlay_whose_mount_is_gone_is_mounted_again(history: Any, overlay: Path) -> None:
    from casstore.workspace.overlay import unmount

    assert "mounted already" in history.text("workspace", "mount", overlay)
    unmount(str(overlay))
    assert listing(overlay) == {}
    assert [item["state"] for item in history.json("workspace")["workspaces"] if item["kind"] == "overlay"] == [
        "unmounted"
    ]
    assert history.json("workspace", "mount", overlay, "--dry-run")["mounted"] is True
    assert listing(overlay) == {}
    assert history.json("workspace", "mount", overlay)["mounted"] is True
    assert (overlay / "mine").read_text() == "mine"
    assert history.json("workspace", "mount", overlay)["mounted"] is False
    history("workspace", "remove", overlay)


def test_only_overlays_are_mounted(command: Any, project: Path) -> None:
    assert "plain" in command.error("workspace", "mount", project, code=10)["message"]


def test_workspace_run(command: Any, project: Path) -> None:
    done = command.process("workspace", "run", "--dir", project, "--", "sh", "-c", "cat src/a.py; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"one\ntwo\nthree\n", b"")
    result = command("workspace", "run", "--json", "--", "sh", "-c", "echo out; echo err >&2; kill -9 $$", code=137)
    seen = json.loads(result.stdout)
    assert (seen["exit_code"], seen["stdout"], seen["stderr"]) == (137, "out\n", "err\n")
    assert "no-such-program" in command.error("workspace", "run", "no-such-program", code=10)["message"]


def test_a_private_overlay_is_seen_by_what_runs_in_it(history: Any, tmp_path: Path) -> None:
    from casstore.workspace.overlay import choose

    side = tmp_path / "side"
    try:
        choose(str(history.store), str(side), "overlay-private")
    except casstore.InvalidInputError as error:
        pytest.skip(str(error))
    history("fork", "main", "--to", side, "--method", "overlay-private")
    assert listing(side) == {}
    words = ["workspace", "run", "--dir", side, "--", "sh", "-c", "rm run.sh; echo x > new"]
    assert history.process(*words).returncode == 0
    assert history.text("status", side) == "A new\nD run.sh\n"
    assert "workspace run" in history.error("workspace", "mount", side, code=10)["message"]
    history("workspace", "remove", side)
    assert not side.exists()


def test_workspace_prune_with_dry_run_changes_nothing(command: Any, project: Path, tmp_path: Path) -> None:
    project.rename(tmp_path / "away")
    os.chdir(tmp_path)
    planned = command.json("workspace", "prune", "--dry-run")
    assert [item["path"] for item in planned["dead"]] == [str(project)]
    assert "workspace prune" in command.error("workspace", "remove", project, code=10)["message"]
    assert planned["report"] is None
    assert len(command.json("workspace")["workspaces"]) == 1
    assert "dry run: nothing was changed" in command.text("workspace", "prune", "--dry-run")
    assert command.json("workspace", "prune")["dead"] == planned["dead"]
    assert command.json("workspace")["workspaces"] == []
    assert command.text("workspace", "prune").startswith("nothing to forget")
