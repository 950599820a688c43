# SPDX-License-Identifier: MIT
"""The benchmark of workspaces runs, at sizes at which its figures mean nothing, and its checks find what is wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

import casstore
from benchmarks import workspace
from benchmarks.__main__ import main
from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.process import BenchmarkError, run
from benchmarks.workspace_checks import check_snapshot, compare
from benchmarks.workspace_git import Repository
from benchmarks.workspace_mounts import mounted_below, unavailable, unmounting
from benchmarks.workspace_restore import room
from benchmarks.workspace_rounds import OURS, against, alone, alternate, ratio
from benchmarks.workspace_trees import (
    Editor,
    chosen,
    generate,
    generated_names,
    names,
    set_back,
    size_at,
)
from benchmarks.workspace_watch import unavailable as unwatchable

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.mark.parametrize("part", workspace.MODULES)
def test_part_runs(part: str, tmp_path: Path) -> None:
    reasons: dict[str, Callable[[], str | None]] = {"watch": unwatchable, "overlay": lambda: unavailable(tmp_path)}
    if part in reasons and (reason := reasons[part]()):
        pytest.skip(reason)
    result = tmp_path / "result.json"
    words = ["workspace", "--quick", "--repeat", "1", "--only", part, "--cache", str(tmp_path), "--json", str(result)]
    assert main(words) == 0
    found = json.loads(result.read_text("utf-8"))
    assert any(line.startswith(f"{part}: ") and "not measured" not in line for line in found["workload"])
    goals = found["figures"]["goals"]
    assert any(goal["bar"] is not None for goal in goals.values())
    assert any(goal["aim"] is not None for goal in goals.values())
    assert all(math.isfinite(goal["value"]) and goal["value"] > 0 for goal in goals.values())
    assert not list((tmp_path / "work").iterdir())
    assert not mounted_below(tmp_path)


@pytest.mark.parametrize("part", ["watch", "overlay"])
def test_a_part_that_cannot_run_says_why(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"benchmarks.workspace_{part}.unavailable", lambda *_: "it is Tuesday.")
    result = tmp_path / "result.json"
    words = ["workspace", "--quick", "--only", part, "--cache", str(tmp_path), "--json", str(result)]
    assert main(words) == 0
    found = json.loads(result.read_text("utf-8"))
    assert f"{part}: not measured: it is Tuesday." in found["workload"]
    assert found["figures"]["goals"] == {}


def test_generated_tree_is_the_same_each_time(tmp_path: Path) -> None:
    generate(tmp_path / "a", 400)
    generate(tmp_path / "b", 400)
    assert len(names(tmp_path / "a")) == 400
    compare(tmp_path / "a", tmp_path / "b")
    contents = {(tmp_path / "a" / name).read_bytes() for name in names(tmp_path / "a")}
    assert len(contents) > 390  # those of a few bytes may be equal


def test_generated_tree_has_the_shape_of_django() -> None:
    paths = list(islice(generated_names(), 36_000))
    assert len(set(paths)) == 36_000
    folders = {str(parent) for path in paths for parent in Path(path).parents}
    assert 0.6 < len(folders) / len(paths) < 0.75  # Django: 2,457 folders of 3,668 files
    pairs = sum(1 for path in paths if "/LC_MESSAGES/" in path)
    assert pairs / len(paths) == pytest.approx(2 / 3, abs=0.02)


def test_sizes_follow_the_shares() -> None:
    assert [size_at(share) for share in (0.0, 0.5, 0.9, 1.0)] == [0, 2_301, 18_188, 120_000]
    assert size_at(0.7) == pytest.approx(2_301 + 0.8 * (7_137 - 2_301), abs=1)


def test_editor_writes_other_bytes_of_the_same_size_and_another_second(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text\n")
    editor = Editor(tmp_path, ["file"])
    seen = []
    for number in range(3):
        editor.change(number)
        assert (tmp_path / "file").read_bytes() == editor.data("file", number)
        status = (tmp_path / "file").stat()
        seen.append((status.st_size, int(status.st_mtime)))
        assert status.st_mtime < status.st_ctime - 3_600
    assert len({size for size, _ in seen}) == 1
    assert len({second for _, second in seen}) == 3


def test_git_sees_each_edit_however_fast_they_follow(tmp_path: Path) -> None:
    generate(tmp_path / "tree", 20)
    repository = Repository(tmp_path / "tree")
    editor = Editor(tmp_path / "tree", chosen(tmp_path / "tree", 2))
    commits = [repository.save()]
    for number in range(4):
        editor.change(number)
        commits.append(repository.save())
    assert len(set(commits)) == 5
    assert repository.checkout(commits[1]) > 0
    assert (tmp_path / "tree" / editor.paths[0]).read_bytes() == editor.data(editor.paths[0], 0)
    (tmp_path / "tree" / "new").touch()
    assert repository.clean_reset_checkout(commits[2]) > 0
    assert not (tmp_path / "tree" / "new").exists()
    with pytest.raises(BenchmarkError, match="nowhere"):
        repository.read("rev-parse", "--verify", "nowhere^{commit}")


def test_sides_take_turns_in_changing_order() -> None:
    calls: list[tuple[str, int]] = []

    def side(name: str) -> Callable[[int], float]:
        def operation(number: int) -> float:
            calls.append((name, number))
            return float(number)

        return operation

    samples = alternate(2, {"a": side("a"), "b": side("b")}, warm_up=1)
    assert calls == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert samples == {"a": [1.0, 2.0], "b": [1.0, 2.0]}


def test_rows_are_percentiles_of_both() -> None:
    found = Measured([])
    samples = {OURS: [1.0] * 90 + [3.0] * 10, "git": [2.0] * 50}
    against(found, "it", samples, "git", 1.5, 1.0)
    alone(found, "it", samples[OURS], 2.0, None, "a note")
    both, one = found.goals
    assert both.cells()[:6] == ["it, p95 against git", "1.50 ×", "1.50 ×", "yes", "1.00 ×", "no"]
    assert "100 rounds (50 of git)" in both.note
    assert one.value == 3.0
    assert one.note.endswith("a note")
    assert found.peers[0].cells()[2:4] == ["2000.00 ms", "1000.00 ms"]
    assert ratio(1.004) == "1.00 ×"
    assert ratio(0.0031) == "0.0031 ×"


def test_compare_finds_what_differs(tmp_path: Path) -> None:
    generate(tmp_path / "a", 20)
    generate(tmp_path / "b", 20)
    path = chosen(tmp_path / "b", 1)[0]
    compare(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / path).write_bytes(b"other")
    with pytest.raises(BenchmarkError, match="is not like"):
        compare(tmp_path / "a", tmp_path / "b")
    shutil.copy(tmp_path / "a" / path, tmp_path / "b" / path)
    (tmp_path / "b" / "more").touch()
    with pytest.raises(BenchmarkError, match="more"):
        compare(tmp_path / "a", tmp_path / "b")


def test_snapshot_with_old_bytes_or_other_changes_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    generate(folder, 5)
    editor = Editor(folder, names(folder)[:2])
    with casstore.open(str(tmp_path / "store")) as store:
        states = []
        for number in range(2):
            branch = store.branch()
            branch.files.update({path: editor.data(path, number) for path in editor.paths})
            states.append(branch.commit(str(number)))
        check_snapshot(store, states[0], states[1], editor, 1)
        with pytest.raises(BenchmarkError, match="old bytes"):
            check_snapshot(store, states[1], states[0], editor, 1)
        with pytest.raises(BenchmarkError, match=r"changes in \[\]"):
            check_snapshot(store, states[1], states[1], editor, 1)


def test_restore_wants_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(bytes(5_000))  # with its folder three blocks, nine a round

    class Usage:
        free = 2 * 9 * 4_096 * 6

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    assert room(tmp_path, tmp_path, 20) == 5
    assert room(tmp_path, tmp_path, 4) == 4
    Usage.free = 2 * 9 * 4_096 * 3
    with pytest.raises(BenchmarkError, match="no room"):
        room(tmp_path, tmp_path, 20)


def test_mount_points_are_read_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mounts"
    lines = ["overlay /a/b\\040c/deep overlay rw 0 0", "overlay /a/b\\040c overlay rw 0 0", "proc /ab proc rw 0 0"]
    table.write_text("\n".join([*lines, "tmpfs /a/é\\134 tmpfs rw 0 0"]) + "\n", "utf-8")
    monkeypatch.setattr("benchmarks.workspace_mounts.MOUNTS", str(table))
    assert mounted_below(Path("/a")) == ["/a/b c/deep", "/a/b c", "/a/é\\"]


def test_mounts_are_gone_after_an_error(tmp_path: Path) -> None:
    if reason := unavailable(tmp_path):
        pytest.skip(reason)
    folders = {part: tmp_path / part for part in ("lower", "upper", "work", "target")}
    for folder in folders.values():
        folder.mkdir()
    options = f"lowerdir={folders['lower']},upperdir={folders['upper']},workdir={folders['work']}"

    def stop_while_mounted() -> None:
        with unmounting(tmp_path):
            run(["mount", "-t", "overlay", "overlay", "-o", options, str(folders["target"])])
            assert mounted_below(tmp_path) == [str(folders["target"])]
            raise BenchmarkError("stopped")

    with pytest.raises(BenchmarkError, match="stopped"):
        stop_while_mounted()
    assert mounted_below(tmp_path) == []


def test_unavailable_says_that_root_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert unavailable(tmp_path) == "mounting an overlay that this process itself sees takes root."


def test_without_git_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    options = Options(tmp_path, tmp_path, 1, None, (), 1, 1, quiet=True, quick=True)
    with pytest.raises(BenchmarkError, match="git is not installed"):
        workspace.run(options)


def test_times_that_are_set_back_differ_in_seconds(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    seconds = []
    for _ in range(3):
        set_back(tmp_path, ["a"])
        seconds.append(int((tmp_path / "a").stat().st_mtime))
    assert len(set(seconds)) == 3
