# SPDX-License-Identifier: MIT
"""prove: what a state holds, checked by somebody who has no store."""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import blake3
import pytest
from casstore_cli.main import cli
from click.testing import CliRunner, Result

import casstore
from casstore import verify_proof

README = "".join(f"line {number}\n" for number in range(200)).encode()
Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks a proof without naming a store."""
    monkeypatch.delenv("CASSTORE_PATH", raising=False)

    def run(proof: bytes, state_id: str, *words: str, code: int = 0) -> Result:
        (tmp_path / "checked").write_bytes(proof)
        result = CliRunner().invoke(
            cli, ["prove", "--check", str(tmp_path / "checked"), "--state-id", state_id, *words]
        )
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def prove(command: Any, state: str, key: str) -> tuple[bytes, str]:
    """A proof and the state id that it is for."""
    made = command.json("prove", state, key)
    return base64.b64decode(made["proof"]), made["state_id"]


def test_a_proof_to_a_file_and_the_check_that_is_printed(history: Any, tmp_path: Path) -> None:
    said = history.text("prove", "main", "files/README.md", "--out", tmp_path / "a proof").splitlines()
    address = blake3.blake3(README).hexdigest()
    assert f"proves that files/README.md is there: file, 1.7 KiB, {address}" in said[0]
    words = shlex.split(said[1].removeprefix("check: "))
    assert words[0] == "casstore"
    result = CliRunner().invoke(cli, words[1:], env={"CASSTORE_PATH": ""})
    state_id = history.json("log", "main")["snapshots"][0]["state_id"]
    assert result.stdout == (f"proven of state {state_id}: files/README.md is there: file, 1.7 KiB, {address}\n")


def test_a_proof_in_a_pipe_is_its_bytes(history: Any, tmp_path: Path) -> None:
    done = history.process("prove", "main", "files/src/a.py")
    assert (done.returncode, done.stderr) == (0, b"")
    made = history.json("prove", "main", "files/src/a.py")
    assert base64.b64decode(made["proof"]) == done.stdout
    assert made["bytes"] == len(done.stdout)
    assert history.process("prove", "main", "files/src/a.py", "--out", "-").stdout == done.stdout
    assert history.process("prove", "main:files/src/a.py").stdout == done.stdout
    history("prove", "main", "files/src/a.py", "--out", tmp_path / "p")
    assert (tmp_path / "p").read_bytes() == done.stdout
    with casstore.open(history.store, read_only=True) as store:
        state_id = store.resolve("main").state_id
    entry = verify_proof(state_id, done.stdout, "files/src/a.py").entry
    assert entry is not None
    assert entry.inline == b"one\ntwo\nthree\n"


def test_a_proof_as_json(history: Any, tmp_path: Path) -> None:
    made = history.json("prove", "main", "files/README.md", "--out", tmp_path / "p")
    assert (made["key"], made["present"], made["proof"], made["out"]) == (
        "files/README.md",
        True,
        None,
        str(tmp_path / "p"),
    )
    assert history.json("prove", "main", "files/README.md", "--out", "-")["out"] is None
    assert made["id"] == history.json("log", "main")["snapshots"][0]["id"]
    assert made["entry"]["address"] == made["content"] == blake3.blake3(README).hexdigest()


def test_presence(history: Any, check: Check) -> None:
    proof, state_id = prove(history, "main", "files/src/a.py")
    assert "files/src/a.py is there: file, 14 B" in check(proof, state_id).stdout
    seen = json.loads(check(proof, state_id, "files/src/a.py", "--json").stdout)
    assert (seen["command"], seen["state_id"], seen["key"]) == ("prove", state_id, "files/src/a.py")
    assert (seen["present"], seen["entry"]["kind"], seen["entry"]["inline"]) == (True, "file", True)
    assert seen["content"] == blake3.blake3(b"one\ntwo\nthree\n").hexdigest()
    assert "is there: directory\n" in check(*prove(history, "main", "files/empty")).stdout


def test_absence(history: Any, check: Check) -> None:
    proof, state_id = prove(history, "main", "files/new.txt")
    assert check(proof, state_id).stdout == f"proven of state {state_id}: files/new.txt is absent\n"
    seen = json.loads(check(proof, state_id, "--json").stdout)
    assert (seen["present"], seen["entry"], seen["content"]) == (False, None, None)
    assert history.json("prove", "main", "objects/none")["present"] is False


def test_a_listing(history: Any, check: Check) -> None:
    proof, state_id = prove(history, "try", "files/src/")
    lines = check(proof, state_id, "files/src/").stdout.splitlines()
    assert lines[0] == f"proven of state {state_id}: files/src/ has 2 keys"
    assert lines[1].split("\t") == ["file", "12 B", blake3.blake3(b"one\n2\nthree\n").hexdigest(), "files/src/a.py"]
    assert lines[2].split("\t")[3] == "files/src/deep/b.bin"
    seen = json.loads(check(proof, state_id, "--json").stdout)
    assert [entry["key"] for entry in seen["entries"]] == ["files/src/a.py", "files/src/deep/b.bin"]
    assert seen["entries"][1]["content"] == seen["entries"][1]["address"]
    assert seen["keys"] == 2
    assert history.json("prove", "main", "files/")["keys"] == 6
    assert history.json("prove", "main", "files/none/")["keys"] == 0


def test_what_is_not_proven_is_refused(history: Any, check: Check) -> None:
    proof, state_id = prove(history, "main", "files/src/a.py")
    other = history.json("log", "try", "-n", "1")["snapshots"][0]["state_id"]
    for damaged in (proof[:-1], proof[:40], b"", bytes((*proof[:60], proof[60] ^ 1, *proof[61:])), proof + b"x"):
        result = check(damaged, state_id, code=4)
        assert result.stdout == ""
        assert "casstore prove" in result.stderr
    assert "another state" in check(proof, other, code=4).stderr
    assert "files/src" in check(proof, state_id, "files/src/b.py", code=4).stderr
    assert check(proof, state_id, "files/src/a.py/", code=4).stdout == ""
    error = json.loads(check(proof, other, "--json", code=4).stderr)["error"]
    assert error["kind"] == "corruption"


def test_words_that_make_no_sense(history: Any, check: Check, tmp_path: Path) -> None:
    proof, state_id = prove(history, "main", "files/src/a.py")
    assert check(proof, state_id[:-1], code=10).stdout == ""
    assert check(proof, state_id, "src/a.py", code=10).stdout == ""
    assert check(proof, state_id, "files/src/a.py", "more", code=2).stdout == ""
    assert check(proof, state_id, "--out", "x", code=2).stdout == ""
    assert history("prove", "--check", tmp_path / "checked", code=2).stdout == ""
    assert history("prove", "main", code=2).stdout == ""
    assert history("prove", "main", "files/a", "--state-id", state_id, code=2).stdout == ""
    for key in ("files", "posix/a", "files//a", "files/../a", "a"):
        assert history.error("prove", "main", key, code=10)["kind"] == "invalid-input"
    assert history.error("prove", "none", "files/a", code=3)["kind"] == "not-found"
    missing = history.error("prove", "--check", tmp_path / "none", "--state-id", state_id, code=3)
    assert missing["path"] == str(tmp_path / "none")
    history.error("prove", "--check", tmp_path, "--state-id", state_id, code=10)


def test_a_terminal_gets_no_bytes(history: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casstore_cli.output.Output.terminal", True)
    result = history("prove", "main", "files/src/a.py", code=2)
    assert result.stdout == ""
    assert "--out FILE" in result.stderr
    assert history("prove", "main", "files/src/a.py", "--out", "-").stdout_bytes.startswith(b"CASproof")


def test_a_check_needs_no_store_and_reads_stdin(
    history: Any, run: Callable[..., CompletedProcess[bytes]], tmp_path: Path
) -> None:
    proof, state_id = prove(history, "main", "files/src/a.py")
    done = run("prove", "--check", "-", "--state-id", state_id, input=proof, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"files/src/a.py is there" in done.stdout
    done = run("prove", "--check", "-", "--state-id", state_id, input=proof[:-1], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, b"")


def test_a_name_that_is_not_text(command: Any, tmp_path: Path, check: Check) -> None:
    top = tmp_path / "odd"
    top.mkdir()
    (top / os.fsdecode(b"caf\xe9\n")).write_bytes(b"x")
    command("import", top, "--ref", "main")
    proof, state_id = prove(command, "main", "files/" + os.fsdecode(b"caf\xe9\n"))
    assert "files/caf\\xe9\\n is there" in check(proof, state_id).stdout
    assert json.loads(check(proof, state_id, "--json").stdout)["key_hex"] == b"files/caf\xe9\n".hex()
    proof, state_id = prove(command, "main", "files/")
    assert check(proof, state_id).stdout.splitlines()[1].endswith("\tfiles/caf\\xe9\\n")
