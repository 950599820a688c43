# SPDX-License-Identifier: MIT
"""``casstore merge``: what two states made of one, put together under a ref."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from ..names import display_key
from ..session import Call, complete_state, store_command
from ..units import format_count
from ..views import short_id

if TYPE_CHECKING:
    from casstore import Change, Snapshot, Store
    from casstore.address import Address
    from casstore.branches import Branch, Conflict

Side = Literal["ours", "theirs"]


class Merged(NamedTuple):
    """What comes of a merge, before any ref moves.

    Attributes:
        outcome: ``"fast-forward"`` and ``"up-to-date"``: the result is one of the two states.
        base: What both came from; None where that was taken to be empty.
        branch: The merged state; None where the result is ``snapshot``.
        snapshot: The result, or what the branch started from.
        resolved: Conflicts that ``--resolve`` ended.
    """

    outcome: Literal["merged", "fast-forward", "up-to-date"]
    base: Address | None
    branch: Branch | None
    snapshot: Snapshot
    resolved: list[Conflict]

    @property
    def state_id(self) -> Address:
        """That of the result."""
        return self.snapshot.state_id if self.branch is None else self.branch.state_id()

    def changes(self, store: Store, ours: Snapshot) -> Iterator[Change]:
        """What leads from ``ours`` to the result."""
        return store.diff(ours, self.snapshot) if self.branch is None else self.branch.changes()


@store_command(
    "merge",
    example="casstore --store state.cas merge main try-7 --dry-run\n"
    'casstore --store state.cas merge main try-7 --resolve theirs -m "take try-7"',
    writes=True,
)
@click.argument("ours", metavar="OURS", shell_complete=complete_state)
@click.argument("theirs", metavar="THEIRS", shell_complete=complete_state)
@click.option("--into", metavar="NEWREF", help="Make this new ref and leave OURS where it is.")
@click.option("--base", metavar="STATE", shell_complete=complete_state, help="The state that both came from.")
@click.option("--no-base", is_flag=True, help="Merge as if both came from an empty state.")
@click.option("--resolve", type=click.Choice(["ours", "theirs"]), help="The side that wins every conflict.")
@click.option("-m", "--message", help="Why the merged snapshot exists.")
@click.option("--dry-run", is_flag=True, help="Print what would change in OURS, and move nothing.")
def command(
    call: Call,
    ours: str,
    theirs: str,
    into: str | None,
    base: str | None,
    no_base: bool,
    resolve: Side | None,
    message: str | None,
    dry_run: bool,
) -> None:
    """Merge what THEIRS changed into OURS, and move the ref OURS to the result.

    The base is where their histories parted. Conflicts that nothing resolves are listed; then nothing is moved, and the
    exit code is 6. A ref that is merely behind moves forward to THEIRS, unless a message asks for a new snapshot.
    """
    if base is not None and no_base:
        raise click.UsageError("--base and --no-base exclude each other.")
    with call.read() if dry_run else call.write() as store:
        target = _target(store, ours, into)
        old = store.refs.id_of(target)
        mine, other = store.resolve(ours), store.resolve(theirs)
        if no_base:
            common = None
        else:
            common = _common_base(store, mine, other) if base is None else store.resolve(base)
        if common == other:
            result = Merged("up-to-date", other.id, None, mine, [])
        elif common == mine and base is None and message is None:
            result = Merged("fast-forward", mine.id, None, other, [])
        else:
            result = _merge(call, store, mine, other, common, resolve)
        head = {"ours": ours, "theirs": theirs, "ref": target, "old": old, "dry_run": dry_run}
        if dry_run:
            _print_plan(call, head, result, result.changes(store, mine))
            return
        merged = result.snapshot
        if result.branch is not None:
            merged = result.branch.commit(f"merge of {theirs} into {ours}" if message is None else message)
        changed = sum(1 for _ in store.diff(mine, merged))
        if merged.id != old:
            store.refs.compare_and_set(target, old, merged, reason=f"merge of {theirs}")
    _print(call, head, result, merged, changed)


def _target(store: Store, ours: str, into: str | None) -> str:
    """The ref that is to move.

    Raises:
        casstore.InvalidInputError: There is none that could.
        casstore.ConflictError: The new one exists.
    """
    from casstore.errors import ConflictError, InvalidInputError
    from casstore.snapshots import check_ref_name

    if into is None:
        if ours not in store.refs:
            store.resolve(ours)
            raise InvalidInputError(
                f"{ours!r} is no ref that could move; name a new one with --into NEWREF.", path=ours
            )
        return ours
    if check_ref_name(into) in store.refs:
        raise ConflictError(f"a ref named {into!r} exists; choose another name, or merge into it.", path=into)
    return into


def _common_base(store: Store, mine: Snapshot, other: Snapshot) -> Snapshot:
    """Where the two histories parted.

    Raises:
        casstore.ConflictError: Nowhere, or at several places that are equally good; ``report`` has their ids.
    """
    from casstore.errors import ConflictError
    from casstore.snapshots import best_common_ancestors

    found = best_common_ancestors(store.snapshots, [mine.id], [other.id])
    if len(found) == 1:
        return store.resolve(found[0])
    if not found:
        raise ConflictError(
            "the two states have no common ancestor; pass --base STATE with what both came from, or --no-base.",
            report={"bases": found},
        )
    raise ConflictError(
        f"the two states have {len(found)} common ancestors that are equally good ({', '.join(map(short_id, found))}); "
        "look at them with `casstore log` and choose one with --base.",
        report={"bases": found},
    )


def _merge(
    call: Call, store: Store, mine: Snapshot, other: Snapshot, base: Snapshot | None, resolve: Side | None
) -> Merged:
    """Puts the two states together, in memory.

    Raises:
        casstore.ConflictError: Conflicts are left. They are listed on stdout, or in ``report`` with --json.
    """
    from casstore.errors import ConflictError

    from ..described import conflict_json, conflict_row

    resolved: list[Conflict] = []

    def choose(conflict: Conflict) -> Side | Conflict:
        if resolve is None:
            return conflict
        resolved.append(conflict)
        return resolve

    branch, report = store.merge(mine, other, base=store.branch() if base is None else base, resolve=choose)
    left = report.conflicts
    identity = None if base is None else base.id
    if not left:
        return Merged("merged", identity, branch, mine, resolved)
    if not call.out.as_json:
        call.out.table(("conflict", "key", "base", "ours", "theirs"), map(conflict_row, left))
    raise ConflictError(
        f"{format_count(len(left), 'conflict')}, so nothing was moved; choose the side that wins with --resolve ours "
        "or --resolve theirs, or change one of the two states first.",
        report={"base": identity, "conflicts": [conflict_json(conflict) for conflict in left]},
    )


def _json(result: Merged, state_id: Address) -> dict[str, Any]:
    from ..described import conflict_json

    return {
        "outcome": result.outcome,
        "base": result.base,
        "state_id": state_id,
        "resolved": [conflict_json(conflict) for conflict in result.resolved],
    }


def _print_plan(call: Call, head: dict[str, Any], result: Merged, changes: Iterator[Change]) -> None:
    if call.out.as_json:
        from ..described import change_json

        call.out.json_stream({**head, **_json(result, result.state_id)}, "changes", map(change_json, changes))
        return
    for change in changes:
        call.out.line(f"{change.letter} {display_key(change.key)}")
    _print_resolved(call, result)
    call.out.line(f"dry run: nothing was changed ({result.outcome})")


def _print(call: Call, head: dict[str, Any], result: Merged, merged: Snapshot, changed: int) -> None:
    name, old, theirs = head["ref"], head["old"], head["theirs"]
    undo = call.shell_line("refs", "undo", name)
    if call.out.as_json:
        undo_line = None if merged.id == old else undo
        call.out.json(**head, **_json(result, merged.state_id), new=merged.id, changed=changed, undo=undo_line)
        return
    _print_resolved(call, result)
    if merged.id == old:
        call.out.line(f"{name} has all of {theirs} already and stays at {short_id(old)}")
        return
    was = "" if old is None else f" (was {short_id(old)})"
    taken = f"{format_count(changed, 'key')} taken over from {theirs}"
    call.out.line(f"{name} is {short_id(merged.id)}{was}: {result.outcome}, {taken}")
    call.out.line(f"undo: {undo}")


def _print_resolved(call: Call, result: Merged) -> None:
    for conflict in result.resolved:
        call.out.line(f"resolved {display_key(conflict.key)}")
