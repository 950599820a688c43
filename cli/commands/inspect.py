# SPDX-License-Identifier: MIT
"""``casstore inspect``: looking at a store offline, or beside the process that writes it. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..session import Call, common_options, help_example, store_command
from ..units import format_duration, format_size
from .inspect_graph import inspect_graph
from .inspect_key import inspect_key
from .inspect_snapshot import inspect_snapshot
from .stats import print_stats


@click.group(
    "inspect",
    invoke_without_command=True,
    epilog=help_example(
        "casstore --store state.cas inspect\ncasstore --store state.cas inspect key main:files/README.md"
    ),
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Look inside a store, the graph of snapshots, one snapshot or one key.

    Works offline and beside a process that writes the store. Without a subcommand: the store as a whole.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(inspect_store)


@store_command("inspect store", example="casstore --store state.cas inspect store")
def inspect_store(call: Call) -> None:
    """Show the store as a whole: identity, settings, refs, pins, sizes."""
    with call.read() as store:
        settings = store.settings
        pins = store.pins()
        stats = store.stats()
        refs = dict(store.refs.ids())
        if call.out.as_json:
            call.out.json(
                path=store.path,
                store_id=store.store_id,
                format=store.format_fields,
                settings=settings,
                refs=refs,
                pins=pins,
                stats=stats,
            )
            return
        call.out.facts(
            [
                ("path", store.path),
                ("store id", store.store_id),
                ("backend", str(store.format_fields["backend"])),
                ("chunks", _chunk_sizes(store.format_fields)),
                ("max bytes", "none" if settings.max_bytes is None else format_size(settings.max_bytes)),
                ("grace", format_duration(settings.grace_seconds)),
                ("undo keep", format_duration(settings.undo_keep_seconds)),
                *(("keep rule", str(rule)) for rule in settings.retention),
                *((f"ref {name}", identity.hex()) for name, identity in refs.items()),
                *(("pin", f"{pin.what} {pin.owner if pin.address is None else pin.address.hex()}") for pin in pins),
            ]
        )
        print_stats(call, stats)


def _chunk_sizes(fields: Mapping[str, str | int]) -> str:
    sizes = (format_size(int(fields[f"chunk_{name}_bytes"])) for name in ("min", "avg", "max"))
    return "{} at least, {} on average, {} at most".format(*sizes)


command.params += common_options()
for _subcommand in (inspect_store, inspect_graph, inspect_snapshot, inspect_key):
    command.add_command(_subcommand)
