# SPDX-License-Identifier: MIT
"""The system's figures: from fake files, from psutil where there are none, and from this very process."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from casstore.objects import malloc
from casstore.objects.python_gc import CollectorWatch
from casstore.objects.reading import Bound
from casstore.objects.system_sources import FIND_EVERY, SystemSources
from tests.objects.memory_fakes import MEMINFO, MIB, PSI, STATM, V2_MOUNT, make_tree


def sources(root: Path, *, limits: dict[int, int] | None = None, free: int = 0) -> SystemSources:
    return SystemSources(
        str(root),
        page_bytes=4096,
        get_rlimit=lambda which: (limits or {}).get(which, -1),
        count_faults=lambda: 7,
        free_in_heap=lambda: free,
    )


TREE: dict[str, str | None] = {
    "/proc/self/statm": STATM,
    "/proc/meminfo": MEMINFO,
    "/proc/pressure/memory": PSI,
    "/proc/self/cgroup": "0::/\n",
    "/proc/self/mountinfo": V2_MOUNT,
    "/sys/fs/cgroup/memory.max": "9000\n",
    "/sys/fs/cgroup/memory.current": "4000\n",
    "/sys/fs/cgroup/memory.stat": "inactive_file 1000\n",
}


def test_everything_is_there(tmp_path: Path) -> None:
    make_tree(tmp_path, TREE)
    limits = {resource.RLIMIT_AS: 5000 * 4096, resource.RLIMIT_DATA: 400 * 4096}
    reading = sources(tmp_path, limits=limits, free=100 * 4096).read()
    assert reading.rss_bytes == 500 * 4096
    assert reading.bounds == (
        Bound("/sys/fs/cgroup/memory.max", 3000, 9000),
        Bound("RLIMIT_AS", 900 * 4096, 5000 * 4096),
        Bound("RLIMIT_DATA", 200 * 4096, 400 * 4096),
        Bound("/proc/meminfo", 600 * 1024, 1000 * 1024),
    )
    assert (reading.stalled_us, reading.stalled_share, reading.faulted_bytes) == (4500000, 0.125, 7 * 4096)
    assert reading.problems == ()


def test_the_heap_is_only_asked_where_it_matters(tmp_path: Path) -> None:
    make_tree(tmp_path, TREE)

    def never() -> int:
        raise AssertionError("asked")

    source = SystemSources(str(tmp_path), get_rlimit=lambda which: -1, free_in_heap=never)
    assert [bound.name for bound in source.read().bounds] == ["/sys/fs/cgroup/memory.max", "/proc/meminfo"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/proc/self/statm", "1 2\n"),
        ("/proc/self/statm", "a b c d e f g\n"),
        ("/proc/self/statm", None),
        ("/proc/meminfo", "rubbish\n"),
        ("/proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 5 kB\n"),
        ("/proc/meminfo", "MemTotal: 5 kB\n"),
        ("/proc/meminfo", None),
        ("/proc/pressure/memory", ""),
        ("/proc/self/cgroup", "x"),
        ("/proc/self/mountinfo", "1 - cgroup2\n"),
        ("/sys/fs/cgroup/memory.max", "lots"),
        ("/sys/fs/cgroup/memory.current", "lots"),
        ("/sys/fs/cgroup/memory.stat", "lots"),
    ],
)
def test_one_odd_file_is_named_and_the_rest_counts(
    tmp_path: Path, path: str, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    make_tree(tmp_path, {**TREE, path: text})
    reading = sources(tmp_path).read()
    assert any(problem.startswith(path) for problem in reading.problems), reading.problems
    assert reading.rss_bytes > 0
    assert len(reading.bounds) >= 1
    if path == "/proc/self/statm":
        # What the process took at most, for want of a better figure.
        assert reading.rss_bytes >= 10 * MIB
        assert any("psutil" in problem for problem in reading.problems)


def test_before_there_was_a_figure_of_available_memory(tmp_path: Path) -> None:
    make_tree(tmp_path, {**TREE, "/proc/meminfo": "MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 20 kB\n"})
    assert sources(tmp_path).read().bounds[-1] == Bound("/proc/meminfo", 65 * 1024, 100 * 1024)


def test_psutil_where_there_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(total=1000, available=250),
        Process=lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=77)),
    )
    monkeypatch.setitem(sys.modules, "psutil", fake)
    monkeypatch.setattr(sys, "platform", "other")
    reading = sources(tmp_path).read()
    assert reading.rss_bytes == 77
    assert reading.bounds == (Bound("/proc/meminfo", 750, 1000),)
    assert reading.problems == ()


def test_nothing_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    reading = sources(tmp_path).read()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 0.5 * most < reading.rss_bytes <= most
    assert reading.bounds == ()
    assert reading.stalled_us is reading.stalled_share is None
    assert {problem.split()[0] for problem in reading.problems} >= {"/proc/self/statm", "/proc/meminfo", "psutil"}
    monkeypatch.setattr(sys, "platform", "darwin")  # there it is bytes
    assert sources(tmp_path).read().rss_bytes * 1000 < reading.rss_bytes * 10


def test_problems_of_finding_stay_and_moves_are_seen(tmp_path: Path) -> None:
    make_tree(tmp_path, {**TREE, "/proc/self/cgroup": "0::/gone\n", "/sys/fs/cgroup/a/memory.max": "50\n"})
    source = sources(tmp_path)
    for _ in range(FIND_EVERY):
        reading = source.read()
        assert len(reading.problems) == 1
        assert "all that can be seen" in reading.problems[0]
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")
    (tmp_path / "sys/fs/cgroup/a/memory.current").write_text("10\n")
    (tmp_path / "sys/fs/cgroup/a/memory.stat").write_text("inactive_file 0\n")
    reading = source.read()
    assert reading.problems == ()
    assert reading.bounds[0] == Bound("/sys/fs/cgroup/a/memory.max", 10, 50)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux")
def test_this_very_process() -> None:
    source = SystemSources()
    before = source.read()
    taken = bytearray(b"x") * (32 * MIB)
    after = source.read()
    assert before.problems == after.problems == ()
    assert 28 * MIB < after.rss_bytes - before.rss_bytes < 48 * MIB
    assert before.faulted_bytes is not None
    assert after.faulted_bytes is not None
    assert after.faulted_bytes >= before.faulted_bytes
    assert after.bounds[-1].limit_bytes > len(taken)


def test_the_collector_is_watched_between_open_and_close() -> None:
    source = SystemSources()
    gc.collect()
    assert source.read().collector.collections == (0, 0, 0)
    source.open()
    source.open()
    try:
        gc.collect(0)
        gc.collect(2)
        gc.collect(2)
    finally:
        source.close()
        source.close()
    gc.collect()
    figures = source.read().collector
    assert figures.collections[2] == 2
    assert figures.collections[0] >= 1
    assert 0 < figures.longest_seconds <= figures.seconds < 10
    assert not any(getattr(call, "__self__", None).__class__ is CollectorWatch for call in gc.callbacks)


def test_pauses_by_a_fake_clock() -> None:
    times = iter([10.0, 10.5, 20.0, 20.25])
    watch = CollectorWatch(lambda: next(times))
    watch._on_collection("stop", {"generation": 2})  # began before anybody watched
    for generation in (1, 0):
        watch._on_collection("start", {"generation": generation})
        watch._on_collection("stop", {"generation": generation})
    figures = watch.figures()
    assert (figures.collections, figures.seconds, figures.longest_seconds) == ((1, 1, 0), 0.75, 0.5)


def test_a_c_library_without_these_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    malloc._function.cache_clear()
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: SimpleNamespace())
    try:
        assert malloc.trim() is False
        assert malloc.free_bytes() == 0
    finally:
        malloc._function.cache_clear()


@pytest.mark.skipif(malloc._function("mallinfo2") is None, reason="the C library does not tell what is free")
def test_memory_that_was_let_go_comes_back_by_trimming() -> None:
    source = SystemSources()
    values = [bytes([i % 256]) * 16384 for i in range(2048)]
    full, free = source.read().rss_bytes, malloc.free_bytes()
    kept = values[::8]
    del values
    assert malloc.free_bytes() - free > 24 * MIB
    assert malloc.trim()
    assert full - source.read().rss_bytes > 20 * MIB
    assert len(kept) == 256
