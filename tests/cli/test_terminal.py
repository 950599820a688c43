# SPDX-License-Identifier: MIT
"""What a person at a terminal sees, and what a pipe never gets: colours, bars and tables."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from casstore_cli import progress as cli_progress
from casstore_cli.progress import Bar


def at_terminal(*words: str, code: int = 0, setup: str = "") -> str:
    """What the command writes when stdin, stdout and stderr are a terminal of 100 columns."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "CI")}
    process = subprocess.Popen(
        [sys.executable, "-c", f"{setup}\nfrom casstore_cli.main import main\nmain()", *words],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(side)
    seen = bytearray()
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so at the end; macOS returns nothing
            break
        if not part:
            break
        seen += part
    os.close(main)
    assert process.wait(60) == code, seen
    return seen.decode()


AT_ONCE = "import casstore_cli.progress as p; p.DELAY_SECONDS = p._INTERVAL_SECONDS = 0.0"


def test_tables_have_headings_on_a_terminal(history: Any) -> None:
    seen = at_terminal("--store", str(history.store), "log", "try")
    assert "\x1b[1m" in seen
    assert "snapshot" in seen
    assert "tried X" in seen
    assert "snapshot" not in history.text("log", "try")


def test_markup_in_names_is_not_obeyed(command: Any, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "[bold red]x[-]").write_text("x")
    (top / ":smile:").write_text("x")
    (top / "esc\x1b[2J").write_text("x")
    command("import", top, "--ref", "main", "-m", "[link=http:x]")
    seen = at_terminal("--store", str(command.store), "ls", "-l", "main")
    assert "[bold red]x[-]" in seen
    assert ":smile:" in seen
    assert "esc\\x1b[2J" in seen
    assert "\x1b[2J" not in seen
    assert "[link=http:x]" in at_terminal("--store", str(command.store), "log", "main")


def test_a_patch_cannot_steer_the_terminal_but_a_pipe_gets_its_bytes(command: Any, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    command("init")
    (top / "a").write_text("a\n")
    command("import", top, "--ref", "one")
    (top / "a").write_text("\tclear \x1b[2J\n")
    command("import", top, "--ref", "two")
    assert b"+\tclear \x1b[2J\n" in command.process("diff", "-p", "one", "two").stdout
    seen = at_terminal("--store", str(command.store), "diff", "-p", "one", "two")
    assert "+\tclear \\x1b[2J" in seen or "clear \\x1b[2J" in seen
    assert "\x1b[2J" not in seen


def test_progress_is_shown_on_a_terminal_when_it_takes_long(command: Any, tree: Path) -> None:
    seen = at_terminal("--store", str(command.store), "import", str(tree), "--ref", "main", setup=AT_ONCE)
    assert "reading" in seen
    assert "\x1b[" in seen
    assert "main is " in seen


def test_no_progress_when_it_is_quick_or_json(command: Any, tree: Path) -> None:
    never = "import casstore_cli.progress as p; p.DELAY_SECONDS = 1000.0"
    seen = at_terminal("--store", str(command.store), "import", str(tree), "--ref", "one", setup=never)
    assert "reading" not in seen
    assert "\x1b[" not in seen
    seen = at_terminal("--store", str(command.store), "import", str(tree), "--ref", "two", "--json", setup=AT_ONCE)
    assert "reading" not in seen
    assert "\x1b[" not in seen


def test_a_pipe_gets_no_ansi_and_no_progress(history: Any, tree: Path, tmp_path: Path) -> None:
    environment = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color"}
    for words in (
        ("import", str(tree), "--ref", "again"),
        ("checkout", "main", str(tmp_path / "out")),
        ("refs",),
        ("log", "try"),
        ("ls", "-l", "main"),
        ("diff", "main", "try", "--patch"),
        ("diff", "main", "try", "--stat"),
        ("stats",),
        ("inspect", "graph"),
        ("gc", "--dry-run"),
        ("verify",),
        ("refs", "history", "main"),
    ):
        done = history.process(*words, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout or words[0] == "import"
        assert b"\x1b" not in done.stdout + done.stderr, words
        assert done.stderr == b"", words


def test_no_progress_in_a_pipe_or_with_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, as_json, shown in ((True, False, True), (True, True, False), (False, False, False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda answer=terminal: answer)
        with cli_progress.progress(as_json=as_json) as callback:
            assert (callback is not None) == shown


def test_a_bar_waits_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(cli_progress.time, "monotonic", lambda: now)
    started: list[float] = []
    bar = Bar()

    class Fake:
        def add_task(self, phase: str, **_: object) -> int:
            started.append(now)
            return 1

        def remove_task(self, task: int) -> None:
            started.append(-1)

        def update(self, task: int, **_: object) -> None:
            pass

        def stop(self) -> None:
            pass

    def start(self: Bar) -> Fake:
        self._progress = Fake()  # type: ignore[assignment]
        return Fake()

    monkeypatch.setattr(Bar, "_start", start)
    bar("reading", 1, 10)
    now = 100.4
    bar("reading", 10, 10)
    assert started == []
    now = 100.6
    bar("reading", 2, 10)
    assert started == [100.6]
    now = 100.7
    bar("writing", 2, 10)
    assert started == [100.6, -1, 100.7]
    bar.close()
