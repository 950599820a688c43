# SPDX-License-Identifier: MIT
"""``casstore workspace``: the directories that a store knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from ..changes import listed_json, totals
from ..names import json_name
from ..session import Call, common_options, help_example, store_command
from ..units import format_count
from ..views import short_id
from ..workspaces import MOUNTED, exact_workspace, gone_workspace, is_mounted
from .workspace_run import run
from .workspace_snapshot import snapshot

if TYPE_CHECKING:
    from casstore import Store
    from casstore.workspace.finding import WorkspaceInfo


_COLUMNS: Final = ("id", "kind", "state", "base", "ref", "directory")


@click.group(
    "workspace",
    invoke_without_command=True,
    epilog=help_example("casstore --store state.cas workspace\ncasstore --store state.cas workspace prune --dry-run"),
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, save, use, mount and remove workspaces. Without a subcommand: list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_all)


@store_command("workspace list", example="casstore --store state.cas workspace list")
def list_all(call: Call) -> None:
    """List the directories that were checked out, forked, switched or saved; not those that were only imported.

    The state of each is ok; interrupted (in a switch); unmounted (`workspace mount` mounts it again); missing (the
    directory is gone, or another one took its place); or damaged (what the store knows of it cannot be read).
    """
    from casstore.workspace import list_workspaces

    with call.read() as store:
        infos = list_workspaces(store)
    if call.out.as_json:
        call.out.json(workspaces=[_json(info) for info in infos])
        return
    if not infos:
        call.out.note(
            "casstore: no workspaces yet; `casstore checkout STATE DIR` or `casstore fork STATE --to DIR` makes one; "
            "`casstore workspace snapshot --dir DIR` lists one that was only imported."
        )
        return
    call.out.table(_COLUMNS, map(_row, infos))


@store_command("workspace mount", example="casstore --store state.cas workspace mount try-8", writes=True)
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Say what would be mounted, and change nothing.")
def mount(call: Call, directory: str, dry_run: bool) -> None:
    """Mount the overlay fork DIR again, with all it held. Its mount is gone after a restart.

    DIR is made where it is gone.
    """
    with call.read() if dry_run else call.write() as store:
        top, missing = _mount(store, directory, dry_run)
    if call.out.as_json:
        call.out.json(**json_name("directory", top), kind="overlay", dry_run=dry_run, mounted=missing)
        return
    if missing:
        call.out.line(f"{top} {'would be' if dry_run else 'is'} mounted again")
    else:
        call.out.line(f"{top} is mounted already")
    if dry_run:
        call.out.line("dry run: nothing was changed")


def _mount(store: Store, directory: str, dry_run: bool) -> tuple[str, bool]:
    """Mounts an overlay, unless it is a dry run; its directory, and whether it was not mounted."""
    from casstore.errors import InvalidInputError

    gone = gone_workspace(store, directory)
    made = gone is not None and gone.kind == "overlay" and gone.path == os.path.realpath(directory)
    if gone is not None and made:
        if dry_run:
            return gone.path, True
        os.makedirs(gone.path)
    try:
        with exact_workspace(store, directory) as workspace:
            top, kind = workspace.directory, workspace.kind
            if kind != "overlay":
                private = kind in MOUNTED
                why = "only `casstore workspace run` sees it" if private else f"it is a workspace of kind {kind}"
                raise InvalidInputError(f"{top!r} is nothing to mount: {why}.", path=top)
            missing = not is_mounted(workspace)
            if not dry_run:
                workspace.mount()
            return top, missing
    except BaseException:
        if gone is not None and made:
            with suppress(OSError):
                os.rmdir(gone.path)
        raise


@store_command("workspace prune", example="casstore --store state.cas workspace prune --dry-run", writes=True)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
def prune(call: Call, dry_run: bool) -> None:
    """Forget workspaces whose directory is gone, and delete what only they needed.

    What a fork held that no snapshot has is saved first. Trees shared by overlay forks go with the last of them.
    """
    from casstore.workspace import plan_prune_workspaces

    with call.write() as store:
        plan = plan_prune_workspaces(store)
        dead, bases, probes = plan.dead, plan.bases, plan.probes
        if not call.out.as_json:
            _print_plan(call, dead, len(bases), len(probes))
        report = None if dry_run or not (dead or bases or probes) else plan.execute()
    if call.out.as_json:
        shown = [_json(info) for info in dead]
        call.out.json(dry_run=dry_run, dead=shown, bases=bases, probes=probes, report=report)
    elif dry_run:
        call.out.line("dry run: nothing was changed")
    elif report is not None:
        for info in dead:
            if info.id in report.saved:
                saved = report.saved[info.id]
                call.out.line(f"what {info.id} alone held is saved as {short_id(saved)}")
                call.out.line(f"undo: {call.shell_line('fork', saved.hex(), '--to', info.path, '--method', info.kind)}")
        removed = format_count(len(report.removed), "workspace")
        trees = format_count(len(report.bases), "shared tree")
        call.out.line(f"{removed} forgotten, {trees}{_and_probes(len(report.probes))} deleted")


def _print_plan(call: Call, dead: Sequence[WorkspaceInfo], bases: int, probes: int) -> None:
    if dead:
        call.out.table(_COLUMNS, map(_row, dead))
    if dead or bases or probes:
        trees = format_count(bases, "shared tree")
        call.out.line(f"{format_count(len(dead), 'workspace')} to forget, {trees}{_and_probes(probes)} to delete")
    else:
        call.out.line("nothing to forget: every workspace has its directory")


@store_command("workspace remove", example="casstore --store state.cas workspace remove try-8 --dry-run", writes=True)
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
def remove(call: Call, directory: str, dry_run: bool) -> None:
    """Forget the workspace DIR. An overlay is unmounted, and its directory goes; any other stays as it is.

    What an overlay changed since its base is saved as a snapshot first.
    """
    with call.read() if dry_run else call.write() as store, exact_workspace(store, directory) as workspace:
        top, kind, base = workspace.directory, workspace.kind, workspace.base
        deletes = kind in MOUNTED
        changes = workspace.status().changes if deletes else ()
        saved = None
        if not dry_run:
            if changes:
                saved = workspace.snapshot("before `casstore workspace remove`")
            workspace.remove()
    last = saved or base
    undo = None
    if deletes and last is not None and not dry_run:
        undo = call.shell_line("fork", last.id.hex(), "--to", top, "--method", kind)
    if call.out.as_json:
        call.out.json(
            **json_name("directory", top),
            kind=kind,
            dry_run=dry_run,
            deletes=deletes,
            changes=[listed_json(change) for change in changes],
            saved=None if saved is None else saved.id,
            undo=undo,
        )
        return
    if deletes:
        call.out.line(f"{top} {'would be' if dry_run else 'is'} deleted; since its base: {totals(changes)}")
    else:
        call.out.line(f"{top} {'would be' if dry_run else 'is'} forgotten; its files stay")
    if saved is not None:
        call.out.line(f"what it held is saved as {short_id(saved.id)}")
    if dry_run:
        call.out.line("dry run: nothing was changed")
    elif undo is not None:
        call.out.line(f"undo: {undo}")


def _and_probes(count: int) -> str:
    return f" and {format_count(count, 'leftover')} of a crash" if count else ""


def _json(info: WorkspaceInfo) -> dict[str, Any]:
    return {
        **json_name("path", info.path),
        "id": info.id,
        "kind": info.kind,
        "base": info.base,
        "base_ref": info.base_ref,
        "state": info.state,
    }


def _row(info: WorkspaceInfo) -> tuple[str, ...]:
    return (info.id, info.kind, info.state, short_id(info.base), info.base_ref or "-", info.path)


command.params += common_options()
for _subcommand in (list_all, snapshot, run, mount, remove, prune):
    command.add_command(_subcommand)
