# SPDX-License-Identifier: MIT
"""Retention: cuts the lines of refs, by rules that say which snapshots stay.

The line of a ref is the snapshot that it names and all that came before it. What no rule keeps leaves the line: the
kept snapshots above it become shallow, so that marking stops there. A kept snapshot below a gap gets a ref of its own,
``kept/REF/ID``, which later runs remove when no rule keeps it any more. No other ref is touched, no state that the
history of a ref still keeps, nothing that is pinned or linked by a state that stays, and no history of refs that no
rule is for.

What was cut off can be had back as long as undo is kept: of the first snapshot behind a cut the history says that a ref
``cut/ID`` named it and was deleted. That holds the state with all before it, and ``refs undo cut/ID`` makes a ref of it
that keeps it like any other. There never was such a ref, so its deletion goes once undo has ended; that of a ref must
stay. The line itself stays cut: its shallow mark is an event and is not taken back.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from casstore.address import Address, event_address
from casstore.collection.explain_graph import Walk
from casstore.collection.explain_report import Amount
from casstore.collection.roots import HISTORIES, PINS, gather_roots
from casstore.errors import ConflictError, InvalidInputError, ReadOnlyError
from casstore.format.event import (
    CUT_PREFIX,
    CUT_REASON,
    cut_ref,
    encode_ref_move,
    encode_shallow,
    event_facts,
    is_lone,
)
from casstore.format.kinds import EVENT
from casstore.format.retention import KeepRule, parse_rules
from casstore.quantities import count, duration
from casstore.snapshots import Refs, Snapshots, check_ref_name, shallow_ids

KEPT_PREFIX: Final = "kept/"
_DIGITS: Final = 16
_SHOWN: Final = 20
_REASON: Final = "retention"


class Member(NamedTuple):
    """A snapshot of a line."""

    id: Address
    time_ns: int
    parents: tuple[Address, ...]
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReport:
    """What retention did.

    Attributes:
        cut: Snapshots that are shallow now (32 bytes each).
        dropped: Number of snapshots that left their lines.
        made_refs: Refs that keep snapshots below a gap.
        deleted_refs: Refs of that sort that are gone.
        undo_refs: Names that ``refs undo`` brings back, each with the states behind one cut.
    """

    cut: tuple[Address, ...]
    dropped: int
    made_refs: tuple[str, ...]
    deleted_refs: tuple[str, ...]
    undo_refs: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class RetentionPlan:
    """What retention would cut; ``execute`` it once.

    Attributes:
        rules: By what rules.
        undo_keep_seconds: How long a cut can be taken back; 0 is until the next collection.
        kept: Snapshot id → why it stays, for every snapshot of a line that a rule is for.
        dropped: Ids of those that would leave the lines, newest first.
        cut: Ids of those that would become shallow.
        made_refs: Refs that would be made, for what is kept below a gap.
        deleted_refs: Refs of that sort that would go.
        freed: What comes free by the cut, once undo, history and grace period no longer keep it.
        freed_now: The part of it that a collection frees at once.
        free_in_seconds: When a collection frees all of it; 0 is at once.
        numbers: Snapshot id → the numbers in its metadata by which rules choose, of what is kept.
        warnings: Rules that can keep nothing as they are written, and what to do.
    """

    rules: tuple[KeepRule, ...]
    undo_keep_seconds: int
    kept: dict[Address, list[str]] = field(default_factory=dict)
    dropped: list[Address] = field(default_factory=list)
    cut: list[Address] = field(default_factory=list)
    made_refs: dict[str, Address] = field(default_factory=dict)
    deleted_refs: dict[str, Address] = field(default_factory=dict)
    freed: Amount = field(default_factory=Amount)
    freed_now: Amount = field(default_factory=Amount)
    free_in_seconds: int = 0
    numbers: dict[Address, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _warned: dict[KeepRule, str] = field(default_factory=dict, repr=False)
    _behind: list[Address] = field(default_factory=list, repr=False)
    _seen: dict[str, Address] = field(default_factory=dict, repr=False)
    _refs: Refs | None = field(default=None, repr=False)
    _snapshots: Snapshots | None = field(default=None, repr=False)

    def execute(self) -> RetentionReport:
        """Cuts as planned.

        Raises:
            ConflictError: The plan was executed before, or a ref moved since it was made; nothing was changed.
            NotFoundError: A snapshot that is to be kept was collected meanwhile; nothing was changed.

        *Durability*: durable on return, all at once. After a crash all is kept that was kept before or would be now.
        """
        refs, snapshots = self._refs, self._snapshots
        if refs is None or snapshots is None:
            raise ConflictError("this plan was executed already; make a new one with plan_retention().")
        storage = snapshots.storage
        with storage.backend.write_lock(), storage.operation(), storage.backend.freeing():
            if dict(refs.ids()) != self._seen:
                raise ConflictError("a ref moved since the plan was made; make a new one with plan_retention().")
            for snapshot in (*self.made_refs.values(), *self._behind):
                refs._check_target(snapshot)
            self._refs = None
            facts: dict[bytes, bytes | None] = {}
            # What keeps comes first: a crash between two records leaves more than was asked, never less.
            for name, snapshot in self.made_refs.items():
                facts.update(event_facts(encode_ref_move(refs._record(name, None, snapshot, _REASON))))
            undo = {cut_ref(snapshot): snapshot for snapshot in self._behind}
            undo = {name: snapshot for name, snapshot in undo.items() if name not in self._seen}
            for name, snapshot in undo.items():
                reason = CUT_REASON if all(map(is_lone, refs.history(name))) else _REASON
                facts.update(event_facts(encode_ref_move(refs._record(name, snapshot, None, reason))))
            for name, snapshot in self.deleted_refs.items():
                facts.update(event_facts(encode_ref_move(refs._record(name, snapshot, None, _REASON))))
            for snapshot in self.cut:
                payload = encode_shallow(storage.backend.next_event(), snapshot)
                storage.backend.put([storage.record(EVENT, event_address(payload), payload)])
                facts.update(event_facts(payload))
            if facts:
                storage.backend.sync(facts)
        return RetentionReport(
            cut=tuple(self.cut),
            dropped=len(self.dropped),
            made_refs=tuple(self.made_refs),
            deleted_refs=tuple(self.deleted_refs),
            undo_refs=tuple(undo),
        )

    def warning_of(self, rule: KeepRule) -> str | None:
        """Why one of the rules can keep nothing as it is written; None where it can."""
        return self._warned.get(rule)

    def reasons(self, snapshot: Address) -> str:
        """Why a kept snapshot stays, with the numbers that rules choose by: ``best 2 by score, score 7.5``."""
        numbers = self.numbers.get(snapshot, {})
        return ", ".join([*self.kept[snapshot], *(f"{name} {value:g}" for name, value in numbers.items())])

    def when(self) -> str:
        """What comes free, and when, in words."""
        if not self.free_in_seconds or not self.freed.objects:
            return f"{self.freed}, with this collection"
        some = f" ({self.freed_now} with this collection)" if self.freed_now.objects else ""
        return f"{self.freed}, with a collection in {duration(self.free_in_seconds)}{some}"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from map(str, self.rules)
        yield from (f"warning: {warning}" for warning in self.warnings)
        for number, snapshot in enumerate(self.kept):
            if number == _SHOWN:
                yield f"  … and {len(self.kept) - _SHOWN} more stay"
                break
            yield f"  keep {snapshot.hex()[:12]}  {self.reasons(snapshot)}"
        for snapshot in self.dropped[:_SHOWN]:
            yield f"  drop {snapshot.hex()[:12]}"
        if len(self.dropped) > _SHOWN:
            yield f"  … and {len(self.dropped) - _SHOWN} more go"
        yield from (f"  make the ref {name}" for name in list(self.made_refs)[:_SHOWN])
        yield from (f"  delete the ref {name}" for name in list(self.deleted_refs)[:_SHOWN])
        yield (
            f"{count(len(self.kept), 'snapshot')} stay, {len(self.dropped)} leave {count(len(self.cut), 'line')}; "
            f"comes free: {self.when()}"
        )


def plan_retention(
    snapshots: Snapshots,
    refs: Refs,
    rules: Iterable[KeepRule],
    *,
    undo_keep_seconds: int,
    grace_seconds: int = 0,
    keep: Mapping[Address, str] | None = None,
) -> RetentionPlan:
    """What rules would cut from the lines of refs; nothing changes until the plan is executed.

    What any rule keeps, stays. So does what a ref names, what the history of a ref still keeps, what is pinned, what a
    state that stays links, and everything that refs lead to which no rule is for.

    Args:
        snapshots: The store's snapshots.
        refs: Its refs.
        rules: What to keep; without any, nothing is cut.
        undo_keep_seconds: How long history keeps states.
        grace_seconds: How long a collection keeps what was put or met; the plan only tells when what comes free by it.
        keep: Snapshots that stay too, with the reason: what others rely on, such as the bases of workspaces.

    Raises:
        InvalidInputError: A rule is none, or a ref's name leaves no room for a name with ``kept/`` before it.
        ReadOnlyError: The store is open read-only.
        CorruptionError: Something on the way is missing or damaged.

    *Cost*: reads every snapshot of the lines, and four times at most what a mark reads; a rule with ``total_bytes``
    once more. Memory: some 500 bytes for each snapshot of a line, and four bits for each record.
    """
    if snapshots.storage.read_only:
        raise ReadOnlyError("the store is open read-only; open it for writing to cut history.")
    found = parse_rules(list(rules))
    plan = RetentionPlan(rules=found, undo_keep_seconds=undo_keep_seconds, _refs=refs, _snapshots=snapshots)
    plan._seen = dict(refs.ids())
    if found:
        with snapshots.storage.operation():
            _Planner(snapshots, refs, plan, grace_seconds, keep or {}).run()
    return plan


class _Planner:
    def __init__(
        self, snapshots: Snapshots, refs: Refs, plan: RetentionPlan, grace_seconds: int, keep: Mapping[Address, str]
    ) -> None:
        self._also = keep
        self._grace_seconds = grace_seconds
        self._snapshots = snapshots
        self._storage = snapshots.storage
        self._refs = refs
        self._plan = plan
        self._shallow = shallow_ids(snapshots.storage)
        self._names = sorted({rule.by for rule in plan.rules if rule.by is not None})
        self._members: dict[Address, Member] = {}
        self._tips = plan._seen
        self._kept_refs: dict[str, list[str]] = {}

    def run(self) -> None:
        plan = self._plan
        matched = {name: [rule for rule in plan.rules if fnmatchcase(name, rule.ref)] for name in self._tips}
        lines = {
            name: rules for name, rules in matched.items() if rules and not name.startswith((KEPT_PREFIX, CUT_PREFIX))
        }
        for name in self._tips:
            if name.startswith(KEPT_PREFIX) and (owner := name[len(KEPT_PREFIX) :].rpartition("/")[0]) in lines:
                self._kept_refs.setdefault(owner, []).append(name)
        ours = {name for names in self._kept_refs.values() for name in names}
        line_of = {name: self._line(name) for name in lines}
        self._warn(lines, line_of)
        by_rule = self._kept_by_rules(lines, line_of)
        others = Walk(self._storage, self._shallow.__contains__)
        for name, snapshot in self._tips.items():
            if name not in lines and name not in ours:
                others.visit(snapshot)
        self._keep_the_rest(others)
        self._keep_links()
        for member in sorted(self._members.values(), key=lambda member: -member.time_ns):
            if member.id not in plan.kept:
                plan.dropped.append(member.id)
        gone = set(plan.dropped)
        for member in self._members.values():
            behind = [parent for parent in member.parents if parent in gone]
            if behind and member.id in plan.kept and member.id not in self._shallow:
                plan.cut.append(member.id)
                plan._behind += [parent for parent in behind if parent not in plan._behind]
        self._plan_refs(by_rule, ours)
        plan.numbers = {kept: dict(self._members[kept].numbers) for kept in plan.kept if self._members[kept].numbers}

    def _warn(self, lines: Mapping[str, Sequence[KeepRule]], line_of: Mapping[str, Sequence[Member]]) -> None:
        """Names the rules that can keep nothing: those for no ref, and those by a number that no snapshot has."""
        for rule in self._plan.rules:
            names = [name for name, rules in lines.items() if rule in rules]
            if not names and rule.ref != "*":
                self._plan._warned[rule] = (
                    f"no ref is named {rule.ref!r}, so this rule cuts and keeps nothing; look at the names with "
                    "`casstore refs`."
                )
            elif names and rule.by and not any(rule.by in one.numbers for name in names for one in line_of[name]):
                self._plan._warned[rule] = (
                    f"no snapshot in the lines of {rule.ref!r} has a number {rule.by!r} in its metadata, so none is "
                    f"kept as one of the best; commit with {rule.by}=NUMBER, or name another one: `casstore log "
                    "--json` shows what there is."
                )
        self._plan.warnings += self._plan._warned.values()

    # -- what stays

    def _line(self, name: str) -> list[Member]:
        """A ref's snapshot and all before it that marking reaches, and what is kept for it below gaps; newest first."""
        starts = [self._tips[name], *(self._tips[kept] for kept in self._kept_refs.get(name, ()))]
        seen = set(starts)
        heap = [(index > 0, -member.time_ns, member) for index, member in enumerate(map(self._member, starts))]
        heapq.heapify(heap)
        found = []
        while heap:
            _, _, member = heapq.heappop(heap)
            found.append(member)
            for parent in () if member.id in self._shallow else member.parents:
                if parent not in seen:
                    seen.add(parent)
                    above = self._member(parent)
                    heapq.heappush(heap, (True, -above.time_ns, above))
        return found

    def _member(self, snapshot: Address) -> Member:
        member = self._members.get(snapshot)
        if member is None:
            fields = self._snapshots.fields(snapshot)
            numbers = {name: fields.meta[name] for name in self._names if type(fields.meta.get(name)) in (int, float)}
            member = Member(snapshot, fields.time_ns, fields.parents, numbers)  # type: ignore[arg-type]
            self._members[snapshot] = member
        return member

    def _keep(self, snapshot: Address, why: str) -> None:
        reasons = self._plan.kept.setdefault(snapshot, [])
        if why not in reasons:
            reasons.append(why)

    def _kept_by_rules(
        self, lines: Mapping[str, Sequence[KeepRule]], line_of: Mapping[str, Sequence[Member]]
    ) -> dict[Address, str]:
        """What rules keep, and for which ref; what a ref names always stays."""
        kept: dict[Address, str] = {}
        for name, rules in lines.items():
            line = line_of[name]
            self._keep(line[0].id, f"ref {name}")
            for rule in rules:
                for member, why in _kept_of_line(rule, line):
                    self._keep(member.id, why)
                    kept.setdefault(member.id, name)
            for member in line if self._also else ():
                if member.id in self._also:
                    self._keep(member.id, self._also[member.id])
                    kept.setdefault(member.id, name)
        for rule in self._plan.rules:
            if rule.total_bytes is not None:
                for name, member in self._in_bytes(rule.total_bytes, rule, lines, line_of):
                    self._keep(member.id, f"newest in {rule.total_bytes} bytes")
                    kept.setdefault(member.id, name)
        return kept

    def _in_bytes(
        self,
        limit: int,
        rule: KeepRule,
        lines: Mapping[str, Sequence[KeepRule]],
        line_of: Mapping[str, Sequence[Member]],
    ) -> Iterator[tuple[str, Member]]:
        """The newest snapshots of all lines of a rule, as long as they fit together; what refs name counts first."""
        walk = Walk(self._storage, lambda snapshot: True)
        names = [name for name, rules in lines.items() if rule in rules]
        for name in names:
            walk.visit(line_of[name][0].id)
        waiting = [(name, member) for name in names for member in line_of[name][1:]]
        waiting.sort(key=lambda item: (-item[1].time_ns, item[1].id))
        for name, member in waiting:
            walk.visit(member.id)
            if walk.bytes > limit:
                return
            yield name, member

    def _keep_the_rest(self, others: Walk) -> None:
        """Keeps what history, pins and refs without a rule rely on."""
        find = self._storage.backend.find
        for snapshot in self._members:
            entry = find(snapshot)
            if entry is not None and (entry.segment, entry.ordinal) in others.seen:
                self._keep(snapshot, "refs that no rule is for")
        roots = gather_roots(self._storage, self._refs, self._plan.undo_keep_seconds)
        for root in roots.named:
            if root.sort in (HISTORIES, PINS) and root.address in self._members:
                self._keep(root.address, f"history of {root.name}" if root.sort == HISTORIES else root.name)

    def _keep_links(self) -> None:
        """Keeps the states that kept ones link, as a saved search does, with all their history."""
        kept = set(self._plan.kept) | self._shallow
        walk = Walk(self._storage, kept.__contains__)
        for snapshot in list(self._plan.kept):
            walk.visit(snapshot)
        for snapshot in self._members:
            entry = self._storage.backend.find(snapshot)
            if snapshot not in kept and entry is not None and (entry.segment, entry.ordinal) in walk.seen:
                self._keep(snapshot, "linked by a state that stays")

    # -- what becomes of refs, and of space

    def _plan_refs(self, by_rule: Mapping[Address, str], ours: set[str]) -> None:
        plan, find = self._plan, self._storage.backend.find
        cut = self._shallow.union(plan.cut)
        after = Walk(self._storage, cut.__contains__)
        stays = {name for name in ours if self._tips[name] in by_rule}
        plan.deleted_refs = {name: self._tips[name] for name in sorted(ours - stays)}
        for name, snapshot in self._tips.items():
            if name not in plan.deleted_refs:
                after.visit(snapshot)
        newest = sorted(by_rule, key=lambda snapshot: -self._members[snapshot].time_ns)
        for snapshot in newest:
            entry = find(snapshot)
            if entry is not None and (entry.segment, entry.ordinal) not in after.seen:
                plan.made_refs[_kept_ref(by_rule[snapshot], snapshot)] = snapshot
                after.visit(snapshot)
        before = Walk(self._storage, self._shallow.__contains__)
        for root in gather_roots(self._storage, self._refs, plan.undo_keep_seconds).named:
            before.visit(root.address)
            if root.address not in plan.deleted_refs.values():
                after.visit(root.address)
        objects = size = objects_now = size_now = 0
        # As a collection reckons: stamps are whole seconds, and a hit renews only those that are older than this.
        grace = self._grace_seconds and self._grace_seconds + self._storage.renew_after_seconds + 1
        now = int(time.time())
        youngest = now - grace
        for _, entry in self._storage.backend.scan():
            record = (entry.segment, entry.ordinal)
            if record in before.seen and record not in after.seen:
                objects += 1
                size += entry.record_bytes
                youngest = max(youngest, entry.stamp)
                if not plan.undo_keep_seconds and (not grace or entry.stamp <= now - grace):
                    objects_now += 1
                    size_now += entry.record_bytes
        plan.freed, plan.freed_now = Amount(objects, size), Amount(objects_now, size_now)
        plan.free_in_seconds = max(plan.undo_keep_seconds, youngest + grace - now if grace else 0) if objects else 0


