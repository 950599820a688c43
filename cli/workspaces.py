# SPDX-License-Identifier: MIT
"""What the commands on workspaces share: which one is meant, what of it is captured, and what a switch says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from .changes import listed_json, metadata_json, print_changes, totals
from .names import json_name, shell_join
from .progress import progress
from .units import format_count, format_size
from .views import MAX_LISTED, left_out_json, short_id

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.workspace import Selection, SwitchPlan, SwitchReport, Workspace
    from casstore.workspace.finding import WorkspaceInfo

    from .session import Call

MOUNTED: Final = ("overlay", "overlay-private")
"""Kinds of workspaces whose directory is a mount, and goes with them."""

Ignore = Literal["nothing", "git"]
Function = TypeVar("Function", bound=Callable[..., None])


def selection_options(function: Function) -> Function:
    """Adds ``--ignore`` and ``--no-git``."""
    no_git = click.option("--no-git", is_flag=True, help="Leave out .git, at every level.")
    ignore = click.option(
        "--ignore",
        type=click.Choice(["nothing", "git"]),
        help="git: leave out what .gitignore, .git/info/exclude and .casignore say (default: as the last time; "
        "nothing, the first time).",
    )
    return ignore(no_git(function))


def directory_option(function: Function) -> Function:
    """Adds ``--dir``."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(file_okay=False),
        default=".",
        metavar="DIR",
        help="A folder of the workspace (default: the current one).",
    )(function)


def chosen_selection(ignore: Ignore | None, no_git: bool, before: Selection | None = None) -> Selection | None:
    """What the options ask for; None where they ask for nothing."""
    if ignore is None and not no_git:
        return None
    from casstore.workspace import Selection

    if ignore is None:
        ignore = "nothing" if before is None else before.ignore
    return Selection(ignore=ignore, keep_git=not no_git)


def usual_selection(store: Store, directory: str) -> Selection:
    """What was captured of a directory the last time; everything where there was none."""
    from casstore.workspace import Workspace

    with Workspace(store, directory) as workspace:
        return workspace.selection


def switch_to(call: Call, workspace: Workspace, plan: SwitchPlan, *, dry_run: bool) -> None:
    """Prints a plan and, unless it is a dry run, carries it out and says how to go back."""
    head = _plan_json(workspace, plan, dry_run)
    if not call.out.as_json:
        _print_plan(call, plan)
    if dry_run:
        plan.drop()
        _print_json(call, head, plan)
        call.out.line("dry run: nothing was changed")
        return
    with progress(as_json=call.out.as_json) as callback:
        report = plan.execute(progress=callback)
    undo = call.shell_line("undo", "--dir", workspace.directory)
    if call.out.as_json:
        _print_json(call, {**head, **_report_json(report), "undo": undo}, plan)
        return
    _print_report(call, workspace.directory, plan, report)
    call.out.line(f"undo: {undo}")


def _plan_json(workspace: Workspace, plan: SwitchPlan, dry_run: bool) -> dict[str, Any]:
    return {
        **json_name("directory", workspace.directory),
        "workspace": workspace.id,
        "dry_run": dry_run,
        "source": None if plan.source is None else plan.source.id,
        "target": None if plan.target is None else plan.target.id,
        "target_ref": plan.target_ref,
        "files_written": plan.files_written,
        "files_deleted": plan.files_deleted,
        "bytes": plan.bytes,
        "lost": [listed_json(change) for change in plan.lost],
        "metadata": metadata_json(plan.metadata_changes),
    }


def _report_json(report: SwitchReport) -> dict[str, Any]:
    return {
        "saved": None if report.saved is None else report.saved.id,
        "undo_state": report.source,
        "written": report.written,
        "deleted": report.deleted,
        "warnings": left_out_json(report.warnings),
    }


def _print_json(call: Call, head: dict[str, Any], plan: SwitchPlan) -> None:
    if call.out.as_json:
        call.out.json_stream(head, "changes", map(listed_json, plan.changes))


