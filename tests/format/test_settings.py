# SPDX-License-Identifier: MIT
"""The file ``config``: checked, canonical, and kind to members of later versions."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from casstore.errors import CasstoreError, CorruptionError, InvalidInputError
from casstore.format.settings import MAX_SETTINGS_BYTES, Settings, decode_settings, encode_settings

KEY = blake3(b"", derive_key_context="casstore v1 settings").digest()


def signed(body: bytes) -> bytes:
    return body + b"\n" + blake3(body, key=KEY).hexdigest().encode() + b"\n"


numbers = st.integers(0, 2**62 - 1)


@given(st.none() | numbers, numbers, numbers)
def test_round_trip(most: int | None, grace: int, keep: int) -> None:
    settings = Settings(max_bytes=most, grace_seconds=grace, undo_keep_seconds=keep)
    encoded = encode_settings(settings)
    assert decode_settings(encoded) == settings
    shown = "null" if most is None else str(most)
    assert encoded == signed(f'{{"grace_seconds":{grace},"max_bytes":{shown},"undo_keep_seconds":{keep}}}'.encode())


def test_defaults_fill_what_is_missing() -> None:
    assert decode_settings(signed(b"{}")) == Settings()
    assert (Settings().grace_seconds, Settings().undo_keep_seconds, Settings().max_bytes) == (3600, 604_800, None)


def test_members_of_later_versions_are_kept() -> None:
    data = signed(b'{"later":[1,{"a":null}],"max_bytes":5}')
    settings = decode_settings(data)
    assert settings.max_bytes == 5
    assert settings.other == {"later": [1, {"a": None}]}
    again = decode_settings(encode_settings(settings))
    assert again == settings


@pytest.mark.parametrize("value", [-1, 2**62, 1.0, "5", True])
@pytest.mark.parametrize("name", ["max_bytes", "grace_seconds", "undo_keep_seconds"])
def test_values_that_do_not_fit(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_only_the_quota_may_be_none() -> None:
    for name in ("grace_seconds", "undo_keep_seconds"):
        with pytest.raises(InvalidInputError, match=name):
            Settings(**{name: None})  # type: ignore[arg-type]


def test_every_byte() -> None:
    data = encode_settings(Settings(max_bytes=12345))
    for place in range(len(data)):
        for flip in (1, 0x20, 0x80):
            broken = bytearray(data)
            broken[place] ^= flip
            with pytest.raises(CorruptionError):
                decode_settings(bytes(broken))
    for length in range(len(data)):
        with pytest.raises(CorruptionError):
            decode_settings(data[:length])


@pytest.mark.parametrize(
    "body",
    [b"[]", b"1", b'{"max_bytes":-1}', b'{"grace_seconds":null}', b'{"max_bytes": 1}', b"{", b"", b'{"max_bytes":"1"}'],
)
def test_signed_but_no_settings(body: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_settings(signed(body))


def test_size_is_bounded() -> None:
    with pytest.raises(CorruptionError):
        decode_settings(signed(b'{"later":"%s"}' % (b"a" * MAX_SETTINGS_BYTES)))


@given(st.binary(max_size=100), st.booleans())
def test_arbitrary_bytes(data: bytes, sign: bool) -> None:
    try:
        decode_settings(signed(data) if sign else data)
    except CasstoreError:
        pass
