# SPDX-License-Identifier: MIT
"""Snapshots: pinned ids, a state id that sees only the state, arbitrary bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address, snapshot_address
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.canonical import canonical_json
from casstore.format.snapshot import (
    MAX_PARENTS,
    MAX_SNAPSHOT_BYTES,
    SnapshotFields,
    decode_snapshot,
    encode_snapshot,
    state_id_of,
)

A, B, C = (content_address(word) for word in (b"a", b"b", b"c"))
addresses = st.binary(min_size=32, max_size=32).map(Address)
texts = st.text(st.characters(codec="utf-8"), max_size=10)
snapshots = st.builds(
    SnapshotFields,
    roots=st.dictionaries(st.sampled_from(["files", "objects", "posix"]), addresses),
    parents=st.lists(addresses, max_size=3).map(tuple),
    message=texts,
    meta=st.dictionaries(texts, st.none() | st.integers() | texts, max_size=3),
    time_ns=st.integers(),
)
GOOD = {"message": "m", "meta": {}, "parents": [A.hex()], "roots": {"files": B.hex()}, "time_ns": 5, "version": 1}


@given(snapshots)
def test_round_trip(fields: SnapshotFields) -> None:
    encoded = encode_snapshot(fields)
    assert decode_snapshot(encoded) == fields
    assert encode_snapshot(decode_snapshot(encoded)) == encoded


def test_pinned() -> None:
    fields = SnapshotFields(
        roots={"posix": C, "files": A, "objects": B}, parents=(B, A), message="é", meta={"score": 0.5}, time_ns=-1
    )
    encoded = encode_snapshot(fields)
    a, b, c = A.hex(), B.hex(), C.hex()
    roots = f'{{"files":"{a}","objects":"{b}","posix":"{c}"}}'
    wanted = (
        f'{{"message":"é","meta":{{"score":0.5}},"parents":["{b}","{a}"],"roots":{roots},"time_ns":-1,"version":1}}'
    )
    assert encoded == wanted.encode()
    assert snapshot_address(encoded).hex() == "cfee69f34296aa104e6d83c49eeb64cee430ccae03bfcdebadf43179521847f6"
    assert state_id_of(fields.roots).hex() == "2f7e3d2c91898cfd393155a6d281a0d94198fc4801b96f08ab73d163d9be7260"
    assert state_id_of({}).hex() == "d6543b539f2a870ee880f4e3d2ff5ef1f109c8a3770f05ce844ef05a553da352"


def test_the_state_id_sees_files_and_objects_alone() -> None:
    assert state_id_of({"files": A, "posix": B}) == state_id_of({"files": A, "posix": C}) == state_id_of({"files": A})
    assert state_id_of({"files": A, "objects": B}) == state_id_of({"objects": B, "files": A})
    assert (
        len({state_id_of({"files": A}), state_id_of({"objects": A}), state_id_of({"files": B}), state_id_of({})}) == 4
    )


def make(**changes: object) -> SnapshotFields:
    fields = {"roots": {}, "parents": (), "message": "", "meta": {}, "time_ns": 0, **changes}
    return SnapshotFields(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"roots": {"other": A}},
        {"parents": (A,) * (MAX_PARENTS + 1)},
        {"message": b"bytes"},
        {"message": None},
        {"message": "\ud800"},
        {"time_ns": 1.5},
        {"time_ns": True},
        {"meta": {1: 2}},
        {"meta": {"a": {1, 2}}},
        {"message": "a" * MAX_SNAPSHOT_BYTES},
    ],
)
def test_fields_that_cannot_be_stored(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        encode_snapshot(make(**changes))


def test_as_many_parents_as_allowed() -> None:
    fields = make(parents=(A,) * MAX_PARENTS)
    assert decode_snapshot(encode_snapshot(fields)) == fields


@pytest.mark.parametrize(
    "change",
    [
        {"message": 1},
        {"meta": []},
        {"parents": {}},
        {"parents": [1]},
        {"parents": ["ab"]},
        {"parents": [A.hex().upper()]},
        {"parents": [" " * 64]},
        {"parents": ["zz" * 32]},
        {"parents": [A.hex()] * (MAX_PARENTS + 1)},
        {"roots": []},
        {"roots": {"other": A.hex()}},
        {"roots": {"files": None}},
        {"time_ns": 1.0},
        {"time_ns": True},
        {"version": "1"},
        {"version": True},
        {"more": 1},
    ],
)
def test_snapshots_that_no_writer_writes(change: dict[str, object]) -> None:
    with pytest.raises(CorruptionError):
        decode_snapshot(canonical_json({**GOOD, **change}))


@pytest.mark.parametrize("name", GOOD)
def test_no_member_may_be_missing(name: str) -> None:
    with pytest.raises(CorruptionError):
        decode_snapshot(canonical_json({key: value for key, value in GOOD.items() if key != name}))


def test_too_large_is_refused_unread() -> None:
    with pytest.raises(CorruptionError, match="too large"):
        decode_snapshot(b" " * (MAX_SNAPSHOT_BYTES + 1))


def test_a_later_version_is_named() -> None:
    with pytest.raises(FormatVersionError, match="format 2"):
        decode_snapshot(canonical_json({**GOOD, "version": 2}))


@given(st.binary(max_size=100), st.data())
def test_arbitrary_and_mutated_bytes(data: bytes, draw: st.DataObject) -> None:
    mutated = bytearray(canonical_json(GOOD))
    for _ in range(draw.draw(st.integers(0, 3))):
        mutated[draw.draw(st.integers(0, len(mutated) - 1))] = draw.draw(st.integers(0, 255))
    for candidate in (data, bytes(mutated)):
        try:
            assert encode_snapshot(decode_snapshot(candidate)) == candidate
        except CasstoreError:
            pass
