# SPDX-License-Identifier: MIT
"""LevelDB's log format and version edits, by the words of the format, and from arbitrary bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casstore.errors import CorruptionError
from casstore.storage import leveldb_manifest
from casstore.storage.leveldb_log import BLOCK_BYTES, HEADER_BYTES, records
from casstore.storage.leveldb_manifest import LiveFiles, parse_manifest


def _log(*payloads: bytes) -> bytes:
    """A log of these records, by the words of the format; its checksums, which nobody looks at here, are zero."""
    data = bytearray()
    for payload in payloads:
        parts = 0
        rest = payload
        while rest or not parts:
            room = BLOCK_BYTES - len(data) % BLOCK_BYTES
            if room < HEADER_BYTES:
                data += bytes(room)
                room = BLOCK_BYTES
            part, rest = rest[: room - HEADER_BYTES], rest[room - HEADER_BYTES :]
            kind = (3 if rest else 4) if parts else (2 if rest else 1)
            data += bytes(4) + len(part).to_bytes(2, "little") + bytes([kind]) + part
            parts += 1
    return bytes(data)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


SOUND = b"\x02\x05\x03\x09\x04\x07"
"""Log number 5, next file number 9, last sequence number 7."""


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (b"\x02\x05\x04\x07", "no next file number"),
        (b"\x03\x05\x04\x07", "no log number"),
        (b"\x02\x05\x03\x07", "no last sequence number"),
        (SOUND + b"\x08", "unknown field 8"),
        (SOUND + b"\x02", "cut short"),
        (SOUND + b"\x02" + b"\x80" * 9, "cut short"),
        (SOUND + b"\x02" + b"\xff" * 9 + b"\x7f", "too large"),
        (SOUND + b"\x02" + b"\x80" * 20 + b"\x01", "too large"),
        (SOUND + b"\x01\x05abcd", "string .* cut short"),
        (SOUND + b"\x05\x07\x01a", "level 7"),
        (SOUND + b"\x06\x07\x01", "level 7"),
        (SOUND + b"\x07\x07\x01\x01\x01a\x01a", "level 7"),
        (SOUND + b"\x07\x00\x09\x01\x01a\x01a", "names table 9, but 9"),
        (SOUND + b"\x07\x00\x08\x01\x01a\xff\xff\xff\xff\x0fa", "string .* cut short"),
    ],
)
def test_edits_that_are_refused(edit: bytes, message: str) -> None:
    with pytest.raises(CorruptionError, match=message):
        parse_manifest(_log(edit))


def test_edits_that_are_taken() -> None:
    plain = LiveFiles(frozenset(), 5, 0, 9, 7)
    assert parse_manifest(_log(SOUND)) == plain
    table = b"\x00\x08\x01\x01a\x01a"
    assert parse_manifest(_log(SOUND + b"\x07" + table)).tables == {8}
    moved = [SOUND + b"\x07" + table, b"\x07\x01" + table[1:] + b"\x06\x00\x08"]
    assert parse_manifest(_log(*moved)).tables == {8}
    assert parse_manifest(_log(*moved, b"\x06\x01\x08")).tables == frozenset()
    assert parse_manifest(_log(SOUND + b"\x09\x03")).previous_log_number == 3
    assert parse_manifest(_log(SOUND + b"\x02" + _varint(2**64 - 1))).log_number == 2**64 - 1
    assert parse_manifest(_log(SOUND) + bytes(500)) == plain, "a tail of zeros, as a power loss leaves"
    long = _log(b"\x01" + _varint(100_000) + bytes(100_000) + SOUND)
    assert len(long) > 3 * BLOCK_BYTES
    assert parse_manifest(long) == plain


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(4) + b"\x01\x00\x05a", "unknown type 5"),
        (bytes(4) + b"\x01\x00\x00a", "unknown type 0"),
        (bytes(4) + b"\x01\x00\x03a", "lacks its first part"),
        (bytes(4) + b"\x01\x00\x04a", "lacks its first part"),
        (bytes(4) + b"\x01\x00\x02a" + _log(b"b"), "without its last part"),
        (bytes(4) + b"\x01\x00\x02a" + bytes(7), "broken off"),
        ((bytes(4) + b"\xff\xff\x01").ljust(BLOCK_BYTES, b"a"), "runs over the end"),
    ],
)
def test_logs_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(CorruptionError, match=message):
        list(records(data))


def test_logs_that_are_taken() -> None:
    assert list(records(b"")) == []
    assert list(records(bytes(3 * BLOCK_BYTES) + _log(b"a"))) == [b"a"]
    assert list(records(bytes(4) + b"\x00\x00\x02" + _log(b"b"))) == [b"b"], "an empty first part counts for nothing"
    empty = bytes(HEADER_BYTES) + b"what was here before"
    assert list(records(empty.ljust(BLOCK_BYTES, b"x") + _log(b"a"))) == [b"a"]
    assert list(records(_log(b"a") + bytes(4) + b"\xff\xff\x01" + b"torn")) == [b"a"]
    filler = _log(bytes(BLOCK_BYTES - HEADER_BYTES - 6))
    assert list(records(filler + b"\xff" * 6 + _log(b"b")))[1:] == [b"b"]


def test_a_hostile_manifest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leveldb_manifest, "MAX_TABLES", 1_000)
    tables = [b"\x07\x00" + _varint(number) + b"\x01\x00\x00" for number in range(1_001)]
    sound = b"\x02\x05\x03" + _varint(2_000) + b"\x04\x07"
    assert len(parse_manifest(_log(sound, *tables[:1_000])).tables) == 1_000
    with pytest.raises(CorruptionError, match="edit of the MANIFEST names more than 1000 tables"):
        parse_manifest(_log(sound + b"".join(tables)))
    with pytest.raises(CorruptionError, match="edit of the MANIFEST names more than 1000 tables"):
        parse_manifest(_log(sound + b"\x06\x00\x01" * 1_001))
    with pytest.raises(CorruptionError, match="the MANIFEST names more than 1000 tables"):
        parse_manifest(_log(sound, b"".join(tables[::2]), b"".join(tables[1::2])))


FIELDS = st.one_of(
    st.builds(lambda tag, number: bytes([tag]) + _varint(number), st.sampled_from([2, 3, 4, 9]), st.integers(0, 2**64)),
    st.builds(lambda level, n: bytes([6, level]) + _varint(n), st.integers(0, 7), st.integers(0, 300)),
    st.builds(
        lambda level, n, key: bytes([7, level]) + _varint(n) + b"\x01" + (_varint(len(key)) + key) * 2,
        st.integers(0, 7),
        st.integers(0, 300),
        st.binary(max_size=20),
    ),
    st.binary(max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(_log),
        st.lists(FIELDS, max_size=12).map(lambda fields: _log(SOUND + b"".join(fields))),
        st.tuples(st.integers(0, 40_000), st.binary(max_size=60)).map(lambda pair: bytes(pair[0]) + pair[1]),
    )
)
def test_arbitrary_bytes(data: bytes) -> None:
    try:
        live = parse_manifest(data)
    except CorruptionError:
        return
    assert all(0 <= number < live.next_file_number for number in live.tables)


@settings(max_examples=300, deadline=None)
@given(payloads=st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 80_000).map(bytes)), max_size=6))
def test_records_against_a_plain_writer(payloads: list[bytes]) -> None:
    assert list(records(_log(*payloads))) == payloads
