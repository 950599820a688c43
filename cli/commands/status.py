# SPDX-License-Identifier: MIT
"""``casstore status``: what a directory changed since the snapshot it was last made from or saved as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..changes import change_line, listed_json, metadata_json, metadata_line, totals
from ..names import json_name
from ..progress import progress
from ..session import Call, store_command
from ..units import format_count
from ..views import left_out_json, short_id
from ..workspaces import Ignore, chosen_selection, is_mounted, selection_options, state_words, workspace_around

if TYPE_CHECKING:
    from casstore import Store
    from casstore.workspace import Workspace, WorkspaceStatus


@store_command(
    "status", example="casstore --store state.cas status\ncasstore --store state.cas status project --ignored --json"
)
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path())
@click.option("--ignored", is_flag=True, help="Also list what is left out.")
@click.option("--paranoid", is_flag=True, help="Read every file, whatever its times and its inode say.")
@selection_options
def command(call: Call, directory: str, ignored: bool, paranoid: bool, ignore: Ignore | None, no_git: bool) -> None:
    """What the workspace around DIR (default: the current folder) changed since its base.

    A added, M modified, T of another type, D deleted, m for metadata alone, and with --ignored ! for what is left out.
    Paths are those below the workspace. Changes nothing; what was learned about unchanged files is kept for the next
    time, unless somebody else writes the store.
    """
    with call.write_if_free() as store, _open(store, directory, ignore, no_git) as workspace:
        with progress(as_json=call.out.as_json) as callback:
            status = workspace.status(paranoid=paranoid, progress=callback)
        selection = workspace.selection
        mounted = is_mounted(workspace) if status.kind == "overlay" else None
        if call.out.as_json:
            head = {
                **json_name("directory", status.directory),
                "workspace": status.id,
                "kind": status.kind,
                "base": None if status.base is None else status.base.id,
                "base_lost": status.base_lost,
                "base_ref": status.base_ref,
                "ref_moved": status.ref_moved,
                "ref_gone": status.ref_gone,
                "mounted": mounted,
                "interrupted": status.interrupted,
                "clean": status.clean,
                "files": status.files,
                "ignore": selection.ignore,
                "keep_git": selection.keep_git,
                "left_out_count": status.left_out_count,
                "metadata": metadata_json(status.metadata_changes),
            }
            if ignored:
                head["left_out"] = left_out_json(status.left_out)
            call.out.json_stream(head, "changes", map(listed_json, status.changes))
            return
    if mounted is False:
        mount = call.shell_line("workspace", "mount", status.directory)
        call.out.note(f"casstore: {status.directory} is not mounted, so it looks empty; `{mount}` shows it again.")
    _print(call, status, ignored)


def _open(store: Store, directory: str, ignore: Ignore | None, no_git: bool) -> Workspace:
    from casstore.workspace import Workspace

    found = workspace_around(store, directory)
    selection = chosen_selection(ignore, no_git, found.selection)
    if selection is None:
        return found
    found.close()
    return Workspace(store, found.directory, selection=selection)


def _again(status: WorkspaceStatus) -> str:
    if status.base is None:
        return ""
    return f"; `casstore refs set {status.base_ref} {short_id(status.base.id)}` makes it anew, at the base"


def _print(call: Call, status: WorkspaceStatus, ignored: bool) -> None:
    if status.interrupted:
        call.out.note(
            "casstore: a switch was interrupted here; `casstore switch` goes on from it, `casstore undo` goes back to "
            "before it."
        )
    if status.base_lost:
        call.out.note(
            "casstore: the snapshot that this directory was made from was collected, so everything counts as added; "
            "`casstore switch` makes it hold a state again, and saves what it holds first."
        )
    if status.ref_gone:
        ref = status.base_ref
        call.out.note(f"casstore: the ref {ref}, which this directory was based on, is gone{_again(status)}.")
    elif status.ref_moved and status.base is not None:
        ref = status.base_ref
        call.out.note(
            f"casstore: {ref} has moved since; `casstore diff {short_id(status.base.id)} {ref}` shows what came, "
            f"`casstore switch {ref}` brings it here."
        )
    if call.out.terminal:
        call.out.line(f"{status.directory}, based on {state_words(status.base, status.base_ref)}")
    for change in status.changes:
        call.out.line(change_line(change))
    metadata = status.metadata_changes
    for path in metadata:
        call.out.line(metadata_line(path))
    if ignored:
        for item in status.left_out:
            call.out.line(f"! {item.path} ({item.why})")
        if status.left_out_count > len(status.left_out):
            call.out.line(f"... and {status.left_out_count - len(status.left_out):,} more that are left out")
    if call.out.terminal:
        left_out = f"; {status.left_out_count:,} left out" if status.left_out_count else ""
        hint = " (--ignored lists them)" if left_out and not ignored else ""
        call.out.line(f"{totals(status.changes, len(metadata))}; {format_count(status.files, 'file')}{left_out}{hint}")
