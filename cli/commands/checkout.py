# SPDX-License-Identifier: MIT
"""``casstore checkout``: a state's files, or a part of them, written to a directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from ..names import json_name
from ..places import parse_place
from ..progress import progress
from ..session import Call, complete_state, store_command
from ..units import format_size
from ..views import kept_counts, left_out_json, short_id

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.workspace import CheckoutReport


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    if ctx.params.get("words"):
        return [CompletionItem(incomplete, type="dir")]
    return [CompletionItem(name) for name in complete_state(ctx, param, incomplete)]


@store_command(
    "checkout",
    example="casstore --store state.cas checkout main out\ncasstore --store state.cas checkout main src/lib out-lib",
)
@click.argument("words", metavar="STATE [PATH] DIR", nargs=-1, required=True, shell_complete=_complete)
@click.option("--force", is_flag=True, help="Write into a directory that is not empty, replacing what is in the way.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
def command(call: Call, words: tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Write a state's files to DIR.

    PATH (or STATE:files/PATH) takes only the part below it. A DIR that is not empty is refused without --force. A DIR
    that holds a whole state is a workspace from then on: `status`, `switch` and `undo` work there.
    """
    from casstore.errors import InvalidInputError
    from casstore.workspace import checkout

    if len(words) not in (2, 3):
        raise click.UsageError(f"checkout takes STATE [PATH] DIR, not {len(words)} arguments.")
    place = parse_place(words[0])
    if place.root not in ("", "files") or (place.path and len(words) == 3):
        raise InvalidInputError(f"{words[0]!r} has no files to check out; write NAME, or NAME PATH.")
    path = words[1] if len(words) == 3 else place.path or None
    directory = words[-1]
    with call.read() as store:
        snapshot = store.resolve(place.state)
        if dry_run:
            report = _survey(store, snapshot, directory, path, force)
        else:
            with progress(as_json=call.out.as_json) as callback:
                report = checkout(store, place.state, directory, path=path, force=force, progress=callback)
    if call.out.as_json:
        call.out.json(
            id=snapshot.id,
            state_id=snapshot.state_id,
            **json_name("directory", directory),
            dry_run=dry_run,
            files=report.files,
            directories=report.directories,
            symlinks=report.symlinks,
            bytes=report.bytes,
            workspace=report.workspace,
            warnings=left_out_json(report.warnings),
        )
        return
    for item in report.warnings:
        call.out.note(f"casstore: {item.path}: {item.why}")
    verb = "would hold" if dry_run else "holds"
    call.out.line(
        f"{directory} {verb} {place.state} ({short_id(snapshot.id)}): {kept_counts(report)}; "
        f"{format_size(report.bytes)}"
    )
    if dry_run:
        call.out.line("dry run: nothing was written")
    elif report.workspace is not None:
        status = call.shell_line("status", os.path.abspath(directory))
        call.out.line(f"it is a workspace now; what changes there: {status}")


def _survey(store: Store, snapshot: Snapshot, directory: str, path: str | None, force: bool) -> CheckoutReport:
    """What a checkout would report, had it found nothing in its way; refuses what it would refuse at once."""
    from casstore.errors import InvalidInputError
    from casstore.format.entry import DIRECTORY, SYMLINK
    from casstore.workspace import CheckoutReport
    from casstore.workspace.part import Part

    if os.path.lexists(directory):
        if not os.path.isdir(directory):
            raise InvalidInputError(f"{directory!r} is not a directory; choose a folder.", path=directory)
        if os.listdir(directory) and not force:
            raise InvalidInputError(
                f"{directory!r} is not empty; choose an empty or new folder, or replace files in it with --force.",
                path=directory,
            )
    files = symlinks = size = 0
    folders: set[bytes] = set()
    for key, entry in Part(store.nodes, snapshot.roots, os.fsencode(path or b"").strip(b"/")).items():
        folder = key if entry.kind == DIRECTORY else key.rpartition(b"/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition(b"/")[0]
        if entry.kind == SYMLINK:
            symlinks += 1
        elif entry.kind != DIRECTORY:
            files += 1
            size += entry.size
    return CheckoutReport(files=files, directories=len(folders), symlinks=symlinks, bytes=size)
