# SPDX-License-Identifier: MIT
"""Stores of every released form: read equal, verify, take writes and collections, migrate; later ones are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.address import Address
from casstore.format.kinds import ZSTD_BASE
from tests.compat.make_deltas_store import deltas
from tests.compat.stores import FORMATS, KEPT, STORES, check, copy_of, on_disk, use, write_superblock

FEATURES, WRITE_FEATURES, VERSION, BACKEND = 12, 16, 8, 20
"""Where these stand in the superblock."""


@pytest.fixture(params=STORES)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    return copy_of(request.param, tmp_path)


def test_it_reads_equal_and_goes_on(kept: tuple[Path, Any]) -> None:
    path, expected = kept
    use(path, expected)


def test_it_is_migrated_and_goes_on(kept: tuple[Path, Any]) -> None:
    path, expected = kept
    before = casstore.migrate(path, dry_run=True)
    report = casstore.migrate(path)
    assert report.changed == bool(before.missing)
    with casstore.open(path, read_only=True) as store:
        assert store.format_fields["deltas"] is True
    use(path, expected)
    assert casstore.migrate(path).missing == ()


def test_it_is_mended_without_its_index(kept: tuple[Path, Any]) -> None:
    path, expected = kept
    shutil.rmtree(path / "index")
    with casstore.open(path) as store:
        check(store, expected)


@pytest.mark.parametrize("backend", ["segments", "files"])
def test_deltas_are_where_they_were(tmp_path: Path, backend: str) -> None:
    path, expected = copy_of(f"format-1-deltas/{backend}", tmp_path)
    with casstore.open(path) as store:
        assert deltas(store) == expected["deltas"]
        assert len(expected["deltas"]) >= 8
        some = bytes.fromhex(next(iter(expected["deltas"])))
        assert store.storage.locate(Address(some)).encoding == ZSTD_BASE
        # Their bases are taken for what they are by the collector, although refs may lead to the deltas alone.
        store.refs["only"] = next(store.log("versions"))
        del store.refs["versions"]
        store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
        store.verify()


@pytest.mark.parametrize("migrated", [False, True])
@pytest.mark.parametrize("backend", ["segments", "files"])
def test_a_store_from_before_deltas_gets_them_by_migration_alone(tmp_path: Path, backend: str, migrated: bool) -> None:
    path, _ = copy_of(f"format-1/{backend}", tmp_path)
    if migrated:
        casstore.migrate(path)
    with casstore.open(path) as store:
        branch = store.branch("main")
        text = b"".join(b"%d is a line\n" % (n * n) for n in range(60))
        branch.files["new.txt"] = text
        branch.commit("one", ref="main")
        branch.files["new.txt"] = text.replace(b"900 is", b"30 squared is")
        branch.commit("two", ref="main")
        assert bool(deltas(store)) == migrated
        store.verify()


# -- what a later version made


def refusals(path: Path, *, reading: bool) -> list[casstore.CasstoreError]:
    """The errors of everything that opens the store; fails where one of them goes through, or touches anything.

    A repair takes the lock before it looks. Every store that was ever open has that file, but for the kept ones.
    """
    attempts = {
        "open": lambda: casstore.open(path).close(),
        "open without making": lambda: casstore.open(path, create=False).close(),
        "migrate": lambda: casstore.migrate(path),
        "migrate, dry": lambda: casstore.migrate(path, dry_run=True),
        "repair": lambda: casstore.repair(str(path)),
        "repair, dry": lambda: casstore.repair(str(path), dry_run=True),
        "repair with a new superblock": lambda: casstore.repair(str(path), new_superblock=True),
    }
    if reading:
        attempts["read"] = lambda: casstore.open(path, read_only=True).close()
    errors = []
    (path / "lock").touch()
    before = on_disk(path)
    for name, attempt in attempts.items():
        with pytest.raises(casstore.CasstoreError) as caught:
            attempt()
        assert type(caught.value) is casstore.FormatVersionError, (name, caught.value)
        after = on_disk(path)
        after["lock"] = before["lock"]
        assert after == before, name
        errors.append(caught.value)
    return errors


def test_an_unknown_feature_is_refused(kept: tuple[Path, Any]) -> None:
    path, _ = kept
    bit = 0x8000_0002
    features = int.from_bytes((path / "superblock").read_bytes()[FEATURES : FEATURES + 4], "little")
    write_superblock(path, FEATURES, features | bit)
    for error in refusals(path, reading=True):
        assert f"{bit:#x}" in str(error)
        assert "install a later one" in str(error)


def test_an_unknown_write_feature_is_refused_to_writers(kept: tuple[Path, Any]) -> None:
    path, expected = kept
    write_superblock(path, WRITE_FEATURES, 4)
    for error in refusals(path, reading=False):
        assert "0x4" in str(error)
    with casstore.open(path, read_only=True) as store:
        check(store, expected)


@pytest.mark.parametrize("length", [96, 128])
def test_a_later_format_is_refused(kept: tuple[Path, Any], length: int) -> None:
    path, _ = kept
    write_superblock(path, VERSION, 2, length=length)
    for error in refusals(path, reading=True):
        assert "format 2" in str(error)


def test_an_unknown_backend_is_refused(kept: tuple[Path, Any]) -> None:
    path, _ = kept
    data = (path / "superblock").read_bytes()
    write_superblock(path, BACKEND, 7 | int.from_bytes(data[BACKEND + 1 : BACKEND + 4], "little") << 8)
    for error in refusals(path, reading=True):
        assert "backend 7" in str(error)


# -- the folder itself


def test_every_kept_store_is_tested_and_small() -> None:
    kept = sorted(place.name for place in KEPT.iterdir() if place.is_dir() and place.name.startswith("format-"))
    assert kept == sorted(FORMATS)
    for name in kept:
        assert sum(place.stat().st_size for place in (KEPT / name).rglob("*") if place.is_file()) < 200_000
