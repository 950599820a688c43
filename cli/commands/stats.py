# SPDX-License-Identifier: MIT
"""``casstore stats``: sizes, counts and ratios of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..session import Call, store_command
from ..units import exact_size, format_count, format_size

if TYPE_CHECKING:
    from casstore import Stats


@store_command("stats", example="casstore --store state.cas stats\ncasstore --store state.cas stats --json")
def command(call: Call) -> None:
    """Sizes, counts and ratios: what deduplication saves and what compression saves, apart.

    JSON has exact numbers of bytes.
    """
    with call.read() as store:
        stats = store.stats()
    if call.out.as_json:
        call.out.json(stats=stats)
        return
    print_stats(call, stats)


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
            ("segments", f"{stats.segments:,}"),
        ]
    )
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
