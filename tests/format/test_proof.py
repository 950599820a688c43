# SPDX-License-Identifier: MIT
"""The encoding of proofs: one proof, one encoding, and nothing but casstore errors from any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address, keyed_address, state_address
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.proof import (
    KEY_MODE,
    MAGIC,
    PREFIX_MODE,
    ProofFields,
    decode_proof,
    decode_table,
    encode_proof,
    encode_table,
)
from casstore.format.snapshot import state_id_of

SAMPLE = ProofFields(b"{}", "files", KEY_MODE, b"a/b", (b"one", b"\0"))
BODY = bytes.fromhex("43415370726f6f66 01 01 05 66696c6573 03 612f62 02 7b7d 02 03 6f6e65 01 00".replace(" ", ""))
DIGEST = bytes.fromhex("97f233776f0e8f863a6ae8dc7f954553415d8b678fa4d0e0c4f5b043222366e2")


def seal(body: bytes) -> bytes:
    """A body with the digest that anybody can compute."""
    return body + keyed_address("proof")(body)


addresses = st.binary(max_size=3).map(content_address)
tables = st.dictionaries(st.sampled_from(["files", "objects"]), addresses)
keys = st.sampled_from([b"a", b"src/a.py", b"\xff/\xfe", b"k" * 4096])
proofs = st.builds(
    ProofFields,
    table=tables.map(encode_table),
    root_name=st.sampled_from(["files", "objects"]),
    mode=st.just(KEY_MODE),
    key=keys,
    nodes=st.lists(st.binary(min_size=1, max_size=200), max_size=5).map(tuple),
)
prefixes = st.one_of(keys, st.sampled_from([b"", b"src/", b"/", b"\0"]))
all_proofs = st.one_of(
    proofs, st.builds(lambda fields, prefix: fields._replace(mode=PREFIX_MODE, key=prefix), proofs, prefixes)
)


def test_the_bytes_are_pinned() -> None:
    encoded = encode_proof(SAMPLE)
    assert encoded == BODY + DIGEST
    assert decode_proof(encoded) == SAMPLE


@given(all_proofs)
def test_what_is_encoded_is_decoded(fields: ProofFields) -> None:
    assert decode_proof(encode_proof(fields)) == fields


@given(
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=80).map(lambda tail: MAGIC + tail),
        st.binary(max_size=80).map(lambda tail: seal(MAGIC + b"\x01" + tail)),
        st.binary(max_size=80).map(lambda tail: seal(BODY[:16] + tail)),
        st.binary(max_size=80).map(lambda tail: seal(BODY[:24] + tail)),
    )
)
def test_arbitrary_bytes_raise_only_casstore_errors(data: bytes) -> None:
    try:
        fields = decode_proof(data)
    except CasstoreError:
        return
    assert encode_proof(fields) == data


@given(all_proofs, st.data())
def test_a_forged_change_is_another_proof_or_none(fields: ProofFields, data: st.DataObject) -> None:
    """With a digest computed anew: what decodes is still in its one form."""
    body = bytearray(encode_proof(fields)[:-32])
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    forged = seal(bytes(body))
    try:
        found = decode_proof(forged)
    except CasstoreError:
        return
    assert found != fields
    assert encode_proof(found) == forged


def test_every_changed_bit_and_every_cut_is_noticed() -> None:
    encoded = encode_proof(SAMPLE)
    for bit in range(8 * len(encoded)):
        changed = bytearray(encoded)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, FormatVersionError)):
            decode_proof(bytes(changed))
    for end in range(len(encoded)):
        with pytest.raises(CorruptionError):
            decode_proof(encoded[:end])
    for end in range(len(BODY)):
        with pytest.raises(CorruptionError):
            decode_proof(seal(BODY[:end]))
    for longer in (encoded + b"\0", seal(BODY + b"\0")):
        with pytest.raises(CorruptionError):
            decode_proof(longer)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x01\x05files", b"\x00\x05files"),  # no such mode
        (b"\x01\x05files", b"\x03\x05files"),
        (b"\x05files", b"\x05filez"),
        (b"\x05files", b"\x05posix"),
        (b"\x05files", b"\x85\x00files"),  # a number not in its shortest form
        (b"\x05files", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7ffiles"),
        (b"\x03a/b", b"\x00"),  # keys that no tree holds
        (b"\x03a/b", b"\x03a//"),
        (b"\x03a/b", b"\x04a/.."),
        (b"\x03a/b", b"\x81\x20" + b"k" * 4097),
        (b"\x02{}\x02", b"\x02{}\x03"),  # counts of nodes
        (b"\x02{}\x02", b"\x02{}\x01"),
        (b"\x02{}\x02", b"\x02{}\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        (b"\x02{}", b"\x81\x02" + b"x" * 257),
        (b"\x01\x00", b"\x00"),  # an empty node
    ],
)
def test_what_no_writer_makes_is_refused(old: bytes, new: bytes) -> None:
    assert BODY.count(old) == 1 or old == b"\x01\x00"
    with pytest.raises(CorruptionError):
        decode_proof(seal(new.join(BODY.rsplit(old, 1))))


def test_a_prefix_may_be_longer_than_no_key() -> None:
    fields = SAMPLE._replace(mode=PREFIX_MODE, key=b"k" * 4096)
    assert decode_proof(encode_proof(fields)) == fields
    body = encode_proof(fields)[:-32].replace(b"\x80\x20k", b"\x81\x20kk")
    with pytest.raises(CorruptionError, match="longer than 4096"):
        decode_proof(seal(body))


def test_empty_nodes_are_refused_before_they_are_collected() -> None:
    with pytest.raises(CorruptionError, match="a node is empty;"):
        decode_proof(seal(BODY[:-7] + b"\x80\x80\x04" + bytes(1 << 16)))


def test_a_later_version_is_named() -> None:
    with pytest.raises(FormatVersionError, match="format 2"):
        decode_proof(seal(BODY[:8] + b"\x02" + BODY[9:]))


@pytest.mark.parametrize(
    "fields",
    [
        SAMPLE._replace(root_name="posix"),
        SAMPLE._replace(mode=3),
        SAMPLE._replace(key=b"a/"),
        SAMPLE._replace(key=b""),
        SAMPLE._replace(mode=PREFIX_MODE, key=b"k" * 4097),
        SAMPLE._replace(table=b" " * 257),
        SAMPLE._replace(nodes=(b"",)),
        SAMPLE._replace(nodes=(bytes(16 * 1024 * 1024 + 1),)),
    ],
)
def test_what_no_reader_takes_is_not_written(fields: ProofFields) -> None:
    with pytest.raises(InvalidInputError):
        encode_proof(fields)


@given(tables)
def test_the_table_is_what_a_state_id_hashes(roots: dict[str, Address]) -> None:
    table = encode_table(roots)
    assert state_address(table) == state_id_of(roots)
    assert decode_table(table) == roots
    assert encode_table({**roots, "posix": content_address(b"")}) == table


HEX = content_address(b"").hex().encode()


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"files":1}',
        b'{"files":"00"}',
        b'{"posix":"%b"}' % HEX,
        b'{"files": "%b"}' % HEX,
        b'{"files":"%b"}' % HEX.upper(),
        b'{"objects":"%b","files":"%b"}' % (HEX, HEX),
        b'{"files":"%b","files":"%b"}' % (HEX, HEX),
        b'{"files":"%b"}' % (b" " + HEX[1:]),
        b" " * 257,
        b"[" * 250,
        b"\xff",
    ],
)
def test_tables_that_no_state_has_are_refused(table: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_table(table)


@given(st.binary(max_size=300))
def test_arbitrary_tables_raise_only_corruption(data: bytes) -> None:
    try:
        roots = decode_table(data)
    except CorruptionError:
        return
    assert encode_table(roots) == data
