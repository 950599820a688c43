# SPDX-License-Identifier: MIT
"""The quota: hard, harmless to what was there, and never in the way of giving space back."""

from __future__ import annotations

import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

import casstore
from casstore import Config, QuotaExceededError
from casstore.errors import InvalidInputError
from casstore.testing.model import noise
from casstore.workspace import import_directory

SMALL = Config(chunk_min_bytes=256, chunk_avg_bytes=1024, chunk_max_bytes=4096, segment_bytes=16 * 1024)
BACKENDS = ("segments", "files", "memory")


def opened(backend: str, path: Path, **changes: object) -> casstore.Store:
    config = replace(SMALL, **changes)  # type: ignore[arg-type]
    if backend == "memory":
        return casstore.open(":memory:", config=config)
    return casstore.open(path / "store", config=replace(config, backend=backend))  # type: ignore[arg-type]


def on_disk(path: Path) -> int:
    """Bytes of all files that hold records, counted anew."""
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for part in ("segments", "objects")
        for folder, _, names in os.walk(path / "store" / part)
        for name in names
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_would_pass_the_quota_is_refused_and_the_store_goes_on(backend: str, tmp_path: Path) -> None:
    with opened(backend, tmp_path) as store:
        kept = store.put(noise(3000, 1))
        used = store.stats().record_bytes
        store.configure(max_bytes=used + 2000)
        known = {address for address, _ in store.storage.backend.scan()}
        with pytest.raises(QuotaExceededError, match="casstore gc") as caught:
            store.put(noise(3000, 2))
        assert (caught.value.max_bytes, caught.value.used_bytes) == (used + 2000, used)
        assert "config max_bytes" in str(caught.value)
        assert f"{used:,} of {used + 2000:,}" in str(caught.value)
        assert {address for address, _ in store.storage.backend.scan()} == known
        assert store.stats().record_bytes == used
        # What is there is read, and costs nothing to put again; what fits is kept.
        assert store.get(kept) == noise(3000, 1)
        assert store.put(noise(3000, 1)) == kept
        small = store.put(noise(500, 3))
        assert store.get(small) == noise(500, 3)
        store.sync()
        store.verify()


@pytest.mark.parametrize("backend", BACKENDS)
def test_to_the_byte(backend: str, tmp_path: Path) -> None:
    with opened(backend, tmp_path) as store:
        before = store.stats().record_bytes
        store.put(noise(700, 1))
        size = store.stats().record_bytes - before
        store.configure(max_bytes=before + 2 * size)
        store.put(noise(700, 2))
        assert store.stats().record_bytes == before + 2 * size
        store.configure(max_bytes=before + 3 * size - 1)
        with pytest.raises(QuotaExceededError):
            store.put(noise(700, 3))
        store.configure(max_bytes=None)
        store.put(noise(700, 3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_commit_that_does_not_fit_moves_no_ref_and_succeeds_later(backend: str, tmp_path: Path) -> None:
    with opened(backend, tmp_path) as store:
        store.configure(undo_keep_seconds=0)
        big = store.branch()
        for i in range(10):
            big.files[f"big/{i}"] = noise(2000, 100 + i)
        big.commit("big", ref="big")
        branch = store.branch()
        branch.files["a"] = noise(2000, 1)
        first = branch.commit("first", ref="main")
        store.configure(max_bytes=store.stats().record_bytes + 5000)
        for i in range(10):
            branch.files[f"b/{i}"] = noise(2000, 200 + i)
        with pytest.raises(QuotaExceededError):
            branch.commit("second", ref="main")
        assert store.refs["main"].id == first.id
        assert branch.start is not None
        assert branch.start.id == first.id
        store.verify()
        # Everything is still in the branch, and fits once something else has gone.
        del big
        store.refs.delete("big")
        store.plan_gc(grace_seconds=0).execute()
        second = branch.commit("second", ref="main")
        assert bytes(store.snapshot("main").files["b/9"]) == noise(2000, 209)
        assert second.parents == (first.id,)
        store.verify()


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_and_above_the_quota_refs_can_be_deleted_and_renamed_and_a_collection_works(
    backend: str, tmp_path: Path
) -> None:
    with opened(backend, tmp_path) as store:
        store.configure(undo_keep_seconds=0)
        for name in ("one", "two", "three"):
            branch = store.branch()
            for i in range(12):
                branch.files[f"{name}/{i}"] = noise(2000, len(name) * 1000 + ord(name[0]) * 50 + i)
            branch.commit(name, ref=name)
        del branch
        for quota in (store.stats().record_bytes, 1000, 0):
            store.configure(max_bytes=quota)
            with pytest.raises(QuotaExceededError):
                store.put(noise(300, 9))
            with pytest.raises(QuotaExceededError):
                store.refs["again"] = store.refs["one"]
            assert "again" not in store.refs
        store.refs.rename("two", "renamed")
        store.refs.delete("one")
        report = store.plan_gc(grace_seconds=0).execute()
        assert report.freed_bytes > 15_000
        assert sorted(store.refs) == ["renamed", "three"]
        store.verify()
        store.configure(max_bytes=store.stats().record_bytes + 1000)
        store.put(noise(300, 9))
        used = store.stats().record_bytes
        if backend != "memory":
            assert used == on_disk(tmp_path)
    if backend != "memory":
        with opened(backend, tmp_path) as store:
            assert store.stats().record_bytes == on_disk(tmp_path)
            store.verify()


def test_a_stream_and_an_import_end_at_the_quota(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i}").write_bytes(noise(3000, i))
    with opened("segments", tmp_path) as store:
        store.configure(max_bytes=40_000, undo_keep_seconds=0)
        with pytest.raises(QuotaExceededError):
            store.put(BytesIO(noise(200_000, 99)))
        assert store.stats().record_bytes <= 40_000
        with pytest.raises(QuotaExceededError):
            import_directory(store, folder, ref="dir")
        assert list(store.refs) == []
        assert store.stats().record_bytes <= 40_000
        store.verify()
        store.plan_gc(grace_seconds=0).execute()
        store.configure(max_bytes=200_000)
        import_directory(store, folder, ref="dir")
        store.verify()


def test_an_opening_may_only_tighten_the_quota(tmp_path: Path) -> None:
    with opened("segments", tmp_path) as store:
        store.configure(max_bytes=50_000)
        assert store.stats().max_bytes == 50_000
    for given, holds in ((None, 50_000), (60_000, 50_000), (20_000, 20_000), (0, 0)):
        with opened("segments", tmp_path, max_bytes=given) as store:
            assert store.stats().max_bytes == holds
            # The settings show what the store says, whoever opened it how.
            assert store.settings.max_bytes == 50_000
            store.configure(max_bytes=55_000)
            assert store.stats().max_bytes == min(55_000, holds if given is not None and given < 50_000 else 55_000)
            store.configure(max_bytes=50_000)
    with opened("memory", tmp_path, max_bytes=100) as store, pytest.raises(QuotaExceededError):
        store.put(noise(200, 1))
    for wrong in (-1, "1G", 1.5):
        with pytest.raises(InvalidInputError, match="max_bytes"):
            Config(max_bytes=wrong)  # type: ignore[arg-type]
