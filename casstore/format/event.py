# SPDX-License-Identifier: MIT
"""Events: facts that no rebuild could compute, so each is a record in a segment before it is anything else.

An event is canonical JSON, an object with ``type`` and ``number`` (consecutive in a store) and, by type:

=================  ==========================================================================================
``ref-move``       ``name``, ``old`` and ``new`` (hex snapshot id or null), ``time_ns``, ``actor``, ``reason``
``history-cut``    ``upto``: moves with a number up to this no longer keep their snapshots
``shallow``        ``snapshot`` (hex): its parents were given up on purpose
``refs-accepted``  ``time_ns``: after damage the refs were accepted as they are
=================  ==========================================================================================

Replaying all events in the order of their numbers gives the refs, their history and the marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casstore.address import Address, hex_address
from casstore.errors import CorruptionError
from casstore.format.canonical import JsonValue, canonical_json, parse_canonical_json
from casstore.format.index_entry import encode_number, event_key, history_key, ref_key

REF_MOVE: Final = "ref-move"
HISTORY_CUT: Final = "history-cut"
SHALLOW: Final = "shallow"
REFS_ACCEPTED: Final = "refs-accepted"

CUT_PREFIX: Final = "cut/"
CUT_REASON: Final = "cut by retention"
"""Reason of a move that no other move of its name came before; only retention gives it."""
_CUT_DIGITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RefMove:
    """One move of a ref.

    Attributes:
        name: The ref.
        old: Snapshot id it named before (32 bytes), ``None`` where it did not exist.
        new: Snapshot id it names since, ``None`` where it was deleted.
        number: Consecutive number of the event in this store.
        time_ns: Nanoseconds since 1970.
        actor: Who moved it.
        reason: Why.
    """

    name: str
    old: Address | None
    new: Address | None
    number: int
    time_ns: int
    actor: str
    reason: str


def encode_ref_move(move: RefMove) -> bytes:
    """The event's payload."""
    return canonical_json(
        {
            "type": REF_MOVE,
            "name": move.name,
            "old": move.old.hex() if move.old else None,
            "new": move.new.hex() if move.new else None,
            "number": move.number,
            "time_ns": move.time_ns,
            "actor": move.actor,
            "reason": move.reason,
        }
    )


def encode_history_cut(number: int, upto: int) -> bytes:
    """The payload of a ``history-cut`` event."""
    return canonical_json({"type": HISTORY_CUT, "number": number, "upto": upto})


def encode_shallow(number: int, snapshot: Address) -> bytes:
    """The payload of a ``shallow`` event."""
    return canonical_json({"type": SHALLOW, "number": number, "snapshot": snapshot.hex()})


def encode_refs_accepted(number: int, time_ns: int) -> bytes:
    """The payload of a ``refs-accepted`` event."""
    return canonical_json({"type": REFS_ACCEPTED, "number": number, "time_ns": time_ns})


def parse_event(payload: bytes) -> dict[str, JsonValue]:
    """The members of an event.

    Raises:
        CorruptionError: Not an event.
    """
    members = parse_canonical_json(payload)
    if not isinstance(members, dict) or not isinstance(members.get("type"), str) or not _counts(members.get("number")):
        raise CorruptionError("an event is malformed; run `casstore verify`.")
    return members


def decode_ref_move(payload: bytes) -> RefMove:
    """The move that ``payload`` tells of.

    Raises:
        CorruptionError: Not a ref move.
    """
    members = parse_event(payload)
    name, actor, reason = members.get("name"), members.get("actor"), members.get("reason")
    number, time_ns = members["number"], members.get("time_ns")
    known = {"type", "name", "old", "new", "number", "time_ns", "actor", "reason"}
    if (
        members["type"] == REF_MOVE
        and members.keys() == known
        and isinstance(name, str)
        and isinstance(actor, str)
        and isinstance(reason, str)
        and type(number) is int
        and type(time_ns) is int
        and "\0" not in name
    ):
        old, new = _snapshot(members["old"]), _snapshot(members["new"])
        return RefMove(name=name, old=old, new=new, number=number, time_ns=time_ns, actor=actor, reason=reason)
    raise CorruptionError("a ref move is malformed; run `casstore verify`.")


def cut_ref(snapshot: Address) -> str:
    """The ref that ``refs undo`` brings back to have a snapshot again that was cut off."""
    return f"{CUT_PREFIX}{snapshot.hex()[:_CUT_DIGITS]}"


def is_lone(move: RefMove) -> bool:
    """Whether nothing but deletions was ever told of a name up to this one: the ref never existed.

    Other deletions must stay for ever, as the record of a move that made the ref may lie in a segment, dead, and a
    rebuild reads that too. Of these there is none, so without the deletion there is no such ref either.
    """
    return move.reason == CUT_REASON and move.new is None and move.old is not None and move.name == cut_ref(move.old)


def event_facts(payload: bytes) -> dict[bytes, bytes | None]:
    """What an event changes in the index when events are applied in the order of their numbers.

    Raises:
        CorruptionError: Not an event.
    """
    members = parse_event(payload)
    number = members["number"]
    if not isinstance(number, int):
        raise CorruptionError("an event has no number; run `casstore verify`.")
    if members["type"] != REF_MOVE:
        return {event_key(number): payload}
    move = decode_ref_move(payload)
    named = move.new + encode_number(number) if move.new else None
    return {history_key(move.name, number): payload, ref_key(move.name): named}


def _snapshot(value: JsonValue) -> Address | None:
    address = hex_address(value)
    if address is None and value is not None:
        raise CorruptionError("a ref move names no snapshot; run `casstore verify`.")
    return address


def _counts(value: JsonValue) -> bool:
    return type(value) is int and 0 <= value < 2**63