def _print_plan(call: Call, plan: SwitchPlan) -> None:
    before = state_words(plan.source, None)
    call.out.line(f"{plan.directory}: from {before} to {state_words(plan.target, plan.target_ref)}")
    metadata = plan.metadata_changes
    print_changes(call, plan.changes, metadata, most=MAX_LISTED)
    if metadata:
        call.out.line(f"metadata of {format_count(len(metadata), 'path')} to set")
    if plan.changes:
        call.out.line(
            f"{format_count(plan.files_written, 'file')} to write ({format_size(plan.bytes)}), "
            f"{plan.files_deleted:,} to delete"
        )
    elif not metadata:
        call.out.line("nothing to write, nothing to delete")
    if plan.lost:
        call.out.line(f"changed since {before}, and kept in a snapshot first: {totals(plan.lost)}")


def _print_report(call: Call, directory: str, plan: SwitchPlan, report: SwitchReport) -> None:
    for item in report.warnings:
        call.out.note(f"casstore: {item.path}: {item.why}")
    call.out.line(
        f"{directory} holds {state_words(report.snapshot, plan.target_ref)}: {report.written:,} written "
        f"({format_size(report.bytes)}), {report.deleted:,} deleted"
    )
    if report.saved is not None:
        call.out.line(f"what it held before is saved as {short_id(report.saved.id)}")


def state_words(snapshot: Snapshot | None, name: str | None) -> str:
    """``main (3f9c2a1b2c3d)``, or the id alone."""
    if snapshot is None:
        return "the empty state"
    identity = short_id(snapshot.id)
    return identity if not name or snapshot.id.hex().startswith(name) else f"{name} ({identity})"


def workspace_around(store: Store, directory: str) -> Workspace:
    """The workspace around ``directory``; see ``find_workspace``.

    Raises:
        casstore.InvalidInputError: ``directory`` is no folder, or one of a workspace whose directory is gone.
        casstore.NotFoundError: There is none.
    """
    from casstore.errors import InvalidInputError
    from casstore.workspace import find_workspace

    gone = gone_workspace(store, directory)
    if gone is not None:
        raise InvalidInputError(_gone_words(gone), path=gone.path)
    return find_workspace(store, directory)


@contextmanager
def workspace_to_switch(call: Call, directory: str, *, dry_run: bool) -> Iterator[Workspace]:
    """The workspace around ``directory``, for a plan; a dry run works beside a process that writes the store."""
    if dry_run:
        with call.read() as store, workspace_around(store, directory) as workspace:
            if workspace.kind != "overlay":
                yield workspace
                return
    # The plan of an overlay mounts it where it is not mounted, and has to remember what it saw.
    with call.write() as store, workspace_around(store, directory) as workspace:
        yield workspace


def exact_workspace(store: Store, directory: str) -> Workspace:
    """The workspace whose top is ``directory``, not one around it.

    Raises:
        casstore.InvalidInputError: ``directory`` lies in a workspace, or is gone.
        casstore.NotFoundError: It belongs to none.
    """
    from casstore.errors import InvalidInputError

    workspace = workspace_around(store, directory)
    place, top = os.path.realpath(directory), workspace.directory
    if top != place:
        workspace.close()
        raise InvalidInputError(f"{place!r} is a folder of the workspace {top!r}; name that.", path=place)
    return workspace


def gone_workspace(store: Store, directory: str) -> WorkspaceInfo | None:
    """The registered workspace that ``directory`` would be or lie in, if its own directory is gone; else None."""
    from casstore.workspace import list_workspaces

    place = os.path.realpath(directory)
    if os.path.lexists(place):
        return None
    infos = {info.path: info for info in list_workspaces(store) if info.path}
    while place not in infos:
        above = os.path.dirname(place)
        if above == place:
            return None
        place = above
    return None if os.path.lexists(place) else infos[place]


def is_mounted(workspace: Workspace) -> bool:
    """Whether the directory of an overlay shows it."""
    from casstore.workspace.overlay import list_mounts

    return any(mounted.target == workspace.directory for mounted in list_mounts(workspace.store.path))


def _gone_words(gone: WorkspaceInfo) -> str:
    if gone.kind == "overlay":
        mount = shell_join(["casstore", "workspace", "mount", gone.path])
        return f"{gone.path!r} is gone, but what the overlay holds is kept; `{mount}` makes and mounts it again."
    if gone.kind == "overlay-private":
        make = shell_join(["mkdir", "-p", gone.path])
        return f"{gone.path!r} is gone, but what the overlay holds is kept; make the folder again with `{make}`."
    return (
        f"{gone.path!r} is a workspace whose directory is gone; if it was moved, name where it is now, else forget it "
        "with `casstore workspace prune`."
    )
