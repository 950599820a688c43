# SPDX-License-Identifier: MIT
"""Target: the command line on a damaged store."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Final

from casstore_cli.main import cli

from tests.fuzz.target import Finding
from tests.fuzz.targets_store import Script, folder, make_store

EXIT_CODES: Final = range(16)
COMMANDS: Final = (
    "refs list", "refs history main", "log main", "ls main", "ls main:objects", "ls --recursive main:files",
    "cat main:files/d/small", "cat main:objects/memory", "diff main try/1", "diff --patch main try/1", "stats",
    "inspect", "inspect main", "inspect main:files/large", "verify", "gc --dry-run", "gc --explain --dry-run",
    "prove main:files/text", "checkout main OUT", "refs undo main", "status", "workspace list", "repair",
    "log try/1", "ls try/1:posix", "bundle export OUT main", "config", "tree show main",
)  # fmt: skip


def run_cli(data: bytes) -> bool:
    """Commands on a damaged store: an exit code of their own, and nothing printed that a terminal would obey."""
    script = Script(data)
    flags = script.byte() & ~8
    accepted = False
    with folder() as base:
        store = make_store(base, script, flags)
        for _ in range(1 + script.below(4)):
            words = COMMANDS[script.byte() % len(COMMANDS)].replace("OUT", str(base / "out")).split()
            as_json = bool(script.below(2))
            out, problem = _Captured(), _Captured()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(problem):
                try:
                    cli.main(["--store", str(store), words[0], *words[1:], *(["--json"] if as_json else [])])
                except SystemExit as end:
                    code = end.code
            if code not in EXIT_CODES:
                raise Finding(f"{words} ended with {code!r}: {problem.getvalue()[-200:]}")
            accepted |= code == 0
            shown = problem.getvalue() + ("" if words[0] in ("cat", "prove") else out.getvalue())
            if words[1:2] != ["--patch"] and any(letter in shown for letter in "\x1b\x07\x9b\r"):
                raise Finding(f"{words} printed what a terminal obeys: {shown!r:.300}")
            if as_json and words[0] != "prove":
                json.loads((out.getvalue() if code == 0 else "") or "null")
    return accepted


class _Captured(io.TextIOWrapper):
    """A stream of text, as commands print it; what they write as bytes comes into it too."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)

    def getvalue(self) -> str:
        self.flush()
        data: bytes = self.buffer.getvalue()  # type: ignore[attr-defined]
        return data.decode("utf-8", "replace")
