# SPDX-License-Identifier: MIT
"""The guides ``memory.md`` and ``tuning.md``: all their code runs, and the commands and figures they name exist.

That the code does what it says is for ``tests/test_docs.py``, which runs every block.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from casstore_cli.main import cli

import benchmarks.__main__
from benchmarks import costs
from benchmarks.options import Options
from tests.test_docs import FENCE, blocks

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDES = {name: (DOCS / name).read_text("utf-8") for name in ("memory.md", "tuning.md")}
INLINE = re.compile(r"`(casstore [^`]+|python -m benchmarks [^`…]+)`")


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of tables, without marks of code; cells may be empty."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in line[1:-1].split("|")] for line in lines]


@pytest.mark.parametrize("name", GUIDES)
def test_every_block_runs(name: str) -> None:
    text = GUIDES[name]
    assert len(list(blocks(text))) == len(FENCE.findall(text)) >= 4


def commands(text: str) -> set[str]:
    """Commands within sentences and tables, and those of blocks without what follows them."""
    found = set(INLINE.findall(text))
    for block in blocks(text):
        if block.language == "bash":
            found.update(line.partition("  #")[0] for line in block.code.splitlines() if line)
    return found


def check(command: str, cache: Path) -> None:
    """Raises where a command, a part or an option is none."""
    words = shlex.split(command)
    if words[0] == "python":
        options = benchmarks.__main__.parse([*words[3:], "--cache", str(cache)])[1]
        if options.only:
            modules = __import__(f"benchmarks.{words[3]}", fromlist=["MODULES"]).MODULES
            assert set(options.only) <= set(modules), command
        return
    here: click.Command = cli
    context = click.Context(cli, info_name="casstore")
    rest = words[1:]
    while rest and isinstance(here, click.Group):
        if rest[0].startswith("-"):
            rest = rest[2:]
            continue
        found = here.get_command(context, rest[0])
        assert found is not None, command
        here, rest = found, rest[1:]
    known = {option for parameter in here.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known, command


@pytest.mark.parametrize("name", GUIDES)
def test_the_commands_that_it_names_exist(name: str, tmp_path: Path) -> None:
    found = commands(GUIDES[name])
    assert found
    for command in found:
        check(command, tmp_path)


def test_a_command_that_is_none_is_seen(tmp_path: Path) -> None:
    for command in ("casstore never", "casstore gc --never", "python -m benchmarks costs --only never"):
        with pytest.raises(AssertionError):
            check(command, tmp_path)
    with pytest.raises(SystemExit):
        check("python -m benchmarks never", tmp_path)


def test_the_costs_are_those_that_are_measured(tmp_path: Path) -> None:
    """By name, and bytes roughly: a quick run measures few of each, and times mean nothing there."""
    options = Options(tmp_path, tmp_path, 1, None, ("states", "caches"), 2**20, 10, quiet=True, quick=True)
    measured = costs.run(options).figures["goals"]
    stated = [row for row in rows(GUIDES["memory.md"]) if row[-1].startswith("costs ")]
    assert len(stated) >= 13
    for what, size, time, by in stated:
        assert by.removeprefix("costs ") in costs.MODULES
        assert f"{what}: time" in measured or not time, what
        if size and size[-1].isdigit():
            number = float(size.replace(",", ""))
            assert number / 2.5 < measured[f"{what}: bytes"]["value"] < number * 2.5, what


def test_the_ways_of_keeping_messages_are_those_that_are_measured() -> None:
    from benchmarks.costs_growing import WAYS

    stated = [row[0] for row in rows(GUIDES["memory.md"]) if row[0] in WAYS]
    assert stated == list(WAYS)
