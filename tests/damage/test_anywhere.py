# SPDX-License-Identifier: MIT
"""Damage anywhere: right bytes or a named error, everything intact comes back, the same content heals."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.format.kinds import SNAPSHOT
from tests.damage.stores import (
    BUNDLE,
    OPENING,
    PRISTINE,
    PROJECT,
    STORE,
    Expected,
    NoSync,
    damage,
    damageable,
    heal,
    make,
    read_all,
)

CI_SEEDS = 22
MANY_SEEDS = 1500

Base = tuple[Path, Expected]


@pytest.fixture(scope="module", params=["closed", "killed"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, make(folder, killed=request.param == "killed")


@pytest.fixture(scope="module")
def plain_base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("files")
    return folder, make(folder, backend="files")


def copies(base: Path, target: Path) -> Path:
    for name in (STORE, PRISTINE, PROJECT):
        shutil.copytree(base / name, target / name, symlinks=True)
    shutil.copy(base / BUNDLE, target / BUNDLE)
    return target


def repair(path: Path, **options: Any) -> casstore.RepairReport:
    return casstore.repair(path, files=NoSync(), **options)


def opened(path: Path, *, read_only: bool) -> casstore.Store | None:
    """The store, or None where it refuses to open, naming what to do."""
    try:
        return casstore.open(path, create=False, read_only=read_only, config=OPENING)
    except casstore.FormatVersionError:
        return None
    except casstore.CorruptionError as error:
        if "casstore repair" not in str(error):
            raise
        return None


def hurt_tips(report: casstore.RepairReport, expected: Expected) -> set[tuple[str, str | None]]:
    """Ref and path of what a report calls hurt, among what the refs name."""
    found: set[tuple[str, str | None]] = set()
    for one in report.hurt:
        for place in one.places:
            files = expected.refs.get(place.state)
            if files is None or place.root not in ("", "files"):
                continue
            if not place.root:
                found.add((place.state, None))
            elif place.key is not None:
                found.add((place.state, place.key))
            else:
                after, upto = (place.after or "").encode(), place.upto
                keys = sorted(files, key=str.encode)
                found |= {
                    (place.state, key)
                    for key in keys
                    if (not after or key.encode() > after) and (upto is None or key.encode() <= upto.encode())
                }
    return found


def check(work: Path, expected: Expected, what: str) -> None:
    path = work / STORE
    store = opened(path, read_only=True)
    if store is not None:
        with store:
            # After a kill, a reader sees what the index's last batch holds; a log that was cut has an earlier one.
            unreadable = set(read_all(store, expected, older=".log" in what))
            try:
                store.verify()
                found = False
            except casstore.CorruptionError:
                found = True
            assert found or not unreadable, f"{what}: verify is content, but {unreadable} cannot be read"
    dry = None
    try:
        dry = repair(path, dry_run=True)
        report = repair(path)
    except casstore.FormatVersionError:
        assert "superblock" in what
        return
    except casstore.CorruptionError as error:
        if "--new-superblock" not in str(error) or dry is not None:
            raise
        report = repair(path, new_superblock=True)
    if dry is not None:
        assert (dry.hurt, dry.damaged, dry.refs_suspect) == (report.hurt, report.damaged, report.refs_suspect), what
    with casstore.open(path, create=False, config=OPENING) as store:
        unreadable = set(read_all(store, expected))
        missing = {name for name in expected.refs if name not in store.refs}
        if missing:
            assert report.refs_suspect, f"{what}: {missing} are gone without a word"
            with pytest.raises(casstore.CorruptionError, match="accept"):
                store.plan_gc()
        told = hurt_tips(report, expected) | {(name, None) for name in missing}
        whole = {name for name, key in told if key is None}
        assert {item for item in unreadable if item[0] not in whole} == {
            item for item in told if item[0] not in whole
        }, what
    again = repair(path)
    assert (again.hurt, again.quarantined, again.index) == (report.hurt, report.quarantined, "sound"), what
    heal_both_ways(work, expected, report, missing, what)


def heal_both_ways(work: Path, expected: Expected, report: casstore.RepairReport, missing: set[str], what: str) -> None:
    path = work / STORE
    second = work / "second"
    shutil.copytree(path, second)
    taken = repair(second, source=work / PRISTINE)
    assert not taken.hurt, what
    with casstore.open(second, create=False, config=OPENING) as store:
        store.verify()
        assert {item for item in read_all(store, expected) if item[0] not in missing} == set(), what
    with casstore.open(path, create=False, config=OPENING) as store:
        heal(store, work, expected)
        if any(one.what == "snapshot" for one in report.hurt):
            # It says when and by whom it was made: no import makes the same one again.
            return
        store.verify()
        assert {item for item in read_all(store, expected) if item[0] not in missing} == set(), what


def run(base: Base, work: Path, seed: int) -> None:
    draw = random.Random(seed)
    copies(base[0], work)
    kinds = damageable(work)
    kind = sorted(kinds)[seed % len(kinds)]
    if kind == "bundle":
        check_bundle(work, base[1], draw)
        return
    victims = [draw.choice(kinds[kind]) for _ in range(draw.choice((1, 1, 1, 3)))]
    what = f"seed {seed}:"
    for victim in {*victims}:
        what += f" {victim.relative_to(work)} {damage(victim, draw)};"
    check(work, base[1], what)


def check_bundle(work: Path, expected: Expected, draw: random.Random) -> None:
    """A damaged bundle is refused, by adoption and as a source, or it is still the same."""
    how = damage(work / BUNDLE, draw)
    with casstore.open(work / "fresh", config=OPENING) as store:
        try:
            report = store.adopt_bundle(str(work / BUNDLE))
        except casstore.CasstoreError:
            assert not any(entry.kind == SNAPSHOT for _, entry in store.storage.backend.scan())
        else:
            for name, snapshot in report.refs.items():
                store.refs.compare_and_set(name, None, snapshot)
            assert set(read_all(store, expected)) == set(), how
        store.verify()
    segment = max((work / STORE / "segments").iterdir(), key=lambda file: file.stat().st_size)
    with segment.open("r+b") as file:
        file.seek(3000)
        file.write(bytes(2000))
    try:
        found = repair(work / STORE, source=work / BUNDLE)
    except casstore.CasstoreError:
        found = repair(work / STORE)
    with casstore.open(work / STORE, create=False, config=OPENING) as store:
        assert bool(set(read_all(store, expected))) <= bool(found.hurt)


@pytest.mark.parametrize("seed", range(CI_SEEDS))
def test_damage_anywhere(base: Base, tmp_path: Path, seed: int) -> None:
    run(base, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(15))
def test_damage_anywhere_many_times(base: Base, tmp_path: Path, block: int) -> None:
    """``pytest -m slow tests/damage``: 1,500 kinds of damage, to a store that was closed and to one that was killed."""
    size = MANY_SEEDS // 15
    for seed in range(1000 + block * size, 1000 + (block + 1) * size):
        work = tmp_path / str(seed)
        run(base, work, seed)
        shutil.rmtree(work)
