# SPDX-License-Identifier: MIT
"""What ``docs/format.md`` says of the counters in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import casstore
from casstore import layout
from casstore.errors import CorruptionError
from casstore.format import index_entry
from casstore.format.canonical import canonical_json
from casstore.format.event import parse_event
from casstore.format.index_entry import CLEAN, DAMAGED, MAX_NUMBER, NEXT_EVENT, batch_key, decode_number, encode_number
from casstore.storage.index import LevelIndex
from tests.docs.test_format import section


def test_the_counters_that_are_named_are_those_that_there_are() -> None:
    text = section("Keys")
    stated = re.search(r"A counter is .*?8 bytes, at most\n2⁶³", text, re.DOTALL)
    assert stated
    named = set(re.findall(r"`(x[a-z-]+)`", stated[0]))
    assert named == set(re.findall(r"^\| `(x[a-z-]+)` .*\(8, big-endian\)", text, re.MULTILINE))
    facts = {value.decode() for value in vars(index_entry).values() if type(value) is bytes and value[:1] == b"x"}
    assert named < facts


def test_a_counter_is_at_most_2_to_the_63() -> None:
    assert MAX_NUMBER == 2**63
    for number in (0, 1, 2**63 - 1, 2**63):
        assert decode_number(encode_number(number)) == number
    for value in (encode_number(2**63 + 1), b"\xff" * 8, b"", bytes(7), bytes(9)):
        with pytest.raises(CorruptionError):
            decode_number(value)


def test_the_number_of_an_event_is_below_that() -> None:
    for number in (0, 2**63 - 1):
        assert parse_event(canonical_json({"number": number, "type": "later"}))["number"] == number
    for number in (2**63, -1):
        with pytest.raises(CorruptionError):
            parse_event(canonical_json({"number": number, "type": "later"}))


def change(path: Path, key: bytes, value: bytes) -> None:
    index = LevelIndex(str(path / layout.INDEX))
    index.write({key: value})
    index.close(clean=True)
    if key == CLEAN:
        # Which closing it in order has just put right.
        index = LevelIndex(str(path / layout.INDEX))
        index.write_unsynced({key: value})
        index.close(clean=False)


@pytest.mark.parametrize("key", [NEXT_EVENT, DAMAGED])
def test_a_fact_beyond_it_is_corrupt(tmp_path: Path, key: bytes) -> None:
    with casstore.open(tmp_path / "s"):
        pass
    change(tmp_path / "s", key, encode_number(2**63 + 1))
    with pytest.raises(CorruptionError, match="counter"):
        casstore.open(tmp_path / "s")


def test_a_batch_beyond_it_is_corrupt(tmp_path: Path) -> None:
    with casstore.open(tmp_path / "s"):
        pass
    change(tmp_path / "s", batch_key(2**63 + 1), b"")
    with pytest.raises(CorruptionError, match="counter"):
        LevelIndex(str(tmp_path / "s" / layout.INDEX))


@pytest.mark.parametrize("value", [encode_number(2**64 - 1), encode_number(0), b"", bytes(9)])
def test_another_clean_says_that_the_store_was_not_closed(tmp_path: Path, value: bytes) -> None:
    with casstore.open(tmp_path / "s") as store:
        address = store.put(b"x" * 300)
    change(tmp_path / "s", CLEAN, value)
    index = LevelIndex(str(tmp_path / "s" / layout.INDEX))
    assert not index.closed_cleanly()
    index.close(clean=False)
    with casstore.open(tmp_path / "s") as store:
        assert store.get(address) == b"x" * 300
