# SPDX-License-Identifier: MIT
"""A store with a little history, and ways to run the command on it: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from casstore_cli.main import cli
from click.testing import CliRunner, Result

LONG_TEXT = "".join(f"line {number}\n" for number in range(200))


class Command:
    """Runs ``casstore`` on one store."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def __call__(self, *words: str | Path, code: int = 0) -> Result:
        """Runs it in this process and checks the exit code."""
        result = CliRunner().invoke(cli, ["--store", str(self.store), *map(str, words)])
        assert result.exit_code == code, (words, result.exit_code, result.output, result.exception)
        return result

    def text(self, *words: str | Path) -> str:
        """What it prints to stdout."""
        return self(*words).stdout

    def json(self, *words: str | Path) -> dict[str, Any]:
        """Its JSON object; stderr must be empty."""
        result = self(*words, "--json")
        assert result.stderr == ""
        loaded: dict[str, Any] = json.loads(result.stdout)
        assert loaded["version"] == 1
        return loaded

    def error(self, *words: str | Path, code: int) -> dict[str, Any]:
        """The JSON object of an error; stdout must be empty."""
        result = self(*words, "--json", code=code)
        assert result.stdout == ""
        loaded: dict[str, Any] = json.loads(result.stderr)
        assert loaded["version"] == 1
        error: dict[str, Any] = loaded["error"]
        return error

    def process(self, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Runs it in a process of its own, with pipes."""
        return run_process("--store", str(self.store), *map(str, words), **options)


def run_process(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """``python -m casstore_cli`` with pipes and without a terminal or a default store."""
    environment = {name: value for name, value in os.environ.items() if name != "CASSTORE_PATH"}
    environment.update(options.pop("env", {}))
    return subprocess.run(
        [sys.executable, "-m", "casstore_cli", *words],
        capture_output=True,
        timeout=60,
        check=False,
        env=environment,
        **options,
    )


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command on a store that does not exist yet."""
    monkeypatch.delenv("CASSTORE_PATH", raising=False)
    return Command(tmp_path / "state.cas")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small directory of every kind of thing that is kept."""
    top = tmp_path / "tree"
    (top / "src" / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "README.md").write_text(LONG_TEXT)
    (top / "src" / "a.py").write_text("one\ntwo\nthree\n")
    (top / "src" / "deep" / "b.bin").write_bytes(b"\0\1\2" * 100)
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("src/a.py")
    return top


@pytest.fixture
def history(command: Command, tree: Path) -> Command:
    """``main`` at the tree; ``try`` at a changed one, whose parent is ``main``."""
    command("import", tree, "--ref", "main", "-m", "the start")
    command("fork", "main", "try")
    (tree / "src" / "a.py").write_text("one\n2\nthree\n")
    (tree / "new.txt").write_text("new\n")
    (tree / "run.sh").unlink()
    (tree / "src" / "deep" / "b.bin").write_bytes(b"\0\1\3" * 100)
    command("import", tree, "--ref", "try", "-m", "tried X")
    return command


@pytest.fixture
def project(command: Command, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace at ``main``, with ``try`` a changed state that it came back from, as the current folder."""
    command("import", tree, "--ref", "main", "-m", "the start")
    (tree / "src" / "a.py").write_text("one\n2\n")
    (tree / "new.txt").write_text("new\n")
    (tree / "run.sh").unlink()
    command("import", tree, "--ref", "try", "-m", "tried X")
    command("switch", "main", "--dir", tree)
    monkeypatch.chdir(tree)
    return tree


@pytest.fixture
def run() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the command in a process of its own, without a store."""
    return run_process
