# SPDX-License-Identifier: MIT
"""The benchmark of objects runs, at sizes at which its figures mean nothing; recorded traces are what they say."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from benchmarks import objects, objects_large, objects_traces
from benchmarks.objects_record import recording
from benchmarks.objects_replay import build, content, play, states_of
from benchmarks.objects_traces import EXAMPLES, RUNS, Read, Trace, file_of, load, save
from benchmarks.options import Options
from benchmarks.process import BenchmarkError
from casstore import Config
from casstore import open as open_store
from casstore.objects import Materializer

READ = "search inside 512 MB: objects read"


@pytest.mark.parametrize("part", objects.MODULES)
def test_part_runs(part: str, tmp_path: Path) -> None:
    if part in ("large", "costs"):
        pytest.importorskip("numpy", reason="the pages are arrays of NumPy")
    if part == "large" and sys.platform != "linux":
        pytest.skip("other systems do not keep to RLIMIT_DATA")
    options = Options(tmp_path, tmp_path, 1, None, (part,), 2**20, 10, quiet=True, quick=True)
    result = objects.run(options)
    assert any(line.startswith(f"{part}: ") for line in result.workload)
    goals = result.figures["goals"]
    assert any(goal["bar"] is not None or goal["aim"] is not None for goal in goals.values())
    assert all(math.isfinite(goal["value"]) for goal in goals.values())
    assert "| what" in result.render()
    if part == "large":
        # That the search with the limit finished, and found the same, is what it needs to get this far.
        assert goals["plain search inside 512 MB: objects read when it died"]["value"] < goals[READ]["value"]
        limited = goals["search inside 512 MB: time against no limit, median"]["runs"]["limited"][0]
        assert limited["unloads"] > 0
    assert not list(tmp_path.iterdir())


def test_searches_that_differ_are_no_result() -> None:
    run = {"digest": "a", "seconds": 1.0}
    with pytest.raises(BenchmarkError, match="did not find the same"):
        objects_large.report({"plain": [run], "free": [{**run, "digest": "b"}], "limited": [run]}, 1, 1, [], "")


def test_limit_that_lets_the_plain_search_finish_is_no_result() -> None:
    run = {"digest": "a", "seconds": 1.0}
    with pytest.raises(BenchmarkError, match="finished within the limit"):
        objects_large.report({"plain": [run], "free": [run], "limited": [run]}, 1, 0, [], "")


def test_search_that_dies_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="exit code 1"):
        objects_large.finished({"way": "plain", "store": str(tmp_path), "pages": 1, "wanted": 1})


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("run", RUNS)
def test_recorded_trace_is_whole(example: str, run: str) -> None:
    path = file_of(example, run)
    trace = load(path)
    assert (trace.example, trace.run) == (example, run)
    assert trace.command == f"python -m benchmarks.objects_record {example}"
    assert path.stat().st_size < 64_000
    assert len(trace.reads) > 100
    assert {read.key for read in trace.reads} == set(range(len(trace.keys)))
    assert {read.content for read in trace.reads} == set(range(len(trace.contents)))
    assert min(read.busy_us for read in trace.reads) >= 0
    assert min(read.idle_us for read in trace.reads) >= 0
    other = load(file_of(example, next(name for name in RUNS if name != run)))
    assert [read[:3] for read in trace.reads] != [read[:3] for read in other.reads]


def test_trace_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    trace = Trace("x", "learn", "say so", ["objects/a"], [(10, 20)], [Read(0, 0, 0, 5, 7)])
    save(trace, tmp_path / "x.jsonl")
    assert load(tmp_path / "x.jsonl") == trace
    assert trace.thought_seconds == pytest.approx(12e-6)


@pytest.mark.parametrize("text", ["", "[]", '{"example": "x"}\n', '{"keys": [], "contents": []}\n[1]\n'])
def test_what_is_no_trace_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(text, "utf-8")
    with pytest.raises(BenchmarkError, match="is no trace"):
        objects_traces.load(tmp_path / "x.jsonl")


def test_recorder_notes_what_is_read_and_hooks_nothing_afterwards(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store")) as store, recording() as recorder:
        branch = store.branch()
        branch.objects["a"] = {"step": 1}
        branch.files["b"] = b"text"
        assert branch.objects["a"] == {"step": 1}
        assert branch.files["b"] == b"text"
        state = branch.commit()
        with Materializer(store) as home:
            assert home.register(state, "a").get() == {"step": 1}
        branch.objects["a"] = {"step": 2}
        assert branch.objects["a"] == {"step": 2}
    assert list(recorder.keys) == ["objects/a", "files/b"]
    assert [read[:3] for read in recorder.reads] == [(0, 0, 0), (0, 1, 1), (0, 0, 0), (1, 0, 2)]
    assert [raw for raw, _ in recorder.sizes] == [10, 4, 10]
    with open_store(":memory:") as store:
        branch = store.branch()
        branch.objects["a"] = 1
        assert branch.objects["a"] == 1
    assert len(recorder.reads) == 4


def test_replay_reads_what_the_trace_says(tmp_path: Path) -> None:
    reads = [Read(0, 0, 0, 0, 0), Read(0, 1, 1, 0, 0), Read(1, 0, 2, 100, 100), Read(0, 0, 0, 0, 0)]
    trace = Trace("x", "measure", "", ["objects/a", "objects/b"], [(5000, 3000), (9000, 200), (7000, 7000)], reads)
    with open_store(str(tmp_path / "store"), config=Config(cache_bytes=0)) as store:
        build(store, trace)
        states = states_of(store, trace)
        with Materializer(store) as home:
            played = play(home, states, trace)
            found = [len(home.register(states[state], key).get()) for state in (0, 1) for key in trace.keys]
    assert played.loads == 3
    assert 0 < played.waited < played.whole
    # The second state has all that the first had and was not read anew.
    assert found == [5000, 9000, 7000, 9000]


@pytest.mark.parametrize(("raw", "compressed"), [(0, 9), (1, 10), (450_000, 3059), (5000, 5010), (9000, 100)])
def test_content_is_as_large_and_compresses_as_well_as_what_was_recorded(raw: int, compressed: int) -> None:
    data = content(raw, compressed, "a")
    assert len(data) == raw
    assert data != content(raw, compressed, "b") or not raw
    assert len(compress_whole(data)) <= compressed + 200


def compress_whole(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(data)
