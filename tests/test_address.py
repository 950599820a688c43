# SPDX-License-Identifier: MIT
"""Addresses: the official BLAKE3 vectors, ``b3sum``, and one key per type of metadata."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from casstore.address import (
    check_address,
    content_address,
    event_address,
    keyed_address,
    node_address,
    parse_address,
    snapshot_address,
    state_address,
    type_key,
)
from casstore.errors import InvalidInputError

VECTORS = json.loads((Path(__file__).parent / "data" / "blake3_vectors.json").read_text())


def vector_input(length: int) -> bytes:
    return bytes(place % 251 for place in range(length))


def test_vectors_are_there() -> None:
    assert len(VECTORS["cases"]) == 35


@pytest.mark.parametrize(("length", "plain", "keyed", "derived"), VECTORS["cases"])
def test_official_vectors(length: int, plain: str, keyed: str, derived: str) -> None:
    data = vector_input(length)
    assert content_address(data).hex() == plain
    # The two keyed forms are what metadata rests on.
    assert blake3(data, key=VECTORS["key"].encode()).hexdigest() == keyed
    assert blake3(data, derive_key_context=VECTORS["context"]).hexdigest() == derived


@pytest.mark.parametrize("length", [0, 1, 1024, 100_000])
def test_b3sum_prints_the_same_address(length: int, tmp_path: Path) -> None:
    program = shutil.which("b3sum")
    if program is None:
        pytest.skip("b3sum is not installed")
    file = tmp_path / "file"
    file.write_bytes(vector_input(length))
    shown = subprocess.run([program, str(file)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert shown == content_address(file.read_bytes()).hex()


# Pinned: changing one of these changes every root and every snapshot id.
KEYS = {
    "node": "464b9fe1482bb24cb96be50de092d8a421f662a24b7ee893721f9d305b5b2538",
    "snapshot": "e76ebc142e5a4048b85c14b0cacef7d7eef69055d9226338964dd9fce977040e",
    "state": "8872f59cedf4c9c34523bfe2f54036ba34659992f3f00d8ad3e635a7a637cd05",
    "event": "5214c6d9f63d63d2b0d41952bff1f86270dd15550f2fef92922f5f3fa4e0cb12",
    "chunk-list": "945e1881e87f96d80b67a38487b48c3ebf1e50b8c0b95c54b123ec58f1680076",
    "superblock": "e7741b5221e94fe9ee2e6334b1d7795c1d59952f034d6cc17f1801ef49d9da88",
    "settings": "3a0c0ec841cf43e61be3baed21a8601d13e9610c654d139b878fc7abbf6747ec",
}


@pytest.mark.parametrize("name", KEYS)
def test_type_keys_are_pinned(name: str) -> None:
    assert type_key(name).hex() == KEYS[name]
    assert type_key(name) == blake3(b"", derive_key_context=f"casstore v1 {name}").digest()


def test_no_two_types_and_no_content_share_an_address() -> None:
    makers = [content_address, node_address, snapshot_address, state_address, event_address, keyed_address("other")]
    assert len({make(b"the same bytes") for make in makers}) == len(makers)


def test_buffers_of_any_kind_have_the_address_of_their_bytes() -> None:
    data = vector_input(300)
    assert content_address(bytearray(data)) == content_address(memoryview(data)) == content_address(data)
    assert node_address(memoryview(data)) == node_address(data)


def test_parse_address() -> None:
    address = content_address(b"")
    assert parse_address(address.hex()) == address
    assert parse_address(address.hex().upper()) == address
    for text in ("", "ab", "zz" * 32, address.hex()[:-1], address.hex() + "0", " " * 64, "ab " * 32, "é" * 64):
        with pytest.raises(InvalidInputError, match="64 hex digits"):
            parse_address(text)


def test_check_address() -> None:
    address = content_address(b"")
    assert check_address(address) is address
    for wrong in (None, 5, "ab" * 32, b"", bytes(31), bytes(33), bytearray(32), [1], bytes(10_000_000)):
        with pytest.raises(InvalidInputError, match="32 bytes") as caught:
            check_address(wrong)
        assert len(str(caught.value)) < 200
