# SPDX-License-Identifier: MIT
"""import and checkout: what is left out, what would be done, and that the directory is a workspace."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.cli.looking import contents, listing, refs_of


def test_checkout_makes_a_workspace(history: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = refs_of(history)
    planned = history.json("checkout", "main", out, "--dry-run")
    assert planned["dry_run"] is True
    assert not out.exists()
    assert refs_of(history) == before
    assert "dry run: nothing was written" in history.text("checkout", "main", out, "--dry-run")
    assert not out.exists()
    done = history.json("checkout", "main", out)
    assert {**done, "dry_run": True, "workspace": None} == planned
    assert done["workspace"] is not None
    assert history.text("status", out) == ""
    assert history.json("status", out)["base_ref"] == "main"
    history("switch", "try", "--dir", out)
    assert contents(out) == contents(tmp_path / "tree")


def test_checkout_refuses_the_same_with_dry_run(history: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    (tmp_path / "file").write_text("x")
    assert "--force" in history.error("checkout", "main", out, "--dry-run", code=10)["message"]
    history.error("checkout", "main", tmp_path / "file", "--dry-run", code=10)
    history.error("checkout", "main", "no/such", out, "--dry-run", "--force", code=3)
    assert history.json("checkout", "main", "src", out, "--dry-run", "--force")["directories"] == 1
    assert listing(out).keys() == {"mine"}


def test_import_with_dry_run_makes_nothing(command: Any, tree: Path) -> None:
    (tree / ".env").write_text("TOKEN=x\n")
    (tree / "large").write_bytes(bytes(1 << 20))
    (tree / ".gitignore").write_text("*.log\n")
    (tree / "a.log").write_text("log")
    before = listing(tree)
    seen = command.json("import", tree, "--ref", "main", "--ignore", "git", "--dry-run")
    assert not command.store.exists()
    assert listing(tree) == before
    assert seen["dry_run"] is True
    assert (seen["files"], seen["directories"], seen["symlinks"]) == (7, 3, 1)
    assert seen["bytes"] == sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) - 3 - 14
    assert seen["largest"][0] == {"path": "large", "bytes": 1 << 20}
    assert [item["path"] for item in seen["secrets"]] == [".env"]
    assert [item["path"] for item in seen["left_out"]] == ["a.log"]
    assert seen["unreadable"] == []
    assert seen["free_bytes"] > 0
    said = command.text("import", tree, "--ref", "main", "--ignore", "git", "--dry-run")
    assert ".env" in said
    assert "large" in said
    assert "a.log" in said
    assert "dry run: nothing was imported" in said
    assert not command.store.exists()
    command("import", tree, "--ref", "main", "--ignore", "git")
    refs = refs_of(command)
    (tree / "more").write_text("x")
    command("import", tree, "--ref", "main", "--dry-run")
    assert refs_of(command) == refs


def test_what_to_leave_out_stays_as_it_was_until_it_is_said_again(command: Any, tree: Path) -> None:
    (tree / ".gitignore").write_text("*.log\n")
    (tree / "a.log").write_text("log")
    command("import", tree, "--ref", "main", "--ignore", "git")
    (tree / "b.log").write_text("log")
    (tree / "b.txt").write_text("text")
    assert "left out b.log" in command("import", tree, "--ref", "main").stderr
    assert [item["path"] for item in command.json("import", tree, "--ref", "main", "--dry-run")["left_out"]] == [
        "a.log",
        "b.log",
    ]
    assert {"a.log", "b.log"}.isdisjoint(command.text("ls", "main").split())
    command("import", tree, "--ref", "main", "--ignore", "nothing")
    assert {"a.log", "b.log"} <= set(command.text("ls", "main").split())


def test_a_directory_that_is_known_no_more_is_not_taken_whole_in_silence(command: Any, tree: Path) -> None:
    (tree / ".gitignore").write_text("*.log\n")
    (tree / "a.log").write_text("log")
    command("import", tree, "--ref", "main", "--ignore", "git", "--no-git")
    shutil.rmtree(command.store / "index")
    command("workspace", "prune")  # makes the index anew, so that no other message is in the way
    advice = "give --ignore git --no-git to leave out the same"
    assert advice in command("import", tree, "--ref", "main", "--dry-run").stderr
    assert "give" not in command("import", tree, "--ref", "other").stderr
    shutil.rmtree(command.store / "index")
    command("workspace", "prune")
    assert advice in command("import", tree, "--ref", "main").stderr
    assert "a.log" in command.text("ls", "main").split()
    assert "give" not in command("import", tree, "--ref", "main").stderr


def test_a_long_list_of_what_is_left_out_is_cut_as_text(command: Any, tree: Path) -> None:
    (tree / ".gitignore").write_text("*.log\n")
    for number in range(30):
        (tree / f"{number:02}.log").write_text("x")
    said = command("import", tree, "--ref", "main", "--ignore", "git", "--dry-run").stdout
    assert said.count("left out\tignored") == 20
    assert "left out\t... and 10 more" in said
    said = command("import", tree, "--ref", "main", "--ignore", "git").stderr
    assert len(said.splitlines()) == 21
    assert len(command.json("import", tree, "--ref", "main")["left_out"]) == 30
