# SPDX-License-Identifier: MIT
"""The documentation is true: its code runs, and the names and links in it exist.

Code blocks of one file run in order in one empty folder, each building on those before it:

* ```` ```python ```` blocks share one namespace;
* ```` ```bash ```` blocks run when their first command is ``casstore`` (a leading ``$ `` is cut; lines of output are
  not allowed in them), under ``bash -e``, with the ``casstore`` command of this very environment;
* a block marked ``no-test`` (```` ```python no-test ````) is only shown.

The folder holds ``project/``, a small tree to import, which the examples may use and change.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?<![\w./-])casstore(?:\.[A-Za-z_]\w*)+")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
FILE_ENDINGS = ("toml", "md", "json", "py", "cas", "git")


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The code blocks that are to run."""
    for match in FENCE.finditer(text):
        words = match["info"].split()
        if not words or "no-test" in words:
            continue
        line = text.count("\n", 0, match.start()) + 2
        if words[0] == "python":
            yield Block("python", match["code"], line)
        elif words[0] in ("bash", "sh", "console"):
            code = re.sub(r"^\$ ", "", match["code"], flags=re.MULTILINE)
            commands = [row for row in code.splitlines() if row.strip() and not row.lstrip().startswith("#")]
            if commands and commands[0].startswith("casstore "):
                yield Block("bash", code, line)


def command_folder(tmp_path: Path) -> Path:
    """A folder with a ``casstore`` command that runs the code under test with this interpreter."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "casstore"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m casstore_cli "$@"\n')
    script.chmod(0o755)
    return folder


def make_project(folder: Path) -> None:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("print('a')\n")
    (folder / "src" / "b.py").write_text("print('b')\n")
    (folder / "README.md").write_text("# A project\n")
    (folder / "empty").mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\nexec python src/a.py\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "latest").symlink_to("src/a.py")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = document.read_text("utf-8")
    commands = command_folder(tmp_path)
    home = tmp_path / "home"
    work = home / "work"
    make_project(work / "project")
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(text):
        place = f"{document.relative_to(ROOT)}:{block.line}"
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(document), "exec"), namespace)
        else:
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", block.code],
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{place}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def resolve(name: str) -> object:
    """What a dotted name stands for: modules are imported as far as they go, the rest are attributes."""
    parts = name.split(".")
    found: object = importlib.import_module(parts[0])
    for depth, part in enumerate(parts[1:], 2):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = importlib.import_module(".".join(parts[:depth]))
        else:
            found = getattr(found, part)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_exist(document: Path) -> None:
    missing = []
    for name in sorted(set(NAME.findall(document.read_text("utf-8")))):
        if name.rsplit(".", 1)[1] in FILE_ENDINGS:
            continue
        try:
            resolve(name)
        except (ImportError, AttributeError) as error:
            missing.append(f"{name}: {error}")
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text("utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_public_name_exists() -> None:
    package = importlib.import_module("casstore")
    assert package.__all__
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_the_checks_see_what_they_should() -> None:
    text = (
        "```python\nx = 1\n```\n\n"
        "```bash\n# first\n$ casstore --help\n```\n"
        "```bash\ngit clone x\n```\n"
        "```python no-test\n1/0\n```\n"
    )
    assert [(block.language, block.line) for block in blocks(text)] == [("python", 2), ("bash", 6)]
    assert NAME.findall("see `casstore.open` and tests/casstore.x, my-casstore.x") == ["casstore.open"]
    assert LINK.findall("[a](docs/a.md#b) [c](https://x.y) [d](#e)") == ["docs/a.md"]
    assert resolve("casstore.errors.NotFoundError.kind") == "not-found"
    with pytest.raises(ImportError):
        resolve("casstore.never_there")
