# SPDX-License-Identifier: MIT
"""init, import and checkout: a directory in, the same directory out."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest


def listing(top: Path) -> dict[str, object]:
    """Everything below ``top``: what it is, what it holds, and whether its owner may run it."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def test_init(command: Any) -> None:
    made = command.json("init")
    assert made["command"] == "init"
    assert made["format"]["backend"] == "segments"
    assert made["store_id"] == command.json("inspect")["store_id"]
    again = command.error("init", code=6)
    assert "is a store already" in again["message"]


def test_init_with_a_file_per_object_and_other_chunks(command: Any, tree: Path) -> None:
    said = command.text(
        "init", "--backend", "files", "--chunk-avg", "8KiB", "--chunk-min", "2k", "--chunk-max", "32768"
    )
    assert "backend files" in said
    command("import", tree, "--ref", "main")
    config = command.json("inspect")["format"]
    assert (config["backend"], config["chunk_avg_bytes"]) == ("files", 8192)


def test_init_refuses_what_makes_no_sense(command: Any) -> None:
    assert command("init", "--chunk-avg", "some", code=2).stdout == ""
    command.error("init", "--chunk-avg", "1", code=10)
    assert not command.store.exists()


def test_there_and_back(command: Any, tree: Path, tmp_path: Path) -> None:
    said = command.text("import", tree, "--ref", "main", "-m", "why")
    assert said.startswith("main is ")
    assert "4 files, 3 directories, 1 symlink" in said
    said = command.text("checkout", "main", tmp_path / "out")
    assert listing(tmp_path / "out") == listing(tree)
    assert "4 files" in said
    ((_, status),) = [line.split(": ") for line in said.splitlines() if line.startswith("it is a workspace now")]
    (tmp_path / "out" / "more").write_text("x")
    assert command.text(*shlex.split(status)[3:]) == "A more\n"


