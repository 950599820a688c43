# SPDX-License-Identifier: MIT
"""``casstore gc``: free what nothing names any more, cut history by rules, and say what keeps what."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from ..output import plain_value
from ..progress import progress
from ..session import Call, complete_state, store_command
from ..units import DURATION, SIZE, format_count, format_duration, format_size
from ..views import facts_of

if TYPE_CHECKING:
    from casstore import KeepRule, Store
    from casstore.collection import GcPlan, RetentionPlan


_WORTH_TELLING_BYTES: Final = 1 << 16


@store_command(
    "gc",
    example="casstore --store state.cas gc --dry-run\n"
    "casstore --store state.cas gc --explain\n"
    "casstore --store state.cas gc --explain main:files/data.bin\n"
    "casstore --store state.cas gc --keep-last 10 --keep-best 3:score --ref 'try/*' --dry-run\n"
    "casstore --store state.cas gc --undo-keep 0 --grace 0",
    writes=True,
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--undo-keep", type=DURATION, metavar="TIME", help="Keep what refs left within this time (7d, 1h, 0).")
@click.option("--grace", type=DURATION, metavar="TIME", help="Keep what was written within this time (1h, 90s, 0).")
@click.option("--accept-refs", is_flag=True, help="Collect although a rebuild of the index may have lost refs.")
@click.option(
    "--explain",
    is_flag=False,
    flag_value="",
    metavar="[STATE[:files/PATH]|ADDRESS]",
    shell_complete=complete_state,
    help="Say what keeps what, or what keeps this one; change nothing.",
)
@click.option("--keep-last", type=click.IntRange(min=0), metavar="N", help="Keep the newest N snapshots of each line.")
@click.option("--keep-within", type=DURATION, metavar="TIME", help="Keep what is this close to the newest of its line.")
@click.option("--keep-bytes", type=SIZE, metavar="SIZE", help="Keep the newest that together fit in SIZE.")
@click.option("--keep-best", metavar="N:NAME", help="Keep the N with the highest number NAME in their metadata.")
@click.option("--ref", "pattern", metavar="PATTERN", help="Which refs the rule is for (default: '*', all).")
@click.option("--save", is_flag=True, help="Remember the rule for these refs; each later gc applies it.")
@click.option("--forget-rules", is_flag=True, help="Forget the remembered rules, or those for exactly --ref PATTERN.")
@click.option("--yes", is_flag=True, help="Cut without asking where it cannot be undone; save what matches nothing.")
def command(
    call: Call,
    dry_run: bool,
    undo_keep: int | None,
    grace: int | None,
    accept_refs: bool,
    explain: str | None,
    keep_last: int | None,
    keep_within: int | None,
    keep_bytes: int | None,
    keep_best: str | None,
    pattern: str | None,
    save: bool,
    forget_rules: bool,
    yes: bool,
) -> None:
    """Free what no ref, no undo and no reader needs any more.

    Prints what is kept and why, then what came free. Without options the store's own settings hold (see `config`).

    With --keep options the lines of refs are cut first. The line of a ref is the snapshot that it names and all before
    it. What any --keep option names, stays, and so do the snapshots that refs name, what undo still needs, the bases of
    workspaces, and everything of other refs; what stays below a gap gets a ref kept/REF/ID. Without --keep options the
    remembered rules apply (--save; `config` shows them). A cut frees space when undo and the grace period no longer
    need it: until then `refs undo cut/ID` makes a ref that keeps what was cut off; the line itself stays cut. With
    --undo-keep 0 it cannot be had back, so --yes is asked for.
    """
    parts = (keep_last, keep_within, keep_bytes, keep_best)
    rule = None
    if any(part is not None for part in parts):
        rule = _rule(pattern, keep_last, keep_within, keep_bytes, keep_best)
    elif save or (pattern is not None and not forget_rules):
        raise click.UsageError("say what to keep: --keep-last, --keep-within, --keep-bytes or --keep-best.")
    if explain is not None and (rule is not None or forget_rules):
        raise click.UsageError("--explain changes nothing; leave out --keep options and --forget-rules.")
    if forget_rules and rule is not None:
        raise click.UsageError("--forget-rules comes without --keep options.")
    with call.write() as store:
        if explain is not None:
            _explain(call, store, explain, undo_keep, grace, accept_refs)
            return
        remembered: dict[str, Any] = {}
        if forget_rules:
            remembered["forgot"] = _forget(call, store, pattern, dry_run)
        rules = _rules(store, rule, save) if not forget_rules else []
        saved = rule if save and not dry_run else None
        retention = _retention(call, store, rules, undo_keep, grace, dry_run, yes, saved)
        if saved is not None:
            store.configure(retention=rules)
            remembered["saved"] = saved
            call.out.line(f"saved: {saved}; each gc applies it from now on (`casstore gc --forget-rules` ends that)")
        _collect(call, store, {"retention": retention, **remembered}, dry_run, undo_keep, grace, accept_refs)


def _rule(
    pattern: str | None, last: int | None, within: int | None, total_bytes: int | None, best: str | None
) -> KeepRule:
    from casstore import InvalidInputError, KeepRule

    count, colon, name = (best or "").partition(":")
    if best is not None and not (count.isascii() and count.isdigit() and colon and name):
        raise click.BadParameter(f"{best!r} is not N:NAME; write 5:score.", param_hint="'--keep-best'")
    try:
        return KeepRule(
            ref="*" if pattern is None else pattern,
            last=last,
            within_seconds=within,
            total_bytes=total_bytes,
            best=int(count) if best is not None else None,
            by=name if best is not None else None,
        )
    except InvalidInputError as error:
        raise click.UsageError(str(error)) from None


def _rules(store: Store, rule: KeepRule | None, save: bool) -> list[KeepRule]:
    """The rules of this run: the one that was typed; with ``--save`` it takes its place among the remembered ones."""
    kept = list(store.settings.retention)
    if rule is None:
        return kept
    return [*(other for other in kept if other.ref != rule.ref), rule] if save else [rule]


def _forget(call: Call, store: Store, pattern: str | None, dry_run: bool) -> list[KeepRule]:
    """Forgets rules, and says which."""
    rules = store.settings.retention
    forgot = [rule for rule in rules if pattern is None or rule.ref == pattern]
    if forgot and not dry_run:
        store.configure(retention=[rule for rule in rules if rule not in forgot])
    for rule in forgot:
        call.out.line(f"{'would forget' if dry_run else 'forgot'}: {rule}")
    if not forgot:
        which = "" if pattern is None else f" for exactly {pattern!r}"
        call.out.line(f"no rule{which} is saved, so none was forgotten (`casstore config` shows them)")
    return forgot


def _retention(
    call: Call,
    store: Store,
    rules: list[KeepRule],
    undo_keep: int | None,
    grace: int | None,
    dry_run: bool,
    yes: bool,
    saved: KeepRule | None,
) -> dict[str, Any] | None:
    """Cuts lines by the rules; the plan and what was done, for JSON."""
    if not rules:
        return None
    from casstore.collection.retention import plan_retention
    from casstore.workspace import list_workspaces

    from ..explained import print_retention

    keep_seconds = store.settings.undo_keep_seconds if undo_keep is None else undo_keep
    bases = {one.base: f"base of workspace {one.id}" for one in list_workspaces(store) if one.base is not None}
    plan = plan_retention(
        store.snapshots,
        store.refs,
        rules,
        undo_keep_seconds=keep_seconds,
        grace_seconds=store.settings.grace_seconds if grace is None else grace,
        keep=bases,
    )
    shown = plain_value(plan)
    if not call.out.as_json:
        print_retention(call.out, plan)
    if dry_run:
        return {"plan": shown, "report": None}
    if saved is not None and not yes and (warning := plan.warning_of(saved)) is not None:
        from casstore import InvalidInputError

        raise InvalidInputError(f"nothing was saved or cut: {warning} Or pass --yes to save the rule as it is.")
    if plan.dropped and not keep_seconds and not yes:
        _confirm(call, plan)
    report = plan.execute()
    for name in report.undo_refs:
        call.out.line(f"undo: {call.shell_line('refs', 'undo', name)}" if keep_seconds else f"no undo for {name}")
    if report.undo_refs and keep_seconds:
        call.out.line("undo makes a ref that keeps what was cut off, with its history; the line itself stays cut")
    return {"plan": shown, "report": plain_value(report)}


def _confirm(call: Call, plan: RetentionPlan) -> None:
    """Asks before what cannot be taken back."""
    what = f"{format_count(len(plan.dropped), 'snapshot')} cannot be had back (--undo-keep is 0)"
    if call.out.as_json or not sys.stdin.isatty():
        raise click.UsageError(f"{what}; nothing was changed. Pass --yes to cut, or leave --undo-keep out.")
    click.confirm(f"{what}. Cut?", abort=True)


def _collect(
    call: Call,
    store: Store,
    retention: dict[str, Any],
    dry_run: bool,
    undo_keep: int | None,
    grace: int | None,
    accept_refs: bool,
) -> None:
    with store.plan_gc(grace_seconds=grace, undo_keep_seconds=undo_keep, accept_refs=accept_refs) as plan:
        shown = plain_value(plan)  # before it is executed: what it finds then may differ
        if not call.out.as_json:
            _print_plan(call, plan)
        if dry_run:
            report = None
        else:
            with progress(as_json=call.out.as_json) as callback:
                report = plan.execute(callback)
    if call.out.as_json:
        call.out.json(dry_run=dry_run, plan=shown, report=report, **retention)
    elif report is None:
        call.out.line("dry run: nothing was changed")
    else:
        call.out.facts(facts_of(report))
    young = sum(tally.bytes for tally in plan.young.values())
    if young > max(plan.dead_bytes, _WORTH_TELLING_BYTES):
        # So on a full disk: what a refused import had written is as young as can be.
        call.out.note(
            f"casstore: {format_size(young)} that nothing keeps are too young to be freed; `--grace 0` frees them now."
        )


def _explain(call: Call, store: Store, what: str, undo_keep: int | None, grace: int | None, accept_refs: bool) -> None:
    """What keeps what; changes nothing."""
    from ..explained import address_at, print_explanation, print_kept

    # Looked up first: what is met while a plan is open is kept because of that.
    address = address_at(store, what) if what else None
    with store.plan_gc(grace_seconds=grace, undo_keep_seconds=undo_keep, accept_refs=accept_refs) as plan:
        if address is None:
            explained = plan.explain()
            if call.out.as_json:
                call.out.json(explanation=explained)
            else:
                print_explanation(call.out, explained)
            return
        kept = plan.explain(address)
    if call.out.as_json:
        call.out.json(object=kept)
    else:
        print_kept(call.out, kept)


def _print_plan(call: Call, plan: GcPlan) -> None:
    """What stays and why, and what would go."""
    rows = [
        (why, kind, format_count(tally.objects, "object"), format_size(tally.bytes))
        for why, part in (("in use", plan.live), ("too young", plan.young), ("to be freed", plan.dead))
        for kind, tally in sorted(part.items())
    ]
    call.out.table(("", "kind", ">objects", ">size"), rows)
    roots = ", ".join(format_count(count, sort.removesuffix("s")) for sort, count in plan.roots.items() if count)
    call.out.facts(
        [
            ("in use because of", roots or "nothing"),
            ("kept for undo", format_duration(plan.undo_keep_seconds)),
            ("too young is below", format_duration(plan.grace_seconds)),
            ("to be freed", f"{format_count(plan.dead_objects, 'object')}, {format_size(plan.dead_bytes)}"),
            (
                "to be compacted",
                f"{format_count(len(plan.segments), 'segment')}, {format_size(plan.freed_bytes)} of them",
            ),
        ]
    )
