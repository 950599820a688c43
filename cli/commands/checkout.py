# SPDX-License-Identifier: MIT
"""``casstore checkout``: a state's files, or a part of them, written to a directory."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from ..places import parse_place
from ..progress import progress
from ..session import Call, complete_state, store_command
from ..units import format_size
from ..views import kept_counts, left_out_json, short_id


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
def command(call: Call, words: tuple[str, ...], force: bool) -> None:
    """Write a state's files to DIR.

    PATH (or STATE:files/PATH) takes only the part below it. A DIR that is not empty is refused without --force.
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
        with progress(as_json=call.out.as_json) as callback:
            report = checkout(store, snapshot, directory, path=path, force=force, progress=callback)
    if call.out.as_json:
        call.out.json(
            id=snapshot.id,
            state_id=snapshot.state_id,
            directory=directory,
            files=report.files,
            directories=report.directories,
            symlinks=report.symlinks,
            bytes=report.bytes,
            warnings=left_out_json(report.warnings),
        )
        return
    for item in report.warnings:
        call.out.note(f"casstore: {item.path}: {item.why}")
    call.out.line(
        f"{directory} holds {place.state} ({short_id(snapshot.id)}): {kept_counts(report)}; {format_size(report.bytes)}"
    )
