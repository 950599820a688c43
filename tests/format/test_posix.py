# SPDX-License-Identifier: MIT
"""The encoding of POSIX metadata: one value, one encoding, and nothing but casstore errors from any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.errors import CasstoreError, CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.posix import PosixMetadata, decode_posix, encode_posix, posix_key

GOLDEN = bytes.fromhex("01 a4 03 e8 07 64 80 a8 d6 b9 07 15 01 06 757365722e61 02 00ff".replace(" ", ""))
SAMPLE = PosixMetadata(0o644, 1000, 100, 1_000_000_000_000_000_021, ((b"user.a", b"\0\xff"),))

xattrs = st.dictionaries(
    st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"\0", b"_")), st.binary(max_size=200), max_size=5
).map(lambda found: tuple(sorted(found.items())))
metadata = st.builds(
    PosixMetadata,
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**62) * 10**9, 2**62 * 10**9 - 1),
    xattrs=xattrs,
)


def test_the_bytes_are_pinned() -> None:
    assert encode_posix(SAMPLE) == GOLDEN
    assert decode_posix(GOLDEN) == SAMPLE


@given(metadata)
def test_what_is_encoded_is_decoded(value: PosixMetadata) -> None:
    assert decode_posix(encode_posix(value)) == value


@pytest.mark.parametrize("mtime_ns", [0, 1, -1, 10**9, -(10**9), -(10**9) - 1, 2**62 * 10**9 - 1, -(2**62) * 10**9])
def test_times_before_and_after_1970(mtime_ns: int) -> None:
    assert decode_posix(encode_posix(PosixMetadata(0, 0, 0, mtime_ns))).mtime_ns == mtime_ns


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda tail: b"\x01" + tail)))
def test_arbitrary_bytes_raise_only_casstore_errors(data: bytes) -> None:
    try:
        value = decode_posix(data)
    except CasstoreError:
        return
    assert encode_posix(value) == data


@given(metadata, st.data())
def test_a_changed_byte_never_passes_for_the_same(value: PosixMetadata, data: st.DataObject) -> None:
    encoded = bytearray(encode_posix(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        assert decode_posix(bytes(encoded)) != value
    except (CorruptionError, FormatVersionError):
        pass


def test_every_cut_is_noticed() -> None:
    for end in range(len(GOLDEN)):
        with pytest.raises(CorruptionError):
            decode_posix(GOLDEN[:end])
    with pytest.raises(CorruptionError):
        decode_posix(GOLDEN + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        "01 8040 00 00 00 00 00",  # mode 010000
        "01 00 8080808010 00 00 00 00",  # uid 2**32
        "01 00 00 8080808010 00 00 00",  # gid 2**32
        "01 00 00 00 00 8094ebdc03 00",  # 10**9 nanoseconds
        "01 00 00 00 00 00 8108",  # 1025 extended attributes
        "01 00 00 00 00 00 01 00 00",  # one without a name
        "01 00 00 00 00 00 01 01 00 00",  # a NUL in a name
        "01 00 00 00 00 00 02 01 62 00 01 61 00",  # out of order
        "01 00 00 00 00 00 02 01 61 00 01 61 00",  # twice
        "01 8000 00 00 00 00 00",  # a number not in its shortest form
    ],
)
def test_what_no_writer_makes_is_refused(data: str) -> None:
    with pytest.raises(CorruptionError):
        decode_posix(bytes.fromhex(data.replace(" ", "")))


def test_a_later_version_is_named() -> None:
    with pytest.raises(FormatVersionError, match="version 2"):
        decode_posix(b"\x02" + GOLDEN[1:])


def test_a_value_longer_than_any_is_refused() -> None:
    with pytest.raises(CorruptionError, match="too long"):
        decode_posix(b"\x01" + bytes(65536))


@pytest.mark.parametrize(
    "value",
    [
        PosixMetadata(0o10000, 0, 0, 0),
        PosixMetadata(-1, 0, 0, 0),
        PosixMetadata(0, 2**32, 0, 0),
        PosixMetadata(0, 0, 2**32, 0),
        PosixMetadata(0, 0, 0, 2**63 * 10**9),
        PosixMetadata(0, 0, 0, 0, ((b"b", b""), (b"a", b""))),
        PosixMetadata(0, 0, 0, 0, ((b"a", b""), (b"a", b""))),
        PosixMetadata(0, 0, 0, 0, ((b"", b""),)),
        PosixMetadata(0, 0, 0, 0, ((b"n" * 256, b""),)),
        PosixMetadata(0, 0, 0, 0, ((b"a", b"x" * 65536),)),
        PosixMetadata(0, 0, 0, 0, tuple((b"%04d" % number, b"") for number in range(1025))),
    ],
)
def test_what_no_reader_takes_is_not_written(value: PosixMetadata) -> None:
    with pytest.raises(InvalidInputError):
        encode_posix(value)


def test_no_key_is_a_prefix_of_another() -> None:
    keys = [
        posix_key(b"", directory=True),
        posix_key(b"src", directory=True),
        posix_key(b"src/@", directory=False),
        posix_key(b"src/a.py", directory=False),
        posix_key(b"@", directory=False),
    ]
    assert keys == [b"@", b"=src/@", b"=src/=@", b"=src/=a.py", b"=@"]
    assert not [(a, b) for a in keys for b in keys if b.startswith(a + b"/")]
