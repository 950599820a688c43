# SPDX-License-Identifier: MIT
"""``casstore fork``: a new ref at a state, a new directory that shows it, or both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import click

from ..names import json_name
from ..session import Call, complete_state, store_command
from ..views import short_id
from ..workspaces import MOUNTED, state_words

if TYPE_CHECKING:
    from casstore import Store

Method = Literal["overlay", "overlay-private", "reflink", "copy"]


@store_command(
    "fork",
    example="casstore --store state.cas fork main try-7\ncasstore --store state.cas fork main try-8 --to try-8",
    writes=True,
)
@click.argument("state", metavar="FROM", shell_complete=complete_state)
@click.argument("name", metavar="[NEWREF]", required=False)
@click.option(
    "--to", "directory", type=click.Path(file_okay=False), metavar="DIR", help="Show the state as this new directory."
)
@click.option(
    "--method",
    type=click.Choice(["overlay", "overlay-private", "reflink", "copy"]),
    help="How DIR comes to be (default: overlay, else reflink, else copy).",
)
@click.option("--dry-run", is_flag=True, help="Say what would be made, and make nothing.")
def command(
    call: Call, state: str, name: str | None, directory: str | None, method: Method | None, dry_run: bool
) -> None:
    """Make the new ref NEWREF at the state FROM, or show FROM as the new directory DIR, or both.

    Fails where NEWREF exists or DIR holds something. An overlay (Linux, as root) costs the same at every size: DIR is a
    mount over a tree that all forks of the state share. overlay-private needs no root, but only `workspace run` sees
    what it holds. `workspace remove DIR` takes the directory away again.
    """
    if name is None and directory is None:
        raise click.UsageError("say what to make: NEWREF, --to DIR, or both.")
    if method is not None and directory is None:
        raise click.UsageError("--method says how to make a directory; name one with --to DIR.")
    with call.read() if dry_run else call.write() as store:
        snapshot = store.resolve(state)
        if name is not None:
            _check_new(store, name)
        shown: dict[str, Any] = {} if directory is None else _show(store, state, name, directory, method, dry_run)
        if name is not None and not dry_run:
            store.refs.compare_and_set(name, None, snapshot, reason=f"fork of {state}")
    if directory is not None and not dry_run and shown["method"] in MOUNTED:
        shown["undo"] = call.shell_line("workspace", "remove", shown["directory"])
    if call.out.as_json:
        ids = {"id": snapshot.id, "state_id": snapshot.state_id}
        place = {} if directory is None else {**shown, **json_name("directory", shown["directory"])}
        call.out.json(name=name, source=state, **ids, dry_run=dry_run, **place)
        return
    if name is not None:
        call.out.line(f"{name} {'would be' if dry_run else 'is'} {short_id(snapshot.id)}, a fork of {state}")
    if directory is not None:
        verb = "would hold" if dry_run else "holds"
        call.out.line(f"{shown['directory']} {verb} {state_words(snapshot, state)}: {shown['why']}")
    if dry_run:
        call.out.line("dry run: nothing was made")
    elif "undo" in shown:
        call.out.line(f"undo: {shown['undo']}")


def _check_new(store: Store, name: str) -> None:
    """Passes a name that a new ref can have."""
    from casstore.errors import ConflictError
    from casstore.snapshots import check_ref_name

    if check_ref_name(name) in store.refs:
        raise ConflictError(f"a ref named {name!r} exists; choose another name.", path=name)


def _show(
    store: Store, state: str, ref: str | None, directory: str, method: Method | None, dry_run: bool
) -> dict[str, Any]:
    """Makes the directory, unless it is a dry run, and says how."""
    from casstore.errors import InvalidInputError
    from casstore.workspace import fork_to
    from casstore.workspace.overlay import choose

    if dry_run:
        if os.path.lexists(directory) and not (os.path.isdir(directory) and not os.listdir(directory)):
            raise InvalidInputError(f"{directory!r} is not empty; choose an empty or new folder.", path=directory)
        choice = choose(store.path, directory, method)
        place = os.path.realpath(directory)
        return {"directory": place, "workspace": None, "method": choice.method, "why": choice.why}
    with fork_to(store, state, directory, method=method, ref=ref) as made:
        return {"directory": made.directory, "workspace": made.id, "method": made.kind, "why": made.why}
