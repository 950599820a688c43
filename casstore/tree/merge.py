# SPDX-License-Identifier: MIT
"""Three-way merge: what two states made of one base, put together, with conflicts as values.

Only keys in which the two sides differ matter, and where they differ the base decides. So the two sides are compared
with each other, and the base is only looked into: what both changed alike is never visited, nor is a base that lies far
behind both.

Directory trees. A directory is there through its keys and has an entry of its own only while it is empty. Hence two
rules beside the usual ones: such an entry goes when the other side puts something into the directory, and it never
conflicts with a deletion, as nothing is lost with it.

Wholes. An entry may own what lies below its key, as that of a ``Members`` does, or what lies beside it, as the header
of a document does. Where it owns that on one side only, the owned key and all below it are one thing: taken from the
side that changed it, or, where both did, one conflict.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from casstore.errors import InvalidInputError
from casstore.format.entry import DIRECTORY, Entry
from casstore.tree.diff import diff
from casstore.tree.nodes import Nodes, Root
from casstore.tree.read import lookup

CONTENT: Final = "content"
PATH: Final = "path"
MEMBERS: Final = "members"

Edits = list[tuple[bytes, Entry | None]]
"""What ``apply`` takes: keys in ascending order, each with its new entry or None."""


class Sides(NamedTuple):
    """One key in which two states differ; None where it is absent."""

    key: bytes
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None


class Conflict(NamedTuple):
    """Changes that cannot both stand.

    Attributes:
        key: The key; of a ``"path"`` conflict, the one that is a file on one side and a directory on the other; of a
            ``"members"`` conflict, the one that owns what lies below it on one side, and not on the other.
        base: What the key mapped to before both changes; None where it was absent.
        ours: What it maps to on our side.
        theirs: What it maps to on their side.
        kind: ``"content"``: both changed the key, each in its own way, or one changed it and the other removed it.
            ``"path"``: one side has the key, the other has keys below it. ``"members"``: both changed something at or
            below the key.
        below: Of a ``"path"`` conflict, every key below ``key`` that the side with the directory has, in key order; of
            a ``"members"`` conflict, every one in which the two sides differ.
    """

    key: bytes
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    kind: Literal["content", "path", "members"]
    below: tuple[Sides, ...] = ()

    @property
    def other_key(self) -> bytes | None:
        """The first of the keys below ``key``; None of a ``"content"`` conflict."""
        return self.below[0].key if self.below else None


Choice = Literal["ours", "theirs"] | Entry | Conflict | None
"""How a conflict ends: as one side has it, or with an entry of its own at ``key``. Of a ``"path"`` conflict, a side
stands for everything at and below the key, an entry removes what is below, and None leaves the directory. Of a
``"members"`` conflict, a side stands for everything too; an entry and None remove what the sides differ in below. The
conflict itself leaves it open: as our side has it."""

Owns = Callable[[bytes, Entry], bytes | None]
"""The key whose surroundings an entry owns: its own, or that of the folder it is in; None where it owns nothing."""

IsPart = Callable[[bytes], bool]
"""Whether what follows ``KEY/`` belongs to a whole whose owner lies beside it; what does not is a thing of its own."""


class Merge:
    """What a merge found.

    Attributes:
        conflicts: In key order.
    """

    __slots__ = ("_clean", "_empty", "conflicts")

    def __init__(
        self,
        clean: dict[bytes, Entry | None],
        conflicts: tuple[Conflict, ...],
        empty: list[tuple[Sides, list[bytes]]],
    ) -> None:
        """``empty``: entries of empty directories, each with the keys in conflict that could come to lie below it."""
        self.conflicts = conflicts
        self._clean = clean
        self._empty = empty

    @property
    def edits(self) -> Edits:
        """The edits that turn our side into the merged tree; a conflict stays as our side has it."""
        return self.resolve(lambda conflict: conflict)

    def resolve(self, choose: Callable[[Conflict], Choice]) -> Edits:
        """The edits that turn our side into the merged tree, with each conflict ended as ``choose`` says.

        Raises:
            InvalidInputError: ``choose`` gave something that is no ``Choice``.
        """
        edits = dict(self._clean)
        ours = {}
        for conflict in self.conflicts:
            ours[conflict.key] = conflict.ours
            _resolve(conflict, choose(conflict), edits)
        for directory, keys in self._empty:
            filled = any(edits.get(key, ours[key]) is not None for key in keys)
            _set(directory, None if filled else directory.ours or directory.theirs, edits)
        return sorted(edits.items())


def merge(
    nodes: Nodes,
    base: Root,
    ours: Root,
    theirs: Root,
    *,
    tree: bool = False,
    owns: Owns | None = None,
    is_part: IsPart | None = None,
) -> Merge:
    """What becomes of ``base`` when the changes that led to ``ours`` and those that led to ``theirs`` are both made.

    Args:
        nodes: Where the nodes are.
        base: What both sides started from; None when they have nothing in common.
        ours: The side that the edits are for.
        theirs: The other side.
        tree: The keys are paths of a directory tree: find files in the place of directories.
        owns: Says which entries own what lies below a key; None: none does.
        is_part: Says which keys a whole has that is owned from beside; None: all below its key.

    Raises:
        NotFoundError: A node is missing.
        CorruptionError: A node is damaged.

    Cost: O(changes · log n) node reads, where changes are the keys in which the two sides differ; memory for these.
        None is read when ``theirs`` equals ``ours`` or ``base``.

    *Source*: the rules per key are those of ``diff3`` (Khanna, Kunal & Pierce, "A Formal Investigation of Diff3",
    FSTTCS 2007, section 2) with a key for a line; what is said above of directories is ours.
    """
    clean: dict[bytes, Entry | None] = {}
    conflicts: dict[bytes, Conflict] = {}
    if theirs == base:
        return Merge(clean, (), [])
    rows: list[Sides] = []
    # What one side has, the other has not, and can be in the merged tree: only these can be in each other's place.
    lone: dict[bytes, Sides] = {}
    for key, our, their in diff(nodes, ours, theirs):
        old = our if ours == base else lookup(nodes, base, key)
        row = Sides(key, old, our, their)
        rows.append(row)
        if old == their:
            merged = our
        elif old == our or (tree and our is None and _any_directory(row)):
            merged = clean[key] = their
        elif tree and their is None and _any_directory(row):
            merged = our
        else:
            conflicts[key] = Conflict(key, old, our, their, CONTENT)
            merged = our or their
        if tree and merged is not None and (our is None or their is None):
            lone[key] = row
    if owns is not None:
        _join_wholes(rows, owns, is_part, clean, conflicts)
    empty: list[tuple[Sides, list[bytes]]] = []
    for key, below in _clashes(lone):
        row = lone[key]
        entry = row.ours or row.theirs
        if entry is None or entry.kind != DIRECTORY:
            _join_path(row, rows, clean, conflicts)
            continue
        clean.pop(key, None)
        if all(found in conflicts for found in below):
            empty.append((row, below))
        elif row.ours:
            clean[key] = None
    return Merge(clean, tuple(conflicts[key] for key in sorted(conflicts)), empty)


def _any_directory(row: Sides) -> bool:
    _, base, ours, theirs = row
    return any(entry is not None and entry.kind == DIRECTORY for entry in (base, ours, theirs))


def _clashes(lone: dict[bytes, Sides]) -> list[tuple[bytes, list[bytes]]]:
    """Keys of one side with the other side's keys below them.

    Those below never have keys of the first side below themselves, as the first side would then have both `a` and
    `a/b/c`: so no clash lies within another.
    """
    found: dict[bytes, list[bytes]] = {}
    for key, row in lone.items():
        at = key.rfind(b"/")
        while at > 0:
            above = lone.get(key[:at])
            if above is not None and (above.ours is None) != (row.ours is None):
                found.setdefault(above.key, []).append(key)
            at = key.rfind(b"/", 0, at)
    return list(found.items())


def _join_path(
    row: Sides, rows: list[Sides], clean: dict[bytes, Entry | None], conflicts: dict[bytes, Conflict]
) -> None:
    """Makes one conflict of all that differs at and below a key, so that no half of a directory is ever chosen.

    What the side with the file removed from below it belongs to the choice too: their directory is all of it.
    """
    below = _below(row, rows)
    for key in (row.key, *map(_key_of, below)):
        clean.pop(key, None)
        conflicts.pop(key, None)
    conflicts[row.key] = Conflict(*row, PATH, tuple(below))


def _join_wholes(
    rows: list[Sides],
    owns: Owns,
    is_part: IsPart | None,
    clean: dict[bytes, Entry | None],
    conflicts: dict[bytes, Conflict],
) -> None:
    """Decides as one what differs at and below a key that owns what lies below it on one side only."""
    owned: dict[bytes, Sides] = {}
    # Keys owned from beside that do not differ themselves; only parts are in such a whole, unless a whole is a part.
    equal: set[bytes] = set()
    for row in rows:
        ours = None if row.ours is None else owns(row.key, row.ours)
        theirs = None if row.theirs is None else owns(row.key, row.theirs)
        key = ours or theirs
        if ours == theirs or key is None:
            continue
        if key == row.key:
            owned[key] = row
        elif key not in owned:
            at = bisect_left(rows, key, key=_key_of)
            if at < len(rows) and rows[at].key == key:
                owned[key] = rows[at]
            else:
                owned[key] = Sides(key, None, None, None)
                equal.add(key)
    partly = set() if is_part is None else equal - {key.rpartition(b"/")[0] for key in owned.keys() - equal}
    wholes: set[bytes] = set()
    for key in sorted(owned):
        # Those within another one belong to that.
        if any(above in wholes for above in _above(key)):
            continue
        row = owned[key]
        below = _below(row, rows)
        if key in partly and is_part is not None:
            skip = len(key) + 1
            below = [one for one in below if is_part(one.key[skip:])]
        else:
            wholes.add(key)
        group = below if key in equal else [row, *below]
        for one in group:
            clean.pop(one.key, None)
            conflicts.pop(one.key, None)
        if all(one.base == one.ours for one in group):
            clean.update((one.key, one.theirs) for one in group)
        elif any(one.base != one.theirs for one in group):
            conflicts[row.key] = Conflict(*row, MEMBERS, tuple(below))


def _above(key: bytes) -> Iterator[bytes]:
    at = key.rfind(b"/")
    while at > 0:
        yield key[:at]
        at = key.rfind(b"/", 0, at)


def _below(row: Sides, rows: list[Sides]) -> list[Sides]:
    start = bisect_left(rows, row.key + b"/", key=_key_of)
    return rows[start : bisect_left(rows, row.key + b"0", start, key=_key_of)]  # `0` follows `/`


def _key_of(row: Sides) -> bytes:
    return row.key


def _resolve(conflict: Conflict, choice: Choice, edits: dict[bytes, Entry | None]) -> None:
    if choice == "ours" or isinstance(choice, Conflict):
        return
    if choice is not None and choice != "theirs" and not isinstance(choice, Entry):
        raise InvalidInputError(f"a conflict is not resolved by {choice!r}; give 'ours', 'theirs', an entry or None.")
    _set(conflict, conflict.theirs if choice == "theirs" else choice, edits)
    for row in conflict.below:
        if choice == "theirs":
            _set(row, row.theirs, edits)
        else:
            _set(row, row.ours or row.theirs if choice is None and conflict.kind == PATH else None, edits)


def _set(row: Sides | Conflict, entry: Entry | None, edits: dict[bytes, Entry | None]) -> None:
    if entry != row.ours:
        edits[row.key] = entry