def test_import_as_json(command: Any, tree: Path) -> None:
    done = command.json("import", tree, "--ref", "main")
    assert (done["command"], done["ref"], done["moved"]) == ("import", "main", True)
    assert (done["files"], done["directories"], done["symlinks"]) == (4, 3, 1)
    assert done["bytes"] == sum(
        path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert done["left_out"] == []
    assert done["id"] == command.json("log", "main")["snapshots"][0]["id"]


def test_an_unchanged_directory_moves_no_ref(command: Any, tree: Path) -> None:
    first = command.json("import", tree, "--ref", "main")
    again = command.json("import", tree, "--ref", "main", "-m", "other words")
    assert (again["moved"], again["id"], again["new_bytes"]) == (False, first["id"], 0)
    assert "main is unchanged" in command.text("import", tree, "--ref", "main")
    assert len(command.json("refs", "history", "main")["moves"]) == 1


def test_what_is_left_out_is_named(command: Any, tree: Path) -> None:
    os.mkfifo(tree / "pi\npe")
    result = command("import", tree, "--ref", "main")
    assert "left out pi\\npe: a FIFO" in result.stderr
    assert "FIFO" not in result.stdout
    (tree / "other").write_text("changed")
    left = command.json("import", tree, "--ref", "main")["left_out"]
    assert [(item["path"], "FIFO" in item["why"]) for item in left] == [("pi\npe", True)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_fails_the_import_unless_skipped(command: Any, tree: Path) -> None:
    (tree / "secret").write_text("x")
    (tree / "secret").chmod(0)
    assert "secret" in command.error("import", tree, "--ref", "main", code=10)["message"]
    assert command.json("refs")["refs"] == []
    assert command.json("import", tree, "--ref", "main", "--skip-unreadable")["left_out"][0]["path"] == "secret"


@pytest.mark.parametrize("skip", [False, True])
def test_unreadable_files_are_skipped_only_when_asked(
    command: Any, tree: Path, monkeypatch: pytest.MonkeyPatch, skip: bool
) -> None:
    from casstore.errors import InvalidInputError

    def fail(*_: object, skip_unreadable: bool, **__: object) -> None:
        assert skip_unreadable == skip
        raise InvalidInputError("reached.")

    monkeypatch.setattr("casstore.workspace.import_directory", fail)
    words = ["import", tree, "--ref", "main", *(["--skip-unreadable"] if skip else [])]
    assert command.error(*words, code=10)["message"] == "reached."


def test_a_directory_that_is_not_there_makes_no_store(command: Any, tmp_path: Path) -> None:
    error = command.error("import", tmp_path / "nowhere", "--ref", "main", code=10)
    assert error["path"] == str(tmp_path / "nowhere")
    assert not command.store.exists()
    assert command("import", tmp_path, code=2).stdout == ""  # --ref is required


def test_metadata_full_does_not_change_the_state(command: Any, tree: Path, tmp_path: Path) -> None:
    os.utime(tree / "README.md", (1, 1_000_000_000))
    basic = command.json("import", tree, "--ref", "basic")
    full = command.json("import", tree, "--ref", "full", "--metadata", "full")
    assert full["state_id"] == basic["state_id"]
    assert full["id"] != basic["id"]
    command("checkout", "full", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").stat().st_mtime == 1_000_000_000


def test_names_that_are_not_utf8(command: Any, tree: Path, tmp_path: Path) -> None:
    name = os.path.join(os.fsencode(tree), b"caf\xe9")
    try:
        with open(name, "wb") as file:
            file.write(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    command("import", tree, "--ref", "main")
    assert "caf\\xe9\n" in command.text("ls", "main")
    entry = next(item for item in command.json("ls", "main")["entries"] if "name_hex" in item)
    assert (entry["name"], entry["name_hex"]) == ("caf\\xe9", b"caf\xe9".hex())
    assert command.process("cat", os.fsdecode(b"main:files/caf\xe9")).stdout == b"x"
    command("checkout", "main", tmp_path / "out")
    assert b"caf\xe9" in os.listdir(os.fsencode(tmp_path / "out"))


def test_a_terminal_that_cannot_show_a_name(command: Any, tree: Path) -> None:
    (tree / "größe").write_text("x")
    command("import", tree, "--ref", "main")
    done = command.process("ls", "main", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert b"gr\\xf6\\xdfe\n" in done.stdout
    assert (done.returncode, done.stderr) == (0, b"")


def test_checkout_of_a_part(history: Any, tmp_path: Path) -> None:
    history("checkout", "main", "src", tmp_path / "one")
    history("checkout", "main:files/src", tmp_path / "two")
    assert listing(tmp_path / "one") == listing(tmp_path / "two")
    assert set(listing(tmp_path / "one")) == {"a.py", "deep", "deep/b.bin"}
    done = history.json("checkout", "main", "src/deep", tmp_path / "three")
    assert (done["files"], done["directory"], done["workspace"]) == (1, str(tmp_path / "three"), None)
    assert "workspace" not in history.text("checkout", "main", "src", tmp_path / "four")
    assert "workspace" not in history.text("checkout", "main", tmp_path / "five", "--dry-run")
    done = history.json("checkout", "main", tmp_path / "five")
    assert done["workspace"] == history.json("status", tmp_path / "five")["workspace"]


def test_checkout_by_id_prefix(history: Any, tmp_path: Path) -> None:
    identity = history.json("log", "main")["snapshots"][0]["id"]
    assert history.json("checkout", identity[:8], tmp_path / "out")["id"] == identity
    history.error("checkout", "0000000", tmp_path / "other", code=3)


def test_checkout_into_a_full_folder_needs_force(history: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    (out / "README.md").write_text("in the way")
    error = history.error("checkout", "main", out, code=10)
    assert "--force" in error["message"]
    assert listing(out) == {"mine": (b"keep", False), "README.md": (b"in the way", False)}
    history("checkout", "main", out, "--force")
    assert (out / "README.md").read_text().startswith("line 0\n")


def test_checkout_takes_two_or_three_words(history: Any, tmp_path: Path) -> None:
    assert history("checkout", "main", code=2).stdout == ""
    assert history("checkout", "main", "a", "b", "c", code=2).stdout == ""
    history.error("checkout", "main:objects", tmp_path / "out", code=10)
    history.error("checkout", "main:files/src", "deep", tmp_path / "out", code=10)
    history.error("checkout", "main", "nothing/here", tmp_path / "out", code=3)
    assert not (tmp_path / "out").exists()


def test_the_store_can_come_from_the_environment_or_after_the_command(history: Any, run: Any) -> None:
    by_environment = run("refs", "--json", env={"CASSTORE_PATH": str(history.store)})
    after = run("refs", "list", "--json", "--store", str(history.store))
    over = run("refs", "--json", "--store", str(history.store), env={"CASSTORE_PATH": "/nowhere"})
    assert by_environment.stdout == after.stdout == over.stdout
    assert b'"main"' in after.stdout
