# SPDX-License-Identifier: MIT
"""``casstore switch``: a directory becomes another state by the difference alone."""

from __future__ import annotations

import click

from ..places import parse_place
from ..progress import progress
from ..session import Call, complete_state, store_command
from ..workspaces import directory_option, switch_to, workspace_to_switch


@store_command(
    "switch",
    example="casstore --store state.cas switch try-7 --dry-run\ncasstore --store state.cas switch main --dir project",
    writes=True,
)
@click.argument("state", shell_complete=complete_state)
@directory_option
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--paranoid", is_flag=True, help="Read every file first, whatever its times and its inode say.")
def command(call: Call, state: str, directory: str, dry_run: bool, paranoid: bool) -> None:
    """Turn the workspace into STATE, touching only what differs.

    Prints the plan first. What the directory changed since its base is saved as a snapshot before anything is written.
    What the workspace leaves out is never touched. After an interruption, switch again, or go back with `undo`.
    """
    from casstore.errors import InvalidInputError

    if parse_place(state).key:
        raise InvalidInputError(f"{state!r} is a part of a state; a directory is switched to a whole one.", path=state)
    with workspace_to_switch(call, directory, dry_run=dry_run) as workspace:
        with progress(as_json=call.out.as_json) as callback:
            plan = workspace.plan_switch(state, paranoid=paranoid, progress=callback)
        switch_to(call, workspace, plan, dry_run=dry_run)
