# SPDX-License-Identifier: MIT
"""Contents read in bulk."""

from __future__ import annotations

import pytest

from casstore.errors import CorruptionError
from casstore.format.kinds import CHUNK, RAW, ZSTD
from casstore.format.record import Record
from tests.storage.test_content import memory


@pytest.mark.parametrize("change", ["a byte", "shorter", "longer", "no zstandard"])
def test_a_damaged_chunk_is_named_and_marked_in_bulk_too(change: str) -> None:
    """There the whole content is hashed, and its chunks only where that is not what it should be."""
    data = b"".join(b"%d of many lines that compress; " % number for number in range(300))
    pieces = 0
    while True:
        storage = memory()
        storage.cache.resize(0)
        address = storage.put(data)
        found = storage.chunk_list(address)
        assert found is not None
        if pieces == len(found.pieces):
            break
        piece, length = found.pieces[pieces]
        pieces += 1
        raw = storage.get(piece)
        wrong = {"a byte": b"?" + raw[1:], "shorter": raw[1:], "longer": raw + b"?", "no zstandard": raw}[change]
        encoding = ZSTD if change == "no zstandard" else RAW
        storage.backend.delete([piece])
        storage.backend.put([Record(CHUNK, encoding, piece, len(wrong), wrong)])
        with pytest.raises(CorruptionError) as caught:
            list(storage.get_many([address]))
        assert caught.value.address == piece
        assert not storage.contains(piece)
        assert length == len(raw)
    assert pieces > 10
