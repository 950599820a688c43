# SPDX-License-Identifier: MIT
"""What is known of a workspace, in bytes: there and back, pinned, and whatever else may stand there."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.canonical import canonical_json
from casstore.format.workspace_files import (
    KINDS,
    MAX_BYTES,
    Info,
    Journal,
    LastSwitch,
    decode_info,
    decode_journal,
    decode_state,
    encode_info,
    encode_journal,
    is_workspace_id,
)

ONE, TWO, THREE = (Address(bytes([number]) * 32) for number in (1, 2, 3))
PLAIN = Info(id="0123abcd", path="/home/me/work", device=64769, inode=131072, created_ns=1_700_000_000_000_000_000)
FULL = Info(
    id="ffffffff",
    path="/caf\u00e9/\udcff",
    device=2**64 - 1,
    inode=2**64 - 1,
    kind="overlay",
    base=ONE,
    base_ref="main",
    ignore="git",
    keep_git=False,
    metadata="full",
    lower=TWO,
    created_ns=1,
    last_switch=LastSwitch(source=THREE, target=ONE, base=TWO, ref="other", time_ns=2),
)
JOURNAL = Journal(token="0123456789abcdef", source=ONE, target=None, base=TWO, ref="main", time_ns=3)

PLAIN_JSON = (
    b'{"base":null,"base_ref":null,"created_ns":1700000000000000000,"device":64769,"id":"0123abcd","ignore":"nothing",'
    b'"inode":131072,"keep_git":true,"kind":"plain","last_switch":null,"lower":null,"metadata":"basic",'
    b'"path":"/home/me/work","version":1}'
)
FULL_JSON = (
    b'{"base":"' + b"01" * 32 + b'","base_ref":"main","created_ns":1,"device":18446744073709551615,"id":"ffffffff",'
    b'"ignore":"git","inode":18446744073709551615,"keep_git":false,"kind":"overlay","last_switch":{"base":"'
    + b"02" * 32
    + b'","from":"'
    + b"03" * 32
    + b'","ref":"other","time_ns":2,"to":"'
    + b"01" * 32
    + b'"},"lower":"'
    + b"02" * 32
    + b'","metadata":"full","path":"/caf\xc3\xa9/\xef\xbf\xbd","path_bytes":"2f636166c3a92fff","version":1}'
)
JOURNAL_JSON = (
    b'{"base":"' + b"02" * 32 + b'","from":"' + b"01" * 32 + b'","ref":"main","time_ns":3,"to":null,'
    b'"token":"0123456789abcdef","undo":false,"version":1}'
)


def sealed(body: bytes, context: str = "workspace") -> bytes:
    """The file with that body, made without the code under test."""
    key = blake3(b"", derive_key_context=f"casstore v1 {context}").digest()
    return body + b"\n" + blake3(body, key=key).hexdigest().encode() + b"\n"


# -- there and back

ids = st.none() | st.binary(min_size=32, max_size=32).map(Address)
numbers = st.integers(0, 2**64 - 1)
paths = st.binary(max_size=60).filter(lambda raw: b"\0" not in raw).map(lambda raw: os.fsdecode(b"/" + raw))
refs = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
switches = st.builds(LastSwitch, source=ids, target=ids, base=ids, ref=refs, time_ns=numbers)
infos = st.builds(
    Info,
    id=st.integers(0, 2**32 - 1).map("{:08x}".format),
    path=paths,
    device=numbers,
    inode=numbers,
    kind=st.sampled_from(KINDS),
    base=ids,
    base_ref=refs,
    ignore=st.sampled_from(["nothing", "git"]),
    keep_git=st.booleans(),
    metadata=st.sampled_from(["basic", "full"]),
    lower=ids,
    created_ns=numbers,
    last_switch=st.none() | switches,
)
journals = st.builds(
    Journal,
    token=st.binary(min_size=8, max_size=8).map(bytes.hex),
    source=ids,
    target=ids,
    base=ids,
    ref=refs,
    time_ns=numbers,
    undo=st.booleans(),
)


@given(infos)
def test_info_there_and_back(info: Info) -> None:
    assert decode_info(encode_info(info)) == info


@given(journals)
def test_journal_there_and_back(journal: Journal) -> None:
    assert decode_journal(encode_journal(journal)) == journal


def test_the_bytes_never_change() -> None:
    assert encode_info(PLAIN) == sealed(PLAIN_JSON)
    assert encode_info(FULL) == sealed(FULL_JSON)
    assert encode_journal(JOURNAL) == sealed(JOURNAL_JSON, "journal")
    assert decode_info(sealed(PLAIN_JSON)) == PLAIN
    assert decode_info(sealed(FULL_JSON)) == FULL
    assert decode_journal(sealed(JOURNAL_JSON, "journal")) == JOURNAL


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert decode_info(sealed(PLAIN_JSON[:-1] + b',"z":[1]}')) == PLAIN
    assert decode_journal(sealed(JOURNAL_JSON[:-1] + b',"z":{}}', "journal")) == JOURNAL


@pytest.mark.parametrize("version", [b"2", b"0", b"null", b'"1"', b"true", b"1.0"])
def test_another_version_is_refused(version: bytes) -> None:
    with pytest.raises(FormatVersionError, match="update casstore"):
        decode_info(sealed(PLAIN_JSON.replace(b'"version":1', b'"version":' + version)))
    with pytest.raises(FormatVersionError):
        decode_journal(sealed(JOURNAL_JSON.replace(b'"version":1', b'"version":' + version), "journal"))


def test_one_is_not_taken_for_the_other() -> None:
    with pytest.raises(CorruptionError):
        decode_info(encode_journal(JOURNAL))
    with pytest.raises(CorruptionError):
        decode_journal(encode_info(PLAIN))
    with pytest.raises(CorruptionError):
        decode_journal(sealed(PLAIN_JSON, "journal"))
    with pytest.raises(CorruptionError):
        decode_info(sealed(JOURNAL_JSON))


@given(infos, st.none() | journals)
def test_info_and_journal_there_and_back(info: Info, journal: Journal | None) -> None:
    payload = encode_info(info) + (b"" if journal is None else encode_journal(journal))
    assert decode_state(payload) == (info, journal)
    for more in (b"x", b"\n", encode_info(info)):
        with pytest.raises(CorruptionError):
            decode_state(payload + more)


def test_every_cut_of_both_is_found() -> None:
    info, journal = encode_info(PLAIN), encode_journal(JOURNAL)
    for end in range(len(info + journal)):
        if end == len(info):
            assert decode_state((info + journal)[:end]) == (PLAIN, None)
            continue
        with pytest.raises(CorruptionError):
            decode_state((info + journal)[:end])
    with pytest.raises(CorruptionError):
        decode_state(journal + info)
    with pytest.raises(CorruptionError):
        decode_state(journal)


# -- damage


@pytest.mark.parametrize("data", [encode_info(FULL), encode_info(PLAIN)])
def test_every_cut_and_every_flipped_bit_of_info_is_found(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(CorruptionError, match="damaged"):
            decode_info(data[:end])
    for place in range(len(data)):
        for bit in (1, 0x20, 0x80):
            with pytest.raises(CorruptionError):
                decode_info(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
    for more in (b"\n", b"x", b"\0", data):
        with pytest.raises(CorruptionError):
            decode_info(data + more)


def test_every_cut_of_a_journal_is_found() -> None:
    data = encode_journal(JOURNAL)
    for end in range(len(data)):
        with pytest.raises(CorruptionError, match="workspace prune"):
            decode_journal(data[:end])


@given(st.binary(max_size=200))
def test_any_bytes_at_all(data: bytes) -> None:
    for decode in (decode_info, decode_journal):
        with pytest.raises(CorruptionError):
            decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = [
    "base",
    "base_ref",
    "created_ns",
    "device",
    "from",
    "id",
    "ignore",
    "inode",
    "keep_git",
    "kind",
    "last_switch",
]
MEMBERS += ["lower", "metadata", "path", "path_bytes", "ref", "time_ns", "to", "token"]


@given(st.sampled_from(MEMBERS), json_values)
def test_whatever_somebody_seals_gives_a_named_error_or_a_sound_value(member: str, value: object) -> None:
    """The seal is no secret: a hostile store has sound seals on anything."""
    for body, context, decode in ((FULL_JSON, "workspace", decode_info), (JOURNAL_JSON, "journal", decode_journal)):
        for place in ((), ("last_switch",)):
            members = json.loads(body)
            inner = members
            for name in place:
                inner = inner.get(name) or {}
            inner[member] = value
            try:
                found = decode(sealed(canonical_json(members), context))
            except CorruptionError:
                continue
            if isinstance(found, Info):
                assert is_workspace_id(found.id)
                assert os.path.isabs(found.path)
                assert "\0" not in found.path
                assert found.kind in KINDS
                assert found.ignore in ("nothing", "git")
                assert decode_info(encode_info(found)) == found
            else:
                assert isinstance(found, Journal)
                assert decode_journal(encode_journal(found)) == found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"id":"0123abcd"', b'"id":"../../ab"'),
        (b'"id":"0123abcd"', b'"id":"0123ABCD"'),
        (b'"id":"0123abcd"', b'"id":"0123abcd\\n"'),
        (b'"path":"/home/me/work"', b'"path":"work"'),
        (b'"path":"/home/me/work"', b'"path":""'),
        (b'"path":"/home/me/work"', b'"path":"/a\\u0000b"'),
        (b'"path":"/home/me/work"', b'"path":"/home/me/work","path_bytes":"2f00"'),
        (b'"path":"/home/me/work"', b'"path":"/home/me/work","path_bytes":"zz"'),
        (b'"path":"/home/me/work"', b'"path":"/home/me/work","path_bytes":7'),
        (b'"kind":"plain"', b'"kind":"other"'),
        (b'"metadata":"basic"', b'"metadata":"none"'),
        (b'"base":null', b'"base":"00"'),
        (b'"base":null', b'"base":"' + b"0" * 63 + b'g"'),
        (b'"inode":131072', b'"inode":131072.0'),
        (b'"inode":131072', b'"inode":true'),
        (b'"last_switch":null', b'"last_switch":{}'),
        (b'"last_switch":null', b'"last_switch":[]'),
        (b'"last_switch":null,', b""),
        (PLAIN_JSON, b"[]"),
        (PLAIN_JSON, b"null"),
        (PLAIN_JSON, b"{}"),
        (PLAIN_JSON, b""),
        (PLAIN_JSON, b"[" * 100_000),
        (b'"version":1', b'"version":1 '),
    ],
)
def test_what_no_store_writes(old: bytes, new: bytes) -> None:
    body = PLAIN_JSON.replace(old, new)
    assert body != PLAIN_JSON
    with pytest.raises((CorruptionError, FormatVersionError)):
        decode_info(sealed(body))


@pytest.mark.parametrize("token", ["", "0123456789abcde", "0123456789abcdefg", "0123456789ABCDEF", "../../../../etc/"])
def test_a_token_that_would_name_other_files(token: str) -> None:
    with pytest.raises(CorruptionError):
        decode_journal(encode_journal(replace(JOURNAL, token=token)))


def test_a_file_of_any_size_is_no_trouble() -> None:
    with pytest.raises(CorruptionError):
        decode_info(sealed(PLAIN_JSON.replace(PLAIN.path.encode(), b"/" + b"x" * MAX_BYTES)))
    longest = replace(PLAIN, path="/" + os.fsdecode(b"\xff" * 4094), base_ref="r" * 1000)
    assert decode_info(encode_info(longest)) == longest


def test_what_could_not_be_read_is_not_written() -> None:
    size = len(encode_info(PLAIN))
    fits = replace(PLAIN, path=PLAIN.path + "x" * (MAX_BYTES - size))
    assert decode_info(encode_info(fits)) == fits
    with pytest.raises(InvalidInputError, match=r"65,537 bytes.*shorter"):
        encode_info(replace(fits, path=fits.path + "x"))
    with pytest.raises(InvalidInputError, match="`journal`"):
        encode_journal(replace(JOURNAL, ref="r" * MAX_BYTES))


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("0123abcd", True),
        ("0123abc", False),
        ("0123abcde", False),
        ("0123ABCD", False),
        ("..", False),
        ("0123abcd\n", False),
    ],
)
def test_names_of_workspaces(name: str, good: bool) -> None:
    assert is_workspace_id(name) == good
