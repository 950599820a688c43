# SPDX-License-Identifier: MIT
"""The manifest of a bundle: one form, everything else refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format import bundle
from casstore.format.bundle import MAX_RECORDS, Manifest, decode_manifest, encode_manifest
from casstore.format.canonical import canonical_json

A, B, C = (Address(bytes([number]) * 32) for number in (1, 2, 3))
GOOD = Manifest(tips=(A, B), refs={"try/1": B, "ä": A}, excluded=(C,), records=7, digest=bytes(range(32)))
ENCODED = (
    b'{"digest":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f","excluded":["' + b"03" * 32 + b'"],'
    b'"number":0,"records":7,"refs":{"try/1":"' + b"02" * 32 + b'","\xc3\xa4":"' + b"01" * 32 + b'"},"tips":["'
    b"" + b"01" * 32 + b'","' + b"02" * 32 + b'"],"type":"bundle","version":1}'
)

addresses = st.binary(min_size=32, max_size=32).map(Address)
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)


def test_the_bytes_are_pinned() -> None:
    assert encode_manifest(GOOD) == ENCODED
    assert decode_manifest(ENCODED) == GOOD


@given(st.data())
def test_any_manifest_comes_back(data: st.DataObject) -> None:
    tips = data.draw(st.lists(addresses, min_size=1, max_size=5, unique=True))
    manifest = Manifest(
        tips=tuple(tips),
        refs=data.draw(st.dictionaries(names, st.sampled_from(tips), max_size=4)),
        excluded=tuple(data.draw(st.lists(addresses, max_size=5, unique=True))),
        records=data.draw(st.integers(0, MAX_RECORDS)),
        digest=data.draw(addresses),
        shallow=tuple(data.draw(st.lists(addresses, max_size=3, unique=True))),
    )
    assert decode_manifest(encode_manifest(manifest)) == manifest


BAD = [
    {"type": "ref-move"},
    {"type": "bundle2"},
    {"number": 1},
    {"number": False},
    {"version": "1"},
    {"version": True},
    {"tips": []},
    {"tips": [A.hex(), A.hex()]},
    {"tips": A.hex()},
    {"tips": [A.hex().upper().replace("0", "A")]},
    {"tips": [A.hex()[:-2]]},
    {"tips": [None]},
    {"excluded": [C.hex(), C.hex()]},
    {"excluded": None},
    {"excluded": [" " + C.hex()[1:]]},
    {"records": -1},
    {"records": 1.0},
    {"records": True},
    {"records": MAX_RECORDS + 1},
    {"records": None},
    {"digest": "00"},
    {"digest": None},
    {"refs": []},
    {"refs": {"x": C.hex()}},
    {"refs": {"": A.hex()}},
    {"refs": {"x\ny": A.hex()}},
    {"refs": {"x" * 1025: A.hex()}},
    {"refs": {"x": None}},
    {"more": 1},
]


@pytest.mark.parametrize("change", BAD, ids=str)
def test_what_is_refused(change: dict[str, object]) -> None:
    members = {**json.loads(ENCODED), **change}
    with pytest.raises(CorruptionError):
        decode_manifest(canonical_json(members))


def test_no_member_may_be_missing() -> None:
    for name in json.loads(ENCODED):
        members = json.loads(ENCODED)
        del members[name]
        with pytest.raises(CorruptionError):
            decode_manifest(canonical_json(members))


def test_a_later_version_is_named() -> None:
    with pytest.raises(FormatVersionError, match="format 3"):
        decode_manifest(canonical_json({**json.loads(ENCODED), "version": 3}))


def test_shallow_snapshots_make_a_second_version() -> None:
    """Who knows the first version only refuses it by its version, before it looks at anything else."""
    shallow = replace(GOOD, shallow=(B, C))
    encoded = encode_manifest(shallow)
    assert encoded == ENCODED.replace(
        b'"tips":', b'"shallow":["' + b"02" * 32 + b'","' + b"03" * 32 + b'"],"tips":'
    ).replace(b'"version":1', b'"version":2')
    assert decode_manifest(encoded) == shallow
    members = json.loads(encoded)
    for wrong in (
        {**members, "version": 1},
        {**json.loads(ENCODED), "version": 2},
        {**members, "shallow": []},
        {**members, "shallow": [B.hex(), B.hex()]},
        {**members, "shallow": B.hex()},
        {**members, "shallow": None},
    ):
        with pytest.raises(CorruptionError):
            decode_manifest(canonical_json(wrong))
    with pytest.raises(InvalidInputError, match="twice"):
        encode_manifest(replace(GOOD, shallow=(B, B)))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_manifest(data)


def test_what_no_reader_would_take_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def manifest(**changes: object) -> Manifest:
        fields = {"tips": (A,), "refs": {}, "excluded": (), "records": 1, "digest": bytes(32), **changes}
        return Manifest(**fields)  # type: ignore[arg-type]

    encode_manifest(manifest())
    for changes in (
        {"tips": ()},
        {"tips": (A, A)},
        {"refs": {"x": B}},
        {"refs": {"\n": A}},
        {"excluded": (B, B)},
        {"records": MAX_RECORDS + 1},
    ):
        with pytest.raises(InvalidInputError):
            encode_manifest(manifest(**changes))
    monkeypatch.setattr(bundle, "MAX_MANIFEST_BYTES", len(ENCODED) - 1)
    with pytest.raises(InvalidInputError, match="several bundles"):
        encode_manifest(GOOD)
    with pytest.raises(CorruptionError, match="too large"):
        decode_manifest(ENCODED)
