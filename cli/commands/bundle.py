# SPDX-License-Identifier: MIT
"""``casstore bundle``: states in a file of their own, for another store, a worker or a backup."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from ..output import report_items
from ..session import Call, common_options, complete_state, help_example, store_command
from ..units import SIZE, exact_size, format_count, format_duration, format_size
from ..views import MAX_LISTED, short_id

if TYPE_CHECKING:
    from casstore import RefMove, Store
    from casstore.address import Address


@click.group(
    "bundle",
    epilog=help_example(
        "casstore --store state.cas bundle export try-7.bundle try-7 --exclude main\n"
        "casstore --store other.cas bundle adopt try-7.bundle --ref try-7"
    ),
)
def command() -> None:
    """Export states to a bundle, adopt a bundle's, or show what one holds."""


@store_command(
    "bundle export",
    example="casstore --store state.cas bundle export all.bundle main try-7\n"
    "casstore --store state.cas bundle export - try-7 --exclude main | casstore --store other.cas bundle adopt -",
)
@click.argument("file", type=click.Path(allow_dash=True))
@click.argument("states", metavar="STATE...", nargs=-1, required=True, shell_complete=complete_state)
@click.option(
    "--exclude",
    multiple=True,
    metavar="STATE",
    shell_complete=complete_state,
    help="A state that the receiver has; what it leads to is left out. Can be repeated.",
)
def export(call: Call, file: str, states: tuple[str, ...], exclude: tuple[str, ...]) -> None:
    """Write STATEs with their history and all they lead to into the bundle FILE; - is stdout.

    A STATE that is a ref has its name kept in the bundle, for information.
    """
    to_stdout = file == "-"
    if to_stdout and (call.out.as_json or call.out.terminal):
        raise click.UsageError("a bundle is neither JSON nor text for a terminal; name a FILE.")
    with call.read() as store:
        report = store.export_bundle(sys.stdout.buffer if to_stdout else file, states, exclude=exclude)
        ids = dict(store.refs.ids())
    if to_stdout:
        sys.stdout.buffer.flush()
        return
    if call.out.as_json:
        call.out.json(
            file=file,
            tips=report.tips,
            refs={name: ids[name] for name in states if name in ids},
            excluded=report.excluded,
            shallow=report.shallow,
            records=report.records,
            kinds=report.kinds,
            bytes=report.bytes,
        )
        return
    tips = format_count(len(report.tips), "snapshot")
    call.out.line(f"{file} brings {tips}: {format_count(report.records, 'record')}, {format_size(report.bytes)}")
    if report.excluded:
        needed = ", ".join(map(short_id, report.excluded))
        call.out.line(f"a receiver must have {needed}")
    _say_shallow(call, report.shallow)


@store_command(
    "bundle adopt",
    example="casstore --store other.cas bundle adopt try-7.bundle --ref try-7\n"
    "casstore --store other.cas bundle adopt backup.bundle --refs",
    writes=True,
)
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--ref", metavar="NAME", help="Point the ref NAME at the bundle's one snapshot.")
@click.option("--refs", is_flag=True, help="Take over the refs that the bundle names.")
@click.option(
    "--limit", type=SIZE, metavar="SIZE", help="Refuse what unpacks to more than this beyond 64 times its length."
)
def adopt(call: Call, file: str, ref: str | None, refs: bool, limit: int | None) -> None:
    """Verify the bundle FILE and take what it brings into the store; - is stdin.

    Refs stay as they are unless --ref or --refs is given; then a ref is made, or moves forward. Where a ref names what
    the bundle's snapshot did not come from, no ref is moved, and the exit code is 6.
    """
    from casstore.collection.bundle import adopt_bundle, read_bundle
    from casstore.snapshots import check_ref_name

    if ref is not None and refs:
        raise click.UsageError("--ref and --refs exclude each other.")
    if ref is not None:
        check_ref_name(ref)
        if file != "-":  # refused before anything is taken
            _only_tip(read_bundle(file).tips)
    bounds = {} if limit is None else {"limit_bytes": limit}
    with call.write() as store:
        report = adopt_bundle(store.storage, store.nodes, sys.stdin.buffer if file == "-" else file, **bounds)
        wanted = {ref: _only_tip(report.tips)} if ref is not None else dict(report.refs) if refs else {}
        moves = _move_refs(store, wanted)
        grace_seconds = store.settings.grace_seconds
    lines = [call.shell_line("refs", "undo", move.name) for move in moves]
    if call.out.as_json:
        call.out.json(
            file=file,
            tips=report.tips,
            refs=report.refs,
            new_records=report.new_records,
            new_bytes=report.new_bytes,
            known_records=report.known_records,
            shallow=report.shallow,
            moves=[
                {"name": move.name, "old": move.old, "new": move.new, "undo": line}
                for move, line in zip(moves, lines, strict=True)
            ],
        )
        return
    call.out.line(
        f"adopted {format_count(len(report.tips), 'snapshot')}: {format_count(report.new_records, 'new record')} "
        f"({format_size(report.new_bytes)}), {report.known_records:,} known"
    )
    _say_shallow(call, report.shallow)
    for move, line in zip(moves, lines, strict=True):
        was = "" if move.old is None else f" (was {short_id(move.old)})"
        call.out.line(f"{move.name} is {short_id(move.new)}{was}")
        call.out.line(f"undo: {line}")
    moved = {move.name for move in moves}
    for name, tip in wanted.items():
        if name not in moved:
            call.out.line(f"{name} stays: it has all of {short_id(tip)}")
    if not wanted:
        call.out.line(f"no ref was moved; name what is to stay longer than {format_duration(grace_seconds)}:")
        for tip in report.tips[:MAX_LISTED]:
            call.out.line(call.shell_line("refs", "set", "NAME", tip.hex()))


