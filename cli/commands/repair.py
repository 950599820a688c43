# SPDX-License-Identifier: MIT
"""``casstore repair``: the one command for a damaged store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from ..damage import shortened
from ..progress import progress
from ..session import Call, store_command
from ..units import exact_size, format_count, format_size
from ..views import MAX_LISTED

if TYPE_CHECKING:
    from casstore import RepairReport

_MAX_COPIES = 2


@store_command(
    "repair",
    example="casstore --store state.cas repair --dry-run\n"
    "casstore --store state.cas repair\n"
    "casstore --store state.cas repair --from backup.cas\n"
    "casstore --store state.cas repair --drop-quarantine",
    writes=True,
)
@click.option("--dry-run", is_flag=True, help="Say what is damaged and what would be done; change nothing.")
@click.option("--from", "source", metavar="STORE|BUNDLE", help="Take what is lost from another store or a bundle.")
@click.option("--new-superblock", is_flag=True, help="Make a new superblock where it is lost.")
@click.option("--drop-quarantine", is_flag=True, help="Delete what repairs moved aside; do nothing else.")
def command(call: Call, dry_run: bool, source: str | None, new_superblock: bool, drop_quarantine: bool) -> None:
    """Bring back what is intact, move aside what is damaged, and name every ref and path that is still hurt.

    Works on a store that does not open, too. Nothing is deleted: damaged bytes go into the store's folder `quarantine`.
    It may be interrupted at any point and run again. The exit code is 4 while anything that a ref needs is lost; the
    output says what would heal it. Where moves of refs may be lost, `gc` refuses until it is told --accept-refs.

    A lost superblock is made anew only with --new-superblock: use that if no later casstore ever wrote the store.
    """
    import casstore
    from casstore.errors import CorruptionError

    if drop_quarantine:
        if dry_run or source is not None or new_superblock:
            raise click.UsageError("--drop-quarantine comes alone.")
        freed = casstore.drop_quarantine(call.store_path, timeout=call.timeout_seconds)
        if call.out.as_json:
            call.out.json(dropped_bytes=freed)
        else:
            call.out.line(f"deleted {exact_size(freed)} from the quarantine")
        return
    with progress(as_json=call.out.as_json) as callback:
        report = casstore.repair(
            call.store_path,
            dry_run=dry_run,
            source=source,
            new_superblock=new_superblock,
            timeout=call.timeout_seconds,
            progress=callback,
        )
    if not call.out.as_json:
        _print(call, report)
    elif not report.hurt:
        call.out.json(report=report)
    if report.hurt:
        raise CorruptionError(
            f"refs need {format_count(len(report.hurt), 'thing')} that cannot be had; heal as the report says, then "
            "run `casstore verify`.",
            address=report.hurt[0].address,
            report=report,
        )


def _print(call: Call, report: RepairReport) -> None:
    out = call.out
    if report.hurt:
        out.line(_summary(report))
    facts = [
        ("superblock", report.superblock),
        ("config", report.config),
        ("index", report.index if report.index == "sound" else f"{report.index} (it was {report.index_was})"),
        ("intact", f"{format_count(report.records, 'record')}, {format_size(report.record_bytes)}"),
        ("damaged", f"{format_count(len(report.damaged), 'place')} of segments, {exact_size(report.damaged_bytes)}"),
        ("refs", f"{report.refs:,}{', some may be lost: gc needs --accept-refs' if report.refs_suspect else ''}"),
    ]
    if report.missing:
        facts.append(("missing", format_count(len(report.missing), "segment end")))
    if report.restored_events:
        facts.append(("moves of refs written again", f"{report.restored_events:,}"))
    if report.from_source:
        facts.append(("taken from elsewhere", format_count(report.from_source, "record")))
    if report.workspaces:
        facts.append(("damaged registrations", f"{' '.join(report.workspaces)} (see `casstore workspace prune`)"))
    if report.quarantined:
        moved = format_count(len(report.quarantined), "item")
        facts.append(("quarantine", f"{moved}, {exact_size(report.quarantine_bytes)}"))
    out.facts(facts)
    for one in report.hurt[:MAX_LISTED]:
        out.line(f"hurt: {one.message}")
        out.line(f"  at {shortened([str(place) for place in one.places])}")
        if one.copies:
            out.line(f"  the same content is in {shortened(one.copies, _MAX_COPIES)}")
        if one.others:
            out.line(f"  another version is at {shortened(one.others)}")
    if len(report.hurt) > MAX_LISTED:
        out.line(f"and {len(report.hurt) - MAX_LISTED:,} more; --json has all")
    # Once, however many things need them; what heals most comes first.
    hints = Counter(words for one in report.hurt for words in dict.fromkeys(one.heal)).most_common()
    for words, times in hints[:MAX_LISTED]:
        out.line(f"heals {times:,} of {len(report.hurt):,}: {words}")
    if len(hints) > MAX_LISTED:
        out.line(f"and {format_count(len(hints) - MAX_LISTED, 'more way')}; --json has all")
    if report.dry_run:
        out.line("dry run: nothing was changed")
    elif not report.hurt:
        out.line("everything that refs need is there")


def _summary(report: RepairReport) -> str:
    """How much is hurt, and what surely heals most of it."""
    ways = Counter(f"importing {directory}" for one in report.hurt for directory in dict.fromkeys(one.directories))
    ways["--from"] = sum(one.in_source for one in report.hurt)
    text = f"{format_count(len(report.hurt), 'thing')} {'is' if len(report.hurt) == 1 else 'are'} hurt"
    way, times = ways.most_common(1)[0]
    return f"{text}; {way} heals {'it' if len(report.hurt) == 1 else f'{times:,} of them'}" if times else text
