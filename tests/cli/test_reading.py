# SPDX-License-Identifier: MIT
"""log, ls, cat and diff."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHANGES = ["A new.txt", "D run.sh", "M src/a.py", "M src/deep/b.bin"]


def test_log(history: Any) -> None:
    snapshots = history.json("log", "try")["snapshots"]
    assert [item["message"] for item in snapshots] == ["tried X", "the start"]
    assert snapshots[0]["parents"] == [snapshots[1]["id"]]
    assert [item["refs"] for item in snapshots] == [["try"], ["main"]]
    assert set(snapshots[0]["roots"]) == {"files"}
    rows = [line.split("\t") for line in history.text("log", "try").splitlines()]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        (snapshots[0]["id"][:12], "try", "tried X"),
        (snapshots[1]["id"][:12], "main", "the start"),
    ]


def test_log_stops_where_it_is_told(history: Any) -> None:
    assert len(history.json("log", "try", "-n", "1")["snapshots"]) == 1
    assert history.text("log", "try", "-n", "0") == ""
    assert history("log", "try", "-n", "-1", code=2).stdout == ""


def test_a_message_cannot_steer_the_terminal(command: Any, tree: Path) -> None:
    command("import", tree, "--ref", "main", "-m", "red \x1b[31m\nsecond line")
    assert command.text("log", "main").split("\t")[3] == "red \\x1b[31m\n"
    assert command.json("log", "main")["snapshots"][0]["message"] == "red \x1b[31m\nsecond line"


def test_ls(history: Any) -> None:
    assert history.text("ls", "main").splitlines() == ["README.md", "empty/", "link", "run.sh", "src/"]
    assert history.text("ls", "main:files/src").splitlines() == ["a.py", "deep/"]
    assert history.text("ls", "main:files/src/").splitlines() == ["a.py", "deep/"]
    assert history.text("ls", "main:files/src/a.py") == "a.py\n"
    assert history.text("ls", "main:files/empty") == ""
    assert history.text("ls", "main:objects") == ""
    assert history.text("ls", "-r", "main").splitlines() == [
        "README.md",
        "empty/",
        "link",
        "run.sh",
        "src/a.py",
        "src/deep/b.bin",
    ]
    assert history.text("ls", "-r", "main:files/src").splitlines() == ["a.py", "deep/b.bin"]


def test_ls_of_names_that_sort_around_a_slash(command: Any, tmp_path: Path) -> None:
    top = tmp_path / "odd"
    for name in ("a/1", "a/2", "a-b", "a.c/x", "a0", "b/c/d", "b/c.d"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("x")
    command("import", top, "--ref", "main")
    assert command.text("ls", "main").splitlines() == ["a-b", "a.c/", "a/", "a0", "b/"]
    assert command.text("ls", "main:files/b").splitlines() == ["c.d", "c/"]


def test_ls_long(history: Any) -> None:
    rows = {row[-1]: row for row in (line.split("\t") for line in history.text("ls", "-l", "main").splitlines())}
    assert rows["link -> src/a.py"][0] == "symlink"
    assert rows["run.sh"][:3] == ["executable", "10 B", "inline"]
    assert rows["src/"][0] == rows["empty/"][0] == "directory"
    assert rows["README.md"][0] == "file"
    assert len(rows["README.md"][2]) == 12


def test_ls_as_json(history: Any) -> None:
    listed = history.json("ls", "main")
    entries = {entry["name"]: entry for entry in listed["entries"]}
    assert entries["link"]["target"] == "src/a.py"
    assert entries["src"] == {"name": "src", "key": "files/src", "kind": "directory"}
    assert entries["README.md"]["size"] == 1690
    assert len(entries["README.md"]["address"]) == 64
    assert listed["id"] == history.json("log", "main")["snapshots"][0]["id"]
    below = history.json("ls", "main:files/src")["entries"]
    assert [entry["key"] for entry in below] == ["files/src/a.py", "files/src/deep"]


def test_ls_of_what_is_not_there(history: Any) -> None:
    assert history.error("ls", "main:files/none", code=3)["path"] == "files/none"
    assert history.error("ls", "none", code=3)["kind"] == "not-found"
    assert history.error("ls", "main:src", code=10)["kind"] == "invalid-input"


def test_cat(history: Any) -> None:
    assert history.text("cat", "main:files/src/a.py") == "one\ntwo\nthree\n"
    assert history.text("cat", "main:files/link") == "src/a.py"
    assert history.process("cat", "main:files/src/deep/b.bin").stdout == b"\0\1\2" * 100
    assert history.json("cat", "main:files/src/a.py")["text"] == "one\ntwo\nthree\n"
    binary = history.json("cat", "main:files/src/deep/b.bin")
    assert binary["text"].encode() == b"\0\1\2" * 100
    assert binary["entry"]["size"] == 300


def test_cat_of_bytes_that_are_not_text(command: Any, tmp_path: Path) -> None:
    top = tmp_path / "bytes"
    top.mkdir()
    (top / "x").write_bytes(b"\xff\xfe")
    command("import", top, "--ref", "main")
    assert base64.b64decode(command.json("cat", "main:files/x")["base64"]) == b"\xff\xfe"


def test_cat_streams_what_is_large(command: Any, tmp_path: Path) -> None:
    top = tmp_path / "large"
    top.mkdir()
    data = b"".join(number.to_bytes(4) for number in range(5 << 20))
    (top / "x").write_bytes(data)
    command("import", top, "--ref", "main")
    assert command.process("cat", "main:files/x").stdout == data
    assert "without --json" in command.error("cat", "main:files/x", code=10)["message"]


def test_cat_of_what_has_no_bytes(history: Any) -> None:
    assert "casstore ls main:files/src" in history.error("cat", "main:files/src", code=10)["message"]
    assert history.error("cat", "main:files/empty", code=10)["kind"] == "invalid-input"
    assert history.error("cat", "main:files/none", code=3)["path"] == "files/none"
    assert history.error("cat", "main", code=10)["kind"] == "invalid-input"


def test_diff(history: Any) -> None:
    assert history.text("diff", "main", "try").splitlines() == CHANGES
    assert history.text("diff", "main", "main") == ""
    assert history.text("diff", "try", "main").splitlines() == [
        "D new.txt",
        "A run.sh",
        "M src/a.py",
        "M src/deep/b.bin",
    ]


def test_diff_of_a_place(history: Any) -> None:
    below = ["M src/a.py", "M src/deep/b.bin"]
    assert history.text("diff", "main:files/src", "try:files/src").splitlines() == below
    assert history.text("diff", "main:files/src", "try").splitlines() == below
    assert history.text("diff", "main", "try:files/src/a.py").splitlines() == ["M src/a.py"]
    assert history.error("diff", "main:files/sr", "try", code=3)["kind"] == "not-found"
    assert history.error("diff", "main:files/src", "try:files/other", code=10)["kind"] == "invalid-input"


def test_diff_as_json(history: Any) -> None:
    changes = history.json("diff", "main", "try")["changes"]
    assert [f"{item['letter']} {item['key'].removeprefix('files/')}" for item in changes] == CHANGES
    assert changes[0]["old"] is None
    assert changes[1]["old"]["kind"] == "executable"
    assert changes[1]["new"] is None
    with_patch = history.json("diff", "main", "try", "--patch")["changes"]
    assert "-two\n+2\n" in with_patch[2]["patch"]


def test_diff_stat(history: Any) -> None:
    lines = history.text("diff", "main", "try", "--stat").splitlines()
    assert lines[0] == "A\t-\t4 B\tnew.txt"
    assert lines[1] == "D\t10 B\t-\trun.sh"
    assert lines[-1].startswith("1 added, 2 modified, 1 deleted; ")
    assert history("diff", "main", "try", "--stat", "--patch", code=2).stdout == ""


def test_patch(history: Any) -> None:
    patch = history.text("diff", "main", "try", "--patch")
    assert "--- a/src/a.py\n+++ b/src/a.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n" in patch
    assert "new file mode 100644\n--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+new\n" in patch
    assert "deleted file mode 100755\n--- a/run.sh\n+++ /dev/null\n" in patch
    assert "Binary files a/src/deep/b.bin and b/src/deep/b.bin differ\n" in patch


@pytest.fixture
def patchable(command: Any, tmp_path: Path) -> tuple[Any, Path]:
    """Two states whose differences are all text, but of every awkward kind."""
    old, new = tmp_path / "old", tmp_path / "new"
    lines = [f"line {number}\n" for number in range(100)]
    for top in (old, new):
        (top / "sub").mkdir(parents=True)
    (old / "long").write_text("".join(lines))
    (new / "long").write_text("".join([*lines[:10], "changed\n", *lines[12:60], "added\n", *lines[60:99], "line 99"]))
    (old / "no newline").write_text("a\nb")
    (new / "no newline").write_text("a\nb\n")
    (old / "gone").write_text("was\n")
    (old / "empty gone").write_text("")
    (new / "empty new").write_text("")
    (old / "mode").write_text("same\n")
    (new / "mode").write_text("same\n")
    (new / "mode").chmod(0o755)
    (old / "form\x0cfeed").write_bytes(b"a\x0cb\r\nc\x85\xe2\x80\xa8d\n")
    (new / "form\x0cfeed").write_bytes(b"a\x0cb\r\nc\x85\xe2\x80\xa8e\n")
    (old / "latin").write_bytes(b"caf\xe9\n")
    (new / "latin").write_bytes(b"caf\xe9s\n")
    (old / "link").symlink_to("long")
    (new / "link").symlink_to("mode")
    (old / "sub" / 'quo"te\\\t').write_text("x\n")
    (new / "sub" / 'quo"te\\\t').write_text("y\n")
    command("import", old, "--ref", "old")
    command("import", new, "--ref", "new")
    return command, tmp_path


def test_git_can_apply_the_patch(patchable: tuple[Any, Path]) -> None:
    command, tmp_path = patchable
    patch = command.process("diff", "old", "new", "--patch").stdout
    done = subprocess.run(
        ["git", "apply", "-"], input=patch, cwd=tmp_path / "old", capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    command("import", tmp_path / "old", "--ref", "applied")
    assert command.text("diff", "applied", "new") == ""


def test_patch_is_bounded(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from casstore_cli import patches

    monkeypatch.setattr(patches, "MAX_TEXT_BYTES", 1000)
    monkeypatch.setattr(patches, "MAX_TEXT_LINES", 50)
    top = tmp_path / "top"
    top.mkdir()
    command("init")
    (top / "large").write_text("x" * 1001)
    (top / "lines").write_text("\n" * 51)
    command("import", top, "--ref", "one")
    (top / "large").write_text("y" * 1001)
    (top / "lines").write_text("\n" * 52)
    command("import", top, "--ref", "two")
    patch = command.text("diff", "one", "two", "--patch")
    assert patch.count("# not compared: ") == 2
    assert "@@" not in patch
    assert max(map(len, patch.splitlines())) < 100
