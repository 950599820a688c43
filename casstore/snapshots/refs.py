# SPDX-License-Identifier: MIT
"""Refs: durable, mutable names of snapshots, moved by compare-and-set, with a history.

A move is an event: first a record behind everything it refers to, then, in one synced batch, the ref and its history.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, MutableMapping
from contextlib import nullcontext
from typing import TypeGuard

from casstore.address import Address, check_address, event_address
from casstore.errors import ConflictError, CorruptionError, InvalidInputError, NotFoundError
from casstore.format.event import CUT_REASON, RefMove, decode_ref_move, encode_ref_move, event_facts
from casstore.format.index_entry import HISTORY, REF, decode_ref, history_prefix, ref_key
from casstore.format.kinds import EVENT, SNAPSHOT
from casstore.snapshots.history import history_cut
from casstore.snapshots.snapshot import Snapshot, Snapshots

MAX_NAME_BYTES = 255
WORKSPACE_PREFIX = "workspace/"
"""What the names of refs begin with that keep what was saved from workspaces."""
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_HEX = re.compile(r"[0-9a-fA-F]+")


def check_ref_name(name: object) -> str:
    """``name`` itself, where it can name a ref: git's rules, and not all hex digits.

    Raises:
        InvalidInputError: It cannot.
    """
    if not isinstance(name, str) or not name:
        raise InvalidInputError(f"{name!r} is no ref name; give a text such as 'main' or 'try/3'.")
    problem = None
    if _FORBIDDEN.search(name):
        problem = "holds a space, a control character, `..`, `//`, `@{` or one of ~ ^ : ? * [ \\"
    elif name.startswith("/") or name.endswith(("/", ".")) or name == "@":
        problem = "begins or ends with `/`, ends with `.`, or is `@`"
    elif any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        problem = "has a component that begins with `.` or ends with `.lock`"
    elif name.startswith("-"):
        problem = "begins with `-`"
    elif _HEX.fullmatch(name):
        problem = "is all hex digits and would pass for a snapshot id"
    else:
        try:
            if len(name.encode()) > MAX_NAME_BYTES:
                problem = f"is longer than {MAX_NAME_BYTES} bytes"
        except UnicodeEncodeError:
            problem = "is not valid Unicode"
    if problem:
        raise InvalidInputError(f"{name!r} cannot name a ref: it {problem}.", path=name)
    return name


class Refs(MutableMapping[str, Snapshot]):
    """Names of snapshots, in the order of their names.

    *Durability*: a move is durable on return; it is a sync point for all that was put before.

    Attributes:
        deleted: Moves since the store was opened after which the ref was gone.
    """

    __slots__ = ("_actor", "_backend", "_kept", "_snapshots", "deleted")

    def __init__(self, snapshots: Snapshots, actor: str | None) -> None:
        self._snapshots = snapshots
        self._backend = snapshots.storage.backend
        self._actor = actor
        self.deleted = 0
        # What is known to be whole, or not to have been collected; looked for where that matters.
        self._kept: set[Address] | None = None

    def id_of(self, name: str) -> Address | None:
        """Id of the snapshot that the ref names, or None where there is no such ref."""
        value = self._backend.fact(ref_key(name))
        return None if value is None else decode_ref(ref_key(name), value)[1]

    def ids(self) -> Iterator[tuple[str, Address]]:
        """Names and snapshot ids, in order, without reading the snapshots."""
        for key, value in self._backend.facts(REF):
            yield decode_ref(key, value)

    def __getitem__(self, name: str) -> Snapshot:
        missing: Address | None = None
        while (found := self.id_of(check_ref_name(name))) is not None:
            try:
                return self._snapshots.get(found)
            except NotFoundError:
                # Another thread may have moved the ref since, and a collection taken what it named: look again.
                if found == missing:
                    # Not "no such ref": who asks with a default must not take the ref for a free name.
                    raise CorruptionError(
                        f"the ref {name!r} names the snapshot {found.hex()}, which is missing; run `casstore repair`, "
                        f"or take the last move back with `casstore refs undo {name}`.",
                        address=found,
                        path=name,
                    ) from None
                missing = found
        raise _no_ref(name)

    def __contains__(self, name: object) -> bool:
        return is_ref_name(name) and self.id_of(name) is not None

    def __setitem__(self, name: str, snapshot: Snapshot) -> None:
        with self._backend.write_lock():
            self._move(name, self.id_of(check_ref_name(name)), self._id(snapshot), "set")

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.ids())

    def __len__(self) -> int:
        return sum(1 for _ in self.ids())

    def delete(self, name: str, *, reason: str = "delete") -> RefMove:
        """Removes a ref; ``undo`` brings it back as long as history is kept.

        Raises:
            NotFoundError: There is no such ref.
        """
        with self._backend.write_lock():
            old = self.id_of(check_ref_name(name))
            if old is None:
                raise _no_ref(name)
            return self._move(name, old, None, reason)

    def compare_and_set(
        self,
        name: str,
        expected: Snapshot | Address | None,
        new: Snapshot | Address | None,
        *,
        reason: str = "set",
    ) -> RefMove:
        """Moves a ref from ``expected`` to ``new``; ``None`` stands for "no such ref".

        Raises:
            ConflictError: The ref names something else by now; the message has both ids.
            NotFoundError: ``new`` is not in the store.
        """
        with self._backend.write_lock():
            current = self.id_of(check_ref_name(name))
            wanted = self._id(expected)
            if wanted is None and current is not None:
                raise ConflictError(
                    f"a ref named {name!r} exists: it names {_text(current)}, where nothing was expected; "
                    "choose another name, or delete it first.",
                    path=name,
                    address=current,
                )
            if current != wanted:
                raise ConflictError(
                    f"the ref {name!r} names {_text(current)}, not {_text(wanted)} as expected; look at it with "
                    f"`casstore refs history {name}` and decide again.",
                    path=name,
                    address=current,
                )
            return self._move(name, current, self._id(new), reason)

    def rename(self, old: str, new: str) -> None:
        """Gives a ref another name; its history stays under the old one, where ``undo`` finds it.

        Raises:
            NotFoundError: There is no ``old``.
            ConflictError: ``new`` exists.
        """
        with self._backend.write_lock():
            snapshot = self.id_of(check_ref_name(old))
            if snapshot is None:
                raise _no_ref(old)
            if self.id_of(check_ref_name(new)) is not None:
                raise ConflictError(f"a ref named {new!r} exists; delete it first or choose another name.", path=new)
            self._check_target(snapshot)
            with self._backend.freeing():
                made = self._record(new, None, snapshot, f"renamed from {old}")
                gone = self._record(old, snapshot, None, f"renamed to {new}")
                # The new name first: a crash between the two records leaves both names, never none.
                self._backend.sync({**event_facts(encode_ref_move(made)), **event_facts(encode_ref_move(gone))})

    def history(self, name: str) -> list[RefMove]:
        """The moves of a ref, newest first; empty where it never existed."""
        moves = [decode_ref_move(payload) for _, payload in self._backend.facts(history_prefix(check_ref_name(name)))]
        return moves[::-1]

    def undo(self, name: str) -> RefMove:
        """Takes back the last move; done twice, it takes back the undo.

        Raises:
            NotFoundError: The ref has no history, or the state it named before was collected or is no longer kept.
        """
        with self._backend.write_lock():
            moves = self.history(name)
            if not moves:
                raise NotFoundError(f"the ref {name!r} has no history, so there is nothing to undo.", path=name)
            last = moves[0]
            if last.old is not None and last.number <= history_cut(self._snapshots.storage):
                # What it named may be gone in part: an index made anew finds snapshots that were collected before.
                raise NotFoundError(
                    f"the last move of {name!r} is older than the history that is kept; look for the state with "
                    "`casstore log` and set the ref to it.",
                    path=name,
                    address=last.old,
                )
            return self._move(name, last.new, last.old, f"undo of {last.number}")

    def _move(self, name: str, old: Address | None, new: Address | None, reason: str) -> RefMove:
        if reason == CUT_REASON:
            # The collector drops such a deletion, and the record of what made the ref may outlive it.
            raise InvalidInputError(f"the reason {reason!r} is retention's own; give another one.", path=name)
        if new is not None:
            self._check_target(new)
        # Deleting a ref must be possible where there is no room left, or there would be nothing to collect.
        with nullcontext() if new is not None else self._backend.freeing():
            move = self._record(name, old, new, reason)
            self._backend.sync(event_facts(encode_ref_move(move)))
        return move

    def _check_target(self, snapshot: Address) -> None:
        entry = self._backend.find(snapshot)
        if entry is None or entry.kind != SNAPSHOT or not self._backend.hit(snapshot, entry):
            raise NotFoundError(
                f"no snapshot has the id {snapshot.hex()}; it may have been collected.", address=snapshot
            )
        if self._backend.interrupted:
            self._check_revived(snapshot)
        else:
            self._kept = None

    def _check_revived(self, snapshot: Address) -> None:
        """What nothing kept may have been collected, and be back in part; so may what new snapshots are made of."""
        # Imported on use: hardly ever needed.
        from casstore.snapshots.wholeness import check_whole, seen_from

        if self._kept is None:
            # What refs and their history keep was not collected: where something of it is missing, that is damage,
            # which `verify` names, and no reason to refuse what is built on it.
            kept = {found for _, found in self.ids()}
            cut = history_cut(self._snapshots.storage)
            for _, payload in self._backend.facts(HISTORY):
                move = decode_ref_move(payload)
                if move.number > cut:
                    kept |= {found for found in (move.old, move.new) if found is not None}
            self._kept = seen_from(self._snapshots, kept)
        check_whole(self._snapshots, snapshot, self._kept)

    def _record(self, name: str, old: Address | None, new: Address | None, reason: str) -> RefMove:
        """The event of a move, as a record that waits for the next sync; the write lock is held."""
        if not isinstance(reason, str):
            raise InvalidInputError(f"the reason of a move is a str, not {reason!r}.", path=name)
        backend = self._backend
        move = RefMove(
            name=name,
            old=old,
            new=new,
            number=backend.next_event(),
            time_ns=time.time_ns(),
            actor=self._who(),
            reason=reason,
        )
        payload = encode_ref_move(move)
        backend.put([self._snapshots.storage.record(EVENT, event_address(payload), payload)])
        self.deleted += new is None
        return move

    def _who(self) -> str:
        if self._actor is None:
            import pwd

            try:
                self._actor = pwd.getpwuid(os.getuid()).pw_name
            except KeyError:
                self._actor = str(os.getuid())
        return self._actor

    @staticmethod
    def _id(snapshot: Snapshot | Address | None) -> Address | None:
        if isinstance(snapshot, Snapshot):
            return snapshot.id
        if isinstance(snapshot, str):
            raise InvalidInputError(
                f"a ref names a snapshot, not {snapshot!r}; give store.snapshot({snapshot!r}) or an id."
            )
        return None if snapshot is None else check_address(snapshot)


def is_ref_name(name: object) -> TypeGuard[str]:
    """Whether ``name`` can name a ref."""
    try:
        check_ref_name(name)
    except InvalidInputError:
        return False
    return True


def _no_ref(name: str) -> NotFoundError:
    return NotFoundError(f"no ref is named {name!r}; list refs with `casstore refs`.", path=name)


def _text(address: Address | None) -> str:
    return "nothing" if address is None else address.hex()[:12]
