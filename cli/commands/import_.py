# SPDX-License-Identifier: MIT
"""``casstore import``: a directory becomes a snapshot with a name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import click

from ..names import json_name
from ..progress import progress
from ..session import Call, complete_state, store_command
from ..units import format_size
from ..views import MAX_LISTED, kept_counts, left_out_json, short_id
from ..workspaces import Ignore, chosen_selection, selection_options, usual_selection

if TYPE_CHECKING:
    from casstore import Store
    from casstore.workspace import ImportReport, Selection


@store_command(
    "import",
    example='casstore --store state.cas import src --ref main -m "before the refactoring"\n'
    "casstore --store state.cas import src --ref main --ignore git --dry-run",
    writes=True,
)
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--ref", required=True, metavar="NAME", shell_complete=complete_state, help="The ref to point at it.")
@click.option("-m", "--message", default="", help="Why this snapshot exists.")
@click.option(
    "--metadata",
    type=click.Choice(["basic", "full"]),
    default="basic",
    show_default=True,
    help="full also keeps mode, mtime, owner and extended attributes.",
)
@selection_options
@click.option("--skip-unreadable", is_flag=True, help="Leave out what cannot be read instead of failing.")
@click.option("--paranoid", is_flag=True, help="Read every file, whatever its times and its inode say.")
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and import nothing.")
def command(
    call: Call,
    directory: str,
    ref: str,
    message: str,
    metadata: Literal["basic", "full"],
    ignore: Ignore | None,
    no_git: bool,
    skip_unreadable: bool,
    paranoid: bool,
    dry_run: bool,
) -> None:
    """Snapshot DIR and point a ref at it; makes a missing store.

    Nothing is ignored unless asked. A directory that has not changed since the ref's snapshot moves nothing; unchanged
    files are not read again. What is left out (FIFOs, sockets, devices; unreadable files with --skip-unreadable) is
    named on stderr. DIR is a workspace from then on: `status`, `switch` and `undo` work there.
    """
    from casstore.errors import InvalidInputError
    from casstore.workspace import import_directory

    if not os.path.isdir(directory):  # said before a store is made for it
        raise InvalidInputError(f"{directory!r} is not a directory; check the spelling.", path=directory)
    selection = chosen_selection(ignore, no_git)
    if dry_run:
        _survey(call, directory, ref, selection)
        return
    with call.write(create=True) as store:
        selection = selection or _as_usual(call, store, directory, ref)
        with progress(as_json=call.out.as_json) as callback:
            report = import_directory(
                store,
                directory,
                ref=ref,
                message=message,
                metadata=metadata,
                selection=selection,
                skip_unreadable=skip_unreadable,
                paranoid=paranoid,
                progress=callback,
            )
        _print(call, ref, report)


def _as_usual(call: Call, store: Store, directory: str, ref: str) -> Selection:
    """What was captured of the directory the last time; says where nothing is known of it, but the ref left things out.

    So it is after the index was made anew, and in a copy of the directory.
    """
    from casstore.errors import CorruptionError
    from casstore.workspace.selection import recorded_selection

    selection = usual_selection(store, directory)
    if selection.everything and ref in store.refs:
        try:
            before = recorded_selection(store.snapshot(ref).meta)
        except CorruptionError:  # the import itself says so, where it needs that snapshot
            return selection
        options = [*(["--ignore git"] if before.ignore == "git" else []), *([] if before.keep_git else ["--no-git"])]
        if options:
            call.out.note(
                f"casstore: {ref} was last imported with {' '.join(options)}, but not from this directory as the store "
                f"knows it: nothing is left out now; give {' '.join(options)} to leave out the same."
            )
    return selection


def _survey(call: Call, directory: str, ref: str, selection: Selection | None) -> None:
    """Says what an import would take. Makes no store; reads one that is there to know what was left out before."""
    from casstore.snapshots import check_ref_name
    from casstore.storage.opening import is_store
    from casstore.workspace import survey

    check_ref_name(ref)
    if selection is None and is_store(call.store_path):
        with call.read() as store:
            selection = _as_usual(call, store, directory, ref)
    with progress(as_json=call.out.as_json) as callback:
        found = survey(directory, exclude=call.store_path, selection=selection, progress=callback)
    if call.out.as_json:
        call.out.json(
            ref=ref,
            **json_name("directory", directory),
            dry_run=True,
            files=found.files,
            directories=found.directories,
            symlinks=found.symlinks,
            bytes=found.bytes,
            free_bytes=found.free_bytes,
            largest=[{**json_name("path", item.path), "bytes": item.bytes} for item in found.largest],
            secrets=left_out_json(found.secrets),
            left_out=left_out_json(found.left_out),
            unreadable=[json_name("path", path) for path in found.unreadable],
        )
        return
    call.out.line(f"{directory}: {kept_counts(found)}; {format_size(found.bytes)}")
    room = f"the store's disk has {format_size(found.free_bytes)} free"
    if found.bytes > found.free_bytes:
        room += ", which may not be enough: only what is new to the store is stored, compressed"
    call.out.line(room)
    call.out.table(
        ("", "size or reason", "path"),
        [
            *_some("largest", [(format_size(item.bytes), item.path) for item in found.largest if item.bytes]),
            *_some("secret?", [(item.why, item.path) for item in found.secrets]),
            *_some("left out", [(item.why, item.path) for item in found.left_out]),
            *_some("unreadable", [("needs --skip-unreadable", path) for path in found.unreadable]),
        ],
    )
    call.out.line("dry run: nothing was imported")


def _some(what: str, rows: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """The first rows of one sort, and how many more there are."""
    for row in rows[:MAX_LISTED]:
        yield (what, *row)
    if len(rows) > MAX_LISTED:
        yield (what, f"... and {len(rows) - MAX_LISTED:,} more", "(all of them with --json)")


def _print(call: Call, ref: str, report: ImportReport) -> None:
    snapshot = report.snapshot
    if call.out.as_json:
        call.out.json(
            ref=ref,
            id=snapshot.id,
            state_id=snapshot.state_id,
            moved=report.moved,
            files=report.files,
            directories=report.directories,
            symlinks=report.symlinks,
            bytes=report.bytes,
            new_bytes=report.new_bytes,
            left_out=left_out_json(report.left_out),
            warnings=left_out_json(report.warnings),
        )
        return
    for item in report.left_out[:MAX_LISTED]:
        call.out.note(f"casstore: left out {item.path}: {item.why}")
    if len(report.left_out) > MAX_LISTED:
        call.out.note(f"casstore: left out {len(report.left_out) - MAX_LISTED:,} more (all of them with --json)")
    for item in report.warnings:
        call.out.note(f"casstore: {item.path}: {item.why}")
    if report.moved:
        call.out.line(f"{ref} is {short_id(snapshot.id)}")
    else:
        call.out.line(f"{ref} is unchanged at {short_id(snapshot.id)}")
    call.out.line(f"{kept_counts(report)}; {format_size(report.bytes)}, {format_size(report.new_bytes)} of it new")
