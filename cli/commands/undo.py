# SPDX-License-Identifier: MIT
"""``casstore undo``: a directory goes back to what it held before its last switch."""

from __future__ import annotations

import click

from ..session import Call, store_command
from ..workspaces import directory_option, switch_to, workspace_to_switch


@store_command(
    "undo", example="casstore --store state.cas undo\ncasstore --store state.cas undo --dir project", writes=True
)
@directory_option
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
def command(call: Call, directory: str, dry_run: bool) -> None:
    """Take back the workspace's last switch, an interrupted one too. A second undo takes back the first.

    What was changed since that switch is saved as a snapshot first.
    """
    with workspace_to_switch(call, directory, dry_run=dry_run) as workspace:
        switch_to(call, workspace, workspace.plan_undo(), dry_run=dry_run)
