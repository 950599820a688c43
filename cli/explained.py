# SPDX-License-Identifier: MIT
"""What keeps what, as tables and lines; and what of a store an explanation was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .names import key_bytes
from .places import parse_place
from .units import format_count, format_duration, format_size, format_wait
from .views import MAX_LISTED, short_id

if TYPE_CHECKING:
    from casstore import Store
    from casstore.address import Address
    from casstore.collection import Explanation, Kept, RetentionPlan
    from casstore.collection.explain_report import Share

    from .output import Output

_ADDRESS_DIGITS: Final = 64


def address_at(store: Store, text: str) -> Address:
    """The address that ``STATE``, ``STATE:files/PATH``, or 64 hex digits stand for; makes no handle that would pin it.

    Raises:
        casstore.NotFoundError: Nothing is there.
        casstore.InvalidInputError: Several ids begin so.
    """
    from casstore.address import parse_address
    from casstore.errors import InvalidInputError, NotFoundError
    from casstore.snapshots import is_ref_name

    named = store.refs.id_of(text) if is_ref_name(text) else None
    if named is None and len(text) == _ADDRESS_DIGITS:
        try:
            return parse_address(text)
        except InvalidInputError:
            pass
    place = parse_place(text)
    named = store.refs.id_of(place.state) if is_ref_name(place.state) else None
    state = store.snapshots.find(place.state) if named is None else named
    if not place.root:
        return state
    root = store.snapshots.fields(state).roots.get(place.root)
    if root is None:
        raise NotFoundError(f"{place.state} holds no {place.root}; look with `casstore ls {place.state}`.", path=text)
    return _address_of_key(store, root, place.path) if place.path else root


def _address_of_key(store: Store, root: Address, path: str) -> Address:
    """The content of a key; the node that holds it where the content is in the node."""
    from bisect import bisect_left

    from casstore.errors import NotFoundError
    from casstore.tree import lookup

    key = key_bytes(path)
    entry = lookup(store.nodes, root, key)
    if entry is None:
        raise NotFoundError(
            f"no key is named {path!r}; name a file or a value, as `casstore ls -r` lists them.", path=path
        )
    if entry.address is not None:
        return entry.address
    address, node = root, store.nodes.get(root)
    while node.height:
        place = bisect_left(node.keys, key)
        address, node = node.children[place], store.nodes.child(node, place)
    return address


def print_explanation(out: Output, explained: Explanation) -> None:
    """What each root keeps, what is too young, what comes free."""
    out.line("kept by (all that it leads to, and what nothing else leads to)")
    shares = [*explained.sorts, *explained.roots[:MAX_LISTED]]
    out.table(("", "root", ">reached", ">alone", ">alone with its history", "until"), map(_share_row, shares))
    if len(explained.roots) > MAX_LISTED:
        out.line(f"... and {len(explained.roots) - MAX_LISTED:,} more (all of them with --json)")
    out.line("")
    out.table(
        ("", ">in use", ">too young", ">to be freed"),
        (
            (kind.kind, *(_amount(part.objects, part.bytes) for part in (kind.live, kind.young, kind.dead)))
            for kind in explained.kinds
        ),
    )
    facts = [
        (f"too young, free in {format_wait(soon.within_seconds)}", _amount(soon.objects, soon.bytes))
        for soon in explained.soon
    ]
    free = [segment for segment in explained.segments if segment.free_bytes]
    facts += [
        (f"segment {segment.segment}", f"{format_size(segment.free_bytes)} of {format_size(segment.total_bytes)} free")
        for segment in free[:MAX_LISTED]
    ]
    facts.append(
        ("to be compacted", f"{len(free):,} of {format_count(len(explained.segments), 'segment')}"),
    )
    if explained.bases.objects:
        facts.append(("only as bases of deltas", _amount(explained.bases.objects, explained.bases.bytes)))
    for reader in explained.readers:
        who = "a process" if reader.pid is None else f"process {reader.pid}"
        facts.append(("reader", f"{who}, for {format_duration(reader.for_seconds)}"))
    if explained.reader_bytes:
        facts.append(("waits for readers", format_size(explained.reader_bytes)))
    out.facts(facts)


def _share_row(share: Share) -> tuple[str, ...]:
    name = share.name if share.address is None else f"{share.name} {short_id(share.address)}"
    times = f" x{share.roots:,}" if share.roots > 1 else ""
    return (
        share.sort,
        (name or "all") + times,
        format_size(share.reached.bytes),
        format_size(share.exclusive.bytes),
        "" if share.with_history is None else format_size(share.with_history.bytes),
        "" if share.free_in_seconds is None else f"in {format_wait(share.free_in_seconds)}",
    )


def _amount(objects: int, size: int) -> str:
    return f"{format_count(objects, 'object')}, {format_size(size)}"


def print_kept(out: Output, kept: Kept) -> None:
    """Why one object is kept."""
    name = f"{kept.kind} {kept.address.hex()}"
    if not kept.kind:
        out.line(f"{kept.address.hex()} is not in the store: it was never put, or was collected")
        return
    if not kept.chains:
        out.line(f"nothing keeps {name} ({format_size(kept.bytes)}); it goes with the next gc")
    elif kept.free_in_seconds is not None:
        out.line(f"{name} ({format_size(kept.bytes)}) goes in {format_wait(kept.free_in_seconds)}, kept by")
    else:
        out.line(f"{name} ({format_size(kept.bytes)}) is kept by")
    for chain in kept.chains:
        until = "" if chain.free_in_seconds is None else f"  (for {format_wait(chain.free_in_seconds)})"
        out.line(f"  {chain.root}{until}")
        for step in chain.steps:
            out.line(f"    {step.how}: {step.kind} {step.address.hex()[:12]}")
    if kept.more_roots:
        out.line(f"  ... and {format_count(kept.more_roots, 'more root')}")
    if kept.deltas:
        out.line(f"  held by {format_count(kept.deltas, 'delta')} stored against it")


def print_retention(out: Output, plan: RetentionPlan) -> None:
    """What stays and why, what leaves its line, and when that comes free."""
    for rule in plan.rules:
        out.line(f"rule {rule}")
    for warning in plan.warnings:
        out.line(f"warning: {warning}")
    shown = list(plan.kept)[:MAX_LISTED]
    out.table(("", "snapshot", "why"), (("keep", short_id(kept), plan.reasons(kept)) for kept in shown))
    out.table(("", "snapshot"), (("drop", short_id(snapshot)) for snapshot in plan.dropped[:MAX_LISTED]))
    for name in list(plan.made_refs)[:MAX_LISTED]:
        out.line(f"new ref {name} for what is kept below a gap")
    for name in list(plan.deleted_refs)[:MAX_LISTED]:
        out.line(f"the ref {name} goes")
    when = f"in {format_wait(plan.free_in_seconds)}" if plan.free_in_seconds else "with this gc"
    if plan.free_in_seconds and plan.freed_now.objects:
        when += f"; {_amount(plan.freed_now.objects, plan.freed_now.bytes)} of them with this gc"
    out.facts(
        [
            ("stay", format_count(len(plan.kept), "snapshot")),
            ("leave their lines", format_count(len(plan.dropped), "snapshot")),
            ("come free", f"{_amount(plan.freed.objects, plan.freed.bytes)}, {when}"),
        ]
    )
