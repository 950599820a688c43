# SPDX-License-Identifier: MIT
"""``casstore stats``: sizes, counts and ratios of a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..progress import progress
from ..session import Call, complete_state, store_command
from ..units import exact_size, format_count, format_size

if TYPE_CHECKING:
    from casstore import Stats, Store
    from casstore.tree import Root


@store_command(
    "stats",
    example="casstore --store state.cas stats\ncasstore --store state.cas stats --types main",
)
@click.argument("state", required=False, shell_complete=complete_state)
@click.option("--types", "by_type", is_flag=True, help="Objects by type, of STATE or of all refs.")
def command(call: Call, state: str | None, by_type: bool) -> None:
    """Sizes, counts and ratios: what deduplication saves and what compression saves, apart.

    With --types: for each type and version of the objects in STATE, or in the states of all refs, how many there are,
    their bytes, how many contents are distinct, and the share of all bytes. JSON has exact numbers of bytes.
    """
    if state is not None and not by_type:
        raise click.UsageError("a STATE goes with --types; the figures of the store are of all states.")
    if by_type:
        _types(call, state)
        return
    with call.read() as store:
        stats = store.stats()
    if call.out.as_json:
        call.out.json(stats=stats)
        return
    print_stats(call, stats)


def _types(call: Call, state: str | None) -> None:
    from casstore.collection.type_stats import gather_type_stats

    with call.read() as store, progress(as_json=call.out.as_json) as callback:
        found = gather_type_stats(store.nodes, _object_roots(store, state), progress=callback)
    if call.out.as_json:
        call.out.json(state=state, types=found)
        return
    rows = (
        (
            kind.type_id,
            f"version {kind.version}",
            format_count(kind.count, "object"),
            format_size(kind.bytes),
            f"{'' if kind.exact else 'about '}{kind.distinct:,} distinct",
            f"{kind.share:.1%}",
        )
        for kind in found.types
    )
    call.out.table(("type", "", ">objects", ">bytes", ">contents", ">share"), rows)
    counted = state if state is not None else format_count(found.states, "ref")
    call.out.line(f"{counted}: {format_count(found.count, 'object')}, {format_size(found.bytes)}")


def _object_roots(store: Store, state: str | None) -> Iterator[Root]:
    """The tree of objects of each state that is counted."""
    if state is not None:
        yield store.resolve(state).roots.get("objects")
        return
    for name, _ in store.refs.ids():
        yield store.refs[name].roots.get("objects")


def _quota(stats: Stats) -> str:
    if stats.max_bytes is None:
        return "none; set one with `casstore config max_bytes SIZE`"
    share = f" ({stats.record_bytes / stats.max_bytes:.1%} used)" if stats.max_bytes else ""
    return f"{exact_size(stats.max_bytes)} for record bytes{share}"


def print_stats(call: Call, stats: Stats) -> None:
    """Sizes from what people see down to what the disk holds, then each kind of object."""
    call.out.facts(
        [
            ("refs", f"{stats.refs:,}"),
            ("snapshots", f"{stats.snapshots:,}"),
            ("logical bytes", f"{exact_size(stats.logical_bytes)}, all snapshots as copies"),
            ("raw bytes", f"{exact_size(stats.raw_bytes)}, each distinct chunk once"),
            ("stored bytes", f"{exact_size(stats.stored_bytes)}, the same as stored"),
            ("dedup ratio", f"{stats.dedup_ratio:.2f} (logical to raw)"),
            ("compression ratio", f"{stats.compression_ratio:.2f} (raw to stored)"),
            ("record bytes", f"{exact_size(stats.record_bytes)}, everything with headers, garbage too"),
            ("quota", _quota(stats)),
            ("segments", f"{stats.segments:,}"),
            ("index bytes", f"{exact_size(stats.index_bytes)}, not counted by the quota"),
            ("reserve bytes", f"{exact_size(stats.reserve_bytes)}, held back for a full disk, not counted either"),
        ]
    )
    if stats.open_to_others:
        call.out.note(f"other users may look into {', '.join(stats.open_to_others)}; `chmod go=` closes it.")
    call.out.table(
        ("kind", ">objects", ">raw", ">stored"),
        (
            (
                kind,
                format_count(count.objects, "object"),
                f"{format_size(count.raw_bytes)} raw",
                f"{format_size(count.stored_bytes)} stored",
            )
            for kind, count in sorted(stats.kinds.items())
        ),
    )
