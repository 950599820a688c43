# SPDX-License-Identifier: MIT
"""``casstore import``: a directory becomes a snapshot with a name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import click

from ..progress import progress
from ..session import Call, complete_state, store_command
from ..units import format_size
from ..views import kept_counts, left_out_json, short_id

if TYPE_CHECKING:
    from casstore.workspace import ImportReport


@store_command(
    "import",
    example='casstore --store state.cas import src --ref main -m "before the refactoring"',
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
@click.option("--skip-unreadable", is_flag=True, help="Leave out what cannot be read instead of failing.")
def command(
    call: Call, directory: str, ref: str, message: str, metadata: Literal["basic", "full"], skip_unreadable: bool
) -> None:
    """Snapshot DIR and point a ref at it; makes a missing store.

    Nothing is ignored. A directory that has not changed since the ref's snapshot moves nothing. What is left out
    (FIFOs, sockets, devices; unreadable files with --skip-unreadable) is named on stderr.
    """
    from casstore.errors import InvalidInputError
    from casstore.workspace import import_directory

    if not os.path.isdir(directory):  # said before a store is made for it
        raise InvalidInputError(f"{directory!r} is not a directory; check the spelling.", path=directory)
    with call.write(create=True) as store:
        with progress(as_json=call.out.as_json) as callback:
            report = import_directory(
                store,
                directory,
                ref=ref,
                message=message,
                metadata=metadata,
                skip_unreadable=skip_unreadable,
                progress=callback,
            )
        _print(call, ref, report)


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
    for item in report.left_out:
        call.out.note(f"casstore: left out {item.path}: {item.why}")
    for item in report.warnings:
        call.out.note(f"casstore: {item.path}: {item.why}")
    if report.moved:
        call.out.line(f"{ref} is {short_id(snapshot.id)}")
    else:
        call.out.line(f"{ref} is unchanged at {short_id(snapshot.id)}")
    call.out.line(f"{kept_counts(report)}; {format_size(report.bytes)}, {format_size(report.new_bytes)} of it new")
