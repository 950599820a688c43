# SPDX-License-Identifier: MIT
"""A repair that is stopped at any call to the file system, and run again, ends where an undisturbed one does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import casstore
from casstore.testing.faults import Call, FaultyFiles
from tests.damage.stores import OPENING, STORE, Expected, NoSync, make, read_all

_watching: list[Callable[[str], None]] = []
_hooked = False
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree", "open")


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event in EVENTS:
        _watching[0](f"{event} {arguments[0]!r}")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    """Damage to two segments, the end of one, the index, the settings and the superblock at once."""
    base = tmp_path_factory.mktemp("damaged")
    expected = make(base, killed=True)
    store = base / STORE
    segments = sorted((store / "segments").iterdir())
    for segment, place in ((segments[0], 2000), (segments[2], 5000), (segments[-2], 100)):
        flip(segment, place)
    os.truncate(segments[1], segments[1].stat().st_size - 40)
    flip(store / "config", 10)
    flip(store / "superblock", 30)
    for file in (store / "index").glob("MANIFEST-*"):
        flip(file, 60)
    return base, expected


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 16
    path.write_bytes(data)


def outcome(path: Path, expected: Expected) -> tuple[object, ...]:
    """What a repair of ``path`` comes to: what is hurt, what can be read, and the bytes in the quarantine."""
    report = casstore.repair(path, files=NoSync())
    kept = sorted(
        (path / "quarantine" / item.name).read_bytes()
        for item in report.quarantined
        if (path / "quarantine" / item.name).is_file()
    )
    with casstore.open(path, create=False, config=OPENING) as store:
        unreadable = set(read_all(store, expected))
    return report.hurt and [(one.what, one.address, one.places) for one in report.hurt], unreadable, set(kept)


def images_of(base: Path, target: Path) -> list[Path]:
    """The store before every call of a repair to the file system: through the seam, and any other."""
    global _hooked
    store = target / "running" / STORE
    shutil.copytree(base / STORE, store)
    images: list[Path] = []
    last: list[dict[str, tuple[int, int]]] = [{}]
    busy = False

    def image(what: str) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            listing = {
                str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in store.rglob("*") if file.exists()
            }
            # What changed nothing leaves nothing else behind.
            if listing != last[0]:
                last[0] = listing
                images.append(target / f"image{len(images)}")
                shutil.copytree(store, images[-1] / STORE)
        finally:
            busy = False

    def before(call: Call) -> None:
        image(f"{call.name} {call.path}")

    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    _watching.append(image)
    try:
        casstore.repair(store, files=FaultyFiles(str(store), before))
    finally:
        _watching.clear()
    return images


def test_a_repair_stopped_anywhere_goes_on(damaged: tuple[Path, Expected], tmp_path: Path) -> None:
    base, expected = damaged
    shutil.copytree(base / STORE, tmp_path / "undisturbed")
    wanted = outcome(tmp_path / "undisturbed", expected)
    hurt, unreadable, kept = wanted
    assert hurt
    assert unreadable
    assert len(kept) >= 5  # type: ignore[arg-type]
    images = images_of(base, tmp_path)
    assert len(images) > 25
    for image in images:
        hurt, unreadable, more = outcome(image / STORE, expected)
        assert (hurt, unreadable) == wanted[:2], image.name
        assert kept <= more, image.name  # type: ignore[operator]
        shutil.rmtree(image)


@pytest.mark.parametrize("name", ["make_folder", "create", "append", "sync", "sync_folder", "rename", "truncate"])
def test_a_call_that_the_system_refuses(damaged: tuple[Path, Expected], tmp_path: Path, name: str) -> None:
    base, expected = damaged
    shutil.copytree(base / STORE, tmp_path / "undisturbed")
    wanted = outcome(tmp_path / "undisturbed", expected)
    failures = 0
    for nth in (1, 2, 4):
        store = tmp_path / str(nth)
        shutil.copytree(base / STORE, store)
        files = FaultyFiles(str(store))
        files.fail(name, nth=nth)
        try:
            casstore.repair(store, files=files)
        except casstore.StorageError:
            failures += 1
        assert outcome(store, expected)[:2] == wanted[:2]
    assert failures or name == "truncate"
