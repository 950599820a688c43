# SPDX-License-Identifier: MIT
"""Events: what a ref move says, and what a replay makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address
from casstore.errors import CasstoreError, CorruptionError
from casstore.format.canonical import canonical_json
from casstore.format.event import (
    RefMove,
    decode_ref_move,
    encode_history_cut,
    encode_ref_move,
    encode_refs_accepted,
    event_facts,
    parse_event,
)

ID = content_address(b"snapshot")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
ids = st.none() | st.binary(min_size=32, max_size=32).map(Address)
moves = st.builds(
    RefMove,
    name=texts,
    old=ids,
    new=ids,
    number=st.integers(0, 2**63 - 1),
    time_ns=st.integers(),
    actor=texts,
    reason=texts,
)
GOOD = {
    "type": "ref-move",
    "name": "main",
    "old": None,
    "new": ID.hex(),
    "number": 3,
    "time_ns": 4,
    "actor": "me",
    "reason": "why",
}


@given(moves)
def test_round_trip(move: RefMove) -> None:
    payload = encode_ref_move(move)
    assert decode_ref_move(payload) == move
    name = move.name.encode()
    number = move.number.to_bytes(8, "big")
    assert event_facts(payload) == {
        b"h" + name + b"\0" + number: payload,
        b"r" + name: None if move.new is None else move.new + number,
    }


def test_a_move_is_pinned() -> None:
    move = RefMove(name="main", old=None, new=ID, number=3, time_ns=4, actor="me", reason="why")
    assert encode_ref_move(move) == canonical_json(GOOD)
    assert decode_ref_move(canonical_json(GOOD)) == move


def test_other_events_are_kept_by_number() -> None:
    for payload in (encode_history_cut(7, 5), encode_refs_accepted(7, 99), canonical_json({"type": "x", "number": 7})):
        assert event_facts(payload) == {b"e" + (7).to_bytes(8, "big"): payload}
        with pytest.raises(CorruptionError):
            decode_ref_move(payload)
    assert parse_event(encode_history_cut(7, 5)) == {"type": "history-cut", "number": 7, "upto": 5}
    assert parse_event(encode_refs_accepted(7, 9)) == {"type": "refs-accepted", "number": 7, "time_ns": 9}


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5},
        {"name": "a\0b"},
        {"old": 5},
        {"old": "ab"},
        {"new": "zz" * 32},
        {"new": " " * 64},
        {"new": "ab " * 21 + "a"},
        {"new": ID.hex().upper()},
        {"number": -1},
        {"number": 2**63},
        {"number": True},
        {"number": 1.0},
        {"number": "1"},
        {"time_ns": 1.5},
        {"time_ns": False},
        {"actor": None},
        {"reason": []},
        {"type": "later"},
        {"type": 1},
        {"more": 1},
    ],
)
def test_moves_that_no_writer_writes(change: dict[str, object]) -> None:
    payload = canonical_json({**GOOD, **change})
    with pytest.raises(CorruptionError):
        decode_ref_move(payload)
    if change != {"type": "later"}:
        with pytest.raises(CorruptionError):
            event_facts(payload)


@pytest.mark.parametrize("name", GOOD)
def test_no_member_may_be_missing(name: str) -> None:
    payload = canonical_json({key: value for key, value in GOOD.items() if key != name})
    with pytest.raises(CorruptionError):
        event_facts(payload)
    with pytest.raises(CorruptionError):
        decode_ref_move(payload)


@pytest.mark.parametrize("data", [b"", b"1", b"[]", b"{}", b'{"number":1}', b'{"type":"x"}'])
def test_what_is_no_event(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        parse_event(data)


def as_bytes(members: dict[str, object]) -> bytes:
    try:
        return canonical_json(members)
    except CasstoreError:
        return b""


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(ID.hex())


@given(st.binary(max_size=60) | st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, json_values)).map(as_bytes))
def test_arbitrary_bytes(data: bytes) -> None:
    for decode in (parse_event, decode_ref_move, event_facts):
        try:
            decode(data)
        except CasstoreError:
            pass
