# SPDX-License-Identifier: MIT
"""``casstore workspace snapshot``: what a directory holds now, saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..names import json_name
from ..progress import progress
from ..session import Call, store_command
from ..units import format_count
from ..views import refs_by_id
from ..workspaces import directory_option, workspace_around

if TYPE_CHECKING:
    from casstore import Snapshot, Store


@store_command(
    "workspace snapshot",
    example="casstore --store state.cas workspace snapshot\n"
    'casstore --store state.cas workspace snapshot --dir try-8 --ref try-8 -m "tests pass"',
    writes=True,
)
@directory_option
@click.option("--ref", metavar="NAME", help="Move this ref to it, or make it (default: the workspace's own ref).")
@click.option("-m", "--message", default="", metavar="TEXT", help="A message for the snapshot.")
def snapshot(call: Call, directory: str, ref: str | None, message: str) -> None:
    """Save what the workspace's directory holds, whatever its kind, an overlay-private one too. It is the base then.

    With --ref the ref must name the base, or be new. Without, what no ref names is kept under workspace/ID, the
    workspace's own ref, which goes with the workspace. Where nothing changed no snapshot is made.
    """
    with call.write() as store, workspace_around(store, directory) as workspace:
        before = workspace.base
        with progress(as_json=call.out.as_json) as callback:
            made = workspace.snapshot(message, ref=ref, progress=callback)
        top, identity = workspace.directory, workspace.id
        kept = _keepers(store, made, ref or f"workspace/{identity}")
    new = before is None or before.id != made.id
    if call.out.as_json:
        call.out.json(
            **json_name("directory", top), workspace=identity, id=made.id, state_id=made.state_id, new=new, refs=kept
        )
        return
    call.out.line(f"{top} is saved as {made.id.hex()}" if new else f"nothing changed: {top} holds {made.id.hex()}")
    call.out.line(f"kept under {', '.join(kept)}")
    left_out = _left_out(made) if new else 0
    if left_out:
        call.out.note(f"casstore: {format_count(left_out, 'path')} left out; `casstore status --ignored` lists them.")


def _keepers(store: Store, made: Snapshot, first: str) -> list[str]:
    """Refs that name the snapshot, ``first`` before the others."""
    return sorted(refs_by_id(store).get(made.id, ()), key=lambda name: (name != first, name))


def _left_out(made: Snapshot) -> int:
    recorded = made.meta.get("workspace")
    count = recorded.get("left_out_count") if isinstance(recorded, dict) else None
    return count if isinstance(count, int) else 0
