# SPDX-License-Identifier: MIT
"""Three-way merge of branches: a base found through history, conflicts as values, resolvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from casstore.address import Address
from casstore.branches.cell import Cell
from casstore.branches.delta import Delta
from casstore.branches.keyed import begins
from casstore.codecs.documents import HEADER, is_part
from casstore.codecs.members import is_members
from casstore.errors import ConflictError, InvalidInputError
from casstore.format.entry import Entry
from casstore.format.snapshot import FILES, OBJECTS
from casstore.snapshots import Snapshot, best_common_ancestors, decode_key, encode_key
from casstore.tree.merge import MEMBERS, merge
from casstore.tree.merge import Choice as TreeChoice
from casstore.tree.merge import Conflict as TreeConflict

if TYPE_CHECKING:
    from casstore.branches.branch import Branch, State

_HEADER: Final = encode_key("/" + HEADER)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Changes of one key that cannot both stand.

    Attributes:
        key: Root and key, as ``"files/src/a.py"``; of a ``"path"`` conflict, the one that is a file on one side; of a
            ``"members"`` conflict, the one that is a ``Members`` or a document on one side.
        base: What it mapped to before; None where it was absent.
        ours: What it maps to in the branch that is merged into.
        theirs: What it maps to in the other state.
        kind: ``"content"``; ``"path"`` where one side has a file in the place of the other's directory; ``"members"``
            where a key is a ``Members`` or a document on one side and something else or gone on the other, and both
            changed something at or below it. A side stands for the key and all its members then, never for a part.
        below: Of a ``"path"`` conflict, the keys that the side with the directory has there; of a ``"members"``
            conflict, the keys below in which the sides differ.
    """

    key: str
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    kind: str
    below: tuple[str, ...] = ()


Choice = Literal["ours", "theirs"] | Entry | Conflict | None
"""A side, an entry, None for "gone", or the conflict itself to leave it open. Of a ``"members"`` conflict, an entry or
None takes all that is below the key away, but for the marker itself, which stands for the side that has it."""

