# SPDX-License-Identifier: MIT
"""Damage to LevelDB's tables is never taken for "there is nothing": not where a scan begins, either."""

from __future__ import annotations

from pathlib import Path

import pytest

import casstore
from casstore.errors import CorruptionError
from casstore.format.index_entry import BATCH, OBJECT, REF
from casstore.storage.index import LevelIndex


def closed_index(folder: Path) -> Path:
    """An index with many objects, five refs and a batch's number, closed; its one table."""
    index = LevelIndex(str(folder), create=True, sync=False)
    index.write({OBJECT + b"%05d" % number: b"x" * 60 for number in range(2000)})
    index.write({REF + b"%05d" % number: b"y" * 60 for number in range(5)})
    index.tidy()
    index.close(clean=True)
    return max(folder.glob("*.ldb"), key=lambda path: path.stat().st_size)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("prefix", [b"", OBJECT, REF, BATCH])
def test_a_table_that_cannot_be_opened_is_no_empty_one(tmp_path: Path, prefix: bytes) -> None:
    for table in (closed_index(tmp_path / "index"), *sorted((tmp_path / "index").glob("*.ldb"))):
        size = table.stat().st_size
        table.write_bytes(table.read_bytes()[: size - 8] + bytes(8))
    with pytest.raises(CorruptionError):
        list(LevelIndex(str(tmp_path / "index"), sync=False).scan(prefix))


def test_a_namespace_in_a_damaged_block_does_not_vanish(tmp_path: Path) -> None:
    table = closed_index(tmp_path / "index")
    flip(table, table.read_bytes().index(REF + b"0000") + 20)
    index = LevelIndex(str(tmp_path / "index"), sync=False)
    with pytest.raises(CorruptionError):
        list(index.scan(REF))
    assert len(list(index.scan(OBJECT + b"0000"))) == 10
    index.close(clean=False)


def test_the_last_batch_in_a_damaged_block_is_no_missing_one(tmp_path: Path) -> None:
    """A batch's number that is taken to be 0 would be given again, and hide what is lost."""
    table = closed_index(tmp_path / "index")
    flip(table, table.read_bytes().index(BATCH + bytes(7)) + 3)
    with pytest.raises(CorruptionError):
        LevelIndex(str(tmp_path / "index"), sync=False)


def test_the_store_s_own_folder_is_named_also_to_readers(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with casstore.open(path) as store:
        address = store.put(b"something")
    (table,) = (path / "index").glob("*.ldb")
    for place in range(0, table.stat().st_size // 2, 7):
        flip(table, place)
    with pytest.raises(CorruptionError) as caught, casstore.open(path, read_only=True) as store:
        store.get(address)
    # A reader works on a copy of its own; to delete that would help nobody.
    assert f"delete the folder {path / 'index'}, and" in str(caught.value)
    assert "run `casstore repair`" in str(caught.value)


@pytest.mark.parametrize("origin", [None, "/the/store/index"])
def test_damage_names_the_folder_to_delete(tmp_path: Path, origin: str | None) -> None:
    index = closed_index(tmp_path).parent
    (index / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    with pytest.raises(CorruptionError) as caught:
        LevelIndex(str(index), origin=origin)
    named = origin or str(index)
    assert "close the store everywhere and run `casstore repair`. Without it: " in str(caught.value)
    assert f"delete the folder {named}, and the next opening for writing makes it anew." in str(caught.value)
    assert caught.value.path == named
