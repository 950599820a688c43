# SPDX-License-Identifier: MIT
"""Worker processes that read the store and send bundles back: pools of each kind, and workers that die."""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import casstore
from casstore.errors import CorruptionError
from casstore.storage.readers import live_pins
from tests.processes.pool_jobs import explore, export_and_die, start, use_inherited
from tests.snapshots.driving import SMALL, collect, commit
from tests.storage.stores import noise


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_pool_reads_and_its_bundles_are_adopted(tmp_path: Path, method: str) -> None:
    path = tmp_path / "store"
    with casstore.open(path, config=SMALL) as store:
        commit(store, {"f": noise(1, 9000)}, ref="main")
        store.put(b"nobody asks for it")
        store.sync()
        with ProcessPoolExecutor(
            2, multiprocessing.get_context(method), initializer=start, initargs=(str(path),)
        ) as pool:
            jobs = [(number, str(tmp_path / f"{number}.bundle")) for number in range(6)]
            futures = [pool.submit(explore, job) for job in jobs]
            for future, (number, target) in zip(futures, jobs, strict=True):
                # The writer writes and collects meanwhile.
                commit(store, {"own": noise(50 + number, 3000)}, ref="own")
                collect(store)
                made, state_id = future.result(timeout=120)
                report = store.adopt_bundle(target)
                branch = store.branch(report.tips[0])
                assert made == number
                assert branch.state_id() == state_id
                assert branch.files[f"by/{number}"] == noise(1000 + number, 40_000)
                assert branch.objects["number"] == number
                branch.commit(f"by {number}", ref=f"worker/{number}")
            assert len(live_pins(str(path))) in (1, 2)
        assert store.refs["main"].files["f"] == noise(1, 9000)
        assert live_pins(str(path)) == set()
        collect(store)
        store.verify()
        assert [name for name in store.refs if name.startswith("worker/")] == [f"worker/{n}" for n in range(6)]


def test_the_children_of_a_forking_pool_are_refused_by_name(tmp_path: Path) -> None:
    """Not to open at all is better than a child that waits for a thread of LevelDB that it does not have."""
    path = tmp_path / "store"
    with casstore.open(path, config=SMALL) as store:
        commit(store, {"f": noise(1, 9000)}, ref="main")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with multiprocessing.get_context("fork").Pool(1) as pool:
                said = pool.apply_async(use_inherited, (str(path),)).get(timeout=60)
        assert said.startswith("StorageError: this process was forked")
        assert "spawn" in said
        assert "forkserver" in said
        store.put(b"the parent goes on")
        store.verify()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_worker_that_is_killed_while_it_writes_its_bundle(tmp_path: Path, streamed: bool) -> None:
    path = tmp_path / "store"
    context = multiprocessing.get_context("forkserver")
    with casstore.open(path) as store:
        commit(store, {"f": noise(1, 9000)}, ref="main")
        before = {name: snapshot.id for name, snapshot in store.refs.items()}
        torn = 0
        for at in (0, 1, 2, 3, 10**6):
            target = tmp_path / f"{at}.bundle"
            worker = context.Process(target=export_and_die, args=(str(path), str(target), at, streamed))
            worker.start()
            worker.join(120)
            whole = at == 10**6 or (at == 0 and streamed)
            assert worker.exitcode == (0 if at == 10**6 else -9)
            # A file that is named is whole; a pipe has what came until then.
            assert target.exists() == (whole or streamed)
            if target.exists() and not whole:
                torn += 1
                used = store.storage.backend.used_bytes()
                with pytest.raises(CorruptionError):
                    store.adopt_bundle(target)
                assert store.storage.backend.used_bytes() == used
            if whole:
                report = store.adopt_bundle(target)
                assert store.branch(report.tips[0]).files["large/59"] == noise(59, 60_000)
            # Its pin goes with it.
            assert live_pins(str(path)) == set()
            assert list((path / "readers").iterdir()) == []
            assert {name: snapshot.id for name, snapshot in store.refs.items()} == before
            store.verify()
        assert torn == (3 if streamed else 0)
    with casstore.open(path) as store:
        store.verify()
        collect(store)
        assert store.refs["main"].files["f"] == noise(1, 9000)
        assert store.storage.backend.used_bytes() < 100_000