Resolver = Literal["ours", "theirs"] | Callable[[Conflict], Choice]
"""A side for all conflicts, or a function that decides each."""


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did.

    Attributes:
        base: Ids of the snapshots that served as base; empty where a branch was named.
        changed: Keys that were taken over or resolved; 0 where conflicts are left.
        conflicts: What nothing resolved; then the branch is as before.
    """

    base: tuple[Address, ...]
    changed: int
    conflicts: tuple[Conflict, ...]


def merge_into(
    branch: Branch, other: Branch | Snapshot, base: Branch | Snapshot | None, resolve: Resolver | None
) -> MergeReport:
    """Merges ``other`` into ``branch``, whose lock is held; see ``Branch.merge``."""
    if not (resolve in (None, "ours", "theirs") or callable(resolve)):
        raise InvalidInputError(f"resolve is {resolve!r}; give 'ours', 'theirs', or a function of a conflict.")
    context = branch._context
    for named in (other, base):
        if named is not None and not isinstance(named, Snapshot):
            branch._check_store(named)
    state = branch._current()
    ours, scratch = branch._scratch_roots(state)
    # Entries that are in the merged state and not in the store can only come from here.
    sources: list[State] = [state]
    if isinstance(other, Snapshot):
        theirs = dict(other.roots)
        merged: tuple[Snapshot, ...] = (other,)
    else:
        their_state = other._current()
        sources.insert(0, their_state)
        theirs, more = other._scratch_roots(their_state)
        scratch.join(more)
        merged = tuple(snapshot for snapshot in (their_state[0], *their_state[4]) if snapshot is not None)
    base_ids: tuple[Address, ...] = ()
    if isinstance(base, Snapshot):
        base_roots, base_ids = dict(base.roots), (base.id,)
    elif base is not None:
        base_state = base._current()
        sources.append(base_state)
        base_roots, more = base._scratch_roots(base_state)
        scratch.join(more)
    else:
        found = _find_base(branch, state, merged)
        base_roots, base_ids = dict(found.roots), (found.id,)

    open_conflicts: list[Conflict] = []
    changes: list[tuple[int, bytes, Entry | None]] = []
    emptied: list[str] = []
    for name, slot in ((FILES, 2), (OBJECTS, 3)):
        tree = name == FILES
        result = merge(
            scratch,
            base_roots.get(name),
            ours.get(name),
            theirs.get(name),
            tree=tree,
            owns=None if tree else _owned,
            is_part=None if tree else lambda rest: is_part(decode_key(rest)),
        )

        def choose(raw: TreeConflict, name: str = name) -> TreeChoice:
            conflict = Conflict(
                f"{name}/{decode_key(raw.key)}",
                raw.base,
                raw.ours,
                raw.theirs,
                raw.kind,
                tuple(f"{name}/{decode_key(sides.key)}" for sides in raw.below),
            )
            choice = resolve(conflict) if callable(resolve) else resolve or conflict
            if isinstance(choice, Conflict):
                open_conflicts.append(conflict)
                return raw
            if raw.kind == MEMBERS and choice not in ("ours", "theirs"):
                marked = (is_members(raw.ours), is_members(raw.theirs))
                if isinstance(choice, Entry) and is_members(choice) and any(marked):
                    return "ours" if marked[0] else "theirs"
                emptied.append(decode_key(raw.key) + "/")
            return choice

        changes += [(slot, key, entry) for key, entry in result.resolve(choose)]
    if open_conflicts:
        return MergeReport(base_ids, 0, tuple(open_conflicts))
    deltas: dict[int, Delta] = {2: state[2], 3: state[3]}
    roots = {2: state[1].files, 3: state[1].objects}
    for prefix in emptied:
        # Also what both sides have there: it would belong to nothing.
        in_base = begins(context.nodes, roots[3], prefix)
        deltas[3] = deltas[3].without_prefix(prefix, in_base=in_base)
    # Deletions first: a file that goes makes room for a directory of its name.
    for slot, key, entry in sorted(changes, key=lambda change: change[2] is not None):
        name = decode_key(key)
        if entry is None:
            in_base = context.has_key(roots[slot], key)
            deltas[slot] = deltas[slot].without(name, in_base=in_base)
        else:
            deltas[slot] = deltas[slot].with_cell(name, _cell(branch, entry, sources, slot, name))
    if branch._state is not state:
        raise ConflictError("the branch was changed while its merge ran, by the function that resolves; merge again.")
    merged = tuple(dict.fromkeys((*state[4], *merged)))
    branch._put_in_place((state[0], state[1], deltas[2], deltas[3], merged))
    return MergeReport(base_ids, len(changes), ())


def _owned(key: bytes, entry: Entry) -> bytes | None:
    """The key that an entry makes a ``Members`` or a document."""
    if is_members(entry):
        return key
    return key[: -len(_HEADER)] if key.endswith(_HEADER) and len(key) > len(_HEADER) else None


def _cell(branch: Branch, entry: Entry, sources: list[State], slot: int, name: str) -> Cell:
    """A branch's own cell where one has it, so that its bytes are shared; else one that pins the content."""
    for source in sources:
        found = (source[2] if slot == 2 else source[3]).keys.get(name)
        if found is not None and found.addressed() == entry:
            return found
    cell = Cell(entry)
    cell.hold(branch._context.storage)
    return cell


def _find_base(branch: Branch, state: State, theirs: tuple[Snapshot, ...]) -> Snapshot:
    snapshots = branch._context.snapshots
    ours = [snapshot.id for snapshot in (state[0], *state[4]) if snapshot is not None]
    found = best_common_ancestors(snapshots, ours, [snapshot.id for snapshot in theirs])
    if len(found) == 1:
        return snapshots.get(found[0])
    if not found:
        raise ConflictError("the two states have no common ancestor; name one with base=…, such as an empty branch.")
    names = ", ".join(snapshot.hex()[:12] for snapshot in found)
    raise ConflictError(
        f"the two states have {len(found)} equally good common ancestors ({names}); choose one with base=….",
        address=found[0],
    )
