# SPDX-License-Identifier: MIT
"""What goes with a workspace that is forgotten, what a crash left, and what is refused before anything is kept."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import casstore
from casstore.format.workspace_files import Info
from casstore.workspace import checkout, fork_to, plan_prune_workspaces
from casstore.workspace.overlay import Upper, list_mounts, probing, unmount
from casstore.workspace.overlay.overlaid import upper_cache_key
from casstore.workspace.registry import Registry
from tests.workspace.overlays import need_overlay
from tests.workspace.switching import (
    Made,
    settle,
    states,
)


def test_a_plan_of_pruning_as_text(made: Made, tmp_path: Path) -> None:
    store, directory, workspace = made
    nothing = f"{store.path}: 0 workspaces to forget, 0 bases and 0 leftovers to delete"
    assert str(plan_prune_workspaces(store)) == nothing
    for number in range(21):
        checkout(store, "main", tmp_path / "gone" / f"{number:02}\n")
    shutil.rmtree(tmp_path / "gone")
    plan = plan_prune_workspaces(store)
    first, *lines, last = str(plan).split("\n")
    assert first == f"{store.path}: 21 workspaces to forget, 0 bases and 0 leftovers to delete"
    assert lines == [f"missing plain {one.id} {str(one.path)!r}" for one in plan.dead[:20]]
    assert last == "... and 1 more"
    assert repr(plan) == "<WorkspacePrunePlan: 21 dead, 0 bases, 0 leftovers>"
    assert workspace.directory == str(directory)


def test_pruning_deletes_what_a_crash_left_where_an_overlay_was_tried(made: Made, tmp_path: Path) -> None:
    store, _directory, _workspace = made
    above = Path(store.path, "workspaces")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_bytes(b"not the store's")
    (above / "probe-crashed/base/old").mkdir(parents=True)
    (above / "probe-crashed/work/work").mkdir(parents=True, mode=0)
    (above / "probe-link").symlink_to(tmp_path / "precious")
    (above / "other").mkdir()
    plan = plan_prune_workspaces(store)
    assert (plan.dead, plan.bases, plan.probes) == ((), (), ("probe-crashed", "probe-link"))
    assert (above / "probe-crashed").exists(), "a plan changes nothing"
    assert "2 leftovers" in str(plan)
    assert plan.execute().probes == plan.probes
    assert sorted(one for one in os.listdir(above) if len(one) != 8) == ["lock", "other"]
    assert (tmp_path / "precious/file").read_bytes() == b"not the store's"
    assert plan_prune_workspaces(store).probes == ()


def test_a_crashed_trial_is_unmounted(made: Made, tmp_path: Path) -> None:
    need_overlay(tmp_path)
    store, _directory, _workspace = made
    scratch = Path(store.path, "workspaces/probe-crashed")
    (scratch / "base").mkdir(parents=True)
    (scratch / "target").mkdir()
    upper = Upper(str(scratch))
    upper.create()
    upper.overlay(str(scratch / "base"), str(scratch / "target")).mount()
    assert plan_prune_workspaces(store).execute().probes == ("probe-crashed",)
    assert not scratch.exists()
    assert list_mounts(store.path) == []


def test_a_trial_that_runs_is_left_alone(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _directory, _workspace = made
    left = Path(store.path, "workspaces/probe-crashed")
    left.mkdir()
    plan = plan_prune_workspaces(store)
    tried = []

    def look(scratch: str, private: bool) -> str:
        tried.append(scratch)
        assert plan_prune_workspaces(store).probes == ()
        assert plan.execute().probes == ()
        assert os.path.isdir(scratch)
        return "no"

    monkeypatch.setattr(probing, "_try_in", look)
    probing._try.cache_clear()
    try:
        assert probing.why_no_overlay(store.path) == "no overlayfs: no"
    finally:
        probing._try.cache_clear()
    assert len(tried) == 1
    assert plan_prune_workspaces(store).execute().probes == ("probe-crashed",)


@pytest.mark.parametrize("how", ["remove", "prune", "damaged"])
def test_the_cache_of_an_overlay_goes_with_it(made: Made, tmp_path: Path, how: str) -> None:
    need_overlay(tmp_path)
    store, _directory, workspace = made
    others = dict(store.storage.backend.cache(b""))
    with fork_to(store, "main", tmp_path / "fork", method="overlay") as fork:
        (tmp_path / "fork/small").write_bytes(b"in the upper folder")
        settle()
        state = fork.snapshot()
        place = Path(Registry(store).folder(fork.id or ""))
        key = upper_cache_key(fork.id or "")
        assert [name for name, _ in store.storage.backend.cache(key)] == [key + b"small"]
        store.storage.backend.put_cache({key + b"damaged": b"?"})
        if how == "remove":
            fork.remove()
    if how != "remove":
        unmount(str(tmp_path / "fork"))
        (tmp_path / "fork").rmdir()
    if how == "damaged":
        (place / "info").write_bytes(b"garbage")
        shutil.rmtree(place / "upper")
    if how != "remove":
        assert len(plan_prune_workspaces(store).execute().removed) == 1
    assert not place.exists()
    assert dict(store.storage.backend.cache(b"")) == others
    assert state.files["small"] == b"in the upper folder"
    assert workspace.status().clean


@pytest.mark.parametrize("ref", ["r" * 70_000, "r" * 256, "a b", ""])
def test_a_name_that_no_ref_can_have_is_refused_at_once(made: Made, tmp_path: Path, ref: str) -> None:
    store, directory, workspace = made
    before = sorted(os.walk(store.path))
    records = len(list(store.storage.backend.scan()))
    with pytest.raises(casstore.InvalidInputError, match="ref"):
        fork_to(store, "main", tmp_path / "fork", method="copy", ref=ref)
    assert not (tmp_path / "fork").exists()
    (directory / "small").write_bytes(b"2" * 10_000)
    with pytest.raises(casstore.InvalidInputError, match="ref"):
        workspace.snapshot(ref=ref)
    assert sorted(os.walk(store.path)) == before
    assert len(list(store.storage.backend.scan())) == records, "not even a file was captured"
    assert len(workspace.status().changes) == 1


def test_a_registration_that_is_too_long_leaves_nothing(made: Made) -> None:
    store, directory, workspace = made
    registry = Registry(store)
    before = states(store)
    long = Info(id=registry.new_id(), path="/" + "x" * 70_000, device=1, inode=1)
    with pytest.raises(casstore.InvalidInputError, match=r"65,536.*shorter"):
        registry.register(long)
    assert states(store) == before
    assert workspace.id is not None
    known = registry.info(workspace.id)
    assert known is not None
    with pytest.raises(casstore.InvalidInputError):
        registry.write(replace(known, base_ref="r" * 70_000), sync=True)
    assert registry.info(workspace.id) == known
    assert states(store) == {str(directory): "ok"}