def _kept_of_line(rule: KeepRule, line: Sequence[Member]) -> Iterator[tuple[Member, str]]:
    """What a rule keeps of one line, by count, age and value."""
    if rule.last is not None:
        yield from ((member, f"last {rule.last}") for member in line[: rule.last])
    if rule.within_seconds is not None:
        oldest = max(member.time_ns for member in line) - rule.within_seconds * 10**9
        why = f"within {duration(rule.within_seconds)}"
        yield from ((member, why) for member in line if member.time_ns >= oldest)
    if rule.best is not None and rule.by is not None:
        by = rule.by
        measured = [member for member in line if by in member.numbers]
        rank: Callable[[Member], tuple[float, int]] = lambda member: (member.numbers[by], member.time_ns)  # noqa: E731
        yield from ((member, f"best {rule.best} by {by}") for member in heapq.nlargest(rule.best, measured, key=rank))


def _kept_ref(name: str, snapshot: Address) -> str:
    """The ref that keeps a snapshot below a gap of the line of ``name``."""
    try:
        return check_ref_name(f"{KEPT_PREFIX}{name}/{snapshot.hex()[:_DIGITS]}")
    except InvalidInputError:
        raise InvalidInputError(
            f"the name {name!r} is too long to keep single snapshots of its line as kept/…; rename the ref, or keep "
            "the line by last or within_seconds.",
            path=name,
        ) from None
