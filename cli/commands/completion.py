# SPDX-License-Identifier: MIT
"""``casstore completion``: the script that makes a shell complete commands, options and refs."""

from __future__ import annotations

import click

from ..session import Call, store_command


@store_command("completion", example='eval "$(casstore completion bash)"\ncasstore completion fish | source')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(call: Call, shell: str) -> None:
    """Print the completion script of a shell, to be read by its start-up file."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell}.")
    script = completion(click.get_current_context().find_root().command, {}, "casstore", "_CASSTORE_COMPLETE").source()
    if call.out.as_json:
        call.out.json(shell=shell, script=script)
        return
    click.echo(script)
