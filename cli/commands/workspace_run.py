# SPDX-License-Identifier: MIT
"""``casstore workspace run``: a program in a workspace's directory.

The store is closed before the program starts, so that the program and everybody else can write it; only a private
overlay is held open, because its mount ends with the process that made it.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import click

from ..names import json_name
from ..session import Call, store_command
from ..workspaces import directory_option, is_mounted, workspace_around

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Running(click.Command):
    """Says where the program's own options go."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.format_message()} Write `--` before the program, so that its options are its own: "
                f"`{ctx.command_path} -- COMMAND...`.",
                ctx,
            ) from None


@store_command(
    "workspace run",
    example="casstore --store state.cas workspace run --dir try-8 -- make test",
    writes=True,
    cls=_Running,
)
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@directory_option
def run(call: Call, words: tuple[str, ...], directory: str) -> None:
    """Run COMMAND in the workspace's directory; it sees what an overlay-private one holds. Ends with its exit code.

    The store is free meanwhile, but for an overlay-private one. With --json the output of COMMAND is captured.
    """
    from casstore.errors import InvalidInputError

    place, kind = _ready(call, directory)
    try:
        done = _run(call, place, kind, words)
    except FileNotFoundError as error:
        if error.filename == place:
            raise
        raise InvalidInputError(f"there is no program {words[0]!r}; check the spelling.") from None
    except PermissionError:
        raise InvalidInputError(f"{words[0]!r} may not be run; `chmod +x` it, or name its interpreter.") from None
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    if call.out.as_json:
        output = {name: getattr(done, name).decode("utf-8", "backslashreplace") for name in ("stdout", "stderr")}
        call.out.json(**json_name("directory", place), exit_code=code, **output)
    click.get_current_context().exit(code)


def _ready(call: Call, directory: str) -> tuple[str, str]:
    """The workspace's directory and kind; an overlay is mounted then."""
    with call.read() as store, workspace_around(store, directory) as workspace:
        place, kind = workspace.directory, workspace.kind
        if kind != "overlay" or is_mounted(workspace):
            return place, kind
    with call.write() as store, workspace_around(store, place) as workspace:
        workspace.mount()
    return place, kind


def _run(call: Call, place: str, kind: str, words: Sequence[str]) -> subprocess.CompletedProcess[Any]:
    if kind != "overlay-private":
        return subprocess.run(words, cwd=place, capture_output=call.out.as_json, check=False)
    with call.write() as store, workspace_around(store, place) as workspace:
        return workspace.run(words, capture_output=call.out.as_json)
