# SPDX-License-Identifier: MIT
"""More of the collector beside others: what must not be absent, grow, or be moved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import casstore.collection.survey_process as survey_process
from casstore.errors import CasstoreError
from casstore.storage.indexed import MAX_PENDING
from casstore.testing.model import noise
from tests.snapshots.driving import collect, commit, open_backend


# what prints at start-up of any interpreter (sitecustomize, .pth) breaks the answer of the survey's process
def test_survey_process_stdout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('hello')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
    with open_backend("segments", tmp_path / "s") as store:
        commit(store, {"a": noise(9000, 1)}, ref="main")
        try:
            collect(store)
        except CasstoreError:
            pass


# an interpreter that does not know its own path
@pytest.mark.parametrize("path", ["", None, "/nonexistent/python"])
def test_no_executable(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_process, "FEW_RECORDS", 0)
    with open_backend("segments", tmp_path / "s") as store:
        commit(store, {"a": noise(9000, 1)}, ref="main")
        monkeypatch.setattr(sys, "executable", path)
        collect(store)


# touched entries wait without bound
def test_touch_is_unbounded(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "s") as store:
        contents = [b"content %08d" % number * 3 for number in range(MAX_PENDING + 100)]
        with store.storage.ingest() as ingest:
            for data in contents:
                ingest.add(data)
        store.sync()
        import time

        now = int(time.time()) + 10_000
        for data in contents:
            from casstore.address import content_address

            store.storage.backend.touch(content_address(data), now)
        assert len(store.storage.backend._pending) <= MAX_PENDING  # type: ignore[attr-defined]


# what is written while the survey runs counts as dead space, so all of it is moved by the compaction
def test_new_segments_are_not_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import casstore.collection.plan as plan

    make_survey = plan.make_survey

    with open_backend("segments", tmp_path / "s") as store:
        commit(store, {"a": noise(9000, 1)}, ref="main")

        def slow(*arguments: Any) -> Any:
            found = make_survey(*arguments)
            commit(store, {str(n): noise(9000, 10 + n) for n in range(20)}, ref="meanwhile")
            store.sync()
            return found

        monkeypatch.setattr(plan, "make_survey", slow)
        with store.plan_gc(grace_seconds=0, undo_keep_seconds=3600) as made:
            print(made)
            assert made.dead_objects == 0
            before = {info.segment for info in store.storage.backend.segments()}
            made.execute()
            after = {info.segment for info in store.storage.backend.segments()}
        assert before <= after, f"segments {sorted(before - after)} were rewritten although all in them is live"
