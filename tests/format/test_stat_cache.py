# SPDX-License-Identifier: MIT
"""Records of the stat cache, byte by byte; and whatever bytes there are, they are a record or an error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.stat_cache import (
    NO_RULES,
    UNSETTLED,
    VERSION,
    CacheHead,
    FolderRecord,
    cache_key,
    decode_folder,
    decode_head,
    encode_folder,
    encode_head,
    folder_key,
    head_key,
)

u64 = st.integers(0, 2**64 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
u32 = st.integers(0, 2**32 - 1)
sixteen = st.binary(min_size=16, max_size=16)
names = (
    st.binary(min_size=1, max_size=9)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda name: name not in (b".", b".."))
)
reasons = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@st.composite
def records(draw: st.DrawFn) -> FolderRecord:
    members = draw(st.lists(names, max_size=5))
    stats = [draw(st.tuples(u64, u64, i64, i64, u32)) for _ in members]
    left_out = draw(st.lists(st.tuples(st.one_of(names, names.map(lambda name: name + b"/")), reasons), max_size=3))
    folders = draw(st.lists(names, max_size=5))
    return FolderRecord(
        draw(u64), draw(i64), draw(i64), draw(st.booleans()), draw(sixteen), members, stats, folders, left_out
    )


def fields(record: FolderRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in FolderRecord.__slots__}


def written(record: FolderRecord) -> bytes:
    """The record field by field, from the layout in the docs."""
    data = bytes([1, 1 if record.listed else 0])
    data += struct.pack("<Qqq", record.inode, record.mtime_ns, record.ctime_ns) + record.rules
    data += struct.pack("<III", len(record.members), len(record.folders), len(record.left_out))
    for inode, size, mtime_ns, ctime_ns, mode in record.stats:
        data += struct.pack("<QQqqI", inode, size, mtime_ns, ctime_ns, mode)
    for name in record.members + record.folders:
        data += name + b"\0"
    for name, why in record.left_out:
        data += name + b"\0" + why.encode() + b"\0"
    return data


def some(members: list[bytes], folders: list[bytes], left_out: list[tuple[bytes, str]] | None = None) -> FolderRecord:
    return FolderRecord(1, 2, 3, True, NO_RULES, members, [(4, 5, 6, 7, 8)] * len(members), folders, left_out or [])


@given(records())
def test_a_folder_comes_back(record: FolderRecord) -> None:
    data = encode_folder(record)
    assert data == written(record)
    assert fields(decode_folder(data)) == fields(record)


@given(st.binary(min_size=32, max_size=32), sixteen, sixteen, st.booleans())
def test_a_head_comes_back(snapshot: bytes, selection: bytes, place: bytes, posix: bool) -> None:
    head = CacheHead(Address(snapshot), selection, place, posix)
    data = encode_head(head)
    assert data == bytes([1, posix]) + snapshot + selection + place
    assert decode_head(data) == head
    for wrong in (data[:-1], data + b"\0", b"\2" + data[1:], b""):
        with pytest.raises(CorruptionError):
            decode_head(wrong)


def test_keys_keep_directories_and_folders_apart() -> None:
    identity = cache_key(2, 3)
    assert identity == bytes(7) + b"\2" + bytes(7) + b"\3"
    assert len(cache_key(2**64 - 1, 2**64 - 1)) == 16
    assert head_key(identity) == identity + b"\0"
    assert folder_key(identity, b"") == identity + b"/"
    assert folder_key(identity, b"a/\xff/") == identity + b"/a/\xff/"


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    for decode in (decode_folder, decode_head):
        for start in (b"", bytes([VERSION])):
            try:
                decode(start + data)
            except CorruptionError:
                pass


@given(records(), st.data())
def test_every_changed_byte_is_a_record_or_an_error(record: FolderRecord, data: st.DataObject) -> None:
    encoded = bytearray(encode_folder(record))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_folder(bytes(encoded))
    except CorruptionError:
        return
    assert len(found.members) == len(found.stats)
    for name in found.members + found.folders:
        assert name not in (b"", b".", b"..")
        assert b"/" not in name
        assert b"\0" not in name


@pytest.mark.parametrize(
    "data",
    [
        b"",
        written(some([], []))[:-1],
        written(some([], [])) + b"\0",
        written(some([], [])) + b"rest",
        written(some([b"a"], [b"b"]))[:-1],
        written(some([b"a"], [b"b"])) + b"c",
        written(some([b"a"], [b"b"])) + b"c\0",
        b"\2" + written(some([b"a"], []))[1:],
        written(some([b"a"], []))[:42] + b"\xff\xff\xff\xff" + written(some([b"a"], []))[46:],
        written(some([], [b"a"]))[:46] + b"\xff\xff\xff\xff" + written(some([], [b"a"]))[50:],
    ],
)
def test_records_that_no_writer_writes(data: bytes) -> None:
    with pytest.raises(CorruptionError, match="malformed"):
        decode_folder(data)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"/", b"a/b", b"../a", b"/etc/passwd"])
def test_a_name_that_leads_elsewhere_is_none(name: bytes) -> None:
    for record in (some([name], []), some([], [name])):
        with pytest.raises(CorruptionError, match="malformed"):
            decode_folder(written(record))


def test_times_beyond_64_bits_are_kept_as_near_as_can_be() -> None:
    late, early = 2**63 + 5, -(2**63) - 5
    record = FolderRecord(1, late, early, True, NO_RULES, [b"a"], [(1, 2, late, early, UNSETTLED | 8)], [], [])
    found = decode_folder(encode_folder(record))
    assert (found.mtime_ns, found.ctime_ns) == (2**63 - 1, -(2**63))
    assert found.stats == [(1, 2, 2**63 - 1, -(2**63), UNSETTLED | 8)]


def test_a_reason_that_is_no_text_does_not_break_the_record() -> None:
    record = some([], [], [(b"a", "\udcff\0b")])
    assert decode_folder(encode_folder(record)).left_out == [(b"a", "??b")]


HEX = """
01 01
15 cd 5b 07 00 00 00 00  00 65 cd 1d 00 01 00 00  02 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
01 00 00 00  01 00 00 00  01 00 00 00
07 00 00 00 00 00 00 00  05 00 00 00 00 00 00 00  ff ff ff ff ff ff ff ff  09 00 00 00 00 00 00 00  a4 81 00 80
61 00  64 00  66 00 61 20 46 49 46 4f 00
"""


def test_the_worked_example() -> None:
    record = decode_folder(bytes.fromhex(HEX))
    assert (record.inode, record.mtime_ns, record.ctime_ns, record.listed) == (123456789, 0x1001DCD6500, 2, True)
    assert (record.members, record.folders, record.left_out) == ([b"a"], [b"d"], [(b"f", "a FIFO")])
    assert record.stats == [(7, 5, -1, 9, 0o100644 | UNSETTLED)]
    assert encode_folder(record) == bytes.fromhex(HEX)