def _say_shallow(call: Call, shallow: Sequence[Address]) -> None:
    """Where the history that came along ends, because it was given up."""
    for snapshot in shallow[:MAX_LISTED]:
        call.out.line(f"history before {short_id(snapshot)} was given up and is not in the bundle")


def _only_tip(tips: tuple[Address, ...]) -> Address:
    from casstore.errors import InvalidInputError

    if len(tips) != 1:
        raise InvalidInputError(
            f"the bundle brings {len(tips)} snapshots, so --ref cannot name it; pass --refs, or adopt it and name each."
        )
    return tips[0]


def _move_refs(store: Store, wanted: Mapping[str, Address]) -> list[RefMove]:
    """Makes refs and moves them forward: all that are asked for, or none. One that is ahead stays.

    Raises:
        casstore.ConflictError: Of what a ref names and its new snapshot, neither came from the other.
    """
    from casstore.errors import ConflictError
    from casstore.snapshots import best_common_ancestors, check_ref_name

    planned: list[tuple[str, Address | None, Address]] = []
    for name, new in wanted.items():
        old = store.refs.id_of(check_ref_name(name))
        if old is not None:
            common = best_common_ancestors(store.snapshots, [old], [new])
            if common == [new]:
                continue
            if common != [old]:
                raise ConflictError(
                    f"the snapshots are adopted, but no ref was moved: {name} names {short_id(old)}, from which "
                    f"{short_id(new)} did not come; run `casstore merge {name} {short_id(new)}`, or adopt with another "
                    "--ref.",
                    path=name,
                    address=old,
                )
        planned.append((name, old, new))
    return [store.refs.compare_and_set(name, old, new, reason="bundle adopt") for name, old, new in planned]


@store_command("bundle show", example="casstore bundle show try-7.bundle")
@click.argument("file", type=click.Path(allow_dash=True))
def show(call: Call, file: str) -> None:
    """Show what the bundle FILE brings and what a receiver must have; needs no store. - is stdin.

    Its frame and digest are verified; only `bundle adopt` verifies all it holds.
    """
    from casstore.collection.bundle import read_bundle

    info = read_bundle(sys.stdin.buffer if file == "-" else file)
    if call.out.as_json:
        call.out.json(file=file, **dict(report_items(info)))
        return
    names: dict[Address, list[str]] = {}
    for name, tip in info.refs.items():
        names.setdefault(tip, []).append(name)
    facts = [("brings", " ".join([tip.hex(), *names.get(tip, [])])) for tip in info.tips]
    facts += [("needs", snapshot.hex()) for snapshot in info.excluded]
    facts += [("history ends at", snapshot.hex()) for snapshot in info.shallow]
    facts += [
        ("records", f"{info.records:,}"),
        *((f"records {kind}", f"{count:,}") for kind, count in info.kinds.items()),
        ("bytes", exact_size(info.bytes)),
        ("unpacked", exact_size(info.raw_bytes)),
    ]
    call.out.facts(facts)


command.params += common_options()
for _subcommand in (export, adopt, show):
    command.add_command(_subcommand)
